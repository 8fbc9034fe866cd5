//! What strangers, misbehaving agents and misbehaving clusters may try, and what comes of it.

#[path = "../tests/common/mod.rs"]
mod common;
mod floods;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{ClusterName, NodeName, Object};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use wire::limits::FRAME_BYTES;
use wire::pb::exchange_client::ExchangeClient;
use wire::pb::frame::Body;
use wire::{VERSION, pb};

use self::common::{Agent, Controller, cluster, endpoint, eventually, name, node, service};
use crate::controller::{ControllerEvent, TokenTerms};
use crate::pki::{
    Authority, Credentials, Expect, Identity, Key, Leaf, Lifetimes, Roots, Trust, client_config,
};
use crate::{Error, frames, transport};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Somebody with a CA of its own.
struct Somebody {
    authority: Authority,
    cluster: ClusterName,
    _dir: tempfile::TempDir,
}

impl Somebody {
    fn new(cluster: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = name(cluster);
        let authority =
            Authority::open(dir.path(), &cluster, Lifetimes::default(), SystemTime::now()).unwrap();
        Self { authority, cluster, _dir: dir }
    }

    /// A certificate for any name at all.
    fn claim(&self, identity: &Identity) -> Arc<Credentials> {
        let key = Key::generate().unwrap();
        let leaf =
            self.authority.sign(identity, &key.request().unwrap(), Duration::MAX, SystemTime::now()).unwrap();
        let credentials = Credentials::default();
        credentials.set(&Leaf::new(&key, leaf, &[]).unwrap());
        Arc::new(credentials)
    }

    /// Links itself with a controller, as a real one would.
    async fn link(&self, with: &Controller, id: u64) {
        let token = with.handle.link_token(&TokenTerms::default()).unwrap().token;
        let token = crate::token::JoinToken::parse(&token, crate::token::TokenKind::Link).unwrap();
        let mut client = dial(with, None).await.unwrap();
        let request = pb::LinkRequest {
            version: Some(VERSION),
            token_id: token.id.to_vec(),
            token_secret: token.secret.to_vec(),
            cluster: Some(wire::encode_cluster(&cluster(self.cluster.as_str(), id))),
            roots: frames::raw_roots(self.authority.roots()),
        };
        client.link(request).await.unwrap();
    }

    fn controller(&self) -> Identity {
        Identity::Controller(self.cluster.clone())
    }
}

/// Dials a controller, believing that it is who it is.
async fn dial(
    controller: &Controller,
    credentials: Option<Arc<Credentials>>,
) -> Result<ExchangeClient<Channel>, Error> {
    let trust = Trust::default();
    let pem = std::fs::read(controller.dir.path().join("ca.crt")).unwrap();
    let roots: Roots = rustls_pki_types::pem::PemObject::pem_slice_iter(&pem).map(Result::unwrap).collect();
    trust.set(&controller.cluster.name, roots);
    let expect = Expect::Controller(controller.cluster.name.clone());
    let config = client_config(Arc::new(trust), expect, credentials);
    let client = transport::dial(controller.handle.local_addr(), config).await?;
    Ok(client.max_encoding_message_size(100 * FRAME_BYTES))
}

/// A stream whose frames are made by hand.
struct Raw {
    out: mpsc::Sender<pb::Frame>,
    incoming: Streaming<pb::Frame>,
}

impl Raw {
    async fn open(controller: &Controller, credentials: Arc<Credentials>) -> Result<Self, Status> {
        let mut client = dial(controller, Some(credentials)).await.unwrap();
        let (out, frames) = mpsc::channel(16);
        let incoming = client.stream(ReceiverStream::new(frames)).await?.into_inner();
        Ok(Self { out, incoming })
    }

    async fn greeted(controller: &Controller, credentials: Arc<Credentials>) -> Self {
        let mut raw = Self::open(controller, credentials).await.unwrap();
        raw.say(Body::Hello(pb::Hello { version: Some(VERSION), ..pb::Hello::default() })).await;
        let first = raw.incoming.message().await.unwrap().unwrap();
        assert!(matches!(first.body, Some(Body::Hello(_))), "{first:?}");
        raw
    }

