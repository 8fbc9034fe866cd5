//! What a planner is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::policy::{
    Labels, NamespaceName, PodName, Policy, PolicyEntity, PolicyName, PolicyPeer, PolicySubject,
};
use model::{ClusterName, NodeName, PeerName};

use super::{Planner, Pod, holds};
use crate::plan::policing::Identity;
use crate::policy::addresses::Rank;
use crate::policy::compiled::{Selects, selects};
use crate::policy::identities::Who;
use crate::policy::matchers::Whom;
use crate::policy::networks::Mark;
use crate::policy::peer::{self, number};
use crate::policy::settings::Scope;

impl Planner {
    /// A cluster's pods take addresses from these ranges now, or it is gone.
    pub fn handle_cluster(&mut self, name: &ClusterName, ranges: Option<&[IpNet]>) {
        let is: Option<Vec<IpNet>> = ranges.map(|ranges| {
            let ranges: BTreeSet<IpNet> = ranges.iter().map(IpNet::trunc).collect();
            ranges.into_iter().collect()
        });
        if self.ranges.get(name) == is.as_ref() {
            return;
        }
        self.leave_groups();
        self.mark_cluster(name, false);
        match is {
            Some(ranges) => drop(self.ranges.insert(name.clone(), ranges)),
            None => drop(self.ranges.remove(name)),
        }
        self.mark_cluster(name, true);
        self.enter_groups();
        let known = self.ranges.contains_key(name) || *name == self.around.cluster;
        let changed = match known {
            true => self.around.clusters.insert(name.clone()),
            false => self.around.clusters.remove(name),
        };
        if changed {
            self.matchers.handle_clusters();
        }
    }

    /// Pods of these clusters are told to this node, all of them.
    pub fn handle_subscribed(&mut self, clusters: BTreeSet<ClusterName>) {
        if clusters == self.subscribed {
            return;
        }
        self.leave_groups();
        let changed: Vec<ClusterName> = clusters.symmetric_difference(&self.subscribed).cloned().collect();
        for name in &changed {
            self.mark_cluster(name, false);
        }
        self.subscribed = clusters;
        for name in &changed {
            self.mark_cluster(name, true);
        }
        self.enter_groups();
    }

    fn mark_cluster(&mut self, name: &ClusterName, set: bool) {
        let marks: &[Mark] = match self.subscribed.contains(name) {
            true => &[Mark::Cluster, Mark::Known],
            false => &[Mark::Cluster],
        };
        for range in self.ranges.get(name).into_iter().flatten() {
            for mark in marks {
                match set {
                    true => self.networks.mark(range, *mark),
                    false => self.networks.unmark(range, *mark),
                }
            }
        }
    }

    /// The ranges of those clusters an entity is about whose pods nobody tells of: there it is known by address alone.
    fn group_ranges(&self, whom: &Whom) -> Vec<IpNet> {
        let all = match whom {
            Whom::Peer(PolicyPeer::Entity(PolicyEntity::Cluster)) => false,
            Whom::Peer(PolicyPeer::Entity(PolicyEntity::ClusterMesh)) => true,
            _ => return Vec::new(),
        };
        let meant = self.ranges.iter().filter(|(name, _)| all || **name == self.around.cluster);
        let untold = meant.filter(|(name, _)| !self.subscribed.contains(*name));
        untold.flat_map(|(_, ranges)| ranges.iter().copied()).collect()
    }

    fn groups(&self) -> Vec<(u64, Vec<IpNet>)> {
        let entities = [PolicyEntity::Cluster, PolicyEntity::ClusterMesh].map(PolicyPeer::Entity);
        let whoms = entities.map(Whom::Peer);
        let used = whoms.iter().filter(|whom| self.matchers.get(whom.id()).is_some());
        used.map(|whom| (whom.id(), self.group_ranges(whom))).collect()
    }

    fn leave_groups(&mut self) {
        for (id, ranges) in self.groups() {
            ranges.iter().for_each(|range| self.networks.unmark(range, Mark::In(id)));
        }
    }

