//! What a device says of itself.

use std::time::Duration;

use wireguard::PeerStatus;
use zeroize::Zeroizing;

use super::{LineError, endpoint, hex, hexes, key_bytes, keys, number, range, refused, split};

/// The answer to `get=1`.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The private key, if there is one.
    pub private_key: Option<Zeroizing<[u8; 32]>>,
    /// Another one that is believed beside it, if there is one. Our own addition.
    pub other_private_key: Option<Zeroizing<[u8; 32]>>,
    /// The UDP port.
    pub listen_port: u16,
    /// The mark that routing policy sees; 0 for none.
    pub fwmark: u32,
    /// The peers.
    pub peers: Vec<PeerStatus>,
}

impl std::fmt::Display for Status {
    /// Without `errno` and the empty line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(key) = &self.private_key {
            writeln!(f, "private_key={}", hex(key))?;
        }
        if let Some(key) = &self.other_private_key {
            writeln!(f, "other_private_key={}", hex(key))?;
        }
        writeln!(f, "listen_port={}", self.listen_port)?;
        if self.fwmark != 0 {
            writeln!(f, "fwmark={}", self.fwmark)?;
        }
        for peer in &self.peers {
            writeln!(f, "public_key={}", hex(&peer.public_key))?;
            if let Some(key) = &peer.other_key {
                writeln!(f, "other_public_key={}", hex(key))?;
            }
            // It is always our only key, unless there are two.
            if let Some(key) = peer.own_key.as_ref().filter(|_| self.other_private_key.is_some()) {
                writeln!(f, "own_public_key={}", hex(key))?;
            }
            writeln!(f, "preshared_key={}", hex(&peer.preshared_key))?;
            if !peer.other_preshared_keys.is_empty() {
                writeln!(
                    f,
                    "other_preshared_keys={}",
                    hexes(peer.other_preshared_keys.iter().map(|key| &**key))
                )?;
            }
            writeln!(f, "protocol_version=1")?;
            if let Some(endpoint) = peer.endpoint {
                writeln!(f, "endpoint={endpoint}")?;
            }
            let handshake = peer.last_handshake.unwrap_or_default();
            writeln!(f, "last_handshake_time_sec={}", handshake.as_secs())?;
            writeln!(f, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
            writeln!(f, "tx_bytes={}", peer.tx_bytes)?;
            writeln!(f, "rx_bytes={}", peer.rx_bytes)?;
            writeln!(f, "persistent_keepalive_interval={}", peer.keepalive)?;
            for range in &peer.allowed_ips {
                writeln!(f, "allowed_ip={range}")?;
            }
            if peer.group != 0 {
                writeln!(f, "group={}", peer.group)?;
            }
            for range in &peer.accepted_ips {
                writeln!(f, "accepted_ip={range}")?;
            }
        }
        Ok(())
    }
}

impl Status {
    /// From the lines of an answer, without `errno`. Keys that are new to us are skipped.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, LineError> {
        let mut status = Self::default();
        for line in lines {
            let (key, value) = split(line)?;
            match (key, status.peers.last_mut()) {
                ("private_key", None) => {
                    let secret = Zeroizing::new(key_bytes(key, value)?);
                    status.private_key = Some(secret).filter(|secret| **secret != [0; 32]);
                }
                ("other_private_key", None) => {
                    let secret = Zeroizing::new(key_bytes(key, value)?);
                    status.other_private_key = Some(secret).filter(|secret| **secret != [0; 32]);
                }
                ("listen_port", None) => status.listen_port = number(key, value)?,
                ("fwmark", None) => status.fwmark = number(key, value)?,
                ("public_key", _) => status.peers.push(PeerStatus {
                    public_key: key_bytes(key, value)?,
                    other_key: None,
                    own_key: None,
                    preshared_key: Zeroizing::new([0; 32]),
                    other_preshared_keys: Vec::new(),
                    endpoint: None,
                    keepalive: 0,
                    last_handshake: None,
                    rx_bytes: 0,
                    tx_bytes: 0,
                    allowed_ips: Vec::new(),
                    group: 0,
                    accepted_ips: Vec::new(),
                }),
                (_, Some(peer)) => peer_line(peer, key, value)?,
                (_, None) => {}
            }
        }
        Ok(status)
    }
}

fn peer_line(peer: &mut PeerStatus, key: &str, value: &str) -> Result<(), LineError> {
    match key {
        "other_public_key" => peer.other_key = Some(key_bytes(key, value)?),
        "own_public_key" => peer.own_key = Some(key_bytes(key, value)?),
        "preshared_key" => peer.preshared_key = Zeroizing::new(key_bytes(key, value)?),
        "other_preshared_keys" => {
            peer.other_preshared_keys = keys(key, value)?.into_iter().map(Zeroizing::new).collect();
        }
        "endpoint" => peer.endpoint = Some(endpoint(key, value)?),
        "last_handshake_time_sec" => {
            peer.last_handshake = Some(Duration::from_secs(number(key, value)?)).filter(|at| !at.is_zero());
        }
        "last_handshake_time_nsec" => {
            let nanos: u32 = number(key, value)?;
            if nanos >= 1_000_000_000 {
                return Err(refused(key, "less than a second"));
            }
            if let Some(at) = &mut peer.last_handshake {
                *at += Duration::from_nanos(nanos.into());
            }
        }
        "tx_bytes" => peer.tx_bytes = number(key, value)?,
        "rx_bytes" => peer.rx_bytes = number(key, value)?,
        "persistent_keepalive_interval" => peer.keepalive = number(key, value)?,
        "allowed_ip" => peer.allowed_ips.push(range(key, value)?),
        "group" => peer.group = number(key, value)?,
        "accepted_ip" => peer.accepted_ips.push(range(key, value)?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

    #[test]
    fn a_status_survives_the_trip() {
        let text = format!(
            "private_key={KEY}\nother_private_key={KEY}\nlisten_port=51820\nfwmark=9\npublic_key={KEY}\n\
             other_public_key={KEY}\nown_public_key={KEY}\npreshared_key={KEY}\nother_preshared_keys={KEY}\nprotocol_version=1\nendpoint=192.0.2.1:5\nlast_handshake_time_sec=1700000000\n\
             last_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\npersistent_keepalive_interval=25\n\
             allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\ngroup=7\naccepted_ip=10.9.0.0/16\n"
        );
        let status = Status::parse(text.lines()).unwrap();
        assert_eq!(status.to_string(), text);
        let more = text.replace("tx_bytes", "something_new=1\ntx_bytes");
        assert_eq!(Status::parse(more.lines()).unwrap().to_string(), text);
        let bad = text.replace("nsec=5", "nsec=1000000000");
        assert_eq!(Status::parse(bad.lines()).unwrap_err().line, "last_handshake_time_nsec");
    }
}
