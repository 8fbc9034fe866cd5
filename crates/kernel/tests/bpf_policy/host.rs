//! Policies about the node itself, in real packets on its underlay.

use engine::plan::policing::Always;

use super::*;

/// The node isolated in both directions, but for what always passes.
fn host(ingress: engine::plan::policing::Judged, egress: engine::plan::policing::Judged) -> Rules {
    NODE.iter().fold(Rules::new(&own()), |rules, at| rules.subject(ip(at), ingress, egress))
}

/// The same, and the client known by its addresses; the other one is not.
fn with_client() -> Rules {
    let range = [format!("{}/32", CLIENT[0]), format!("{}/128", CLIENT[1])];
    range.iter().fold(host(By(IN), By(OUT)), |rules, range| rules.network(range, CLASS, false))
}

fn judging(name: &str, tc: TcHook) -> World {
    let mut world = World::new(name, tc);
    world.node.options.judge_host = true;
    world
}

/// How the client, or the other one, dials.
fn from<'a>(world: &'a World, who: &str, dialled: SocketAddr) -> Way<'a> {
    Way { own: Some(at(who, 0)), ..way(world.client.netns(), dialled) }
}

#[test]
fn a_node_is_judged_by_its_own_addresses() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let mut world = judging("policyhost", tc);
        let mut datapath = world.open();
        world.node.leave(|| {
            let node = world.node.net.netns();
            for f in [0, 1] {
                for (protocol, number) in BOTH.into_iter().zip([TCP, UDP]) {
                    let case = format!("{tc:?} {protocol} family {f}");
                    let server = Server::new(node, at(NODE[f], PORT), protocol);
                    let beyond = Server::new(world.client.netns(), at(CLIENT[f], PORT), protocol);
                    let [client, other] = [CLIENT, OTHER].map(|who| from(&world, who[f], at(NODE[f], PORT)));
                    let out = way(node, at(CLIENT[f], PORT));
                    enforce(&mut datapath, &Rules::new(&own()));
                    assert!(heard(&server, client) && heard(&beyond, out), "{case}: nobody is judged");
                    enforce(&mut datapath, &with_client());
                    assert!(
                        unheard(&datapath, &server, client) && unheard(&datapath, &beyond, out),
                        "{case}: isolated"
                    );
                    enforce(&mut datapath, &with_client().accept(IN, CLASS, Some((number, Some(PORT)))));
                    assert!(heard(&server, client), "{case}: allowed, and answered though nothing may leave");
                    assert!(
                        unheard(&datapath, &server, other) && unheard(&datapath, &beyond, out),
                        "{case}: that one alone"
                    );
                    enforce(&mut datapath, &with_client().accept(OUT, CLASS, Some((number, None))));
                    assert!(
                        heard(&beyond, out) && unheard(&datapath, &server, client),
                        "{case}: the other way"
                    );
                    // Nothing is known of its rules: but the way to it stays open.
                    let closed = host(Closed, Closed);
                    enforce(&mut datapath, &closed.clone().always(Always::Port(number, PORT)));
                    assert!(heard(&server, client) && heard(&server, other), "{case}: always");
                    assert!(unheard(&datapath, &beyond, out), "{case}: its own port alone");
                    enforce(&mut datapath, &closed.clone().always(Always::OthersPort(TCP, PORT)));
                    assert!(
                        is_heard_if(protocol == Protocol::Tcp, &datapath, &beyond, out),
                        "{case}: others' port"
                    );
                    assert!(unheard(&datapath, &server, client), "{case}: others' port alone");
                    enforce(&mut datapath, &closed.clone().always(Always::Address(ip(CLIENT[f]))));
                    assert!(heard(&server, client) && heard(&beyond, out), "{case}: an address");
                    assert!(unheard(&datapath, &server, other), "{case}: that address alone");
                }
            }
        });
        for reason in ["policy_new", "policy_always", "policy_isolated", "policy_closed", "policy_neighbour"]
        {
            assert!(counted(&datapath, reason) > 0, "{reason}");
        }
        // Nobody asks for it any more: the rules stay where they are, and nothing is asked.
        drop(datapath);
        world.node.options.judge_host = false;
        let datapath = world.open();
        world.node.leave(|| {
            let server = Server::new(world.node.net.netns(), at(NODE[0], PORT), Protocol::Tcp);
            assert!(heard(&server, from(&world, OTHER[0], at(NODE[0], PORT))));
        });
        drop(datapath);
    }
}

