//! Small runs, each about one thing that must hold at any size.

use sim::{Encoding, Misdeed, Partition, Path, Report, Scenario, Shape, Sim};

fn play(scenario: Scenario) -> Report {
    let report = Sim::new(scenario.clone()).run();
    assert_eq!(report.diverged, Vec::<String>::new(), "{scenario:?}");
    report
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = || Scenario { breaks: Some(5), ..Scenario::default() };
    let (first, second) = (play(scenario()), play(scenario()));
    assert_eq!(first, second);
    assert_ne!(first, play(Scenario { seed: 2, ..scenario() }), "another seed is another run");
}

#[test]
fn a_change_is_there_after_the_way_and_little_more() {
    let report = play(Scenario::default());
    // 40 ms to 44 ms of way.
    assert!(report.to_controllers.permille(500) >= 40_000, "{}", report.to_controllers);
    assert!(report.to_controllers.permille(990) <= 46_000, "{}", report.to_controllers);
    assert!(report.to_agents.permille(990) <= 47_000, "{}", report.to_agents);
    // Half of the clusters' changes are heard by one that hears, the others' by both.
    assert!(report.made > 900 && report.to_controllers.count() > report.made as usize, "{report:?}");
    assert_eq!((report.delayed, report.refused), (0, 0));
    assert_eq!(report.churn.snapshots, 0);
}

#[test]
fn losses_and_breaks_delay_and_lose_nothing() {
    let path = Path { loss: 20_000, ..Scenario::default().path };
    let report = play(Scenario { path, breaks: Some(3), seconds: 60, ..Scenario::default() });
    assert!(report.breaks > 50, "{report:?}");
    assert_eq!(report.churn.snapshots, 0, "who comes back hears what it missed, not everything");
    assert!(report.to_controllers.permille(1000) > 240_000, "a lost packet is sent again");
}

#[test]
fn a_slow_path_is_never_waited_for() {
    // 25 changes a second of these do not fit.
    let path = Path { bandwidth: 2_000, ..Scenario::default().path };
    let report = play(Scenario { path, agent_path: Scenario::default().agent_path, ..Scenario::default() });
    assert!(report.to_controllers.permille(990) > 100_000, "{}", report.to_controllers);
}

#[test]
fn a_partition_costs_what_changed() {
    let report = play(Scenario {
        shape: Shape { nodes: 20, endpoints: 400, services: 16 },
        seconds: 100,
        partition: Some(Partition { clusters: 2, from: 10, to: 90 }),
        ..Scenario::default()
    });
    assert_eq!(report.churn.snapshots, 0);
    assert!(report.healing.changes > 0 && report.delayed > 0, "{report:?}");
    assert!(report.healed_ms < 6_000, "{} ms", report.healed_ms);
}

#[test]
fn one_that_misbehaves_disturbs_nobody() {
    let small = || Scenario { seconds: 3, agents: 1, ..Scenario::default() };
    let calm = play(small());
    for misdeed in [Misdeed::Flood, Misdeed::Foreign, Misdeed::Backwards] {
        let report = play(Scenario { misdeed: Some(misdeed), ..small() });
        let (p99, before) = (report.to_controllers.permille(990), calm.to_controllers.permille(990));
        assert!(p99 <= before + 10_000, "{misdeed:?}: p99 is {p99} µs, was {before}");
        match misdeed {
            Misdeed::Flood => assert_eq!(report.refused, 0),
            Misdeed::Foreign => assert!(report.refused > 300, "{}", report.refused),
            Misdeed::Backwards => assert!(report.breaks > 3, "{}", report.breaks),
        }
    }
}

#[test]
fn every_encoding_says_the_same() {
    let sizes = [Encoding::Plain, Encoding::Messages].map(|encoding| {
        let report = play(Scenario { encoding, ..Scenario::default() });
        report.churn.bytes_per_change()
    });
    assert!(sizes[0] > sizes[1], "{sizes:?}");
}
