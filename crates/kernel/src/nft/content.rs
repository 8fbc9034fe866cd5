//! What a table consists of: sets, chains and their rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expression::{Destination, Family, Register, Rule};
use super::intervals::boundaries;
use super::{HostPort, Masquerade, Table};

/// A set of keys, or a map if its elements have data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) key: Shape,
    pub(super) data: Option<Shape>,
    pub(super) elements: Vec<Element>,
    /// Whether the elements are boundaries of intervals.
    pub(super) interval: bool,
}

/// What a key or a datum looks like: nft's number for its type, for whoever lists it, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: u32,
    pub(super) length: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
    /// The end of an interval.
    pub(super) end: bool,
}

/// A chain at a hook.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) rules: Vec<Rule>,
}

/// All of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

/// linux/netfilter.h: NF_INET_*.
const PREROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// linux/netfilter_ipv4.h: NF_IP_PRI_*.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;

impl Shape {
    const PROTOCOL: Self = Self { kind: 12, length: 4 };
    const PORT: Self = Self { kind: 13, length: 4 };

    fn address(family: Family) -> Self {
        match family {
            Family::V4 => Self { kind: 7, length: 4 },
            Family::V6 => Self { kind: 8, length: 16 },
        }
    }

    /// Several one after the other: nft keeps six bits for each.
    fn joined(parts: &[Self]) -> Self {
        let kind = parts.iter().fold(0, |kind, part| kind << 6 | part.kind);
        Self { kind, length: parts.iter().map(|part| part.length).sum() }
    }
}

