use super::*;
use crate::testing::node_name;

fn names(list: &str) -> BTreeSet<NodeName> {
    list.split_whitespace().map(|name| node_name(&format!("a/{name}"))).collect()
}

/// `g:x,y` for gateways and whom they carry; a node without a colon is reached by itself.
fn ways(list: &str) -> BTreeMap<NodeName, NodeName> {
    let mut via = BTreeMap::new();
    for part in list.split_whitespace() {
        let (hop, nodes) = part.split_once(':').unwrap_or((part, ""));
        let hop = node_name(&format!("a/{hop}"));
        via.insert(hop.clone(), hop.clone());
        for node in nodes.split(',').filter(|node| !node.is_empty()) {
            via.insert(node_name(&format!("a/{node}")), hop.clone());
        }
    }
    via
}

/// Goes through `(seconds, ways, who is dead, which gateways are out then)`.
fn story(steps: &[(f64, &str, &str, &str)]) {
    let mut gateways = Gateways::default();
    for (at, via, dead, expected) in steps {
        let now = Duration::from_secs_f64(*at);
        let was_out = gateways.out().clone();
        let changed = gateways.follow(&ways(via), &names(dead), now);
        let of_gateways: BTreeSet<NodeName> = &names("g h") & gateways.out();
        assert_eq!(of_gateways, names(expected), "at {at}");
        assert_eq!(changed, was_out != *gateways.out(), "at {at}");
        assert!(gateways.deadline().is_none_or(|at| at > now), "at {at}: no rest");
        let soonest = now + Duration::from_secs(3600);
        let again = gateways.follow(&ways(via), &names(dead), now);
        assert!(!again && gateways.deadline().is_none_or(|at| at < soonest), "at {at}: the same again");
    }
}

#[test]
fn one_that_is_silent_is_out_at_once_and_back_after_a_while() {
    story(&[
        (0.5, "g:x,y h:z", "", ""),
        (1.0, "g:x,y h:z", "g", "g"),
        (1.1, "g h:x,y,z", "g", "g"),
        (9.0, "g h:x,y,z", "", "g"),
        (10.0, "g h:x,y,z", "g", "g"),
        (20.0, "g h:x,y,z", "", "g"),
        (22.9, "g h:x,y,z", "", "g"),
        (23.0, "g h:x,y,z", "", ""),
    ]);
}

#[test]
fn one_that_takes_over_is_not_blamed_for_what_was_silent_before() {
    story(&[
        (0.5, "g:x h", "", ""),
        (1.0, "g:x h", "g", "g"),
        (1.01, "g h:x", "g", "g"),
        (1.1, "g h:x", "g x", "g"),
        (1.2, "g h:x", "g", "g"),
        (2.6, "g h:x", "g", "g"),
    ]);
}

#[test]
fn one_that_carries_nothing_is_out_although_it_answers() {
    story(&[
        (0.5, "g:x,y h:z", "", ""),
        (1.0, "g:x,y h:z", "x", ""),
        (1.1, "g:x,y h:z", "x y", "g"),
        (1.2, "g h:x,y,z", "x y", "g"),
        (1.5, "g h:x,y,z", "", "g"),
        (16.0, "g h:x,y,z", "", "g"),
        (16.1, "g h:x,y,z", "", ""),
        // It is tried again, and fails again: for twice as long.
        (16.2, "g:x,y h:z", "", ""),
        (17.0, "g:x,y h:z", "x y", ""),
        (17.7, "g:x,y h:z", "x y", "g"),
        (17.8, "g h:x,y,z", "x y", "g"),
        (18.0, "g h:x,y,z", "y", "g"),
        (47.6, "g h:x,y,z", "", "g"),
        (47.7, "g h:x,y,z", "", ""),
    ]);
}

#[test]
fn one_that_is_tried_again_has_a_moment() {
    story(&[
        (0.5, "g:x h", "", ""),
        (1.0, "g:x h", "x", "g"),
        (1.1, "g h:x", "x", "g"),
        (1.3, "g h:x", "", "g"),
        (16.0, "g h:x", "", ""),
        (16.1, "g:x h", "x", ""),
        (17.5, "g:x h", "x", ""),
        (17.6, "g:x h", "x", "g"),
    ]);
}

#[test]
fn who_has_done_well_for_long_enough_begins_anew() {
    story(&[
        (0.5, "g:x h", "", ""),
        (1.0, "g:x h", "x", "g"),
        (1.1, "g h:x", "", "g"),
        (16.0, "g h:x", "", ""),
        (16.1, "g:x h", "", ""),
        (32.0, "g:x h", "", ""),
        (40.0, "g:x h", "x", "g"),
        (40.1, "g h:x", "", "g"),
        (54.9, "g h:x", "", "g"),
        (55.0, "g h:x", "", ""),
    ]);
}

#[test]
fn it_was_not_the_gateway() {
    // The other side is dark, so all seem to carry nothing; then it is back. Everybody is where it was before.
    story(&[
        (0.5, "g:x,y h", "", ""),
        (1.0, "g:x,y h", "x y", "g"),
        (1.1, "g h:x,y", "x y", "g"),
        (2.1, "g h:x,y", "x y", "g"),
        (2.2, "g h:x,y", "x y", ""),
        (2.3, "g:x,y h", "x y", ""),
        (9.0, "g:x,y h", "x y", ""),
        (9.5, "g:x,y h", "y", ""),
        // Now it is.
        (20.0, "g:x,y h", "x y", "g"),
        (20.1, "g h:x,y", "x", "g"),
        (34.9, "g h:x,y", "x", "g"),
    ]);
    // What stays dark is looked for by other ways from time to time.
    story(&[
        (0.5, "g:x h", "", ""),
        (1.0, "g:x h", "x", "g"),
        (2.2, "g h:x", "x", ""),
        (2.3, "g:x h", "x", ""),
        (62.1, "g:x h", "x", ""),
        (62.2, "g:x h", "x", "g"),
    ]);
}
