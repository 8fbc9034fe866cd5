//! What a linked cluster tells, in any order: nothing it may not say gets in, and what is held is what was accepted.
#![no_main]

use engine::exchange::{Bounds, Budget, Held, Interest, Mirror, Position, Tell, Told, Topics, digest};
use libfuzzer_sys::fuzz_target;
use model::{Cluster, ClusterId, ClusterName, Key, Kind, ObjectName, World};

fn cluster(name: &str, id: u64, net: &str) -> Cluster {
    Cluster {
        name: ClusterName::new(name).unwrap(),
        id: ClusterId::new(id).unwrap(),
        pod_cidrs: vec![net.parse().unwrap()],
        service_cidrs: Vec::new(),
        clusterset_cidrs: Vec::new(),
        peer_cidrs: Vec::new(),
    }
}

/// A length and as many bytes, read as a change.
fn change(bytes: &mut &[u8]) -> Option<Result<Tell, Box<wire::Unreadable>>> {
    let (&length, rest) = bytes.split_first()?;
    let (body, rest) = rest.split_at(rest.len().min(length.into()));
    *bytes = rest;
    Some(wire::decode_change(body).map(Tell::from))
}

fuzz_target!(|bytes: &[u8]| {
    let others = [cluster("gcp", 2, "10.2.0.0/16")];
    let budget = Budget { objects: 8, ..Budget::default() };
    let mut mirror = Mirror::of_peer(cluster("aws", 1, "10.1.0.0/16"), Held::default()).with_budget(budget);
    let mut world = World::default();
    // The first byte says what is wanted, and whether the other side knows of it.
    let first = bytes.first().copied().unwrap_or_default();
    let interest = |bits: u8| {
        let names = ["a", "b", "c"].into_iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        let services = names.map(|(_, name)| ObjectName::new("d", name).unwrap()).collect();
        // What is not asked for with the first byte alone: pods and policies.
        let pods = (bits & 16 != 0).then(|| ClusterName::new("aws").unwrap()).into_iter().collect();
        Interest::only(Topics { services, pods, policies: bits & 32 != 0 })
    };
    for change in mirror.open(interest(first), first & 8 == 0).dropped {
        world.apply(change);
    }
    let bytes = bytes.get(1..).unwrap_or_default();
    let mut rest = bytes;
    while let Some((&what, after)) = rest.split_first() {
        rest = after;
        let epoch = u64::from(what >> 6);
        let told = match what & 7 {
            // What is not told as a change: an acknowledgement, something as it was, another wish.
            4 if what & 8 == 0 => Told::Taken { wants: u32::from(what >> 4) },
            4 if what & 16 == 0 => {
                let key = Key::Cluster(ClusterName::new("aws").unwrap());
                Told::Batch { changes: vec![Tell::Keep(digest(epoch, &key))], revision: 7 }
            }
            4 if what & 32 == 0 => {
                for change in mirror.want(interest(what >> 2)).1 {
                    world.apply(change);
                }
                continue;
            }
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
            Err(_) => {
                mirror.handle_break();
                for change in mirror.open(interest(first), first & 8 == 0).dropped {
                    world.apply(change);
                }
            }
        }
    }
    let held: usize = Kind::ALL.iter().map(|kind| mirror.count(*kind)).sum();
    assert_eq!(held, world.len());
    assert!(held <= 16, "twice the budget, while a snapshot is told");
    for cluster in world.clusters.values() {
        assert!(Bounds::check_link(cluster, &others).is_ok(), "{cluster:?}");
    }
    assert!(world.objects().all(|object| object.key().cluster().as_str() == "aws"));
    assert!(world.policies.values().all(|policy| policy.distribute));
    assert!(world.namespaces.values().all(|namespace| namespace.shared));
    assert!(world.nodes.values().all(|node| node.labels.is_empty()));
});
