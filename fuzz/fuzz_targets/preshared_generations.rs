//! Secrets that operators give nodes to make pre-shared keys from: whatever they are named and whatever is in them, few count,
//! the newest first, no two the same, and what is wrong with the others is said without them.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use engine::preshared::{Generation, NotASecret, Preshared, choose, collect};
use libfuzzer_sys::fuzz_target;
use model::GenerationId;

// Lines of `NAME=SECRET`.
fuzz_target!(|bytes: &[u8]| {
    let mut secrets = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let Ok(name) = std::str::from_utf8(&line[..at]) else { continue };
        secrets.insert(name.to_string(), &line[at + 1..]);
    }
    let read = |number: u32| secrets.get(&number.to_string()).copied().ok_or(NotASecret);
    let (found, wrong) = collect(secrets.keys().cloned(), read);
    assert!(found.len() <= GenerationId::MOST);
    assert!(found.is_sorted_by(|a, b| a.number() > b.number()));
    let ids: BTreeSet<GenerationId> = found.iter().map(|generation| generation.id()).collect();
    assert_eq!(ids.len(), found.len());
    let said = wrong.join("\n");
    for secret in secrets.values().filter(|secret| Generation::parse(0, secret).is_ok()) {
        let is_name =
            secrets.keys().any(|name| name.as_bytes().windows(secret.len()).any(|part| part == *secret));
        assert!(is_name || !said.as_bytes().windows(secret.len()).any(|part| part == *secret), "{said}");
    }
    // Two nodes that hold some of them agree about which to use.
    let all = Preshared::new(found, false).ids();
    let some: Vec<GenerationId> = all.iter().skip(bytes.len() % 3).step_by(2).copied().collect();
    assert_eq!(choose(&all, &some), choose(&some, &all));
    assert_eq!(choose(&all, &some).is_some(), !some.is_empty());
});
