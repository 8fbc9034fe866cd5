//! The node's DNS server, kept to what the node knows: joins the engine's names and the server.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use engine::names::{Planner, Settings, Zone};
use ipnet::IpNet;
use model::{ClusterName, Key, NodeName};
use serve::dns::{Options, Server, Shared, Upstreams};

use crate::config::{Config, Dns};
use crate::outlook::Outlook;
use crate::police::Police;

/// Seconds for which an answer may be remembered: a cloud that dies leaves soon, and `connect` is balanced anew each
/// time anyway.
const TTL: u32 = 5;

/// The DNS server of the node.
pub(crate) struct Names {
    dns: Dns,
    planner: Planner,
    shared: Arc<Shared>,
    server: Server,
    /// Health and nearness as the names were last made from.
    dead: BTreeSet<NodeName>,
    ranking: Vec<ClusterName>,
}

impl Names {
    /// A server for what is known, listening nowhere yet.
    pub(crate) fn open(config: &Config, dns: &Dns, outlook: &Outlook) -> Result<Self> {
        let [cluster, clusterset] = dns.zones().context("load() has checked the zones")?;
        let settings = Settings { cluster, clusterset, ttl: TTL, servers: dns.listen.clone() };
        let seed = RandomState::new().build_hasher().finish();
        let shared = Arc::new(Shared::new(Zone::new(&settings, seed)));
        let upstreams = match &dns.upstreams {
            None => Upstreams::File(config.host().path(Path::new("/etc/resolv.conf"))),
            Some(none) if none.is_empty() => Upstreams::None,
            Some(some) => Upstreams::Fixed(some.iter().map(|upstream| upstream.0).collect()),
        };
        let server = Server::start(Arc::clone(&shared), Options { upstreams })?;
        let mut names = Self {
            dns: dns.clone(),
            planner: Planner::new(settings),
            shared,
            server,
            dead: outlook.dead.clone(),
            ranking: outlook.ranking.order().to_vec(),
        };
        names.shared.apply(names.planner.everything(&outlook.view()));
        names.follow_askers(outlook);
        Ok(names)
    }

    /// Tells policies where names lead before clients know.
    pub(crate) fn tell(&self, police: Arc<Police>) {
        self.shared.set_witness(Box::new(move |told| police.learn(told)));
    }

    /// Whether everything is known: before that, names of ours are neither there nor missing.
    pub(crate) fn set_synced(&self, synced: bool) {
        self.shared.set_synced(synced);
    }

    /// Follows changes of objects, which the outlook has in it already.
    pub(crate) fn follow(&mut self, outlook: &Outlook, keys: &[Key]) {
        self.shared.apply(self.planner.follow(&outlook.view(), keys));
        if keys.iter().any(|key| matches!(key, Key::Cluster(_) | Key::Peer(_))) {
            self.follow_askers(outlook);
        }
    }

    /// Follows nodes that died or came back, and clusters that came nearer.
    pub(crate) fn follow_health(&mut self, outlook: &Outlook) {
        if self.dead != outlook.dead {
            let nodes = self.dead.symmetric_difference(&outlook.dead).cloned().collect();
            self.dead.clone_from(&outlook.dead);
            self.shared.apply(self.planner.follow_nodes(&outlook.view(), &nodes));
        }
        if self.ranking != outlook.ranking.order() {
            self.ranking = outlook.ranking.order().to_vec();
            self.shared.apply(self.planner.follow_ranking(&outlook.view()));
        }
    }

    /// Listens at these addresses, which the node has in the mesh, and those that were configured. Says what is wrong.
    pub(crate) fn listen(&mut self, mesh: Vec<IpAddr>) -> Option<String> {
        let all: BTreeSet<IpAddr> = mesh.into_iter().chain(self.dns.listen.iter().copied()).collect();
        let wanted: Vec<SocketAddr> = all.into_iter().map(|ip| SocketAddr::new(ip, self.dns.port)).collect();
        let errors: Vec<String> = self.server.listen(&wanted).iter().map(ToString::to_string).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// What became of questions.
    pub(crate) fn counters(&self) -> &serve::dns::Counters {
        self.shared.counters()
    }

    /// Who may ask: the machine itself, and the mesh's pods and peers, those of the own cluster's pods first.
    fn follow_askers(&self, outlook: &Outlook) {
        let own = outlook.world.clusters.get(&outlook.me.cluster);
        let others = outlook.world.clusters.values().filter(|cluster| cluster.name != outlook.me.cluster);
        let mut askers: Vec<IpNet> =
            own.into_iter().chain(others).flat_map(|cluster| cluster.pod_cidrs.iter().copied()).collect();
        let itself = self.dns.listen.iter().map(|ip| IpNet::from(*ip));
        let loopback = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("they are prefixes"));
        askers.extend(model::allowed(outlook.world.peers.values()));
        askers.extend(itself.chain(loopback));
        self.shared.set_askers(askers);
    }
}
