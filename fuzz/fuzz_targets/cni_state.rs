//! The journal of pods' addresses: what is believed of any bytes gives nothing out twice, and survives being written
//! again. Once as they are, and once with checksums that are right, which nobody guesses.
#![no_main]

use agent::cni::{replay, sealed, written};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&sealed(bytes.split(|byte| *byte == b'\n')));
});

fn check(bytes: &[u8]) {
    let found = replay(bytes);
    let ledger = &found.ledger;
    let given: usize = ledger.entries.values().map(|entry| entry.ips.len()).sum();
    assert_eq!(ledger.used().len(), given, "no address twice");
    assert!(found.damage.is_some() || found.believed == bytes.len());
    let again = replay(&written(ledger));
    assert_eq!((&again.ledger, &again.damage), (ledger, &None));
    assert_eq!(&replay(&bytes[..found.believed]).ledger, ledger);
}
