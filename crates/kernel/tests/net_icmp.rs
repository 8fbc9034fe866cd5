//! Echo between two namespaces: requests and replies are heard on the side they arrive at. Needs root.

use std::net::IpAddr;
use std::time::Duration;

use causeway_kernel::icmp::{Echo, EchoError, Heard, Kind, MAX_PAYLOAD};
use causeway_kernel::netlink::{Netlink, VethEnd};
use tokio::time::timeout;

mod net_common;
use net_common::TestNetns;

async fn next(echo: &Echo) -> Heard {
    timeout(Duration::from_secs(5), echo.recv()).await.expect("somebody is heard").unwrap()
}

#[tokio::test]
async fn both_sides_hear() {
    let (left, right) = (TestNetns::new("hears"), TestNetns::new("asks"));
    let (here, there) = (Netlink::open_in(left.netns()).unwrap(), Netlink::open_in(right.netns()).unwrap());
    let far = VethEnd { netns: Some(right.netns()), ..VethEnd::named("eth0") };
    here.add_veth(&VethEnd::named("eth0"), &far).await.unwrap();
    for (netlink, addresses) in
        [(&here, ["10.7.0.1/24", "fd07::1/64"]), (&there, ["10.7.0.2/24", "fd07::2/64"])]
    {
        let index = netlink.index("eth0").await.unwrap();
        netlink.set_up(index).await.unwrap();
        for address in addresses {
            netlink.add_address(index, address.parse().unwrap()).await.unwrap();
        }
    }
    let (listens, asks) =
        (Echo::open_in(left.netns(), Some("eth0")).unwrap(), Echo::open_in(right.netns(), None).unwrap());
    for (seq, [to, from]) in [["10.7.0.1", "10.7.0.2"], ["fd07::1", "fd07::2"]].into_iter().enumerate() {
        let (to, from): (IpAddr, IpAddr) = (to.parse().unwrap(), from.parse().unwrap());
        let seq = u16::try_from(seq).unwrap();
        asks.send(to, 77, seq, b"hello").await.unwrap();
        let expected = |from, kind| Heard { from, kind, id: 77, seq, payload: b"hello".into() };
        assert_eq!(next(&listens).await, expected(from, Kind::Request));
        assert_eq!(next(&asks).await, expected(to, Kind::Reply));
        // Nothing but echo is let through by the kernel: an error about a closed port is not the next thing heard.
        let closed_port = std::net::SocketAddr::new(to, 9);
        let knock = move || std::net::UdpSocket::bind((from, 0))?.send_to(b"", closed_port);
        right.netns().run(knock).unwrap().unwrap();
        asks.send(to, 78, seq, &[7; MAX_PAYLOAD]).await.unwrap();
        assert_eq!(next(&listens).await.id, 78);
        assert_eq!(next(&asks).await.payload.len(), MAX_PAYLOAD);
    }
    assert_eq!((listens.refused(), asks.refused()), (0, 0));

    let too_long = asks.send([10, 7, 0, 1].into(), 1, 1, &[0; MAX_PAYLOAD + 1]).await;
    assert!(matches!(too_long, Err(EchoError::TooLong(_))));
    let no_route = asks.send([10, 9, 0, 1].into(), 1, 1, b"").await;
    assert!(matches!(no_route, Err(EchoError::Send { .. })), "{no_route:?}");
    assert!(matches!(Echo::open_in(left.netns(), Some("eth7")), Err(EchoError::Open { .. })));
}
