//! Services.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::{
    At, PROTOCOLS, Result, addresses, labels, one_of, port_number, port_or_name, required, syntactic,
};
use crate::manifest::syntax::Syntax;

pub(super) fn check(at: At<'_>, service: &Service) -> Result {
    required(at, "spec")?;
    let Some(spec) = &service.spec else { return Ok(()) };
    let type_ = spec.type_.as_deref();
    one_of(at, "spec.type", type_, &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])?;
    one_of(at, "spec.sessionAffinity", spec.session_affinity.as_deref(), &["None", "ClientIP"])?;
    let policies = &["SingleStack", "PreferDualStack", "RequireDualStack"];
    one_of(at, "spec.ipFamilyPolicy", spec.ip_family_policy.as_deref(), policies)?;
    for (n, family) in spec.ip_families.iter().flatten().enumerate() {
        one_of(at, &format!("spec.ipFamilies[{n}]"), Some(family), &["IPv4", "IPv6"])?;
    }
    labels(at, "spec.selector", spec.selector.as_ref())?;
    if type_ == Some("ExternalName") {
        return Ok(());
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if !headless && spec.ports.as_ref().is_none_or(Vec::is_empty) {
        let instead = "at least one port there, or `clusterIP: None`";
        return Err(at.error("spec.ports", "the service has no ports", instead));
    }
    ports(at, spec.ports.as_deref().unwrap_or_default())?;
    virtual_addresses(at, spec, headless)
}

fn ports(at: At<'_>, ports: &[ServicePort]) -> Result {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (n, port) in ports.iter().enumerate() {
        let path = |field: &str| format!("spec.ports[{n}].{field}");
        required(at, &path("port"))?;
        port_number(at, &path("port"), port.port)?;
        one_of(at, &path("protocol"), port.protocol.as_deref(), PROTOCOLS)?;
        if let Some(target) = &port.target_port {
            port_or_name(at, &path("targetPort"), target)?;
        }
        let name = port.name.as_deref().unwrap_or_default();
        if ports.len() > 1 {
            required(at, &path("name"))?;
        }
        if !name.is_empty() {
            syntactic(at, &path("name"), name, Syntax::Label)?;
        }
        if !names.insert(name) {
            let what = format!("{name:?} is already the name of another port");
            return Err(at.error(&path("name"), what, "another name"));
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !numbers.insert((protocol, port.port)) {
            let what = format!("{protocol} {} is already a port of this service", port.port);
            return Err(at.error(&path("port"), what, "another port, or another protocol"));
        }
    }
    Ok(())
}

fn virtual_addresses(at: At<'_>, spec: &ServiceSpec, headless: bool) -> Result {
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    if let Some(other) = all.first()
        && !first.is_empty()
        && first != other
    {
        let what = format!("{other:?} is not spec.clusterIP, which is {first:?}");
        return Err(at.error("spec.clusterIPs[0]", what, "the same in both, or only one of the two"));
    }
    if headless {
        return match all.iter().position(|ip| ip != "None") {
            Some(n) => {
                let path = format!("spec.clusterIPs[{n}]");
                Err(at.error(&path, "a headless service has no addresses", "None, or nothing"))
            }
            None => Ok(()),
        };
    }
    if all.iter().any(|ip| ip == "None") {
        return Err(at.error("spec.clusterIPs", "`None` stands for a headless service", "`clusterIP: None`"));
    }
    let single =
        if first.is_empty() || !all.is_empty() { None } else { Some(("spec.clusterIP".into(), first)) };
    let listed = all.iter().enumerate().map(|(n, ip)| (format!("spec.clusterIPs[{n}]"), ip.as_str()));
    addresses(at, single.into_iter().chain(listed))
}
