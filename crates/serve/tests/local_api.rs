//! Both sides of the local API, over a real socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use causeway_serve::client::{self, ClientError};
use causeway_serve::local::{
    Access, AgentApi, BindError, ControllerApi, PlanReport, Refusal, agent_router, controller_router, serve,
};
use causeway_serve::{Health, Vitals};
use engine::plan::{Backend, Frontend, Ladder, Op, Route, RouteVia, State, TierSpan};
use wire::local::{
    AgentStatus, AuthorityStatus, Check, CniRequest, CniResponse, ControllerStatus, DeniedFlows, Examination,
    Examine, KeysRequested, LinkJoin, LinkJoined, LinkTerms, MOST_POLICY_QUESTIONS, MeshReport, MtuAsk,
    MtuPeer, MtuStatus, MulticlusterStatus, PeerWrite, PolicyAnswer, PolicyCheck, PolicyDecision, PolicyLint,
    PolicyProtocol, PolicyQuestion, PolicyQuestions, PolicyShow, PolicyShowAsk, Rotate, RotateKeys,
    ServicesReport, StreamStatus, Token,
};

/// An agent and a controller with little to say.
struct Fake;

impl Vitals for Fake {
    fn health(&self) -> Health {
        Health { waiting_for: vec!["the controller".into(), "the first handshake".into()] }
    }
    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

impl AgentApi for Fake {
    async fn status(&self) -> Result<AgentStatus, Refusal> {
        Ok(AgentStatus {
            node: "aws/aws-1".to_string().try_into().unwrap(),
            version: "1".into(),
            pid: 7,
            uptime_seconds: 1.0,
            ready: true,
            waiting_for: vec![],
            rss_bytes: 1,
            controller: StreamStatus::default(),
            topology: Default::default(),
            location: "here".into(),
            underlay: "eth0".into(),
            pod_cidrs: vec![],
            kube_proxy: Default::default(),
            public_key: None,
            wireguard: "userspace".into(),
            tunnels: vec![],
            peers: vec![],
            services: vec![],
            features: vec![],
            pending_operations: 0,
            problems: vec![],
        })
    }
    async fn plan(&self) -> Result<PlanReport, Refusal> {
        let desired = a_state();
        let operations = engine::plan::diff(&State::default(), &desired).iter().map(Op::to_string).collect();
        Ok(PlanReport { desired, observed: State::default(), operations })
    }
    async fn services(&self, from: Option<String>) -> Result<ServicesReport, Refusal> {
        match from {
            None => {
                Ok(ServicesReport { from: "aws/aws-1".to_string().try_into().unwrap(), services: vec![] })
            }
            Some(from) => Err(Refusal::Wrong(format!("no node {from}"))),
        }
    }
    async fn mtu(&self, ask: MtuAsk) -> Result<MtuStatus, Refusal> {
        let peer = format!("{}/1", ask.cluster).try_into().unwrap();
        Ok(MtuStatus { mtu: 1420, peers: vec![MtuPeer { peer, largest: 1372 }] })
    }
    async fn denied(&self, after: Option<u64>, wait: Duration) -> Result<DeniedFlows, Refusal> {
        Ok(DeniedFlows { next: after.unwrap_or(7), lost: wait.as_secs(), flows: vec![] })
    }
    async fn cni(&self, request: CniRequest) -> CniResponse {
        CniResponse::Result(serde_json::json!({ "was": request.command }))
    }
}

impl ControllerApi for Fake {
    async fn services(&self) -> Result<MulticlusterStatus, Refusal> {
        Ok(MulticlusterStatus::default())
    }