    fn enter_groups(&mut self) {
        for (id, ranges) in self.groups() {
            ranges.iter().for_each(|range| self.networks.mark(range, Mark::In(id)));
        }
    }

    /// Begins to keep what a new matcher is about up to date.
    pub(super) fn begin(&mut self, whom: &Whom) {
        let id = whom.id();
        match whom {
            Whom::Peer(PolicyPeer::Networks { ranges, except }) => {
                let len = self.networks.len_with(ranges.iter().chain(except));
                if len > self.settings.limits.networks {
                    self.no_networks.insert(id);
                    return;
                }
                ranges.iter().for_each(|range| self.networks.mark(&range.trunc(), Mark::In(id)));
                except.iter().for_each(|range| self.networks.mark(&range.trunc(), Mark::Except(id)));
            }
            Whom::Peer(PolicyPeer::DomainNames(patterns)) => self.names.watch(id, patterns),
            Whom::Peer(PolicyPeer::Entity(PolicyEntity::World)) => self.mark_world(true),
            _ => {
                let ranges = self.group_ranges(whom);
                ranges.iter().for_each(|range| self.networks.mark(range, Mark::In(id)));
            }
        }
    }

    /// Nobody asks any more.
    pub(super) fn end(&mut self, whom: &Whom) {
        let id = whom.id();
        match whom {
            Whom::Peer(PolicyPeer::Networks { .. }) if self.no_networks.remove(&id) => {}
            Whom::Peer(PolicyPeer::Networks { ranges, except }) => {
                ranges.iter().for_each(|range| self.networks.unmark(&range.trunc(), Mark::In(id)));
                except.iter().for_each(|range| self.networks.unmark(&range.trunc(), Mark::Except(id)));
            }
            Whom::Peer(PolicyPeer::DomainNames(_)) => self.names.forget(id),
            Whom::Peer(PolicyPeer::Entity(PolicyEntity::World)) => self.mark_world(false),
            _ => {
                let ranges = self.group_ranges(whom);
                ranges.iter().for_each(|range| self.networks.unmark(range, Mark::In(id)));
            }
        }
    }

    /// Everything is the world but for ranges of clusters and addresses of nodes.
    fn mark_world(&mut self, set: bool) {
        let all = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let all = all.map(|first| IpNet::new(first, 0).expect("a length of 0 is one"));
        let nodes = self.nodes.values().flatten().map(|ip| (IpNet::from(*ip), Mark::Cluster));
        for (range, mark) in all.into_iter().map(|all| (all, Mark::World)).chain(nodes) {
            match set {
                true => self.networks.mark(&range, mark),
                false => self.networks.unmark(&range, mark),
            }
        }
    }

    fn world_is_used(&self) -> bool {
        self.matchers.get(Whom::Peer(PolicyPeer::Entity(PolicyEntity::World)).id()).is_some()
    }

    /// A node has these labels and addresses now, or it is gone.
    pub fn handle_node(&mut self, name: &NodeName, node: Option<(&Labels, &[IpAddr])>) {
        let ips: Option<Vec<IpAddr>> = node.map(|(_, ips)| {
            let ips: BTreeSet<IpAddr> = ips.iter().copied().collect();
            ips.into_iter().collect()
        });
        if name.cluster == self.around.cluster {
            let was = match node {
                Some((labels, _)) => self.around.nodes.insert(name.clone(), labels.clone()),
                None => self.around.nodes.remove(name),
            };
            if was.as_ref() != node.map(|(labels, _)| labels) {
                self.matchers.handle_nodes();
                self.stale_nodes.extend(self.settings.host.is_some().then(|| name.clone()));
            }
        }
        if self.nodes.get(name) == ips.as_ref() {
            return;
        }
        let me = matches!(&self.settings.scope, Scope::Node(me) if me == name);
        self.stale_nodes.extend(self.settings.host.is_some().then(|| name.clone()));
        let who = number(b"claimant", name);
        for ip in self.nodes.remove(name).unwrap_or_default() {
            self.addresses.leave(ip, who, &mut self.identities);
            if self.world_is_used() {
                self.networks.unmark(&ip.into(), Mark::Cluster);
            }
            if me {
                self.own.put(ip, None);
            }
        }
        let Some(ips) = ips else {
            self.renew_always();
            return;
        };
        let rank = match me {
            true => Rank::Myself,
            false if name.cluster == self.around.cluster => Rank::OwnNode,
            false => Rank::Told,
        };
        let identity = Identity {
            identity: peer::node(name),
            namespace: if me { peer::host() } else { peer::remote_node() },
            cluster: peer::cluster_nodes(&name.cluster),
        };
        for ip in &ips {
            self.addresses.claim(*ip, (rank, who), identity, &mut self.identities);
            if self.world_is_used() {
                self.networks.mark(&(*ip).into(), Mark::Cluster);
            }
            if me {
                self.own.put(*ip, Some(()));
            }
        }
        self.nodes.insert(name.clone(), ips);
        if me {
            self.renew_always();
        }
    }

