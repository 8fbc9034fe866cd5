//! The plan's routes and the tunnel's addresses, on the real kernel: what was applied is what is observed.
//! Needs root.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_kernel::netlink::{LinkChange, Netlink, PROTOCOL_POD, RouteKind, RouteSpec, VethEnd, sysctl};
use causeway_kernel::routes::{self, Applied, Observed, RouteError};
use engine::plan::{Op, Route, RouteVia, State, diff};
use ipnet::IpNet;

mod net_common;
use net_common::{TestNetns, answers};

const TUNNEL: &str = "cw0";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A namespace with a device that stands in for the tunnel.
async fn with_tunnel(name: &str) -> (TestNetns, Netlink) {
    let test = TestNetns::new(name);
    sysctl::write(test.netns(), sysctl::NODE).unwrap();
    let netlink = Netlink::open_in(test.netns()).unwrap();
    add_tunnel(&netlink).await;
    (test, netlink)
}

async fn add_tunnel(netlink: &Netlink) {
    netlink.add_veth(&VethEnd::named(TUNNEL), &VethEnd::named("other")).await.unwrap();
}

async fn apply_all(netlink: &Netlink, ops: &[Op]) {
    for op in ops {
        assert_eq!(routes::apply(netlink, op, TUNNEL).await.unwrap(), Applied::Done, "{op:?}");
    }
}

fn state(observed: Observed) -> State {
    let mut state = State { routes: observed.routes, ..State::default() };
    state.tunnel.addresses = observed.addresses;
    state.tunnel.mtu = observed.mtu;
    state
}

/// Numbers without a generator of their own (Knuth's multiplicative congruence): the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// A state that uses every kind of route, with collisions between one state and the next.
fn some_state(numbers: &mut Numbers) -> State {
    let mut state = State::default();
    state.tunnel.mtu = [1280, 1420, 1500][numbers.below(3) as usize];
    state.tunnel.addresses = [net("10.1.0.1/32"), net("fd00:1::1/128")].into();
    if numbers.below(2) == 0 {
        state.tunnel.addresses.insert(net("10.1.9.1/32"));
    }
    for _ in 0..numbers.below(40) {
        let (third, v4) = (numbers.below(6), numbers.below(2) == 0);
        let to = match v4 {
            true => net(&format!("10.{third}.{}.0/24", numbers.below(3))),
            false => net(&format!("fd00:{third}:0:{}::/64", numbers.below(3))),
        };
        let to = if numbers.below(8) == 0 { to.supernet().unwrap() } else { to };
        let metric = [1, 100, 4096][numbers.below(3) as usize];
        let via = [RouteVia::Tunnel, RouteVia::Blackhole, RouteVia::Unreachable][numbers.below(3) as usize];
        let own = if v4 { ip("10.1.0.1") } else { ip("fd00:1::1") };
        let source = (via == RouteVia::Tunnel && numbers.below(2) == 0).then_some(own);
        let mtu = (via == RouteVia::Tunnel && numbers.below(2) == 0).then_some(1280);
        state.routes.insert((to, metric), Route { via, source, mtu });
    }
    state
}

#[tokio::test]
async fn what_was_applied_is_observed() {
    let (_test, netlink) = with_tunnel("routes").await;
    let mut numbers = Numbers(42);
    for round in 0..60 {
        let desired = some_state(&mut numbers);
        let observed = state(routes::observe(&netlink, TUNNEL).await.unwrap());
        apply_all(&netlink, &diff(&observed, &desired)).await;
        let observed = state(routes::observe(&netlink, TUNNEL).await.unwrap());
        assert_eq!(observed, desired, "round {round}");
    }
    let last = state(routes::observe(&netlink, TUNNEL).await.unwrap());
    apply_all(&netlink, &diff(&last, &State { tunnel: last.tunnel.clone(), ..State::default() })).await;
    assert_eq!(routes::observe(&netlink, TUNNEL).await.unwrap().routes, BTreeMap::new());
}

#[tokio::test]
async fn the_tunnel_takes_its_routes_along() {
    let (test, netlink) = with_tunnel("vanishing").await;
    let tunnelled = Route { via: RouteVia::Tunnel, source: Some(ip("10.1.0.1")), mtu: None };
    let nowhere = Route { via: RouteVia::Blackhole, source: None, mtu: None };
    let mut desired = State::default();
    desired.tunnel.mtu = 1420;
    desired.tunnel.addresses = [net("10.1.0.1/32"), net("fd00:1::1/128")].into();
    for to in [net("10.2.0.0/24"), net("fd00:2::/64")] {
        let source = if to.addr().is_ipv4() { tunnelled.source } else { None };
        desired.routes.insert((to, 100), Route { source, ..tunnelled.clone() });
        desired.routes.insert((to, 4096), nowhere.clone());
    }
    apply_all(&netlink, &diff(&State::default(), &desired)).await;
    assert_eq!(state(routes::observe(&netlink, TUNNEL).await.unwrap()), desired);
    assert!(test.run("ip route get 10.2.0.7").contains("dev cw0 src 10.1.0.1"));

    netlink.delete_link(TUNNEL).await.unwrap();
    let observed = routes::observe(&netlink, TUNNEL).await.unwrap();
    assert_eq!((observed.mtu, observed.addresses.len()), (0, 0));
    assert!(observed.routes.iter().all(|((_, metric), route)| *metric == 4096 && *route == nowhere));
    assert_eq!(observed.routes.len(), 2, "the way nowhere stays: nothing leaves in the clear");
    let op = Op::SetRoute(net("10.2.0.0/24"), 100, tunnelled);
    assert!(matches!(routes::apply(&netlink, &op, TUNNEL).await, Err(RouteError::NoTunnel { .. })));
    apply_all(&netlink, &[Op::DeleteAddress(net("10.1.0.1/32")), Op::DeleteRoute(net("10.2.0.0/24"), 100)])
        .await;

    add_tunnel(&netlink).await;
    let observed = state(routes::observe(&netlink, TUNNEL).await.unwrap());
    assert_eq!(observed.tunnel.mtu, 0, "there, but down");
    apply_all(&netlink, &diff(&observed, &desired)).await;
    assert_eq!(state(routes::observe(&netlink, TUNNEL).await.unwrap()), desired);
}

