//! What becomes of connects that services led to backends, counted with real sockets: refused, not answered, given up.
//! Needs root, and nft.

mod bpf_common;
mod net_common;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bpf_common::{TestNode, Wanted, backend, converge, counted};
use causeway_kernel::bpf::Datapath;
use causeway_kernel::sockets::abort_connecting;
use engine::services::Connects;
use model::{Protocol, Tier};

const GOOD: &str = "127.0.0.11:8080";
const REFUSES: [&str; 2] = ["127.0.0.12:8080", "[fd00:9::12]:8080"];
const SILENT: &str = "127.0.0.13:9";
/// Long, for a busy machine: nothing waits for it to pass.
const LONG: Duration = Duration::from_secs(30);

/// A node that counts, with one service for each backend: the backend's address with another first part.
fn node(name: &str) -> (TestNode, Datapath) {
    let mut node = TestNode::new(name, &["fd00:9::12/128"]);
    node.options.count_connects = true;
    let mut datapath = node.open();
    let backends = [GOOD, REFUSES[0], REFUSES[1], SILENT];
    let wanted = backends.iter().fold(Wanted::default(), |wanted, address| {
        wanted.service(&vip(address), Protocol::Tcp, &[(Tier::Node, &[backend(address, 1)])])
    });
    converge(&mut datapath, &wanted);
    for line in [
        "nft add table inet hole",
        "nft add chain inet hole in { type filter hook input priority 0 ; }",
        "nft add rule inet hole in tcp dport 9 drop",
    ] {
        node.net.run(line);
    }
    (node, datapath)
}

fn vip(backend: &str) -> String {
    backend.replace("127.", "10.").replace("fd00:9:", "fd00:101:")
}

fn dial(address: &str, patience: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address.parse().unwrap(), patience)
}

/// Established, refused, unanswered; nothing if the backend is not counted.
fn counts(datapath: &Datapath, backend: &str) -> Option<[u64; 3]> {
    let all = datapath.connects().expect("read the counts");
    let of = |Connects { established, refused, unanswered }: &Connects| [*established, *refused, *unanswered];
    all.get(&backend.parse::<SocketAddr>().unwrap()).map(of)
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn refused_ones_from_the_first_on() {
    let (node, datapath) = node("refused");
    let _good = node.inside(|| TcpListener::bind(GOOD).unwrap());
    for address in REFUSES {
        node.inside(|| {
            for _ in 0..3 {
                assert_eq!(dial(&vip(address), LONG).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
                // What no service led there is nobody's business.
                assert!(dial(address, LONG).is_err());
                dial(&vip(GOOD), LONG).unwrap();
            }
        });
        assert_eq!(counts(&datapath, address), Some([0, 3, 0]), "{address}");
        assert_eq!(counts(&datapath, GOOD), None, "who never failed is not counted");
        let listener = node.inside(|| TcpListener::bind(address).unwrap());
        node.inside(|| (0..2).for_each(|_| drop(dial(&vip(address), LONG).unwrap())));
        drop(listener);
        node.inside(|| dial(&vip(address), LONG).unwrap_err());
        assert_eq!(counts(&datapath, address), Some([2, 4, 0]), "{address}");
    }
    assert_eq!(counted(&datapath, "connect_refused"), 8);
}

#[test]
fn unanswered_ones_within_about_a_second_and_once() {
    let (node, datapath) = node("silent");
    let asking = node.inside(|| {
        let dialled = vip(SILENT);
        std::thread::spawn(move || dial(&dialled, Duration::from_millis(3_500)).unwrap_err().kind())
    });
    let begun = Instant::now();
    until("the first request is sent again", || counts(&datapath, SILENT).is_some());
    let took = begun.elapsed();
    assert!(!asking.is_finished(), "it was known before the client gave up: after {took:?}");
    assert_eq!(asking.join().unwrap(), io::ErrorKind::TimedOut);
    // It was sent again once more meanwhile, and its program has closed it.
    assert_eq!(counts(&datapath, SILENT), Some([0, 0, 1]));
    assert_eq!(counted(&datapath, "connect_unanswered"), 1);
}

#[test]
fn who_gives_up_has_to_have_waited() {
    let (node, datapath) = node("patience");
    node.inside(|| dial(&vip(SILENT), Duration::from_millis(1)).unwrap_err());
    assert_eq!(counts(&datapath, SILENT), None, "nobody answers in a millisecond");
    node.inside(|| dial(&vip(SILENT), Duration::from_millis(300)).unwrap_err());
    assert_eq!(counts(&datapath, SILENT), Some([0, 0, 1]));
}

#[test]
fn an_error_on_the_way_counts_as_refused() {
    let (node, datapath) = node("error");
    let asking = node.inside(|| {
        let dialled = vip(SILENT);
        std::thread::spawn(move || dial(&dialled, LONG).unwrap_err())
    });
    // As an ICMP error would: the kernel ends the socket, and no segment has come in.
    let there = ["127.0.0.13/32".parse().unwrap()];
    until("the connect is under way", || abort_connecting(node.net.netns(), &there).unwrap() == 1);
    asking.join().unwrap();
    let [established, refused, unanswered] = counts(&datapath, SILENT).expect("it is counted");
    // On a machine that was busy for more than a second the request was sent again before.
    assert_eq!((established, refused + unanswered), (0, 1));
}

#[test]
fn attached_only_where_it_is_asked_for() {
    let (mut node, datapath) = node("asked");
    let pins = |node: &TestNode| {
        let links = std::fs::read_dir(node.options.pin_dir.join("links")).unwrap().flatten();
        links.filter(|pin| pin.file_name().to_string_lossy().starts_with("connect_")).count()
    };
    node.inside(|| dial(&vip(REFUSES[0]), LONG).unwrap_err());
    assert_eq!((counts(&datapath, REFUSES[0]), pins(&node)), (Some([0, 1, 0]), 2));
    drop(datapath);
    let again = node.open();
    assert_eq!(counts(&again, REFUSES[0]), None, "the next agent begins with nothing");
    node.inside(|| dial(&vip(REFUSES[0]), LONG).unwrap_err());
    assert_eq!(counts(&again, REFUSES[0]), Some([0, 1, 0]));
    drop(again);
    node.options.count_connects = false;
    let without = node.open();
    node.inside(|| dial(&vip(REFUSES[0]), LONG).unwrap_err());
    assert_eq!((counts(&without, REFUSES[0]), pins(&node)), (None, 0));
    assert_eq!(counted(&without, "connect_refused"), 2);
}
