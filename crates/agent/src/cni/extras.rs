//! What a runtime asks for beside the wire, in `runtimeConfig`: the capabilities `portMappings` and `bandwidth` of the
//! CNI conventions (<https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md>).

use std::net::IpAddr;

use kernel::nft::HostPort;
use kernel::pod::Limits;
use kernel::shaping::Limit;
use model::Protocol;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::Failure;

/// The most ports of one container.
const PORTS_MAX: usize = 1_000;

/// What containerd says about bursts when a pod's annotations say nothing about them: not "four gigabits at once".
const NO_BURST: u64 = u32::MAX as u64;

/// A port of the node that leads to a container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which address of the node; none: at all of them.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The container's.
    pub container_port: u16,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Ports of the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// How fast the pod may send and receive.
    pub limits: Limits,
}

impl PortMapping {
    /// Whether both want one port of the node.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let same = (self.protocol, self.host_port) == (other.protocol, other.host_port);
        same && match (self.host_ip, other.host_ip) {
            (Some(one), Some(two)) => {
                one == two
                    || (one.is_ipv4() == two.is_ipv4() && (one.is_unspecified() || two.is_unspecified()))
            }
            _ => true,
        }
    }

    /// The same for the kernel: one for each of the pod's addresses that it is for.
    pub(super) fn leading_to<'a>(&'a self, ips: &'a [IpAddr]) -> impl Iterator<Item = HostPort> + 'a {
        let meant = |ip: &&IpAddr| self.host_ip.is_none_or(|host| host.is_ipv4() == ip.is_ipv4());
        ips.iter().filter(meant).map(|ip| HostPort {
            protocol: self.protocol,
            host_ip: self.host_ip,
            host_port: self.host_port,
            pod_ip: *ip,
            pod_port: self.container_port,
        })
    }
}

impl Extras {
    /// Reads `runtimeConfig`. What is not asked for is not there, or zero.
    pub(super) fn parse(config: &Map<String, Value>) -> Result<Self, Failure> {
        let asked = |field: &str| config.get("runtimeConfig")?.get(field).filter(|value| !value.is_null());
        Ok(Self {
            ports: asked("portMappings").map_or(Ok(Vec::new()), ports)?,
            limits: asked("bandwidth").map_or(Ok(Limits::default()), limits)?,
        })
    }
}

/// A field, whatever the case of its name: containerd writes `HostPort` and `IngressRate`, where the conventions say
/// `hostPort` and `ingressRate`, and plugins in Go take either.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    let any_case =
        || fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.get(name).or_else(any_case)
}