    /// A namespace has these labels now, or it is gone.
    pub fn handle_namespace(&mut self, name: &NamespaceName, labels: Option<&Labels>) {
        let was = match labels {
            Some(labels) => self.around.namespaces.insert(name.clone(), labels.clone()),
            None => self.around.namespaces.remove(name),
        };
        if was.as_ref() == labels {
            return;
        }
        self.matchers.handle_namespaces();
        let of_namespace = |pod: &PodName| pod.namespace == *name;
        let mine: Vec<PodName> = self.mine.iter().filter(|pod| of_namespace(pod)).cloned().collect();
        self.stale_pods.extend(mine);
        if was.is_none() || labels.is_none() {
            // Those that are known by their pods' labels alone are not known.
            let first = PodName { namespace: name.clone(), name: String::new() };
            let pods = self.pods.range(first..).map(|(pod, _)| pod).take_while(|pod| of_namespace(pod));
            for pod in pods.cloned().collect::<Vec<_>>() {
                self.leave(&pod);
                self.claim(&pod);
            }
        }
    }

    /// A peer that is no node is now so, or gone: an identity of its own, in no namespace, at its single addresses.
    pub fn handle_peer(&mut self, name: &PeerName, peer: Option<&model::Peer>) {
        let namespace = NamespaceName { cluster: name.cluster.clone(), name: String::new() };
        let name = PodName { namespace, name: name.peer.clone() };
        let pod = peer.map(|peer| model::policy::Pod {
            name: name.clone(),
            ips: peer.ips().collect(),
            node: None,
            labels: peer.all_labels(),
            ports: Vec::new(),
        });
        self.handle_pod(&name, pod.as_ref());
    }

    /// A pod is now so, or gone.
    pub fn handle_pod(&mut self, name: &PodName, pod: Option<&model::policy::Pod>) {
        self.leave(name);
        let mine = pod.is_some_and(|pod| match &self.settings.scope {
            Scope::Node(me) => pod.node.as_ref() == Some(me),
            // No policy is about what a peer does.
            Scope::Cluster(cluster) => name.namespace.cluster == *cluster && !name.namespace.name.is_empty(),
        });
        let is = pod.map(|pod| {
            let (namespace, labels) = (name.namespace.clone(), pod.labels.clone());
            let mut ports = pod.ports.clone();
            ports.sort_unstable();
            ports.dedup();
            let acquired = self.around.identities.acquire(Who { namespace, labels, ports });
            if let Some((peer, true)) = acquired
                && let Some(who) = self.around.identities.get(peer)
            {
                self.matchers.handle_identity(peer, who, &self.around);
            }
            Pod { who: acquired.map(|(peer, _)| peer), ips: pod.ips.clone(), mine }
        });
        let was = match is {
            Some(is) => self.pods.insert(name.clone(), is),
            None => self.pods.remove(name),
        };
        if let Some(peer) = was.and_then(|was| was.who)
            && let Some(who) = self.around.identities.release(peer)
        {
            self.matchers.handle_identity_gone(peer, &who);
        }
        if mine || self.attached.contains_key(name) {
            self.mine.insert(name.clone());
            self.stale_pods.insert(name.clone());
        } else if self.mine.remove(name) {
            self.stale_pods.insert(name.clone());
        }
        self.claim(name);
    }

