//! From operations of the plan to entries of maps, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use engine::plan::{self, NodeId, Op, SetId, TierSpan};
use engine::services::TableSize;
use ipnet::IpNet;
use model::mesh::Transport;
use model::{Port, Protocol, Tier};

use super::bytes::{address, ip, net, prefix};
use super::outside::OutsideMaps;
use super::table::Table;
use super::tables::TableMap;
use super::{BpfError, abi};

/// The maps that the plan is written to.
#[derive(Debug)]
pub(super) struct PlanMaps {
    pub(super) frontends: Table<abi::Frontend, abi::Ladder>,
    pub(super) backends: Table<abi::PageKey, abi::Page>,
    pub(super) node_addresses: Table<abi::NodeAddress, u8>,
    pub(super) dead: Table<u64, u8>,
    pub(super) guarded: Table<abi::Prefix, u8>,
    pub(super) neighbours: Table<abi::Prefix, abi::Neighbour>,
    pub(super) mtus: Table<abi::Prefix, u32>,
    pub(super) direct: Table<abi::Direct, u8>,
    pub(super) tables: TableMap,
    pub(super) outside: OutsideMaps,
}

impl PlanMaps {
    /// Applies operations of one kind; says how many of them were ours.
    pub(super) fn apply(&mut self, run: &[Op]) -> Result<usize, BpfError> {
        match run.first() {
            Some(Op::Guard(_)) => self.guarded.insert(&each(run, |op| match op {
                Op::Guard(range) => vec![(prefix(range), 1)],
                _ => vec![],
            })),
            Some(Op::Unguard(_)) => self.guarded.remove(&each(run, |op| match op {
                Op::Unguard(range) => vec![prefix(range)],
                _ => vec![],
            })),
            Some(Op::SetNeighbour(..)) => self.neighbours.insert(&each(run, |op| match op {
                Op::SetNeighbour(range, neighbour) => vec![(prefix(range), neighbour_value(neighbour))],
                _ => vec![],
            })),
            Some(Op::DeleteNeighbour(_)) => self.neighbours.remove(&each(run, |op| match op {
                Op::DeleteNeighbour(range) => vec![prefix(range)],
                _ => vec![],
            })),
            Some(Op::SetMtu(..)) => self.mtus.insert(&each(run, |op| match op {
                Op::SetMtu(range, mtu) => vec![(prefix(range), *mtu)],
                _ => vec![],
            })),
            Some(Op::DeleteMtu(_)) => self.mtus.remove(&each(run, |op| match op {
                Op::DeleteMtu(range) => vec![prefix(range)],
                _ => vec![],
            })),
            Some(Op::AddSet(..)) => self.backends.insert(&each(run, |op| match op {
                Op::AddSet(id, set) => pages(*id, set),
                _ => vec![],
            })),
            Some(Op::DeleteSet(..)) => self.backends.remove(&each(run, |op| match op {
                // From the end: what is left after a crash is the beginning of a set, which can be told and removed.
                Op::DeleteSet(id, count) => {
                    (0..count.div_ceil(PAGE)).rev().map(|page| page_key(*id, page)).collect()
                }
                _ => vec![],
            })),
            Some(Op::SetFrontend(..)) => {
                let ladders = run.iter().filter_map(|op| match op {
                    Op::SetFrontend(frontend, ladder) => Some((frontend, ladder)),
                    _ => None,
                });
                let entries = ladders.map(|(f, l)| Ok((frontend_key(f), ladder_value(l)?)));
                self.frontends.insert(&entries.collect::<Result<Vec<_>, BpfError>>()?)
            }
            Some(Op::DeleteFrontend(_)) => self.frontends.remove(&each(run, |op| match op {
                Op::DeleteFrontend(frontend) => vec![frontend_key(frontend)],
                _ => vec![],
            })),
            Some(Op::AddNodeAddress(_)) => self.node_addresses.insert(&each(run, |op| match op {
                Op::AddNodeAddress(ip) => vec![(abi::NodeAddress { ip: address(*ip) }, 1)],
                _ => vec![],
            })),
            Some(Op::DeleteNodeAddress(_)) => self.node_addresses.remove(&each(run, |op| match op {
                Op::DeleteNodeAddress(ip) => vec![abi::NodeAddress { ip: address(*ip) }],
                _ => vec![],
            })),
            Some(Op::AddTable(..)) => self.tables.insert(&each(run, |op| match op {
                Op::AddTable(key, table) => vec![(*key, table)],
                _ => vec![],
            })),
            Some(Op::DeleteTable(..)) => self.tables.remove(&each(run, |op| match op {
                Op::DeleteTable(key, places) => vec![(*key, *places)],
                _ => vec![],
            })),
            Some(Op::AddDirect(_)) => self.direct.insert(&each(run, |op| match op {
                Op::AddDirect(known) => vec![direct_entry(known)],
                _ => vec![],
            })),
            Some(Op::DeleteDirect(_)) => self.direct.remove(&each(run, |op| match op {
                Op::DeleteDirect(known) => vec![direct_entry(known).0],
                _ => vec![],
            })),
            Some(Op::MarkDead(_)) => self.dead.insert(&each(run, |op| match op {
                Op::MarkDead(node) => vec![(*node, 1)],
                _ => vec![],
            })),
            Some(Op::MarkAlive(_)) => self.dead.remove(&each(run, |op| match op {
                Op::MarkAlive(node) => vec![*node],
                _ => vec![],
            })),
            Some(Op::SetOutside(..)) => self.outside.set(&each(run, |op| match op {
                Op::SetOutside(frontend, outside) => vec![(frontend, outside)],
                _ => vec![],
            })),
            Some(Op::DeleteOutside(_)) => self.outside.delete(&each(run, |op| match op {
                Op::DeleteOutside(frontend) => vec![frontend],
                _ => vec![],
            })),
            Some(
                Op::Masquerade(_)
                | Op::TunnelPort(_)
                | Op::TunnelMtu(_)
                | Op::AddAddress(_)
                | Op::DeleteAddress(_)
                | Op::SetPeer(..)
                | Op::DeletePeer(_)
                | Op::SetRoute(..)
                | Op::DeleteRoute(..),
            )
            | None => return Ok(0),
        }?;
        Ok(run.len())
    }

