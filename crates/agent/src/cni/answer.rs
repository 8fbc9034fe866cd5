//! What `ADD` answers: CNI 1.1.0, "Section 5: Result Types", and the two versions before.

use ipnet::IpNet;
use kernel::netlink::Mac;
use kernel::pod::{PodSpec, Wired, gateway};
use serde_json::{Value, json};

use super::failure::Failure;
use super::request::Version;

/// The result of `ADD`: what plugins before us made, then ours.
pub(super) fn added(
    version: Version,
    spec: &PodSpec,
    wired: &Wired,
    dns: &Value,
    prev: Option<&Value>,
) -> Result<Value, Failure> {
    let before = |field: &str| match prev.map(|prev| prev.get(field)) {
        None | Some(None | Some(Value::Null)) => Ok(Vec::new()),
        Some(Some(Value::Array(list))) => Ok(list.clone()),
        Some(Some(_)) => {
            Err(Failure::Config { field: "prevResult", why: "its interfaces, ips and routes must be lists" })
        }
    };
    let (mut interfaces, mut ips, mut routes) = (before("interfaces")?, before("ips")?, before("routes")?);
    let interface = |name: &str, mac: Mac| {
        let mut interface = json!({"name": name, "mac": mac.to_string()});
        if version >= Version::V1_1 {
            interface["mtu"] = json!(spec.mtu);
        }
        interface
    };
    interfaces.push(interface(&spec.host_ifname, wired.host_mac));
    let mut inside = interface(&spec.ifname, wired.pod_mac);
    inside["sandbox"] = json!(spec.netns);
    interfaces.push(inside);
    let inside = interfaces.len() - 1;
    for ip in &spec.ips {
        let gateway = gateway(*ip);
        let mut entry = json!({
            "address": IpNet::from(*ip).to_string(),
            "gateway": gateway.to_string(),
            "interface": inside,
        });
        if version == Version::V0_4 {
            entry["version"] = json!(if ip.is_ipv4() { "4" } else { "6" });
        }
        ips.push(entry);
        let everywhere = if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        routes.push(json!({"dst": everywhere, "gw": gateway.to_string()}));
    }
    Ok(json!({
        "cniVersion": version.as_str(),
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": dns,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_in_its_own_words() {
        let spec = PodSpec {
            root: "/".into(),
            netns: "/run/netns/x".into(),
            ifname: "eth0".into(),
            host_ifname: "cw0123456789".into(),
            ips: vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            mtu: 1420,
            note: String::new(),
            limits: Default::default(),
        };
        let wired =
            Wired { host_index: 7, host_mac: Mac([2, 0, 0, 0, 0, 1]), pod_mac: Mac([2, 0, 0, 0, 0, 2]) };
        let add = |version, prev| added(version, &spec, &wired, &json!({}), prev);
        let newest = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "cw0123456789", "mac": "02:00:00:00:00:01", "mtu": 1420},
                {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1420, "sandbox": "/run/netns/x"},
            ],
            "ips": [
                {"address": "10.1.0.2/32", "gateway": "169.254.1.1", "interface": 1},
                {"address": "fd00::2/128", "gateway": "fe80::1", "interface": 1},
            ],
            "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
            "dns": {},
        });
        assert_eq!(add(Version::V1_1, None).unwrap(), newest);
        let older = add(Version::V1_0, None).unwrap();
        assert_eq!(older["cniVersion"], "1.0.0");
        assert_eq!(older["interfaces"][0], json!({"name": "cw0123456789", "mac": "02:00:00:00:00:01"}));
        assert_eq!(older["ips"], newest["ips"]);
        let oldest = add(Version::V0_4, None).unwrap();
        assert_eq!((&oldest["ips"][0]["version"], &oldest["ips"][1]["version"]), (&json!("4"), &json!("6")));

        let prev =
            json!({"interfaces": [{"name": "lo"}], "ips": [{"address": "127.0.0.1/8", "interface": 0}]});
        let chained = add(Version::V1_1, Some(&prev)).unwrap();
        assert_eq!(chained["interfaces"][0], json!({"name": "lo"}));
        assert_eq!(chained["ips"][0], prev["ips"][0]);
        assert_eq!(chained["ips"][1]["interface"], 2);
        assert!(matches!(add(Version::V1_1, Some(&json!({"ips": {}}))), Err(Failure::Config { .. })));
    }
}