    /// This node has given a pod these addresses, which the controller may not know yet.
    pub fn attach(&mut self, name: &PodName, ips: &[IpAddr]) {
        self.leave(name);
        self.attached.insert(name.clone(), ips.to_vec());
        self.mine.insert(name.clone());
        self.stale_pods.insert(name.clone());
        self.claim(name);
    }

    /// It has taken them back.
    pub fn detach(&mut self, name: &PodName) {
        self.leave(name);
        self.attached.remove(name);
        if !self.pods.get(name).is_some_and(|pod| pod.mine) {
            self.mine.remove(name);
        }
        self.stale_pods.insert(name.clone());
        self.claim(name);
    }

    fn leave(&mut self, name: &PodName) {
        let who = number(b"claimant", name);
        for ip in self.ips(name).to_vec() {
            self.addresses.leave(ip, who, &mut self.identities);
            if self.left_out.get(&ip) == Some(name) {
                self.left_out.remove(&ip);
            }
        }
    }

    /// A pod is at its addresses, if there is room.
    pub(super) fn claim(&mut self, name: &PodName) {
        let attached = self.attached.contains_key(name);
        let rank = if attached { Rank::Attached } else { Rank::Told };
        let is_peer = name.namespace.name.is_empty();
        let known = is_peer || self.around.namespaces.contains_key(&name.namespace);
        let who = self.pods.get(name).and_then(|pod| pod.who).filter(|_| known);
        let identity = who.map(|identity| match is_peer {
            // Who is meant as one of many pods, without its labels, is no peer.
            true => Identity { identity, ..Identity::default() },
            false => Identity {
                identity,
                namespace: peer::namespace(&name.namespace),
                cluster: peer::cluster_pods(&name.namespace.cluster),
            },
        });
        for ip in self.ips(name).to_vec() {
            let full = self.identities.now().len() >= self.settings.limits.identities;
            if full && identity.is_some() && !self.identities.now().contains_key(&ip) {
                self.left_out.insert(ip, name.clone());
                continue;
            }
            let claimant = (rank, number(b"claimant", name));
            self.addresses.claim(ip, claimant, identity.unwrap_or_default(), &mut self.identities);
        }
    }

    /// A policy is now so, or gone.
    pub fn handle_policy(&mut self, name: &PolicyName, policy: Option<&Policy>) {
        let policy = policy.filter(|policy| holds(&self.settings, policy));
        if self.policies.get(name) == policy {
            return;
        }
        let was = self.policies.put(name, policy);
        let of_nodes = |policy: &Policy| matches!(policy.subject, PolicySubject::Nodes(_));
        if was.as_ref().is_some_and(of_nodes) || policy.is_some_and(of_nodes) {
            self.stale_nodes.extend(self.judged_nodes());
        }
        for pod in &self.mine {
            let seen = self.seen(pod);
            let about = |policy: &Policy| {
                selects(policy, seen.namespace, seen.of_namespace, seen.of_pod) != Selects::No
            };
            if was.as_ref().is_some_and(about) || policy.is_some_and(about) {
                self.stale_pods.insert(pod.clone());
            }
        }
    }

    /// This node's DNS server is about to tell a pod that a name leads there, for so long.
    pub fn learn(&mut self, name: &str, ips: &[IpAddr], expires: Duration) {
        let limit = self.settings.limits.names;
        for ip in ips {
            if self.names.knows(name, ip) || self.names.len() < limit / 2 {
                self.names.learn(name, *ip, expires);
            } else if self.names.is_watched(name) {
                // What no rule is about leaves room for what one is.
                self.names_left_out = self.names.len() >= limit;
                if !self.names_left_out {
                    self.names.learn(name, *ip, expires);
                }
            }
        }
    }

    /// It is now so late: names that have ended are forgotten.
    pub fn handle_time(&mut self, now: Duration) {
        self.names.handle_time(now);
        self.names_left_out &= self.names.len() >= self.settings.limits.names;
    }
}
