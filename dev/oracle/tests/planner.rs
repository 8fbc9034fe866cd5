//! The engine judges as the oracle does; what it has followed change by change is what it would plan from nothing; and the
//! operations it gives lead there.

#[allow(dead_code, unreachable_pub, reason = "each test uses its own part of this")]
mod support;

use engine::plan::policing::{Policing, diff};
use engine::policy::interest;
use engine::policy::judge::judge;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use support::{Event, compare, event, happen, planner, probes, scene, settings, subjects, tell};

/// What the kernel counts of a plan.
fn counted(mut policing: Policing) -> Policing {
    policing.rulesets.values_mut().for_each(|ruleset| ruleset.verdicts = 0);
    policing
}

/// Takes events in one after the other, and looks at all of it after each.
fn follow(mut scene: oracle::Scene, events: &[Vec<Event>]) -> usize {
    let mut planner = planner(&scene);
    let mut kernel = Policing::default();
    let mut denied = 0;
    let outcome = planner.poll();
    outcome.ops.iter().for_each(|op| kernel.apply(op));
    for step in events {
        let before: Vec<bool> =
            probes(&scene).iter().map(|(packet, _, _)| judge(&kernel, packet).passes()).collect();
        let asked = probes(&scene);
        for event in step {
            happen(&mut scene, event);
            tell(&mut planner, event);
        }
        let outcome = planner.poll();
        outcome.ops.iter().for_each(|op| kernel.apply(op));
        let policing = planner.policing();
        assert_interest(&scene);
        assert_eq!(counted(kernel.clone()), counted(policing.clone()), "the operations lead there");
        let taken =
            asked.iter().zip(before).any(|((packet, _, _), was)| was && !judge(&kernel, packet).passes());
        assert!(!taken || outcome.raises_epoch, "something was taken away: {:?}", outcome.ops);
        denied += compare(&scene, &policing);
        let mut anew = support::planner(&scene);
        let all = anew.poll().ops;
        assert_eq!(policing, anew.policing(), "followed as planned from nothing");
        assert_eq!(
            counted_ops(diff(&Policing::default(), &policing)),
            counted_ops(all),
            "the same operations, in the same order"
        );
    }
    denied
}

/// A planner asks for no cluster that is not asked for without one. The other way round: pods without addresses are judged by
/// nothing yet, and their policies are asked for all the same.
fn assert_interest(scene: &oracle::Scene) {
    let mut anew = support::planner(&oracle::Scene { attached: Vec::new(), ..scene.clone() });
    anew.poll();
    let clusters = scene.clusters.iter().map(|(name, _)| name);
    let found = interest(&settings(scene), clusters, &scene.namespaces, &scene.pods, &scene.policies);
    assert!(anew.interest().is_subset(&found));
}

fn counted_ops(ops: Vec<engine::plan::policing::Op>) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn judged_as_specified(scene in scene()) {
        let mut planner = planner(&scene);
        planner.poll();
        compare(&scene, &planner.policing());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn followed_as_specified(scene in scene(), events in vec(vec(event(), 1..4), 1..16)) {
        follow(scene, &events);
    }
}

/// Whatever is asked while the operations are applied one by one is answered as before all of them or as after.
fn step_by_step(mut scene: oracle::Scene, events: &[Event]) {
    let mut planner = planner(&scene);
    let mut kernel = Policing::default();
    planner.poll().ops.iter().for_each(|op| kernel.apply(op));
    for event in events {
        let mut asked = probes(&scene);
        happen(&mut scene, event);
        tell(&mut planner, event);
        let outcome = planner.poll();
        asked.extend(probes(&scene));
        // A pod that speaks to itself changes at both ends.
        asked.retain(|(packet, _, _)| !subjects(&scene).iter().any(|(_, ips)| ips.contains(&packet.peer)));
        let answer = |kernel: &Policing| -> Vec<bool> {
            asked.iter().map(|(packet, _, _)| judge(kernel, packet).passes()).collect()
        };
        let (before, after) = (answer(&kernel), answer(&planner.policing()));
        for op in &outcome.ops {
            kernel.apply(op);
            for (at, now) in answer(&kernel).into_iter().enumerate() {
                assert!(
                    now == before[at] || now == after[at],
                    "{:?} at {op}: {:#?}",
                    asked[at].0,
                    outcome.ops
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_half_applied(scene in scene(), events in vec(event(), 1..6)) {
        let about = |event: &Event| matches!(event, Event::Policy(..) | Event::Pod(..) | Event::Lead(_));
        let events: Vec<Event> = events.into_iter().filter(about).collect();
        step_by_step(scene, &events);
    }
}

/// Properties of scenes in which nothing is denied prove nothing.
#[test]
fn the_generator_is_not_barren() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut denied, mut asked) = (0, 0);
    for _ in 0..60 {
        let scene = scene().new_tree(&mut runner).unwrap().current();
        let mut planner = planner(&scene);
        planner.poll();
        denied += compare(&scene, &planner.policing());
        asked += probes(&scene).len();
    }
    assert!(denied * 10 > asked && denied * 10 < asked * 9, "{denied} of {asked} are denied");
}

/// Everything goes again: nothing is left.
#[test]
fn nothing_is_left() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..40 {
        let scene = scene().new_tree(&mut runner).unwrap().current();
        let mut planner = planner(&scene);
        planner.poll();
        for policy in &scene.policies {
            planner.handle_policy(&policy.name, None);
        }
        planner.poll();
        let policing = planner.policing();
        assert!(policing.verdicts.is_empty() && policing.rulesets.is_empty() && policing.subjects.is_empty());
        assert!(planner.interest().is_empty());
        scene.pods.iter().for_each(|pod| planner.handle_pod(&pod.name, None));
        scene.nodes.iter().for_each(|node| planner.handle_node(&node.name, None));
        scene.clusters.iter().for_each(|(name, _)| planner.handle_cluster(name, None));
        planner.poll();
        assert_eq!(planner.policing(), Policing::default());
    }
}
