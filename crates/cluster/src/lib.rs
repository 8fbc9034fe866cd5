//! Where the objects of a cluster come from: a Kubernetes API server, or a folder of the same manifests (*standalone*).
//!
//! This room reads text and files and hands over [`model`] values; it never decides what the network does with
//! them. [`yaml`] reads text strictly, with the line of every mistake; [`manifest`] knows the Kubernetes kinds we take,
//! [`index`] turns them into what travels, [`kubernetes`] speaks to an API server, [`standalone`] keeps and watches a folder.
#![forbid(unsafe_code)]

mod event;
pub mod index;
pub mod kubernetes;
pub mod manifest;
pub mod multicluster;
pub mod standalone;
pub mod yaml;

pub use event::{Complaint, Event};
