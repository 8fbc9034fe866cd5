//! Who has which address. How it gets to disk: [`super::journal`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use kernel::pod::Found;
use model::ObjectName;
use serde::{Deserialize, Serialize};

use super::extras::Extras;
use super::request::Attachment;

/// How many freed addresses are remembered, of each family: those of a whole IPv4 /24.
const FREED_MAX: usize = 256;

/// One wired container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// The interface on the node.
    pub host_ifname: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The pod, if the runtime said so.
    pub pod: Option<ObjectName>,
    /// The file of its network namespace; empty if that is not known, as when the wire is all that told of it.
    #[serde(default)]
    pub netns: PathBuf,
    /// Host ports and limits.
    #[serde(default)]
    pub extras: Extras,
}

/// Everything that was handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What is in use.
    pub entries: BTreeMap<Attachment, Entry>,
    /// What was freed, the oldest first.
    pub freed: Vec<IpAddr>,
}

impl Ledger {
    /// The addresses in use.
    pub fn used(&self) -> BTreeSet<IpAddr> {
        self.entries.values().flat_map(|entry| entry.ips.iter().copied()).collect()
    }

    /// Takes an entry in, in place of what its container had.
    pub fn give(&mut self, entry: Entry) {
        self.freed.retain(|ip| !entry.ips.contains(ip));
        self.entries.insert(entry.attachment.clone(), entry);
    }

    /// Takes an entry out and remembers its addresses as freed.
    pub fn release(&mut self, attachment: &Attachment) {
        let Some(entry) = self.entries.remove(attachment) else { return };
        self.freed.retain(|ip| !entry.ips.contains(ip));
        self.freed.extend(entry.ips);
        self.forget_freed();
    }

    /// Takes in what was freed before, the oldest first.
    pub fn set_freed(&mut self, freed: Vec<IpAddr>) {
        self.freed = freed;
        self.forget_freed();
    }

    fn forget_freed(&mut self) {
        for v4 in [true, false] {
            let count = self.freed.iter().filter(|ip| ip.is_ipv4() == v4).count();
            let mut surplus = count.saturating_sub(FREED_MAX);
            if surplus > 0 {
                self.freed.retain(|ip| {
                    let old = ip.is_ipv4() == v4 && surplus > 0;
                    surplus -= usize::from(old);
                    !old
                });
            }
        }
    }

    /// Lets go of what has no wire on the node any more: its namespace is gone, and perhaps the machine went with it.
    /// Returns how many.
    pub fn keep_wired(&mut self, wires: &BTreeMap<String, Found>) -> usize {
        let gone = self.entries.values().filter(|entry| !wires.contains_key(&entry.host_ifname));
        let gone: Vec<Attachment> = gone.map(|entry| entry.attachment.clone()).collect();
        gone.iter().for_each(|attachment| self.release(attachment));
        gone.len()
    }

    /// Takes in what only the wires on the node tell: addresses and names. The rest is known of those that an older
    /// ledger tells the same of. Returns how many.
    pub fn adopt(&mut self, wires: &BTreeMap<String, Found>, older: &Self) -> usize {
        let mut adopted = 0;
        for found in wires.values() {
            let Some((attachment, pod)) = parse_note(&found.note) else { continue };
            let unknown = Entry::unknown(attachment.clone());
            if unknown.host_ifname != found.host_ifname {
                continue;
            }
            // A wire that was not finished leads to a part of what its container has.
            let tells = |entry: &&Entry| found.ips.iter().all(|ip| entry.ips.contains(ip));
            if self.entries.get(&attachment).is_some_and(|entry| tells(&entry)) {
                continue;
            }
            let same = |entry: &&Entry| entry.host_ifname == found.host_ifname && entry.ips == found.ips;
            let known = older.entries.get(&attachment).filter(same).cloned();
            self.give(known.unwrap_or_else(|| Entry { ips: found.ips.clone(), pod, ..unknown }));
            adopted += 1;
        }
        adopted
    }
}

impl Entry {
    /// What is known of a container of which nothing is: its interface on the node, if there is one.
    pub fn unknown(attachment: Attachment) -> Self {
        Self {
            host_ifname: kernel::pod::host_ifname(&attachment.container_id, &attachment.ifname),
            attachment,
            ips: Vec::new(),
            pod: None,
            netns: PathBuf::new(),
            extras: Extras::default(),
        }
    }

    /// What is written on the node's interface, so that a lost file can be put together again.
    pub fn note(&self) -> String {
        let Attachment { container_id, ifname } = &self.attachment;
        let short = format!("{container_id}/{ifname}");
        match &self.pod {
            // The kernel's limit: IFALIASZ.
            Some(pod) if short.len() + pod.to_string().len() < 255 => format!("{short}/{pod}"),
            _ => short,
        }
    }
}