    async fn status(&self) -> Result<ControllerStatus, Refusal> {
        Err(Refusal::NotNow("the source is not read yet: wait for `ready`".into()))
    }
    async fn node_token(&self) -> Result<Token, Refusal> {
        Ok(Token { token: "node".into() })
    }
    async fn link_token(&self, terms: LinkTerms) -> Result<Token, Refusal> {
        match terms {
            LinkTerms { uses: Some(uses), expires_seconds: Some(seconds) } => {
                Ok(Token { token: format!("{uses} for {seconds} s") })
            }
            _ => Err(Refusal::Failed("the disk is full".into())),
        }
    }
    async fn join(&self, join: LinkJoin) -> Result<LinkJoined, Refusal> {
        match &*join.token {
            "good" => Ok(LinkJoined { cluster: "gcp".parse().unwrap() }),
            _ => Err(Refusal::Wrong("the token has expired".into())),
        }
    }
    async fn remove_link(&self, cluster: &str) -> Result<(), Refusal> {
        match cluster {
            "gcp" => Ok(()),
            other => Err(Refusal::Wrong(format!("{other} is not linked"))),
        }
    }
    async fn examine(&self, examine: Examine) -> Result<Vec<Examination>, Refusal> {
        let check = Check::ok("TCP", "connected".into());
        Ok(examine
            .cluster
            .into_iter()
            .map(|cluster| Examination { cluster, checks: vec![check.clone()] })
            .collect())
    }
    async fn rotate(&self, rotate: Rotate) -> Result<AuthorityStatus, Refusal> {
        Ok(AuthorityStatus { rotate_at: u64::from(rotate.finish), ..AuthorityStatus::default() })
    }
    async fn policy_check(&self, questions: Vec<PolicyQuestion>) -> Result<Vec<PolicyAnswer>, Refusal> {
        Ok(questions.into_iter().map(answer_to).collect())
    }
    async fn policy_show(&self, ask: PolicyShowAsk) -> Result<PolicyShow, Refusal> {
        Err(Refusal::Wrong(format!("there is no pod {}", ask.pod)))
    }
    async fn mesh(&self) -> Result<MeshReport, Refusal> {
        let cluster = "aws".parse().unwrap();
        Ok(MeshReport { cluster, clusters: vec![], nodes: vec![], peers: vec![] })
    }
    async fn rotate_keys(&self, ask: RotateKeys) -> Result<KeysRequested, Refusal> {
        let nodes = ask.nodes.into_iter().flatten().map(|name| format!("aws/{name}").try_into().unwrap());
        Ok(KeysRequested { number: 7, nodes: nodes.collect() })
    }
    async fn add_peer(&self, write: PeerWrite) -> Result<(), Refusal> {
        Err(Refusal::Wrong(write.manifest))
    }
    async fn remove_peer(&self, name: &str) -> Result<(), Refusal> {
        Err(Refusal::Wrong(format!("there is no peer {name}")))
    }
    async fn policy_lint(&self) -> Result<PolicyLint, Refusal> {
        Ok(PolicyLint { cluster: "aws".parse().unwrap(), policies: 2, findings: vec![] })
    }
}

/// Only TCP is known here.
fn answer_to(question: PolicyQuestion) -> PolicyAnswer {
    let PolicyQuestion { from, to, protocol, port, family } = question;
    if protocol != PolicyProtocol::Tcp {
        return PolicyAnswer::Refused { error: format!("nothing is known of {protocol}") };
    }
    let end = PolicyDecision::nobody();
    let allowed = PolicyCheck::conclude(&end, &end);
    let (egress, ingress) = (end.clone(), end);
    PolicyAnswer::Judged(Box::new(PolicyCheck { from, to, protocol, port, family, allowed, egress, ingress }))
}

/// A plan with something in every map.
fn a_state() -> State {
    let backend = Backend { ip: "10.0.0.1".parse().unwrap(), port: 80.try_into().unwrap(), node: u64::MAX };
    let frontend = Frontend {
        ip: "fd00::1".parse().unwrap(),
        protocol: model::Protocol::Udp,
        port: 53.try_into().unwrap(),
    };
    let span = TierSpan { tier: model::Tier::Node, begin: 0, count: 1, passes: 0 };
    let route = Route { via: RouteVia::Tunnel, source: None, mtu: None };
    State {
        routes: [(("10.0.0.0/8".parse().unwrap(), 100), route)].into(),
        frontends: [(frontend, Ladder { set: 9, tiers: vec![span], affinity: 0, table: None })].into(),
        sets: [(9, vec![backend])].into(),
        dead: [u64::MAX].into(),
        ..State::default()
    }
}

/// A socket in a folder of its own, and a server on it until it is dropped.
struct Served {
    folder: tempfile::TempDir,
    _server: tokio::task::JoinSet<()>,
}

impl Served {
    async fn new(name: &str, router: axum::Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(serve(&folder.path().join(name), Access::Group, router).await.unwrap());
        Self { folder, _server: server }
    }

