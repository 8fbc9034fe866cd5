//! One zone, for everybody: 1,000 services with addresses, 100 headless ones with ten members; and the questions.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use causeway_serve::dns::{Options, Server, Shared, Upstreams};
use engine::names::{Planner, Settings, Zone};
use engine::services::View;
use model::{
    Change, Endpoint, EndpointKey, EndpointPort, Import, Key, NodeName, Object, ObjectName, Port, Protocol,
    Service, ServiceKey, ServicePort, Terms, World,
};

use crate::peers::CHANGES;

pub(crate) const APEX: &str = "clusterset.local";
const VIRTUAL: u32 = 1_000;
const HEADLESS: u32 = 100;
const MEMBERS: u32 = 10;

fn ip(base: u32, n: u32) -> IpAddr {
    std::net::Ipv4Addr::from(base + n).into()
}

/// The address of a member. Changes add and take away the one after the last.
pub(crate) fn member(service: u32, n: u32) -> IpAddr {
    ip(0x0a02_0000, service * 32 + n)
}

/// The headless service that the change of this number is about.
pub(crate) fn changed(n: u64) -> u32 {
    u32::try_from(n / 2 % u64::from(HEADLESS)).expect("below HEADLESS")
}

pub(crate) fn headless_name(service: u32) -> String {
    format!("db{service}.data.svc.{APEX}")
}

pub(crate) fn extra() -> u32 {
    MEMBERS
}

/// `zone` in RFC 1035's form, the same as `unbound.data`, and the `questions`.
pub(crate) fn write_files(folder: &Path) -> Result<()> {
    let mut records = format!("{APEX}. 5 SOA ns.dns.{APEX}. hostmaster.{APEX}. 1 7200 1800 86400 5\n");
    writeln!(records, "{APEX}. 5 NS ns.dns.{APEX}.\nns.dns.{APEX}. 5 A 169.254.20.53")?;
    writeln!(records, "dns-version.{APEX}. 5 TXT \"1.0.0\"")?;
    for n in 0..VIRTUAL {
        let name = format!("app{n}.demo.svc.{APEX}.");
        writeln!(records, "{name} 5 A {}\n{name} 5 AAAA fd00:c8::{n:x}", ip(0x0ac8_0000, n))?;
        writeln!(records, "{name} 5 SRV 0 100 80 {name}\n_http._tcp.{name} 5 SRV 0 100 80 {name}")?;
    }
    for service in 0..HEADLESS {
        let name = headless_name(service) + ".";
        for n in 0..MEMBERS {
            let (host, ip) = (format!("db-{n}.gcp.{name}"), member(service, n));
            writeln!(records, "{name} 5 A {ip}\n{host} 5 A {ip}")?;
            writeln!(records, "{name} 5 SRV 0 100 5432 {host}\n_sql._tcp.{name} 5 SRV 0 100 5432 {host}")?;
        }
    }
    std::fs::write(folder.join("zone"), &records)?;
    let data = records.lines().map(|line| format!("  local-data: '{line}'\n")).collect::<String>();
    std::fs::write(folder.join("unbound.data"), data)?;

    // What a resolver with a search list asks: a quarter for names that are not there.
    let mut questions = String::new();
    for n in 0..20_000u32 {
        let name = format!("app{}.demo.svc.{APEX}", n * 7 % VIRTUAL);
        match n % 20 {
            0..8 => writeln!(questions, "{name} A")?,
            8..12 => writeln!(questions, "{name} AAAA")?,
            12 => writeln!(questions, "_http._tcp.{name} SRV")?,
            13 | 14 => writeln!(questions, "{} A", headless_name(n % HEADLESS))?,
            _ => writeln!(questions, "{name}.demo.svc.{APEX} A")?,
        }
    }
    std::fs::write(folder.join("questions"), questions)?;
    Ok(())
}

/// How many of a hundred questions have no such name for an answer.
pub(crate) const NO_NAME_PERCENT: f64 = 25.0;

fn key(cluster: &str, namespace: &str, name: String) -> Result<ServiceKey> {
    Ok(ServiceKey { cluster: cluster.parse()?, name: ObjectName::new(namespace, name)? })
}

fn endpoint(service: u32, n: u32) -> Result<Endpoint> {
    let port = EndpointPort::new("sql", Protocol::Tcp, Port::new(5432).context("port")?);
    Ok(Endpoint {
        hostname: format!("db-{n}"),
        ..Endpoint::new(
            EndpointKey { service: key("gcp", "data", format!("db{service}"))?, name: format!("db-{n}") },
            vec![member(service, n)],
            vec![port],
        )
    })
}

fn world() -> Result<World> {
    let mut world = World::default();
    let import = |key: ServiceKey, vips: Vec<IpAddr>| -> Result<Import> {
        Ok(Import {
            key,
            terms: Terms { headless: vips.is_empty(), ..Terms::default() },
            vips,
            ports: vec![ServicePort::new("http", Protocol::Tcp, Port::new(80).context("port")?)],
            traffic: Default::default(),
            clusters: vec!["gcp".parse()?],
        })
    };
    for n in 0..VIRTUAL {
        let vips = vec![ip(0x0ac8_0000, n), format!("fd00:c8::{n:x}").parse()?];
        let import = import(key("aws", "demo", format!("app{n}"))?, vips)?;
        world.imports.insert(import.key.clone(), import);
    }
    for service in 0..HEADLESS {
        let import = import(key("aws", "data", format!("db{service}"))?, vec![])?;
        world.imports.insert(import.key.clone(), import);
        let exported = Service {
            headless: true,
            export: Some(Default::default()),
            ..Service::new(key("gcp", "data", format!("db{service}"))?, vec![], vec![])
        };
        world.services.insert(exported.key.clone(), exported);
        for n in 0..MEMBERS {
            world.apply(Change::Upsert(Object::Endpoint(endpoint(service, n)?)));
        }
    }
    Ok(world)
}

/// Our server, with its own endpoints changing, until its parent goes.
pub(crate) fn serve(port: u16) -> Result<()> {
    let settings = Settings {
        cluster: None,
        clusterset: Some(APEX.parse()?),
        ttl: 5,
        servers: vec!["169.254.20.53".parse()?],
    };
    let mut zone = Zone::new(&settings, 1);
    zone.set_synced(true);
    let shared = Arc::new(Shared::new(zone));
    shared.set_askers(vec!["10.0.0.0/8".parse()?, "127.0.0.0/8".parse()?]);
    let (mut world, me, dead) = (world()?, NodeName::try_from("aws/aws-1".to_string())?, BTreeSet::new());
    let mut planner = Planner::new(settings);
    shared.apply(planner.everything(&View { dead: &dead, ..View::new(&world, &me) }));
    let mut server = Server::start(Arc::clone(&shared), Options { upstreams: Upstreams::None })?;
    let errors = server.listen(&[SocketAddr::from(([127, 0, 0, 1], port))]);
    if let Some(error) = errors.into_iter().next() {
        bail!(error);
    }
    let begun = Instant::now();
    for n in 0.. {
        let due = Duration::from_secs(n) / CHANGES;
        #[expect(clippy::disallowed_methods, reason = "changes come at a rate")]
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let endpoint = endpoint(changed(n), extra())?;
        let key = Key::Endpoint(endpoint.key.clone());
        let change =
            if n % 2 == 0 { Change::Upsert(Object::Endpoint(endpoint)) } else { Change::Delete(key.clone()) };
        world.apply(change);
        shared.apply(planner.follow(&View { dead: &dead, ..View::new(&world, &me) }, [&key]));
    }
    Ok(())
}
