//! A node's metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::mesh::Transport;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use wire::local::TunnelStatus;

use super::{ByCluster, ByDirection, ByKind, ByMap, ByReason};
use crate::dns::{Counters, Reason};

type Measured = Gauge<f64, AtomicU64>;

/// One of the data path's own counters, as it stands in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathCounter {
    /// The numbered reason's name.
    pub reason: String,
    /// How often, since the program was loaded.
    pub count: u64,
}

/// What an agent counts and measures.
#[derive(Debug)]
pub struct AgentMetrics {
    registry: Registry,
    /// Held while a group of gauges is replaced, so that nobody reads half of it.
    replacing: Mutex<()>,
    tunnels: Family<ByCluster, Gauge>,
    tunnels_up: Family<ByCluster, Gauge>,
    dead: Family<ByCluster, Gauge>,
    handshake_age: Family<ByCluster, Measured>,
    rtt: Family<ByCluster, Measured>,
    operations: Family<ByKind, Counter>,
    planning: Histogram,
    applying: Histogram,
    datapath: Family<ByReason, Counter>,
    map_entries: Family<ByMap, Gauge>,
    map_limits: Family<ByMap, Gauge>,
    dns: Family<ByReason, Counter>,
    connects_aborted: Counter,
    connections_reset: Counter,
    backends_ejected: Gauge,
    backend_ejections: Counter,
    policy_denied: Family<ByDirection, Counter>,
    policy_closed: Gauge,
    reconnects: Counter,
    connected: Gauge,
}

impl AgentMetrics {
    /// Metrics at their beginning.
    pub fn new(version: &str) -> Self {
        let mut registry = super::registry(version);
        // From 0.1 ms to some 1.6 s.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 4.0, 8));
        let new = Self {
            registry: Registry::default(),
            replacing: Mutex::new(()),
            tunnels: Family::default(),
            tunnels_up: Family::default(),
            dead: Family::default(),
            handshake_age: Family::default(),
            rtt: Family::default(),
            operations: Family::default(),
            planning: seconds(),
            applying: seconds(),
            datapath: Family::default(),
            map_entries: Family::default(),
            map_limits: Family::default(),
            dns: Family::default(),
            connects_aborted: Counter::default(),
            connections_reset: Counter::default(),
            backends_ejected: Gauge::default(),
            backend_ejections: Counter::default(),
            policy_denied: Family::default(),
            policy_closed: Gauge::default(),
            reconnects: Counter::default(),
            connected: Gauge::default(),
        };
        let r = &mut registry;
        r.register("tunnels", "Tunnels that ought to be, by the peers' cluster", new.tunnels.clone());
        r.register("tunnels_up", "Tunnels whose peer answers", new.tunnels_up.clone());
        r.register("peers_dead", "Peers that do not answer through the mesh", new.dead.clone());
        r.register_with_unit(
            "handshake_age",
            "Age of the oldest tunnel's last handshake",
            Unit::Seconds,
            new.handshake_age.clone(),
        );
        r.register_with_unit(
            "rtt",
            "Median round-trip time through the mesh",
            Unit::Seconds,
            new.rtt.clone(),
        );
        r.register("plan_operations", "Operations applied to the kernel", new.operations.clone());
        r.register_with_unit("planning", "Time that making a plan took", Unit::Seconds, new.planning.clone());
        r.register_with_unit(
            "applying",
            "Time that applying a plan took",
            Unit::Seconds,
            new.applying.clone(),
        );
        r.register("datapath_events", "What the packet path did, by its reason", new.datapath.clone());
        r.register(
            "datapath_map_entries",
            "Entries that the plan of all services has in a map",
            new.map_entries.clone(),
        );
        r.register("datapath_map_limit", "Entries that the map can hold", new.map_limits.clone());
        r.register("dns_questions", "What became of DNS questions, by its reason", new.dns.clone());
        r.register(
            "connects_aborted",
            "TCP connects that were under way to a node when it died",
            new.connects_aborted.clone(),
        );
        r.register(
            "connections_reset",
            "TCP connections that a service had led to a backend that is gone",
            new.connections_reset.clone(),
        );
        r.register(
            "service_backends_ejected",
            "Backends that fail connects of this node's clients and are ejected for it",
            new.backends_ejected.clone(),
        );
        r.register(
            "service_backend_ejections",
            "Backends that were ejected because they failed connects",
            new.backend_ejections.clone(),
        );
        r.register(
            "policy_denied_flows",
            "Flows that policy denied and the packet path told of, by direction and reason",
            new.policy_denied.clone(),
        );
        r.register(
            "policy_closed",
            "Directions of pods in which nothing passes: their rules find no room, or are not known yet",
            new.policy_closed.clone(),
        );
        r.register("exchange_reconnects", "Streams to a controller begun anew", new.reconnects.clone());
        r.register("exchange_connected", "Whether the stream to a controller is up", new.connected.clone());
        Self { registry, ..new }
    }

