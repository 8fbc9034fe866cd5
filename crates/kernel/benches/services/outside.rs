//! From a client outside to a node port: packets that no socket hook sees. Ours, and rules as kube-proxy writes them for
//! nftables; the floor is the node as a plain router, with the client dialling the pod.

mod border;

use std::net::{IpAddr, SocketAddr};

use crate::Arguments;
use crate::balancer::{Balancer, Connects};
use crate::report::Report;
use crate::rules;
use crate::statistics::Median;
use crate::traffic::{Account, Sample, Test};
use crate::turns::{Arm, take};
use crate::world::{SERVED, live, node_port, virtuals_outside, world_outside};
use border::{Border, LINK, MESH, PODS, WIRE};

/// How many services there are.
const SERVICES: [u32; 2] = [1, 10_000];

/// What is measured, with the size of a message.
const TESTS: [(Test, usize); 3] = [(Test::Crr, 64), (Test::Flood, 64), (Test::Stream, 8192)];

/// How our node treats clients outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Backends see an address of the node, and answer to it.
    Snat,
}

impl Mode {
    const ALL: [Self; 1] = [Self::Snat];

    fn name(self) -> &'static str {
        match self {
            Self::Snat => "causeway, SNAT",
        }
    }

    /// For names of namespaces.
    fn short(self) -> &'static str {
        match self {
            Self::Snat => "snat",
        }
    }

    fn open(self, border: &Border, services: u32, report: &mut Report) -> Balancer {
        let (near, far) = (&border.near.1, &border.far.1);
        let world = world_outside(services, near, far, WIRE.into(), PODS);
        let mut ours = Balancer::open(services, Connects::Uncounted, world, &border.node, report);
        let serve = || {
            ours.datapath.add_pod(LINK, near)?;
            match self {
                Self::Snat => ours.datapath.serve_outside(&[MESH.into()]),
            }
        };
        let served = border.node.netns().run(serve).expect("enter the namespace");
        served.unwrap_or_else(|e| panic!("{e}"));
        ours
    }
}

/// Somebody who carries packets from the client to a backend.
struct Carrier {
    name: String,
    services: u32,
    border: Border,
    /// Ours; it ends when this does.
    _ours: Option<Balancer>,
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let floor = Border::new("plain");
    let mut carriers =
        vec![Carrier { name: "the pod itself".into(), services: 0, border: floor, _ours: None }];
    for services in SERVICES {
        for mode in Mode::ALL {
            let border = Border::new(&format!("{}{services}", mode.short()));
            let ours = mode.open(&border, services, report);
            carriers.push(Carrier { name: mode.name().into(), services, border, _ours: Some(ours) });
        }
        let border = Border::new(&format!("rules{services}"));
        let virtuals = virtuals_outside(services, &border.near.1, &border.far.1);
        rules::load_outside(&border.node, WIRE.into(), &virtuals);
        let name = rules::Kind::Nftables.name().into();
        carriers.push(Carrier { name, services, border, _ours: None });
    }
    for (table, is_near) in [("pod on the node", true), ("pod behind a second node", false)] {
        let arms: Vec<_> = carriers.iter().map(|carrier| arm(carrier, is_near)).collect();
        arms.iter().for_each(Arm::check);
        for (test, size) in TESTS {
            let samples = take(&arms, test, size, arguments.rounds, arguments.window, Account::Machine);
            report.rows(table, test, size, &arms, &samples, 0);
            compare(table, test, &arms, &samples, report);
        }
    }
}

fn arm(carrier: &Carrier, is_near: bool) -> Arm<'_> {
    let Carrier { name, services, border, .. } = carrier;
    let (server, pods) = if is_near { &border.near } else { &border.far };
    let service = if is_near { live(*services) } else { *services };
    let dialled: (IpAddr, u16) = match services {
        0 => (pods[0], SERVED),
        _ => (WIRE.into(), node_port(service, *services).expect("it has a node port")),
    };
    let client = border.client.netns();
    Arm {
        name: name.clone(),
        services: *services,
        balancer: None,
        client,
        server,
        dialled: SocketAddr::from(dialled),
    }
}

/// Ours against the rules for as many services, round by round.
fn compare(table: &str, test: Test, arms: &[Arm<'_>], samples: &[Vec<Sample>], report: &mut Report) {
    let rules = rules::Kind::Nftables.name();
    for (at, arm) in arms.iter().enumerate().filter(|(_, arm)| arm.services > 0 && arm.name != rules) {
        let same = |other: &Arm<'_>| other.services == arm.services && other.name == rules;
        let peer = arms.iter().position(same).expect("every number of services has its rules");
        let of = |ratio: fn(&Sample, &Sample) -> f64| {
            Median::of(&samples[at].iter().zip(&samples[peer]).map(|(a, b)| ratio(a, b)).collect::<Vec<_>>())
        };
        let (rate, cpu) = (of(|ours, its| ours.rate / its.rate), of(|ours, its| its.cpu / ours.cpu));
        let services = arm.services;
        report.say(&format!(
            "{} ÷ {rules}, {services} services: {} by rate, {} by CPU",
            arm.name,
            rate.text(2),
            cpu.text(2)
        ));
        let what = format!("\"{table}: {}, {} ÷ {rules}\"", test.name(), arm.name);
        report.cost(&what, services, "rate", rate.value);
        report.cost(&what, services, "cpu", cpu.value);
    }
}
