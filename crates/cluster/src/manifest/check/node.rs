//! Nodes.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use super::{At, Result, address};

const ADDRESS_TYPES: &[&str] = &["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];

pub(super) fn check(at: At<'_>, node: &Node) -> Result {
    if let Some(spec) = &node.spec {
        let one = spec.pod_cidr.iter().map(|net| ("spec.podCIDR".to_string(), net));
        one.clone().try_for_each(|(path, net)| prefix(at, &path, net).map(drop))?;
        let mut families = [false; 2];
        for (n, net) in spec.pod_cidrs.iter().flatten().enumerate() {
            let path = format!("spec.podCIDRs[{n}]");
            let net = prefix(at, &path, net)?;
            if std::mem::replace(&mut families[usize::from(matches!(net, IpNet::V6(_)))], true) {
                let what = "a second range of one family";
                return Err(at.error(&path, what, "at most one IPv4 and one IPv6 range"));
            }
        }
    }
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    for (n, entry) in addresses.enumerate() {
        let path = format!("status.addresses[{n}]");
        super::one_of(at, &format!("{path}.type"), Some(&entry.type_), ADDRESS_TYPES)?;
        if entry.type_.ends_with("IP") {
            address(at, &format!("{path}.address"), &entry.address)?;
        }
    }
    Ok(())
}

fn prefix(at: At<'_>, path: &str, text: &str) -> std::result::Result<IpNet, crate::yaml::Error> {
    let net = super::range(at, path, text)?;
    if net.trunc() != net {
        let what = format!("{net} has bits set behind its prefix");
        return Err(at.error(path, what, net.trunc().to_string()));
    }
    Ok(net)
}
