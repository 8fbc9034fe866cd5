//! The file of pods' addresses: any bytes are either refused, or a ledger that survives being written.
#![no_main]

use agent::cni::Ledger;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ledger) = Ledger::from_bytes(bytes) {
        assert_eq!(Ledger::from_bytes(&ledger.to_bytes()).expect("we read what we write"), ledger);
        let given: usize = ledger.entries.values().map(|entry| entry.ips.len()).sum();
        assert_eq!(ledger.used().len(), given, "no address twice");
    }
});
