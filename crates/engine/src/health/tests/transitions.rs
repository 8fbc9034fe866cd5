//! Every state with every input.

use std::net::IpAddr;
use std::time::Duration;

use crate::health::{Event, Prober};
use crate::testing::node_name;

const PEER: &str = "b/1";

/// A prober with one peer, and a clock.
struct Pair {
    prober: Prober,
    now: Duration,
    last_seq: Option<u16>,
    events: Vec<&'static str>,
}

impl Pair {
    /// A peer that has just been added.
    fn unknown() -> Self {
        let mut pair = Self {
            prober: Prober::new(&node_name("a/1"), 7),
            now: Duration::from_secs(100),
            last_seq: None,
            events: Vec::new(),
        };
        pair.set_peers(&[(PEER, 1)]);
        pair
    }

    fn alive() -> Self {
        let mut pair = Self::unknown();
        pair.prober.handle_heard(&node_name(PEER), pair.now);
        pair.run(Duration::from_millis(200));
        pair.reply();
        pair
    }

    fn dead() -> Self {
        let mut pair = Self::alive();
        pair.run(Duration::from_millis(700));
        assert_eq!(std::mem::take(&mut pair.events), ["died"]);
        pair
    }

    fn set_peers(&mut self, peers: &[(&str, u8)]) {
        let peers = peers.iter().map(|(name, n)| (node_name(name), IpAddr::from([10, 0, 0, *n])));
        self.prober.set_peers(peers.collect(), self.now);
    }

    /// Lets time pass, with every call made when it is due.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.prober.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    /// Lets time pass without a call, then calls.
    fn pause(&mut self, time: Duration) {
        self.now += time;
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(probe) = self.prober.poll_probe(self.now) {
            self.last_seq = Some(probe.seq);
        }
        while let Some(event) = self.prober.poll_event() {
            self.events.push(match event {
                Event::Died(_) => "died",
                Event::Revived(_) => "revived",
            });
        }
    }

    fn reply(&mut self) {
        let seq = self.last_seq.expect("a probe was sent");
        self.prober.handle_reply(&node_name(PEER), seq, self.now);
        self.poll();
    }

    fn state(&self) -> &'static str {
        let nobody = self.prober.deadline().is_none();
        match (self.prober.dead().is_empty(), nobody || self.prober.is_alive(&node_name(PEER))) {
            (false, _) => "dead",
            (true, true) => "alive",
            (true, false) => "unknown",
        }
    }
}

/// Name, what happens, then for each state the next one and what is said.
type Row = (&'static str, fn(&mut Pair), [(&'static str, &'static [&'static str]); 3]);

const UNKNOWN: (&str, &[&str]) = ("unknown", &[]);
const ALIVE: (&str, &[&str]) = ("alive", &[]);
const DEAD: (&str, &[&str]) = ("dead", &[]);
const DIED: (&str, &[&str]) = ("dead", &["died"]);
const REVIVED: (&str, &[&str]) = ("alive", &["revived"]);

