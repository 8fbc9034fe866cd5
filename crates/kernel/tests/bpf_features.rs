//! The probes, on this very machine.

use std::time::{Duration, Instant};

use causeway_kernel::features::{missing, probe};

#[test]
fn this_machine_has_what_the_tests_need() {
    let start = Instant::now();
    let features = probe();
    let took = start.elapsed();
    for f in &features {
        println!("{:15} {:5} {}", f.name, f.present, f.fallback.unwrap_or("-"));
    }
    let missing: Vec<String> =
        missing(&features).iter().map(|f| format!("{}: {}", f.name, f.advice)).collect();
    assert!(missing.is_empty(), "this machine lacks {missing:?}");
    println!("{took:?}");
    assert!(took < Duration::from_millis(500), "probing took {took:?}");
}

#[test]
fn what_is_missing_has_a_fallback_or_is_required() {
    for feature in probe() {
        assert!(feature.fallback.is_some() || feature.required || feature.present, "{feature:?}");
        assert!(!feature.advice.is_empty() && !feature.purpose.is_empty(), "{feature:?}");
    }
}