#[tokio::test]
async fn only_ours_is_seen() {
    let (test, netlink) = with_tunnel("others").await;
    netlink.set_up(netlink.index(TUNNEL).await.unwrap()).await.unwrap();
    test.run("ip route add blackhole 10.3.0.0/24 metric 100");
    test.run("ip -6 route add blackhole fd00:3::/64 metric 100");
    let device = netlink.index(TUNNEL).await.unwrap();
    let pod = RouteSpec {
        protocol: PROTOCOL_POD,
        ..RouteSpec::new(net("10.1.0.2/32"), RouteKind::Unicast { device, gateway: None })
    };
    netlink.set_route(&pod).await.unwrap();
    assert_eq!(netlink.routes(PROTOCOL_POD).await.unwrap(), [pod]);
    assert_eq!(routes::observe(&netlink, TUNNEL).await.unwrap().routes, BTreeMap::new());
    let op = Op::SetRoute(net("10.9.0.0/24"), 0, Route { via: RouteVia::Blackhole, source: None, mtu: None });
    assert!(matches!(routes::apply(&netlink, &op, TUNNEL).await, Err(RouteError::Metric(_))));
    assert_eq!(routes::apply(&netlink, &Op::MarkDead(7), TUNNEL).await.unwrap(), Applied::NotMine);
}

#[tokio::test]
async fn devices() {
    let (left, right) = (TestNetns::new("left"), TestNetns::new("right"));
    let netlink = Netlink::open_in(left.netns()).unwrap();
    let there = Netlink::open_in(right.netns()).unwrap();
    let mac = "02:00:5e:10:00:01".parse().unwrap();
    netlink.add_bridge("br0").await.unwrap();
    assert!(netlink.add_bridge("br0").await.unwrap_err().is_exists());
    let far =
        VethEnd { netns: Some(right.netns()), mtu: Some(1400), mac: Some(mac), ..VethEnd::named("eth0") };
    netlink.add_veth(&VethEnd { mtu: Some(1400), ..VethEnd::named("port") }, &far).await.unwrap();

    let (bridge, port) =
        (netlink.link("br0").await.unwrap().unwrap(), netlink.link("port").await.unwrap().unwrap());
    assert_eq!((bridge.up, bridge.kind.as_deref()), (true, Some("bridge")));
    let far = there.link("eth0").await.unwrap().unwrap();
    assert_eq!((far.mtu, far.mac, far.kind.as_deref()), (1400, Some(mac), Some("veth")));
    assert_eq!(port.peer, Some(far.index));
    netlink
        .set_link(
            port.index,
            &LinkChange { master: Some(bridge.index), up: Some(true), ..LinkChange::default() },
        )
        .await
        .unwrap();
    there.set_up(far.index).await.unwrap();
    netlink.add_address(bridge.index, net("172.16.1.254/24")).await.unwrap();
    netlink.add_address(bridge.index, net("172.16.1.254/24")).await.unwrap();
    there.add_address(far.index, net("172.16.1.7/24")).await.unwrap();
    there.add_address(far.index, net("fd10::7/64")).await.unwrap();
    netlink.add_address(bridge.index, net("fd10::fe/64")).await.unwrap();
    assert_eq!(there.addresses(far.index).await.unwrap(), [net("172.16.1.7/24"), net("fd10::7/64")].into());
    assert!(answers(right.netns(), ip("172.16.1.254")).await);
    assert!(answers(right.netns(), ip("fd10::fe")).await);
    let route = RouteSpec::new(
        net("0.0.0.0/0"),
        RouteKind::Unicast { device: far.index, gateway: Some(ip("172.16.1.254")) },
    );
    there.set_route(&route).await.unwrap();
    assert_eq!(there.routes(route.protocol).await.unwrap(), std::slice::from_ref(&route));
    there.delete_route(route.to, route.metric, route.protocol).await.unwrap();
    there.delete_route(route.to, route.metric, route.protocol).await.unwrap();
    assert_eq!(there.routes(route.protocol).await.unwrap(), []);
    there.delete_address(far.index, net("172.16.1.7/24")).await.unwrap();
    there.delete_address(far.index, net("172.16.1.7/24")).await.unwrap();
    netlink.delete_link("port").await.unwrap();
    netlink.delete_link("port").await.unwrap();
    assert_eq!(there.link("eth0").await.unwrap(), None);
    assert!(there.index("eth0").await.unwrap_err().is_missing());
    let names: Vec<_> = netlink.links().await.unwrap().into_iter().map(|link| link.name).collect();
    assert!(names.contains(&"lo".into()) && names.contains(&"br0".into()), "{names:?}");
}
