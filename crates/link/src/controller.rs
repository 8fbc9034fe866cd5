//! The cluster's side: the listener, the streams to agents, the links to other clusters.

mod agents;
mod examine;
mod forgetting;
mod hearing;
mod joining;
mod links;
mod listener;
mod peers;
mod pulse;
mod review;
mod service;
mod session;
mod shared;
pub mod state;
mod turning;
mod wishes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use engine::exchange::{Audience, Held, Interest, Position};
use model::{Change, Cluster, ClusterName, NodeName, Object};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use wire::local::{AuthorityStatus, Examination, LinkStatus, Token};

pub use self::review::{NotReviewed, Review, Reviewer};
use self::shared::Shared;
pub use crate::pki::Lifetimes;
use crate::pki::{all_pem, fingerprint};
use crate::token::{JoinToken, TokenKind};
use crate::{Address, Error, NodeReport, files};
pub use engine::exchange::Budget;

/// What links may cost, and how they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// What each may cost. One that costs more is frozen.
    pub budget: Budget,
    /// How long a frozen link is left alone; doubled each time in a row, five times at most.
    pub thaw: Duration,
    /// After how long a silence what a cluster said is forgotten; never if there is none.
    pub forget_after: Option<Duration>,
    /// Whether policies that other clusters distribute are taken.
    pub policies: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { budget: Budget::default(), thaw: Duration::from_secs(30), forget_after: None, policies: false }
    }
}

/// What a controller needs to know to listen.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// The cluster.
    pub cluster: Cluster,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The addresses that others reach it by; they stand in the tokens.
    pub advertise: Vec<SocketAddr>,
    /// Where linked clusters reach it, if that is somewhere else; they stand in link tokens.
    pub advertise_to_clusters: Vec<Address>,
    /// Where the CA, tokens and links are kept (readable by the owner only).
    pub state_dir: PathBuf,
    /// What is known of other clusters already, from disk: [`Held::of`] the objects of each.
    pub held: BTreeMap<ClusterName, Held>,
    /// How long certificates and roots are valid.
    pub lifetimes: Lifetimes,
    /// Who checks tokens that we did not make; nobody: then they are refused.
    pub reviewer: Option<Arc<dyn Reviewer>>,
    /// How long a node's certificate is valid where such tokens are taken.
    pub reviewed_lifetime: Duration,
    /// Whether this is the one controller that others talk with: that joins nodes with tokens of ours, and that linked
    /// clusters hear. [`Handle::lead`] says when that changes.
    pub leads: bool,
    /// What links may cost, and how they end.
    pub links: LinkSettings,
}

impl ControllerOptions {
    /// Options with nothing known, for the only controller of a cluster, and the usual lifetimes.
    pub fn new(
        cluster: Cluster,
        listen: SocketAddr,
        advertise: Vec<SocketAddr>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            cluster,
            listen,
            advertise,
            advertise_to_clusters: Vec::new(),
            state_dir: state_dir.into(),
            held: BTreeMap::new(),
            lifetimes: Lifetimes::default(),
            reviewer: None,
            reviewed_lifetime: Duration::from_secs(3600),
            leads: true,
            links: LinkSettings::default(),
        }
    }
}

/// What happens on the streams.
#[derive(Debug)]
pub enum ControllerEvent {
    /// An agent's stream is up.
    AgentUp {
        /// Whose.
        node: NodeName,
    },
    /// An agent's stream is gone.
    AgentDown {
        /// Whose.
        node: NodeName,
    },
    /// An agent said something of its node.
    Report {
        /// Which node; proved by its certificate.
        node: NodeName,
        /// What.
        report: NodeReport,
    },
    /// A linked cluster's stream is up.
    PeerUp {
        /// Whose.
        cluster: ClusterName,
    },
    /// A linked cluster's stream is gone. Its objects stay; it is tried again by itself.
    PeerDown {
        /// Whose.
        cluster: ClusterName,
        /// Why.
        error: String,
    },
    /// A linked cluster's objects change. To be given to [`Handle::publish`] if agents are to see them.
    PeerChanges {
        /// Whose; every change is about an object of this cluster.
        cluster: ClusterName,
        /// To be applied in order. A removed link's objects are deleted the same way.
        changes: Vec<Change>,
        /// The place to save with the objects; none in the middle of a first snapshot, and after a removal.
        position: Option<Position>,
    },
    /// What of the linked cluster is known in full as of the position, of what not everybody is told: to be saved with it.
    PeerInterest {
        /// Whose.
        cluster: ClusterName,
        /// What.
        interest: Interest,
    },
    /// Everything the linked cluster exports is now known, as far as it is of use here.
    PeerSynced {
        /// Whose.
        cluster: ClusterName,
        /// The place to save with the objects.
        position: Position,
    },
    /// Something for the operator's eyes: a refused object, frame or stranger; once each.
    Problem(String),
}

/// For whom a node token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    /// How many times it can be used.
    pub uses: u32,
    /// How long.
    pub expires: Duration,
    /// The only node that may use it (its name within the cluster); any when none is named. Means nothing for a
    /// link token.
    pub node: Option<String>,
}

