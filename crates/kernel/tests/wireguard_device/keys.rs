//! A key that changes while packets flow.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use causeway_kernel::wireguard::PrivateKey;
use engine::plan::{Op, Peer};
use model::{PresharedKey, PublicKey};

use crate::net_common::run_in;
use crate::pair::{End, Kind, Setup, pair, until};
use crate::traffic::echo;

const PORT: u16 = 7007;

/// Sends numbers to the other end, about one each millisecond, and takes in what comes: how many were sent, and which came.
/// Once it is to stop it waits for what is under way.
fn numbers(socket: UdpSocket, to: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(u32, BTreeSet<u32>)> {
    let stop = stop.clone();
    thread::spawn(move || {
        let (mut sent, mut come, mut bytes) = (0_u32, BTreeSet::new(), [0; 4]);
        let mut stopped = None;
        while stopped.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(1)) {
            if stopped.is_none() {
                socket.send_to(&sent.to_be_bytes(), to).expect("send");
                sent += 1;
                stopped = stop.load(Ordering::Relaxed).then(Instant::now);
            }
            while socket.recv(&mut bytes).is_ok() {
                come.insert(u32::from_be_bytes(bytes));
            }
        }
        (sent, come)
    })
}

/// Where an end sends from and is sent to.
fn socket(end: &End, family: usize) -> (UdpSocket, SocketAddr) {
    let at = SocketAddr::new(end.inside[family], PORT);
    let socket = end.netns.netns().run(|| UdpSocket::bind(at)).expect("netns").expect("bind");
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    (socket, at)
}

type Flow = JoinHandle<(u32, BTreeSet<u32>)>;

/// Numbers both ways, in both families.
fn flows([a, b]: &[End; 2], stop: &Arc<AtomicBool>) -> [[Flow; 2]; 2] {
    [0, 1].map(|family| {
        // Both are there before either sends.
        let ((from_a, to_a), (from_b, to_b)) = (socket(a, family), socket(b, family));
        [numbers(from_a, to_b, stop), numbers(from_b, to_a, stop)]
    })
}

/// Ends the flows: none of the packets is lost, and those devices of ours dropped none.
fn all_came(ends: &[End; 2], flows: [[Flow; 2]; 2], stop: &Arc<AtomicBool>) {
    stop.store(true, Ordering::Relaxed);
    let [v4, v6] = flows.map(|ways| ways.map(|way| way.join().expect("no panic")));
    for [there, back] in [v4, v6] {
        for ((sent, _), (_, come)) in [(&there, &back), (&back, &there)] {
            assert!(*sent > 100, "{sent}");
            let lost: Vec<u32> = (0..*sent).filter(|number| !come.contains(number)).collect();
            assert_eq!(lost, [], "of {sent}");
        }
    }
    for end in ends {
        // Others do not tell.
        let drops = end.device.drops().unwrap_or_default();
        // What the kernel says to all its neighbours is for no peer.
        assert!(drops.iter().all(|(reason, count)| *count == 0 || reason == "no_peer"), "{drops:?}");
    }
}

/// Tells the second end of the first one's keys.
fn tell(ends: &[End; 2], key: PublicKey, other_key: Option<PublicKey>) {
    let [a, b] = ends;
    let peer = Peer {
        endpoint: Some(SocketAddr::new(a.underlay[0], crate::pair::PORT)),
        allowed_ips: a.inside.iter().map(|ip| (*ip).into()).collect(),
        other_key,
        ..Peer::default()
    };
    b.device.apply(&Op::SetPeer(key, peer.clone())).expect("peer");
    assert_eq!(
        b.device.observe().expect("observe").tunnel.peers.get(&key),
        Some(&peer),
        "as the plan has it"
    );
}

