//! What a WireGuard client that is no node configures (a laptop, an office's router), as its programs write and read it:
//! files of `wg-quick`, keyfiles of NetworkManager.

mod parse;
mod write;

use std::net::IpAddr;

use ipnet::IpNet;
use model::{PresharedKey, PublicKey, SecretKey};

pub use parse::{ClientError, LONGEST, parse, range};

/// What a client configures.
#[derive(Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Whose it is.
    pub name: String,
    /// Its private key, if it is known here.
    pub private_key: Option<SecretKey>,
    /// Its own addresses.
    pub addresses: Vec<IpNet>,
    /// Who is asked for names.
    pub dns: Vec<IpAddr>,
    /// The domains that are asked for there.
    pub search: Vec<String>,
    /// Bytes of the largest packet, if somebody said.
    pub mtu: Option<u32>,
    /// The other ends.
    pub peers: Vec<End>,
}

/// The other end of a client's tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct End {
    /// Who it is, for people.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// What both know beside their keys.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is dialled: `HOST:PORT`.
    pub endpoint: Option<String>,
    /// What is behind it.
    pub allowed_ips: Vec<IpNet>,
    /// Seconds between packets that keep a NAT's mapping open; 0 for none.
    pub keepalive: u16,
}

#[cfg(test)]
mod tests;
