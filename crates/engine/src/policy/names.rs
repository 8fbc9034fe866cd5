//! What names led to, as this node's DNS server told its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::classes::{Classes, Member};
use super::tracked::Tracked;
use crate::plan::policing::Peer;

/// Names that were asked, and what rules say of them.
#[derive(Debug)]
pub(super) struct Names {
    learned: BTreeMap<String, BTreeMap<IpAddr, Duration>>,
    leads: BTreeMap<IpAddr, BTreeSet<String>>,
    /// When each ends.
    ends: BTreeSet<(Duration, String, IpAddr)>,
    /// The patterns of rules, by their number.
    patterns: BTreeMap<Member, Vec<String>>,
    /// The sets of patterns.
    pub(super) classes: Classes,
    written: BTreeMap<IpAddr, Peer>,
    stale: BTreeSet<IpAddr>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            learned: BTreeMap::new(),
            leads: BTreeMap::new(),
            ends: BTreeSet::new(),
            patterns: BTreeMap::new(),
            classes: Classes::new(b"nameclas"),
            written: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// How many addresses names led to.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the name is known to lead there.
    pub(super) fn knows(&self, name: &str, ip: &IpAddr) -> bool {
        self.learned.get(&plain(name)).is_some_and(|leads| leads.contains_key(ip))
    }

    /// Whether a rule is about the name.
    pub(super) fn is_watched(&self, name: &str) -> bool {
        let name = plain(name);
        self.patterns.values().any(|patterns| covers_any(patterns, &name))
    }

    /// The name leads there until then; what was learned before may last longer.
    pub(super) fn learn(&mut self, name: &str, ip: IpAddr, expires: Duration) {
        let name = plain(name);
        let ends = self.learned.entry(name.clone()).or_default().entry(ip).or_insert(expires);
        if *ends < expires {
            self.ends.remove(&(*ends, name.clone(), ip));
            *ends = expires;
        }
        self.ends.insert((*ends, name.clone(), ip));
        if self.leads.entry(ip).or_default().insert(name) {
            self.stale.insert(ip);
        }
    }

    /// Forgets what has ended.
    pub(super) fn handle_time(&mut self, now: Duration) {
        while let Some((ends, name, ip)) = self.ends.first().cloned() {
            if ends > now {
                break;
            }
            self.ends.pop_first();
            if let Some(leads) = self.learned.get_mut(&name) {
                leads.remove(&ip);
                if leads.is_empty() {
                    self.learned.remove(&name);
                }
            }
            if let Some(names) = self.leads.get_mut(&ip) {
                names.remove(&name);
                if names.is_empty() {
                    self.leads.remove(&ip);
                }
            }
            self.stale.insert(ip);
        }
    }

    /// What ends until then.
    pub(super) fn due(&self, until: Duration) -> impl Iterator<Item = (&str, IpAddr)> {
        let due = self.ends.iter().take_while(move |(ends, _, _)| *ends <= until);
        due.map(|(_, name, ip)| (name.as_str(), *ip))
    }

    /// When the first one ends.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ends.first().map(|(ends, _, _)| *ends)
    }

    /// A rule is about these names from now on.
    pub(super) fn watch(&mut self, member: Member, patterns: &[String]) {
        self.patterns.insert(member, patterns.iter().map(|pattern| plain(pattern)).collect());
        self.concern(member);
    }

    /// No rule is any more.
    pub(super) fn forget(&mut self, member: Member) {
        self.concern(member);
        self.patterns.remove(&member);
    }

    fn concern(&mut self, member: Member) {
        let Some(patterns) = self.patterns.get(&member) else { return };
        let concerned = self.learned.iter().filter(|(name, _)| covers_any(patterns, name));
        self.stale.extend(concerned.flat_map(|(_, leads)| leads.keys()));
    }

    /// Writes down what holds now.
    pub(super) fn poll(&mut self, named: &mut Tracked<IpAddr, Peer>) {
        for ip in std::mem::take(&mut self.stale) {
            let names = self.leads.get(&ip);
            let about = self
                .patterns
                .iter()
                .filter(|(_, patterns)| names.into_iter().flatten().any(|name| covers_any(patterns, name)));
            let members: BTreeSet<Member> = about.map(|(member, _)| *member).collect();
            let class = self.classes.acquire(&members);
            let before = match class {
                Peer::ANY => self.written.remove(&ip),
                class => self.written.insert(ip, class),
            };
            self.classes.release(before.unwrap_or_default());
            named.put(ip, (class != Peer::ANY).then_some(class));
        }
    }
}

fn covers_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| covers(pattern, name))
}

/// Whether a pattern is about a name, both plain: `*.` stands for one label or more.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => pattern == name,
    }
}

/// A name without what does not count: its case (RFC 4343), the root's dot.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_names() {
        for (pattern, name, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(plain("WWW.Example.Com."), "www.example.com");
    }
}
