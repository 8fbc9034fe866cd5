//! Where the objects of a cluster come from: for now a folder of Kubernetes manifests (the *standalone* source).
//!
//! This room reads text and files and hands over [`model`] values; it never decides what the network does with
//! them. [`yaml`] reads text strictly, with the line of every mistake; [`manifest`] knows the Kubernetes kinds we take,
//! [`index`] turns them into what travels, and [`standalone`] keeps and watches the folder.
#![forbid(unsafe_code)]

mod event;
pub mod index;
pub mod manifest;
pub mod standalone;
pub mod yaml;

pub use event::{Complaint, Event};