impl Default for TokenTerms {
    fn default() -> Self {
        Self { uses: 1, expires: Duration::from_secs(15 * 60), node: None }
    }
}

/// The controller's listener and dialler.
pub struct Server;

impl Server {
    /// Listens and redials. Everything ends when the last [`Handle`] is dropped. Needs a tokio runtime with time
    /// and net.
    pub async fn start(
        options: ControllerOptions,
    ) -> Result<(Handle, mpsc::Receiver<ControllerEvent>), Error> {
        files::make_dir(&options.state_dir)?;
        let address = options.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let mut epoch = [0; 8];
        rand::fill(&mut epoch).map_err(|_| Error::Crypto("no random bytes".into()))?;
        let (shared, events) = Shared::open(options, local, u64::from_le_bytes(epoch))?;
        let shared = Arc::new(shared);
        shared.credentials.set(&shared.authority().own_leaf(SystemTime::now())?);
        tokio::spawn(listener::serve(shared.clone(), listener));
        tokio::spawn(listener::renew(shared.clone()));
        tokio::spawn(turning::keep(shared.clone()));
        tokio::spawn({
            let shared = shared.clone();
            async move {
                loop {
                    let until = shared.wishes.forget();
                    tokio::select! {
                        () = shared.stopped() => return,
                        () = sleep_until(until) => {}
                    }
                }
            }
        });
        if let Some(after) = shared.options.links.forget_after {
            tokio::spawn(forgetting::forget(shared.clone(), after));
        }
        tokio::spawn({
            let shared = shared.clone();
            async move { shared.take_leave().await }
        });
        let linked: Vec<_> = shared.links().iter().map(|link| link.record.cluster.name.clone()).collect();
        for cluster in linked {
            joining::start_dialling(&shared, &cluster);
        }
        let guard = Arc::new(Guard(shared.clone()));
        Ok((Handle { shared, _guard: guard }, events))
    }
}

/// Ends everything when the last handle is gone.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop.send_replace(true);
    }
}

/// What the controller asks of its [`Server`]. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

impl Handle {
    /// Tells changes: of the own cluster to agents and, as far as it is exported, to linked clusters; of other
    /// clusters to agents only. Never waits for anybody. Nobody is told anything before the first time, and by then
    /// it should be everything: a receiver would take what is missing for gone.
    pub fn publish(&self, changes: Vec<Change>) {
        let mut teller = self.shared.teller();
        let mut changed = false;
        for change in changes {
            changed |= teller.apply(change);
        }
        // Under the lock: of two at once, the later counts.
        if let Some(wanted) = teller.take_wanted() {
            self.shared.wanted.send_replace(Some(Arc::new(wanted)));
        }
        drop(teller);
        let holding = self.shared.holding.load(Ordering::Relaxed);
        self.shared.published.send_if_modified(|published| {
            let first = !holding && !std::mem::replace(published, true);
            changed || first
        });
    }

    /// Tells nobody anything until [`Handle::release`]: what is known has become less than everything.
    pub fn hold(&self) {
        self.shared.holding.store(true, Ordering::Relaxed);
        self.shared.published.send_replace(false);
    }

    /// Tells again.
    pub fn release(&self) {
        self.shared.holding.store(false, Ordering::Relaxed);
        self.shared.published.send_replace(true);
    }

    /// A token for nodes that join the cluster. Secret: hand it over in a file, log nothing of it.
    pub fn node_token(&self, terms: &TokenTerms) -> Result<Token, Error> {
        self.token(TokenKind::Node, terms, terms.node.clone())
    }

    /// A token for another cluster to [`Handle::join`] this one with.
    pub fn link_token(&self, terms: &TokenTerms) -> Result<Token, Error> {
        self.token(TokenKind::Link, terms, None)
    }

    fn token(&self, kind: TokenKind, terms: &TokenTerms, node: Option<String>) -> Result<Token, Error> {
        let shared = &self.shared;
        shared.must_lead()?;
        let minted = shared.tokens.mint(kind, terms.uses, terms.expires, node)?;
        let addresses = match kind {
            TokenKind::Node => shared.options.advertise.iter().copied().map(Address::Ip).collect(),
            TokenKind::Link => shared.advertised(),
        };
        let token = JoinToken {
            kind,
            cluster: shared.name().clone(),
            addresses,
            fingerprint: fingerprint(&shared.authority().roots()[0]),
            id: minted.id,
            secret: minted.secret,
            expires: minted.expires,
        };
        Ok(Token { token: token.encode() })
    }

    /// Links with the cluster that made the token; both sides know each other when it returns.
    pub async fn join(&self, token: &str) -> Result<ClusterName, Error> {
        self.shared.must_lead()?;
        joining::join(&self.shared, token, None).await
    }