fn ports(value: &Value) -> Result<Vec<PortMapping>, Failure> {
    let wrong = |why| Failure::Config { field: "runtimeConfig.portMappings", why };
    let list = value.as_array().filter(|list| list.len() <= PORTS_MAX);
    let list = list.ok_or(wrong("a list of at most 1000 mappings"))?;
    let mut ports: Vec<PortMapping> = Vec::new();
    for entry in list {
        if !entry.is_object() {
            return Err(wrong("mappings with a hostPort and a containerPort"));
        }
        let number = |name: &str| match field(entry, name) {
            None | Some(Value::Null) => Some(0),
            Some(value) => value.as_u64().and_then(|number| u16::try_from(number).ok()),
        };
        let (host, container) = (number("hostPort"), number("containerPort"));
        let (Some(host_port), Some(container_port)) = (host, container) else {
            return Err(wrong("hostPort and containerPort from 0 to 65535"));
        };
        if host_port == 0 {
            continue; // The container has the port; the node has none for it.
        }
        if container_port == 0 {
            return Err(wrong("a containerPort for each hostPort"));
        }
        let text = |name: &str| match field(entry, name) {
            None | Some(Value::Null) => Some(""),
            Some(value) => value.as_str(),
        };
        let protocol = match text("protocol").map(str::to_ascii_lowercase).as_deref() {
            Some("" | "tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("sctp") => Protocol::Sctp,
            _ => return Err(wrong("a protocol of tcp, udp or sctp")),
        };
        let host_ip = match text("hostIP") {
            Some("") => None,
            Some(ip) => Some(ip.parse().map_err(|_| wrong("an IP address as hostIP, or none"))?),
            None => return Err(wrong("an IP address as hostIP, or none")),
        };
        let mapping = PortMapping { protocol, host_ip, host_port, container_port };
        // Said twice is said once; said differently is a contradiction.
        if !ports.contains(&mapping) {
            if ports.iter().any(|other| other.collides(&mapping)) {
                return Err(wrong("each port of the node once"));
            }
            ports.push(mapping);
        }
    }
    Ok(ports)
}

fn limits(value: &Value) -> Result<Limits, Failure> {
    let wrong = || Failure::Config {
        field: "runtimeConfig.bandwidth",
        why: "ingressRate, ingressBurst, egressRate and egressBurst in bits (a second), whole and not negative",
    };
    let bits = |name: &str| match field(value, name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().ok_or_else(wrong),
    };
    if !value.is_object() {
        return Err(wrong());
    }
    let limit = |rate: u64, burst: u64| {
        (rate > 0).then_some(Limit { rate, burst: if burst >= NO_BURST { 0 } else { burst } })
    };
    Ok(Limits {
        to_pod: limit(bits("ingressRate")?, bits("ingressBurst")?),
        from_pod: limit(bits("egressRate")?, bits("egressBurst")?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(runtime: Value) -> Result<Extras, u32> {
        let config = json!({"runtimeConfig": runtime});
        Extras::parse(config.as_object().unwrap()).map_err(|failure| failure.code())
    }

    fn mapping(text: &str) -> PortMapping {
        let mut parts = text.split(' ');
        let mut next = || parts.next().unwrap();
        let (protocol, host_ip) = (next(), next());
        PortMapping {
            protocol: if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
            host_ip: (host_ip != "-").then(|| host_ip.parse().unwrap()),
            host_port: next().parse().unwrap(),
            container_port: next().parse().unwrap(),
        }
    }

    #[test]
    fn good() {
        assert_eq!(Extras::parse(json!({}).as_object().unwrap()).unwrap(), Extras::default());
        assert_eq!(
            parse(json!({"portMappings": null, "bandwidth": null, "dns": 1})).unwrap(),
            Extras::default()
        );
        // As containerd 1.6 writes it.
        let found = parse(json!({
            "bandwidth": {"IngressRate": 10, "IngressBurst": 4_294_967_295_u32, "EgressRate": 20, "EgressBurst": 80},
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
        }));
        let limit = |rate, burst| Some(Limit { rate, burst });
        let limits = Limits { to_pod: limit(10, 0), from_pod: limit(20, 80) };
        assert_eq!(found, Ok(Extras { ports: vec![mapping("tcp - 8080 80")], limits }));
        // As the conventions have it.
        let found = parse(json!({
            "portMappings": [
                {"HostPort": 1, "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
                {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
                {"hostPort": 8080, "containerPort": 80},
                {"hostPort": 0, "containerPort": 81, "protocol": "tcp"},
            ],
            "bandwidth": {
                "ingressRate": 1_000_000, "ingressBurst": 4_294_967_295_u32, "egressRate": 2_000_000, "egressBurst": 80_000,
            },
        }))
        .unwrap();
        assert_eq!(found.ports, [mapping("tcp - 8080 80"), mapping("udp 192.0.2.1 53 5353")]);
        assert_eq!(found.limits.to_pod, Some(Limit { rate: 1_000_000, burst: 0 }));
        assert_eq!(found.limits.from_pod, Some(Limit { rate: 2_000_000, burst: 80_000 }));
    }

    #[test]
    fn refused() {
        let ports = |list: Value| json!({"portMappings": list});
        for runtime in [
            ports(json!({})),
            ports(json!(["8080:80"])),
            ports(json!([{"hostPort": 65536, "containerPort": 80}])),
            ports(json!([{"hostPort": -1, "containerPort": 80}])),
            ports(json!([{"hostPort": "80", "containerPort": 80}])),
            ports(json!([{"hostPort": 80}])),
            ports(json!([{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}])),
            ports(json!([{"hostPort": 80, "containerPort": 80, "protocol": 6}])),
            ports(json!([{"hostPort": 80, "containerPort": 80, "hostIP": "node"}])),
            ports(json!([{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81}])),
            ports(Value::Array(vec![json!({"hostPort": 80, "containerPort": 80}); 1001])),
            json!({"bandwidth": 5}),
            json!({"bandwidth": {"ingressRate": -5}}),
            json!({"bandwidth": {"egressBurst": 1.5}}),
        ] {
            let shown: String = runtime.to_string().chars().take(100).collect();
            assert_eq!(parse(runtime), Err(7), "{shown}");
        }
    }

    #[test]
    fn collisions() {
        for (one, two, expected) in [
            ("tcp - 80 1", "tcp - 80 2", true),
            ("tcp - 80 1", "udp - 80 1", false),
            ("tcp - 80 1", "tcp - 81 1", false),
            ("tcp - 80 1", "tcp 192.0.2.1 80 1", true),
            ("tcp 192.0.2.1 80 1", "tcp 192.0.2.2 80 1", false),
            ("tcp 0.0.0.0 80 1", "tcp 192.0.2.2 80 1", true),
            ("tcp 0.0.0.0 80 1", "tcp 2001:db8::1 80 1", false),
            ("tcp 0.0.0.0 80 1", "tcp :: 80 1", false),
        ] {
            let (first, second) = (mapping(one), mapping(two));
            assert_eq!(
                (first.collides(&second), second.collides(&first)),
                (expected, expected),
                "{one}, {two}"
            );
        }
    }

    #[test]
    fn families() {
        let ips: Vec<IpAddr> = ["10.1.0.2", "fd00::2"].map(|ip| ip.parse().unwrap()).to_vec();
        for (text, expected) in [
            ("tcp - 80 1", &ips[..]),
            ("tcp 192.0.2.1 80 1", &ips[..1]),
            ("tcp 0.0.0.0 80 1", &ips[..1]),
            ("tcp :: 80 1", &ips[1..]),
        ] {
            let found: Vec<IpAddr> = mapping(text).leading_to(&ips).map(|port| port.pod_ip).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