pub(crate) fn a_key_that_changes() {
    let ends = pair(Setup { name: "wgy", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    let [a, b] = &ends;
    assert!(a.device.knows_two_keys());
    assert!(echo(a, b.inside[0]));
    let (old, new) = (&a.key, PrivateKey::generate());
    let stop = Arc::new(AtomicBool::new(false));
    let flows = flows(&ends, &stop);

    tell(&ends, old.public(), Some(new.public()));
    a.device.set_private_keys(old.secret(), Some(new.secret())).expect("keys");
    // WireGuard's own program sees one peer, and one key.
    for end in &ends {
        let dump = run_in(end.netns.netns(), &format!("wg show {} dump", end.device.interface()));
        assert_eq!(dump.lines().count(), 2, "{dump}");
    }
    a.device.set_private_keys(new.secret(), Some(old.secret())).expect("keys");
    let observed = a.device.observe().expect("observe");
    assert_eq!((observed.public_key, observed.other_key), (Some(new.public()), Some(old.public())));
    let (asked, before) = (Instant::now(), b.stats(a).last_handshake);
    // A handshake was begun a moment ago, and the next one is not begun sooner than after five seconds.
    until("the new key is used at both ends", || {
        a.stats(b).own_key == Some(new.public()) && b.stats(a).last_handshake > before
    });
    println!("  the new key is used after {:?}", asked.elapsed());
    tell(&ends, new.public(), None);
    b.device.apply(&Op::DeletePeer(old.public())).expect("delete");
    a.device.set_private_keys(new.secret(), None).expect("keys");
    let known: Vec<PublicKey> = b.device.observe().expect("observe").peers.into_keys().collect();
    assert_eq!(known, [new.public()]);

    all_came(&ends, flows, &stop);
    // The old key is nobody's any more.
    a.device.set_private_key(old.secret()).expect("key");
    until("it is refused", || {
        !echo(a, b.inside[0]) && b.device.drops().expect("counters")["unknown_peer"] > 0
    });
}

/// Another's device, or one of ours that was started before there were two keys.
pub(crate) fn a_device_with_one_key() {
    let ends = pair(Setup { name: "wgz", kinds: [Kind::Ours, Kind::Go], mtu: 1500 });
    let [a, b] = &ends;
    assert!(!b.device.knows_two_keys());
    assert!(echo(a, b.inside[0]));
    let (old, new) = (&b.key, PrivateKey::generate());
    b.device.set_private_keys(old.secret(), Some(new.secret())).expect("keys");
    assert!(echo(a, b.inside[0]));
    b.device.set_private_keys(new.secret(), Some(old.secret())).expect("keys");
    assert_eq!(b.device.observe().expect("observe").public_key, Some(new.public()));
    let peer = a.device.observe().expect("observe").tunnel.peers[&old.public()].clone();
    a.device.apply(&Op::SetPeer(new.public(), peer)).expect("peer");
    a.device.apply(&Op::DeletePeer(old.public())).expect("delete");
    until("it is reached once it is told", || echo(a, b.inside[0]));
}

/// Gives the first end a pre-shared key with the second, and others that it tries, if it can.
fn share(end: &End, other: &End, key: Option<u8>, others: &[Option<u8>]) {
    let psk = |byte: &u8| PresharedKey([*byte; 32]);
    let mut peer = end.device.observe().expect("observe").tunnel.peers[&other.key.public()].clone();
    peer.preshared_key = key.as_ref().map(psk);
    if end.device.knows_other_preshared_keys() {
        peer.other_preshared_keys = others.iter().map(|other| other.as_ref().map(psk)).collect();
    }
    end.device.apply(&Op::SetPeer(other.key.public(), peer.clone())).expect("peer");
    assert_eq!(end.device.observe().expect("observe").tunnel.peers[&other.key.public()], peer);
}

pub(crate) fn a_pre_shared_key_that_changes() {
    for (name, kinds) in [("wgp", [Kind::Ours, Kind::Ours]), ("wgq", [Kind::Ours, Kind::Go])] {
        let ends = pair(Setup { name, kinds, mtu: 1500 });
        let [a, b] = &ends;
        assert!(a.device.knows_other_preshared_keys());
        assert_eq!(b.device.knows_other_preshared_keys(), kinds[1] == Kind::Ours);
        assert!(echo(a, b.inside[0]));
        let stop = Arc::new(AtomicBool::new(false));
        let flows = flows(&ends, &stop);
        for (from, to) in [(None, Some(1)), (Some(1), Some(2))] {
            let agreed = || a.stats(b).last_handshake;
            // The first end hears first that both hold the next one. What it begins is answered by the former one.
            let before = agreed();
            share(a, b, to, &[from]);
            until("keys are agreed on by the former one", || agreed() > before);
            let before = agreed();
            share(b, a, to, &[from]);
            if kinds[1] == Kind::Ours {
                until("keys are agreed on by the next one", || agreed() > before);
            }
        }
        for end in &ends {
            let dump = run_in(end.netns.netns(), &format!("wg show {} dump", end.device.interface()));
            assert_eq!(dump.lines().count(), 2, "{dump}");
        }
        share(a, b, Some(2), &[]);
        share(b, a, Some(2), &[]);
        all_came(&ends, flows, &stop);
    }
}
