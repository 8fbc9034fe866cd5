use model::ClusterName;
use model::mesh::Gateway;

use super::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Nodes of one location, by name: whether each is to be a gateway.
fn nodes(wanted: &[(&str, Gateway)]) -> BTreeMap<NodeName, Node> {
    let cluster = ClusterName::new("home").unwrap();
    let node = |(name, gateway): &(&str, Gateway)| {
        let name = NodeName::new(cluster.clone(), *name).unwrap();
        let mut node = crate::testing::meshed("home/n", name.node.as_bytes()[1], &[]);
        (node.name, node.location) = (name.clone(), "east".into());
        node.private_ips = vec!["10.0.0.1".parse().unwrap()];
        node.mesh.granularity = model::mesh::Granularity::Location;
        node.mesh.gateway = *gateway;
        (name, node)
    };
    wanted.iter().map(node).collect()
}

fn out(names: &[&str]) -> BTreeSet<NodeName> {
    let cluster = ClusterName::new("home").unwrap();
    names.iter().map(|name| NodeName::new(cluster.clone(), *name).unwrap()).collect()
}

#[test]
fn step_by_step() {
    use Gateway::{Neutral, Unwanted};
    let three = |first| nodes(&[("n1", first), ("n2", Neutral), ("n3", Neutral)]);
    let none = BTreeSet::new();
    let mut handover = Handover::default();
    assert_eq!(handover.follow(&three(Neutral), &none, at(0)), &Changing::default(), "what is there already");
    assert_eq!(handover.deadline(), None);
    // Cordoned at 10 s.
    for (millis, step) in [
        (10_000, Step::Prepare),
        (11_499, Step::Prepare),
        (11_500, Step::Gain),
        (12_500, Step::Move),
        (13_500, Step::Leave),
        (17_999, Step::Leave),
    ] {
        let changing = handover.follow(&three(Unwanted), &none, at(millis));
        assert_eq!((changing.was.len(), changing.step), (1, step), "{millis}");
        assert!(handover.deadline() > Some(at(millis)));
    }
    assert_eq!(handover.follow(&three(Unwanted), &none, at(18_000)), &Changing::default());
    assert_eq!(handover.deadline(), None);
}

#[test]
fn what_waits_and_what_does_not() {
    use Gateway::{Neutral, Unwanted, Wanted};
    let members = ["n5", "n6", "n7", "n8"].map(|name| (name, Neutral));
    let two = [&[("n1", Neutral), ("n2", Neutral)][..], &members].concat();
    let mut handover = Handover::default();
    let mut follow = |nodes: &[(&str, Gateway)], without: &[&str], now| {
        let changing = handover.follow(&self::nodes(nodes), &out(without), at(now));
        changing.was.keys().map(|name| name.node.to_string()).collect::<Vec<_>>()
    };
    assert!(follow(&two, &[], 0).is_empty());
    assert!(follow(&two, &["n1"], 1_000).is_empty(), "a failure waits for nothing");
    assert_eq!(follow(&two, &[], 2_000), ["n1"], "who is back does");
    assert!(follow(&two, &[], 12_000).is_empty());
    let with = |more: &[(&'static str, Gateway)]| [&two[..], more].concat();
    assert!(follow(&with(&[("n3", Neutral)]), &[], 20_000).is_empty(), "a node that carries nobody");
    assert!(follow(&with(&[("n3", Unwanted)]), &[], 30_000).is_empty(), "nor does it now");
    assert_eq!(follow(&with(&[("n3", Wanted)]), &[], 40_000), ["n3"]);
    assert!(follow(&with(&[("n3", Wanted)]), &[], 60_000).is_empty());
    // One that joins knows of nothing before.
    assert!(follow(&with(&[("n3", Wanted), ("n4", Wanted)]), &[], 70_000).is_empty());
}

#[test]
fn one_after_the_other() {
    use Gateway::{Neutral, Unwanted};
    let mut handover = Handover::default();
    let none = BTreeSet::new();
    let six = |unwanted: usize| {
        let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
        let wanted =
            |(n, name): (usize, &&'static str)| (*name, if n < unwanted { Unwanted } else { Neutral });
        nodes(&names.iter().enumerate().map(wanted).collect::<Vec<_>>())
    };
    let names =
        |standings: &Standings| standings.keys().map(|name| name.node.to_string()).collect::<Vec<_>>();
    handover.follow(&six(0), &none, at(0));
    assert_eq!(handover.follow(&six(1), &none, at(1_000)).step, Step::Prepare);
    // What changes together need not be heard of together.
    let changing = handover.follow(&six(2), &none, at(1_010)).clone();
    assert_eq!((names(&changing.was), changing.step), (vec!["n1".into(), "n2".into()], Step::Prepare));
    assert!(changing.held.is_empty());
    assert_eq!(handover.follow(&six(2), &none, at(2_505)).step, Step::Prepare);
    assert!(handover.follow(&six(2), &none, at(9_010)).was.is_empty());

    // But not for ever.
    for second in 20..25 {
        let changing = handover.follow(&six(second % 2), &none, at(second as u64 * 1_000));
        assert_eq!((changing.step, changing.held.len()), (Step::Prepare, 0));
    }
    assert!(!handover.follow(&six(1), &none, at(25_000)).held.is_empty());
    assert_eq!(handover.follow(&six(1), &none, at(25_500)).step, Step::Gain);

    handover = Handover::default();
    handover.follow(&six(0), &none, at(0));
    handover.follow(&six(1), &none, at(1_000));
    let changing = handover.follow(&six(2), &none, at(3_600));
    assert_eq!((changing.step, names(&changing.was)), (Step::Move, vec!["n1".into()]), "the second waits");
    assert_eq!(changing.held.values().map(|is| is.gateway).collect::<Vec<_>>(), [Neutral]);
    // It fails meanwhile: that is so at once.
    let changing = handover.follow(&six(2), &out(&["n2"]), at(3_700));
    assert!(changing.held.values().all(|is| is.is_out));
    assert_eq!(handover.follow(&six(2), &none, at(5_499)).held.len(), 1);
    let changing = handover.follow(&six(2), &none, at(5_500));
    assert_eq!((changing.step, names(&changing.was)), (Step::Prepare, vec!["n2".into()]));
    assert!(changing.held.is_empty());
    // There and back before it is over, and once more.
    let changing = handover.follow(&six(1), &none, at(7_200));
    assert_eq!((names(&changing.was), names(&changing.held)), (vec!["n2".into()], vec!["n2".into()]));
    assert!(handover.follow(&six(2), &none, at(7_500)).held.is_empty(), "nothing is to be done");
    assert!(handover.follow(&six(2), &none, at(13_500)).was.is_empty());
}
