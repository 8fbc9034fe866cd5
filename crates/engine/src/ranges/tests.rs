//! Nothing is handed out twice, whatever came before.

use model::overlaps;
use proptest::prelude::*;

use super::*;

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

fn text(nets: &[IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_of_each_family() {
    let mut ranges = Ranges::new(&nets("10.1.0.0/16 fd00:1::/48"), 24, 64);
    assert_eq!(text(&ranges.give("a").unwrap()), "10.1.0.0/24 fd00:1::/64");
    assert_eq!(text(&ranges.give("b").unwrap()), "10.1.1.0/24 fd00:1:0:1::/64");
    ranges.claim("a", &[]);
    assert_eq!(text(&ranges.give("c").unwrap()), "10.1.2.0/24 fd00:1:0:2::/64", "what was given back rests");
    assert!(ranges.overlaps("b").is_empty());
}

#[test]
fn what_others_hold_is_walked_around() {
    for (pools, taken, given) in [
        ("10.1.0.0/16", "10.1.0.0/24", "10.1.1.0/24"),
        ("10.1.0.0/16", "10.1.0.128/25", "10.1.1.0/24"),
        ("10.1.0.0/16", "10.1.0.0/17", "10.1.128.0/24"),
        ("10.1.0.0/16", "10.0.0.0/15", "nothing"),
        ("10.1.0.0/16", "0.0.0.0/0", "nothing"),
        ("10.1.0.0/24", "10.1.0.7/32", "nothing"),
        ("10.1.0.0/24 10.2.0.0/16", "10.1.0.0/24", "10.2.0.0/24"),
        ("10.1.0.0/25", "", ""),
        ("fd00::/32", "fd00::/33", "fd00:0:8000::/64"),
        ("::/0", "::/1", "8000::/64"),
    ] {
        let mut ranges = Ranges::new(&nets(pools), 24, 64);
        ranges.claim("other", &nets(taken));
        let got = ranges.give("n").map_or_else(|_| "nothing".into(), |nets| text(&nets));
        assert_eq!(got, given, "{pools} without {taken}");
    }
}

#[test]
fn overlaps_are_said_to_both() {
    let mut ranges = Ranges::new(&nets("10.1.0.0/16"), 24, 64);
    assert_eq!(ranges.claim("a", &nets("10.1.4.0/22")), ["a".to_string()].into());
    assert_eq!(ranges.claim("b", &nets("10.1.5.0/24")), ["a".to_string(), "b".to_string()].into());
    assert!(ranges.claim("b", &nets("10.1.5.0/24")).is_empty(), "no news");
    assert_eq!(ranges.overlaps("a"), [Overlap { range: nets("10.1.4.0/22")[0], other: "b".into() }]);
    assert_eq!(ranges.overlaps("b"), [Overlap { range: nets("10.1.5.0/24")[0], other: "a".into() }]);
    assert_eq!(ranges.claim("b", &[]), ["a".to_string(), "b".to_string()].into());
    assert!(ranges.overlaps("a").is_empty());

    let mut full = Ranges::new(&nets("10.1.0.0/24"), 24, 64);
    full.give("a").unwrap();
    assert_eq!(full.give("b").unwrap_err().to_string(), "no /24 is left in 10.1.0.0/24");
}

#[derive(Debug, Clone)]
enum Step {
    Give(u8),
    Claim(u8, IpNet),
    Release(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let net = (any::<u8>(), 20u8..=32).prop_map(|(third, length)| {
        IpNet::new(Ipv4Addr::new(10, 1, third % 32, third).into(), length).unwrap().trunc()
    });
    prop_oneof![
        4 => (0u8..24).prop_map(Step::Give),
        2 => (0u8..24, net).prop_map(|(owner, net)| Step::Claim(owner, net)),
        2 => (0u8..24).prop_map(Step::Release),
    ]
}

proptest! {
    /// Against a plain list: what is given lies in a pool, meets nobody's, and is refused only when nothing is free.
    #[test]
    fn never_twice(steps in proptest::collection::vec(any_step(), 1..80)) {
        let pools = nets("10.1.0.0/21 10.1.16.0/22 fd00::/61");
        let mut ranges = Ranges::new(&pools, 24, 64);
        let mut plain: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Claim(owner, net) => {
                    ranges.claim(&owner.to_string(), &[net]);
                    plain.insert(owner.to_string(), vec![net]);
                }
                Step::Release(owner) => {
                    ranges.claim(&owner.to_string(), &[]);
                    plain.remove(&owner.to_string());
                }
                Step::Give(owner) => {
                    let owner = owner.to_string();
                    let others: Vec<IpNet> =
                        plain.iter().filter(|(o, _)| **o != owner).flat_map(|(_, nets)| nets.clone()).collect();
                    let parts = pools.iter().flat_map(|pool| {
                        pool.subnets(if pool.addr().is_ipv4() { 24 } else { 64 }).unwrap()
                    });
                    let free: Vec<IpNet> = parts.filter(|part| !others.iter().any(|other| overlaps(part, other))).collect();
                    let possible = [true, false].map(|v4| free.iter().any(|net| net.addr().is_ipv4() == v4));
                    match ranges.give(&owner) {
                        Ok(given) => {
                            prop_assert_eq!(given.len(), 2);
                            for net in &given {
                                prop_assert!(free.contains(net), "{} is not free", net);
                            }
                            plain.insert(owner, given);
                        }
                        Err(_) => prop_assert!(possible.contains(&false)),
                    }
                }
            }
            for (owner, held) in &plain {
                prop_assert_eq!(ranges.held(owner), &held[..]);
                let expected: BTreeSet<Overlap> = held
                    .iter()
                    .flat_map(|range| plain
                            .iter()
                            .filter(|(other, nets)| *other != owner && nets.iter().any(|net| overlaps(net, range)))
                            .map(|(other, _)| Overlap { range: *range, other: other.clone() }))
                    .collect();
                prop_assert_eq!(ranges.overlaps(owner), expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
