//! EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{At, PROTOCOLS, Result, address, one_of, port_number, required, syntactic};
use crate::manifest::syntax::Syntax;

pub(super) fn check(at: At<'_>, slice: &EndpointSlice) -> Result {
    required(at, "addressType")?;
    one_of(at, "addressType", Some(&slice.address_type), &["IPv4", "IPv6", "FQDN"])?;
    let mut names = BTreeSet::new();
    for (n, port) in slice.ports.iter().flatten().enumerate() {
        let path = |field: &str| format!("ports[{n}].{field}");
        required(at, &path("port"))?;
        port_number(at, &path("port"), port.port.unwrap_or_default())?;
        one_of(at, &path("protocol"), port.protocol.as_deref(), PROTOCOLS)?;
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            syntactic(at, &path("name"), name, Syntax::Label)?;
        }
        if !names.insert(name) {
            let what = format!("{name:?} is already the name of another port");
            return Err(at.error(&path("name"), what, "another name"));
        }
    }
    if slice.address_type == "FQDN" {
        return Ok(());
    }
    for (n, endpoint) in slice.endpoints.iter().enumerate() {
        let path = format!("endpoints[{n}]");
        required(at, &format!("{path}.addresses"))?;
        if let Some(node) = &endpoint.node_name {
            syntactic(at, &format!("{path}.nodeName"), node, Syntax::Subdomain)?;
        }
        for (m, text) in endpoint.addresses.iter().enumerate() {
            let path = format!("{path}.addresses[{m}]");
            let family = match address(at, &path, text)? {
                IpAddr::V4(_) => "IPv4",
                IpAddr::V6(_) => "IPv6",
            };
            if family != slice.address_type {
                let what = format!("{text} is not of the slice's addressType {}", slice.address_type);
                return Err(at.error(&path, what, "it in a slice of its own family"));
            }
        }
    }
    Ok(())
}
