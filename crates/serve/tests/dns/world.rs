//! A small world to be asked about.

use std::collections::BTreeSet;

use engine::names::{Planner, Settings, Zone};
use engine::services::View;
use model::{
    ClusterName, Endpoint, EndpointKey, EndpointPort, Export, Import, NodeName, ObjectName, Port, Protocol,
    Service, ServiceKey, ServicePort, Terms, World,
};

/// The zones of a node of `aws`: `echo` with addresses of its own and `db` with two members, both exported by `gcp`;
/// `many` with sixty members.
pub(crate) fn settings() -> Settings {
    Settings {
        cluster: Some("cluster.local".parse().unwrap()),
        clusterset: Some("clusterset.local".parse().unwrap()),
        ttl: 5,
        servers: vec!["169.254.20.53".parse().unwrap()],
    }
}

pub(crate) fn me() -> NodeName {
    NodeName::try_from("aws/aws-1".to_string()).unwrap()
}

pub(crate) fn key(cluster: &str, name: &str) -> ServiceKey {
    ServiceKey { cluster: ClusterName::new(cluster).unwrap(), name: ObjectName::new("demo", name).unwrap() }
}

pub(crate) fn import(name: &str, vips: &[&str]) -> Import {
    let port = |name: &str, protocol, port| ServicePort::new(name, protocol, Port::new(port).unwrap());
    Import {
        key: key("aws", name),
        vips: vips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports: vec![port("http", Protocol::Tcp, 80)],
        terms: Terms { headless: vips.is_empty(), ..Terms::default() },
        traffic: Default::default(),
        clusters: vec![ClusterName::new("gcp").unwrap()],
    }
}

pub(crate) fn endpoint(service: &str, name: &str, ips: &[&str], hostname: &str) -> Endpoint {
    Endpoint {
        hostname: hostname.into(),
        ..Endpoint::new(
            EndpointKey { service: key("gcp", service), name: name.into() },
            ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            vec![EndpointPort::new("http", Protocol::Tcp, Port::new(8080).unwrap())],
        )
    }
}

fn exported(name: &str) -> Service {
    Service {
        headless: true,
        export: Some(Export::default()),
        ..Service::new(key("gcp", name), vec![], vec![])
    }
}

pub(crate) fn world() -> World {
    let mut world = World::default();
    for service in ["db", "many"].map(exported) {
        world.services.insert(service.key.clone(), service);
    }
    for import in [import("echo", &["10.200.0.7", "fd00:c8::7"]), import("db", &[]), import("many", &[])] {
        world.imports.insert(import.key.clone(), import);
    }
    let mut endpoints = vec![
        endpoint("db", "db-0", &["10.2.0.5", "fd00:2::5"], "db-0"),
        endpoint("db", "db-1", &["10.2.0.6", "fd00:2::6"], "db-1"),
    ];
    let many = (1..=60).map(|n| endpoint("many", &format!("p{n:02}"), &[&format!("10.2.1.{n}")], ""));
    endpoints.extend(many);
    for e in endpoints {
        world.endpoints.entry(e.key.service.clone()).or_default().insert(e.key.name.clone(), e);
    }
    world
}

pub(crate) fn zone() -> Zone {
    let settings = settings();
    let mut zone = Zone::new(&settings, 1);
    let (world, me, dead) = (world(), me(), BTreeSet::new());
    let view = View { dead: &dead, ..View::new(&world, &me) };
    Planner::new(settings).everything(&view).into_iter().for_each(|update| zone.apply(update));
    zone.set_synced(true);
    zone
}
