//! Every name this node answers for, and how one is found.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::record::{Builder, Kind, Rrset};
use super::{Domain, Name, Settings, Subject, Update, reverse};

/// What a question finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Records.
    Data(&'a Rrset),
    /// The start of the zone itself.
    Start(&'a Apex),
    /// The name, but no records of the kind (NODATA).
    NoData(&'a Apex),
    /// No such name (NXDOMAIN).
    NoName(&'a Apex),
    /// Ours to know, and not known yet.
    Unknown,
    /// Not ours.
    Elsewhere,
}

/// The start of a zone, for its SOA record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apex {
    domain: Domain,
    name: Name,
    serial: u32,
    ttl: u32,
}

impl Apex {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Appends its SOA record to a message whose question, a name of `question` bytes at or below it, begins right
    /// after the header; false, and nothing is appended, where that would make more than `limit` bytes.
    pub fn write(&self, out: &mut Vec<u8>, limit: usize, question: usize) -> bool {
        const NS_DNS: &[u8] = b"\x02ns\x03dns";
        const HOSTMASTER: &[u8] = b"\x0ahostmaster";
        const DATA: usize = NS_DNS.len() + 2 + HOSTMASTER.len() + 2 + 5 * 4;
        if out.len() + 12 + DATA > limit {
            return false;
        }
        // RFC 1035 §4.1.4: the zone's name stands at the end of the question's.
        let place = 12 + question.saturating_sub(self.name.as_bytes().len());
        let pointer = (0xc000 | u16::try_from(place).expect("a question is short")).to_be_bytes();
        out.extend_from_slice(&pointer);
        out.extend_from_slice(&Kind::SOA.0.to_be_bytes());
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(DATA).expect("small").to_be_bytes());
        out.extend_from_slice(NS_DNS);
        out.extend_from_slice(&pointer);
        out.extend_from_slice(HOSTMASTER);
        out.extend_from_slice(&pointer);
        // Refresh, retry and expire speak to secondary servers, which there are none of; the last one says how long
        // an absence may be remembered (RFC 2308).
        for number in [self.serial, 7200, 1800, 86400, self.ttl] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        true
    }
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    sets: Vec<(Kind, Rrset)>,
}

impl Entry {
    pub(super) fn new(sets: impl IntoIterator<Item = (Kind, Rrset)>) -> Self {
        Self { sets: sets.into_iter().filter(|(_, set)| !set.is_empty()).collect() }
    }

    fn get(&self, kind: Kind) -> Option<&Rrset> {
        let wanted = |(known, _): &&(Kind, Rrset)| *known == kind || kind == Kind::ANY;
        self.sets.iter().find(wanted).map(|(_, set)| set)
    }
}

/// What is there because of one subject.
#[derive(Debug, Default)]
struct Owned {
    /// Its names, in order.
    names: Vec<Name>,
    /// Its virtual addresses.
    vips: Vec<IpAddr>,
}

/// Hashes with a seed, so that whoever names services cannot make the names collide.
#[derive(Debug, Clone, Copy)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, 0x6e61_6d65_7300)
    }
}

/// Every name this node answers for.
#[derive(Debug)]
pub struct Zone {
    names: HashMap<Name, (Domain, Entry), Seeded>,
    owned: BTreeMap<Subject, Owned>,
    /// How many subjects live in a namespace: its name exists as long as one does.
    spaces: BTreeMap<(Domain, String), usize>,
    reverse: HashMap<IpAddr, (Subject, Rrset), Seeded>,
    apexes: Vec<Apex>,
    ttl: u32,
    synced: bool,
}

