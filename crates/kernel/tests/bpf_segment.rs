//! The lab's broken switch on a real wire.

mod net_common;

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use causeway_kernel::bpf::Segment;
use net_common::TestNetns;

const PINS: &str = "/sys/fs/bpf/cwt_segment";

/// Whether a datagram from A to B arrives.
fn arrives(a: &TestNetns, b: &TestNetns, from: &str, to: &str) -> bool {
    let at = |text: &str| (text.parse::<IpAddr>().unwrap(), 0);
    let there = b.netns().run(|| UdpSocket::bind(at(to)).unwrap()).unwrap();
    there.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let address = there.local_addr().unwrap();
    a.netns().run(|| UdpSocket::bind(at(from)).unwrap().send_to(b"?", address).unwrap()).unwrap();
    there.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn cuts_hold_until_healed() {
    let (a, b) = (TestNetns::new("bpf_seg_a"), TestNetns::new("bpf_seg_b"));
    a.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", b.name()));
    for (net, host) in [(&a, 1), (&b, 2)] {
        net.run("ip link set eth0 up");
        net.run(&format!("ip addr add 172.16.1.{host}/24 dev eth0"));
        net.run(&format!("ip addr add fd10::{host}/64 dev eth0 nodad"));
    }
    let v4 = ("172.16.1.1", "172.16.1.2");
    let v6 = ("fd10::1", "fd10::2");
    let there = |(from, to): (&str, &str)| arrives(&a, &b, from, to);
    let pins = Path::new(PINS);
    Segment::unload(pins).unwrap();
    let mut segment = Segment::open(pins).unwrap();
    b.netns().run(|| segment.attach("b", "eth0")).unwrap().unwrap();
    a.netns().run(|| segment.attach("a", "eth0")).unwrap().unwrap();
    assert!(there(v4) && there(v6));

    let pair = |(from, to): (&str, &str)| (from.parse::<IpAddr>().unwrap(), to.parse::<IpAddr>().unwrap());
    let cuts = BTreeSet::from([pair(v4), pair(v6)]);
    segment.set_cuts(&cuts).unwrap();
    assert!(!there(v4) && !there(v6));
    assert!(arrives(&b, &a, v4.1, v4.0), "a cut has a direction");

    // The next command of the lab finds things as they were.
    drop(segment);
    assert!(!there(v4));
    let mut segment = Segment::open(pins).unwrap();
    assert_eq!(segment.cuts().unwrap(), cuts);
    segment.set_cuts(&BTreeSet::from([pair(v6)])).unwrap();
    assert!(there(v4) && !there(v6));
    segment.set_cuts(&BTreeSet::new()).unwrap();
    assert!(there(v4) && there(v6));

    segment.set_cuts(&cuts).unwrap();
    Segment::unload(pins).unwrap();
    assert!(there(v4) && there(v6));
    assert!(!pins.exists());
    Segment::unload(pins).unwrap();
}
