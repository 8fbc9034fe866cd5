//! Peer objects: whatever is written in one, it is refused with a field, or it is a peer that a mesh can be planned with, whose
//! ranges are nobody else's.
#![no_main]

use cluster::index::{Endpoints, Index};
use cluster::manifest::Manifest;
use cluster::manifest::peer::Peer;
use engine::mesh::external::standings;
use libfuzzer_sys::fuzz_target;
use model::{Change, Cluster, ClusterId, ClusterName, Object, World, overlaps};

fn cluster() -> Cluster {
    Cluster {
        name: ClusterName::new("c").expect("a name"),
        id: ClusterId::new(1).expect("an id"),
        pod_cidrs: vec!["10.1.0.0/16".parse().expect("a range"), "fd00:1::/48".parse().expect("a range")],
        service_cidrs: vec!["10.101.0.0/16".parse().expect("a range")],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

// A Peer object a line.
fuzz_target!(|text: &str| {
    let mut index = Index::new(cluster(), Endpoints::FromSlices);
    let mut world = World::default();
    world.apply(Change::Upsert(Object::Cluster(cluster())));
    for line in text.lines() {
        let Ok(peer) = serde_json::from_str::<Peer>(line) else { continue };
        for change in index.apply(&Manifest::from(peer)) {
            world.apply(change);
        }
    }
    let (own, mut problems) = (cluster(), Vec::new());
    let standings = standings(&world, &own.name, 0, &mut problems);
    let ranges: Vec<_> = standings.iter().flat_map(|standing| &standing.ranges).collect();
    for (n, range) in ranges.iter().enumerate() {
        assert!(own.pod_cidrs.iter().chain(&own.service_cidrs).all(|net| !overlaps(net, range)));
        assert!(ranges[n + 1..].iter().all(|other| !overlaps(other, range)));
    }
});
