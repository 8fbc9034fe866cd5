//! What the controller answers, on its Unix socket and over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use cluster::kubernetes::lease::{Contact, Role};
use futures::future::join_all;
use link::controller::TokenTerms;
use model::{ClusterName, Kind};
use serve::http::{Health, Vitals};
use serve::local::{Access, ControllerApi, Refusal, controller_router};
use tokio::time::Instant;
use wire::local::{
    AuthorityStatus, ComplaintStatus, ControllerStatus, Examination, Examine, KeysRequested, LinkJoin,
    LinkJoined, LinkTerms, MeshReport, MulticlusterStatus, PeerWrite, PolicyAnswer, PolicyLint,
    PolicyQuestion, PolicyShow, PolicyShowAsk, RoleStatus, Rotate, RotateKeys, SourceStatus, Token,
};

use crate::config::Config;
use crate::controller::{Controller, Inner};
use crate::policy;

/// A token for nodes is used by a whole cluster's provisioning.
const NODE_TOKEN_USES: u32 = 10_000;

/// No token lasts longer.
const LONGEST_TOKEN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Complaints in a status; the rest is in Events.
const COMPLAINTS: usize = 100;

/// Says over HTTP that the process lives, from its first moment on: a controller whose API server is away may wait for
/// hours, and nothing gets better when it is killed for that. The rest is the controller's to say, once it is there.
#[derive(Default)]
pub(crate) struct Front(OnceLock<Arc<Controller>>);

/// Begins to say that the process lives.
pub(crate) async fn open_front(config: &Config) -> Result<Arc<Front>> {
    let front = Arc::new(Front::default());
    tokio::spawn(serve::http::serve(config.http_listen, serve::http::router(front.clone())).await?);
    Ok(front)
}

/// Begins to answer. What answers ends with the runtime.
pub(crate) async fn start(controller: &Arc<Controller>, front: &Front, config: &Config) -> Result<()> {
    let socket = config.run_dir.join("controller.sock");
    let local = serve::local::serve(&socket, Access::Owner, controller_router(controller.clone())).await?;
    tokio::spawn(local);
    front.0.get_or_init(|| controller.clone());
    Ok(())
}

impl Vitals for Front {
    fn health(&self) -> Health {
        let waiting = || vec!["everything that the cluster has: its API server, or the folder".to_string()];
        self.0.get().map_or_else(|| Health { waiting_for: waiting() }, |controller| controller.health())
    }

    fn metrics(&self) -> String {
        // The end of a text without metrics.
        self.0.get().map_or_else(|| "# EOF\n".into(), |controller| controller.metrics())
    }
}

impl Controller {
    fn status(&self) -> ControllerStatus {
        let objects = self.count();
        let inner = self.inner();
        let complaints = inner.complaints.iter().map(|(id, complaint)| ComplaintStatus {
            object: id.to_string(),
            reason: complaint.reason.into(),
            message: complaint.message.clone(),
        });
        ControllerStatus {
            cluster: self.cluster.name.clone(),
            id: self.cluster.id.get(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            ready: true,
            rss_bytes: rss_bytes(),
            revision: self.handle.revision(),
            agents: self.handle.agents(),
            links: self.handle.links(),
            authority: self.handle.authority(),
            problems: inner.all_problems(),
            role: inner.role(),
            source: inner.source(),
            objects,
            complaints: complaints.take(COMPLAINTS).collect(),
        }
    }

    /// How many objects agents are told of, by kind.
    fn count(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for object in self.handle.told() {
            *counts.entry(kind_name(object.key().kind()).to_string()).or_default() += 1;
        }
        counts
    }
}

impl Inner {
    fn role(&self) -> RoleStatus {
        let Some(kubernetes) = &self.kubernetes else {
            return RoleStatus { leads: true, ..RoleStatus::default() };
        };
        let leader = match &kubernetes.role {
            Role::Leader => Some(kubernetes.identity.clone()),
            Role::Standby { leader } => leader.clone(),
        };
        let leads = kubernetes.role == Role::Leader;
        RoleStatus { leads, identity: kubernetes.identity.clone(), leader }
    }

    fn source(&self) -> SourceStatus {
        let Some(kubernetes) = &self.kubernetes else {
            let kind = "standalone".into();
            return SourceStatus {
                kind,
                synced_seconds: self.synced.map(seconds),
                ..SourceStatus::default()
            };
        };
        let (away_seconds, away_why) = match &kubernetes.contact {
            Contact::Away { since, why } => (Some(seconds(*since)), why.clone()),
            Contact::Unknown | Contact::Answers { .. } => (None, String::new()),
        };
        SourceStatus {
            kind: "kubernetes".into(),
            server_version: kubernetes.version.clone(),
            synced_seconds: self.synced.map(seconds),
            stale: self.synced.is_none() || self.known.is_stale(),
            away_seconds,
            away_why,
        }
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cluster => "clusters",
        Kind::Node => "nodes",
        Kind::Peer => "peers",
        Kind::Policy => "policies",
        Kind::Namespace => "namespaces",
        Kind::Pod => "pods",
        Kind::Service => "services",
        Kind::Import => "imports",
        Kind::Endpoint => "endpoints",
    }
}

impl Vitals for Controller {
    fn health(&self) -> Health {
        // It answers from the moment on that its source was read in full: then it is ready.
        Health::default()
    }

