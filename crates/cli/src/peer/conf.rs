//! What a client configures, as the programs of laptops read it.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use model::PublicKey;
use serde_json::{Value, json};

/// What stands where the private key belongs.
const NO_KEY: &str = "# PrivateKey = ... belongs here: its owner has it";
/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// What a client configures.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// Whose it is.
    pub(crate) name: String,
    /// Its private key, if it is known here.
    pub(crate) private_key: Option<[u8; 32]>,
    /// Its own addresses.
    pub(crate) addresses: Vec<IpNet>,
    /// Who is asked for names.
    pub(crate) dns: Vec<IpAddr>,
    /// The domains that are asked for there.
    pub(crate) search: Vec<String>,
    /// Bytes of the largest packet, if somebody said.
    pub(crate) mtu: Option<u32>,
    /// The other ends.
    pub(crate) peers: Vec<End>,
}

/// The other end of a client's tunnel.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Who it is, for people.
    pub(crate) name: String,
    /// Its key.
    pub(crate) public_key: PublicKey,
    /// What both know beside their keys.
    pub(crate) preshared_key: Option<[u8; 32]>,
    /// Where it is dialled: `HOST:PORT`.
    pub(crate) endpoint: Option<String>,
    /// What is behind it.
    pub(crate) allowed_ips: Vec<IpNet>,
    /// Seconds between packets that keep a NAT's mapping open.
    pub(crate) keepalive: u16,
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>, between: &str) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(between)
}

fn base64(key: [u8; 32]) -> String {
    PublicKey(key).to_string()
}

