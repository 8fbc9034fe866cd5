//! Which nodes have tunnels to which.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which nodes have tunnels to which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mesh {
    /// `full`: each node to every other. `location`: inside a location each to every other, between locations by gateways.
    /// `cross`: as `location`, but that nodes which everybody reaches need no gateway.
    pub granularity: Granularity,
    /// `all`: everything between nodes is encrypted. `mesh`: between locations alone; inside one it is not, and goes from
    /// node to node as `mesh.encapsulate` says.
    pub encryption: Encryption,
    /// With `mesh.encryption: mesh`, which packets between nodes of one location travel in VXLAN. `always`: all of them.
    /// `crosssubnet`: those to nodes whose private addresses are in none of the sender's subnets. `never`: none; the network
    /// between the nodes has to carry pods' addresses. With `mesh.encryption: all` it has no effect.
    pub encapsulate: Encapsulate,
    /// What holds otherwise for single locations, by their names: `granularity`, `encryption`, `encapsulate`.
    pub locations: BTreeMap<String, Location>,
    /// The label of nodes that names their location, where the annotation `causeway.io/location` (or Kilo's) does not.
    #[schemars(length(min = 1))]
    pub topology_label: String,
    /// How old a node's WireGuard key becomes before the node makes another: `never`, or a time of ten minutes or more such as
    /// 12h or 7d. Keys of nodes that laptops and offices have tunnels with stay: these have them in their configuration.
    #[schemars(regex(pattern = "^(never|[1-9][0-9]{1,5}m|[1-9][0-9]{0,5}[hd])$"))]
    pub key_rotation: String,
    /// Pre-shared keys of pairs of nodes, so that what is recorded today cannot be read with a quantum computer one day.
    pub preshared_keys: PresharedKeys,
}

/// Pre-shared keys of pairs of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PresharedKeys {
    /// The Secret, in the namespace of the installation, of which each two nodes make a key of their own: 32 random bytes in
    /// base64 for each generation, under its number. Clusters with the same one have such keys with each other. Empty: none.
    #[schemars(regex(pattern = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"))]
    #[schemars(extend("not" = { "enum": super::check::OURS }))]
    pub secret: String,
    /// Whether a node has no tunnel to nodes that hold none of its generations. Otherwise it has one without such a key, and
    /// says so in its status.
    pub required: bool,
}

impl Mesh {
    /// Whether packets between nodes of this location travel in VXLAN, all or some; none: of one without settings of its own.
    pub fn uses_vxlan(&self, location: Option<&str>) -> bool {
        let own = location.and_then(|location| self.locations.get(location)).cloned().unwrap_or_default();
        own.encryption.unwrap_or(self.encryption) == Encryption::Mesh
            && own.encapsulate.unwrap_or(self.encapsulate) != Encapsulate::Never
    }

    /// Whether VXLAN is used in any location.
    pub fn uses_vxlan_anywhere(&self) -> bool {
        self.uses_vxlan(None) || self.locations.keys().any(|name| self.uses_vxlan(Some(name)))
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            granularity: Granularity::default(),
            encryption: Encryption::default(),
            encapsulate: Encapsulate::default(),
            locations: BTreeMap::new(),
            topology_label: "topology.kubernetes.io/region".into(),
            key_rotation: "never".into(),
            preshared_keys: PresharedKeys::default(),
        }
    }
}

/// What holds for one location; what is not said is as for the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Location {
    /// As `mesh.granularity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
    /// As `mesh.encryption`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// As `mesh.encapsulate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulate: Option<Encapsulate>,
}

/// Where what nodes send each other is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Encryption {
    #[default]
    All,
    Mesh,
}

/// Which of what is not encrypted travels in VXLAN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Encapsulate {
    Never,
    CrossSubnet,
    #[default]
    Always,
}

/// With whom nodes have tunnels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Granularity {
    #[default]
    Full,
    Location,
    Cross,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_vxlan_is_used() {
        let of = |encryption, encapsulate| Location { granularity: None, encryption, encapsulate };
        let mut mesh = Mesh::default();
        mesh.locations.insert("here".into(), of(Some(Encryption::Mesh), None));
        assert!(mesh.uses_vxlan(Some("here")) && !mesh.uses_vxlan(None) && !mesh.uses_vxlan(Some("there")));
        assert!(mesh.uses_vxlan_anywhere());
        mesh.encapsulate = Encapsulate::Never;
        assert!(!mesh.uses_vxlan_anywhere());
        mesh.encryption = Encryption::Mesh;
        mesh.locations.insert("here".into(), of(None, Some(Encapsulate::CrossSubnet)));
        assert!(mesh.uses_vxlan(Some("here")) && !mesh.uses_vxlan(None) && mesh.uses_vxlan_anywhere());
    }
}
