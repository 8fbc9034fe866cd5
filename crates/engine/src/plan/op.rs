//! One change to the kernel, with a name for metrics and words for people.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::PublicKey;

use super::{
    Direct, Frontend, Ladder, Masquerade, Neighbour, NodeId, Otherwise, Outside, Peer, Route, RouteVia, Set,
    SetId, Table, TableKey,
};

/// One change to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Refuse to let this range leave in the clear.
    Guard(IpNet),
    /// The range may leave again.
    Unguard(IpNet),
    /// What goes to this range unencrypted, and comes so, is now this.
    SetNeighbour(IpNet, Neighbour),
    /// Nothing does.
    DeleteNeighbour(IpNet),
    /// Packets to this range through the mesh may be so many bytes large.
    SetMtu(IpNet, u32),
    /// They may be as large as those to the range around it.
    DeleteMtu(IpNet),
    /// Pods show the node's address outside the mesh from now on as this says.
    Masquerade(Masquerade),
    /// Listen on this port.
    TunnelPort(u16),
    /// The device's largest packet, in bytes.
    TunnelMtu(u32),
    /// The device gets this address.
    AddAddress(IpNet),
    /// The device loses this address.
    DeleteAddress(IpNet),
    /// This peer is now so.
    SetPeer(PublicKey, Peer),
    /// This peer is gone.
    DeletePeer(PublicKey),
    /// This route is now so: destination, metric, the rest.
    SetRoute(IpNet, u32, Route),
    /// This route is gone.
    DeleteRoute(IpNet, u32),
    /// A new set of backends.
    AddSet(SetId, Set),
    /// What clients dial leads here now.
    SetFrontend(Frontend, Ladder),
    /// Nobody answers here any more.
    DeleteFrontend(Frontend),
    /// What comes from outside to this address leads here now.
    SetOutside(Frontend, Outside),
    /// What comes from outside is treated as what the node's own sockets dial.
    DeleteOutside(Frontend),
    /// A table of backends is now so.
    AddTable(TableKey, Table),
    /// No ladder asks this table any more; it had so many places.
    DeleteTable(TableKey, usize),
    /// No ladder uses this set any more; it had so many backends.
    DeleteSet(SetId, u32),
    /// Node ports are dialled at this address, too.
    AddNodeAddress(IpAddr),
    /// Node ports are not dialled at this address any more.
    DeleteNodeAddress(IpAddr),
    /// This is known of a node, for direct server return.
    AddDirect(Direct),
    /// It is not true any more.
    DeleteDirect(Direct),
    /// This node does not answer.
    MarkDead(NodeId),
    /// This node answers again.
    MarkAlive(NodeId),
}

impl Op {
    /// What kind of change it is: one of a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Guard(_) => "guard",
            Self::Unguard(_) => "unguard",
            Self::SetNeighbour(..) => "set_neighbour",
            Self::DeleteNeighbour(_) => "delete_neighbour",
            Self::SetMtu(..) => "set_mtu",
            Self::DeleteMtu(_) => "delete_mtu",
            Self::Masquerade(_) => "masquerade",
            Self::TunnelPort(_) => "tunnel_port",
            Self::TunnelMtu(_) => "tunnel_mtu",
            Self::AddAddress(_) => "add_address",
            Self::DeleteAddress(_) => "delete_address",
            Self::SetPeer(..) => "set_peer",
            Self::DeletePeer(_) => "delete_peer",
            Self::SetRoute(..) => "set_route",
            Self::DeleteRoute(..) => "delete_route",
            Self::AddSet(..) => "add_set",
            Self::SetFrontend(..) => "set_frontend",
            Self::DeleteFrontend(_) => "delete_frontend",
            Self::SetOutside(..) => "set_outside",
            Self::DeleteOutside(_) => "delete_outside",
            Self::AddTable(..) => "add_table",
            Self::DeleteTable(..) => "delete_table",
            Self::DeleteSet(..) => "delete_set",
            Self::AddNodeAddress(_) => "add_node_address",
            Self::DeleteNodeAddress(_) => "delete_node_address",
            Self::AddDirect(_) => "add_direct",
            Self::DeleteDirect(_) => "delete_direct",
            Self::MarkDead(_) => "node_dead",
            Self::MarkAlive(_) => "node_alive",
        }
    }
}

