//! What a change of the world means for names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{ClusterName, Endpoint, EndpointKey, Key, NodeName, ObjectName, ServiceKey, Traffic};

use super::Name;
use super::records::{Hosts, Member, Names, headless_service, virtual_service};
use crate::services::{View, behind, place_of};

/// Which of the two zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// The cluster's own, `cluster.local`.
    Cluster,
    /// The clusterset's, `clusterset.local`.
    Clusterset,
}

impl Domain {
    /// The version of the schema that the zone keeps to, for `dns-version`.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Cluster => "1.1.0",
            Self::Clusterset => "1.0.0",
        }
    }
}

/// What this node answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The zone of the cluster's own services; none where somebody else serves it.
    pub cluster: Option<Name>,
    /// The zone of the clusterset's services.
    pub clusterset: Option<Name>,
    /// Seconds for which an answer may be remembered.
    pub ttl: u32,
    /// Where this node answers.
    pub servers: Vec<IpAddr>,
}

impl Settings {
    pub(super) fn zones(&self) -> impl Iterator<Item = (Domain, &Name)> {
        let both = [(Domain::Cluster, &self.cluster), (Domain::Clusterset, &self.clusterset)];
        both.into_iter().filter_map(|(domain, name)| Some((domain, name.as_ref()?)))
    }
}

/// A service as one of the zones names it: the own cluster's Service, or its import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// In which zone.
    pub domain: Domain,
    /// Which.
    pub service: ObjectName,
}

/// What a zone has to hold for a subject from now on.
#[derive(Debug)]
pub struct Update {
    pub(super) subject: Subject,
    /// Whether there is such a service, named or not.
    pub(super) present: bool,
    pub(super) names: Names,
    pub(super) vips: Vec<IpAddr>,
}

/// Works out names from the world, a service at a time.
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    /// Headless ones depend on health and nearness, too.
    headless: BTreeSet<Subject>,
}

impl Planner {
    /// A planner that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, headless: BTreeSet::new() }
    }

    /// What it answers for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What follows from everything that is known: the first thing to ask for.
    pub fn everything(&mut self, view: &View<'_>) -> Vec<Update> {
        let services = view.world.services.keys().filter(|key| key.cluster == view.me.cluster);
        let imports = view.world.imports.keys().filter(|key| key.cluster == view.me.cluster);
        let subject = |domain| move |key: &ServiceKey| Subject { domain, service: key.name.clone() };
        let all = services.map(subject(Domain::Cluster)).chain(imports.map(subject(Domain::Clusterset)));
        self.plan(view, all.collect())
    }

    /// What follows from changes of the objects with these keys, which `view` has in it already.
    pub fn follow<'k>(&mut self, view: &View<'_>, keys: impl IntoIterator<Item = &'k Key>) -> Vec<Update> {
        let mut touched = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        for key in keys {
            match key {
                Key::Service(key) => {
                    let subject = |domain| Subject { domain, service: key.name.clone() };
                    touched.extend((key.cluster == view.me.cluster).then(|| subject(Domain::Cluster)));
                    // It may be exported now, or no longer.
                    let import = subject(Domain::Clusterset);
                    touched.extend(self.headless.contains(&import).then_some(import));
                }
                Key::Import(key) if key.cluster == view.me.cluster => {
                    touched.insert(Subject { domain: Domain::Clusterset, service: key.name.clone() });
                }
                Key::Endpoint(EndpointKey { service, .. }) => {
                    let domains = [Domain::Cluster, Domain::Clusterset].into_iter();
                    let both = domains.map(|domain| Subject { domain, service: service.name.clone() });
                    let of_ours = |subject: &Subject| {
                        subject.domain == Domain::Clusterset || service.cluster == view.me.cluster
                    };
                    touched.extend(both.filter(of_ours).filter(|subject| self.headless.contains(subject)));
                }
                Key::Node(node) => {
                    nodes.insert(node.clone());
                }
                _ => {}
            }
        }
        touched.extend(self.depending_on(view, &nodes));
        self.plan(view, touched)
    }

    /// What follows from nodes' having died, come back or moved.
    pub fn follow_nodes(&mut self, view: &View<'_>, nodes: &BTreeSet<NodeName>) -> Vec<Update> {
        let touched = self.depending_on(view, nodes).into_iter().collect();
        self.plan(view, touched)
    }

    /// What follows from clusters' having come nearer or gone further.
    pub fn follow_ranking(&mut self, view: &View<'_>) -> Vec<Update> {
        let all = self.headless.clone();
        self.plan(view, all)
    }

    fn depending_on(&self, view: &View<'_>, nodes: &BTreeSet<NodeName>) -> Vec<Subject> {
        if nodes.is_empty() {
            return Vec::new();
        }
        // The own node's place decides how near everything is.
        let everything = nodes.contains(view.me);
        let there = |endpoint: &Endpoint| endpoint.node.as_ref().is_some_and(|node| nodes.contains(node));
        let touched = |subject: &&Subject| everything || sources(view, subject).any(there);
        self.headless.iter().filter(touched).cloned().collect()
    }

    fn plan(&mut self, view: &View<'_>, subjects: BTreeSet<Subject>) -> Vec<Update> {
        let zones: BTreeMap<Domain, Name> =
            self.settings.zones().filter_map(|(domain, apex)| Some((domain, apex.below("svc")?))).collect();
        let ranks = view.ranking.iter().enumerate().map(|(rank, cluster)| (cluster, rank)).collect();
        let mut updates = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let Some(svc) = zones.get(&subject.domain) else { continue };
            updates.push(self.update(view, &ranks, svc, subject));
        }
        updates
    }

    fn update(&mut self, view: &View<'_>, ranks: &Ranks<'_>, svc: &Name, subject: Subject) -> Update {
        let key = ServiceKey { cluster: view.me.cluster.clone(), name: subject.service.clone() };
        let said = match subject.domain {
            Domain::Cluster => {
                view.world.services.get(&key).map(|s| (s.headless, &s.vips, &s.ports, &s.traffic))
            }
            Domain::Clusterset => {
                let import = view.world.imports.get(&key);
                import.map(|import| (import.terms.headless, &import.vips, &import.ports, &import.traffic))
            }
        };
        let headless = matches!(said, Some((true, ..)));
        if headless {
            self.headless.insert(subject.clone());
        } else {
            self.headless.remove(&subject);
        }
        let ttl = self.settings.ttl;
        let base = svc.below(&subject.service.namespace).and_then(|space| space.below(&subject.service.name));
        let (names, vips) = match (said, base) {
            (Some((true, _, _, traffic)), Some(base)) => {
                let hosts = match subject.domain {
                    Domain::Cluster => Hosts::Direct,
                    Domain::Clusterset => Hosts::ByCluster,
                };
                let members = members(view, ranks, &subject, traffic);
                (headless_service(&base, &members, hosts, ttl), Vec::new())
            }
            (Some((false, vips, ports, _)), Some(base)) => {
                (virtual_service(&base, vips, ports, ttl), vips.clone())
            }
            _ => (Names::new(), Vec::new()),
        };
        Update { present: said.is_some(), subject, names, vips }
    }
}