    /// The same, of somebody who may be sent away.
    async fn greeted_or_not(controller: &Controller, credentials: Arc<Credentials>) -> Result<Self, Status> {
        let mut raw = Self::open(controller, credentials).await?;
        raw.say(Body::Hello(pb::Hello { version: Some(VERSION), ..pb::Hello::default() })).await;
        match raw.incoming.message().await?.and_then(|frame| frame.body) {
            Some(Body::Hello(_)) => Ok(raw),
            _ => Err(raw.end().await),
        }
    }

    /// A stream that has ended takes no frames any more; why it ended is to be had from its other half.
    async fn say(&mut self, body: Body) {
        let _ = self.out.send(pb::Frame { body: Some(body) }).await;
    }

    /// Says changes in a snapshot that never ends.
    async fn tell(&mut self, changes: Vec<Vec<u8>>) {
        self.say(Body::Begin(pb::Begin { epoch: 7, snapshot: true })).await;
        let changes = changes.into_iter().map(Into::into).collect();
        self.say(Body::Batch(pb::Batch { changes, revision: 1, keeps: vec![] })).await;
    }

    /// How the stream ends.
    async fn end(&mut self) -> Status {
        let ended = async {
            loop {
                if let Err(status) = self.incoming.message().await {
                    return status;
                }
            }
        };
        tokio::time::timeout(common::LONG, ended).await.expect("the stream should end with a reason")
    }
}

fn bytes(object: Object) -> Vec<u8> {
    wire::encode_change(&model::Change::Upsert(object)).encode_to_vec()
}

/// An agent's certificate, got with a token.
async fn enrolled(controller: &Controller) -> (Arc<Credentials>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeName::new(controller.cluster.name.clone(), "aws-7").unwrap();
    let address = controller.handle.local_addr();
    let mut agent = Agent::start(dir.path(), node.clone(), vec![address], &controller.token());
    agent.until_synced().await;
    drop(agent);
    let member = crate::enrol::Member::open(node, dir.path()).unwrap();
    (member.credentials, dir)
}

#[tokio::test]
async fn bytes_that_are_no_tls() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0x16, 3, 1, 0xff, 0xff, 1]] {
        let mut stream = TcpStream::connect(aws.handle.local_addr()).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A TLS alert or nothing; the connection is closed either way.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 100);
    }
    eventually("the count", || aws.handle.refused().get("handshake") == Some(&3)).await;
    aws.until("saying so", |aws, _| !aws.problems.is_empty()).await;
    assert!(aws.problems[0].contains("127.0.0.1"), "{:?}", aws.problems);
    assert!(aws.events.try_recv().is_err(), "once for each origin");
    // Others are served as ever.
    enrolled(&aws).await;
}

#[tokio::test]
async fn nobody_streams_without_a_certificate() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let mut client = dial(&aws, None).await.unwrap();
    let status = client.stream(tokio_stream::empty()).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    let request =
        pb::RenewRequest { version: Some(VERSION), csr: Key::generate().unwrap().request().unwrap() };
    assert_eq!(client.renew(request).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(aws.handle.refused()["caller"], 2);
}

#[tokio::test]
async fn nobody_is_what_its_ca_may_not_name() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Somebody::new("gcp");
    gcp.link(&aws, 2).await;
    let aws_node = Identity::Node(NodeName::new(name("aws"), "aws-1").unwrap());
    // A linked cluster's CA names our node, our controller, a cluster that is not linked: not believed.
    for claimed in [aws_node, Identity::Controller(name("aws")), Identity::Controller(name("azure"))] {
        let client = dial(&aws, Some(gcp.claim(&claimed))).await;
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let refused = match client {
            Ok(mut client) => client.stream(tokio_stream::empty()).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{claimed}");
    }
    eventually("the count", || aws.handle.refused().get("certificate") == Some(&3)).await;
    // It may name its own nodes, but they have nothing to do here.
    let its_node = Identity::Node(NodeName::new(name("gcp"), "gcp-1").unwrap());
    let status = Raw::open(&aws, gcp.claim(&its_node)).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("causeway://gcp/node/gcp-1"), "{status}");
    // Its controller is welcome.
    Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
}