    /// The same, because an object of this name asks for it: so it stands in the link's status.
    pub async fn join_for(&self, token: &str, object: &str) -> Result<ClusterName, Error> {
        self.shared.must_lead()?;
        joining::join(&self.shared, token, Some(object)).await
    }

    /// Ends a link and withdraws everything it has brought. Returns whether there was one.
    pub fn remove_link(&self, cluster: &ClusterName) -> Result<bool, Error> {
        self.shared.must_lead()?;
        let Some(forgotten) = self.shared.links().remove(cluster)? else { return Ok(false) };
        for cluster in &forgotten {
            self.shared.trust.remove(cluster);
        }
        // The trust in the cluster itself stays: it has to be told, if it does not listen now.
        tracing::info!(%cluster, "a link was removed");
        let shared = self.shared.clone();
        tokio::spawn(async move { shared.take_leave().await });
        Ok(true)
    }

    /// The links to other clusters, as they stand.
    pub fn links(&self) -> Vec<LinkStatus> {
        self.shared.links().status()
    }

    /// Looks for what is wrong with a link, beside its stream. None if there is no such link.
    pub async fn examine(&self, cluster: &ClusterName) -> Option<Examination> {
        examine::examine(&self.shared, cluster).await
    }

    /// The nodes whose agents are connected, in order.
    pub fn agents(&self) -> Vec<NodeName> {
        self.shared.agents().keys().cloned().collect()
    }

    /// Ends the stream of a node's agent, and tells it why; it goes on with its next controller. Returns whether there
    /// was a stream.
    pub fn dismiss(&self, node: &NodeName, why: &str) -> bool {
        let session = self.shared.agents().remove(node);
        let there = session.is_some();
        if let Some(session) = session {
            session.dismiss(why.to_string());
        }
        there
    }

    /// Says whether this controller is the one that others talk with. To one that was not, the links are as somebody
    /// else has left them in the state directory, and `held` what is known of each cluster by now.
    ///
    /// # Errors
    /// The state directory cannot be read. Then nothing has changed.
    pub fn lead(&self, leads: bool, held: BTreeMap<ClusterName, Held>) -> Result<(), Error> {
        let shared = &self.shared;
        if shared.leads() == leads {
            return Ok(());
        }
        if leads {
            shared.tokens.reload()?;
            shared.wishes.remember(&held);
            shared.links().reload(held)?;
            let linked: Vec<_> = shared
                .links()
                .iter()
                .map(|l| (l.record.cluster.name.clone(), l.record.roots.clone()))
                .collect();
            for (cluster, roots) in &linked {
                shared.trust.set(cluster, roots.clone());
            }
            for removed in shared.links().removed() {
                shared.trust.set(&removed.cluster.name, removed.roots.clone());
            }
            shared.leads.send_replace(true);
            for (cluster, _) in &linked {
                joining::start_dialling(shared, cluster);
            }
            let shared = shared.clone();
            tokio::spawn(async move { shared.take_leave().await });
        } else {
            shared.leads.send_replace(false);
        }
        Ok(())
    }

    /// Whether this controller is the one that others talk with.
    pub fn leads(&self) -> bool {
        self.shared.leads()
    }

    /// Ticks when a file of [`state::FILES`] was written.
    pub fn state_saved(&self) -> watch::Receiver<()> {
        self.shared.saved.subscribe()
    }

    /// The roots of the cluster's CA (PEM), newest first.
    pub fn roots(&self) -> String {
        all_pem(self.shared.authority().roots())
    }

    /// Makes the next root of the cluster's CA. The old one still counts: everybody who is linked or joined follows by
    /// itself.
    pub fn rotate(&self) -> Result<AuthorityStatus, Error> {
        self.shared.must_lead()?;
        turning::rotate(&self.shared)?;
        Ok(self.authority())
    }

    /// Drops all roots but the newest at once. Who has not heard of that one and holds a certificate of an older one
    /// has to join again.
    pub fn drop_old_roots(&self) -> Result<AuthorityStatus, Error> {
        self.shared.must_lead()?;
        turning::retire(&self.shared, true)?;
        Ok(self.authority())
    }

    /// The cluster's CA as it stands.
    pub fn authority(&self) -> AuthorityStatus {
        turning::status(&self.shared.authority())
    }

    /// Takes over the CA that somebody else has left in the state directory. Returns whether it is another one than
    /// before, by which nobody who trusts ours is led to it; then nothing has changed.
    ///
    /// # Errors
    /// The state directory cannot be read, or what is there is damaged.
    pub fn reload_authority(&self) -> Result<bool, Error> {
        turning::reload(&self.shared)
    }

    /// Everything that is told to agents, as it is now.
    pub fn told(&self) -> Vec<Arc<Object>> {
        self.shared.teller().log(Audience::Agents).objects().cloned().collect()
    }

    /// The revision of what agents are told.
    pub fn revision(&self) -> u64 {
        self.shared.teller().position(Audience::Agents).revision
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// What was refused since the start, by reason: strangers, frames, objects, tokens.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.shared.tally.counts()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("cluster", self.shared.name()).finish_non_exhaustive()
    }
}
