//! The bytes between processes: the exchange protocol (protobuf), the saved state, the local API (JSON), the files of WireGuard's
//! clients.
//!
//! Parsing happens here, once, with limits; what comes out is `model`. Nothing here sends or receives.
#![forbid(unsafe_code)]

pub mod client;
mod encode;
mod error;
pub mod limits;
pub mod local;
mod parse;
pub mod state;
mod version;

#[cfg(test)]
mod strategies;

/// The messages and the service, as generated from `proto/causeway.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto file documents it"
)]
pub mod pb {
    tonic::include_proto!("causeway.v1");
}

pub use encode::{
    encode_change, encode_cluster, encode_generations, encode_ip, encode_object, encode_reach,
    encode_service_names, encode_transports,
};
pub use error::ParseError;
pub use parse::{
    Unreadable, decode_change, parse_change, parse_cluster, parse_clusters, parse_generations, parse_ips,
    parse_key, parse_object, parse_public_key, parse_reach, parse_service_names, parse_transports,
};
pub use version::{VERSION, VersionSkew, check_version, knows_interests};
