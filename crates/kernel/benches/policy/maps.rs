//! The maps: how long a change takes, and what they take.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use aya::maps::MapData;
use engine::plan::policing::VerdictKey;
use ipnet::{IpNet, Ipv4Net};
use model::policy::PolicyAction;

use crate::rules::{IN, Rules};
use crate::ways::{IDENTITIES, Stage, identity, somebody};

const CHANGES: u32 = 2_000;

/// A rule that changes, and a policy that is new, until the kernel judges by them.
pub(crate) fn changes(stage: &mut Stage) {
    let rules = stage.rules.clone();
    let maps = stage.datapath.policing_mut();
    let (key, verdict) = rules.wanted.verdicts.iter().next().map(|(k, v)| (*k, *v)).expect("a rule");
    let mut denying = verdict;
    denying.namespace = denying.namespace.map(|mut ruling| {
        ruling.action = PolicyAction::Deny;
        ruling
    });
    let mut times: Vec<Duration> = (0..CHANGES)
        .map(|n| {
            let begun = Instant::now();
            maps.set_verdicts(&[(key, if n % 2 == 0 { denying } else { verdict })]).expect("write");
            maps.raise_epoch().expect("write");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000];
    println!(
        "one rule changes, {IDENTITIES} identities: median {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
        at(500),
        at(990),
        at(999)
    );
    let fresh: Vec<(VerdictKey, _)> = (0..IDENTITIES)
        .map(|n| {
            (VerdictKey { ruleset: 300, peer: engine::plan::policing::Peer(identity(n)), ..key }, verdict)
        })
        .collect();
    let begun = Instant::now();
    maps.set_verdicts(&fresh).expect("write");
    let written = begun.elapsed();
    let keys: Vec<_> = fresh.iter().map(|(key, _)| *key).collect();
    let begun = Instant::now();
    maps.delete_verdicts(&keys).expect("remove");
    maps.raise_epoch().expect("write");
    println!(
        "a policy with {IDENTITIES} rules: written in {written:.2?}, removed in {:.2?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    let observed = maps.observe().expect("observe");
    println!("all of it read back in {:.2?}", begun.elapsed());
    assert_eq!(observed.verdicts.len(), rules.wanted.verdicts.len());
}

/// What the kernel says that the maps take: as they are, and full.
pub(crate) fn memory(stage: &mut Stage) {
    say(stage, &format!("{IDENTITIES} identities, {} verdicts", stage.rules.wanted.verdicts.len()));
    let full = (0..131_072 - IDENTITIES - 2)
        .fold(Rules::default(), |rules, n| rules.identity(somebody(IDENTITIES + n), identity(n)));
    let (key, verdict) = stage.rules.wanted.verdicts.iter().next().map(|(k, v)| (*k, *v)).expect("a rule");
    let verdicts: Vec<_> = (0..262_144 - 2 * u64::from(IDENTITIES))
        .map(|n| (VerdictKey { ruleset: IN + 1, peer: engine::plan::policing::Peer(n), ..key }, verdict))
        .collect();
    let network = engine::plan::policing::Network::default();
    let ranges: Vec<(IpNet, _)> = (0..262_144_u32)
        .map(|n| (Ipv4Net::new((n << 8).into(), 24).expect("a range").into(), network))
        .collect();
    let maps = stage.datapath.policing_mut();
    maps.set_identities(&full.wanted.identities.into_iter().collect::<Vec<_>>()).expect("write");
    maps.set_verdicts(&verdicts).expect("write");
    let begun = Instant::now();
    maps.set_networks(&ranges).expect("write");
    println!("262,144 networks written in {:.2?}", begun.elapsed());
    say(stage, "131,072 identities, 262,144 verdicts, 262,144 networks");
}

fn say(stage: &Stage, what: &str) {
    let sizes =
        ["verdicts", "identities", "networks", "connections", "rulesets", "subjects", "named", "events"].map(
            |name| {
                let path = stage.node.options.pin_dir.join(name);
                let map = MapData::from_pin(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let text =
                    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))
                        .expect("read");
                let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
                (name, line.trim().parse::<u64>().expect("a number"))
            },
        );
    let total: u64 = sizes.iter().map(|(_, size)| size).sum();
    let each: Vec<String> =
        sizes.iter().map(|(name, size)| format!("{name} {:.1}", *size as f64 / 1e6)).collect();
    println!("memory with {what}: {:.1} MB ({})", total as f64 / 1e6, each.join(", "));
}