impl Configuration {
    /// As `wg-quick` reads it.
    pub(crate) fn wg_quick(&self) -> String {
        let mut text = format!("# {}, by `causeway peer`\n[Interface]\n", self.name);
        match self.private_key {
            Some(key) => _ = writeln!(text, "PrivateKey = {}", base64(key)),
            None => _ = writeln!(text, "{NO_KEY}"),
        }
        if !self.addresses.is_empty() {
            _ = writeln!(text, "Address = {}", list(&self.addresses, ", "));
        }
        if !self.dns.is_empty() {
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
    pub(crate) fn network_manager(&self) -> String {
        let id = format!("causeway-{}", self.name);
        let interface: String =
            format!("cw-{}", self.name).chars().filter(char::is_ascii_graphic).take(15).collect();
        let mut text = format!(
            "[connection]\nid={id}\ntype=wireguard\ninterface-name={interface}\nautoconnect=false\n\n[wireguard]\n"
        );
        match self.private_key {
            Some(key) => _ = writeln!(text, "private-key={}", base64(key)),
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
            if let Some(key) = end.preshared_key {
                _ = writeln!(text, "preshared-key={}\npreshared-key-flags=0", base64(key));
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
    pub(crate) fn to_json(&self) -> Value {
        let peers = self.peers.iter().map(|end| {
            json!({
                "name": end.name,
                "publicKey": end.public_key,
                "presharedKey": end.preshared_key.map(base64),
                "endpoint": end.endpoint,
                "allowedIPs": end.allowed_ips,
                "persistentKeepalive": end.keepalive,
            })
        });
        json!({
            "name": self.name,
            "privateKey": self.private_key.map(base64),
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
    pub(crate) fn section(&self) -> String {
        let mut text = format!("[Peer]\nPublicKey = {}\n", self.public_key);
        if let Some(key) = self.preshared_key {
            _ = writeln!(text, "PresharedKey = {}", base64(key));
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

/// A range, or an address.
pub(crate) fn range(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc()).map_err(|_| "write an address such as 10.254.1.7, or a range".into())
}

/// Reads a key from a file, or from standard input.
pub(crate) fn read_key(file: &Path) -> Result<[u8; 32]> {
    let text = read(file)?;
    // The same 44 characters as a public key. What is read is not repeated: it is a secret.
    let key: PublicKey = text.trim().parse().map_err(|_| {
        anyhow::anyhow!("{} holds no WireGuard key: expected 44 characters of base64", file.display())
    })?;
    Ok(key.0)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?),
    };
    reader.take(LONGEST).read_to_string(&mut text).with_context(|| format!("reading {}", file.display()))?;
    Ok(text)
}

/// Reads a configuration of `wg-quick`'s kind: what `causeway peer` writes, and what means the same.
pub(crate) fn parse(name: &str, file: &Path) -> Result<Configuration> {
    let text = read(file)?;
    parse_text(name, &text).with_context(|| format!("reading {}", file.display()))
}

fn parse_text(name: &str, text: &str) -> Result<Configuration> {
    let mut all = Configuration {
        name: name.into(),
        private_key: None,
        addresses: Vec::new(),
        dns: Vec::new(),
        search: Vec::new(),
        mtu: None,
        peers: Vec::new(),
    };
    let mut section = String::new();
    let mut keys: Vec<Option<PublicKey>> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let at = || format!("line {}", n + 1);
        if let Some(named) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = named.to_ascii_lowercase();
            match section.as_str() {
                "interface" => {}
                "peer" => {
                    let (public_key, endpoint) = (PublicKey([0; 32]), None);
                    let (preshared_key, allowed_ips) = (None, Vec::new());
                    let name = String::new();
                    all.peers.push(End {
                        name,
                        public_key,
                        preshared_key,
                        endpoint,
                        allowed_ips,
                        keepalive: 0,
                    });
                    keys.push(None);
                }
                _ => bail!("{}: no section of that name: write [Interface] or [Peer]", at()),
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=').with_context(|| format!("{}: write KEY = VALUE", at()))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let words = || value.split(',').map(str::trim).filter(|word| !word.is_empty());
        // Never the value: it may be a secret.
        let bad = || format!("{}: the value of {key} is not understood", at());
        match (section.as_str(), key.as_str(), all.peers.last_mut(), keys.last_mut()) {
            ("interface", "privatekey", ..) => {
                all.private_key = Some(value.parse::<PublicKey>().ok().with_context(bad)?.0);
            }
            ("interface", "address", ..) => {
                for word in words() {
                    let net = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
                    all.addresses.push(net.ok().with_context(bad)?);
                }
            }
            ("interface", "dns", ..) => words().for_each(|word| match word.parse() {
                Ok(ip) => all.dns.push(ip),
                Err(_) => all.search.push(word.into()),
            }),
            ("interface", "mtu", ..) => all.mtu = Some(value.parse().ok().with_context(bad)?),
            ("interface", "listenport" | "fwmark" | "saveconfig" | "table", ..) => {}
            ("peer", "publickey", Some(end), Some(known)) => {
                end.public_key = value.parse().ok().with_context(bad)?;
                end.name = end.public_key.to_string();
                *known = Some(end.public_key);
            }
            ("peer", "presharedkey", Some(end), _) => {
                end.preshared_key = Some(value.parse::<PublicKey>().ok().with_context(bad)?.0);
            }
            ("peer", "endpoint", Some(end), _) => end.endpoint = Some(value.into()),
            ("peer", "allowedips", Some(end), _) => {
                for word in words() {
                    end.allowed_ips.push(range(word).ok().with_context(bad)?);
                }
            }
            ("peer", "persistentkeepalive", Some(end), _) => {
                end.keepalive = if value == "off" { 0 } else { value.parse().ok().with_context(bad)? };
            }
            _ => bail!("{}: {key} is not known here", at()),
        }
    }
    if keys.iter().any(Option::is_none) {
        bail!("a [Peer] has no PublicKey");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Configuration {
        let range = |text: &str| text.parse().unwrap();
        Configuration {
            name: "alice".into(),
            private_key: Some([1; 32]),
            addresses: vec![range("10.254.1.1/32"), range("fd43::1/128")],
            dns: vec!["10.1.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
            search: vec!["clusterset.local".into()],
            mtu: None,
            peers: vec![End {
                name: "aws/aws-1".into(),
                public_key: PublicKey([2; 32]),
                preshared_key: Some([3; 32]),
                endpoint: Some("[2001:db8::1]:51820".into()),
                allowed_ips: vec![range("10.1.0.0/16"), range("fd00:1::/48")],
                keepalive: 25,
            }],
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut again = parse_text("alice", &sample().wg_quick()).unwrap();
        again.peers[0].name = "aws/aws-1".into();
        assert!(again == sample());
        let keyless = Configuration { private_key: None, ..sample() };
        assert!(parse_text("alice", &keyless.wg_quick()).unwrap().private_key.is_none());
    }

    #[test]
    fn mistakes_are_named_without_secrets() {
        for (text, said) in [
            ("[Interfaces]", "line 1: no section"),
            ("[Interface]\nPrivateKey = secret", "line 2: the value of privatekey"),
            ("[Interface]\nColour = red", "line 2: colour is not known"),
            ("[Peer]\nAllowedIPs = 10.0.0.0/33", "line 2: the value of allowedips"),
            ("[Peer]\nEndpoint = a:1", "no PublicKey"),
            ("nonsense", "line 1: write KEY = VALUE"),
        ] {
            let error = parse_text("x", text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_keyfile_of_network_manager() {
        let text = sample().network_manager();
        for line in [
            "interface-name=cw-alice",
            "[wireguard-peer.AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=]",
            "endpoint=[2001:db8::1]:51820",
            "allowed-ips=10.1.0.0/16;fd00:1::/48;",
            "address1=10.254.1.1/32",
            "dns=10.1.0.1;",
            "dns-search=~clusterset.local;",
            "method=manual",
        ] {
            assert!(text.lines().any(|its| its == line), "{line} in {text}");
        }
    }
}