fn parse_note(note: &str) -> Option<(Attachment, Option<ObjectName>)> {
    let mut parts = note.splitn(3, '/');
    let attachment = Attachment::new(parts.next()?, parts.next()?).ok()?;
    Some((attachment, parts.next().and_then(|pod| pod.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(container: &str, ips: &[&str]) -> Entry {
        let attachment = Attachment::new(container, "eth0").unwrap();
        Entry {
            host_ifname: kernel::pod::host_ifname(container, "eth0"),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            pod: Some("demo/echo-0".parse().unwrap()),
            netns: "/run/netns/pod".into(),
            extras: Extras::default(),
            attachment,
        }
    }

    fn ledger(entries: &[Entry]) -> Ledger {
        let entries = entries.iter().map(|entry| (entry.attachment.clone(), entry.clone())).collect();
        Ledger { entries, freed: vec!["10.1.0.9".parse().unwrap()] }
    }

    fn without_namespaces(ledger: &Ledger) -> BTreeMap<Attachment, Entry> {
        let without = |entry: &Entry| Entry { netns: PathBuf::new(), ..entry.clone() };
        ledger.entries.iter().map(|(attachment, entry)| (attachment.clone(), without(entry))).collect()
    }

    #[test]
    fn what_was_freed_is_remembered_in_order_and_bounded() {
        let mut ledger = ledger(&[entry("a", &["10.1.0.2"]), entry("b", &["10.1.0.9"])]);
        ledger.release(&Attachment::new("b", "eth0").unwrap());
        ledger.release(&Attachment::new("a", "eth0").unwrap());
        ledger.release(&Attachment::new("a", "eth0").unwrap());
        let freed: Vec<String> = ledger.freed.iter().map(IpAddr::to_string).collect();
        assert_eq!(freed, ["10.1.0.9", "10.1.0.2"]);
        for n in 0..600_u16 {
            let name = format!("c{n}");
            let new = entry(&name, &[&format!("10.2.{}.{}", n / 256, n % 256), &format!("fd00::{n:x}")]);
            ledger.entries.insert(new.attachment.clone(), new);
            ledger.release(&Attachment::new(&name, "eth0").unwrap());
        }
        assert_eq!(ledger.freed.len(), 2 * FREED_MAX);
        assert_eq!(ledger.freed.last().unwrap().to_string(), "fd00::257");
    }

    #[test]
    fn from_what_stands_on_the_wires() {
        let full = ledger(&[entry("a", &["10.1.0.2"]), entry(&"b".repeat(200), &["10.1.0.3"])]);
        let wires = full.entries.values().map(|entry| Found {
            host_ifname: entry.host_ifname.clone(),
            host_index: 7,
            note: entry.note(),
            ips: entry.ips.clone(),
        });
        let mut wires: BTreeMap<String, Found> =
            wires.map(|found| (found.host_ifname.clone(), found)).collect();
        let nothing = Ledger::default();
        let adopted = |mut ledger: Ledger, older: &Ledger| {
            let count = ledger.adopt(&wires, older);
            (count, ledger.entries)
        };
        assert_eq!(adopted(nothing.clone(), &nothing), (2, without_namespaces(&full)));
        assert_eq!(adopted(nothing.clone(), &full), (2, full.entries.clone()));
        assert_eq!(adopted(full.clone(), &nothing), (0, full.entries.clone()));
        // A ledger that tells something else of a wire is not believed about it.
        let mut other = full.clone();
        other.entries.values_mut().for_each(|entry| entry.ips = vec!["10.1.0.99".parse().unwrap()]);
        assert_eq!(adopted(nothing.clone(), &other), (2, without_namespaces(&full)));
        assert_eq!(adopted(other, &nothing), (2, without_namespaces(&full)));
        // Of a wire that was not finished, it is.
        let mut more = full.clone();
        more.entries.values_mut().for_each(|entry| entry.ips.push("fd00::9".parse().unwrap()));
        assert_eq!(adopted(more.clone(), &nothing), (0, more.entries));
        let mut more = full.clone();
        let gone = entry("gone", &["10.1.0.7"]);
        more.entries.insert(gone.attachment.clone(), gone);
        assert_eq!((more.keep_wired(&wires), &more.entries), (1, &full.entries));
        assert_eq!(more.freed.last().unwrap().to_string(), "10.1.0.7");
        // Not ours, or not any more: the name does not follow from the note.
        for found in wires.values_mut() {
            found.note.insert(0, 'x');
        }
        let mut adopted = nothing.clone();
        assert_eq!((adopted.adopt(&wires, &nothing), &adopted), (0, &nothing));
        assert!(full.entries.values().all(|entry| entry.note().len() <= 255));
    }
}