    pub(super) fn guarded(&self) -> Result<BTreeSet<IpNet>, BpfError> {
        let read = |(key, _): (abi::Prefix, u8)| net(&key).ok_or_else(|| self.guarded.foreign(key));
        self.guarded.entries()?.into_iter().map(read).collect()
    }

    pub(super) fn neighbours(&self) -> Result<BTreeMap<IpNet, plan::Neighbour>, BpfError> {
        let read = |(key, value): (abi::Prefix, abi::Neighbour)| {
            net(&key).zip(neighbour(&value)).ok_or_else(|| self.neighbours.foreign((key, value)))
        };
        self.neighbours.entries()?.into_iter().map(read).collect()
    }

    pub(super) fn mtus(&self) -> Result<BTreeMap<IpNet, u32>, BpfError> {
        let read = |(key, mtu)| net(&key).map(|to| (to, mtu)).ok_or_else(|| self.mtus.foreign((key, mtu)));
        self.mtus.entries()?.into_iter().map(read).collect()
    }

    pub(super) fn dead(&self) -> Result<BTreeSet<NodeId>, BpfError> {
        Ok(self.dead.entries()?.into_iter().map(|(node, _)| node).collect())
    }

    pub(super) fn node_addresses(&self) -> Result<BTreeSet<IpAddr>, BpfError> {
        Ok(self.node_addresses.entries()?.into_iter().map(|(key, _)| ip(key.ip)).collect())
    }

    pub(super) fn direct(&self) -> Result<BTreeSet<plan::Direct>, BpfError> {
        let read = |entry: (abi::Direct, u8)| direct(&entry).ok_or_else(|| self.direct.foreign(entry));
        self.direct.entries()?.into_iter().map(read).collect()
    }

    pub(super) fn frontends(&self) -> Result<BTreeMap<plan::Frontend, plan::Ladder>, BpfError> {
        let read = |(key, value)| {
            frontend(&key).zip(ladder(&value)).ok_or_else(|| self.frontends.foreign((key, value)))
        };
        self.frontends.entries()?.into_iter().map(read).collect()
    }

    /// A set with a hole (which only a crash in the middle of a removal of another version could leave) is told as long
    /// as it reaches, so that removing what was told removes it all.
    pub(super) fn sets(&self) -> Result<BTreeMap<SetId, plan::Set>, BpfError> {
        let mut entries = self.backends.entries()?;
        entries.sort_unstable_by_key(|(key, _)| (key.set, key.page));
        let mut sets: BTreeMap<SetId, plan::Set> = BTreeMap::new();
        for (key, value) in entries {
            let page = page(&value).ok_or_else(|| self.backends.foreign((key, value)))?;
            let set = sets.entry(key.set).or_default();
            set.resize(key.page as usize * abi::PAGE, page[0]);
            set.extend(page);
        }
        Ok(sets)
    }
}

fn each<'a, T>(run: &'a [Op], entries: impl FnMut(&'a Op) -> Vec<T>) -> Vec<T> {
    run.iter().flat_map(entries).collect()
}

