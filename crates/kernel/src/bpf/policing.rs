//! Policies, as entries of maps: what the plan wants of the kernel, what is remembered of connections, what is told of packets.
//!
//! Whoever changes several maps goes from what is asked for last to what is asked first, so that no packet is judged by half of
//! a change: identities, networks and verdicts, then rulesets, then subjects; and takes away in the other order. Then, if
//! anything was taken away, [`PolicyMaps::raise_epoch`].

mod apply;
mod connections;
mod entries;
mod events;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::plan::policing::{
    Always, Identity, Network, Peer, Policing, Ruleset, RulesetId, Subject, Verdict, VerdictKey,
};
use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};

pub use connections::{Connection, Swept};
pub use events::{Event, EventKind, EventStream, Events};

use super::bytes::{address, ip, net, prefix};
use super::object::Object;
use super::table::Table;
use super::{BpfError, abi};

/// What becomes of connections that were allowed when policies change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Established {
    /// They are judged again, by their next packets.
    #[default]
    Cut,
    /// They go on.
    Keep,
}

/// The maps of policies. What is in them holds whether or not anybody has them open.
#[derive(Debug)]
pub struct PolicyMaps {
    folder: PathBuf,
    subjects: Table<abi::NodeAddress, abi::Subject>,
    rulesets: Table<u64, abi::Ruleset>,
    verdicts: Table<abi::VerdictKey, abi::Verdict>,
    identities: Table<abi::NodeAddress, abi::Identity>,
    networks: Table<abi::Prefix, abi::Network>,
    named: Table<abi::NodeAddress, u64>,
    own: Table<abi::NodeAddress, u8>,
    always: Table<abi::Always, u8>,
    setting: Table<u32, abi::Policing>,
    connections: connections::Connections,
}

impl PolicyMaps {
    /// Takes the maps of an object whose pins are in this folder.
    pub(super) fn new(object: &mut Object, folder: &Path) -> Result<Self, BpfError> {
        Ok(Self {
            folder: folder.to_owned(),
            subjects: Table::new("subjects", object.map("subjects")?)?,
            rulesets: Table::new("rulesets", object.map("rulesets")?)?,
            verdicts: Table::new("verdicts", object.map("verdicts")?)?,
            identities: Table::new("identities", object.map("identities")?)?,
            networks: Table::new("networks", object.map("networks")?)?,
            named: Table::new("named", object.map("named")?)?,
            own: Table::new("own_addresses", object.map("own_addresses")?)?,
            always: Table::new("always_allowed", object.map("always_allowed")?)?,
            setting: Table::new("policing", object.map("policing")?)?,
            connections: connections::Connections::new(object)?,
        })
    }

    /// How pods are judged from now on.
    pub fn set_subjects(&mut self, subjects: &[(IpAddr, Subject)]) -> Result<(), BpfError> {
        let entry = |(ip, subject): &(IpAddr, Subject)| (key(*ip), entries::subject_value(*subject));
        self.subjects.insert(&subjects.iter().map(entry).collect::<Vec<_>>())
    }

    /// No policy is about these pods any more.
    pub fn delete_subjects(&mut self, pods: &[IpAddr]) -> Result<(), BpfError> {
        self.subjects.remove(&keys(pods))
    }

    /// What holds for rulesets as a whole. How many verdicts they have the kernel need not be told.
    pub fn set_rulesets(&mut self, rulesets: &[(RulesetId, Ruleset)]) -> Result<(), BpfError> {
        let entry = |(id, ruleset): &(RulesetId, Ruleset)| (*id, entries::ruleset_value(ruleset));
        self.rulesets.insert(&rulesets.iter().map(entry).collect::<Vec<_>>())
    }

    /// Rulesets that no pod has any more. A pod that has one that is not there is closed.
    pub fn delete_rulesets(&mut self, rulesets: &[RulesetId]) -> Result<(), BpfError> {
        self.rulesets.remove(rulesets)
    }

    /// Writes rules.
    pub fn set_verdicts(&mut self, verdicts: &[(VerdictKey, Verdict)]) -> Result<(), BpfError> {
        let entry = |(key, verdict): &(VerdictKey, Verdict)| {
            (entries::verdict_key(key), entries::verdict_value(verdict))
        };
        self.verdicts.insert(&verdicts.iter().map(entry).collect::<Vec<_>>())
    }

    /// Removes rules.
    pub fn delete_verdicts(&mut self, verdicts: &[VerdictKey]) -> Result<(), BpfError> {
        self.verdicts.remove(&verdicts.iter().map(entries::verdict_key).collect::<Vec<_>>())
    }

    /// Who is at addresses.
    pub fn set_identities(&mut self, identities: &[(IpAddr, Identity)]) -> Result<(), BpfError> {
        let entry = |(ip, identity): &(IpAddr, Identity)| (key(*ip), entries::identity_value(identity));
        self.identities.insert(&identities.iter().map(entry).collect::<Vec<_>>())
    }

    /// Nobody is known to be there any more.
    pub fn delete_identities(&mut self, addresses: &[IpAddr]) -> Result<(), BpfError> {
        self.identities.remove(&keys(addresses))
    }

