//! The nouns of the network: clusters, nodes, services, endpoints, and the world they make up.
//!
//! Everything here is a plain value. Names are parsed once, at the border, and are right from then on. This crate
//! asks the world nothing (no sockets, files, clocks or randomness) and decides nothing: that is `engine`'s.
#![forbid(unsafe_code)]

mod key;
mod name;
mod network;
mod object;
mod world;

pub use key::PublicKey;
pub use name::{ClusterId, ClusterName, NameError, NodeName, ObjectName};
pub use network::{KubeProxy, Port, Protocol, overlaps};
pub use object::{
    Change, Cluster, Endpoint, EndpointKey, EndpointPort, Key, Kind, Node, Object, Service, ServiceKey,
    ServicePort, Tier, Topology,
};
pub use world::World;
