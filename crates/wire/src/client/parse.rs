//! Files of `wg-quick`'s kind, as `causeway peer` and WireGuard's own programs write them, read with limits.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{PeerHost, PublicKey};

use super::{Configuration, End};

/// Bytes of a file, at most.
pub const LONGEST: usize = 4 << 20;
/// Other ends, at most: as many nodes as a cluster of Kubernetes has, and more.
const MOST_ENDS: usize = 8192;
/// Ranges that are allowed, for all ends together, at most.
const MOST_RANGES: usize = 65_536;
/// Addresses, servers and domains, at most of each.
const MOST_OTHERS: usize = 64;
/// The smallest and the largest packet that a device takes, in bytes (RFC 791 §2; what a length of 16 bits can say).
const MTU: std::ops::RangeInclusive<u32> = 576..=65_535;
/// No word that is known is longer: what is, may be a secret in the wrong place.
const LONGEST_WORD: usize = 24;

/// Why a file is not understood. It says no value: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// It is too long.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// A section is not known.
    #[error("line {0}: no section of that name: write [Interface] or [Peer]")]
    Section(usize),
    /// A line is no section and has no value.
    #[error("line {0}: write KEY = VALUE")]
    NoValue(usize),
    /// There is no such key in this section.
    #[error("line {line}: {key} is not known here")]
    Unknown {
        /// Where.
        line: usize,
        /// Its name, if it can be one.
        key: String,
    },
    /// A value is none of its kind.
    #[error("line {line}: the value of {key} is not understood")]
    Value {
        /// Where.
        line: usize,
        /// Of which key.
        key: &'static str,
    },
    /// There are too many of a kind.
    #[error("line {line}: more than {most} {what}")]
    TooMany {
        /// Where.
        line: usize,
        /// Of what.
        what: &'static str,
        /// How many may be.
        most: usize,
    },
    /// Two sections are of the same end.
    #[error("line {0}: another [Peer] has this PublicKey already")]
    Twice(usize),
    /// An end has no key.
    #[error("the [Peer] in line {0} has no PublicKey")]
    NoPublicKey(usize),
}

/// Reads a range, or an address.
///
/// # Errors
/// It is neither.
pub fn range(text: &str) -> Result<IpNet, String> {
    let net = address(text).map(|net| net.trunc());
    net.ok_or_else(|| "write an address such as 10.254.1.7, or a range".into())
}

/// Reads a file of `wg-quick`'s kind: what [`Configuration::wg_quick`] writes, and what means the same. What `wg-quick` would run
/// (`PostUp` and its like) is not known here.
///
/// # Errors
/// The first thing in it that is not understood, or that is too much.
pub fn parse(name: &str, text: &str) -> Result<Configuration, ClientError> {
    if text.len() > LONGEST {
        return Err(ClientError::TooLong);
    }
    let mut reader = Reader { all: empty(name), section: Section::None, ends: Vec::new(), ranges: 0 };
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            reader.take(n + 1, line)?;
        }
    }
    reader.finish()
}

fn empty(name: &str) -> Configuration {
    Configuration {
        name: name.into(),
        private_key: None,
        addresses: Vec::new(),
        dns: Vec::new(),
        search: Vec::new(),
        mtu: None,
        peers: Vec::new(),
    }
}

/// What the lines that follow are about.
enum Section {
    None,
    Interface,
    Peer,
}

/// Another end, as far as it is read.
struct Begun {
    /// Where its section begins.
    line: usize,
    /// Where its key stands, if it does already.
    keyed: Option<usize>,
    end: End,
}

struct Reader {
    all: Configuration,
    section: Section,
    ends: Vec<Begun>,
    ranges: usize,
}

