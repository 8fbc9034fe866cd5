//! Several probers on one virtual clock, over a network that delays and loses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use model::NodeName;

use crate::health::{Event, Prober};
use crate::testing::node_name;

/// What is under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Question { from: usize, to: usize, seq: u16 },
    Answer { from: usize, to: usize, seq: u16 },
}

struct Net {
    names: Vec<NodeName>,
    probers: Vec<Prober>,
    /// Nodes whose agent runs; their kernel answers questions either way.
    agents: Vec<bool>,
    /// Nodes that exist at all.
    up: Vec<bool>,
    /// Packets by arrival, and a number that keeps them apart.
    packets: BTreeMap<(Duration, u64), Packet>,
    one_way: fn(usize, usize) -> Duration,
    loss_percent: u64,
    random: u64,
    now: Duration,
    sent: u64,
    /// Who said what of whom, when.
    said: Vec<(Duration, usize, Event)>,
}

impl Net {
    fn new(nodes: usize, one_way: fn(usize, usize) -> Duration, loss_percent: u64, seed: u64) -> Self {
        let names: Vec<_> = (0..nodes).map(|n| node_name(&format!("c{}/n{n}", n % 3))).collect();
        let peers = |me: usize| {
            let others = names.iter().enumerate().filter(move |(n, _)| *n != me);
            others.map(|(_, name)| (name.clone(), IpAddr::from([10, 0, 0, 1]))).collect()
        };
        let mut probers: Vec<_> = names.iter().map(|name| Prober::new(name, seed)).collect();
        for (n, prober) in probers.iter_mut().enumerate() {
            prober.set_peers(peers(n), Duration::ZERO);
        }
        let (agents, up) = (vec![true; nodes], vec![true; nodes]);
        Self {
            names,
            probers,
            agents,
            up,
            packets: BTreeMap::new(),
            one_way,
            loss_percent,
            random: seed,
            now: Duration::ZERO,
            sent: 0,
            said: Vec::new(),
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        self.sent += 1;
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (self.random >> 33) % 100 >= self.loss_percent {
            let at = self.now + (self.one_way)(from, to);
            self.packets.insert((at, self.sent), packet);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let running = self.probers.iter().enumerate().filter(|(n, _)| self.agents[*n] && self.up[*n]);
            let due = running.filter_map(|(_, prober)| prober.deadline()).min();
            let arrival = self.packets.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.packets.first_entry().filter(|e| e.key().0 <= self.now) {
                let packet = entry.remove();
                self.deliver(packet);
            }
            for n in 0..self.probers.len() {
                if self.agents[n] && self.up[n] {
                    self.poll(n);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Question { from, to, seq } if self.up[to] => {
                if self.agents[to] {
                    self.probers[to].handle_heard(&self.names[from], self.now);
                }
                self.send(to, from, Packet::Answer { from: to, to: from, seq });
            }
            Packet::Answer { from, to, seq } if self.up[to] && self.agents[to] => {
                self.probers[to].handle_reply(&self.names[from], seq, self.now);
            }
            _ => (),
        }
    }

    fn poll(&mut self, n: usize) {
        while let Some(probe) = self.probers[n].poll_probe(self.now) {
            let to = self.names.iter().position(|name| *name == probe.peer).expect("a peer");
            self.send(n, to, Packet::Question { from: n, to, seq: probe.seq });
        }
        while let Some(event) = self.probers[n].poll_event() {
            self.said.push((self.now, n, event));
        }
    }
}

/// Three clouds, 16 to 30 ms apart (there and back), half a millisecond inside.
fn clouds(a: usize, b: usize) -> Duration {
    match (a % 3).abs_diff(b % 3) {
        0 => Duration::from_micros(250),
        1 => Duration::from_millis(8),
        _ => Duration::from_millis(15),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_lossy_network_kills_nobody() {
    for seed in 1..=3 {
        let mut net = Net::new(9, clouds, 20, seed);
        net.run(10 * MINUTE);
        assert_eq!(net.said, [], "seed {seed}");
        assert!(net.probers.iter().all(Prober::all_probed));
    }
    let mut large = Net::new(50, clouds, 20, 4);
    large.run(MINUTE);
    assert_eq!(large.said, []);
}

#[test]
fn a_dead_node_is_seen_by_all_in_time_and_seen_again() {
    // (nodes, lossy, the longest that anybody may take)
    for (nodes, loss, limit) in [(6, 0, 500), (6, 5, 520), (16, 0, 500), (50, 0, 800)] {
        let mut net = Net::new(nodes, clouds, loss, 11);
        net.run(Duration::from_secs(10));
        let killed = net.now;
        net.up[2] = false;
        net.run(Duration::from_secs(5));
        assert_eq!(net.said.len(), nodes - 1, "{nodes} nodes");
        for (when, who, event) in std::mem::take(&mut net.said) {
            assert_eq!(event, Event::Died(net.names[2].clone()));
            // Its last packets may still have been under way.
            let took = when - killed - clouds(who, 2);
            assert!(took <= Duration::from_millis(limit), "{nodes} nodes: node {who} took {took:?}");
        }
        let back = net.now;
        net.up[2] = true;
        net.run(Duration::from_secs(3));
        let seen: Vec<_> = net.said.iter().filter(|(_, who, _)| *who != 2).collect();
        assert_eq!(seen.len(), nodes - 1, "{nodes} nodes");
        for (when, who, event) in seen {
            assert_eq!(*event, Event::Revived(net.names[2].clone()));
            assert!(*when - back < Duration::from_millis(1_500), "node {who}");
        }
    }
}

#[test]
fn an_agent_that_restarts_is_not_dead() {
    let mut net = Net::new(6, clouds, 0, 5);
    net.run(Duration::from_secs(10));
    net.agents[1] = false;
    net.run(Duration::from_secs(5));
    assert_eq!(net.said, []);
    net.agents[1] = true;
    net.run(Duration::from_secs(5));
    assert_eq!(net.said, []);
}

#[test]
fn a_pair_costs_one_exchange_an_interval() {
    let mut net = Net::new(6, clouds, 0, 5);
    net.run(Duration::from_secs(5));
    let before = net.sent;
    net.run(MINUTE);
    // 15 pairs, 8 intervals a second, a question and an answer.
    let most = 15 * 8 * 60 * 2;
    let sent = net.sent - before;
    assert!(sent < most * 5 / 4, "{sent} packets in a minute; once per interval and pair is {most}");
}

#[test]
fn times_come_out_right() {
    let mut net = Net::new(6, clouds, 5, 6);
    net.run(MINUTE);
    let rtt = |a: usize, b: usize| net.probers[a].rtt(&net.names[b]).unwrap();
    assert_eq!(rtt(0, 3), Duration::from_micros(500));
    assert_eq!(rtt(0, 1), Duration::from_millis(16));
    assert_eq!(rtt(0, 2), Duration::from_millis(30));
}

#[test]
fn a_network_that_is_far_away_lives() {
    let mut net = Net::new(3, |_, _| Duration::from_millis(150), 1, 9);
    net.run(10 * MINUTE);
    assert_eq!(net.said, []);
}