#[tokio::test]
async fn a_frame_that_is_too_large() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let (credentials, _dir) = enrolled(&aws).await;
    // One that compresses to a few hundred bytes counts by what it unpacks to.
    let mut raw = Raw::greeted(&aws, credentials.clone()).await;
    let software = "x".repeat(FRAME_BYTES + 1);
    raw.say(Body::Hello(pb::Hello { software, ..pb::Hello::default() })).await;
    let status = raw.end().await;
    assert_eq!(aws.handle.refused()["message"], 1, "{status}");
    // The next stream of the same agent is served.
    Raw::greeted(&aws, credentials).await;
    // The same without compression.
    let (credentials, _dir) = enrolled(&aws).await;
    let mut client = dial(&aws, Some(credentials)).await.unwrap();
    let noise = Key::generate().unwrap().to_pem().repeat(FRAME_BYTES / 200);
    let request = pb::RenewRequest { version: Some(VERSION), csr: noise.into_bytes() };
    let status = client.renew(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
}

#[tokio::test]
async fn greetings_that_are_none() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let (credentials, _dir) = enrolled(&aws).await;
    let version =
        |major, minor| pb::Hello { version: Some(pb::Version { major, minor }), ..pb::Hello::default() };
    let unversioned = pb::Hello::default();
    for (body, code, count) in [
        (Body::Hello(version(1, VERSION.minor + 3)), Code::FailedPrecondition, "version"),
        (Body::Hello(version(2, 0)), Code::FailedPrecondition, "version"),
        (Body::Hello(unversioned), Code::FailedPrecondition, "version"),
        (Body::Subscribe(pb::Subscribe::default()), Code::InvalidArgument, "message"),
    ] {
        let mut raw = Raw::open(&aws, credentials.clone()).await.unwrap();
        raw.say(body).await;
        assert_eq!(raw.end().await.code(), code);
        assert!(aws.handle.refused().contains_key(count));
    }
    let mut raw = Raw::open(&aws, credentials).await.unwrap();
    raw.say(Body::Hello(version(1, VERSION.minor + 2))).await;
    raw.say(Body::Subscribe(pb::Subscribe::default())).await;
    while !matches!(raw.incoming.message().await.unwrap().unwrap().body, Some(Body::Synced(_))) {}
}

#[tokio::test]
async fn an_agent_has_nothing_to_tell() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let (credentials, _dir) = enrolled(&aws).await;
    let mut raw = Raw::greeted(&aws, credentials).await;
    raw.tell(vec![bytes(node("aws", 1, 1))]).await;
    // A frame of a later version.
    raw.out.send(pb::Frame { body: None }).await.unwrap();
    eventually("the count", || aws.handle.refused().get("frame") == Some(&3)).await;
    // It is heard as ever.
    raw.say(Body::Subscribe(pb::Subscribe::default())).await;
    while !matches!(raw.incoming.message().await.unwrap().unwrap().body, Some(Body::Synced(_))) {}
    assert_eq!(aws.handle.revision(), 1);
}

#[tokio::test]
async fn one_bad_object_costs_only_itself() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Somebody::new("gcp");
    gcp.link(&aws, 2).await;
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let mut weighty = endpoint("gcp", 2, "echo", 1);
    if let Object::Endpoint(endpoint) = &mut weighty {
        endpoint.labels.insert("a label with spaces".into(), String::new());
    }
    raw.tell(vec![
        bytes(Object::Cluster(cluster("gcp", 2))),
        b"\xff\xff\xff".to_vec(),
        bytes(weighty),
        bytes(node("azure", 2, 1)),
        bytes(service("gcp", "echo", true)),
    ])
    .await;
    aws.until_world("the good ones", |world| world.len() == 2).await;
    aws.until("saying so", |aws, _| !aws.problems.is_empty()).await;
    let said = aws.problems.join("\n");
    for part in
        ["from cluster gcp", "foreign-cluster", "malformed", "a label's key", "endpoint gcp/demo/echo"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(aws.handle.refused()["object"], 3);
}