/// As an operator would type it, were there a command for it.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard(net) => write!(f, "guard {net}"),
            Self::Unguard(net) => write!(f, "unguard {net}"),
            Self::SetNeighbour(range, Neighbour { ip, sends, takes, group }) => {
                write!(f, "neighbour set {range} at {ip} sends {}", sends.name())?;
                takes.iter().try_for_each(|transport| write!(f, " takes {}", transport.name()))?;
                if *group == 0 { Ok(()) } else { write!(f, " group {group}") }
            }
            Self::DeleteNeighbour(range) => write!(f, "neighbour delete {range}"),
            Self::SetMtu(range, mtu) => write!(f, "mtu set {range} {mtu}"),
            Self::DeleteMtu(range) => write!(f, "mtu delete {range}"),
            Self::Masquerade(Masquerade { sources, .. }) if sources.is_empty() => {
                f.write_str("masquerade nothing")
            }
            Self::Masquerade(Masquerade { sources, except }) => {
                write!(f, "masquerade {} except {}", list(sources), list(except))
            }
            Self::TunnelPort(port) => write!(f, "tunnel port {port}"),
            Self::TunnelMtu(mtu) => write!(f, "tunnel mtu {mtu}"),
            Self::AddAddress(net) => write!(f, "address add {net}"),
            Self::DeleteAddress(net) => write!(f, "address delete {net}"),
            Self::SetPeer(key, peer) => {
                write!(f, "peer set {key}")?;
                if let Some(endpoint) = peer.endpoint {
                    write!(f, " endpoint {endpoint}")?;
                }
                write!(f, " allowed-ips {} keepalive {}", list(&peer.allowed_ips), peer.keepalive)
            }
            Self::DeletePeer(key) => write!(f, "peer delete {key}"),
            Self::SetRoute(to, metric, route) => {
                let via = match route.via {
                    RouteVia::Tunnel => "tunnel",
                    RouteVia::Blackhole => "blackhole",
                    RouteVia::Unreachable => "unreachable",
                };
                write!(f, "route set {via} {to} metric {metric}")?;
                route.source.map_or(Ok(()), |source| write!(f, " src {source}"))
            }
            Self::DeleteRoute(to, metric) => write!(f, "route delete {to} metric {metric}"),
            Self::AddSet(id, set) => write!(f, "set add {id:016x} of {}", set.len()),
            Self::SetFrontend(to, ladder) => {
                write!(f, "frontend set {to} ")?;
                rungs(f, ladder)
            }
            Self::DeleteFrontend(frontend) => write!(f, "frontend delete {frontend}"),
            Self::SetOutside(to, Outside { ladder, masquerade, otherwise, sources }) => {
                write!(f, "outside set {to} ")?;
                rungs(f, ladder)?;
                f.write_str(if *masquerade { " masquerade" } else { "" })?;
                f.write_str(match otherwise {
                    Otherwise::Refuse => " else refuse",
                    Otherwise::Drop => " else drop",
                })?;
                sources.as_ref().map_or(Ok(()), |ranges| write!(f, " from {}", list(ranges)))
            }
            Self::DeleteOutside(frontend) => write!(f, "outside delete {frontend}"),
            Self::AddTable(TableKey { set, count }, table) => {
                write!(f, "table add {set:016x}+{count} of {}", table.len())
            }
            Self::DeleteTable(TableKey { set, count }, places) => {
                write!(f, "table delete {set:016x}+{count} of {places}")
            }
            Self::DeleteSet(id, size) => write!(f, "set delete {id:016x} of {size}"),
            Self::AddNodeAddress(ip) => write!(f, "node address add {ip}"),
            Self::DeleteNodeAddress(ip) => write!(f, "node address delete {ip}"),
            Self::AddDirect(direct) => write!(f, "direct add {direct}"),
            Self::DeleteDirect(direct) => write!(f, "direct delete {direct}"),
            Self::MarkDead(node) => write!(f, "node dead {node:016x}"),
            Self::MarkAlive(node) => write!(f, "node alive {node:016x}"),
        }
    }
}

fn rungs(f: &mut fmt::Formatter<'_>, ladder: &Ladder) -> fmt::Result {
    write!(f, "set {:016x}", ladder.set)?;
    ladder.tiers.iter().try_for_each(|span| {
        write!(f, " {}:{}+{}", span.tier, span.begin, span.count)?;
        match span.passes {
            0 => Ok(()),
            passes => write!(f, "-{:.1}%", f64::from(passes) / 655.36),
        }
    })?;
    match ladder.affinity {
        0 => Ok(()),
        seconds => write!(f, " affinity {seconds}s"),
    }?;
    ladder.table.map_or(Ok(()), |size| write!(f, " maglev {}", size.places()))
}

