//! What a rung cannot carry goes on: how much, and that no change moves more than it must.

use model::Prefer;
use proptest::prelude::*;

use super::*;

/// Endpoints of the clusters, by their place: `a/1` three, `a/3` four, `b/1` three.
fn crowded() -> World {
    let mut endpoints = Vec::new();
    for (cluster, node, first, count) in [("a", "a/1", 10, 3_u8), ("a", "a/3", 20, 4), ("b", "b/1", 30, 3)] {
        for n in first..first + count {
            endpoints.push(endpoint(
                cluster,
                "echo",
                &format!("echo-{n}"),
                &format!("10.0.0.{n}"),
                Some(node),
            ));
        }
    }
    three_clouds(["a", "b"].map(|c| service(c, "echo", &["10.101.0.1"], true)).into(), endpoints)
}

/// The part of each rung, in hundredths.
fn parts(world: &World, dead: &[&str]) -> Vec<u32> {
    let seen = see(world, "a/1", dead);
    let backends = &seen.explained[0].backends;
    let of = |prefix: &str| -> f64 {
        backends.iter().filter(|b| b.endpoint.name.starts_with(prefix)).map(|b| b.share).sum()
    };
    ["echo-1", "echo-2", "echo-3"].map(|prefix| (of(prefix) * 100.0).round() as u32).into()
}

fn declare(world: &mut World, capacities: &[(&str, u32)]) {
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.traffic.capacities =
        capacities.iter().map(|(c, capacity)| (cluster_name(c), *capacity)).collect();
}

fn unready(world: &mut World, pods: &[u8]) {
    for n in pods {
        edit(world, if *n < 30 { "a" } else { "b" }, &format!("echo-{n}"), |e| e.ready = false);
    }
}

#[test]
fn how_much_goes_on() {
    type Edit = fn(&mut World);
    type Case = (&'static str, &'static [u8], Edit, &'static [&'static str], [u32; 3]);
    let cases: Vec<Case> = vec![
        ("all ready", &[], |_| (), &[], [100, 0, 0]),
        ("two of three: more than half", &[10], |_| (), &[], [100, 0, 0]),
        ("one of three takes twice its part", &[10, 11], |_| (), &[], [67, 33, 0]),
        ("one of three, then one of four", &[10, 11, 20, 21, 22], |_| (), &[], [67, 17, 17]),
        ("nobody near: the next", &[10, 11, 12], |_| (), &[], [0, 100, 0]),
        ("the last keeps what comes", &[10, 11, 12, 20, 21, 22, 23, 30, 31], |_| (), &[], [0, 0, 100]),
        ("what goes on comes back from the dead", &[10, 11], |_| (), &["a/3", "b/1"], [100, 0, 0]),
        ("and passes over the dead", &[10, 11], |_| (), &["a/3"], [67, 0, 33]),
        (
            "what ends is not missed",
            &[],
            |w| {
                for pod in ["echo-10", "echo-11"] {
                    edit(w, "a", pod, |e| (e.ready, e.terminating) = (false, true));
                }
            },
            &[],
            [100, 0, 0],
        ),
        (
            "a preference is no matter of degree",
            &[10, 11, 20, 21, 22],
            |w| {
                let service = w.services.get_mut(&service_key("a", "echo")).unwrap();
                service.traffic.prefer = Prefer::LadderLocal;
            },
            &[],
            [67, 33, 0],
        ),
        (
            "nor is Cilium's",
            &[10, 11, 12, 20, 21, 22],
            |w| {
                let service = w.services.get_mut(&service_key("a", "echo")).unwrap();
                service.traffic.prefer = Prefer::Local;
            },
            &[],
            [0, 100, 0],
        ),
        (
            "nor are hints",
            &[10, 11],
            |w| {
                for e in w.endpoints.get_mut(&service_key("a", "echo")).unwrap().values_mut() {
                    e.hints = model::Hints::OwnZone;
                }
            },
            &[],
            [100, 0, 0],
        ),
        (
            "what is declared is missed",
            &[],
            |w| {
                for pod in ["echo-11", "echo-12", "echo-22", "echo-23"] {
                    w.endpoints.get_mut(&service_key("a", "echo")).unwrap().remove(pod);
                }
                declare(w, &[("a", 10)]);
            },
            &[],
            [60, 0, 40],
        ),
        (
            "and what stays is spread as it would be",
            &[11, 12],
            |w| declare(w, &[("a", 20)]),
            &[],
            [33, 17, 50],
        ),
        (
            "a declared cluster carries what it is declared to",
            &[10, 11],
            |w| declare(w, &[("a", 8)]),
            &[],
            [67, 33, 0],
        ),
        ("less than there is", &[10, 11, 20, 21, 22], |w| declare(w, &[("a", 4)]), &[], [80, 20, 0]),
        (
            "of the next cluster, which is the last",
            &[10, 11, 12],
            |w| declare(w, &[("b", 30)]),
            &[],
            [0, 100, 0],
        ),
        (
            "of clusters that are alike, all together",
            &[],
            |w| {
                let service = w.services.get_mut(&service_key("a", "echo")).unwrap();
                service.traffic.prefer = Prefer::Even;
                declare(w, &[("a", 20), ("b", 10)]);
            },
            &[],
            [30, 40, 30],
        ),
        (
            "a preference is no matter of degree, whatever is declared",
            &[],
            |w| {
                let service = w.services.get_mut(&service_key("a", "echo")).unwrap();
                service.traffic.prefer = Prefer::LadderLocal;
                declare(w, &[("a", 100)]);
            },
            &[],
            [100, 0, 0],
        ),
        (
            "what goes past comes back from the dead",
            &[],
            |w| declare(w, &[("a", 100)]),
            &["b/1"],
            [100, 0, 0],
        ),
        (
            "weights count, not heads",
            &[10, 11],
            |w| edit(w, "a", "echo-12", |e| e.weight = 2),
            &[],
            [100, 0, 0],
        ),
    ];
    for (what, out, change, dead, want) in cases {
        let mut world = crowded();
        unready(&mut world, out);
        change(&mut world);
        assert_eq!(parts(&world, dead), want, "{what}");
    }
}