    /// The tunnels as they are now.
    pub fn set_tunnels(&self, tunnels: &[TunnelStatus]) {
        let mut by_cluster: BTreeMap<&str, Vec<&TunnelStatus>> = BTreeMap::new();
        for tunnel in tunnels {
            by_cluster.entry(tunnel.peer.cluster.as_str()).or_default().push(tunnel);
        }
        let _replacing = self.replacing.lock().expect("nobody panics while holding it");
        self.tunnels.clear();
        self.tunnels_up.clear();
        self.dead.clear();
        self.handshake_age.clear();
        self.rtt.clear();
        for (cluster, tunnels) in by_cluster {
            let label = ByCluster { cluster: cluster.into() };
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let up = tunnels.iter().filter(|t| t.alive).count();
            self.tunnels.get_or_create(&label).set(count(tunnels.len()));
            self.tunnels_up.get_or_create(&label).set(count(up));
            self.dead.get_or_create(&label).set(count(tunnels.len() - up));
            // Who is sent packets that are not encrypted needs no new keys.
            let used = tunnels.iter().filter(|t| t.transport == Transport::Wireguard);
            if let Some(age) = used.filter_map(|t| t.last_handshake_seconds).max_by(f64::total_cmp) {
                self.handshake_age.get_or_create(&label).set(age);
            }
            let mut times: Vec<_> = tunnels.iter().filter_map(|t| t.rtt_ms).collect();
            times.sort_by(f64::total_cmp);
            if let Some(median) = times.get(times.len().saturating_sub(1) / 2) {
                self.rtt.get_or_create(&label).set(median / 1_000.0);
            }
        }
    }

    /// An operation was applied; its [`engine::plan::Op::kind`].
    pub fn count_operation(&self, kind: &'static str) {
        self.operations.get_or_create(&ByKind { kind }).inc();
    }

    /// A plan was made.
    pub fn observe_planning(&self, took: Duration) {
        self.planning.observe(took.as_secs_f64());
    }

    /// A plan was applied.
    pub fn observe_applying(&self, took: Duration) {
        self.applying.observe(took.as_secs_f64());
    }

    /// The data path's counters as they stand in the kernel.
    pub fn set_datapath(&self, counters: &[DatapathCounter]) {
        for DatapathCounter { reason, count } in counters {
            let counter = self.datapath.get_or_create(&ByReason { reason: reason.clone() });
            counter.inner().store(*count, Ordering::Relaxed);
        }
    }

    /// How full the data path's maps are: by name, the entries planned and the most there can be.
    pub fn set_maps(&self, maps: impl IntoIterator<Item = (&'static str, usize, usize)>) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (map, used, limit) in maps {
            self.map_entries.get_or_create(&ByMap { map }).set(count(used));
            self.map_limits.get_or_create(&ByMap { map }).set(count(limit));
        }
    }

    /// What became of DNS questions so far.
    pub fn set_dns(&self, counters: &Counters) {
        for reason in Reason::ALL {
            let counter = self.dns.get_or_create(&ByReason { reason: reason.name().into() });
            counter.inner().store(counters.get(reason), Ordering::Relaxed);
        }
    }

    /// Connects that were under way to dead nodes were aborted.
    pub fn count_aborted(&self, connects: usize) {
        self.connects_aborted.inc_by(connects as u64);
    }

    /// Connections to backends that are gone for good were ended.
    pub fn count_reset(&self, connections: usize) {
        self.connections_reset.inc_by(connections as u64);
    }

    /// So many backends are ejected, and so often one was.
    pub fn set_ejected(&self, now: usize, ejections: u64) {
        self.backends_ejected.set(i64::try_from(now).unwrap_or(i64::MAX));
        self.backend_ejections.inner().store(ejections, Ordering::Relaxed);
    }