impl Zone {
    /// The zones with what is always in them.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let Settings { ttl, .. } = *settings;
        let mut zone = Self {
            names: HashMap::with_hasher(Seeded(seed)),
            owned: BTreeMap::new(),
            spaces: BTreeMap::new(),
            reverse: HashMap::with_hasher(Seeded(seed)),
            apexes: Vec::new(),
            ttl,
            synced: false,
        };
        for (domain, apex) in settings.zones() {
            zone.apexes.push(Apex { domain, name: apex.clone(), serial: 1, ttl });
            let mut put = |name: Option<Name>, sets: Vec<(Kind, Rrset)>| {
                let name = name.expect("the settings have room for names");
                zone.names.insert(name, (domain, Entry::new(sets)));
            };
            let server = apex.below("dns").and_then(|dns| dns.below("ns")).expect("as below");
            let mut servers = Builder::new(ttl);
            servers.push(Kind::NS, &[server.as_bytes()]);
            put(Some(apex.clone()), vec![(Kind::NS, servers.finish(0))]);
            put(apex.below("svc"), vec![]);
            put(apex.below("dns"), vec![]);
            let mut ips = [Builder::new(ttl), Builder::new(ttl)];
            for ip in &settings.servers {
                ips[usize::from(ip.is_ipv6())].push_address(*ip);
            }
            let [a, aaaa] = ips.map(|builder| builder.finish(0));
            put(Some(server), vec![(Kind::A, a), (Kind::AAAA, aaaa)]);
            let version = domain.schema().as_bytes();
            let mut text = Builder::new(ttl);
            text.push(Kind::TXT, &[&[u8::try_from(version.len()).expect("short")], version]);
            put(apex.below("dns-version"), vec![(Kind::TXT, text.finish(0))]);
        }
        // The nearest apex is the one that counts.
        zone.apexes.sort_by_key(|apex| std::cmp::Reverse(apex.name.as_bytes().len()));
        zone
    }

    /// Whether everything is known: before that, no name of ours can be said not to exist.
    pub fn set_synced(&mut self, synced: bool) {
        self.synced = synced;
    }

    /// Makes the names of a subject those of the update.
    pub fn apply(&mut self, update: Update) {
        let Update { subject, present, mut names, vips } = update;
        let domain = subject.domain;
        let Some(apex) = self.apexes.iter_mut().find(|apex| apex.domain == domain) else { return };
        apex.serial = apex.serial.wrapping_add(1);
        let svc = apex.name.below("svc").expect("was made in new()");
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        let before = self.owned.remove(&subject);
        self.count_space(&subject, &svc, before.is_some(), present);
        let before = before.unwrap_or_default();
        for gone in &before.names {
            if names.binary_search_by(|(name, _)| name.cmp(gone)).is_err() {
                self.names.remove(gone);
            }
        }
        let mut owned = Owned { names: Vec::with_capacity(names.len()), vips };
        for (name, entry) in names {
            owned.names.push(name.clone());
            self.names.insert(name, (domain, entry));
        }
        if before.vips != owned.vips {
            self.follow_reverse(&subject, &svc, &before.vips, &owned.vips);
        }
        if present {
            self.owned.insert(subject, owned);
        }
    }

    fn count_space(&mut self, subject: &Subject, svc: &Name, was: bool, is: bool) {
        let namespace = &subject.service.namespace;
        let Some(name) = svc.below(namespace) else { return };
        let key = (subject.domain, namespace.clone());
        match (was, is) {
            (false, true) => {
                *self.spaces.entry(key).or_default() += 1;
                self.names.entry(name).or_insert_with(|| (subject.domain, Entry::default()));
            }
            (true, false) => {
                let count = self.spaces.get_mut(&key).expect("counted when it came");
                *count -= 1;
                if *count == 0 {
                    self.spaces.remove(&key);
                    self.names.remove(&name);
                }
            }
            _ => {}
        }
    }

    fn follow_reverse(&mut self, subject: &Subject, svc: &Name, before: &[IpAddr], vips: &[IpAddr]) {
        for gone in before {
            if self.reverse.get(gone).is_some_and(|(owner, _)| owner == subject) {
                self.reverse.remove(gone);
            }
        }
        let name = svc.below(&subject.service.namespace).and_then(|space| space.below(&subject.service.name));
        let Some(name) = name else { return };
        for ip in vips {
            // Of two that claim one address the first keeps its name.
            self.reverse.entry(*ip).or_insert_with(|| {
                let mut pointer = Builder::new(self.ttl);
                pointer.push(Kind::PTR, &[name.as_bytes()]);
                (subject.clone(), pointer.finish(0))
            });
        }
    }

    /// All that can be found, in order.
    #[cfg(test)]
    pub(super) fn content(&self) -> BTreeMap<Name, Vec<(u16, Rrset)>> {
        let sets = |entry: &Entry| entry.sets.iter().map(|(kind, set)| (kind.0, set.clone())).collect();
        self.names.iter().map(|(name, (_, entry))| (name.clone(), sets(entry))).collect()
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> std::collections::BTreeSet<&Name> {
        self.names.keys().collect()
    }

    /// What a name, in lower case and as a message carries it, has of a kind.
    pub fn find(&self, name: &[u8], kind: Kind) -> Found<'_> {
        let Some((domain, entry)) = self.names.get(name) else { return self.absent(name, kind) };
        if !self.synced {
            return Found::Unknown;
        }
        if let Some(set) = entry.get(kind) {
            return Found::Data(set);
        }
        let apex = self.apexes.iter().find(|apex| apex.domain == *domain);
        let apex = apex.expect("a name belongs to a zone of the settings");
        if kind == Kind::SOA && apex.name.as_bytes() == name {
            Found::Start(apex)
        } else {
            Found::NoData(apex)
        }
    }

    fn absent(&self, name: &[u8], kind: Kind) -> Found<'_> {
        if let Some(apex) = self.apexes.iter().find(|apex| is_below(name, apex.name.as_bytes())) {
            return if self.synced { Found::NoName(apex) } else { Found::Unknown };
        }
        let known = reverse::address(name).filter(|_| kind == Kind::PTR || kind == Kind::ANY);
        match known.and_then(|ip| self.reverse.get(&ip)) {
            Some((_, set)) => Found::Data(set),
            None => Found::Elsewhere,
        }
    }
}

/// Whether a name ends with another one, at the border of a label.
fn is_below(name: &[u8], apex: &[u8]) -> bool {
    let Some(at) = name.len().checked_sub(apex.len()) else { return false };
    if name[at..] != *apex {
        return false;
    }
    let mut begin = 0;
    while begin < at {
        begin += 1 + usize::from(name[begin]);
    }
    begin == at
}
