//! What of a packet's protocol and port a rule is about, as prefixes.

use model::policy::{NamedPort, PolicyPort};

/// A protocol, and as many bits of the port as count. Of ICMP the type takes the port's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ports {
    /// The protocol's number in the IP header; 0 for all of them.
    pub(super) protocol: u8,
    /// How many bits of the port count.
    pub(super) bits: u8,
    /// The port, its other bits 0.
    pub(super) port: u16,
}

impl Ports {
    /// Everything.
    pub(super) const ALL: Self = Self { protocol: 0, bits: 0, port: 0 };
}

/// What a rule's ports are without those that pods name.
pub(super) fn fixed(ports: Option<&[PolicyPort]>) -> Vec<Ports> {
    let Some(ports) = ports else { return vec![Ports::ALL] };
    let mut found = Vec::new();
    for port in ports {
        match port {
            PolicyPort::Ports { protocol, first, last } => {
                found.extend(prefixes(protocol.number(), *first, *last))
            }
            PolicyPort::Icmp { v6, kind } => {
                let protocol = if *v6 { 58 } else { 1 };
                let bits = if kind.is_some() { 16 } else { 0 };
                found.push(Ports { protocol, bits, port: kind.unwrap_or(0).into() });
            }
            PolicyPort::Named { .. } => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What the named ones of a rule's ports are at a pod.
pub(super) fn named(ports: Option<&[PolicyPort]>, of: &[NamedPort]) -> Vec<Ports> {
    let mut found = Vec::new();
    for port in ports.unwrap_or_default() {
        let PolicyPort::Named { protocol, name } = port else { continue };
        let same = of
            .iter()
            .filter(|its| its.name == *name && protocol.is_none_or(|protocol| protocol == its.protocol));
        found.extend(same.map(|its| Ports {
            protocol: its.protocol.number(),
            bits: 16,
            port: its.port.get(),
        }));
    }
    found
}

/// Whether a rule has ports that pods name.
pub(super) fn names_any(ports: Option<&[PolicyPort]>) -> bool {
    ports.unwrap_or_default().iter().any(|port| matches!(port, PolicyPort::Named { .. }))
}

/// The fewest prefixes that are the ports from the first to the last.
fn prefixes(protocol: u8, first: u16, last: u16) -> Vec<Ports> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut found = Vec::new();
    while at < end {
        let aligned = if at == 0 { 16 } else { at.trailing_zeros() };
        let free = aligned.min((end - at).ilog2());
        let bits = u8::try_from(16 - free).expect("16 at most");
        found.push(Ports { protocol, bits, port: u16::try_from(at).expect("below the end") });
        at += 1 << free;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_prefixes() {
        let covers = |ports: &[Ports], port: u16| {
            let meets = |its: &&Ports| its.bits == 0 || (port ^ its.port) >> (16 - its.bits) == 0;
            ports.iter().filter(meets).count()
        };
        for (first, last, most) in [
            (80, 80, 1),
            (0, 65535, 1),
            (1, 65535, 16),
            (1, 65534, 30),
            (8080, 8090, 4),
            (32768, 61000, 20),
            (65535, 65535, 1),
        ] {
            let found = prefixes(6, first, last);
            assert!(found.len() <= most, "{first}-{last}: {found:?}");
            for port in 0..=u16::MAX {
                assert_eq!(covers(&found, port), usize::from((first..=last).contains(&port)), "{port}");
            }
        }
        assert!(prefixes(6, 2, 1).is_empty());
    }
}
