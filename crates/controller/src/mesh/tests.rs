//! Nodes come and go, agents report, others write: what is written, and that nothing is when nothing changed.

use model::{KubeProxy, PublicKey};
use proptest::prelude::*;

use super::*;

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

fn mesh(pools: &str) -> Mesh {
    let mut mesh = Mesh::new(Ranges::new(&nets(pools), 24, 64));
    mesh.handle_held(Event::Synced);
    mesh.handle_nodes_synced();
    mesh
}

fn report(n: u8) -> Reported {
    Reported {
        public_key: PublicKey([n; 32]),
        next_key: None,
        knows_two_keys: true,
        knows_groups: true,
        port: 51820,
        addresses: vec![],
        kube_proxy: KubeProxy::Unknown,
        version: "1".into(),
        reach: Default::default(),
        takes: Default::default(),
        generations: Default::default(),
    }
}

fn held(version: u64, ranges: &str, reported: Option<Reported>) -> Held {
    Held { uid: "u".into(), version, pod_cidrs: nets(ranges), reported, ..Held::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn give(node: &str, ranges: &str) -> Option<Step> {
    Some(Step::Give { node: node.into(), ranges: nets(ranges) })
}

#[test]
fn a_node_without_ranges_gets_some_when_nobody_else_gives_it_any() {
    let mut mesh = mesh("10.1.0.0/16");
    mesh.handle_node("a", &[], seconds(0));
    mesh.handle_node("b", &[], seconds(0));
    assert_eq!((mesh.poll(seconds(1)), mesh.deadline()), (None, Some(SETTLE)));
    mesh.handle_node("b", &nets("10.1.0.0/24"), seconds(1));
    assert_eq!(mesh.poll(seconds(2)), give("a", "10.1.1.0/24"), "not what b has");
    assert_eq!(mesh.poll(seconds(2)), None, "one step for a node at a time");
    // It is not known whether it was written: the same is written again.
    mesh.handle_failed("a", seconds(3));
    assert_eq!(mesh.poll(seconds(3)), give("a", "10.1.1.0/24"));
    mesh.handle_done("a", Some(held(5, "10.1.1.0/24", None)));
    assert_eq!(mesh.poll(seconds(4)), None);
    // What the watch says of it changes nothing, nor does that everybody is told.
    mesh.handle_held(Event::Upsert("a".into(), held(5, "10.1.1.0/24", None)));
    mesh.handle_node("a", &nets("10.1.1.0/24"), seconds(4));
    assert_eq!(mesh.poll(seconds(100)), None);
    // It gets one of its own after all.
    mesh.handle_node("a", &nets("10.9.0.0/24"), seconds(5));
    assert_eq!(mesh.poll(seconds(5)), give("a", ""));
    mesh.handle_done("a", Some(held(6, "", None)));
    mesh.handle_node_gone("a");
    assert_eq!(mesh.poll(seconds(6)), Some(Step::Remove { node: "a".into(), uid: "u".into() }));
    mesh.handle_done("a", None);
    assert_eq!(mesh.poll(seconds(100)), None);
}

#[test]
fn reports_are_written_once() {
    let mut mesh = mesh("10.1.0.0/16");
    mesh.handle_node("a", &nets("10.1.0.0/24"), seconds(0));
    assert_eq!(mesh.poll(seconds(9)), None, "there is nothing to say of it");
    mesh.handle_report("a", report(1));
    assert_eq!(mesh.poll(seconds(9)), give("a", ""));
    mesh.handle_done("a", Some(held(1, "", None)));
    let step = Some(Step::Report { node: "a".into(), reported: report(1) });
    assert_eq!(mesh.poll(seconds(9)), step);
    mesh.handle_report("a", report(2));
    assert_eq!(mesh.poll(seconds(9)), None, "busy");
    mesh.handle_done("a", Some(held(2, "", Some(report(1)))));
    assert_eq!(mesh.poll(seconds(9)), Some(Step::Report { node: "a".into(), reported: report(2) }));
    mesh.handle_done("a", Some(held(3, "", Some(report(2)))));
    // The watch lags behind.
    for version in [1, 2, 3] {
        let reported = (version > 1).then(|| report(u8::try_from(version).unwrap() - 1));
        mesh.handle_held(Event::Upsert("a".into(), held(version, "", reported)));
        assert_eq!(mesh.poll(seconds(9)), None, "{version}");
    }
    // Somebody else writes something else there, or removes it.
    mesh.handle_held(Event::Upsert("a".into(), held(4, "", Some(report(9)))));
    assert_eq!(mesh.poll(seconds(9)), Some(Step::Report { node: "a".into(), reported: report(2) }));
    mesh.handle_failed("a", seconds(9));
    mesh.handle_held(Event::Delete("a".into()));
    assert_eq!(mesh.poll(seconds(9)), give("a", ""));
}

#[test]
fn nothing_is_written_before_everything_is_known() {
    let mut mesh = Mesh::new(Ranges::new(&nets("10.1.0.0/16"), 24, 64));
    mesh.handle_held(Event::Upsert("gone".into(), held(1, "10.1.0.0/24", None)));
    mesh.handle_node("a", &[], seconds(0));
    assert_eq!(mesh.poll(seconds(9)), None);
    mesh.handle_held(Event::Synced);
    assert_eq!(mesh.poll(seconds(9)), None);
    mesh.handle_nodes_synced();
    assert_eq!(mesh.poll(seconds(9)), give("a", "10.1.1.0/24"), "the other is still somebody's");
    assert_eq!(mesh.poll(seconds(9)), Some(Step::Remove { node: "gone".into(), uid: "u".into() }));
}

#[test]
fn what_is_wrong_is_said_and_taken_back() {
    let mut mesh = mesh("10.1.0.0/24");
    let reasons = |mesh: &Mesh, name: &str| -> Vec<&str> {
        mesh.complaints(name).iter().map(|complaint| complaint.reason).collect()
    };
    mesh.handle_node("a", &nets("10.1.0.0/25"), seconds(0));
    mesh.handle_node("b", &[], seconds(0));
    assert_eq!(mesh.poll(seconds(9)), None);
    assert_eq!(reasons(&mesh, "b"), ["PodRangesExhausted"]);
    assert!(mesh.take_changed().contains("b"));
    mesh.handle_node("c", &nets("10.1.0.0/24"), seconds(9));
    assert_eq!(mesh.take_changed(), ["a".to_string(), "c".to_string()].into());
    assert_eq!((reasons(&mesh, "a"), reasons(&mesh, "c")), (vec!["PodRangeTwice"], vec!["PodRangeTwice"]));
    mesh.handle_node_gone("c");
    mesh.handle_node_gone("a");
    assert_eq!(mesh.poll(seconds(9)), give("b", "10.1.0.0/24"), "as soon as there is room");
    assert!(["a", "b", "c"].iter().all(|name| reasons(&mesh, name).is_empty()));
}

#[test]
fn who_takes_over_gives_what_it_finds_free() {
    let mut mesh = mesh("10.1.0.0/16");
    mesh.handle_node("a", &[], seconds(0));
    assert_eq!(mesh.poll(seconds(9)), give("a", "10.1.0.0/24"));
    mesh.step_down();
    // The next leader has given it to another.
    mesh.handle_node("b", &[], seconds(0));
    mesh.handle_held(Event::Upsert("b".into(), held(3, "10.1.0.0/24", None)));
    mesh.step_up();
    assert_eq!(mesh.poll(seconds(9)), give("a", "10.1.1.0/24"));
}

/// The watch brings everything, what is gone too.
fn watched(mesh: &mut Mesh, written: &BTreeMap<String, Held>) {
    for name in (0..12).map(|n| n.to_string()) {
        mesh.handle_held(match written.get(&name) {
            Some(held) => Event::Upsert(name, held.clone()),
            None => Event::Delete(name),
        });
    }
}

proptest! {
    /// However nodes come, go and fail to be written, no two MeshNodes ever give the same address, and in the end every
    /// node has its ranges and nothing is left to write.
    #[test]
    fn it_converges_and_nothing_is_given_twice(
        steps in proptest::collection::vec((0u8..6, 0u8..12, any::<bool>()), 1..80)
    ) {
        let mut mesh = mesh("10.1.0.0/20 fd00::/60");
        let mut written: BTreeMap<String, Held> = BTreeMap::new();
        let mut nodes: BTreeSet<String> = BTreeSet::new();
        let (mut now, mut version) = (Duration::ZERO, 0);
        let perform = |mesh: &mut Mesh, written: &mut BTreeMap<String, Held>, now, version: &mut u64, lost| {
            while let Some(step) = mesh.poll(now) {
                *version += 1;
                let name = step.node().to_string();
                match step {
                    Step::Give { ranges, .. } => {
                        let before = written.remove(&name).unwrap_or_default();
                        written.insert(name.clone(), Held { uid: "u".into(), version: *version, pod_cidrs: ranges, ..before });
                    }
                    Step::Report { reported, .. } => {
                        // It may be gone without anybody having heard of it: the server says so.
                        let Some(held) = written.get_mut(&name) else {
                            mesh.handle_failed(&name, now + seconds(1));
                            continue;
                        };
                        (held.reported, held.version) = (Some(reported), *version);
                    }
                    Step::Remove { .. } => drop(written.remove(&name)),
                }
                let all: Vec<_> = written.values().flat_map(|held| held.pod_cidrs.clone()).collect();
                for (n, one) in all.iter().enumerate() {
                    assert!(all[..n].iter().all(|other| !model::overlaps(one, other)), "{one} twice");
                }
                match lost {
                    true => mesh.handle_failed(&name, now + seconds(1)),
                    false => mesh.handle_done(&name, written.get(&name).cloned()),
                }
                if lost { break; }
            }
        };
        for (what, n, lost) in steps {
            let name = n.to_string();
            now += seconds(1);
            match what {
                0 | 1 => {
                    nodes.insert(name.clone());
                    mesh.handle_node(&name, &[], now);
                }
                2 => {
                    nodes.remove(&name);
                    mesh.handle_node_gone(&name);
                }
                3 if nodes.contains(&name) => mesh.handle_report(&name, report(n)),
                4 => {
                    watched(&mut mesh, &written);
                }
                _ => {}
            }
            perform(&mut mesh, &mut written, now, &mut version, lost);
        }
        watched(&mut mesh, &written);
        perform(&mut mesh, &mut written, now + seconds(100), &mut version, false);
        prop_assert_eq!(written.keys().cloned().collect::<BTreeSet<_>>(), nodes);
        prop_assert!(written.values().all(|held| held.pod_cidrs.len() == 2));
        prop_assert_eq!(mesh.poll(now + seconds(1000)), None);
    }
}