#[test]
fn the_whole_table() {
    let ms = Duration::from_millis;
    let table: &[Row] = &[
        //                                                                   from unknown, alive, dead
        ("its own question", |p| p.prober.handle_heard(&node_name(PEER), p.now), [ALIVE, ALIVE, REVIVED]),
        (
            "an answer",
            |p| {
                p.run(Duration::from_millis(150));
                p.reply();
            },
            [ALIVE, ALIVE, REVIVED],
        ),
        (
            "an answer to nothing we asked",
            |p| p.prober.handle_reply(&node_name(PEER), 60_000, p.now),
            [ALIVE, ALIVE, REVIVED],
        ),
        (
            "a stranger's question",
            |p| p.prober.handle_heard(&node_name("c/1"), p.now),
            [UNKNOWN, ALIVE, DEAD],
        ),
        (
            "a stranger's answer",
            |p| p.prober.handle_reply(&node_name("c/1"), 0, p.now),
            [UNKNOWN, ALIVE, DEAD],
        ),
        ("nothing at all", |_| (), [UNKNOWN, ALIVE, DEAD]),
        ("a short silence", |p| p.run(Duration::from_millis(350)), [UNKNOWN, ALIVE, DEAD]),
        ("a silence", |p| p.run(Duration::from_millis(700)), [UNKNOWN, DIED, DEAD]),
        ("a silence longer than a handshake", |p| p.run(Duration::from_secs(3)), [DIED, DIED, DEAD]),
        ("a pause of ours", |p| p.pause(Duration::from_secs(60)), [UNKNOWN, ALIVE, DEAD]),
        (
            "many short pauses of ours",
            |p| (0..4).for_each(|_| p.pause(Duration::from_millis(240))),
            [UNKNOWN, ALIVE, DEAD],
        ),
        ("the same peers again", |p| p.set_peers(&[(PEER, 1)]), [UNKNOWN, ALIVE, DEAD]),
        ("another address", |p| p.set_peers(&[(PEER, 2)]), [UNKNOWN, ALIVE, DEAD]),
        ("gone", |p| p.set_peers(&[]), [ALIVE, ALIVE, ALIVE]), // nobody is unknown or dead
        (
            "gone and back",
            |p| {
                p.set_peers(&[]);
                p.set_peers(&[(PEER, 1)]);
            },
            [UNKNOWN, UNKNOWN, UNKNOWN],
        ),
    ];
    for (what, input, nexts) in table {
        for (mut pair, (state, said)) in [Pair::unknown(), Pair::alive(), Pair::dead()].into_iter().zip(nexts)
        {
            let from = pair.state();
            input(&mut pair);
            pair.poll();
            assert_eq!((pair.state(), &pair.events[..]), (*state, *said), "{from}: {what}");
        }
    }
    // The limits themselves.
    let mut pair = Pair::alive();
    pair.run(ms(499));
    assert_eq!(pair.state(), "alive");
    pair.run(ms(2));
    assert_eq!(pair.state(), "dead");
}

#[test]
fn who_was_dead_before_is_dead_until_heard() {
    let mut pair = Pair::unknown();
    pair.prober.presume_dead([node_name("c/1"), node_name("d/1")].into());
    pair.set_peers(&[(PEER, 1), ("c/1", 2)]);
    assert_eq!(pair.prober.dead(), [node_name("c/1")].into(), "d/1 is no peer");
    pair.prober.handle_heard(&node_name("c/1"), pair.now);
    pair.poll();
    assert_eq!(pair.events, ["revived"]);
    // Presumed once: one that goes and comes is new.
    pair.set_peers(&[]);
    pair.set_peers(&[("c/1", 2)]);
    assert_eq!(pair.state(), "unknown");
}

#[test]
fn a_prober_that_is_always_late_still_sees_death() {
    let mut pair = Pair::alive();
    (0..20).for_each(|_| pair.pause(Duration::from_millis(240)));
    assert_eq!(pair.events, ["died"]);
}

#[test]
fn answers_that_waited_out_a_pause_count() {
    for pause in [200, 300, 450, 600, 5_000] {
        let mut pair = Pair::alive();
        pair.run(Duration::from_millis(150)); // asked, and then we stop
        pair.pause(Duration::from_millis(pause));
        assert_eq!(pair.events, [""; 0], "{pause}");
        pair.reply();
        assert_eq!(pair.state(), "alive", "{pause}");
    }
}

#[test]
fn a_peer_that_is_heard_is_asked_only_for_its_time() {
    let mut pair = Pair::alive();
    let mut asked = 0;
    // Some of the first questions had no answer: for ten seconds it is asked more.
    for round in 0..2_400 {
        pair.now += Duration::from_millis(10);
        pair.prober.handle_heard(&node_name(PEER), pair.now);
        while let Some(probe) = pair.prober.poll_probe(pair.now) {
            asked += u32::from(round >= 1_400);
            pair.prober.handle_reply(&probe.peer, probe.seq, pair.now + Duration::from_millis(1));
        }
    }
    assert!((4..=6).contains(&asked), "ten seconds: one every two, not {asked}");
}

