//! Policies, in real packets: between pods, through services, from clients outside, and while they change.

#[path = "../bpf_common/mod.rs"]
mod bpf_common;
mod host;
#[path = "../net_common/mod.rs"]
mod net_common;
mod packets;
mod rules;
#[path = "../bpf_edge/talk.rs"]
mod talk;
#[path = "../bpf_edge/world.rs"]
mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use bpf_common::{Wanted, backend, converge, counted, ip};
use causeway_kernel::bpf::policing::{Established, EventKind};
use causeway_kernel::bpf::{Datapath, TcHook};
use causeway_kernel::netns::Netns;
use engine::plan::policing::Judged::{By, Closed, Open};
use model::policy::PolicyAction;
use model::{Protocol, Tier};
use packets::Raw;
use rules::{IN, OUT, Rules};
use talk::{Server, Way, datagram, echo, nothing_comes};
use world::{CLIENT, FAR, MESH, NEAR, NODE, OTHER, World};

const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 8080;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: [u8; 2] = [1, 58];
const REQUEST: [u16; 2] = [8, 128];
const SCTP: u8 = 132;
/// The identity of the pod that is far away.
const FARTHER: u64 = 1001;
/// The class of the range of the client, not of the other one.
const CLASS: u64 = 3001;
const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

fn way<'a>(from: &'a Netns, dialled: SocketAddr) -> Way<'a> {
    Way { from, own: None, dialled }
}

fn own() -> Vec<IpAddr> {
    [NODE, MESH].into_iter().flatten().map(ip).collect()
}

/// The near pod isolated in these directions; the far one known.
fn isolated(ingress: bool, egress: bool) -> Rules {
    let judged = |is, by| if is { By(by) } else { Open };
    [0, 1].into_iter().fold(Rules::new(&own()), |rules, f| {
        rules.subject(ip(NEAR[f]), judged(ingress, IN), judged(egress, OUT)).identity(ip(FAR[f]), FARTHER)
    })
}

fn enforce(datapath: &mut Datapath, rules: &Rules) {
    rules.enforce(datapath.policing_mut()).unwrap();
    assert_eq!(datapath.policing().observe().unwrap(), rules.wanted);
}

