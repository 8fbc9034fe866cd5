//! A Kubernetes API server for tests: real HTTP on loopback, real list, watch and patch, and faults on request.
//!
//! It keeps objects of the kinds that Causeway and its installer use, and those that a CustomResourceDefinition
//! brings, and it says about them what a real server of version 1.33 says: the same codes, reasons, versions and
//! events. `tests/fidelity.rs` holds one set of cases that runs against this server in the ordinary tests, and
//! against a real one by `./x test kubernetes`; where the two differ, this one is wrong.
//!
//! What it leaves out, on purpose:
//!
//! - TLS and authentication. Every client is let in; [`Server::enforce`] then holds requests against rules of
//!   access. Certificates and tokens are the business of the client library, and of the pass against a real server.
//! - Protobuf, CBOR, tables and OpenAPI. JSON only.
//! - Most validation and most defaults. What is not needed to tell a right client from a wrong one is not checked.
//! - Strategic merge patches are taken as merge patches; JSON patches are refused.
//! - Controllers: none runs but, on request, one for EndpointSlices. A namespace takes its contents with it at once;
//!   owner references collect nothing.
//! - Past versions are reached through a log of changes ([`Options::history`]) rather than kept.
#![forbid(unsafe_code)]

mod access;
mod clock;
mod crd;
mod defaults;
mod delete;
mod direct;
mod discovery;
mod failure;
mod faults;
mod http;
mod journal;
mod kind;
mod list;
mod managers;
mod merge;
mod object;
mod owned;
mod path;
mod query;
mod schema;
mod select;
mod server;
mod slices;
mod store;
mod tokens;
mod watch;
mod write;

pub use faults::{Fault, Faults};
pub use journal::Request;
pub use server::{Options, Server};
pub use tokens::Identity;
