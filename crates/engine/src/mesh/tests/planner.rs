use std::net::IpAddr;

use model::mesh::{Gateway, Granularity};
use model::{Object, PublicKey};
use proptest::prelude::*;

use super::*;
use crate::mesh::Share;
use crate::testing::{cluster, mesh_settings, meshed, node_name, world};

fn settings() -> Settings {
    Settings { masquerade: Some(Vec::new()), ..mesh_settings() }
}

const GRANULARITIES: [Granularity; 3] = [Granularity::Full, Granularity::Location, Granularity::Cross];
const GATEWAYS: [Gateway; 3] = [Gateway::Neutral, Gateway::Wanted, Gateway::Unwanted];

prop_compose! {
    /// A node of one of three locations. Rarely its key or slice is another one's.
    fn node()(
        n in 1..10u8,
        location in 0..4usize,
        granularity in prop_oneof![1 => Just(0), 6 => Just(1), 3 => Just(2)],
        gateway in 0..6usize,
        (key, next_key) in (prop_oneof![8 => Just(0), 1 => Just(1), 1 => 2..40u8], prop_oneof![6 => Just(0), 1 => 1..40u8]),
        slice in prop_oneof![12 => Just(0), 1 => Just(1), 1 => 2..40u8],
        (public, private, location_ips) in (any::<bool>(), 0..5u8, prop_oneof![20 => Just(false), 1 => Just(true)]),
    ) -> Node {
        let third = if slice > 1 { slice } else { n };
        let slices = [format!("10.1.{third}.0/24"), format!("fd00:1:0:{third}::/64")];
        let slices: Vec<&str> = slices.iter().map(String::as_str).filter(|_| slice != 1).collect();
        let mut node = meshed(&format!("a/{n:02}"), n, &slices);
        node.location = ["", "east", "west", "south"][location].into();
        node.private_ips = if private > 0 { vec![IpAddr::from([172, 16, 1, n])] } else { vec![] };
        if !public {
            node.public_ips.clear();
        }
        node.public_key = match key {
            0 => node.public_key,
            1 => None,
            key => Some(PublicKey([key; 32])),
        };
        node.mesh.rekeying.next_key = (next_key > 0).then_some(PublicKey([100 + next_key; 32]));
        node.mesh.granularity = GRANULARITIES[granularity];
        node.mesh.gateway = GATEWAYS[gateway.saturating_sub(3)];
        if location_ips {
            node.mesh.allowed_location_ips = vec!["192.0.2.0/24".parse().unwrap()];
        }
        node
    }
}

/// A node that is there, or is gone.
fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => node().prop_map(|node| Change::Upsert(Object::Node(node))),
        1 => (1..10u8).prop_map(|n| Change::Delete(Key::Node(node_name(&format!("a/{n:02}"))))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens, in steps of one or several changes: it is as if everything were planned.
    #[test]
    fn the_same_as_planning_everything(
        nodes in prop::collection::vec(node(), 3..9),
        steps in prop::collection::vec((prop::collection::vec(change(), 1..3), prop::option::weighted(0.1, 1..10u8)), 1..8),
    ) {
        let clusters = vec![cluster("a", 1, &["10.1.0.0/16", "fd00:1::/48"])];
        let mut world = world(clusters, nodes, vec![], vec![]);
        let me = node_name("a/01");
        let mut seen = Seen::default();
        let mut planner = Planner::default();
        planner.plan(&world, &me, &settings(), &seen);
        for (changes, out) in steps {
            for change in changes {
                planner.handle_change(&world, &change);
                world.apply(change);
            }
            if let Some(n) = out {
                let name = node_name(&format!("a/{n:02}"));
                seen.relieved = seen.out.iter().map(|name| (name.clone(), Share::Half)).collect();
                seen.out = [name].into();
            }
            let expected = plan(&world, &me, &settings(), &seen);
            prop_assert_eq!(planner.plan(&world, &me, &settings(), &seen), &expected);
        }
    }
}