impl Content {
    pub(super) fn of(table: &Table) -> Self {
        let mut content = Self::default();
        let mut postrouting = Vec::new();
        if let Some(masquerade) = &table.masquerade {
            for family in Family::BOTH {
                postrouting.extend(content.masquerade(masquerade, family));
            }
        }
        let (mut prerouting, mut output) = (Vec::new(), Vec::new());
        for family in Family::BOTH {
            let ports: Vec<&HostPort> =
                table.host_ports.iter().filter(|port| Family::of(port.pod_ip) == family).collect();
            if ports.is_empty() {
                continue;
            }
            let rules = content.host_ports(&ports, family);
            prerouting.extend(rules.iter().cloned());
            output.extend(rules);
            postrouting.push(content.returning(&ports, family));
        }
        if table.host_ports.iter().any(|port| port.pod_ip.is_ipv4()) {
            content.chain("guard", "filter", PREROUTING, RAW, loopback_guard().into());
        }
        content.chain("prerouting", "nat", PREROUTING, DSTNAT, prerouting);
        content.chain("output", "nat", LOCAL_OUT, DSTNAT, output);
        content.chain("postrouting", "nat", POSTROUTING, SRCNAT, postrouting);
        content
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    fn chain(&mut self, name: &'static str, kind: &'static str, hook: u32, priority: i32, rules: Vec<Rule>) {
        if !rules.is_empty() {
            self.chains.push(Chain { name, kind, hook, priority, rules });
        }
    }

    /// The rule for one family, if anything of that family is to be masqueraded.
    fn masquerade(&mut self, masquerade: &Masquerade, family: Family) -> Option<Rule> {
        let sources = self.ranges("sources", &masquerade.sources, family)?;
        let address = Register::wide(0);
        let mut rule = Rule::new().of(family).load_source(family, address).if_in(&sources);
        if let Some(except) = self.ranges("except", &masquerade.except_destinations, family) {
            rule = rule.load_destination(family, address).if_not_in(&except);
        }
        let staying = [Destination::Local, Destination::Broadcast, Destination::Multicast];
        Some(rule.destination_is_none_of(&staying).masquerade())
    }

    /// A set of the ranges of one family; none if there are none.
    fn ranges(&mut self, name: &str, ranges: &[ipnet::IpNet], family: Family) -> Option<String> {
        let boundaries = boundaries(ranges, family == Family::V4);
        let elements: Vec<Element> =
            boundaries.into_iter().map(|b| Element { key: b.address, data: None, end: !b.inside }).collect();
        let name = numbered(name, family);
        (!elements.is_empty()).then(|| {
            let key = Shape::address(family);
            self.sets.push(Set { name: name.clone(), key, data: None, elements, interval: true });
            name
        })
    }

    /// The rules that lead to pods, for packets that come in as for those of the node itself: first the ports of one
    /// address, then those of all.
    fn host_ports(&mut self, ports: &[&HostPort], family: Family) -> Vec<Rule> {
        let address = Shape::address(family);
        let to = Shape::joined(&[address, Shape::PORT]);
        let (mut at_one, mut at_all) = (BTreeMap::new(), BTreeMap::new());
        for port in ports {
            let data = [octets(port.pod_ip), word_of_port(port.pod_port)].concat();
            let key = [word_of_protocol(port), word_of_port(port.host_port)].concat();
            // The first of two that claim the same wins; whoever makes the table sees to it that there are none.
            match port.host_ip.filter(|ip| !ip.is_unspecified()) {
                Some(ip) => at_one.entry([octets(ip), key].concat()).or_insert(data),
                None => at_all.entry(key).or_insert(data),
            };
        }
        let mut rules = Vec::new();
        let words = family.words();
        if let Some(map) = self.map("at-one", family, &[address, Shape::PROTOCOL, Shape::PORT], to, at_one) {
            let rule = Rule::new().of(family).load_destination(family, Register::wide(0));
            let rule = rule.load_protocol(Register::word(words));
            let rule = rule.load_destination_port(Register::word(words + 1)).mapped_by(&map);
            rules.push(rule.translate_destination(family));
        }
        if let Some(map) = self.map("at-all", family, &[Shape::PROTOCOL, Shape::PORT], to, at_all) {
            let mut rule = Rule::new().of(family);
            if family == Family::V6 {
                // What the node says to ::1 cannot leave it: there is no route_localnet for IPv6.
                let own = Ipv6Addr::LOCALHOST.octets();
                rule = rule.load_destination(family, Register::wide(0)).differs(&own);
            }
            let rule = rule.destination_is(Destination::Local).load_protocol(Register::word(0));
            let rule = rule.load_destination_port(Register::word(1)).mapped_by(&map);
            rules.push(rule.translate_destination(family));
        }
        rules
    }

    fn map(
        &mut self,
        name: &str,
        family: Family,
        key: &[Shape],
        data: Shape,
        elements: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Option<String> {
        let name = numbered(name, family);
        let elements: Vec<Element> =
            elements.into_iter().map(|(key, data)| Element { key, data: Some(data), end: false }).collect();
        (!elements.is_empty()).then(|| {
            let key = Shape::joined(key);
            self.sets.push(Set { name: name.clone(), key, data: Some(data), elements, interval: false });
            name
        })
    }

    /// The rule for connections whose answers would not find back by themselves: of a pod to its own host port, and
    /// of the node from its loopback address. They get an address of the node's.
    fn returning(&mut self, ports: &[&HostPort], family: Family) -> Rule {
        let pods: BTreeSet<IpAddr> = ports.iter().map(|port| port.pod_ip).collect();
        let pair = |from: IpAddr, to: IpAddr| Element {
            key: [octets(from), octets(to)].concat(),
            data: None,
            end: false,
        };
        let mut elements: BTreeSet<Element> = pods.iter().map(|pod| pair(*pod, *pod)).collect();
        if family == Family::V4 {
            elements.extend(pods.iter().map(|pod| pair(Ipv4Addr::LOCALHOST.into(), *pod)));
        }
        let name = numbered("returning", family);
        let address = Shape::address(family);
        self.sets.push(Set {
            name: name.clone(),
            key: Shape::joined(&[address, address]),
            data: None,
            elements: elements.into_iter().collect(),
            interval: false,
        });
        let rule = Rule::new().if_dnat().of(family).load_source(family, Register::word(0));
        rule.load_destination(family, Register::word(family.words())).if_in(&name).masquerade()
    }
}

/// Loopback addresses belong to no wire. Devices with `route_localnet`, which host ports need for 127.0.0.1, would
/// let them pass (CVE-2020-8558).
fn loopback_guard() -> [Rule; 2] {
    let begin = || Rule::new().if_from_outside().of(Family::V4);
    let address = Register::wide(0);
    [
        begin().load_destination(Family::V4, address).if_loopback_v4().drop(),
        begin().load_source(Family::V4, address).if_loopback_v4().drop(),
    ]
}

fn numbered(name: &str, family: Family) -> String {
    format!("{name}{}", if family == Family::V4 { 4 } else { 6 })
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A register holds what is shorter than itself at its beginning.
fn word_of_port(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![high, low, 0, 0]
}

fn word_of_protocol(port: &HostPort) -> Vec<u8> {
    vec![port.protocol.number(), 0, 0, 0]
}