#[tokio::test]
async fn a_cluster_that_does_not_keep_to_the_protocol() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Somebody::new("gcp");
    gcp.link(&aws, 2).await;
    let position = |revision| Some(pb::Position { epoch: 7, revision });
    let synced = |revision| Body::Synced(pb::Synced { position: position(revision) });
    let begin = Body::Begin(pb::Begin { epoch: 7, snapshot: true });
    for bodies in [
        vec![synced(1)],
        vec![begin.clone(), synced(5), synced(4)],
        vec![Body::Batch(pb::Batch { changes: vec![Default::default(); 4097], revision: 1, keeps: vec![] })],
        vec![Body::Report(pb::NodeReport { public_key: vec![1; 31], port: 1, ..pb::NodeReport::default() })],
    ] {
        let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
        for body in bodies {
            raw.say(body).await;
        }
        let status = raw.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        aws.until("the end", |_, event| matches!(event, ControllerEvent::PeerDown { .. })).await;
    }
    assert_eq!(aws.handle.refused()["message"], 4);
}

#[tokio::test]
async fn the_newer_stream_counts() {
    let mut aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Somebody::new("gcp");
    gcp.link(&aws, 2).await;
    let mut old = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let mut new = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let status = old.end().await;
    assert!(status.message().contains("newer stream"), "{status}");
    new.tell(vec![bytes(Object::Cluster(cluster("gcp", 2)))]).await;
    aws.until_world("the new stream's cluster", |world| world.len() == 1).await;
    assert!(aws.handle.links()[0].stream.connected);
}

#[tokio::test]
async fn roots_follow_one_another_only() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let (gcp, thief) = (Somebody::new("gcp"), Somebody::new("gcp"));
    gcp.link(&aws, 2).await;
    let hello = |roots: &Roots, crosses: &Roots| {
        let (roots, crosses) = (frames::raw_roots(roots), frames::raw_roots(crosses));
        Body::Hello(pb::Hello { version: Some(VERSION), roots, crosses, ..pb::Hello::default() })
    };
    let stored = || std::fs::read_to_string(aws.dir.path().join("links.json")).unwrap();
    let before = stored();
    // Whoever has stolen a leaf cannot bring its own root, not even beside the cluster's.
    let mut raw = Raw::greeted(&aws, gcp.claim(&gcp.controller())).await;
    let both = [thief.authority.roots().clone(), gcp.authority.roots().clone()].concat();
    raw.say(hello(thief.authority.roots(), &Roots::new())).await;
    raw.say(hello(&both, &Roots::new())).await;
    raw.say(Body::Subscribe(pb::Subscribe::default())).await;
    while !matches!(raw.incoming.message().await.unwrap().unwrap().body, Some(Body::Synced(_))) {}
    assert_eq!(stored(), before);
    // The cluster itself announces its next root beside the present one, with that one's word for it.
    let next = gcp.authority.rotate(SystemTime::now()).unwrap();
    raw.say(hello(next.roots(), next.crosses())).await;
    eventually("both roots", || stored() != before).await;
    // Then the new root alone.
    let next = next.retire(SystemTime::now(), true).unwrap().unwrap();
    let before = stored();
    raw.say(hello(next.roots(), next.crosses())).await;
    eventually("the new root alone", || stored() != before).await;
    assert!(!aws.handle.refused().contains_key("certificate"), "{:?}", aws.handle.refused());
    // The old root vouches for nobody any more.
    let gone = match dial(&aws, Some(gcp.claim(&gcp.controller()))).await {
        Ok(mut client) => client.stream(tokio_stream::empty()).await.is_err(),
        Err(_) => true,
    };
    assert!(gone);
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_good_for_its_renewal_alone() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let dir = aws.dir.path();
    let authority = Authority::open(dir, &name("aws"), Lifetimes::default(), SystemTime::now()).unwrap();
    let held = |identity: &Identity, age: Duration| {
        let key = Key::generate().unwrap();
        let leaf =
            authority.sign(identity, &key.request().unwrap(), DAY, SystemTime::now() - DAY - age).unwrap();
        let credentials = Credentials::default();
        credentials.set(&Leaf::new(&key, leaf, &[]).unwrap());
        Arc::new(credentials)
    };
    let node = Identity::Node(NodeName::new(name("aws"), "aws-7").unwrap());
    let request =
        || pb::RenewRequest { version: Some(VERSION), csr: Key::generate().unwrap().request().unwrap() };

    let mut client = dial(&aws, Some(held(&node, DAY * 29))).await.unwrap();
    let status = client.stream(tokio_stream::empty()).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("the certificate has ended"), "{status}");
    assert!(client.renew(request()).await.is_ok());

    for (identity, age) in [(node, DAY * 31), (Identity::Controller(name("aws")), DAY)] {
        let renewed = match dial(&aws, Some(held(&identity, age))).await {
            Ok(mut client) => client.renew(request()).await.is_ok(),
            Err(_) => false,
        };
        assert!(!renewed, "{identity} {age:?}");
    }
    eventually("the count", || aws.handle.refused().get("certificate") == Some(&2)).await;
}

