//! What a linked cluster tells, in any order: nothing it may not say gets in, and what is held is what was accepted.
#![no_main]

use std::sync::Arc;

use engine::exchange::{Bounds, Held, Mirror, Position, Tell, Told};
use libfuzzer_sys::fuzz_target;
use model::{Change, Cluster, ClusterId, ClusterName, Kind, World};

fn cluster(name: &str, id: u64, net: &str) -> Cluster {
    Cluster {
        name: ClusterName::new(name).unwrap(),
        id: ClusterId::new(id).unwrap(),
        pod_cidrs: vec![net.parse().unwrap()],
        service_cidrs: Vec::new(),
        clusterset_cidrs: Vec::new(),
    }
}

/// A length and as many bytes, read as a change.
fn change(bytes: &mut &[u8]) -> Option<Result<Tell, Box<wire::Unreadable>>> {
    let (&length, rest) = bytes.split_first()?;
    let (body, rest) = rest.split_at(rest.len().min(length.into()));
    *bytes = rest;
    Some(wire::decode_change(body).map(|change| match change {
        Change::Upsert(object) => Tell::Upsert(Arc::new(object)),
        Change::Delete(key) => Tell::Delete(key),
    }))
}

fuzz_target!(|bytes: &[u8]| {
    let others = [cluster("gcp", 2, "10.2.0.0/16")];
    let mut mirror = Mirror::of_peer(cluster("aws", 1, "10.1.0.0/16"), Held::default());
    let mut world = World::default();
    let mut rest = bytes;
    while let Some((&what, after)) = rest.split_first() {
        rest = after;
        let epoch = u64::from(what >> 6);
        let told = match what & 7 {
            0 => Told::Begin { epoch, snapshot: true },
            1 => Told::Begin { epoch, snapshot: false },
            2 => Told::Synced { position: Position { epoch, revision: u64::from(what >> 3 & 7) } },
            3 => {
                mirror.handle_break();
                continue;
            }
            _ => match change(&mut rest) {
                None => break,
                Some(Ok(tell)) => Told::Batch { changes: vec![tell], revision: u64::from(what >> 3 & 7) },
                Some(Err(bad)) => {
                    for change in mirror.handle_malformed(bad.key, bad.error.to_string()).changes {
                        world.apply(change);
                    }
                    continue;
                }
            },
        };
        match mirror.handle(told, &others) {
            Ok(heard) => heard.changes.into_iter().for_each(|change| {
                world.apply(change);
            }),
            Err(_) => mirror.handle_break(),
        }
    }
    let held: usize = Kind::ALL.iter().map(|kind| mirror.count(*kind)).sum();
    assert_eq!(held, world.len());
    for cluster in world.clusters.values() {
        assert!(Bounds::check_link(cluster, &others).is_ok(), "{cluster:?}");
    }
    assert!(world.objects().all(|object| object.key().cluster().as_str() == "aws"));
});