    async fn agent() -> (Self, PathBuf) {
        let served = Self::new("agent.sock", agent_router(Arc::new(Fake))).await;
        let socket = served.folder.path().join("agent.sock");
        (served, socket)
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn an_agent_answers() {
    let (_served, socket) = Served::agent().await;
    let status: AgentStatus = client::get(&socket, "/v1/status").await.unwrap();
    assert_eq!((status.node.to_string().as_str(), status.pid), ("aws/aws-1", 7));

    let plan: PlanReport = client::get(&socket, "/v1/plan").await.unwrap();
    assert_eq!(plan.desired, a_state());
    assert_eq!(plan.operations.len(), 4);

    let mtu: MtuStatus =
        client::post(&socket, "/v1/mtu", &MtuAsk { cluster: "gcp".parse().unwrap() }).await.unwrap();
    assert_eq!(mtu.peers[0].largest, 1372);

    let request = CniRequest {
        command: "ADD".into(),
        container_id: String::new(),
        netns: String::new(),
        ifname: String::new(),
        args: String::new(),
        config: serde_json::Value::Null,
    };
    let response: CniResponse = client::post(&socket, "/v1/cni", &request).await.unwrap();
    assert!(matches!(response, CniResponse::Result(value) if value["was"] == "ADD"));

    assert_eq!(client::get_text(&socket, "/metrics").await.unwrap(), "# EOF\n");
    assert_eq!(client::get_text(&socket, "/healthz").await.unwrap(), "ok\n");
}

#[tokio::test]
async fn a_controller_answers() {
    let served = Served::new("controller.sock", controller_router(Arc::new(Fake))).await;
    let socket = served.folder.path().join("controller.sock");
    let token: Token = client::post(&socket, "/v1/tokens/node", &()).await.unwrap();
    assert_eq!(token.token, "node");
    let joined: LinkJoined =
        client::post(&socket, "/v1/links", &LinkJoin { token: "good".into() }).await.unwrap();
    assert_eq!(joined.cluster.as_str(), "gcp");
    let terms = LinkTerms { uses: Some(3), expires_seconds: Some(60) };
    let token: Token = client::post(&socket, "/v1/tokens/link", &terms).await.unwrap();
    assert_eq!(token.token, "3 for 60 s");
    let () = client::delete(&socket, "/v1/links/gcp").await.unwrap();
    let examine = Examine { cluster: Some("gcp".parse().unwrap()) };
    let examined: Vec<Examination> = client::post(&socket, "/v1/links/doctor", &examine).await.unwrap();
    assert_eq!(examined[0].checks[0].name, "TCP");
    let authority: AuthorityStatus =
        client::post(&socket, "/v1/authority/rotate", &Rotate { finish: true }).await.unwrap();
    assert_eq!(authority.rotate_at, 1);
    let ask = RotateKeys { nodes: Some(vec!["n1".into()]) };
    let asked: KeysRequested = client::post(&socket, "/v1/keys/rotate", &ask).await.unwrap();
    assert_eq!((asked.number, asked.nodes[0].to_string().as_str()), (7, "aws/n1"));
}

#[tokio::test]
async fn policy_is_asked() {
    let served = Served::new("controller.sock", controller_router(Arc::new(Fake))).await;
    let socket = served.folder.path().join("controller.sock");
    let ask = |protocol| PolicyQuestion {
        from: "x/a".parse().unwrap(),
        to: "10.0.0.1".parse().unwrap(),
        protocol,
        port: Some("http".parse().unwrap()),
        family: None,
    };
    let (tcp, udp) = (ask(PolicyProtocol::Tcp), ask(PolicyProtocol::Udp));
    let questions = PolicyQuestions { questions: vec![udp.clone(), tcp.clone()] };
    let answers: Vec<PolicyAnswer> = client::post(&socket, "/v1/policy/check", &questions).await.unwrap();
    assert_eq!(answers, [answer_to(udp), answer_to(tcp.clone())]);
    // As many as may be fit in, those that are too many are refused in words.
    let many = |count| PolicyQuestions { questions: vec![tcp.clone(); count] };
    let check =
        async |count| client::post::<_, Vec<PolicyAnswer>>(&socket, "/v1/policy/check", &many(count)).await;
    assert_eq!(check(MOST_POLICY_QUESTIONS).await.unwrap().len(), MOST_POLICY_QUESTIONS);
    let text = check(MOST_POLICY_QUESTIONS + 1).await.unwrap_err().to_string();
    assert!(text.contains("at most 4096"), "{text}");
    let bad = serde_json::json!({ "questions": [{ "from": "x", "to": "world", "protocol": "tcp" }] });
    let text = client::post::<_, ()>(&socket, "/v1/policy/check", &bad).await.unwrap_err().to_string();
    assert!(text.contains("names no end of a connection"), "{text}");

    let lint: PolicyLint = client::get(&socket, "/v1/policy/lint").await.unwrap();
    assert_eq!(lint.policies, 2);
    let ask = PolicyShowAsk { pod: "x/a".parse().unwrap() };
    let text = client::post::<_, PolicyShow>(&socket, "/v1/policy/show", &ask).await.unwrap_err().to_string();
    assert_eq!(text, "there is no pod x/a");

    let (_served, socket) = Served::agent().await;
    let flows: DeniedFlows = client::get(&socket, "/v1/policy/denied").await.unwrap();
    assert_eq!((flows.next, flows.lost), (7, 10));
    let flows: DeniedFlows = client::get(&socket, "/v1/policy/denied?after=3&wait=3600").await.unwrap();
    assert_eq!((flows.next, flows.lost), (3, 20));
}

#[tokio::test]
async fn refusals_say_why_and_of_what_kind() {
    let served = Served::new("controller.sock", controller_router(Arc::new(Fake))).await;
    let socket = served.folder.path().join("controller.sock");
    let status = client::get::<ControllerStatus>(&socket, "/v1/status").await.map(drop);
    let token = client::post::<_, Token>(&socket, "/v1/tokens/link", &()).await.map(drop);
    let join = client::post::<_, ()>(&socket, "/v1/links", &LinkJoin { token: "old".into() }).await;
    let nonsense = client::post::<_, ()>(&socket, "/v1/links", "what").await;
    let too_long =
        client::post::<_, ()>(&socket, "/v1/links", &LinkJoin { token: "x".repeat(2 << 20) }).await;
    let not_linked = client::delete::<()>(&socket, "/v1/links/aws").await;
    let no_text = client::delete::<()>(&socket, "/v1/links/%ff").await;
    let (_agent, agents) = Served::agent().await;
    let no_number = client::get::<()>(&agents, "/v1/policy/denied?after=x").await;
    let twice = client::get::<()>(&agents, "/v1/services?from=a&from=b").await;
    let terms = serde_json::json!({ "use": 1 });
    let bad_terms = client::post::<_, Token>(&socket, "/v1/tokens/link", &terms).await.map(drop);
    let unknown = client::get::<()>(&socket, "/v1/nothing").await;
    let wrong_method = client::get::<()>(&socket, "/v1/links").await;
    let not_ready = client::get_text(&socket, "/readyz").await.map(drop);
    for (result, code, words) in [
        (status, 503, "the source is not read yet"),
        (token, 500, "the disk is full"),
        (join, 400, "the token has expired"),
        (nonsense, 422, "the question was not understood"),
        (too_long, 413, "the question was not understood"),
        (not_linked, 400, "aws is not linked"),
        (no_text, 400, "the question was not understood"),
        (no_number, 400, "the question was not understood"),
        (twice, 400, "the question was not understood"),
        (bad_terms, 422, "the question was not understood"),
        (unknown, 404, "GET /v1/nothing is not part of this API"),
        (wrong_method, 405, "GET /v1/links is not part of this API"),
        (not_ready, 503, "waiting for the controller\nwaiting for the first handshake"),
    ] {
        match result {
            Err(ClientError::Refused { status, text }) => {
                assert_eq!(status.as_u16(), code, "{words}");
                assert!(text.contains(words), "{text:?} does not say {words:?}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let asked = client::get::<AgentStatus>(&folder.path().join("agent.sock"), "/v1/status").await;
    let text = asked.unwrap_err().to_string();
    assert!(text.contains("is the agent running?"), "{text}");
}

#[tokio::test]
async fn an_answer_of_another_kind() {
    let (_served, socket) = Served::agent().await;
    let asked = client::get::<ControllerStatus>(&socket, "/v1/status").await;
    let text = asked.unwrap_err().to_string();
    assert!(text.contains("GET /v1/status was not understood") && text.contains("same version"), "{text}");
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_not_taken() {
    let (served, socket) = Served::agent().await;
    let again = serve(&socket, Access::Owner, axum::Router::new()).await.err().expect("in use");
    assert!(matches!(again, BindError::Taken(_)), "{again}");
    client::get::<AgentStatus>(&socket, "/v1/status").await.expect("the first still answers");
    let left: Vec<_> = std::fs::read_dir(served.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("deep/agent.sock");
    for access in [Access::Owner, Access::Group, Access::Owner] {
        // Dropping the server leaves the socket behind, as a killed process does.
        let mut server = tokio::task::JoinSet::new();
        server.spawn(serve(&socket, access, agent_router(Arc::new(Fake))).await.unwrap());
        assert_eq!(mode(&socket), if access == Access::Owner { 0o600 } else { 0o660 });
        client::get::<AgentStatus>(&socket, "/v1/status").await.unwrap();
        server.shutdown().await;
        assert!(socket.exists());
    }
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    std::fs::write(&path, "precious").unwrap();
    let refused = serve(&path, Access::Owner, axum::Router::new()).await.err().expect("a file");
    assert!(matches!(refused, BindError::NotASocket(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
