//! From a pod to a virtual address while there are more and more services: ours, and rules as kube-proxy writes them.

use std::net::SocketAddr;

use crate::Arguments;
use crate::balancer::Balancer;
use crate::report::Report;
use crate::rules::Kind;
use crate::stage::Node;
use crate::traffic::{Account, Test};
use crate::turns::{Arm, take};
use crate::world::{DIALLED, SERVED, live, vip};

/// Rulesets of the usual run, and what `--full` adds.
const RULES: [(Kind, &[u32], &[u32]); 3] = [
    (Kind::Nftables, &[10, 1_000, 10_000], &[30_000]),
    (Kind::Legacy, &[10, 1_000, 10_000], &[30_000]),
    (Kind::IptablesNft, &[10, 1_000], &[10_000]),
];

/// The table's name in reports.
pub(crate) const TABLE: &str = "services";

pub(crate) fn measure(ours: &[Balancer], plain: &Node, arguments: &Arguments, report: &mut Report) {
    // A node that shows pods' traffic to the world under its own address tracks connections, as kube-proxy's do.
    let tracking = Node::near("tracking");
    crate::rules::masquerade(&tracking.net);
    let mut others = Vec::new();
    for (kind, usual, more) in RULES {
        let counts = usual.iter().chain(more.iter().filter(|_| arguments.full));
        for services in counts.copied() {
            let node = Node::near(&format!("{}{services}", kind.short()));
            kind.load(&node, services, report);
            others.push((kind, services, node));
        }
    }
    let pod = plain.servers[0];
    let arm = |name: String, services, balancer, node, dialled: (std::net::IpAddr, u16)| {
        let node: &Node = node;
        let (client, server) = (node.client.netns(), &node.server);
        Arm { name, services, balancer, client, server, dialled: SocketAddr::from(dialled) }
    };
    let dialled = |services| (vip(live(services)).into(), DIALLED);
    let mut arms = vec![arm("the pod itself".into(), 0, None, plain, (pod, SERVED))];
    for balancer in ours {
        let services = balancer.services;
        arms.push(arm("causeway".into(), services, Some(balancer), plain, dialled(services)));
    }
    let services = ours[1].services;
    arms.push(arm("causeway, tracking".into(), services, Some(&ours[1]), &tracking, dialled(services)));
    for (kind, services, node) in &others {
        arms.push(arm(kind.name().into(), *services, None, node, dialled(*services)));
    }
    arms.iter().for_each(Arm::check);
    for test in Test::ALL {
        let sizes: &[usize] = match (arguments.full, test) {
            (true, _) => &[64, 1024, 8192],
            (false, Test::Stream) => &[8192],
            (false, _) => &[64],
        };
        for size in sizes {
            let samples = take(&arms, test, *size, arguments.rounds + 2, arguments.window, Account::Threads);
            report.rows(TABLE, test, *size, &arms, &samples, 0);
        }
    }
}