type Ranks<'a> = BTreeMap<&'a ClusterName, usize>;

/// Every endpoint that may answer for a headless subject.
fn sources<'a>(view: &View<'a>, subject: &Subject) -> impl Iterator<Item = &'a Endpoint> {
    let world = view.world;
    let own = ServiceKey { cluster: view.me.cluster.clone(), name: subject.service.clone() };
    let keys = match (subject.domain, world.imports.get(&own)) {
        (Domain::Cluster, _) => vec![own],
        (Domain::Clusterset, None) => Vec::new(),
        (Domain::Clusterset, Some(import)) => {
            behind(world, import).map(|service| service.key.clone()).collect()
        }
    };
    keys.into_iter().filter_map(|key| world.endpoints.get(&key)).flat_map(BTreeMap::values)
}

/// Those that may be dialled, in the order of the ladder.
fn members<'a>(view: &View<'a>, ranks: &Ranks<'_>, subject: &Subject, traffic: &Traffic) -> Vec<Member<'a>> {
    let alive = |endpoint: &&Endpoint| endpoint.node.as_ref().is_none_or(|node| !view.dead.contains(node));
    let mut placed = Vec::new();
    for endpoint in sources(view, subject).filter(|endpoint| endpoint.ready).filter(alive) {
        let cluster = &endpoint.key.service.cluster;
        let weight = endpoint.weight.saturating_mul(traffic.weight_of(cluster));
        if weight > 0 {
            let rank = ranks.get(cluster).copied().unwrap_or(usize::MAX);
            placed.push((place_of(view, traffic, endpoint, rank), weight, endpoint));
        }
    }
    placed.sort_by(|(near, _, a), (far, _, b)| near.cmp(far).then_with(|| a.key.cmp(&b.key)));
    let mut rung = 0;
    let mut before = placed.first().map(|(near, ..)| *near);
    let place = |(near, weight, endpoint)| {
        if before != Some(near) {
            (before, rung) = (Some(near), rung + 1);
        }
        Member { endpoint, rung, weight }
    };
    placed.into_iter().map(place).collect()
}
