//! From host to host, from pod to pod, from a pod to a virtual address; on a node, in a zone, to another cloud.

use std::net::{IpAddr, SocketAddr};

use causeway_kernel::netns::Netns;

use crate::Arguments;
use crate::balancer::Balancer;
use crate::report::Report;
use crate::stage::{Far, Node, Zone};
use crate::traffic::{Account, Server, Test};
use crate::turns::{Arm, take};
use crate::world::{DIALLED, SERVED, live, vip};

/// Bytes of a message.
const SIZES: [usize; 3] = [64, 1024, 8192];

/// A way that traffic takes.
struct Way<'a> {
    name: &'static str,
    host: (&'a Netns, &'a Server, IpAddr),
    pod: (&'a Netns, &'a Server, IpAddr),
    /// The service whose endpoints are at its end.
    service: u32,
}

pub(crate) fn measure(
    ours: &Balancer,
    counting: Option<&Balancer>,
    near: &Node,
    zone: &Zone,
    far: &Far,
    arguments: &Arguments,
    report: &mut Report,
) {
    let ways = [
        Way {
            name: "same node",
            host: (near.net.netns(), &near.host, [127, 0, 0, 1].into()),
            pod: (near.client.netns(), &near.server, near.servers[0]),
            service: live(ours.services),
        },
        Way {
            name: "same zone",
            host: (near.net.netns(), &zone.host, zone.host_ip),
            pod: (near.client.netns(), &zone.server, zone.servers[0]),
            service: ours.services,
        },
        Way {
            name: "other cloud",
            host: (far.ends[0].netns.netns(), &far.host, far.host_ip),
            pod: (far.client.netns(), &far.server, far.servers[0]),
            service: ours.services + 1,
        },
    ];
    for way in ways {
        let arm = |name: &str, balancer, (client, server, _): (_, _, IpAddr), dialled| Arm {
            name: name.into(),
            services: ours.services,
            balancer,
            client,
            server,
            dialled,
        };
        let at = |ip: IpAddr, port: u16| SocketAddr::from((ip, port));
        let mut arms = vec![
            arm("host–host", None, way.host, at(way.host.2, SERVED)),
            arm("pod–pod", None, way.pod, at(way.pod.2, SERVED)),
            arm("pod–VIP", Some(ours), way.pod, at(vip(way.service).into(), DIALLED)),
        ];
        if let Some(counting) = counting {
            let dialled = at(vip(way.service).into(), DIALLED);
            arms.push(arm("pod–VIP, connects counted", Some(counting), way.pod, dialled));
        }
        arms.iter().for_each(Arm::check);
        for test in Test::ALL {
            for size in SIZES {
                let samples = take(&arms, test, size, arguments.rounds, arguments.window, Account::Threads);
                // What a virtual address costs is told against dialling the pod.
                report.rows(way.name, test, size, &arms, &samples, 1);
            }
        }
    }
}
