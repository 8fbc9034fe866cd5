//! The routes of this machine, as `/proc/net` tells them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A route: where to, and by which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: IpNet,
    pub(super) device: String,
}

/// Every route of the main tables.
pub(super) fn all() -> Vec<Route> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut routes = parse_v4(&read("/proc/net/route"));
    routes.extend(parse_v6(&read("/proc/net/ipv6_route")));
    routes
}

/// Little-endian hexadecimal, as the kernel's `%08X` writes what stands in network order in memory.
fn parse_v4(text: &str) -> Vec<Route> {
    let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let mask = address(fields.get(7)?)?;
        let to = ipnet::Ipv4Net::with_netmask(address(fields.get(1)?)?, mask).ok()?;
        Some(Route { to: to.into(), device: (*fields.first()?).to_owned() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

fn parse_v6(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let to = IpNet::new(IpAddr::V6(address), length).ok()?;
        Some(Route { to, device: (*fields.last()?).to_owned() })
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_writes_them() {
        let v4 = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
cni0\t00002A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
        let routes = parse_v4(v4);
        assert_eq!(routes[0], Route { to: "0.0.0.0/0".parse().unwrap(), device: "eth0".into() });
        assert_eq!(routes[1], Route { to: "10.42.0.0/24".parse().unwrap(), device: "cni0".into() });
        let v6 = "fd000001000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000400 00000001 00000000 00000001     cw0\n";
        assert_eq!(parse_v6(v6), [Route { to: "fd00:1::/64".parse().unwrap(), device: "cw0".into() }]);
    }
}
