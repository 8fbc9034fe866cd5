//! Limits of what devices send: set, seen, changed, lifted, and kept by real packets. Needs root.

use std::time::{Duration, Instant};

use causeway_kernel::netlink::{LinkChange, Netlink, VethEnd};
use causeway_kernel::shaping::{Limit, is_limited, limit};
use std::net::UdpSocket;

mod net_common;
use net_common::TestNetns;

#[tokio::test]
async fn a_device_sends_as_fast_as_it_may() {
    let (one, two) = (TestNetns::new("shaping"), TestNetns::new("shaping_peer"));
    let netlink = Netlink::open_in(one.netns()).unwrap();
    let peer = Netlink::open_in(two.netns()).unwrap();
    let end = VethEnd { netns: Some(two.netns()), ..VethEnd::named("eth0") };
    netlink.add_veth(&VethEnd::named("eth0"), &end).await.unwrap();
    let index = netlink.index("eth0").await.unwrap();
    for (netlink, address) in [(&netlink, "192.0.2.1/24"), (&peer, "192.0.2.2/24")] {
        let index = netlink.index("eth0").await.unwrap();
        netlink.set_link(index, &LinkChange { up: Some(true), ..LinkChange::default() }).await.unwrap();
        netlink.add_address(index, address.parse().unwrap()).await.unwrap();
    }
    let slow = Limit { rate: 8_000_000, burst: 0 };
    let others = [Limit { rate: 40_000_000_000, burst: 0 }, Limit { burst: 8 << 20, ..slow }];
    assert!(is_limited(&netlink, index, None).await.unwrap());
    limit(&netlink, index, None).await.unwrap();
    for other in others {
        limit(&netlink, index, Some(other)).await.unwrap();
        assert!(
            is_limited(&netlink, index, Some(other)).await.unwrap(),
            "{}",
            one.run("tc qdisc show dev eth0")
        );
        assert!(!is_limited(&netlink, index, Some(slow)).await.unwrap());
    }
    limit(&netlink, index, Some(slow)).await.unwrap();
    assert!(!is_limited(&netlink, index, None).await.unwrap());
    let shown = one.run("tc qdisc show dev eth0");
    assert!(shown.contains("tbf") && shown.contains("rate 8Mbit") && shown.contains("burst 64Kb"), "{shown}");

    // 64 KB at once, then a megabyte a second: what arrives of a second's flood.
    let receiver = two.netns().run(|| UdpSocket::bind("192.0.2.2:7")).unwrap().unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let sender = one.netns().run(|| UdpSocket::bind("192.0.2.1:0")).unwrap().unwrap();
    let counting = std::thread::spawn(move || {
        let (mut bytes, mut buffer) = (0, [0; 2000]);
        while let Ok(length) = receiver.recv(&mut buffer) {
            bytes += length;
        }
        bytes
    });
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let _ = sender.send_to(&[0; 1400], "192.0.2.2:7");
    }
    let bytes = counting.join().unwrap();
    assert!((700_000..1_400_000).contains(&bytes), "{bytes} bytes in a second of a megabyte each");

    limit(&netlink, index, None).await.unwrap();
    assert!(is_limited(&netlink, index, None).await.unwrap());
    assert!(limit(&netlink, 4711, Some(slow)).await.is_err());
}
