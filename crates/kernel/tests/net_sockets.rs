//! Connects under way are ended at once, those to elsewhere and those already made are not. Needs root.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use causeway_kernel::netlink::{Netlink, RouteKind, RouteSpec};
use causeway_kernel::netns::Netns;
use causeway_kernel::sockets::abort_connecting;
use causeway_kernel::tun::{Tun, TunOptions};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};

mod net_common;
use net_common::TestNetns;

/// What the tests call dead, and what is alive; all of it leads into a device that nobody reads.
const DEAD: [&str; 2] = ["10.7.0.0/24", "fd07::/64"];
const ALIVE: [&str; 2] = ["10.7.1.0/24", "fd07:0:0:1::/64"];
/// Ours, although in a dead range: here connections can be made.
const OWN: [&str; 2] = ["10.7.0.1/32", "fd07::1/128"];

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A namespace from which nobody is reached. The hole is there as long as the device is open.
async fn hole(name: &str) -> (TestNetns, Tun) {
    let test = TestNetns::new(name);
    let tun = test.netns().run(|| Tun::open("hole", TunOptions::default())).unwrap().unwrap();
    let netlink = Netlink::open_in(test.netns()).unwrap();
    let index = netlink.index("hole").await.unwrap();
    netlink.set_up(index).await.unwrap();
    let lo = netlink.index("lo").await.unwrap();
    for own in ranges(&OWN) {
        netlink.add_address(lo, own).await.unwrap();
    }
    let into_the_hole = RouteKind::Unicast { device: index, gateway: None };
    for range in ranges(&DEAD).into_iter().chain(ranges(&ALIVE)) {
        netlink.set_route(&RouteSpec::new(range, into_the_hole)).await.unwrap();
    }
    (test, tun)
}

/// Begins a connect, in a socket of the family that `to` is written in.
fn begin(netns: &Netns, to: &str) -> OwnedFd {
    let to: IpAddr = to.parse().unwrap();
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let begun = netns.run(|| {
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 80))) {
            Err(Errno::EINPROGRESS) => Ok(fd),
            Err(e) => Err(e),
            Ok(()) => panic!("{to} answers"),
        }
    });
    begun.unwrap().unwrap_or_else(|e| panic!("{to}: {e}"))
}

fn error(socket: &OwnedFd) -> i32 {
    getsockopt(socket, sockopt::SocketError).unwrap()
}

#[tokio::test]
async fn connects_under_way() {
    let (test, _tun) = hole("sockets").await;
    for (to, dead, alive) in [
        ("10.7.0.9", "10.7.0.0/24", "10.7.1.0/24"),
        ("fd07::9", "fd07::/64", "fd07:0:0:1::/64"),
        ("::ffff:10.7.0.9", "10.7.0.0/24", "10.7.1.0/24"),
    ] {
        let socket = begin(test.netns(), to);
        for other in [alive, "0.0.0.0/32"] {
            assert_eq!(
                abort_connecting(test.netns(), &ranges(&[other])).unwrap(),
                0,
                "{to} is not in {other}"
            );
        }
        assert_eq!(abort_connecting(test.netns(), &[]).unwrap(), 0);
        assert_eq!(error(&socket), 0, "{to}");
        assert_eq!(abort_connecting(test.netns(), &ranges(&[alive, dead])).unwrap(), 1, "{to}");
        assert_eq!(error(&socket), libc::ECONNABORTED, "{to}");
        assert_eq!(abort_connecting(test.netns(), &ranges(&[dead])).unwrap(), 0, "{to}: once is enough");
    }
}

#[tokio::test]
async fn many_at_once_and_none_of_another_place() {
    let (test, _tun) = hole("sockets_many").await;
    let (other, _other_tun) = hole("sockets_other").await;
    let targets = || (2..=101).flat_map(|n| [format!("10.7.0.{n}"), format!("fd07::{n:x}")]);
    let doomed: Vec<OwnedFd> = targets().map(|to| begin(test.netns(), &to)).collect();
    let elsewhere: Vec<OwnedFd> = targets().map(|to| begin(other.netns(), &to)).collect();
    let saved = begin(test.netns(), "10.7.1.2");
    let start = Instant::now();
    assert_eq!(abort_connecting(test.netns(), &ranges(&DEAD)).unwrap(), 200);
    println!("200 of them in {:?}", start.elapsed());
    assert!(doomed.iter().all(|socket| error(socket) == libc::ECONNABORTED));
    assert!(elsewhere.iter().chain([&saved]).all(|socket| error(socket) == 0));
}

#[tokio::test]
async fn who_waits_is_told_and_who_is_connected_is_not() {
    let (test, _tun) = hole("sockets_wait").await;
    let netns = test.netns();
    let made: Vec<(TcpStream, TcpListener)> = ranges(&OWN)
        .into_iter()
        .map(|own| {
            let pair = netns.run(|| {
                let listener = TcpListener::bind((own.addr(), 0))?;
                Ok::<_, std::io::Error>((TcpStream::connect(listener.local_addr()?)?, listener))
            });
            pair.unwrap().unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| netns.run(|| TcpStream::connect("10.7.0.9:80")).unwrap());
        let start = Instant::now();
        while abort_connecting(netns, &ranges(&DEAD)).unwrap() == 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "no connect is under way");
            std::thread::yield_now();
        }
        let told = waiting.join().unwrap().unwrap_err();
        assert_eq!(told.raw_os_error(), Some(libc::ECONNABORTED), "{told}");
    });
    for (stream, listener) in &made {
        use std::io::{Read as _, Write as _};
        let (mut far, _) = listener.accept().unwrap();
        (&mut &*stream).write_all(b"still here").unwrap();
        let mut heard = [0; 10];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still here");
    }
}