/// Every backend's part by name.
fn shares(world: &World) -> BTreeMap<String, f64> {
    let seen = see(world, "a/1", &[]);
    seen.explained[0].backends.iter().map(|b| (b.endpoint.name.clone(), b.share)).collect()
}

proptest! {
    /// Taking one backend away moves no more than that backend carried and its fair share of its rung; so does its
    /// return, and a backend that comes and goes moves nothing else. So it is with what is declared for clusters.
    #[test]
    fn one_backend_moves_no_more_than_it_must(
        states in proptest::collection::vec(any::<bool>(), 10),
        weights in proptest::collection::vec(1..5_u16, 10),
        which in 0..10_usize,
        delete in any::<bool>(),
        declared in proptest::collection::btree_map(prop_oneof![Just("a"), Just("b")], 1..40_u32, 0..=2),
    ) {
        // Each with its part of its rung when all are ready.
        let mut names: Vec<(u8, f64)> = Vec::new();
        for (first, count) in [(10_u8, 3_usize), (20, 4), (30, 3)] {
            let of_rung = &weights[names.len()..names.len() + count];
            let all: f64 = of_rung.iter().copied().map(f64::from).sum();
            names.extend((first..).zip(of_rung).map(|(n, weight)| (n, f64::from(*weight) / all)));
        }
        let mut world = crowded();
        let out: Vec<u8> = names.iter().zip(&states).filter(|(_, ready)| !**ready).map(|((n, _), _)| *n).collect();
        unready(&mut world, &out);
        for ((n, _), weight) in names.iter().zip(&weights) {
            edit(&mut world, if *n < 30 { "a" } else { "b" }, &format!("echo-{n}"), |e| e.weight = *weight);
        }
        declare(&mut world, &declared.iter().map(|(c, capacity)| (*c, *capacity)).collect::<Vec<_>>());
        let before = shares(&world);
        let (victim, fair) = names[which];
        let name = format!("echo-{victim}");
        let cluster = if victim < 30 { "a" } else { "b" };
        // What is declared is a whole cluster's: a backend is a part of that, too, for clients whom others are nearer.
        let of_declared = declared.get(cluster).map_or(0.0, |all| f64::from(weights[which]) / f64::from(*all));
        let (fair, carried) = (fair.max(of_declared), before[&name].max(of_declared));
        let mut changed = world.clone();
        if delete {
            changed.endpoints.get_mut(&service_key(cluster, "echo")).unwrap().remove(&name);
        } else {
            unready(&mut changed, &[victim]);
        }
        let after = shares(&changed);
        // Nothing is remembered: however often it comes and goes, the same is there again.
        prop_assert_eq!(&shares(&world), &before);
        if after.values().sum::<f64>() == 0.0 {
            return Ok(());
        }
        let moved: f64 = before
            .iter()
            .map(|(pod, share)| (share - after.get(pod).copied().unwrap_or(0.0)).max(0.0))
            .sum();
        prop_assert!(moved <= carried + fair + 1e-3, "moved {moved}, carried {carried}, fair {fair}: {before:?} {after:?}");
    }
}
