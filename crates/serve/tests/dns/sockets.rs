//! The server over real sockets, asked by `dig` (bind9-dnsutils), and upstream servers of every kind.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use causeway_serve::dns::{Options, Reason, Server, Shared, Told, Upstreams};
use engine::names::Planner;
use engine::services::View;
use model::{Change, Key, Object};

use crate::message::{A, Message, question};
use crate::world::{self, me, settings, zone};

pub(crate) fn server(upstreams: Upstreams, listen: &[&str]) -> (Server, Arc<Shared>, Vec<SocketAddr>) {
    let shared = Arc::new(Shared::new(zone()));
    shared.set_askers(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    let mut server = Server::start(Arc::clone(&shared), Options { upstreams }).unwrap();
    let wanted: Vec<SocketAddr> = listen.iter().map(|a| a.parse().unwrap()).collect();
    let errors = server.listen(&wanted);
    assert!(errors.is_empty(), "{errors:?}");
    let addresses = server.addresses();
    (server, shared, addresses)
}

/// Runs `dig` and gives what it prints.
pub(crate) fn dig(server: SocketAddr, words: &[&str]) -> String {
    let at = format!("@{}", server.ip());
    let port = server.port().to_string();
    let output = Command::new("dig")
        .args([at.as_str(), "-p", &port, "+tries=1", "+time=5"])
        .args(words)
        .output()
        .expect("dig is there: apt-get install bind9-dnsutils");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn dig_over_both_protocols_and_families() {
    let (_server, shared, addresses) = server(Upstreams::None, &["127.0.0.1:0", "[::1]:0"]);
    assert_eq!(addresses.len(), 2);
    let name = "echo.demo.svc.clusterset.local";
    for address in &addresses {
        for protocol in ["+notcp", "+tcp"] {
            assert_eq!(dig(*address, &["+short", protocol, name]), "10.200.0.7\n", "{address} {protocol}");
        }
        let all = dig(*address, &["many.demo.svc.clusterset.local", "+bufsize=512"]);
        assert!(all.contains("ANSWER: 60") && all.contains("(TCP)"), "{all}");
        let some = dig(*address, &["many.demo.svc.clusterset.local", "+noedns", "+ignore"]);
        assert!(some.contains(" tc") && !some.contains("ANSWER: 60"), "{some}");
        let none = dig(*address, &["none.demo.svc.clusterset.local"]);
        assert!(none.contains("NXDOMAIN") && none.contains("SOA\tns.dns.clusterset.local."), "{none}");
        let version = dig(*address, &[name, "+edns=7", "+noednsnegotiation"]);
        assert!(version.contains("BADVERS"), "{version}");
        // Several questions over one connection.
        let two = dig(*address, &["+tcp", "+keepopen", "+short", name, name, "AAAA"]);
        assert_eq!(two, "10.200.0.7\nfd00:c8::7\n");
    }
    assert_eq!(shared.counters().get(Reason::NoName), 2);
    assert_eq!(shared.counters().get(Reason::BadVersion), 2);
    assert!(shared.counters().get(Reason::Truncated) >= 4);
}

#[test]
fn strangers_are_refused() {
    let (_server, shared, addresses) = server(Upstreams::Fixed(vec![]), &["127.0.0.1:0"]);
    shared.set_askers(vec!["10.0.0.0/8".parse().unwrap()]);
    for protocol in ["+notcp", "+tcp"] {
        let told = dig(addresses[0], &["echo.demo.svc.clusterset.local", protocol]);
        assert!(told.contains("REFUSED") && told.contains("ANSWER: 0"), "{told}");
    }
    assert_eq!(shared.counters().get(Reason::Stranger), 2);
}

/// A change is there for the next question.
#[test]
fn a_change_is_seen_at_once() {
    let (_server, shared, addresses) = server(Upstreams::None, &["127.0.0.1:0"]);
    let (mut world, me, dead) = (world::world(), me(), BTreeSet::new());
    let mut planner = Planner::new(settings());
    planner.everything(&View { dead: &dead, ..View::new(&world, &me) });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(addresses[0]).unwrap();
    let packet = question("db.demo.svc.clusterset.local", A);
    let ask = || {
        socket.send(&packet).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        Message::read(&buffer[..length]).answers()
    };
    let endpoint = world::endpoint("db", "db-2", &["10.2.0.7"], "db-2");
    let key = Key::Endpoint(endpoint.key.clone());
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        for (change, want) in
            [(Change::Upsert(Object::Endpoint(endpoint.clone())), 3), (Change::Delete(key.clone()), 2)]
        {
            let had = Instant::now();
            world.apply(change);
            shared.apply(planner.follow(&View { dead: &dead, ..View::new(&world, &me) }, [&key]));
            slowest = slowest.max(had.elapsed());
            assert_eq!(ask(), want);
        }
    }
    println!("the slowest of 200 changes took {slowest:?} to be visible");
}

/// An upstream server that answers with an address; `behave` may change the answer, or say that there is none.
fn upstream(behave: impl Fn(&mut Vec<u8>) -> bool + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let address = ports::free();
    let udp = UdpSocket::bind(address).unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let behave = Arc::new(behave);
    let reply = {
        let asked = Arc::clone(&asked);
        move |packet: &[u8]| {
            asked.fetch_add(1, Ordering::Relaxed);
            let name = packet[12..].iter().position(|byte| *byte == 0).unwrap();
            let mut answer = packet[..12 + name + 5].to_vec();
            answer[2] |= 0x80;
            (answer[7], answer[11]) = (1, 0);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
            behave(&mut answer).then_some(answer)
        }
    };
    let over_tcp = reply.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            if let Some(packet) = reply(&buffer[..length]) {
                udp.send_to(&packet, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut packet).unwrap();
            if let Some(packet) = over_tcp(&packet) {
                stream.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&packet).unwrap();
            }
        }
    });
    (address, asked)
}

