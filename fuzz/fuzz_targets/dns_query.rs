//! Packets of anything at all to the DNS server: it never panics, keeps to its limits, and whatever it answers is read
//! by a library that others wrote.
#![no_main]

use std::sync::OnceLock;

use engine::names::{Planner, Settings, Zone};
use engine::services::View;
use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;
use model::{
    Endpoint, EndpointKey, EndpointPort, Import, NodeName, Port, Protocol, Service, ServiceKey, ServicePort,
    Terms, World,
};
use serve::dns::{Action, Transport, answer};

fn key(cluster: &str, name: &str) -> ServiceKey {
    ServiceKey { cluster: cluster.parse().unwrap(), name: format!("demo/{name}").parse().unwrap() }
}

/// A service with addresses, and a headless one with more members than a datagram holds.
fn world() -> World {
    let mut world = World::default();
    let number = |port| Port::new(port).unwrap();
    for (name, vips) in [("echo", vec!["10.200.0.7", "fd00:c8::7"]), ("db", vec![])] {
        let import = Import {
            key: key("aws", name),
            terms: Terms { headless: vips.is_empty(), ..Terms::default() },
            vips: vips.into_iter().map(|ip| ip.parse().unwrap()).collect(),
            ports: vec![ServicePort::new("http", Protocol::Tcp, number(80))],
            traffic: Default::default(),
            clusters: vec!["gcp".parse().unwrap()],
        };
        world.imports.insert(import.key.clone(), import);
    }
    let service = Service {
        headless: true,
        export: Some(Default::default()),
        ..Service::new(key("gcp", "db"), vec![], vec![])
    };
    world.services.insert(service.key.clone(), service);
    for n in 1..=80 {
        let endpoint = Endpoint {
            hostname: if n % 2 == 0 { format!("db-{n}") } else { String::new() },
            ..Endpoint::new(
                EndpointKey { service: key("gcp", "db"), name: format!("db-{n}") },
                vec![format!("10.2.0.{n}").parse().unwrap(), format!("fd00:2::{n}").parse().unwrap()],
                vec![EndpointPort::new("http", Protocol::Tcp, number(8080))],
            )
        };
        let members = world.endpoints.entry(endpoint.key.service.clone()).or_default();
        members.insert(endpoint.key.name.clone(), endpoint);
    }
    world
}

fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let settings = Settings {
            cluster: Some("cluster.local".parse().unwrap()),
            clusterset: Some("clusterset.local".parse().unwrap()),
            ttl: 5,
            servers: vec!["169.254.20.53".parse().unwrap()],
        };
        let (world, me) = (world(), NodeName::try_from("aws/aws-1".to_string()).unwrap());
        let mut zone = Zone::new(&settings, 0);
        let view = View::new(&world, &me);
        Planner::new(settings).everything(&view).into_iter().for_each(|update| zone.apply(update));
        zone.set_synced(true);
        zone
    })
}

/// Questions to begin with, so that little has to be guessed: the fuzzer's bytes are laid over one of them.
const NAMES: [&str; 6] = [
    "echo.demo.svc.clusterset.local",
    "db.demo.svc.clusterset.local",
    "db-2.gcp.db.demo.svc.clusterset.local",
    "_http._tcp.db.demo.svc.clusterset.local",
    "7.0.200.10.in-addr.arpa",
    "a.b",
];

fn begin(choice: u8) -> Vec<u8> {
    let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in NAMES[usize::from(choice) % NAMES.len()].split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, [1, 28, 33, 255][usize::from(choice >> 5) % 4], 0, 1]);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    packet
}

fuzz_target!(|input: &[u8]| {
    let Some(([how, choice], bytes)) = input.split_first_chunk() else { return };
    let packet = match how & 3 {
        0 => bytes.to_vec(),
        _ => {
            let mut packet = begin(*choice);
            for change in bytes.chunks_exact(2) {
                let place = usize::from(change[0]) % packet.len();
                packet[place] = change[1];
            }
            packet.truncate(packet.len().saturating_sub(usize::from(how >> 6)));
            packet
        }
    };
    let transport = if how & 4 == 0 { Transport::Udp } else { Transport::Tcp };
    let mut out = Vec::new();
    if let Action::Reply(_) = answer(zone(), &packet, transport, usize::from(*choice), how & 8 == 0, &mut out)
    {
        let limit = if transport == Transport::Udp { 1232 } else { 65_535 };
        assert!(out.len() <= limit, "{} bytes", out.len());
        assert_eq!(out[..2], packet[..2], "the answer has the question's number");
        // A name of any bytes is repeated as it came, which the library need not like; then the header has to do.
        match Message::from_vec(&out) {
            Ok(message) => assert_eq!(message.metadata.message_type, MessageType::Response),
            Err(error) => {
                assert!(Message::from_vec(&packet).is_err(), "{error}: {packet:02x?} -> {out:02x?}")
            }
        }
    }
});
