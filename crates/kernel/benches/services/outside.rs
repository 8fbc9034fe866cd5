//! From a client outside to a node port: packets that no socket hook sees. Ours, and rules as kube-proxy writes them for
//! nftables; the floor is the node as a plain router, with the client dialling the pod. The pod is the node's own, or another
//! node's: behind a plain link, or behind our tunnel, as it is between nodes of ours.

mod border;

use std::net::{IpAddr, SocketAddr};

use engine::services::LoadBalancerMode;

use crate::Arguments;
use crate::balancer::{Balancer, Connects, Site};
use crate::report::Report;
use crate::rules;
use crate::statistics::Median;
use crate::traffic::{Account, Sample, Test};
use crate::turns::{Arm, take};
use crate::world::{self, SERVED, live, node_port, virtuals_outside, world_outside};
use border::{Back, Border, LINK, MESH, Nodes, PODS, UNDERLAY, WIRE};

/// How many services there are.
const SERVICES: [u32; 2] = [1, 10_000];

/// How many there are where the other node is behind the tunnel.
const BEHIND_THE_TUNNEL: u32 = 10_000;

/// How the tunnels are called; a number follows.
pub(crate) const TUNNELS: [&str; 4] = ["svc_tp", "svc_ts", "svc_td", "svc_tr"];

/// What is measured, with the size of a message.
const TESTS: [(Test, usize); 3] = [(Test::Crr, 64), (Test::Flood, 64), (Test::Stream, 8192)];

/// How our node treats clients outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Backends see an address of the node, and answer to it.
    Snat,
    /// Backends see the client; their own node answers it.
    Dsr,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Snat, Self::Dsr];

    fn name(self) -> &'static str {
        match self {
            Self::Snat => "causeway, SNAT",
            Self::Dsr => "causeway, DSR",
        }
    }

    /// For names of namespaces.
    fn short(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::Dsr => "dsr",
        }
    }

    fn setting(self) -> LoadBalancerMode {
        match self {
            Self::Snat => LoadBalancerMode::Snat,
            Self::Dsr => LoadBalancerMode::Dsr,
        }
    }

    /// Our data path on the node; on the other one as well if it has to answer by itself.
    fn open(self, border: &Border, services: u32, report: &mut Report) -> Vec<Balancer> {
        let is_tunnelled = matches!(border.nodes, Nodes::Tunnelled(_));
        let count = if self == Self::Dsr && is_tunnelled { 2 } else { 1 };
        let open = |n: usize| {
            let (near, far) = (&border.near.1, &border.far.1);
            let world = world_outside(services, near, far, WIRE.into(), PODS);
            let way = if is_tunnelled { "tunnel_" } else { "" };
            let site = Site {
                name: format!("{way}{}{services}_{n}", self.short()),
                node: border.nodes.node(n),
                me: [world::me(), world::other()][n].clone(),
                devices: [UNDERLAY, border.nodes.tunnel(n)],
                mode: self.setting(),
            };
            let mut ours = Balancer::open(site, services, Connects::Uncounted, world, report);
            let serve = || {
                ours.datapath.add_pod(LINK, [near, far][n])?;
                ours.datapath.serve_outside(&[MESH[n].into()])
            };
            let served = border.nodes.node(n).netns().run(serve).expect("enter the namespace");
            served.unwrap_or_else(|e| panic!("{e}"));
            ours
        };
        (0..count).map(open).collect()
    }
}

/// Somebody who carries packets from the client to a backend.
struct Carrier {
    name: String,
    services: u32,
    border: Border,
    /// Ours; they end when this does.
    _ours: Vec<Balancer>,
}

impl Carrier {
    /// The node as a plain router.
    fn plain(border: Border) -> Self {
        Self { name: "the pod itself".into(), services: 0, border, _ours: Vec::new() }
    }

    fn ours(mode: Mode, services: u32, border: Border, report: &mut Report) -> Self {
        let ours = mode.open(&border, services, report);
        Self { name: mode.name().into(), services, border, _ours: ours }
    }

    fn rules(services: u32, border: Border) -> Self {
        let virtuals = virtuals_outside(services, &border.near.1, &border.far.1);
        rules::load_outside(border.nodes.node(0), WIRE.into(), &virtuals);
        Self { name: rules::Kind::Nftables.name().into(), services, border, _ours: Vec::new() }
    }
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    on_the_node_and_behind_a_link(arguments, report);
    behind_the_tunnel(arguments, report);
}

fn on_the_node_and_behind_a_link(arguments: &Arguments, report: &mut Report) {
    let mut carriers = vec![Carrier::plain(Border::linked("plain"))];
    for services in SERVICES {
        for mode in Mode::ALL {
            let border = Border::linked(&format!("{}{services}", mode.short()));
            carriers.push(Carrier::ours(mode, services, border, report));
        }
        carriers.push(Carrier::rules(services, Border::linked(&format!("rules{services}"))));
    }
    run("pod on the node", &carriers, true, arguments, report);
    // The link is no tunnel of ours: nobody hands packets on over it as they are.
    carriers.retain(|carrier| carrier.name != Mode::Dsr.name());
    run("pod behind a second node", &carriers, false, arguments, report);
}

fn behind_the_tunnel(arguments: &Arguments, report: &mut Report) {
    let [plain, snat, dsr, rules] = TUNNELS;
    let services = BEHIND_THE_TUNNEL;
    let carriers = [
        Carrier::plain(Border::tunnelled("tplain", plain, Back::Same)),
        Carrier::ours(Mode::Snat, services, Border::tunnelled("tsnat", snat, Back::Same), report),
        Carrier::ours(Mode::Dsr, services, Border::tunnelled("tdsr", dsr, Back::Own), report),
        Carrier::rules(services, Border::tunnelled("trules", rules, Back::Same)),
    ];
    run("pod behind the tunnel", &carriers, false, arguments, report);
}

fn run(table: &str, carriers: &[Carrier], is_near: bool, arguments: &Arguments, report: &mut Report) {
    let arms: Vec<_> = carriers.iter().map(|carrier| arm(carrier, is_near)).collect();
    arms.iter().for_each(Arm::check);
    for (test, size) in TESTS {
        let samples = take(&arms, test, size, arguments.rounds, arguments.window, Account::Machine);
        report.rows(table, test, size, &arms, &samples, 0);
        compare(table, test, &arms, &samples, report);
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
