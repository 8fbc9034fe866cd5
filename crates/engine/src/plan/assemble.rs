//! The whole plan from its parts.

use std::collections::BTreeSet;

use model::{Node, NodeName};

use super::State;
use crate::mesh::Mesh;
use crate::services::Services;

impl State {
    /// What the kernel ought to hold: the mesh, the services, and who does not answer.
    pub fn assemble(mesh: Mesh, services: Services, dead: &BTreeSet<NodeName>) -> Self {
        Self {
            tunnel: mesh.tunnel,
            routes: mesh.routes,
            guarded: mesh.guarded,
            neighbours: mesh.neighbours,
            masquerade: mesh.masquerade,
            frontends: services.frontends,
            outside: services.outside,
            sets: services.sets,
            node_addresses: services.node_addresses,
            tables: services.tables,
            direct: services.direct,
            dead: dead.iter().map(Node::id).collect(),
        }
    }
}