/// Places on a page, as places are counted.
const PAGE: u32 = abi::PAGE as u32;

fn pages(id: SetId, set: &plan::Set) -> Vec<(abi::PageKey, abi::Page)> {
    (0..)
        .zip(set.chunks(abi::PAGE))
        .map(|(page, backends)| (page_key(id, page), page_value(backends)))
        .collect()
}

fn page_key(set: SetId, page: u32) -> abi::PageKey {
    abi::PageKey { set, page, zero: 0 }
}

fn page_value(backends: &[plan::Backend]) -> abi::Page {
    let mut value = abi::Page::default();
    for (to, from) in value.backend.iter_mut().zip(backends) {
        *to = backend_value(from);
    }
    value
}

/// The backends of a page: at least one, and behind the last one nothing.
fn page(value: &abi::Page) -> Option<Vec<plan::Backend>> {
    let end = value.backend.iter().rposition(|place| *place != abi::Backend::default())? + 1;
    value.backend[..end].iter().map(backend).collect()
}

const SENDS: [(Transport, usize); 3] = [
    (Transport::Wireguard, abi::BY_WIREGUARD),
    (Transport::Vxlan, abi::BY_VXLAN),
    (Transport::Plain, abi::BY_PLAIN),
];

const TAKES: [(Transport, usize); 2] =
    [(Transport::Vxlan, abi::TAKES_VXLAN), (Transport::Plain, abi::TAKES_PLAIN)];

fn neighbour_value(neighbour: &plan::Neighbour) -> abi::Neighbour {
    let sends = SENDS.into_iter().find(|(transport, _)| *transport == neighbour.sends);
    let taken = TAKES.into_iter().filter(|(transport, _)| neighbour.takes.contains(transport));
    abi::Neighbour {
        ip: address(neighbour.ip),
        sends: sends.map_or(0, |(_, number)| number as u8),
        takes: taken.fold(0, |bits, (_, bit)| bits | bit as u8),
        zero: [0; 2],
        group: neighbour.group,
    }
}

fn neighbour(value: &abi::Neighbour) -> Option<plan::Neighbour> {
    let sends = SENDS.into_iter().find(|(_, number)| *number == usize::from(value.sends))?;
    let taken = TAKES.into_iter().filter(|(_, bit)| usize::from(value.takes) & bit != 0);
    let takes = taken.map(|(transport, _)| transport).collect();
    Some(plan::Neighbour { ip: ip(value.ip), sends: sends.0, takes, group: value.group })
}

fn backend_value(backend: &plan::Backend) -> abi::Backend {
    abi::Backend {
        ip: address(backend.ip),
        port: backend.port.get().into(),
        zero: [0; 6],
        node: backend.node,
    }
}

fn backend(value: &abi::Backend) -> Option<plan::Backend> {
    Some(plan::Backend { ip: ip(value.ip), port: Port::new(value.port.into())?, node: value.node })
}

fn direct_entry(known: &plan::Direct) -> (abi::Direct, u8) {
    let node = |node| abi::Direct { node, ..Default::default() };
    let (key, kind) = match known {
        plan::Direct::Own(id) => (node(*id), abi::DIRECT_OWN),
        plan::Direct::Peer(id) => (node(*id), abi::DIRECT_PEER),
        plan::Direct::Sender(ip) => (abi::Direct { ip: address(*ip), node: 0 }, abi::DIRECT_SENDER),
    };
    (key, kind as u8)
}

fn direct((key, kind): &(abi::Direct, u8)) -> Option<plan::Direct> {
    match usize::from(*kind) {
        abi::DIRECT_OWN => Some(plan::Direct::Own(key.node)),
        abi::DIRECT_PEER => Some(plan::Direct::Peer(key.node)),
        abi::DIRECT_SENDER => Some(plan::Direct::Sender(ip(key.ip))),
        _ => None,
    }
}

pub(super) fn frontend_key(frontend: &plan::Frontend) -> abi::Frontend {
    abi::Frontend {
        ip: address(frontend.ip),
        port: frontend.port.get().into(),
        protocol: frontend.protocol.number(),
        zero: 0,
    }
}

pub(super) fn frontend(key: &abi::Frontend) -> Option<plan::Frontend> {
    Some(plan::Frontend {
        ip: ip(key.ip),
        protocol: Protocol::from_number(key.protocol)?,
        port: Port::new(key.port.into())?,
    })
}

const TIERS: [Tier; 5] = [Tier::Node, Tier::Zone, Tier::Region, Tier::Cluster, Tier::Elsewhere];

fn tier_kind(tier: Tier) -> u8 {
    match tier {
        Tier::Node => 0,
        Tier::Zone => 1,
        Tier::Region => 2,
        Tier::Cluster => 3,
        Tier::Elsewhere => 4,
    }
}