#[tokio::test]
async fn versions_two_apart_link_and_no_others() {
    let aws = Controller::start(cluster("aws", 1)).await;
    let gcp = Somebody::new("gcp");
    let ours = VERSION;
    let terms = TokenTerms { uses: 9, ..TokenTerms::default() };
    let token = aws.handle.link_token(&terms).unwrap().token;
    let token = crate::token::JoinToken::parse(&token, crate::token::TokenKind::Link).unwrap();
    let version = |major, minor| Some(pb::Version { major, minor });
    for (theirs, good) in [
        (version(ours.major, ours.minor.saturating_sub(2)), true),
        (version(ours.major, ours.minor + 2), true),
        (version(ours.major, ours.minor + 3), false),
        (version(ours.major + 1, ours.minor), false),
        (None, false),
    ] {
        let mut client = dial(&aws, None).await.unwrap();
        let request = pb::LinkRequest {
            version: theirs,
            token_id: token.id.to_vec(),
            token_secret: token.secret.to_vec(),
            cluster: Some(wire::encode_cluster(&cluster("gcp", 2))),
            roots: frames::raw_roots(gcp.authority.roots()),
        };
        match (client.link(request).await, good) {
            (Ok(_), true) => {}
            (Err(status), false) => {
                let theirs = theirs.unwrap_or_default();
                let said = format!(
                    "the other side speaks version {}.{} of the exchange, this one {}.{}: they may differ by 2 in the \
                     second number; upgrade the older one first",
                    theirs.major, theirs.minor, ours.major, ours.minor
                );
                assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, said.as_str()));
            }
            (answer, _) => panic!("{theirs:?}: {answer:?}"),
        }
    }
    assert_eq!(aws.handle.refused()["version"], 3);
}