#[test]
fn what_is_denied_is_told_and_errors_are_not() {
    let world = judging("policyhosttold", TcHook::Best);
    let mut datapath = world.open();
    let mut events = datapath.policing().events().unwrap();
    let rule = Some((UDP, Some(PORT)));
    world.node.leave(|| {
        for f in [0, 1] {
            enforce(&mut datapath, &with_client().rule(IN, CLASS, rule, PolicyAction::Deny));
            let server = Server::new(world.node.net.netns(), at(NODE[f], PORT), Protocol::Udp);
            assert!(unheard(&datapath, &server, from(&world, CLIENT[f], at(NODE[f], PORT))));
            let event = std::iter::from_fn(|| events.poll()).find(|event| event.protocol == UDP);
            let event = event.expect("it is told");
            assert_eq!((event.kind, event.reason.name()), (EventKind::Denied, "policy_namespace"));
            assert_eq!((event.pod, event.peer.ip()), (at(NODE[f], PORT), ip(CLIENT[f])));
            assert_eq!((event.ruleset, event.rule, event.from_pod), (IN, Some((2, 3)), false));
            drop(server);
            // Nobody listens: the node says so, though nothing may leave it.
            enforce(&mut datapath, &with_client().accept(IN, CLASS, rule));
            let asking = from(&world, CLIENT[f], at(NODE[f], PORT)).socket();
            asking.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            asking.send(b"hello").unwrap();
            assert_eq!(asking.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
    let client = world.client.netns();
    for f in [0, 1] {
        enforce(&mut datapath, &with_client());
        assert!(in_vain(client, NODE[f], 56), "an echo is no error");
        enforce(&mut datapath, &with_client().accept(IN, CLASS, Some((ICMP[f], Some(REQUEST[f])))));
        assert!(pings(client, NODE[f], 56), "and answered");
    }
}

#[test]
fn what_a_node_forwards_is_its_pods() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = judging("policyhostfwd", tc);
        let mut datapath = world.open();
        // Pods leave in the node's name.
        for (family, own) in [("ip", NEAR[0]), ("ip6", NEAR[1])] {
            for line in [
                format!("add table {family} t"),
                format!("add chain {family} t c {{ type nat hook postrouting priority 100 ; }}"),
                format!("add rule {family} t c {family} saddr {own} oifname eth0 masquerade"),
            ] {
                let run = || std::process::Command::new("nft").arg(&line).status();
                let done = world.node.net.netns().run(run).unwrap().unwrap();
                assert!(done.success(), "nft {line}");
            }
        }
        enforce(&mut datapath, &host(By(IN), By(OUT)));
        world.node.leave(|| {
            for f in [0, 1] {
                for protocol in BOTH {
                    let beyond = Server::new(world.client.netns(), at(CLIENT[f], PORT), protocol);
                    let out = way(world.pod.netns(), at(CLIENT[f], PORT));
                    match &beyond {
                        Server::Udp(socket) => {
                            let saw = datagram(&out.socket(), socket, 100).expect("it is answered");
                            assert_eq!(saw.ip(), ip(NODE[f]), "{tc:?} in the node's name");
                        }
                        Server::Tcp(_) => {
                            let (mut client, mut accepted) =
                                connected(world.pod.netns(), &beyond, at(CLIENT[f], PORT));
                            // Policies that change are none of its business.
                            enforce(&mut datapath, &host(By(IN), By(OUT)));
                            assert!(comes_through(&mut accepted, &mut client), "{tc:?} back");
                            assert!(comes_through(&mut client, &mut accepted), "{tc:?} on");
                        }
                    }
                    let own = way(world.node.net.netns(), at(CLIENT[f], PORT));
                    assert!(unheard(&datapath, &beyond, own), "{tc:?} the node itself may not");
                }
            }
        });
    }
}

#[test]
fn services_of_the_node_itself_are_judged_by_the_real_port() {
    for tc in [TcHook::Best, TcHook::Clsact] {
        let world = judging("policyhostport", tc);
        let mut datapath = world.open();
        let mut wanted = Wanted::default();
        for f in [0, 1] {
            let backends = [backend(&at(NODE[f], PORT).to_string(), 0)];
            wanted = wanted.outside(&at(NODE[f], 30001).to_string(), Protocol::Tcp, &backends, |_| {});
        }
        converge(&mut datapath, &wanted);
        world.node.leave(|| {
            for f in [0, 1] {
                let server = Server::new(world.node.net.netns(), at(NODE[f], PORT), Protocol::Tcp);
                for (port, passes) in [(PORT, true), (30001, false)] {
                    enforce(&mut datapath, &with_client().accept(IN, 0, Some((TCP, Some(port)))));
                    let dials = from(&world, CLIENT[f], at(NODE[f], 30001));
                    assert!(is_heard_if(passes, &datapath, &server, dials), "{tc:?} family {f} port {port}");
                }
            }
        });
    }
}
