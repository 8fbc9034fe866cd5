//! The schema, a row at a time: which names there are, and what they have.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{
    Change, Endpoint, EndpointPort, Import, Key, NodeName, Object, Prefer, Protocol, ServicePort, Terms,
    Traffic, World,
};

use super::*;
use crate::services::View;
use crate::testing::{cluster, cluster_name, endpoint, node, node_name, port, service, service_key};

/// A node that answers for names: the world, and what its zones made of it.
struct Server {
    world: World,
    me: NodeName,
    dead: BTreeSet<NodeName>,
    ranking: Vec<model::ClusterName>,
    planner: Planner,
    zone: Zone,
}

impl Server {
    fn new() -> Self {
        let settings = Settings {
            cluster: Some("cluster.local".parse().unwrap()),
            clusterset: Some("clusterset.local".parse().unwrap()),
            ttl: 5,
            servers: vec!["169.254.20.53".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        };
        let mut zone = Zone::new(&settings, 7);
        zone.set_synced(true);
        let mut server = Self {
            world: World::default(),
            me: node_name("aws/1"),
            dead: BTreeSet::new(),
            ranking: ["gcp", "azure"].map(cluster_name).into(),
            planner: Planner::new(settings),
            zone,
        };
        for (cluster_name, id) in [("aws", 1), ("gcp", 2), ("azure", 3)] {
            server.take(Object::Cluster(cluster(cluster_name, id, &[])));
        }
        for (name, zone) in [("aws/1", "a"), ("aws/2", "a"), ("aws/3", "b"), ("gcp/1", "x"), ("azure/1", "y")]
        {
            server.take(Object::Node(node(name, "r", zone)));
        }
        for cluster in ["aws", "gcp", "azure"] {
            server.take(exported(cluster, true));
        }
        server
    }

    /// A change of the world, and what follows for names.
    fn change(&mut self, change: Change) {
        let key = change.key();
        self.world.apply(change);
        let Self { world, me, dead, ranking, .. } = self;
        let updates = self.planner.follow(&View { dead, ranking, ..View::new(world, me) }, [&key]);
        updates.into_iter().for_each(|update| self.zone.apply(update));
        self.is_as_if_new();
    }

    fn take(&mut self, object: Object) {
        self.change(Change::Upsert(object));
    }

    fn mark(&mut self, node: &str, dead: bool) {
        let name = node_name(node);
        if dead {
            self.dead.insert(name.clone())
        } else {
            self.dead.remove(&name)
        };
        let Self { world, me, dead, ranking, .. } = self;
        let updates =
            self.planner.follow_nodes(&View { dead, ranking, ..View::new(world, me) }, &[name].into());
        updates.into_iter().for_each(|update| self.zone.apply(update));
        self.is_as_if_new();
    }

    /// Whatever came step by step is what one look at everything gives.
    fn is_as_if_new(&self) {
        let Self { world, me, dead, ranking, .. } = self;
        let mut planner = Planner::new(self.planner.settings().clone());
        let mut zone = Zone::new(self.planner.settings(), 7);
        planner
            .everything(&View { dead, ranking, ..View::new(world, me) })
            .into_iter()
            .for_each(|u| zone.apply(u));
        assert!(
            self.zone.content() == zone.content(),
            "{:#?}\nis not\n{:#?}",
            self.zone.owners(),
            zone.owners()
        );
    }

    /// What a question finds, as text.
    fn ask(&self, name: &str, kind: Kind) -> String {
        ask(&self.zone, name, kind)
    }

    fn check(&self, rows: &[(&str, Kind, &str)]) {
        for (name, kind, want) in rows {
            assert_eq!(self.ask(name, *kind), *want, "{name} {kind:?}");
        }
    }
}

fn ask(zone: &Zone, name: &str, kind: Kind) -> String {
    let name: Name = name.parse().unwrap();
    match zone.find(name.as_bytes(), kind) {
        Found::Data(set) => {
            let mut out = vec![0; 12 + name.as_bytes().len() + 4];
            let begin = out.len();
            let written = set.write(&mut out, 65_535, 0);
            assert_eq!(written, Written { answers: set.len(), extras: written.extras, truncated: false });
            records(&out, begin, written.answers).join(", ")
        }
        Found::Start(apex) => format!("SOA {}", apex.name()),
        Found::NoData(apex) => format!("NODATA {}", apex.name()),
        Found::NoName(apex) => format!("NXDOMAIN {}", apex.name()),
        Found::Unknown => "SERVFAIL".into(),
        Found::Elsewhere => "elsewhere".into(),
    }
}

/// A reader of its own for what was written.
fn records(message: &[u8], mut at: usize, count: u16) -> Vec<String> {
    let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    (0..count)
        .map(|_| {
            let (kind, length) = (Kind(number(at + 2)), usize::from(number(at + 10)));
            assert_eq!((number(at), &message[at + 6..at + 10]), (0xc00c, &[0, 0, 0, 5][..]));
            let data = &message[at + 12..at + 12 + length];
            at += 12 + length;
            match kind {
                Kind::A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                Kind::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                Kind::SRV => {
                    let at = |n: usize| u16::from_be_bytes([data[n], data[n + 1]]);
                    format!("{} {} {} {}", at(0), at(2), at(4), text(&data[6..]))
                }
                Kind::TXT => String::from_utf8(data[1..].to_vec()).unwrap(),
                _ => text(data),
            }
        })
        .collect()
}

fn text(mut name: &[u8]) -> String {
    let mut out = String::new();
    while name[0] > 0 {
        let (label, rest) = name[1..].split_at(usize::from(name[0]));
        out += std::str::from_utf8(label).unwrap();
        out.push('.');
        name = rest;
    }
    out
}

fn ports(ports: &[(&str, Protocol, u16)]) -> Vec<ServicePort> {
    let one =
        |(name, protocol, number): &(&str, Protocol, u16)| ServicePort::new(*name, *protocol, port(*number));
    ports.iter().map(one).collect()
}

fn ips(ips: &[&str]) -> Vec<IpAddr> {
    ips.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn import(name: &str, headless: bool, vips: &[&str], clusters: &[&str]) -> Object {
    Object::Import(Import {
        key: service_key("aws", name),
        vips: ips(vips),
        ports: ports(&[("http", Protocol::Tcp, 80), ("dns", Protocol::Udp, 53)]),
        terms: Terms { headless, ..Terms::default() },
        traffic: Default::default(),
        clusters: clusters.iter().map(|name| cluster_name(name)).collect(),
    })
}

/// `db`, and whether it is exported.
fn exported(cluster: &str, exported: bool) -> Object {
    let export = exported.then(Default::default);
    Object::Service(model::Service { headless: true, export, ..service(cluster, "db", &[], false) })
}

fn pod(cluster: &str, service: &str, pod: &str, addresses: &[&str], node: &str, hostname: &str) -> Object {
    let named = |name: &str, protocol, number| EndpointPort::new(name, protocol, port(number));
    Object::Endpoint(Endpoint {
        ips: ips(addresses),
        hostname: hostname.into(),
        ports: vec![named("http", Protocol::Tcp, 8080), named("dns", Protocol::Udp, 8080)],
        ..endpoint(cluster, service, pod, "192.0.2.1", Some(node))
    })
}

const ECHO: &str = "echo.demo.svc.clusterset.local";
const DB: &str = "db.demo.svc.clusterset.local";
const NODATA: &str = "NODATA clusterset.local.";
const NXDOMAIN: &str = "NXDOMAIN clusterset.local.";

#[test]
fn clusterset_ip() {
    let mut server = Server::new();
    server.take(import("echo", false, &["10.200.0.7", "fd00:c8::7"], &["gcp"]));
    let below = |prefix: &str| format!("{prefix}.{ECHO}");
    server.check(&[
        ("dns-version.clusterset.local", Kind::TXT, "1.0.0"),
        ("dns-version.clusterset.local", Kind::A, NODATA),
        (ECHO, Kind::A, "10.200.0.7"),
        (ECHO, Kind::AAAA, "fd00:c8::7"),
        (ECHO, Kind::TXT, NODATA),
        (
            ECHO,
            Kind::SRV,
            "0 100 53 echo.demo.svc.clusterset.local., 0 100 80 echo.demo.svc.clusterset.local.",
        ),
        (&below("_http._tcp"), Kind::SRV, "0 100 80 echo.demo.svc.clusterset.local."),
        (&below("_dns._udp"), Kind::SRV, "0 100 53 echo.demo.svc.clusterset.local."),
        (&below("_http._tcp"), Kind::A, NODATA),
        (&below("_http._udp"), Kind::SRV, NXDOMAIN),
        (&below("_other._tcp"), Kind::SRV, NXDOMAIN),
        (&below("_tcp"), Kind::SRV, NODATA),
        (&below("_sctp"), Kind::SRV, NXDOMAIN),
        (&below("gcp"), Kind::A, NXDOMAIN),
        (&below("10-2-0-5.gcp"), Kind::A, NXDOMAIN),
        ("demo.svc.clusterset.local", Kind::A, NODATA),
        ("svc.clusterset.local", Kind::A, NODATA),
        ("clusterset.local", Kind::A, NODATA),
        ("clusterset.local", Kind::SOA, "SOA clusterset.local."),
        ("clusterset.local", Kind::NS, "ns.dns.clusterset.local."),
        ("ns.dns.clusterset.local", Kind::A, "169.254.20.53"),
        ("ns.dns.clusterset.local", Kind::AAAA, "fd00:1::1"),
        ("other.demo.svc.clusterset.local", Kind::A, NXDOMAIN),
        ("other.svc.clusterset.local", Kind::A, NXDOMAIN),
        ("demo.clusterset.local", Kind::A, NXDOMAIN),
        ("echo.demo.svc.cluster.local", Kind::A, "NXDOMAIN cluster.local."),
        ("xclusterset.local", Kind::A, "elsewhere"),
        ("local", Kind::A, "elsewhere"),
        ("7.0.200.10.in-addr.arpa", Kind::PTR, "echo.demo.svc.clusterset.local."),
        ("8.0.200.10.in-addr.arpa", Kind::PTR, "elsewhere"),
    ]);

    server.take(import("echo", false, &["10.200.0.7"], &["gcp"]));
    server.check(&[(ECHO, Kind::A, "10.200.0.7"), (ECHO, Kind::AAAA, NODATA)]);

    server.change(Change::Delete(Key::Import(service_key("aws", "echo"))));
    server.check(&[
        (ECHO, Kind::A, NXDOMAIN),
        (&below("_http._tcp"), Kind::SRV, NXDOMAIN),
        ("demo.svc.clusterset.local", Kind::A, NXDOMAIN),
        ("svc.clusterset.local", Kind::A, NODATA),
        ("7.0.200.10.in-addr.arpa", Kind::PTR, "elsewhere"),
    ]);
}

#[test]
fn clusterset_headless() {
    let mut server = Server::new();
    server.take(import("db", true, &[], &["aws", "gcp"]));
    server.check(&[(DB, Kind::A, NXDOMAIN), ("demo.svc.clusterset.local", Kind::A, NODATA)]);
    server.take(pod("gcp", "db", "db-0", &["10.2.0.5", "fd00:2::5"], "gcp/1", "db-0"));
    server.take(pod("aws", "db", "db-0", &["10.1.3.5", "fd00:1::5"], "aws/3", "db-0"));
    server.take(pod("aws", "db", "x", &["10.1.0.6"], "aws/1", ""));
    server.take(pod("azure", "db", "x", &["10.3.0.6"], "azure/1", ""));
    let below = |prefix: &str| format!("{prefix}.{DB}");
    let places = "0 100 8080 10-1-0-6.aws.db.demo.svc.clusterset.local., 1 100 8080 \
                  db-0.aws.db.demo.svc.clusterset.local., 2 100 8080 db-0.gcp.db.demo.svc.clusterset.local.";
    server.check(&[
        // Nearest first; azure does not export it.
        (DB, Kind::A, "10.1.0.6, 10.1.3.5, 10.2.0.5"),
        (DB, Kind::AAAA, "fd00:1::5, fd00:2::5"),
        (DB, Kind::SRV, places),
        (&below("_http._tcp"), Kind::SRV, places),
        (&below("_dns._udp"), Kind::SRV, places),
        (&below("_dns._tcp"), Kind::SRV, NXDOMAIN),
        (&below("db-0.gcp"), Kind::A, "10.2.0.5"),
        (&below("db-0.gcp"), Kind::AAAA, "fd00:2::5"),
        (&below("db-0.aws"), Kind::A, "10.1.3.5"),
        (&below("10-1-0-6.aws"), Kind::A, "10.1.0.6"),
        (&below("10-1-0-6.aws"), Kind::AAAA, NODATA),
        (&below("db-1.gcp"), Kind::A, NXDOMAIN),
        (&below("db-0"), Kind::A, NXDOMAIN),
        (&below("gcp"), Kind::A, NXDOMAIN),
        (&below("gcp"), Kind::SRV, NXDOMAIN),
        (&below("azure"), Kind::A, NXDOMAIN),
        (&below("_tcp"), Kind::A, NODATA),
    ]);

    // Who does not answer is not offered; nor who is not ready, or in maintenance.
    server.mark("gcp/1", true);
    server.check(&[(DB, Kind::A, "10.1.0.6, 10.1.3.5"), (&below("db-0.gcp"), Kind::A, NXDOMAIN)]);
    server.mark("gcp/1", false);
    server.check(&[(DB, Kind::A, "10.1.0.6, 10.1.3.5, 10.2.0.5")]);
    let Object::Endpoint(ready) = pod("aws", "db", "x", &["10.1.0.6"], "aws/1", "") else { panic!() };
    server.take(Object::Endpoint(Endpoint { ready: false, ..ready.clone() }));
    server.check(&[(DB, Kind::A, "10.1.3.5, 10.2.0.5")]);
    server.take(Object::Endpoint(Endpoint { weight: 0, ..ready.clone() }));
    server.check(&[(DB, Kind::A, "10.1.3.5, 10.2.0.5")]);

    // Two pods of one host name, one of them with a name that is none.
    server.take(pod("aws", "db", "x", &["10.1.0.6"], "aws/1", "db-0"));
    server.take(pod("gcp", "db", "y", &["10.2.0.9"], "gcp/1", "not.a.label"));
    server.check(&[
        (&below("db-0.aws"), Kind::A, "10.1.0.6, 10.1.3.5"),
        (&below("10-2-0-9.gcp"), Kind::A, "10.2.0.9"),
        (
            DB,
            Kind::SRV,
            "0 100 8080 db-0.aws.db.demo.svc.clusterset.local., 2 100 8080 \
             db-0.gcp.db.demo.svc.clusterset.local., 2 100 8080 10-2-0-9.gcp.db.demo.svc.clusterset.local.",
        ),
    ]);

    // The ranking turns; a cluster no longer exports.
    for name in ["azure", "gcp"] {
        server.take(import("db", true, &[], &["gcp", "azure"]));
        server.check(&[(
            DB,
            Kind::A,
            if name == "azure" { "10.2.0.5, 10.2.0.9, 10.3.0.6" } else { "10.3.0.6, 10.2.0.5, 10.2.0.9" },
        )]);
        server.ranking.reverse();
        let Server { world, me, dead, ranking, planner, zone } = &mut server;
        let updates = planner.follow_ranking(&View { dead, ranking, ..View::new(world, me) });
        updates.into_iter().for_each(|update| zone.apply(update));
    }

    // A cluster no longer exports it, though the import has not heard of that yet.
    server.take(import("db", true, &[], &["gcp", "azure"]));
    server.take(exported("azure", false));
    server.check(&[(DB, Kind::A, "10.2.0.5, 10.2.0.9")]);

    // It is no longer headless.
    server.take(import("db", false, &["10.200.0.9"], &["gcp"]));
    server.check(&[(DB, Kind::A, "10.200.0.9"), (&below("db-0.gcp"), Kind::A, NXDOMAIN)]);
}

/// The preferences of a service order its endpoints as they order its backends.
#[test]
fn preferences() {
    let mut server = Server::new();
    server.take(pod("aws", "db", "a", &["10.1.0.1"], "aws/1", ""));
    server.take(pod("aws", "db", "b", &["10.1.0.2"], "aws/3", ""));
    server.take(pod("gcp", "db", "c", &["10.2.0.1"], "gcp/1", ""));
    server.take(pod("azure", "db", "d", &["10.3.0.1"], "azure/1", ""));
    let azure = cluster_name("azure");
    for (traffic, want) in [
        (Traffic::default(), "10.1.0.1, 10.1.0.2, 10.2.0.1, 10.3.0.1"),
        (Traffic { prefer: Prefer::Remote, ..Traffic::default() }, "10.3.0.1, 10.2.0.1, 10.1.0.1, 10.1.0.2"),
        (
            Traffic { prefer: Prefer::Clusters(vec![azure.clone()]), ..Traffic::default() },
            "10.3.0.1, 10.1.0.1, 10.1.0.2, 10.2.0.1",
        ),
        (
            Traffic { cluster_weights: [(azure, 0)].into(), ..Traffic::default() },
            "10.1.0.1, 10.1.0.2, 10.2.0.1",
        ),
    ] {
        let Object::Import(import) = import("db", true, &[], &["aws", "azure", "gcp"]) else { panic!() };
        server.take(Object::Import(Import { traffic: traffic.clone(), ..import }));
        server.check(&[(DB, Kind::A, want)]);
    }
}

#[test]
fn clusters_own() {
    let mut server = Server::new();
    let none = "NXDOMAIN cluster.local.";
    let nothing = "NODATA cluster.local.";
    let echo = model::Service {
        ports: ports(&[("http", Protocol::Tcp, 80), ("", Protocol::Udp, 80)]),
        ..service("aws", "echo", &["10.101.3.7", "fd00:65::7"], true)
    };
    server.take(Object::Service(echo));
    server.take(Object::Service(service("gcp", "theirs", &["10.102.0.1"], true)));
    server.check(&[("db.demo.svc.cluster.local", Kind::A, none)]);
    server.take(pod("aws", "db", "db-0", &["10.1.0.5", "fd00:1::5"], "aws/2", "db-0"));
    server.take(pod("aws", "db", "x", &["10.1.1.6"], "aws/2", ""));
    server.take(pod("gcp", "db", "y", &["10.2.0.5"], "gcp/1", ""));
    server.check(&[
        ("dns-version.cluster.local", Kind::TXT, "1.1.0"),
        ("echo.demo.svc.cluster.local", Kind::A, "10.101.3.7"),
        ("echo.demo.svc.cluster.local", Kind::AAAA, "fd00:65::7"),
        ("echo.demo.svc.cluster.local", Kind::SRV, "0 100 80 echo.demo.svc.cluster.local."),
        ("_http._tcp.echo.demo.svc.cluster.local", Kind::SRV, "0 100 80 echo.demo.svc.cluster.local."),
        ("_udp.echo.demo.svc.cluster.local", Kind::SRV, none),
        ("echo.demo.svc.clusterset.local", Kind::A, NXDOMAIN),
        ("theirs.demo.svc.cluster.local", Kind::A, none),
        ("db.demo.svc.cluster.local", Kind::A, "10.1.0.5, 10.1.1.6"),
        ("db.demo.svc.cluster.local", Kind::AAAA, "fd00:1::5"),
        ("db-0.db.demo.svc.cluster.local", Kind::A, "10.1.0.5"),
        ("db-0.db.demo.svc.cluster.local", Kind::AAAA, "fd00:1::5"),
        ("10-1-1-6.db.demo.svc.cluster.local", Kind::A, "10.1.1.6"),
        ("db-0.aws.db.demo.svc.cluster.local", Kind::A, none),
        (
            "_http._tcp.db.demo.svc.cluster.local",
            Kind::SRV,
            "0 100 8080 db-0.db.demo.svc.cluster.local., 0 100 8080 10-1-1-6.db.demo.svc.cluster.local.",
        ),
        ("_tcp.db.demo.svc.cluster.local", Kind::A, nothing),
        ("7.3.101.10.in-addr.arpa", Kind::PTR, "echo.demo.svc.cluster.local."),
    ]);
    server.mark("aws/2", true);
    server
        .check(&[("db.demo.svc.cluster.local", Kind::A, none), ("demo.svc.cluster.local", Kind::A, nothing)]);
    server.mark("aws/2", false);
    server.check(&[("db.demo.svc.cluster.local", Kind::A, "10.1.0.5, 10.1.1.6")]);
    server.change(Change::Delete(Key::Service(service_key("aws", "db"))));
    server.check(&[("db.demo.svc.cluster.local", Kind::A, none)]);
}

#[test]
fn nothing_is_said_before_everything_is_known() {
    let mut server = Server::new();
    server.take(import("echo", false, &["10.200.0.7"], &["gcp"]));
    server.zone.set_synced(false);
    for name in [ECHO, "no.demo.svc.clusterset.local", "clusterset.local", "svc.cluster.local"] {
        assert_eq!(server.ask(name, Kind::A), "SERVFAIL", "{name}");
    }
    assert_eq!(server.ask("example.com", Kind::A), "elsewhere");
}

#[test]
fn two_that_claim_one_address() {
    let mut server = Server::new();
    server.take(Object::Service(service("aws", "a", &["10.101.0.1"], false)));
    server.take(Object::Service(service("aws", "b", &["10.101.0.1"], false)));
    let reverse = "1.0.101.10.in-addr.arpa";
    server.check(&[(reverse, Kind::PTR, "a.demo.svc.cluster.local.")]);
    server.change(Change::Delete(Key::Service(service_key("aws", "b"))));
    server.check(&[(reverse, Kind::PTR, "a.demo.svc.cluster.local.")]);
}

/// Those that are as good as each other take turns, and what does not fit is said to be missing.
#[test]
fn turns_and_room() {
    let mut server = Server::new();
    server.take(import("db", true, &[], &["aws", "gcp"]));
    for n in 1..=3 {
        server.take(pod("aws", "db", &format!("p{n}"), &[&format!("10.1.0.{n}")], "aws/2", ""));
    }
    server.take(pod("gcp", "db", "p", &["10.2.0.1"], "gcp/1", ""));
    let name: Name = DB.parse().unwrap();
    let Found::Data(set) = server.zone.find(name.as_bytes(), Kind::A) else { panic!() };
    let begin = 12 + name.as_bytes().len() + 4;
    let written = |limit, turn| {
        let mut out = vec![0; begin];
        let written = set.write(&mut out, limit, turn);
        assert!(out.len() <= limit);
        (records(&out, begin, written.answers).join(" "), written.truncated)
    };
    for (room, turn, want) in [
        (64, 0, ("10.1.0.1 10.1.0.2 10.1.0.3 10.2.0.1", false)),
        (64, 1, ("10.1.0.2 10.1.0.3 10.1.0.1 10.2.0.1", false)),
        (64, 5, ("10.1.0.3 10.1.0.1 10.1.0.2 10.2.0.1", false)),
        (63, 1, ("10.1.0.1 10.1.0.2 10.1.0.3", true)),
        (15, 0, ("", true)),
    ] {
        assert_eq!(written(begin + room, turn), (want.0.to_string(), want.1), "{room} {turn}");
    }
}

/// More endpoints than a message can name: the nearest are named.
#[test]
fn a_great_many() {
    let mut server = Server::new();
    server.take(import("db", true, &[], &["gcp", "aws"]));
    for n in 0..3000u32 {
        let ip = Ipv4Addr::from(0x0a02_0000 + n).to_string();
        server.world.apply(Change::Upsert(pod("gcp", "db", &format!("p{n}"), &[&ip], "gcp/1", "")));
    }
    server.take(pod("aws", "db", "p", &["10.1.0.1"], "aws/2", ""));
    let answer = server.ask(DB, Kind::A);
    assert!(answer.starts_with("10.1.0.1, 10.2.0.0, "), "{answer}");
    assert_eq!(answer.split(", ").count(), 1024);
    let name: Name = DB.parse().unwrap();
    let Found::Data(set) = server.zone.find(name.as_bytes(), Kind::SRV) else { panic!() };
    let mut out = vec![0; 12 + name.as_bytes().len() + 4];
    set.write(&mut out, 65_535, 0);
    assert!(out.len() <= 65_535 && set.len() > 500, "{}", set.len());
}
