//! The nouns of the network: clusters, nodes, peers, services, imports, endpoints, policies, and the world they make up.
//!
//! Everything here is a plain value. Names are parsed once, at the border, and are right from then on. This crate
//! asks the world nothing (no sockets, files, clocks or randomness) and decides nothing: that is `engine`'s.
#![forbid(unsafe_code)]

mod endpoint;
mod generation;
mod key;
pub mod mesh;
mod name;
mod network;
mod object;
mod peer;
pub mod policy;
pub mod reach;
mod service;
mod time;
mod world;

pub use endpoint::{Endpoint, EndpointKey, EndpointPort, Hints, Tier};
pub use generation::{GenerationId, GenerationIdError};
pub use key::{KeyError, PublicKey, SecretKey};
pub use mesh::NodeMesh;
pub use name::{ClusterId, ClusterName, NameError, NodeName, ObjectName};
pub use network::{KubeProxy, Port, Protocol, overlaps};
pub use object::{Change, Cluster, Key, Kind, Node, Object, Topology};
pub use peer::{
    Allow, AllowError, Gateways, PEER_LABEL, Peer, PeerEndpoint, PeerHost, PeerName, PresharedKey, allowed,
};
pub use reach::Reach;
pub use service::{
    Access, Export, Import, NodePort, Prefer, Service, ServiceKey, ServicePort, Spread, Terms, Traffic,
};
pub use time::parse_time;
pub use world::World;