/// Whether somebody is heard.
fn heard(server: &Server, way: Way<'_>) -> bool {
    match server {
        Server::Tcp(listener) => way.dial().is_ok_and(|_client| listener.accept().is_ok()),
        Server::Udp(socket) => {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            way.socket().send(b"hello").unwrap();
            match socket.recv_from(&mut [0; 100]) {
                Ok(_) => true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => false,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Whether somebody is not heard; what is dropped is dropped in silence, and counted.
fn unheard(datapath: &Datapath, server: &Server, way: Way<'_>) -> bool {
    let before = dropped(datapath);
    let lost = || dropped(datapath) > before;
    match server {
        Server::Tcp(_) => way.is_not_answered(lost),
        Server::Udp(socket) => {
            way.socket().send(b"hello").unwrap();
            nothing_comes(lost, |step| comes(socket, step))
        }
    }
}

/// Whether a datagram comes within this time.
fn comes(socket: &UdpSocket, time: Duration) -> bool {
    socket.set_read_timeout(Some(time)).unwrap();
    match socket.recv_from(&mut [0; 5000]) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::WouldBlock => false,
        Err(e) => panic!("{e}"),
    }
}

/// How many packets policies have dropped, for whatever reason.
fn dropped(datapath: &Datapath) -> u64 {
    const REASONS: [&str; 7] = ["admin", "namespace", "isolated", "baseline", "closed", "unknown", "cut"];
    let counters = datapath.counters().expect("read the counters");
    let drops = |name: &str| {
        name == "pod_spoofed" || name.strip_prefix("policy_").is_some_and(|name| REASONS.contains(&name))
    };
    counters.iter().filter(|(reason, _)| drops(reason.name())).map(|(_, count)| count).sum()
}

/// Whether somebody is heard who ought to be, or is not who ought not.
fn is_heard_if(passes: bool, datapath: &Datapath, server: &Server, way: Way<'_>) -> bool {
    if passes { heard(server, way) } else { unheard(datapath, server, way) }
}

#[test]
fn who_may_talk_to_whom() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = World::new("policy", tc);
        let mut datapath = world.open();
        let (pod, far, node) = (world.pod.netns(), world.far.netns(), world.node.net.netns());
        world.node.leave(|| {
            for f in [0, 1] {
                for (protocol, number) in BOTH.into_iter().zip([TCP, UDP]) {
                    let case = format!("{tc:?} {protocol} family {f}");
                    let server = Server::new(pod, at(NEAR[f], PORT), protocol);
                    let shut = Server::new(pod, at(NEAR[f], PORT + 1), protocol);
                    let beyond = Server::new(far, at(FAR[f], PORT), protocol);
                    let [to_pod, to_shut] = [PORT, PORT + 1].map(|port| way(far, at(NEAR[f], port)));
                    let from_pod = way(pod, at(FAR[f], PORT));
                    enforce(&mut datapath, &Rules::new(&[]));
                    assert!(heard(&server, to_pod) && heard(&beyond, from_pod), "{case}: nobody is judged");
                    enforce(&mut datapath, &isolated(true, true));
                    assert!(
                        unheard(&datapath, &server, to_pod) && unheard(&datapath, &beyond, from_pod),
                        "{case}: isolated"
                    );
                    // The node itself; and what answers it, though nothing may leave the pod.
                    assert!(heard(&server, way(node, at(NEAR[f], PORT))), "{case}: the node");
                    let rules = isolated(true, true).accept(IN, FARTHER, Some((number, Some(PORT))));
                    enforce(&mut datapath, &rules);
                    assert!(heard(&server, to_pod), "{case}: allowed");
                    assert!(
                        unheard(&datapath, &shut, to_shut) && unheard(&datapath, &beyond, from_pod),
                        "{case}: that alone"
                    );
                    let rules = isolated(true, true).accept(OUT, FARTHER, Some((number, None)));
                    enforce(&mut datapath, &rules);
                    assert!(
                        heard(&beyond, from_pod) && unheard(&datapath, &server, to_pod),
                        "{case}: the other way"
                    );
                    enforce(&mut datapath, &isolated(true, false));
                    assert!(
                        heard(&beyond, from_pod) && unheard(&datapath, &server, to_pod),
                        "{case}: one way open"
                    );
                    let closed = [0, 1]
                        .into_iter()
                        .fold(Rules::new(&own()), |rules, f| rules.subject(ip(NEAR[f]), Open, Closed));
                    enforce(&mut datapath, &closed);
                    assert!(
                        unheard(&datapath, &beyond, from_pod) && heard(&server, to_pod),
                        "{case}: one way closed"
                    );
                }
            }
        });
        for reason in ["policy_new", "policy_established", "policy_reply", "policy_isolated", "policy_closed"]
        {
            assert!(counted(&datapath, reason) > 0, "{reason}");
        }
    }
}

/// A client with a connection, and both ends of that.
fn connected(from: &Netns, server: &Server, dialled: SocketAddr) -> (TcpStream, TcpStream) {
    let Server::Tcp(listener) = server else { panic!("datagrams make no connections") };
    let mut client = way(from, dialled).dial().unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    echo(&mut client, &mut accepted, 1000);
    (client, accepted)
}

/// Whether a word comes through within a moment.
fn comes_through(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    to.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    from.write_all(b"word").unwrap();
    to.read_exact(&mut [0; 4]).is_ok()
}

#[test]
fn connections_are_cut_or_kept_when_policies_change() {
    let world = World::new("policycut", TcHook::Best);
    let mut datapath = world.open();
    world.node.leave(|| {
        for f in [0, 1] {
            let server = Server::new(world.pod.netns(), at(NEAR[f], PORT), Protocol::Tcp);
            let allowed = isolated(true, false).accept(IN, FARTHER, Some((TCP, Some(PORT))));
            for established in [Established::Keep, Established::Cut] {
                datapath.policing_mut().set_established(established).unwrap();
                enforce(&mut datapath, &allowed);
                let (mut client, mut accepted) = connected(world.far.netns(), &server, at(NEAR[f], PORT));
                enforce(&mut datapath, &allowed);
                assert!(comes_through(&mut client, &mut accepted), "judged again");
                // What the pod may send is no way out: it is not its connection.
                enforce(&mut datapath, &isolated(true, false));
                let keeps = established == Established::Keep;
                assert_eq!(comes_through(&mut accepted, &mut client), keeps, "{established:?} from the pod");
                assert_eq!(comes_through(&mut client, &mut accepted), keeps, "{established:?} to the pod");
                assert!(unheard(&datapath, &server, way(world.far.netns(), at(NEAR[f], PORT))), "a new one");
            }
            // One that was there before anybody was judged.
            enforce(&mut datapath, &Rules::new(&own()));
            let (mut client, mut accepted) = connected(world.far.netns(), &server, at(NEAR[f], PORT));
            enforce(&mut datapath, &allowed);
            assert!(comes_through(&mut client, &mut accepted) && comes_through(&mut accepted, &mut client));
            let all = datapath.policing().connections().unwrap();
            assert!(all.iter().any(|c| c.peer == client.local_addr().unwrap() && !c.from_pod && c.replied));
        }
    });
    assert!(counted(&datapath, "policy_cut") > 0 && counted(&datapath, "policy_midway") > 0);
}

#[test]
fn services_are_judged_by_their_backends() {
    let world = World::new("policyvip", TcHook::Best);
    let mut datapath = world.open();
    let (pod, far) = (world.pod.netns(), world.far.netns());
    let vip = ["10.101.0.1", "fd00:101::1"];
    let mut wanted = Wanted::default();
    for f in [0, 1] {
        let backends = [backend(&at(FAR[f], PORT).to_string(), 0)];
        for protocol in BOTH {
            wanted = wanted.service(&at(vip[f], 80).to_string(), protocol, &[(Tier::Cluster, &backends)]);
        }
    }
    converge(&mut datapath, &wanted);
    for f in [0, 1] {
        for (protocol, number) in BOTH.into_iter().zip([TCP, UDP]) {
            let server = Server::new(far, at(FAR[f], PORT), protocol);
            for (port, passes) in [(PORT, true), (80, false)] {
                let rules = isolated(true, true).accept(OUT, FARTHER, Some((number, Some(port))));
                enforce(&mut datapath, &rules);
                let from_pod = way(pod, at(vip[f], 80));
                // By the socket's hook; and in packets.
                assert!(is_heard_if(passes, &datapath, &server, from_pod), "{protocol} {f} {port}: socket");
                let packets = world.node.leave(|| is_heard_if(passes, &datapath, &server, from_pod));
                assert!(packets, "{protocol} {f} {port}: packets");
            }
        }
    }
    assert!(counted(&datapath, "edge_opened") > 0, "some were led in packets");
}

#[test]
fn clients_outside_are_judged_by_their_own_addresses() {
    let world = World::new("policyout", TcHook::Best);
    let mut datapath = world.open();
    let client = world.client.netns();
    let mut wanted = Wanted::default();
    for f in [0, 1] {
        let backends = [backend(&at(NEAR[f], PORT).to_string(), 0)];
        for protocol in BOTH {
            wanted =
                wanted.outside(&at(NODE[f], 30001).to_string(), protocol, &backends, |o| o.masquerade = true);
        }
    }
    converge(&mut datapath, &wanted);
    let rules = isolated(true, true)
        .network(&format!("{}/32", CLIENT[0]), CLASS, false)
        .network(&format!("{}/128", CLIENT[1]), CLASS, false)
        .accept(IN, CLASS, None);
    enforce(&mut datapath, &rules);
    world.node.leave(|| {
        for f in [0, 1] {
            for protocol in BOTH {
                let server = Server::new(world.pod.netns(), at(NEAR[f], PORT), protocol);
                for (who, passes) in [(CLIENT[f], true), (OTHER[f], false)] {
                    let way = Way { from: client, own: Some(at(who, 0)), dialled: at(NODE[f], 30001) };
                    assert!(is_heard_if(passes, &datapath, &server, way), "{protocol} from {who}");
                    if passes && let Server::Udp(socket) = &server {
                        // And answered, though nothing may leave the pod.
                        let saw = datagram(&way.socket(), socket, 100).unwrap();
                        assert_eq!(saw.ip(), ip(MESH[f]));
                    }
                }
            }
        }
    });
}

fn ping(from: &Netns, seconds: &str, to: &str, bytes: u32) -> bool {
    let words = ["-q", "-c", "1", "-W", seconds, "-s", &bytes.to_string(), to];
    let run = || std::process::Command::new("ping").args(words).output();
    from.run(run).expect("enter the namespace").expect("run ping").status.success()
}

/// Whether an echo request of this size is answered.
fn pings(from: &Netns, to: &str, bytes: u32) -> bool {
    ping(from, "5", to, bytes)
}

/// Whether it is not, within a moment.
fn in_vain(from: &Netns, to: &str, bytes: u32) -> bool {
    !ping(from, "0.3", to, bytes)
}

#[test]
fn errors_fragments_and_echoes() {
    let world = World::new("policyicmp", TcHook::Best);
    let mut datapath = world.open();
    let (pod, far) = (world.pod.netns(), world.far.netns());
    for f in [0, 1] {
        // Echoes out, and nothing in but this port's datagrams.
        let rules = isolated(true, true).accept(OUT, FARTHER, Some((ICMP[f], Some(REQUEST[f])))).accept(
            IN,
            FARTHER,
            Some((UDP, Some(PORT))),
        );
        enforce(&mut datapath, &rules);
        assert!(pings(pod, FAR[f], 56) && in_vain(far, NEAR[f], 56), "echoes");
        assert!(pings(pod, FAR[f], 4000) && in_vain(far, NEAR[f], 4000), "echoes in fragments");
        // Nobody listens: the pod says so, and may, for it was asked.
        let asking = way(far, at(NEAR[f], PORT)).socket();
        asking.set_read_timeout(Some(PATIENCE)).unwrap();
        asking.send(b"hello").unwrap();
        assert_eq!(asking.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        for (port, passes) in [(PORT, true), (PORT + 1, false)] {
            let server = Server::new(pod, at(NEAR[f], port), Protocol::Udp);
            let Server::Udp(socket) = &server else { unreachable!() };
            let asking = way(far, at(NEAR[f], port)).socket();
            if passes {
                assert!(datagram(&asking, socket, 4000).is_some());
            } else {
                let before = dropped(&datapath);
                asking.send(&[1; 4000]).unwrap();
                assert!(nothing_comes(|| dropped(&datapath) > before, |step| comes(socket, step)));
            }
        }
    }
    assert!(counted(&datapath, "policy_related") >= 2);
}

#[test]
fn associations_and_what_has_no_ports() {
    let world = World::new("policyraw", TcHook::Best);
    let mut datapath = world.open();
    const GRE: u8 = 47;
    for f in [0, 1] {
        let [near, far] =
            [(&world.pod, NEAR[f]), (&world.far, FAR[f])].map(|(netns, own)| (netns.netns(), ip(own)));
        let sctp = |port| isolated(true, true).accept(IN, FARTHER, Some((SCTP, Some(port))));
        for (rules, protocol, passes) in [
            (sctp(PORT), SCTP, true),
            (sctp(PORT + 1), SCTP, false),
            (isolated(true, true).accept(IN, FARTHER, Some((TCP, Some(PORT)))), SCTP, false),
            (isolated(true, true).accept(IN, FARTHER, None), GRE, true),
            (sctp(PORT), GRE, false),
        ] {
            enforce(&mut datapath, &rules);
            let [server, client] = [near, far].map(|(netns, own)| Raw::new(netns, own, protocol));
            let before = dropped(&datapath);
            client.send(near.1, &packets::init(5555, PORT));
            if !passes {
                let lost = || dropped(&datapath) > before;
                assert!(nothing_comes(lost, |step| server.hears(step)), "{protocol} {f}");
            } else {
                assert!(server.hears(PATIENCE), "{protocol} {f}");
                server.send(far.1, &packets::init_ack(PORT, 5555));
                assert!(client.hears(PATIENCE), "the answer of {protocol} {f}");
            }
        }
    }
}

#[test]
fn spoofed_sources_are_dropped_whatever_policies_say() {
    let world = World::new("policyspoof", TcHook::Best);
    let mut datapath = world.open();
    enforce(&mut datapath, &isolated(false, true).accept(OUT, 0, None));
    for (f, spoofed) in [(0, "10.1.0.77/32"), (1, "fd00:1::77/128")] {
        world.pod.run(&format!("ip addr add {spoofed} dev eth0 {}", if f == 1 { "nodad" } else { "" }));
        let server = Server::new(world.far.netns(), at(FAR[f], PORT), Protocol::Udp);
        let honest = Way { own: Some(at(NEAR[f], 0)), ..way(world.pod.netns(), at(FAR[f], PORT)) };
        let own = at(spoofed.split('/').next().unwrap(), 0);
        assert!(heard(&server, honest));
        let before = counted(&datapath, "pod_spoofed");
        assert!(unheard(&datapath, &server, Way { own: Some(own), ..honest }));
        assert!(counted(&datapath, "pod_spoofed") > before);
    }
}

#[test]
fn events_say_what_was_denied_and_who_is_unknown() {
    let world = World::new("policyevents", TcHook::Best);
    let mut datapath = world.open();
    let server = Server::new(world.pod.netns(), at(NEAR[0], PORT), Protocol::Udp);
    let to_pod = way(world.far.netns(), at(NEAR[0], PORT));
    let mut events = datapath.policing().events().unwrap();
    enforce(&mut datapath, &isolated(true, false).rule(IN, FARTHER, None, PolicyAction::Deny));
    assert!(unheard(&datapath, &server, to_pod));
    let event = events.poll().expect("it is told");
    assert_eq!((event.kind, event.reason.name()), (EventKind::Denied, "policy_namespace"));
    assert_eq!((event.pod, event.peer.ip()), (at(NEAR[0], PORT), ip(FAR[0])));
    assert_eq!((event.ruleset, event.rule, event.from_pod), (IN, Some((2, 3)), false));
    let mut rules = isolated(true, false).network("10.1.2.0/24", CLASS, true).accept(IN, FARTHER, None);
    rules.wanted.identities.clear();
    enforce(&mut datapath, &rules);
    assert!(unheard(&datapath, &server, to_pod));
    let event = events.poll().expect("it is told");
    assert_eq!((event.kind, event.reason.name()), (EventKind::Unknown, "policy_unknown"));
    assert!(events.poll().is_none());
    // It is resolved.
    datapath
        .policing_mut()
        .set_identities(&isolated(true, false).wanted.identities.into_iter().collect::<Vec<_>>())
        .unwrap();
    assert!(heard(&server, to_pod));
}

#[test]
fn ten_thousand_identities_and_a_new_agent() {
    let world = World::new("policymany", TcHook::Best);
    let mut datapath = world.open();
    let mut rules = isolated(true, true);
    for n in 0..10_000_u64 {
        let address = IpAddr::from([10, 2, (n >> 8) as u8, n as u8]);
        rules = rules.identity(address, 10_000 + n).accept(IN, 10_000 + n, Some((TCP, Some(PORT))));
    }
    enforce(&mut datapath, &rules);
    let server = Server::new(world.pod.netns(), at(NEAR[0], PORT), Protocol::Tcp);
    let to_pod = way(world.far.netns(), at(NEAR[0], PORT));
    assert!(unheard(&datapath, &server, to_pod));
    datapath
        .policing_mut()
        .set_identities(&[(ip(FAR[0]), rules.wanted.identities[&ip("10.2.39.15")])])
        .unwrap();
    assert!(heard(&server, to_pod));
    let (mut client, mut accepted) = connected(world.far.netns(), &server, at(NEAR[0], PORT));
    drop(datapath);
    assert!(comes_through(&mut client, &mut accepted) && heard(&server, to_pod), "without an agent");
    let mut datapath = world.open();
    assert!(comes_through(&mut client, &mut accepted) && heard(&server, to_pod), "with another one");
    assert_eq!(datapath.policing().observe().unwrap().verdicts.len(), 10_000);
    // Nothing is old yet; a day later everything is.
    let now = causeway_kernel::bpf::policing::clock();
    assert!(!datapath.policing().connections().unwrap().is_empty());
    assert_eq!(datapath.policing_mut().sweep(now).unwrap().removed, 0);
    // What is still being said of its end may bring one back.
    let begun = std::time::Instant::now();
    while !datapath.policing().connections().unwrap().is_empty() {
        let swept = datapath.policing_mut().sweep(now + Duration::from_secs(86_400)).unwrap();
        assert!(swept.removed <= swept.looked);
        assert!(begun.elapsed() < Duration::from_secs(5), "they stay");
    }
}