    fn metrics(&self) -> String {
        self.metrics.set_status(&self.status());
        let counts = self.count();
        for kind in Kind::ALL {
            self.metrics.set_objects(kind, counts.get(kind_name(kind)).copied().unwrap_or_default());
        }
        self.metrics.set_refused(&self.handle.refused());
        self.metrics.encode()
    }
}

impl ControllerApi for Controller {
    async fn status(&self) -> Result<ControllerStatus, Refusal> {
        Ok(Self::status(self))
    }

    async fn services(&self) -> Result<MulticlusterStatus, Refusal> {
        Ok(self.inner().multicluster.status())
    }

    async fn node_token(&self) -> Result<Token, Refusal> {
        let terms = TokenTerms { uses: NODE_TOKEN_USES, ..TokenTerms::default() };
        self.handle.node_token(&terms).map_err(failed)
    }

    async fn link_token(&self, terms: LinkTerms) -> Result<Token, Refusal> {
        let usual = TokenTerms::default();
        let uses = terms.uses.unwrap_or(usual.uses);
        let expires = terms.expires_seconds.map_or(usual.expires, Duration::from_secs);
        if uses == 0 || expires.is_zero() || expires > LONGEST_TOKEN {
            return Err(Refusal::Wrong("a token is for at least one use, and for a second to a year".into()));
        }
        self.handle.link_token(&TokenTerms { uses, expires, ..usual }).map_err(failed)
    }

    async fn join(&self, join: LinkJoin) -> Result<LinkJoined, Refusal> {
        let joined = self.handle.join(&join.token).await;
        joined.map(|cluster| LinkJoined { cluster }).map_err(wrong)
    }

    async fn remove_link(&self, cluster: &str) -> Result<(), Refusal> {
        let cluster = ClusterName::new(cluster).map_err(|e| Refusal::Wrong(e.to_string()))?;
        match self.handle.remove_link(&cluster) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.not_linked(&cluster)),
            Err(error) => Err(failed(error)),
        }
    }

    async fn examine(&self, examine: Examine) -> Result<Vec<Examination>, Refusal> {
        let Some(cluster) = examine.cluster else {
            let linked = self.handle.links().into_iter();
            let looks = linked.map(async |link| self.handle.examine(&link.cluster).await);
            return Ok(join_all(looks).await.into_iter().flatten().collect());
        };
        match self.handle.examine(&cluster).await {
            Some(examination) => Ok(vec![examination]),
            None => Err(self.not_linked(&cluster)),
        }
    }

    async fn rotate(&self, rotate: Rotate) -> Result<AuthorityStatus, Refusal> {
        let turned = if rotate.finish { self.handle.drop_old_roots() } else { self.handle.rotate() };
        turned.map_err(wrong)
    }

    async fn policy_check(&self, questions: Vec<PolicyQuestion>) -> Result<Vec<PolicyAnswer>, Refusal> {
        Ok(policy::check(&*policy::judge(self), questions))
    }

    async fn policy_show(&self, ask: PolicyShowAsk) -> Result<PolicyShow, Refusal> {
        policy::show(&*policy::judge(self), ask)
    }

    async fn mesh(&self) -> Result<MeshReport, Refusal> {
        Ok(Self::mesh(self))
    }

    async fn rotate_keys(&self, ask: RotateKeys) -> Result<KeysRequested, Refusal> {
        Self::rotate_keys(self, ask)
    }

    async fn add_peer(&self, write: PeerWrite) -> Result<(), Refusal> {
        self.write_peer(write).await
    }

    async fn remove_peer(&self, name: &str) -> Result<(), Refusal> {
        Self::remove_peer(self, name).await
    }

    async fn policy_lint(&self) -> Result<PolicyLint, Refusal> {
        Ok(policy::judge(self).lint())
    }
}

impl Controller {
    fn not_linked(&self, cluster: &ClusterName) -> Refusal {
        let linked: Vec<_> = self.handle.links().iter().map(|link| link.cluster.to_string()).collect();
        Refusal::Wrong(match linked.is_empty() {
            true => format!("{cluster} is not linked, and no other cluster is"),
            false => format!("{cluster} is not linked; linked are: {}", linked.join(", ")),
        })
    }
}

fn failed(e: link::Error) -> Refusal {
    match e {
        link::Error::Standby(_) => Refusal::NotNow(e.to_string()),
        e => Refusal::Failed(e.to_string()),
    }
}

/// Whoever asked has to put something right, unless it is a matter of time.
fn wrong(e: link::Error) -> Refusal {
    if e.is_transient() { Refusal::NotNow(e.to_string()) } else { Refusal::Wrong(e.to_string()) }
}

/// Resident memory of this process, in bytes; 0 where there is no `/proc`.
fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