    /// What is known of ranges.
    pub fn set_networks(&mut self, networks: &[(IpNet, Network)]) -> Result<(), BpfError> {
        let entry = |(range, network): &(IpNet, Network)| (prefix(range), entries::network_value(network));
        self.networks.insert(&networks.iter().map(entry).collect::<Vec<_>>())
    }

    /// Nothing is known of these ranges any more.
    pub fn delete_networks(&mut self, ranges: &[IpNet]) -> Result<(), BpfError> {
        self.networks.remove(&ranges.iter().map(prefix).collect::<Vec<_>>())
    }

    /// Names led there. To be written before whoever asked is answered.
    pub fn set_named(&mut self, named: &[(IpAddr, Peer)]) -> Result<(), BpfError> {
        let entries: Vec<_> = named.iter().map(|(ip, peer)| (key(*ip), peer.0)).collect();
        self.named.insert(&entries)
    }

    /// No name leads there any more.
    pub fn delete_named(&mut self, addresses: &[IpAddr]) -> Result<(), BpfError> {
        self.named.remove(&keys(addresses))
    }

    /// Addresses of this node.
    pub fn set_own(&mut self, addresses: &[IpAddr]) -> Result<(), BpfError> {
        let entries: Vec<_> = addresses.iter().map(|ip| (key(*ip), 1)).collect();
        self.own.insert(&entries)
    }

    /// Addresses that this node has no more.
    pub fn delete_own(&mut self, addresses: &[IpAddr]) -> Result<(), BpfError> {
        self.own.remove(&keys(addresses))
    }

    /// What no policy takes from the node itself.
    pub fn set_always(&mut self, all: &[Always]) -> Result<(), BpfError> {
        self.always.insert(&all.iter().map(|its| (entries::always_key(*its), 1)).collect::<Vec<_>>())
    }

    /// What policies may take from it again.
    pub fn delete_always(&mut self, all: &[Always]) -> Result<(), BpfError> {
        self.always.remove(&all.iter().map(|its| entries::always_key(*its)).collect::<Vec<_>>())
    }

    /// Has everything that was allowed judged again, once, by its next packet: to be called when something was taken away.
    pub fn raise_epoch(&mut self) -> Result<(), BpfError> {
        let setting = self.setting()?;
        self.setting.insert(&[(0, abi::Policing { epoch: setting.epoch.wrapping_add(1), ..setting })])
    }

    /// What becomes of connections that were allowed before.
    pub fn set_established(&mut self, established: Established) -> Result<(), BpfError> {
        let keep = u8::from(established == Established::Keep);
        let setting = self.setting()?;
        self.setting.insert(&[(0, abi::Policing { keep, ..setting })])
    }

    /// Everything that was written. How many verdicts a ruleset has is counted.
    pub fn observe(&self) -> Result<Policing, BpfError> {
        let mut seen = Policing::default();
        for (id, value) in self.rulesets.entries()? {
            seen.rulesets.insert(id, entries::ruleset(&value));
        }
        for (key, value) in self.verdicts.entries()? {
            let read = entries::verdict(&value).ok_or_else(|| self.verdicts.foreign((key, value)))?;
            let key = entries::verdict_of_key(&key);
            if let Some(ruleset) = seen.rulesets.get_mut(&key.ruleset) {
                ruleset.verdicts += 1;
            }
            seen.verdicts.insert(key, read);
        }
        for (key, value) in self.networks.entries()? {
            let range = net(&key).ok_or_else(|| self.networks.foreign(key))?;
            seen.networks.insert(range, entries::network(&value));
        }
        let at = |key: abi::NodeAddress| ip(key.ip);
        seen.subjects =
            self.subjects.entries()?.into_iter().map(|(k, v)| (at(k), entries::subject(&v))).collect();
        seen.identities =
            self.identities.entries()?.into_iter().map(|(k, v)| (at(k), entries::identity(&v))).collect();
        seen.named = self.named.entries()?.into_iter().map(|(k, v)| (at(k), Peer(v))).collect();
        seen.own = self.own.entries()?.into_iter().map(|(k, _)| at(k)).collect();
        seen.always = self.always.entries()?.into_iter().map(|(k, _)| entries::always_of_key(&k)).collect();
        Ok(seen)
    }

    /// What is remembered of connections, in no order; those that are under way meanwhile may be told twice or not at all.
    pub fn connections(&self) -> Result<Vec<Connection>, BpfError> {
        self.connections.all()
    }

    /// Looks at some more connections, a thousand or so, and forgets those of them that are too old to count: nobody waits for
    /// it, and at no moment is much looked at. `now` is what [`clock`] says.
    pub fn sweep(&mut self, now: Duration) -> Result<Swept, BpfError> {
        self.connections.sweep(now)
    }

    /// What the packet path tells of packets from now on; there is one reader.
    pub fn events(&self) -> Result<Events, BpfError> {
        Events::open(&self.folder.join("events"))
    }

    fn setting(&self) -> Result<abi::Policing, BpfError> {
        Ok(self.setting.get(&0)?.unwrap_or_default())
    }
}

/// The time since boot, as connections and events have it.
pub fn clock() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    now.into()
}

fn key(ip: IpAddr) -> abi::NodeAddress {
    abi::NodeAddress { ip: address(ip) }
}

fn keys(addresses: &[IpAddr]) -> Vec<abi::NodeAddress> {
    addresses.iter().map(|ip| key(*ip)).collect()
}