pub(super) fn ladder_value(ladder: &plan::Ladder) -> Result<abi::Ladder, BpfError> {
    let too_many = || BpfError::TooManyTiers(ladder.tiers.len());
    let mut value = abi::Ladder { set: ladder.set, affinity: ladder.affinity, ..Default::default() };
    let spans = value.tier.get_mut(..ladder.tiers.len()).ok_or_else(too_many)?;
    for (to, from) in spans.iter_mut().zip(&ladder.tiers) {
        *to = abi::Tier { count: from.count, kind: tier_kind(from.tier), table: 0, passes: from.passes };
    }
    if let Some(first) = spans.first_mut() {
        first.table = ladder.table.map_or(0, TableSize::code);
    }
    value.tiers = u32::try_from(ladder.tiers.len()).map_err(|_| too_many())?;
    Ok(value)
}

pub(super) fn ladder(value: &abi::Ladder) -> Option<plan::Ladder> {
    let mut end = 0_u32;
    let span = |tier: &abi::Tier| {
        let kind = *TIERS.get(usize::from(tier.kind))?;
        let begin = end;
        end = end.checked_add(tier.count)?;
        Some(TierSpan { tier: kind, begin, count: tier.count, passes: tier.passes })
    };
    let tiers = value.tier.get(..usize::try_from(value.tiers).ok()?)?;
    let tiers = tiers.iter().map(span).collect::<Option<_>>()?;
    let table = match value.tier[0].table {
        0 => None,
        code => Some(TableSize::of_code(code)?),
    };
    Some(plan::Ladder { set: value.set, tiers, affinity: value.affinity, table })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder_of(tiers: usize) -> plan::Ladder {
        let passes = |i| (i * 1000) as u16;
        let span = |i| TierSpan { tier: TIERS[i % 5], begin: i as u32 * 3, count: 3, passes: passes(i) };
        plan::Ladder {
            set: 7,
            tiers: (0..tiers).map(span).collect(),
            affinity: 10_800,
            table: (tiers > 0).then(|| 1021.try_into().unwrap()),
        }
    }

    #[test]
    fn ladders_come_back() {
        for tiers in [0, 1, 5, plan::Ladder::MAX_TIERS] {
            let value = ladder_value(&ladder_of(tiers)).unwrap();
            assert_eq!(ladder(&value), Some(ladder_of(tiers)));
        }
        let error = ladder_value(&ladder_of(17)).unwrap_err();
        assert_eq!(error.to_string(), "a ladder of 17 tiers; the packet path walks 16");
    }

    #[test]
    fn what_is_not_ours_is_seen() {
        assert_eq!(ladder(&abi::Ladder { tiers: 17, ..Default::default() }), None);
        assert_eq!(frontend(&abi::Frontend { port: 80.into(), protocol: 1, ..Default::default() }), None);
        assert_eq!(frontend(&abi::Frontend { protocol: 6, ..Default::default() }), None);
        assert_eq!(backend(&abi::Backend::default()), None);
        let endless = abi::Tier { count: u32::MAX, ..Default::default() };
        assert_eq!(ladder(&abi::Ladder { tiers: 2, tier: [endless; 16], ..Default::default() }), None);
        assert_eq!(page(&abi::Page::default()), None);
        let mut holed = page_value(&set_of(3));
        holed.backend[1] = abi::Backend::default();
        assert_eq!(page(&holed), None);
    }

    /// Backends that differ.
    fn set_of(count: u16) -> plan::Set {
        let backend = |n: u16| plan::Backend {
            ip: [10, 0, 0, 1].into(),
            port: Port::new(n).expect("not 0"),
            node: u64::from(n),
        };
        (1..=count).map(backend).collect()
    }

    #[test]
    fn pages_come_back() {
        for (count, wanted) in [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)] {
            let set = set_of(count);
            let entries = pages(7, &set);
            assert_eq!(entries.len(), wanted);
            assert!(entries.iter().zip(0..).all(|((key, _), n)| (key.set, key.page) == (7, n)));
            let read: Vec<_> = entries.iter().flat_map(|(_, value)| page(value).unwrap()).collect();
            assert_eq!(read, set);
        }
    }

    #[test]
    fn tiers_are_numbered_as_reasons_are() {
        for (number, tier) in (0..).zip(TIERS) {
            assert_eq!(tier_kind(tier), number);
            assert_eq!(abi::Reason::ALL[usize::from(number)].name(), format!("lb_{tier}"));
        }
        assert_eq!(abi::TIERS, plan::Ladder::MAX_TIERS);
    }
}
