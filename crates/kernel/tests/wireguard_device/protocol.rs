//! What others say to a device: on the control socket, and on the underlay.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_kernel::wireguard::Options;
use causeway_kernel::wireguard::uapi::{SetRequest, Status};
use wireguard::{AllowedChange, Device, Now, PeerChange};

use crate::pair::{End, Kind, PORT, Setup, pair, until};
use crate::traffic::{echo, everything};

/// As boringtun and wireguard-go have them.
const INVALID: &str = "errno=-22\n\n";

/// What is not of the protocol is answered with an errno, counted, and changes nothing.
pub(crate) fn garbage_on_the_control_socket() {
    let ends = pair(Setup { name: "wgu", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    let [a, b] = &ends;
    assert!(echo(a, b.inside[0]));
    let key = b.key.public().to_hex();
    let own = a.key.public().to_hex();
    let before = a.ask(b"get=1\n\n");
    let refused: [&[u8]; 12] = [
        b"set=1\nlisten_port=65536\n\n",
        b"set=1\nlisten_port\n\n",
        b"set=1\nprivate_key=00\n\n",
        b"set=1\nallowed_ip=10.0.0.0/8\n\n",
        b"set=1\nreplace_peers=1\n\n",
        b"set=1\nno_such_key=1\n\n",
        b"set=1\n\xff\xfe=1\n\n",
        b"set=1\nfwmark=7\npublic_key=xyz\n\n",
        &[b"set=1\npublic_key=", key.as_bytes(), b"\nprotocol_version=2\n\n"].concat(),
        &[b"set=1\npublic_key=", key.as_bytes(), b"\nallowed_ip=10.0.0.0/33\n\n"].concat(),
        &[b"set=1\npublic_key=", key.as_bytes(), b"\nendpoint=example.com:1\n\n"].concat(),
        // Cut off: it might have been 10.0.0.0/24.
        &[b"set=1\npublic_key=", key.as_bytes(), b"\nallowed_ip=10.0.0.0/2"].concat(),
    ];
    for (at, request) in refused.into_iter().enumerate() {
        assert_eq!(a.ask(request), INVALID, "request {at}");
    }
    for other in ["nonsense\n\n", "\n", "set=2\n\n"] {
        assert_eq!(a.ask(other.as_bytes()), "errno=-95\n\n", "{other:?}");
    }
    assert_eq!(a.ask(b"get=1\n\n"), before, "nothing changed");
    let drops = || a.device.drops().expect("counters");
    assert_eq!(drops()["bad_request"], 15);

    // Our own key, and a range that is another's.
    assert_eq!(a.ask(format!("set=1\npublic_key={own}\n\n").as_bytes()), "errno=0\n\n");
    assert_eq!(a.ask(b"get=1\n\n"), before);
    let other = "09".repeat(32);
    let range = b.inside[0];
    a.ask(format!("set=1\npublic_key={other}\nallowed_ip={range}/32\n\n").as_bytes());
    assert_eq!((drops()["own_key"], drops()["range_taken"]), (1, 1));
    a.ask(format!("set=1\npublic_key={other}\nremove=true\n\n").as_bytes());
    a.ask(format!("set=1\npublic_key={key}\nallowed_ip={range}/32\n\n").as_bytes());
    assert!(echo(a, range));
}

/// Every key of the protocol, said and read back; a thousand peers.
pub(crate) fn every_key_of_the_control_socket() {
    let ends = pair(Setup { name: "wgq", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    let a = &ends[0];
    let status = || {
        let answer = a.ask(b"get=1\n\n");
        let body = answer.strip_suffix("errno=0\n\n").unwrap_or_else(|| panic!("{answer}"));
        Status::parse(body.lines()).expect("a status")
    };
    let peers: Vec<PeerChange> = (0..1000u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let mut public_key = [3; 32];
            public_key[..2].copy_from_slice(&[high, low]);
            PeerChange {
                public_key,
                preshared_key: Some([low; 32]),
                endpoint: Some(SocketAddr::from(([192, 0, 2, 200], 1 + number))),
                allowed_ips: vec![AllowedChange::Add(std::net::IpAddr::from([10, 7, high, low]).into())],
                ..PeerChange::default()
            }
        })
        .collect();
    let request = SetRequest {
        listen_port: Some(4242),
        fwmark: Some(9),
        replace_peers: true,
        peers: peers.clone(),
        ..SetRequest::default()
    };
    assert_eq!(a.ask(request.to_string().as_bytes()), "errno=0\n\n");
    let now = status();
    assert_eq!((now.listen_port, now.fwmark, now.peers.len()), (4242, 9, 1000));
    assert!(
        now.peers
            .iter()
            .all(|peer| peer.allowed_ips.len() == 1 && *peer.preshared_key == [peer.public_key[1]; 32])
    );

    // update_only makes nobody, remove removes, replace_allowed_ips replaces.
    let with = |change: PeerChange| {
        let request = SetRequest { peers: vec![change], ..SetRequest::default() };
        assert_eq!(a.ask(request.to_string().as_bytes()), "errno=0\n\n");
    };
    with(PeerChange { public_key: [5; 32], update_only: true, ..PeerChange::default() });
    with(PeerChange { remove: true, ..peers[1].clone() });
    with(PeerChange {
        public_key: peers[0].public_key,
        replace_allowed_ips: true,
        keepalive: Some(25),
        preshared_key: Some([0; 32]),
        allowed_ips: vec![AllowedChange::Add("fd07::/64".parse().expect("a range"))],
        ..PeerChange::default()
    });
    let now = status();
    assert_eq!(now.peers.len(), 999);
    let first = now.peers.iter().find(|peer| peer.public_key == peers[0].public_key).expect("the first");
    assert_eq!((first.keepalive, *first.preshared_key), (25, [0; 32]));
    assert_eq!(first.allowed_ips, ["fd07::/64".parse().expect("a range")]);
    let none = SetRequest { fwmark: Some(0), replace_peers: true, ..SetRequest::default() };
    a.ask(none.to_string().as_bytes());
    assert_eq!((status().peers.len(), status().fwmark), (0, 0));
}

/// With a pre-shared key, asked by either.
pub(crate) fn preshared_keys_with_wireguard_go() {
    for kinds in [[Kind::Ours, Kind::Go], [Kind::Go, Kind::Ours]] {
        let ends = pair(Setup { name: "wgp", kinds, mtu: 1500 });
        let psk = |end: &End, other: &End, key: u8| {
            let change = PeerChange {
                public_key: other.key.public().0,
                preshared_key: Some([key; 32]),
                ..PeerChange::default()
            };
            let request = SetRequest { peers: vec![change], ..SetRequest::default() };
            assert!(end.ask(request.to_string().as_bytes()).contains("errno=0"));
        };
        psk(&ends[0], &ends[1], 7);
        assert!(!echo(&ends[0], ends[1].inside[0]), "only one has the key");
        psk(&ends[1], &ends[0], 7);
        until("a handshake with the key that both have", || echo(&ends[0], ends[1].inside[0]));
        everything(&ends);
    }
}

/// Strangers flood a device with initiations that cost it something to refuse; a peer of it still gets in.
pub(crate) fn cookies_under_load() {
    for kinds in [[Kind::Go, Kind::Ours], [Kind::Ours, Kind::Go], [Kind::Ours, Kind::Ours]] {
        let ends = pair(Setup { name: "wgf", kinds, mtu: 1500 });
        let [asker, flooded] = &ends;
        let target = SocketAddr::new(flooded.underlay[0], PORT);
        let initiation = initiation(flooded.key.public().0, target);
        let socket = asker
            .netns
            .netns()
            .run(|| UdpSocket::bind((asker.underlay[0], 0)))
            .expect("netns")
            .expect("bind");
        // Before anybody waits: a wait that has begun goes on for as long as it was told.
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("timeout");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Refused or lost ones are as good. Some at once, as waiting for an answer may take a tick.
                    for _ in 0..16 {
                        let _ = socket.send_to(&initiation, target);
                    }
                    let _ = socket.recv(&mut [0; 256]);
                }
            });
            let _ended = Ended(&done);
            if kinds[1] == Kind::Ours {
                until("the device to be busy", || flooded.device.drops().expect("counters")["busy"] > 100);
            }
            until("a handshake in spite of the flood", || echo(asker, flooded.inside[0]));
        });
        assert!(asker.stats(flooded).last_handshake.is_some());
    }
}

/// Ends the flood, also where the test fails: else it would be waited for.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A message from nobody, for the device with this key.
fn initiation(to: [u8; 32], at: SocketAddr) -> Vec<u8> {
    let mut device = Device::new(Box::new(|bytes| bytes.fill(5)));
    device.set_key(Some([77; 32]));
    let now = Now { uptime: Duration::from_secs(1), unix: Duration::from_secs(1_700_000_000) };
    let peer =
        PeerChange { public_key: to, endpoint: Some(at), keepalive: Some(25), ..PeerChange::default() };
    device.change_peer(&peer, now);
    device.handle_timeout(now);
    device.poll_transmit().expect("an initiation").datagram
}

impl End {
    /// Says this on the control socket; the whole answer.
    fn ask(&self, request: &[u8]) -> String {
        let path = Options::new(self.device.interface()).socket();
        let mut stream = UnixStream::connect(path).expect("connect");
        stream.write_all(request).expect("write");
        stream.shutdown(Shutdown::Write).expect("shutdown");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }
}
