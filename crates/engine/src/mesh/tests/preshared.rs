//! Pre-shared keys of pairs of nodes.

use model::PresharedKey;

use super::*;
use crate::preshared::{Generation, Preshared};

fn generation(number: u8) -> Generation {
    Generation::new(number.into(), PresharedKey([number; 32]))
}

fn holding(numbers: &[u8], required: bool) -> Preshared {
    Preshared::new(numbers.iter().map(|number| generation(*number)).collect(), required)
}

/// The plan of `a/1`, which holds these generations, where the others hold those.
fn plan_where(ours: Preshared, theirs: &[(&str, &[u8])]) -> Mesh {
    let mut world = two_clusters();
    for (name, numbers) in theirs {
        world.nodes.get_mut(&node_name(name)).unwrap().mesh.generations = holding(numbers, false).ids();
    }
    plan(&world, &node_name("a/1"), &Settings { preshared: ours, ..mesh_settings() }, &Seen::default())
}

/// The pre-shared keys of the tunnels, by the first byte of the peer's key; and how many others are tried.
fn keys(mesh: &Mesh) -> Vec<(u8, Option<PresharedKey>, usize)> {
    let peers = mesh.tunnel.peers.iter();
    peers.map(|(key, peer)| (key.0[0], peer.preshared_key.clone(), peer.other_preshared_keys.len())).collect()
}

#[test]
fn each_pair_has_the_key_of_the_newest_that_both_hold() {
    let theirs: [(&str, &[u8]); 3] = [("a/2", &[1, 2]), ("b/1", &[1]), ("b/2", &[])];
    let key = |number: u8, name: &str| Some(generation(number).key_of(&node_name("a/1"), &node_name(name)));
    let mesh = plan_where(holding(&[1, 2], false).with_device(true), &theirs);
    assert_eq!(keys(&mesh), [(12, key(2, "a/2"), 2), (21, key(1, "b/1"), 2), (22, None, 2)]);
    let nodes = vec![node_name("b/2")];
    let unshared = |required: bool| [Problem::Unshared { nodes: nodes.clone(), required }];
    assert_eq!(mesh.problems, unshared(false));
    assert!(mesh.problems[0].to_string().contains("(b/2)") && !mesh.problems[0].to_string().contains("[2"));
    // The other end works out the same key.
    let mut world = two_clusters();
    for name in ["a/1", "a/2"] {
        world.nodes.get_mut(&node_name(name)).unwrap().mesh.generations = holding(&[1, 2], false).ids();
    }
    let preshared = holding(&[1, 2], true);
    let theirs_of =
        plan(&world, &node_name("a/2"), &Settings { preshared, ..mesh_settings() }, &Seen::default());
    assert_eq!(keys(&theirs_of), [(11, key(2, "a/2"), 0)]);

    // Required: who shares none has no tunnel, and no route; what is for it goes nowhere.
    let mesh = plan_where(holding(&[1, 2], true), &theirs);
    assert_eq!(keys(&mesh), [(12, key(2, "a/2"), 0), (21, key(1, "b/1"), 0)]);
    assert_eq!(mesh.problems, unshared(true));
    assert!(!mesh.routes.contains_key(&(net("10.2.2.0/24"), TUNNEL_METRIC)));
    assert!(mesh.routes.contains_key(&(net("10.2.0.0/16"), LAST_RESORT_METRIC)));
    assert!(!mesh.via.contains_key(&node_name("b/2")));
    assert!(plan_where(holding(&[], true), &theirs).tunnel.peers.is_empty(), "nothing was read yet");
    assert_eq!(plan_where(Preshared::default(), &theirs).problems, [], "nobody wants any here");
}

#[test]
fn many_nodes_without_one_are_one_problem() {
    let nodes: Vec<NodeName> = (0..7).map(|n| node_name(&format!("a/{n}"))).collect();
    let said = Problem::Unshared { nodes, required: false }.to_string();
    assert!(said.starts_with("nodes (a/0, a/1, a/2, a/3, a/4 and 2 more) hold no generation"), "{said}");
}
