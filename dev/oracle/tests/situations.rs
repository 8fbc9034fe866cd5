//! The engine and the oracle answer in known situations as they have to.

use engine::policy::judge::{Packet, judge};
use engine::policy::{Direction, Planner, Settings};
use model::policy::{Namespace, Pod};
use oracle::situations::{
    Change, Situation, cluster_network_policy, home, namespaces, network_policy, node, pods,
};
use oracle::{Question, Scene, Way};

fn written(pod: &Pod) -> String {
    format!("{}/{}", pod.name.namespace.name, pod.name.name)
}

fn take(scene: &mut Scene, planner: &mut Planner, change: &Change) {
    match change {
        Change::Apply(policy) => {
            scene.policies.retain(|its| its.name != policy.name);
            scene.policies.push(policy.clone());
            planner.handle_policy(&policy.name, Some(policy));
        }
        Change::Delete(name) => {
            scene.policies.retain(|its| its.name != *name);
            planner.handle_policy(name, None);
        }
        Change::LabelNamespace(name, key, value) => {
            let its: &mut Namespace = scene.namespaces.iter_mut().find(|its| its.name.name == *name).unwrap();
            its.labels.insert(key.to_string(), value.to_string());
            planner.handle_namespace(&its.name, Some(&its.labels));
        }
        Change::LabelPod(name, key, value) => {
            let its = scene.pods.iter_mut().find(|its| written(its) == *name).unwrap();
            its.labels.insert(key.to_string(), value.to_string());
            planner.handle_pod(&its.name.clone(), Some(its));
        }
    }
}

fn check(situation: &Situation) {
    let range = "10.1.0.0/16".parse().unwrap();
    let mut scene = Scene {
        me: node(),
        selectors_clusterset: false,
        accepts_distributed: false,
        clusters: vec![(home(), vec![range])],
        told: vec![home()],
        nodes: Vec::new(),
        namespaces: namespaces(),
        pods: pods(),
        attached: Vec::new(),
        policies: Vec::new(),
        names: Vec::new(),
    };
    let mut planner = Planner::new(Settings::of_node(node()));
    planner.handle_cluster(&home(), Some(&[range]));
    planner.handle_subscribed([home()].into());
    scene.namespaces.iter().for_each(|its| planner.handle_namespace(&its.name, Some(&its.labels)));
    scene.pods.iter().for_each(|its| planner.handle_pod(&its.name, Some(its)));
    for (at, step) in situation.steps.iter().enumerate() {
        step.changes.iter().for_each(|change| take(&mut scene, &mut planner, change));
        planner.poll();
        let policing = planner.policing();
        for probe in &step.probes {
            for (from, to) in scene.pods.iter().flat_map(|from| scene.pods.iter().map(move |to| (from, to))) {
                if from.name == to.name {
                    continue;
                }
                let (protocol, port) = (probe.protocol.number(), probe.port);
                let oracle =
                    [(Way::Out, from, to), (Way::In, to, from)].into_iter().all(|(way, pod, other)| {
                        oracle::allows(&scene, &Question { pod, way, other: other.ips[0], protocol, port })
                    });
                let engine = [(Direction::Egress, from, to), (Direction::Ingress, to, from)].into_iter().all(
                    |(direction, pod, peer)| {
                        let (pod, peer) = (pod.ips[0], peer.ips[0]);
                        judge(&policing, &Packet { pod, direction, peer, protocol, port }).passes()
                    },
                );
                let expected = probe.reaches(&written(from), &written(to));
                let place = format!(
                    "{:?}, step {at}: {} to {} on {} {port}",
                    situation.name,
                    written(from),
                    written(to),
                    probe.protocol
                );
                assert_eq!(oracle, expected, "the oracle: {place}");
                assert_eq!(engine, expected, "the engine: {place}");
            }
        }
    }
}

#[test]
fn network_policies() {
    let all = network_policy();
    assert_eq!(all.len(), 48);
    let names: std::collections::BTreeSet<_> = all.iter().map(|its| its.name).collect();
    assert_eq!(names.len(), 48, "each shows something of its own");
    all.iter().for_each(check);
}

#[test]
fn cluster_network_policies() {
    cluster_network_policy().iter().for_each(check);
}
