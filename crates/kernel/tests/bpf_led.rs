//! Connections that a service led to a backend are ended when it is gone, and no others. Needs root.

mod bpf_common;
mod net_common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bpf_common::{TestNode, Wanted, backend, converge};
use causeway_kernel::sockets::Led;
use model::{Protocol, Tier};
use net_common::TestNetns;

const VIP4: &str = "10.101.0.1:80";
const VIP6: &str = "[fd00:101::1]:80";
const BACK4: &str = "127.0.0.11:8080";
const BACK6: &str = "[fd00::11]:8080";

/// A connection, and its other end.
struct Pair(TcpStream, TcpStream);

impl Pair {
    /// To be called where the listener is.
    fn new(listener: &TcpListener, dialled: &str) -> Self {
        let near = TcpStream::connect(dialled).unwrap_or_else(|e| panic!("{dialled}: {e}"));
        near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(near, listener.accept().unwrap().0)
    }

    /// What its program is told: nothing while it lives.
    fn error(&mut self) -> Option<i32> {
        self.1.write_all(b"?").ok();
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(1) => None,
            Ok(_) => panic!("it was closed in good order"),
            Err(e) => Some(e.raw_os_error().unwrap_or_default()),
        }
    }
}

fn addresses(texts: &[&str]) -> BTreeSet<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn what_a_service_led_there_and_nothing_else() {
    let node = TestNode::new("led", &["fd00::11/128"]);
    let mut datapath = node.open();
    let wanted = Wanted::default()
        .service(VIP4, Protocol::Tcp, &[(Tier::Node, &[backend(BACK4, 1)])])
        .service(VIP6, Protocol::Tcp, &[(Tier::Node, &[backend(BACK6, 1)])]);
    converge(&mut datapath, &wanted);
    let led = Led::open(&node.options.pin_dir).unwrap();
    let netns = node.net.netns();
    // A pod's namespace: another one, in the same control group.
    let pod = TestNetns::new("bpf_led_pod");
    let dialled_there = pod.netns().run(|| {
        let listener = TcpListener::bind(BACK4).unwrap();
        Pair::new(&listener, VIP4)
    });
    let mut of_the_pod = dialled_there.unwrap();
    for (back, vip, mapped) in [(BACK4, VIP4, Some("[::ffff:10.101.0.1]:80")), (BACK6, VIP6, None)] {
        let (mut by_service, mut direct) = node.inside(|| {
            let listener = TcpListener::bind(back).unwrap();
            let dialled = [vip].into_iter().chain(mapped);
            (dialled.map(|to| Pair::new(&listener, to)).collect::<Vec<_>>(), Pair::new(&listener, back))
        });
        let none = addresses(&["127.0.0.11:8081", "127.0.0.12:8080", "[fd00::11]:80"]);
        assert_eq!(led.reset(netns, &none).unwrap(), 0, "{back}: nothing leads there");
        assert!(by_service.iter_mut().all(|pair| pair.error().is_none()));
        assert_eq!(led.reset(netns, &addresses(&[back])).unwrap(), by_service.len(), "{back}");
        for pair in &mut by_service {
            assert_eq!(pair.error(), Some(libc::ECONNABORTED), "{back}");
        }
        assert_eq!(direct.error(), None, "{back}: nobody led it there");
        assert_eq!(led.reset(netns, &addresses(&[back])).unwrap(), 0, "{back}: once is enough");
    }
    assert_eq!(of_the_pod.error(), None, "it is elsewhere");
    assert_eq!(led.reset(pod.netns(), &addresses(&[BACK4, BACK6])).unwrap(), 1);
    assert_eq!(of_the_pod.error(), Some(libc::ECONNABORTED));
}

#[test]
fn without_a_packet_path() {
    let said = Led::open("/sys/fs/bpf/cwt_nowhere/v1".as_ref()).unwrap_err().to_string();
    assert!(
        said.contains("cwt_nowhere/v1/translations") && said.contains("is the packet path loaded"),
        "{said}"
    );
}