#[test]
fn silence_is_asked_at_once_and_again_and_again() {
    let mut pair = Pair::alive();
    let start = pair.now;
    let mut asked = Vec::new();
    while let Some(due) = pair.prober.deadline().filter(|due| *due < start + Duration::from_millis(450)) {
        pair.now = due;
        while pair.prober.poll_probe(due).is_some() {
            asked.push((due - start).as_millis());
        }
    }
    assert!(asked[0] <= 138, "{asked:?}");
    assert!(asked.len() >= 8, "{asked:?}");
}

#[test]
fn a_peer_long_dead_is_asked_once_a_second() {
    let mut pair = Pair::dead();
    pair.run(Duration::from_secs(15));
    let first = pair.last_seq.unwrap();
    pair.run(Duration::from_secs(10));
    let asked = pair.last_seq.unwrap() - first;
    assert!((8..=12).contains(&asked), "{asked}");
}

#[test]
fn times() {
    let mut pair = Pair::unknown();
    assert_eq!(pair.prober.rtt(&node_name(PEER)), None);
    for _ in 0..50 {
        while pair.prober.deadline().unwrap() > pair.now {
            pair.now = pair.prober.deadline().unwrap();
        }
        let probe = pair.prober.poll_probe(pair.now).expect("due");
        pair.now += Duration::from_millis(30);
        pair.prober.handle_reply(&probe.peer, probe.seq, pair.now);
        // The same answer again is no new measurement.
        pair.prober.handle_reply(&probe.peer, probe.seq, pair.now + Duration::from_millis(1));
        pair.now += Duration::from_millis(1);
    }
    assert_eq!(pair.prober.rtt(&node_name(PEER)), Some(Duration::from_millis(30)));
    let times: Vec<_> = pair.prober.cluster_rtts().into_iter().map(|(c, t)| (c.to_string(), t)).collect();
    assert_eq!(times, [("b".to_string(), Some(Duration::from_millis(30)))]);

    pair.set_peers(&[("a/2", 2), ("c/1", 3), (PEER, 1)]);
    let times: Vec<_> = pair.prober.cluster_rtts().into_iter().map(|(c, t)| (c.to_string(), t)).collect();
    assert_eq!(times, [("b".to_string(), Some(Duration::from_millis(30))), ("c".to_string(), None)]);
}

#[test]
fn a_question_that_waits_for_the_handshake_measures_nothing() {
    let mut pair = Pair::unknown();
    pair.run(Duration::from_millis(130));
    pair.now += Duration::from_millis(150);
    let waited = pair.last_seq.expect("asked at once");
    pair.reply();
    assert_eq!((pair.state(), pair.prober.rtt(&node_name(PEER))), ("alive", None));
    assert!(!pair.prober.all_probed(), "alive, but how far?");
    assert_ne!(pair.last_seq, Some(waited), "asked again at once");
    pair.now += Duration::from_millis(16);
    pair.reply();
    assert_eq!(pair.prober.rtt(&node_name(PEER)), Some(Duration::from_millis(16)));
    assert!(pair.prober.all_probed());
}

#[test]
fn a_peer_that_asks_but_never_answers_is_not_waited_for_long() {
    let mut pair = Pair::unknown();
    let start = pair.now;
    while !pair.prober.all_probed() {
        pair.prober.handle_heard(&node_name(PEER), pair.now);
        pair.run(Duration::from_millis(125));
    }
    let took = pair.now - start;
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!((pair.state(), pair.prober.rtt(&node_name(PEER))), ("alive", None));
}

#[test]
fn the_same_seed_asks_at_the_same_times() {
    let times = |seed| {
        let mut prober = Prober::new(&node_name("a/1"), seed);
        prober.set_peers(vec![(node_name("b/1"), IpAddr::from([10, 0, 0, 1]))], Duration::ZERO);
        let mut times = Vec::new();
        while times.len() < 20 {
            let due = prober.deadline().unwrap();
            while prober.poll_probe(due).is_some() {
                times.push(due);
            }
        }
        times
    };
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2));
}
