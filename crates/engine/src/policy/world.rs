//! What policies see of a world.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{ClusterName, Key, Node, World};

use super::{Planner, Settings, interest};

impl Planner {
    /// Follows a change of an object, which the world has in it already.
    pub fn handle_object(&mut self, world: &World, key: &Key) {
        match key {
            Key::Cluster(name) => {
                let cluster = world.clusters.get(name);
                self.handle_cluster(name, cluster.map(|cluster| cluster.pod_cidrs.as_slice()));
            }
            Key::Node(name) => {
                let node = world.nodes.get(name);
                let ips = node.map(addresses).unwrap_or_default();
                self.handle_node(name, node.map(|node| (&node.labels, ips.as_slice())));
            }
            Key::Peer(name) => self.handle_peer(name, world.peers.get(name)),
            Key::Namespace(name) => {
                self.handle_namespace(name, world.namespaces.get(name).map(|namespace| &namespace.labels));
            }
            Key::Pod(name) => self.handle_pod(name, world.pods.get(name)),
            Key::Policy(name) => self.handle_policy(name, world.policies.get(name)),
            Key::Endpoint(key) => self.handle_endpoint(world, key),
            Key::Service(_) | Key::Import(_) => {}
        }
    }
}

/// The clusters whose pods a node has to know ([`interest()`]).
pub fn interest_in(world: &World, settings: &Settings) -> BTreeSet<ClusterName> {
    let World { clusters, namespaces, pods, policies, .. } = world;
    interest(settings, clusters.keys(), namespaces.values(), pods.values(), policies.values())
}

/// Every address that is a node's: those in the mesh, and those on its networks.
fn addresses(node: &Node) -> Vec<IpAddr> {
    let others = node.private_ips.iter().chain(&node.public_ips).copied();
    let all: BTreeSet<IpAddr> = node.mesh_ips().into_iter().chain(others).collect();
    all.into_iter().collect()
}