#[test]
fn batches_weigh_no_less_than_they_are() {
    let mut objects = vec![
        Object::Cluster(cluster("aws", 1)),
        node("aws", 1, 1),
        service("aws", "echo", true),
        endpoint("aws", 1, "echo", 1),
    ];
    // Everything at its longest.
    if let Object::Endpoint(mut endpoint) = endpoint("aws", 1, "echo", 1) {
        endpoint.labels = (0..1000).map(|i| (format!("{i:0>317}"), "v".repeat(63))).collect();
        endpoint.ports = vec![endpoint.ports[0].clone(); 1000];
        endpoint.ips = vec!["255.255.255.254".parse().unwrap(), "fd00::1".parse().unwrap()];
        endpoint.weight = u16::MAX;
        objects.push(Object::Endpoint(endpoint));
    }
    if let Object::Node(mut node) = node("aws", 1, 1) {
        node.private_ips = vec!["fd00::1".parse().unwrap(); 64];
        node.pod_cidrs = vec!["fd00::/48".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        node.location = "l".repeat(253);
        node.port = u16::MAX;
        objects.push(Object::Node(node));
    }
    objects.extend(policing());
    for object in objects {
        let (weight, length) = (engine::exchange::weight(&object), bytes(object.clone()).len());
        assert!(weight >= length, "{weight} < {length} for {:?}", object.key());
        assert!(weight < FRAME_BYTES / 2);
    }
}

/// A policy, a namespace and a pod of much and of little.
fn policing() -> Vec<Object> {
    use model::Protocol;
    use model::policy::*;
    let of = |name: &str| NamespaceName { cluster: self::name("aws"), name: name.into() };
    let values = || (0..2000).map(|n| format!("{n}")).collect();
    let one = |key: &str, operator| Requirement { key: key.into(), operator };
    let selector = Selector {
        requirements: vec![
            one("a", Operator::DoesNotExist),
            one("b", Operator::Exists),
            one(&"c".repeat(317), Operator::In(values())),
            one("d", Operator::NotIn([String::new()].into())),
        ],
    };
    let pods = |namespaces| PodSelector { namespaces, pods: selector.clone() };
    let v4 = (0..5000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255).parse().unwrap());
    let v6 = (0..5000).map(|n| format!("fd00:{n:x}::/32").parse().unwrap());
    let entity = PolicyPeer::Entity(PolicyEntity::All);
    let peers = vec![
        PolicyPeer::Pods(pods(NamespaceChoice::Named("n".into()))),
        PolicyPeer::Pods(pods(NamespaceChoice::Selected(selector.clone()))),
        PolicyPeer::Networks { ranges: v4.chain(v6).collect(), except: vec!["::/0".parse().unwrap()] },
        PolicyPeer::Networks { ranges: vec![], except: vec![] },
        PolicyPeer::Nodes(Selector::default()),
        PolicyPeer::DomainNames(vec!["a".into(); 1000]),
    ];
    let ports = vec![
        PolicyPort::Ports { protocol: Protocol::Sctp, first: u16::MAX, last: u16::MAX },
        PolicyPort::Named { protocol: Some(Protocol::Tcp), name: "n".into() },
        PolicyPort::Icmp { v6: true, kind: Some(255) },
    ];
    let rule = |peers, ports| PolicyRule {
        path: "p".into(),
        name: String::new(),
        action: PolicyAction::Deny,
        peers,
        ports,
    };
    let mut rules = vec![rule(Some(peers), Some(ports)); 2];
    rules.extend(vec![rule(Some(vec![entity; 1000]), None); 3]);
    rules.extend(vec![rule(None, Some(Vec::new())); 3000]);
    let name = PolicyName {
        cluster: self::name("aws"),
        kind: PolicyKind::CiliumClusterwideNetworkPolicy,
        namespace: String::new(),
        name: "p".into(),
    };
    let policy = Policy {
        name,
        tier: PolicyTier::Baseline { priority: 1000 },
        distribute: true,
        subject: pods(NamespaceChoice::Selected(Selector::default())).into(),
        ingress: Some(rules),
        egress: Some(Vec::new()),
    };
    let pod = Pod {
        name: PodName { namespace: of("n"), name: "p".into() },
        ips: vec!["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        node: Some(NodeName::new(self::name("aws"), "n").unwrap()),
        labels: (0..1000).map(|n| (n.to_string(), String::new())).collect(),
        ports: vec![NamedPort { name: "p".into(), protocol: Protocol::Udp, port: model::Port::MAX }; 500],
    };
    let namespace = Namespace { name: of("n"), labels: pod.labels.clone(), shared: true };
    vec![Object::Policy(policy), Object::Pod(pod), Object::Namespace(namespace)]
}
