//! A cluster's metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use wire::local::{ControllerStatus, LinkState, LinkStatus};

use super::{ByCluster, ByKind, ByReason};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClusterAndKind {
    cluster: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClusterAndMeasure {
    cluster: String,
    measure: String,
}

/// What a controller counts and measures.
#[derive(Debug)]
pub struct ControllerMetrics {
    registry: Registry,
    /// Held while a group of values is replaced, so that nobody reads half of it.
    replacing: Mutex<()>,
    agents: Gauge,
    links: Family<ByState, Gauge>,
    link_refused: Family<ByCluster, Counter>,
    link_connected: Family<ByCluster, Gauge>,
    link_objects: Family<ByClusterAndKind, Gauge>,
    link_bytes: Family<ByCluster, Gauge>,
    link_lag: Family<ByCluster, Gauge<f64, AtomicU64>>,
    link_rtt: Family<ByCluster, Gauge<f64, AtomicU64>>,
    link_budget: Family<ByClusterAndMeasure, Gauge<f64, AtomicU64>>,
    roots: Gauge,
    root_rotation: Gauge,
    objects: Family<ByKind, Gauge>,
    refused: Family<ByReason, Counter>,
    revision: Gauge,
    ready: Gauge,
    leader: Gauge,
}

impl ControllerMetrics {
    /// Metrics at their beginning.
    pub fn new(version: &str) -> Self {
        let mut registry = super::registry(version);
        let new = Self {
            registry: Registry::default(),
            replacing: Mutex::new(()),
            agents: Gauge::default(),
            links: Family::default(),
            link_refused: Family::default(),
            link_connected: Family::default(),
            link_objects: Family::default(),
            link_bytes: Family::default(),
            link_lag: Family::default(),
            link_rtt: Family::default(),
            link_budget: Family::default(),
            roots: Gauge::default(),
            root_rotation: Gauge::default(),
            objects: Family::default(),
            refused: Family::default(),
            revision: Gauge::default(),
            ready: Gauge::default(),
            leader: Gauge::default(),
        };
        let r = &mut registry;
        r.register("agents", "Agents connected", new.agents.clone());
        r.register("links", "Links to other clusters, by their state", new.links.clone());
        r.register("link_refused", "Objects refused from a linked cluster", new.link_refused.clone());
        r.register("link_connected", "Whether a linked cluster's stream is up", new.link_connected.clone());
        r.register("link_objects", "Objects of a linked cluster, by kind", new.link_objects.clone());
        r.register("link_bytes", "Bytes of the objects of a linked cluster", new.link_bytes.clone());
        let lag = "How old what is known of a linked cluster may be";
        r.register("link_lag_seconds", lag, new.link_lag.clone());
        r.register(
            "link_rtt_seconds",
            "The round trip to a linked cluster's controller",
            new.link_rtt.clone(),
        );
        let budget = "What a linked cluster takes of what it may, as a part of one";
        r.register("link_budget_used_ratio", budget, new.link_budget.clone());
        r.register("roots", "Roots of the cluster's CA that count", new.roots.clone());
        let rotation = "When the next root takes the place of this one, in seconds since 1970";
        r.register("root_rotation_timestamp_seconds", rotation, new.root_rotation.clone());
        r.register("objects", "Objects known, by kind", new.objects.clone());
        r.register("refused", "Objects and frames refused, by reason", new.refused.clone());
        r.register("revision", "The revision of what this controller tells", new.revision.clone());
        r.register("ready", "Whether the source has been read in full", new.ready.clone());
        r.register("leader", "Whether this controller leads those of its cluster", new.leader.clone());
        Self { registry, ..new }
    }

    /// The controller as it is now.
    pub fn set_status(&self, status: &ControllerStatus) {
        let _replacing = self.replacing.lock().expect("nobody panics while holding it");
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.agents.set(count(status.agents.len()));
        self.revision.set(i64::try_from(status.revision).unwrap_or(i64::MAX));
        self.ready.set(status.ready.into());
        self.leader.set(status.role.leads.into());
        for state in LinkState::ALL {
            let n = status.links.iter().filter(|link| link.state == state).count();
            self.links.get_or_create(&ByState { state: state.as_str() }).set(count(n));
        }
        self.roots.set(count(status.authority.old.len() + 1));
        self.root_rotation.set(i64::try_from(status.authority.rotate_at).unwrap_or(i64::MAX));
        self.set_links(&status.links);
    }

    /// Each link as it is now; a link that is gone leaves no value behind.
    fn set_links(&self, links: &[LinkStatus]) {
        self.link_refused.clear();
        self.link_connected.clear();
        self.link_objects.clear();
        self.link_bytes.clear();
        self.link_lag.clear();
        self.link_rtt.clear();
        self.link_budget.clear();
        for link in links {
            let label = ByCluster { cluster: link.cluster.to_string() };
            self.link_refused.get_or_create(&label).inner().store(link.refused, Ordering::Relaxed);
            self.link_connected.get_or_create(&label).set(link.stream.connected.into());
            self.link_bytes.get_or_create(&label).set(i64::try_from(link.flow.bytes).unwrap_or(i64::MAX));
            for (family, ms) in [(&self.link_lag, link.flow.lag_ms), (&self.link_rtt, link.flow.rtt_ms)] {
                if let Some(ms) = ms {
                    family.get_or_create(&label).set(ms / 1000.0);
                }
            }
            for part in &link.flow.budget {
                let label =
                    ByClusterAndMeasure { cluster: link.cluster.to_string(), measure: part.measure.clone() };
                self.link_budget.get_or_create(&label).set(part.used / part.limit.max(1) as f64);
            }
            for (kind, n) in [("node", link.nodes), ("service", link.services), ("endpoint", link.endpoints)]
            {
                let label = ByClusterAndKind { cluster: link.cluster.to_string(), kind };
                self.link_objects.get_or_create(&label).set(i64::try_from(n).unwrap_or(i64::MAX));
            }
        }
    }

    /// How many objects of a kind are known.
    pub fn set_objects(&self, kind: Kind, count: usize) {
        let kind = match kind {
            Kind::Cluster => "cluster",
            Kind::Node => "node",
            Kind::Peer => "peer",
            Kind::Policy => "policy",
            Kind::Namespace => "namespace",
            Kind::Pod => "pod",
            Kind::Service => "service",
            Kind::Import => "import",
            Kind::Endpoint => "endpoint",
        };
        self.objects.get_or_create(&ByKind { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What was refused since the start, by the name of the reason, from a closed set.
    pub fn set_refused(&self, totals: &BTreeMap<&'static str, u64>) {
        for (reason, total) in totals {
            let counter = self.refused.get_or_create(&ByReason { reason: (*reason).into() });
            counter.inner().store(*total, Ordering::Relaxed);
        }
    }

    /// All of it as text.
    pub fn encode(&self) -> String {
        let _reading = self.replacing.lock().expect("nobody panics while holding it");
        super::encode(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use model::ClusterName;
    use wire::local::{BudgetUse, LinkFlow, StreamStatus};

    use super::*;

    #[test]
    fn as_prometheus_reads_it() {
        let metrics = ControllerMetrics::new("1.2.3");
        let link = |cluster: &str, connected, refused| LinkStatus {
            cluster: ClusterName::new(cluster).unwrap(),
            id: 2,
            dials: true,
            declared_by: None,
            stream: StreamStatus { connected, ..StreamStatus::default() },
            state: if connected { LinkState::Connected } else { LinkState::Connecting },
            since_seconds: 1.0,
            flow: LinkFlow {
                lag_ms: connected.then_some(12.0),
                rtt_ms: connected.then_some(20.0),
                bytes: 7,
                wanted: None,
                budget: vec![BudgetUse { measure: "objects".into(), used: 5.0, limit: 10 }],
            },
            nodes: 2,
            services: 1,
            endpoints: 4,
            refused,
        };
        metrics.set_status(&ControllerStatus {
            cluster: ClusterName::new("aws").unwrap(),
            id: 1,
            authority: Default::default(),
            version: "1.2.3".into(),
            pid: 1,
            ready: true,
            rss_bytes: 1,
            revision: 42,
            agents: vec!["aws/aws-1".to_string().try_into().unwrap()],
            links: vec![link("gcp", true, 3), link("azure", false, 0)],
            problems: vec![],
            role: Default::default(),
            source: Default::default(),
            objects: Default::default(),
            complaints: vec![],
        });
        metrics.set_objects(Kind::Endpoint, 4);
        metrics.set_refused(&BTreeMap::from([("foreign_range", 1)]));
        let text = metrics.encode();
        for line in [
            "causeway_build_info{version=\"1.2.3\"} 1",
            "causeway_agents 1",
            "causeway_links{state=\"connected\"} 1",
            "causeway_links{state=\"connecting\"} 1",
            "causeway_links{state=\"frozen\"} 0",
            "causeway_link_lag_seconds{cluster=\"gcp\"} 0.012",
            "causeway_link_rtt_seconds{cluster=\"gcp\"} 0.02",
            "causeway_link_bytes{cluster=\"gcp\"} 7",
            "causeway_link_budget_used_ratio{cluster=\"gcp\",measure=\"objects\"} 0.5",
            "causeway_link_refused_total{cluster=\"gcp\"} 3",
            "causeway_link_connected{cluster=\"gcp\"} 1",
            "causeway_link_connected{cluster=\"azure\"} 0",
            "causeway_link_objects{cluster=\"gcp\",kind=\"endpoint\"} 4",
            "causeway_roots 1",
            "causeway_root_rotation_timestamp_seconds 0",
            "causeway_objects{kind=\"endpoint\"} 4",
            "causeway_refused_total{reason=\"foreign_range\"} 1",
            "causeway_revision 42",
            "causeway_ready 1",
            "causeway_leader 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