    /// So many flows alike were denied; `reason` is the numbered reason's name.
    pub fn count_denied(&self, egress: bool, reason: &str, count: u64) {
        let direction = if egress { "egress" } else { "ingress" };
        self.policy_denied.get_or_create(&ByDirection { direction, reason: reason.into() }).inc_by(count);
    }

    /// So many directions of pods are closed.
    pub fn set_policy_closed(&self, now: usize) {
        self.policy_closed.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// The stream to the controller was begun anew.
    pub fn count_reconnect(&self) {
        self.reconnects.inc();
    }

    /// Whether the stream to the controller is up.
    pub fn set_connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// All of it as text.
    pub fn encode(&self) -> String {
        let _reading = self.replacing.lock().expect("nobody panics while holding it");
        super::encode(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use model::{NodeName, PublicKey};

    use super::*;

    fn tunnel(peer: &str, alive: bool, rtt_ms: Option<f64>, age: Option<f64>) -> TunnelStatus {
        TunnelStatus {
            peer: NodeName::try_from(peer.to_string()).unwrap(),
            peer_topology: Default::default(),
            peer_location: String::new(),
            public_key: PublicKey([0; 32]),
            endpoint: None,
            last_handshake_seconds: age,
            rtt_ms,
            rx_bytes: 0,
            tx_bytes: 0,
            alive,
            transport: Default::default(),
            path: Default::default(),
            relay: None,
            generation: None,
        }
    }

    #[test]
    fn as_prometheus_reads_it() {
        let metrics = AgentMetrics::new("1.2.3");
        metrics.set_tunnels(&[tunnel("gone/1", true, None, None)]);
        metrics.set_tunnels(&[
            tunnel("aws/2", true, Some(0.5), Some(3.0)),
            tunnel("gcp/1", true, Some(14.0), Some(100.0)),
            tunnel("gcp/2", false, Some(16.0), Some(130.0)),
            tunnel("new/1", false, None, None),
        ]);
        metrics.count_operation("set_peer");
        metrics.count_operation("set_peer");
        metrics.observe_planning(Duration::from_millis(2));
        metrics.set_datapath(&[DatapathCounter { reason: "no_backend".into(), count: 7 }]);
        metrics.set_maps([("backends", 7, 8)]);
        let dns = Counters::default();
        dns.count(Reason::NoName);
        metrics.set_dns(&dns);
        metrics.count_aborted(3);
        metrics.count_reset(2);
        metrics.set_ejected(1, 4);
        metrics.count_denied(true, "policy_isolated", 2);
        metrics.count_denied(false, "policy_isolated", 1);
        metrics.set_policy_closed(1);
        metrics.count_reconnect();
        metrics.set_connected(true);
        let text = metrics.encode();
        for line in [
            "causeway_build_info{version=\"1.2.3\"} 1",
            "causeway_tunnels{cluster=\"gcp\"} 2",
            "causeway_tunnels_up{cluster=\"gcp\"} 1",
            "causeway_peers_dead{cluster=\"gcp\"} 1",
            "causeway_peers_dead{cluster=\"aws\"} 0",
            "causeway_handshake_age_seconds{cluster=\"gcp\"} 130.0",
            "causeway_rtt_seconds{cluster=\"gcp\"} 0.014",
            "causeway_plan_operations_total{kind=\"set_peer\"} 2",
            "causeway_planning_seconds_count 1",
            "causeway_datapath_events_total{reason=\"no_backend\"} 7",
            "causeway_datapath_map_entries{map=\"backends\"} 7",
            "causeway_datapath_map_limit{map=\"backends\"} 8",
            "causeway_dns_questions_total{reason=\"no_name\"} 1",
            "causeway_dns_questions_total{reason=\"answered\"} 0",
            "causeway_connects_aborted_total 3",
            "causeway_connections_reset_total 2",
            "causeway_service_backends_ejected 1",
            "causeway_service_backend_ejections_total 4",
            "causeway_policy_denied_flows_total{direction=\"egress\",reason=\"policy_isolated\"} 2",
            "causeway_policy_denied_flows_total{direction=\"ingress\",reason=\"policy_isolated\"} 1",
            "causeway_policy_closed 1",
            "causeway_exchange_reconnects_total 1",
            "causeway_exchange_connected 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("cluster=\"gone\""), "a cluster that is gone is forgotten");
        assert!(!text.contains("rtt_seconds{cluster=\"new\"}"), "nothing measured, nothing said");
    }
}
