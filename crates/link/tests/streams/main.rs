//! Conversations of real controllers and agents over loopback, with real TLS. One program, for it takes the compiler most
//! of a minute.

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod doctor;
mod lives;
mod peers;
mod policing;
mod rotation;
mod service_account;
mod standby;
