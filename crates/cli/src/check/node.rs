//! Whether this machine can be a node.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use agent::cni::install::CONFLIST;
use install::Settings;
use kernel::kube_proxy;
use model::KubeProxy;

use super::finding::Finding;
use super::routes::{self, Route};

/// The smallest packet that IPv6 lets a link have, and what the tunnel adds.
const LEAST_MTU: u32 = 1280 + 80;
/// Where runtimes look for their network, beside what the settings say.
const CONF_DIRS: [&str; 2] = ["/etc/cni/net.d", "/var/lib/rancher/k3s/agent/etc/cni/net.d"];

/// The setting that names VXLAN's port.
const VXLAN_PORT: &str = "agent.vxlanPort";

/// What to tell a firewall that lets nothing through by default. What its rules say cannot be told from outside.
const FORWARD: &str = "unless its rules let pods' packets pass: accept what is forwarded from and to the devices cw* \
                       (iptables -I FORWARD -i cw+ -j ACCEPT; iptables -I FORWARD -o cw+ -j ACCEPT; or in that chain: \
                       nft insert rule ... iifname \"cw*\" accept; oifname \"cw*\" accept)";

/// Looks at everything. Takes some tens of milliseconds.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut found = features();
    let ours = Path::new("/run/causeway/agent.sock").exists();
    found.extend(ports(settings, ours));
    found.extend(networks(&settings.agent.cni.conf_dir));
    found.extend(overlaps(settings, &routes::all()));
    found.push(mtu());
    found.push(proxy());
    found.push(forwarding());
    found.push(firewalls());
    found
}

fn features() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let features = kernel::features::probe();
    let missing: Vec<&str> =
        kernel::features::missing(&features).iter().map(|feature| feature.name).collect();
    let finding = |feature: &kernel::features::Feature| {
        let what = format!("kernel: {}", feature.name);
        if feature.present {
            let seen = if feature.name == "kernel" { release.trim() } else { feature.purpose };
            Finding::ok(what, seen)
        } else if missing.contains(&feature.name) {
            Finding::fail(what, format!("missing, for {}", feature.purpose), feature.advice)
        } else {
            let instead = feature.fallback.unwrap_or("nothing");
            Finding::warn(
                what,
                format!("missing, for {}; instead: {instead}", feature.purpose),
                feature.advice,
            )
        }
    };
    features.iter().map(finding).collect()
}

fn ports(settings: &Settings, ours: bool) -> Vec<Finding> {
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let udp = |port| UdpSocket::bind(any(port)).map(drop);
    let tcp = |port| TcpListener::bind(any(port)).map(drop);
    let (agent, controllers) = (&settings.agent, &settings.controllers);
    let vxlan_is_ours = Path::new("/sys/class/net/cw-vxlan").exists();
    let mut tried = vec![
        ("UDP", agent.wireguard_port, "agent.wireguardPort", udp(agent.wireguard_port)),
        ("TCP", agent.http_port, "agent.httpPort", tcp(agent.http_port)),
        ("TCP", controllers.port, "controllers.port", tcp(controllers.port)),
        ("TCP", controllers.http_port, "controllers.httpPort", tcp(controllers.http_port)),
    ];
    if settings.mesh.uses_vxlan_anywhere() {
        tried.push(("UDP", agent.vxlan_port, VXLAN_PORT, udp(agent.vxlan_port)));
    }
    let finding = |(protocol, port, setting, result): (&str, u16, &str, std::io::Result<()>)| {
        let what = format!("port {protocol} {port}");
        match result {
            Ok(()) if setting == VXLAN_PORT => {
                Finding::ok(what, "free; VXLAN needs it open between nodes of a location")
            }
            Ok(()) => Finding::ok(what, "free"),
            // It is the kernel's to listen there; ours alone counts.
            Err(e) if setting == VXLAN_PORT && e.kind() == ErrorKind::AddrInUse && !vxlan_is_ours => {
                Finding::fail(
                    what,
                    "in use by another VXLAN device or a process",
                    "see ip -d link show type vxlan, and ss -lunp; or choose another: agent.vxlanPort",
                )
            }
            Err(_) if ours => Finding::ok(what, "in use, and Causeway runs here"),
            Err(e) if e.kind() == ErrorKind::AddrInUse => Finding::fail(
                what,
                "in use by another process",
                format!("see ss -lnp; or choose another: {setting}"),
            ),
            Err(e) => Finding::warn(what, format!("cannot be tried: {e}"), "run as root"),
        }
    };
    tried.into_iter().map(finding).collect()
}

/// A runtime takes the first of its configurations, by name.
fn networks(configured: &str) -> Vec<Finding> {
    let mut folders = vec![configured];
    folders.extend(CONF_DIRS.into_iter().filter(|folder| *folder != configured));
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut others: Vec<String> = names.filter(|name| is_network(name)).collect();
        others.sort();
        if !others.is_empty() {
            let seen = format!("in {folder}: {}", others.join(", "));
            let advice = if others.iter().any(|name| name.as_str() < CONFLIST) {
                "the first by name wins, which is not Causeway's: remove the other network's file"
            } else {
                "Causeway's file comes first by name and wins; remove the other network when you are done with it"
            };
            found.push(Finding::warn("other networks", seen, advice));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("other networks", "none configured"));
    }
    found
}

fn is_network(name: &str) -> bool {
    !name.contains("causeway") && [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending))
}