impl Reader {
    /// Takes a line in that is not empty.
    fn take(&mut self, line: usize, text: &str) -> Result<(), ClientError> {
        if let Some(named) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return self.begin(line, named);
        }
        let (key, value) = text.split_once('=').ok_or(ClientError::NoValue(line))?;
        let (key, value) = (key.trim(), value.trim());
        match self.section {
            Section::Interface => self.of_interface(line, key, value),
            Section::Peer => self.of_peer(line, key, value),
            Section::None => Err(unknown(line, key)),
        }
    }

    fn begin(&mut self, line: usize, section: &str) -> Result<(), ClientError> {
        if section.eq_ignore_ascii_case("interface") {
            self.section = Section::Interface;
        } else if section.eq_ignore_ascii_case("peer") {
            let (name, public_key, allowed_ips) = (String::new(), PublicKey([0; 32]), Vec::new());
            let end =
                End { name, public_key, preshared_key: None, endpoint: None, allowed_ips, keepalive: 0 };
            self.section = Section::Peer;
            self.ends.push(Begun { line, keyed: None, end });
            few(line, "other ends", self.ends.len(), MOST_ENDS)?;
        } else {
            return Err(ClientError::Section(line));
        }
        Ok(())
    }

    fn of_interface(&mut self, line: usize, key: &str, value: &str) -> Result<(), ClientError> {
        let all = &mut self.all;
        let bad = |key| ClientError::Value { line, key };
        match key.to_ascii_lowercase().as_str() {
            "privatekey" => all.private_key = Some(value.parse().map_err(|_| bad("PrivateKey"))?),
            "address" => {
                for word in words(value) {
                    all.addresses.push(address(word).ok_or_else(|| bad("Address"))?);
                    few(line, "addresses", all.addresses.len(), MOST_OTHERS)?;
                }
            }
            "dns" => {
                for word in words(value) {
                    match word.parse() {
                        Ok(ip) => all.dns.push(ip),
                        Err(_) if is_domain(word) => all.search.push(word.into()),
                        Err(_) => return Err(bad("DNS")),
                    }
                    few(line, "servers and domains", all.dns.len().max(all.search.len()), MOST_OTHERS)?;
                }
            }
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| MTU.contains(mtu));
                all.mtu = Some(mtu.ok_or_else(|| bad("MTU"))?);
            }
            "listenport" | "fwmark" | "saveconfig" | "table" => {}
            _ => return Err(unknown(line, key)),
        }
        Ok(())
    }

    fn of_peer(&mut self, line: usize, key: &str, value: &str) -> Result<(), ClientError> {
        let bad = |key| ClientError::Value { line, key };
        let Some(Begun { keyed, end, .. }) = self.ends.last_mut() else { return Err(unknown(line, key)) };
        match key.to_ascii_lowercase().as_str() {
            "publickey" => {
                end.public_key = value.parse().map_err(|_| bad("PublicKey"))?;
                end.name = end.public_key.to_string();
                *keyed = Some(line);
            }
            "presharedkey" => end.preshared_key = Some(value.parse().map_err(|_| bad("PresharedKey"))?),
            "endpoint" if is_endpoint(value) => end.endpoint = Some(value.into()),
            "endpoint" => return Err(bad("Endpoint")),
            "allowedips" => {
                for word in words(value) {
                    end.allowed_ips.push(range(word).map_err(|_| bad("AllowedIPs"))?);
                    self.ranges += 1;
                    few(line, "allowed ranges", self.ranges, MOST_RANGES)?;
                }
            }
            "persistentkeepalive" if value.eq_ignore_ascii_case("off") => end.keepalive = 0,
            "persistentkeepalive" => end.keepalive = value.parse().map_err(|_| bad("PersistentKeepalive"))?,
            _ => return Err(unknown(line, key)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Configuration, ClientError> {
        let Self { mut all, ends, .. } = self;
        let mut known = BTreeSet::new();
        for Begun { line, keyed, end } in ends {
            let at = keyed.ok_or(ClientError::NoPublicKey(line))?;
            if !known.insert(end.public_key) {
                return Err(ClientError::Twice(at));
            }
            all.peers.push(end);
        }
        Ok(all)
    }
}

fn few(line: usize, what: &'static str, count: usize, most: usize) -> Result<(), ClientError> {
    if count > most { Err(ClientError::TooMany { line, what, most }) } else { Ok(()) }
}

/// A key that is not known, by its name. A line with nothing but a secret in it, which ends with `=`, has no name.
fn unknown(line: usize, key: &str) -> ClientError {
    let is_name = key.len() <= LONGEST_WORD && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let key = if is_name && !key.is_empty() { key.into() } else { "what stands there".into() };
    ClientError::Unknown { line, key }
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn address(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// Whether it is a domain's name: what ends in a number is an address that is none.
fn is_domain(text: &str) -> bool {
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    PeerHost::dns(text).is_ok() && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it can be dialled: an address or a name, and a port.
fn is_endpoint(text: &str) -> bool {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return socket.port() > 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    is_domain(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}
