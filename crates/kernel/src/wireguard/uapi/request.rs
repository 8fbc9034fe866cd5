//! What is to change about a device.

use std::fmt::Write;

use wireguard::{AllowedChange, PeerChange};
use zeroize::Zeroizing;

use super::{LineError, endpoint, hex, hexes, key_bytes, keys, number, range, refused, split};

/// A `set=1` request. What it does not say stays.
#[derive(Debug, Clone, Default)]
pub struct SetRequest {
    /// The private key; all zeroes to remove it.
    pub private_key: Option<Zeroizing<[u8; 32]>>,
    /// Another private key that is believed beside it, while the former changes; all zeroes for none. Our own addition.
    pub other_private_key: Option<Zeroizing<[u8; 32]>>,
    /// The UDP port; 0 for any.
    pub listen_port: Option<u16>,
    /// The mark that routing policy sees; 0 for none.
    pub fwmark: Option<u32>,
    /// Forget all other peers.
    pub replace_peers: bool,
    /// Peers, in order.
    pub peers: Vec<PeerChange>,
}

impl SetRequest {
    /// From the lines that follow `set=1`, up to the empty one.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, LineError> {
        let mut request = Self::default();
        for line in lines {
            let (key, value) = split(line)?;
            if !request.device_line(key, value)? {
                let peer =
                    request.peers.last_mut().ok_or_else(|| refused(key, "public_key must come first"))?;
                peer_line(peer, key, value)?;
            }
        }
        Ok(request)
    }

    /// Whether it was one.
    fn device_line(&mut self, key: &str, value: &str) -> Result<bool, LineError> {
        if key == "public_key" {
            let public_key = key_bytes(key, value)?;
            self.peers.push(PeerChange { public_key, ..PeerChange::default() });
            return Ok(true);
        }
        if !self.peers.is_empty() {
            return Ok(false);
        }
        match key {
            "private_key" => self.private_key = Some(Zeroizing::new(key_bytes(key, value)?)),
            "other_private_key" => self.other_private_key = Some(Zeroizing::new(key_bytes(key, value)?)),
            "listen_port" => self.listen_port = Some(number(key, value)?),
            "fwmark" => self.fwmark = Some(number(key, value)?),
            "replace_peers" => self.replace_peers = yes(key, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl std::fmt::Display for SetRequest {
    /// The whole request, with `set=1` and the empty line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "set=1")?;
        if let Some(key) = &self.private_key {
            writeln!(f, "private_key={}", hex(key))?;
        }
        if let Some(key) = &self.other_private_key {
            writeln!(f, "other_private_key={}", hex(key))?;
        }
        if let Some(port) = self.listen_port {
            writeln!(f, "listen_port={port}")?;
        }
        if let Some(mark) = self.fwmark {
            writeln!(f, "fwmark={mark}")?;
        }
        if self.replace_peers {
            writeln!(f, "replace_peers=true")?;
        }
        for peer in &self.peers {
            write_peer(peer, f)?;
        }
        f.write_char('\n')
    }
}

fn write_peer(peer: &PeerChange, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    writeln!(f, "public_key={}", hex(&peer.public_key))?;
    let flags = [
        ("remove", peer.remove),
        ("update_only", peer.update_only),
        ("replace_allowed_ips", peer.replace_allowed_ips),
    ];
    for (key, _) in flags.into_iter().filter(|(_, set)| *set) {
        writeln!(f, "{key}=true")?;
    }
    if let Some(key) = &peer.other_key {
        writeln!(f, "other_public_key={}", hex(key))?;
    }
    if let Some(key) = &peer.preshared_key {
        writeln!(f, "preshared_key={}", hex(key))?;
    }
    if let Some(keys) = &peer.other_preshared_keys {
        writeln!(f, "other_preshared_keys={}", hexes(keys))?;
    }
    if let Some(endpoint) = peer.endpoint {
        writeln!(f, "endpoint={endpoint}")?;
    }
    if let Some(seconds) = peer.keepalive {
        writeln!(f, "persistent_keepalive_interval={seconds}")?;
    }
    if let Some(relay) = peer.relay {
        writeln!(f, "relay={relay}")?;
    }
    if let Some(at) = peer.probe {
        writeln!(f, "probe={at}")?;
    }
    if peer.renew {
        writeln!(f, "renew=true")?;
    }
    if let Some(group) = peer.group {
        writeln!(f, "group={group}")?;
    }
    for range in &peer.accepted_ips {
        writeln!(f, "accepted_ip={range}")?;
    }
    for change in &peer.allowed_ips {
        match change {
            AllowedChange::Add(range) => writeln!(f, "allowed_ip={range}")?,
            AllowedChange::Remove(range) => writeln!(f, "allowed_ip=-{range}")?,
        }
    }
    Ok(())
}

fn peer_line(peer: &mut PeerChange, key: &str, value: &str) -> Result<(), LineError> {
    match key {
        "remove" => peer.remove = yes(key, value)?,
        "update_only" => peer.update_only = yes(key, value)?,
        "other_public_key" => peer.other_key = Some(key_bytes(key, value)?),
        "preshared_key" => peer.preshared_key = Some(key_bytes(key, value)?),
        "other_preshared_keys" => peer.other_preshared_keys = Some(keys(key, value)?),
        "endpoint" => peer.endpoint = Some(endpoint(key, value)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(number(key, value)?),
        "replace_allowed_ips" => peer.replace_allowed_ips = yes(key, value)?,
        "group" => peer.group = Some(number(key, value)?),
        "accepted_ip" => peer.accepted_ips.push(range(key, value)?),
        "allowed_ip" => peer.allowed_ips.push(match value.strip_prefix('-') {
            Some(gone) => AllowedChange::Remove(range(key, gone)?),
            None => AllowedChange::Add(range(key, value)?),
        }),
        // Our own additions to the protocol.
        "relay" => peer.relay = Some(flag(key, value)?),
        "probe" => peer.probe = Some(endpoint(key, value)?),
        "renew" => peer.renew = yes(key, value)?,
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err(refused(key, "there is only version 1")),
        _ => return Err(refused(key, "no such key")),
    }
    Ok(())
}

fn yes(key: &str, value: &str) -> Result<bool, LineError> {
    if value == "true" { Ok(true) } else { Err(refused(key, "only =true means something")) }
}

fn flag(key: &str, value: &str) -> Result<bool, LineError> {
    value.parse().map_err(|_| refused(key, "true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

    fn parse(text: &str) -> Result<SetRequest, LineError> {
        SetRequest::parse(text.lines())
    }

    #[test]
    fn a_request_survives_the_trip() {
        let text = format!(
            "set=1\nprivate_key={KEY}\nother_private_key={KEY}\nlisten_port=51820\nfwmark=7\nreplace_peers=true\n\
             public_key={KEY}\nupdate_only=true\nreplace_allowed_ips=true\nother_public_key={KEY}\n\
             preshared_key={KEY}\nother_preshared_keys={KEY},{KEY}\nendpoint=[2001:db8::1]:5\npersistent_keepalive_interval=25\nrelay=false\n\
             probe=192.0.2.9:7\nrenew=true\nallowed_ip=10.0.0.0/8\nallowed_ip=-fd00::/64\npublic_key={KEY}\n\
             other_preshared_keys=\npublic_key={KEY}\n\
             remove=true\n\n"
        );
        let request = parse(text.trim_end().strip_prefix("set=1\n").unwrap()).unwrap();
        assert_eq!(request.to_string(), text);
    }

    #[test]
    fn an_address_may_be_of_one_link() {
        let parse = |endpoint: &str| parse(&format!("public_key={KEY}\nendpoint={endpoint}"));
        let named = parse("[fe80::1%lo]:9").unwrap();
        // Every namespace's first interface.
        assert_eq!(named.peers[0].endpoint, "[fe80::1%1]:9".parse().ok());
        assert!(named.to_string().contains("endpoint=[fe80::1%1]:9\n"));
        for wrong in [
            "[fe80::1%nobody]:9",
            "[fe80::1%]:9",
            "[fe80::1%lo]:",
            "[%lo]:9",
            "192.0.2.1%lo:9",
            "[fe80::1%lo\0]:9",
        ] {
            assert_eq!(parse(wrong).unwrap_err().line, "endpoint", "{wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("private_key=12", "private_key"),
            ("other_private_key=12", "other_private_key"),
            (&format!("public_key={KEY}\nother_public_key=0"), "other_public_key"),
            (&format!("public_key={KEY}\nother_preshared_keys={KEY},"), "other_preshared_keys"),
            (
                &format!("public_key={KEY}\nother_preshared_keys={}", [KEY; 17].join(",")),
                "other_preshared_keys",
            ),
            ("listen_port=65536", "listen_port"),
            ("endpoint=192.0.2.1:1", "endpoint"),
            ("nonsense", "nonsense"),
            ("replace_peers=yes", "replace_peers"),
            (&format!("public_key={KEY}\nrelay=1"), "relay"),
            (&format!("public_key={KEY}\nrenew=false"), "renew"),
            (&format!("public_key={KEY}\nprobe=here"), "probe"),
            (&format!("public_key={KEY}\nendpoint=example.com:1"), "endpoint"),
            (&format!("public_key={KEY}\nallowed_ip=10.0.0.0"), "allowed_ip"),
            (&format!("public_key={KEY}\nprivate_key={KEY}"), "private_key"),
            (&format!("public_key={KEY}\nprotocol_version=2"), "protocol_version"),
            (&format!("public_key={}", "é".repeat(32)), "public_key"),
        ];
        for (text, key) in cases {
            assert_eq!(parse(text).unwrap_err().line, key, "{text}");
        }
    }
}