fn overlaps(settings: &Settings, routes: &[Route]) -> Vec<Finding> {
    let cluster = &settings.cluster;
    let named = [("pods", &cluster.pod_cidrs), ("services", &cluster.service_cidrs)];
    let mut found = Vec::new();
    for (whose, ranges) in named {
        for range in ranges {
            let what = format!("range {range}");
            let collides = |route: &&Route| {
                let foreign = !route.device.starts_with("cw") && route.device != settings.agent.interface;
                foreign
                    && route.to.prefix_len() > 0
                    && (range.0.contains(&route.to) || route.to.contains(&range.0))
            };
            match routes.iter().find(collides) {
                None => {
                    found.push(Finding::ok(what, format!("no route of this machine is in the {whose}' way")))
                }
                Some(Route { to, device }) => found.push(Finding::warn(
                    what,
                    format!("the {whose}' range overlaps the route to {to} by {device}"),
                    "fine if that is the network to be replaced; else choose another range for the cluster",
                )),
            }
        }
    }
    found
}

fn mtu() -> Finding {
    let routes = routes::all();
    let Some(device) = routes.iter().find(|route| route.to.prefix_len() == 0 && route.device != "lo") else {
        return Finding::warn(
            "MTU",
            "no default route",
            "set agent.underlay to the device that reaches other nodes",
        );
    };
    let name = &device.device;
    let mtu: Option<u32> = fs::read_to_string(format!("/sys/class/net/{name}/mtu"))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match mtu {
        Some(mtu) if mtu >= LEAST_MTU => {
            Finding::ok("MTU", format!("{name} has {mtu}, pods will have {}", mtu - 80))
        }
        Some(mtu) => {
            let seen = format!("{name} has {mtu}: pods would have less than the 1280 that IPv6 needs");
            Finding::fail("MTU", seen, format!("ip link set {name} mtu {LEAST_MTU}, or more"))
        }
        None => Finding::warn("MTU", format!("the MTU of {name} cannot be read"), "see ip link"),
    }
}

fn proxy() -> Finding {
    let sighting = kube_proxy::look();
    let seen = sighting.seen.join(", ");
    match sighting.state {
        KubeProxy::Running => Finding::ok("kube-proxy", format!("runs ({seen}); Causeway works beside it")),
        KubeProxy::Absent => {
            Finding::ok("kube-proxy", "not here; give controllers.apiServer, `causeway install` finds it")
        }
        KubeProxy::Unknown => Finding::warn(
            "kube-proxy",
            format!("traces of it: {seen}"),
            "if it was removed: kube-proxy --cleanup",
        ),
    }
}

fn forwarding() -> Finding {
    let is_on = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let on = is_on("/proc/sys/net/ipv4/ip_forward");
    let conntrack = Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
    let seen = format!(
        "IPv4 forwarding is {}, connection tracking is {}",
        if on { "on" } else { "off" },
        if conntrack { "there" } else { "not loaded" }
    );
    // Both are the agent's to switch on.
    Finding::ok("forwarding", seen)
}

/// Pods' packets are forwarded by the machine.
fn firewalls() -> Finding {
    const WHAT: &str = "firewall";
    match kernel::firewall::dropping_forward() {
        Ok(dropping) if dropping.is_empty() => Finding::ok(WHAT, "none drops what is forwarded by default"),
        Ok(dropping) => {
            let seen = format!("what is forwarded is dropped by default: {}", dropping.join("; "));
            Finding::warn(WHAT, seen, FORWARD)
        }
        Err(e) => Finding::warn(WHAT, format!("cannot be looked at: {e}"), "run as root"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn whose_configurations() {
        for (name, expected) in [
            ("10-flannel.conflist", true),
            ("05-causeway.conflist", false),
            ("README", false),
            (".tmp", false),
            ("87-podman-bridge.conflist", true),
        ] {
            assert_eq!(is_network(name), expected, "{name}");
        }
    }

    #[test]
    fn the_port_of_vxlan() {
        let mut settings = Settings::default();
        let holder = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        settings.agent.vxlan_port = holder.local_addr().unwrap().port();
        let level = |settings: &Settings| {
            let what = format!("port UDP {}", settings.agent.vxlan_port);
            let found = ports(settings, false);
            found.iter().find(|finding| finding.what == what).map(|finding| finding.level)
        };
        assert_eq!(level(&settings), None, "nobody asked for VXLAN");
        settings.mesh.encryption = install::settings::Encryption::Mesh;
        assert_eq!(level(&settings), Some(Level::Fail));
        drop(holder);
        assert_eq!(level(&settings), Some(Level::Ok));
        settings.mesh.encapsulate = install::settings::Encapsulate::Never;
        assert_eq!(level(&settings), None);
    }

    #[test]
    fn routes_in_the_way() {
        let settings = Settings::default();
        let level = |to: &str, device: &str| {
            let routes = [Route { to: to.parse().unwrap(), device: device.into() }];
            overlaps(&settings, &routes).iter().map(|finding| finding.level).max().unwrap()
        };
        assert_eq!(level("0.0.0.0/0", "eth0"), Level::Ok, "the default route is in nobody's way");
        assert_eq!(level("192.168.1.0/24", "eth0"), Level::Ok);
        assert_eq!(level("10.42.0.0/24", "cni0"), Level::Warn);
        assert_eq!(level("10.0.0.0/8", "eth1"), Level::Warn);
        assert_eq!(level("10.42.1.0/24", "cw0"), Level::Ok, "our own");
    }
}