fn list(ranges: &BTreeSet<IpNet>) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(node) => write!(f, "own {node:016x}"),
            Self::Peer(node) => write!(f, "peer {node:016x}"),
            Self::Sender(ip) => write!(f, "sender {ip}"),
        }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", std::net::SocketAddr::new(self.ip, self.port.get()), self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use model::mesh::Transport;
    use model::{Protocol, Tier};

    use super::*;
    use crate::plan::TierSpan;

    #[test]
    fn in_words() {
        let frontend = Frontend {
            ip: "fd00::1".parse().unwrap(),
            protocol: Protocol::Tcp,
            port: NonZeroU16::new(80).unwrap(),
        };
        let net: IpNet = "10.1.0.0/16".parse().unwrap();
        let peer = Peer {
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            allowed_ips: ["10.2.0.0/24".parse().unwrap(), "fd00:2::/64".parse().unwrap()].into(),
            keepalive: 25,
            ..Peer::default()
        };
        let route = Route { via: RouteVia::Tunnel, source: Some("10.1.0.1".parse().unwrap()), mtu: None };
        let span = TierSpan { tier: Tier::Zone, begin: 0, count: 2, passes: 0 };
        let ladder = Ladder { set: 0xab, tiers: vec![span], affinity: 0, table: None };
        let key = TableKey { set: 0xab, count: 2 };
        let spilling = TierSpan { passes: 0x4000, ..span };
        let spilling = Ladder { set: 0xab, tiers: vec![spilling], affinity: 60, table: None };
        let masquerade = Masquerade { sources: [net].into(), except: peer.allowed_ips.clone() };
        let outside = Outside {
            ladder: Ladder { table: Some(251.try_into().unwrap()), ..ladder.clone() },
            masquerade: true,
            otherwise: Otherwise::Drop,
            sources: Some([net].into()),
        };
        for (op, words) in [
            (Op::Guard(net), "guard 10.1.0.0/16"),
            (
                Op::SetNeighbour(
                    net,
                    Neighbour {
                        ip: "172.16.1.2".parse().unwrap(),
                        sends: Transport::Vxlan,
                        takes: [Transport::Vxlan, Transport::Plain].into(),
                        group: 7,
                    },
                ),
                "neighbour set 10.1.0.0/16 at 172.16.1.2 sends vxlan takes vxlan takes plain group 7",
            ),
            (Op::DeleteNeighbour(net), "neighbour delete 10.1.0.0/16"),
            (Op::SetMtu(net, 1336), "mtu set 10.1.0.0/16 1336"),
            (Op::DeleteMtu(net), "mtu delete 10.1.0.0/16"),
            (Op::Masquerade(masquerade), "masquerade 10.1.0.0/16 except 10.2.0.0/24,fd00:2::/64"),
            (Op::Masquerade(Masquerade::default()), "masquerade nothing"),
            (
                Op::SetPeer(PublicKey([0; 32]), peer),
                "peer set AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= endpoint 192.0.2.1:51820 allowed-ips 10.2.0.0/24,fd00:2::/64 keepalive 25",
            ),
            (Op::SetRoute(net, 100, route), "route set tunnel 10.1.0.0/16 metric 100 src 10.1.0.1"),
            (Op::DeleteRoute(net, 100), "route delete 10.1.0.0/16 metric 100"),
            (
                Op::SetFrontend(frontend, ladder),
                "frontend set [fd00::1]:80/TCP set 00000000000000ab zone:0+2",
            ),
            (
                Op::SetFrontend(frontend, spilling),
                "frontend set [fd00::1]:80/TCP set 00000000000000ab zone:0+2-25.0% affinity 60s",
            ),
            (
                Op::SetOutside(frontend, outside),
                "outside set [fd00::1]:80/TCP set 00000000000000ab zone:0+2 maglev 251 masquerade else drop from 10.1.0.0/16",
            ),
            (Op::DeleteOutside(frontend), "outside delete [fd00::1]:80/TCP"),
            (Op::AddNodeAddress(frontend.ip), "node address add fd00::1"),
            (Op::DeleteNodeAddress(frontend.ip), "node address delete fd00::1"),
            (Op::AddTable(key, [0; 251].into()), "table add 00000000000000ab+2 of 251"),
            (Op::DeleteTable(key, 251), "table delete 00000000000000ab+2 of 251"),
            (Op::AddDirect(Direct::Peer(1)), "direct add peer 0000000000000001"),
            (Op::DeleteDirect(Direct::Sender(frontend.ip)), "direct delete sender fd00::1"),
            (Op::DeleteSet(0xab, 2), "set delete 00000000000000ab of 2"),
            (Op::MarkDead(1), "node dead 0000000000000001"),
        ] {
            assert_eq!(op.to_string(), words);
            let kind_words: Vec<_> = op.kind().split('_').collect();
            assert!(kind_words.iter().all(|word| words.contains(word)), "{words}: {}", op.kind());
        }
    }
}
