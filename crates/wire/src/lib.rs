//! The bytes between processes: the exchange protocol (protobuf) and the local API (JSON).
//!
//! Parsing happens here, once, with limits; what comes out is `model`. Nothing here sends or receives.
#![forbid(unsafe_code)]

pub mod local;
