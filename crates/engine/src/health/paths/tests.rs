//! Every state a way can be in, and what leads from it.

use super::*;
use crate::testing::node_name;

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, n], 51820))
}

fn via(n: u8, ms: u64) -> Via {
    Via { name: node_name(&format!("r/{n}")), at: at(n), time: Duration::from_millis(ms) }
}

/// A node behind a NAT, seen at 9, with two relays.
fn known() -> Known {
    Known {
        stands: Stands::Nowhere,
        candidate: Some(at(9)),
        hopeless: false,
        relays: vec![via(1, 10), via(2, 20)],
        alive: None,
    }
}

fn relayed(n: u8, alive: Option<bool>) -> Known {
    Known { stands: Stands::Relay(node_name(&format!("r/{n}"))), alive, ..known() }
}

fn direct(alive: Option<bool>) -> Known {
    Known { stands: Stands::Direct, alive, ..known() }
}

struct Told {
    paths: Paths,
    probes: bool,
}

impl Told {
    fn new(probes: bool) -> Self {
        Self { paths: Paths::default(), probes }
    }

    /// What is done at this time, in milliseconds.
    fn at(&mut self, ms: u64, known: Known) -> Vec<Step> {
        let known = BTreeMap::from([(peer(), known)]);
        self.paths.follow(&known, self.probes, Duration::from_millis(ms))
    }
}

fn peer() -> NodeName {
    node_name("p/1")
}

fn point(n: u8) -> Vec<Step> {
    vec![Step::Point(peer(), at(n))]
}

fn probe(n: u8) -> Vec<Step> {
    vec![Step::Probe(peer(), at(n))]
}

#[test]
fn a_relay_first_and_signs_of_life_past_it() {
    let mut told = Told::new(true);
    assert_eq!(told.at(0, known()), point(1));
    assert_eq!(told.at(100, known()), [], "it is told already");
    let mut sent = Vec::new();
    for ms in (100..60_000).step_by(50) {
        if told.at(ms, relayed(1, Some(true))) == probe(9) {
            sent.push(ms);
        }
    }
    assert_eq!(sent, [100, 350, 850, 1_850, 3_850, 7_850, 15_850, 31_850, 51_850]);
    assert_eq!(told.paths.deadline(), Some(Duration::from_millis(71_850)));
    assert_eq!(told.at(60_000, direct(Some(true))), [], "found");
    assert_eq!(told.paths.deadline(), None);
    let elsewhere = Known { candidate: Some(at(8)), ..relayed(1, Some(true)) };
    assert_eq!(told.at(61_000, elsewhere), probe(8), "another address is tried at once");
}

#[test]
fn where_no_direct_way_can_be_none_is_looked_for() {
    let mut told = Told::new(true);
    let hopeless = |known: Known| Known { hopeless: true, ..known };
    assert_eq!(told.at(0, hopeless(known())), point(1));
    assert_eq!(told.at(100, hopeless(relayed(1, Some(true)))), []);
    assert_eq!(told.paths.deadline(), None);
    let alone = Known { relays: vec![], ..hopeless(known()) };
    assert_eq!(Told::new(true).at(0, alone), []);
}

#[test]
fn a_direct_way_that_falls_silent_is_left() {
    let mut told = Told::new(true);
    let mut now = 0;
    for pause in [2_000, 4_000, 8_000] {
        told.at(now, direct(Some(true)));
        now += 1_000;
        assert_eq!(told.at(now, direct(Some(false))), point(1));
        assert_eq!(told.at(now + pause - 100, relayed(1, Some(true))), []);
        assert_eq!(told.at(now + pause, relayed(1, Some(true))), probe(9), "after {pause} ms");
        now += pause + 5_000;
    }
    told.at(now, direct(Some(true)));
    told.at(now + 60_000, direct(Some(true)));
    now += 61_000;
    assert_eq!(told.at(now, direct(Some(false))), point(1));
    assert_eq!(told.at(now + 2_000, relayed(1, Some(true))), probe(9), "it has lasted: as the first time");
}

#[test]
fn another_relay_takes_over() {
    let mut told = Told::new(true);
    told.at(0, Known { hopeless: true, ..known() });
    let without_first = |known: Known| Known { relays: vec![via(2, 20)], hopeless: true, ..known };
    assert_eq!(told.at(1_000, without_first(relayed(1, Some(true)))), point(2), "it does not answer");
    let both = Known { hopeless: true, ..relayed(2, Some(true)) };
    let better = vec![Step::Move(peer(), at(1))];
    assert_eq!(told.at(2_000, both.clone()), better, "the nearer one is back");
    assert_eq!(told.at(3_000, both.clone()), []);
    assert_eq!(told.at(12_000, both), better);
    let near =
        |ms: u64| Known { relays: vec![via(1, 18), via(2, ms)], hopeless: true, ..relayed(2, Some(true)) };
    assert_eq!(told.at(200_000, near(20)), [], "hardly nearer");
}

#[test]
fn a_relay_that_forgot_is_told_again() {
    let mut told = Told::new(true);
    let silent = || Known { hopeless: true, ..relayed(1, Some(false)) };
    assert_eq!(told.at(0, Known { hopeless: true, ..known() }), point(1));
    assert_eq!(told.at(1_000, silent()), [], "just told");
    assert_eq!(told.at(5_000, silent()), point(1));
    assert_eq!(told.at(6_000, silent()), []);
    assert_eq!(told.at(10_000, silent()), point(1));
    let alone = Known { relays: vec![], ..relayed(1, Some(false)) };
    assert_eq!(told.at(10_100, alone), [point(9), probe(9)].concat(), "nobody passes on: what is left");
    let carried = Known { relays: vec![], hopeless: true, ..relayed(1, Some(true)) };
    assert_eq!(told.at(10_200, carried), [], "it carries, whatever is told of it");
}

#[test]
fn without_signs_of_life_the_direct_way_is_tried_first() {
    let mut told = Told::new(false);
    assert_eq!(told.at(0, known()), point(9));
    assert_eq!(told.at(1_000, direct(None)), []);
    assert_eq!(told.at(1_900, direct(Some(false))), []);
    assert_eq!(told.at(2_000, direct(None)), point(1), "its time is up");
    assert_eq!(told.at(2_100, relayed(1, Some(true))), []);
    assert_eq!(told.paths.deadline(), None);
    let mut alone = Told::new(false);
    let none = |known: Known| Known { relays: vec![], ..known };
    assert_eq!(alone.at(0, none(known())), point(9));
    assert_eq!(alone.at(3_000, none(direct(Some(false)))), []);
    assert_eq!(alone.at(5_000, none(direct(Some(false)))), point(9), "there is nothing else");
}

#[test]
fn what_an_agent_before_found_stays() {
    let mut told = Told::new(true);
    assert_eq!(told.at(0, direct(None)), [], "nothing is known yet");
    assert_eq!(told.at(100, direct(Some(true))), []);
    let mut told = Told::new(true);
    assert_eq!(told.at(0, relayed(2, None)), [vec![Step::Move(peer(), at(1))], probe(9)].concat());
    assert_eq!(told.at(0, relayed(3, Some(true))), point(1), "nobody may pass on but those");
    let gone = BTreeMap::new();
    assert_eq!(told.paths.follow(&gone, true, Duration::ZERO), []);
    assert_eq!(told.paths.deadline(), None);
}