#[test]
fn what_is_elsewhere_is_asked_elsewhere() {
    let (silent, _) = upstream(|_| false);
    let (good, asked) = upstream(|_| true);
    let (_server, shared, addresses) = server(Upstreams::Fixed(vec![silent, good]), &["127.0.0.1:0"]);
    let told = dig(addresses[0], &["Example.COM"]);
    assert!(told.contains("192.0.2.80") && told.contains("NOERROR"), "{told}");
    // The one that answered is the first to be asked from now on.
    let begun = Instant::now();
    for protocol in ["+notcp", "+tcp"] {
        assert_eq!(dig(addresses[0], &["+short", "example.com", protocol]), "192.0.2.80\n");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((asked.load(Ordering::Relaxed), shared.counters().get(Reason::Forwarded)), (3, 3));
    // Ours are never asked for elsewhere.
    assert!(dig(addresses[0], &["none.demo.svc.clusterset.local"]).contains("NXDOMAIN"));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// Whoever must know where a name leads knows it before the client does.
#[test]
fn a_witness_is_told_first() {
    let (good, _) = upstream(|_| true);
    let (_server, shared, addresses) = server(Upstreams::Fixed(vec![good]), &["127.0.0.1:0"]);
    let (sender, heard) = std::sync::mpsc::channel();
    shared.set_witness(Box::new(move |told| sender.send(told.clone()).unwrap()));
    for protocol in ["+notcp", "+tcp"] {
        assert_eq!(dig(addresses[0], &["+short", "Example.COM", protocol]), "192.0.2.80\n");
        let told = heard.try_recv().expect("told before dig was");
        let want = Told { name: "example.com".into(), ips: vec!["192.0.2.80".parse().unwrap()], ttl: 60 };
        assert_eq!(told, want);
    }
    // Ours nobody else tells.
    dig(addresses[0], &["echo.demo.svc.clusterset.local"]);
    assert!(heard.try_recv().is_err());
}

#[test]
fn an_answer_cut_short_is_asked_for_again_over_tcp() {
    let cut = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&cut);
    let (big, asked) = upstream(move |message| {
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            message[2] |= 2;
        }
        true
    });
    let (_server, _, addresses) = server(Upstreams::Fixed(vec![big]), &["127.0.0.1:0"]);
    assert_eq!(dig(addresses[0], &["+short", "example.com"]), "192.0.2.80\n");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn nobody_answers() {
    let (silent, _) = upstream(|_| false);
    let (liar, _) = upstream(|message| {
        message[0] ^= 1;
        true
    });
    let (_server, shared, addresses) = server(Upstreams::Fixed(vec![silent, liar]), &["127.0.0.1:0"]);
    let told = dig(addresses[0], &["example.com", "+time=10"]);
    assert!(told.contains("SERVFAIL"), "{told}");
    assert_eq!(shared.counters().get(Reason::UpstreamFailed), 1);
    let (_server, _, addresses) = server(Upstreams::None, &["127.0.0.1:0"]);
    assert!(dig(addresses[0], &["example.com"]).contains("REFUSED"));
}

#[test]
fn servers_from_a_file() {
    let (_server, shared, addresses) =
        server(Upstreams::File("/nowhere/resolv.conf".into()), &["127.0.0.1:0"]);
    assert!(dig(addresses[0], &["example.com"]).contains("SERVFAIL"));
    assert_eq!(shared.counters().get(Reason::UpstreamFailed), 1);
}

/// Datagrams and streams of anything at all; the next honest question is answered.
#[test]
fn noise() {
    let (_server, shared, addresses) = server(Upstreams::None, &["127.0.0.1:0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = question("echo.demo.svc.clusterset.local", A);
    for n in 0..2000usize {
        let mut packet = good.clone();
        packet[n % good.len()] ^= u8::try_from(n % 255).unwrap() + 1;
        packet.truncate(good.len() - n % 7);
        socket.send_to(&packet, addresses[0]).unwrap();
    }
    socket.send_to(&[0xff; 9000], addresses[0]).unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0], &[0xff, 0xff, 1]] {
        TcpStream::connect(addresses[0]).unwrap().write_all(garbage).unwrap();
    }
    assert_eq!(dig(addresses[0], &["+short", "echo.demo.svc.clusterset.local"]), "10.200.0.7\n");
    assert!(shared.counters().get(Reason::Malformed) > 100);
}

/// Addresses come and go; one that the machine does not have yet is waited for.
#[test]
fn listening() {
    // Not the kernel's choice: another test could have that port as soon as it is free.
    let first = ports::free().to_string();
    let (mut server, _, addresses) = server(Upstreams::None, &[&first, "[fd00:dead::1]:0", "192.0.2.1:0"]);
    assert_eq!(addresses.len(), 3);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let errors = server.listen(&[taken.local_addr().unwrap()]);
    assert!(errors[0].to_string().contains("another DNS server"), "{}", errors[0]);
    assert!(server.addresses().is_empty());
    // A process that another test has just begun has all that was open until it is another program.
    let until = Instant::now() + Duration::from_secs(10);
    while UdpSocket::bind(&first).is_err() {
        assert!(Instant::now() < until, "what is not listened on any more is free");
        std::thread::yield_now();
    }
    drop(taken);
    assert!(server.listen(&["127.0.0.1:0".parse().unwrap()]).is_empty());
}
