//! Written for whoever reads it: `wg-quick`, NetworkManager, a program.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Configuration, End};

/// What stands where the private key belongs.
const NO_KEY: &str = "# PrivateKey = ... belongs here: its owner has it";

fn list<T: ToString>(values: impl IntoIterator<Item = T>, between: &str) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(between)
}

impl Configuration {
    /// As `wg-quick` reads it.
    pub fn wg_quick(&self) -> String {
        let mut text = format!("# {}, by `causeway peer`\n[Interface]\n", self.name);
        match &self.private_key {
            Some(key) => _ = writeln!(text, "PrivateKey = {}", *key.to_base64()),
            None => _ = writeln!(text, "{NO_KEY}"),
        }
        if !self.addresses.is_empty() {
            _ = writeln!(text, "Address = {}", list(&self.addresses, ", "));
        }
        if !self.dns.is_empty() || !self.search.is_empty() {
            let search = self.search.iter().cloned();
            _ = writeln!(
                text,
                "DNS = {}",
                list(self.dns.iter().map(ToString::to_string).chain(search), ", ")
            );
        }
        if let Some(mtu) = self.mtu {
            _ = writeln!(text, "MTU = {mtu}");
        }
        for end in &self.peers {
            _ = write!(text, "\n# {}\n{}", end.name, end.section());
        }
        text
    }

    /// As a keyfile of NetworkManager (nm-settings-keyfile(5)).
    pub fn network_manager(&self) -> String {
        let id = format!("causeway-{}", self.name);
        let interface: String =
            format!("cw-{}", self.name).chars().filter(char::is_ascii_graphic).take(15).collect();
        let mut text = format!(
            "[connection]\nid={id}\ntype=wireguard\ninterface-name={interface}\nautoconnect=false\n\n[wireguard]\n"
        );
        match &self.private_key {
            Some(key) => _ = writeln!(text, "private-key={}", *key.to_base64()),
            // The user is asked.
            None => text.push_str("private-key-flags=2\n"),
        }
        if let Some(mtu) = self.mtu {
            _ = writeln!(text, "mtu={mtu}");
        }
        for end in &self.peers {
            _ = writeln!(text, "\n[wireguard-peer.{}]", end.public_key);
            if let Some(endpoint) = &end.endpoint {
                _ = writeln!(text, "endpoint={endpoint}");
            }
            if let Some(key) = &end.preshared_key {
                _ = writeln!(text, "preshared-key={}\npreshared-key-flags=0", *key.to_base64());
            }
            _ = writeln!(text, "persistent-keepalive={}", end.keepalive);
            _ = writeln!(text, "allowed-ips={};", list(&end.allowed_ips, ";"));
        }
        for (family, v4) in [("ipv4", true), ("ipv6", false)] {
            _ = writeln!(text, "\n[{family}]");
            let own: Vec<&IpNet> = self.addresses.iter().filter(|net| net.addr().is_ipv4() == v4).collect();
            if own.is_empty() {
                text.push_str("method=disabled\n");
                continue;
            }
            for (n, address) in own.iter().enumerate() {
                _ = writeln!(text, "address{}={address}", n + 1);
            }
            let dns: Vec<&IpAddr> = self.dns.iter().filter(|ip| ip.is_ipv4() == v4).collect();
            if !dns.is_empty() {
                // A tilde: only these domains are asked for there.
                let search = self.search.iter().map(|domain| format!("~{domain}"));
                _ = writeln!(text, "dns={};\ndns-search={};", list(dns, ";"), list(search, ";"));
            }
            text.push_str("method=manual\n");
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let peers = self.peers.iter().map(|end| {
            json!({
                "name": end.name,
                "publicKey": end.public_key,
                "presharedKey": end.preshared_key.as_ref().map(|key| key.to_base64().to_string()),
                "endpoint": end.endpoint,
                "allowedIPs": end.allowed_ips,
                "persistentKeepalive": end.keepalive,
            })
        });
        json!({
            "name": self.name,
            "privateKey": self.private_key.as_ref().map(|key| key.to_base64().to_string()),
            "addresses": self.addresses,
            "dns": self.dns,
            "search": self.search,
            "mtu": self.mtu,
            "peers": peers.collect::<Vec<_>>(),
        })
    }
}

impl End {
    /// As a section of WireGuard's own configuration.
    pub fn section(&self) -> String {
        let mut text = format!("[Peer]\nPublicKey = {}\n", self.public_key);
        if let Some(key) = &self.preshared_key {
            _ = writeln!(text, "PresharedKey = {}", *key.to_base64());
        }
        if let Some(endpoint) = &self.endpoint {
            _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if !self.allowed_ips.is_empty() {
            _ = writeln!(text, "AllowedIPs = {}", list(&self.allowed_ips, ", "));
        }
        if self.keepalive > 0 {
            _ = writeln!(text, "PersistentKeepalive = {}", self.keepalive);
        }
        text
    }
}
