//! Exports and imports of services.

use super::{At, PROTOCOLS, Result, addresses, labels, one_of, port_number, required, syntactic};
use crate::manifest::multicluster::{ServiceExport, ServiceImport};
use crate::manifest::syntax::Syntax;

pub(super) fn check_export(at: At<'_>, export: &ServiceExport) -> Result {
    let Some(spec) = &export.spec else { return Ok(()) };
    labels(at, "spec.exportedLabels", spec.exported_labels.as_ref())
}

pub(super) fn check_import(at: At<'_>, import: &ServiceImport) -> Result {
    required(at, "spec")?;
    let Some(spec) = &import.spec else { return Ok(()) };
    required(at, "spec.ports")?;
    required(at, "spec.type")?;
    one_of(at, "spec.type", Some(&spec.type_), &["ClusterSetIP", "Headless"])?;
    one_of(at, "spec.sessionAffinity", spec.session_affinity.as_deref(), &["None", "ClientIP"])?;
    let policy = spec.internal_traffic_policy.as_deref();
    one_of(at, "spec.internalTrafficPolicy", policy, &["Cluster", "Local"])?;
    for (n, family) in spec.ip_families.iter().flatten().enumerate() {
        one_of(at, &format!("spec.ipFamilies[{n}]"), Some(family), &["IPv4", "IPv6"])?;
    }
    let ips = spec.ips.iter().flatten().enumerate();
    addresses(at, ips.map(|(n, ip)| (format!("spec.ips[{n}]"), ip)))?;
    for (n, port) in spec.ports.iter().enumerate() {
        let path = |field: &str| format!("spec.ports[{n}].{field}");
        port_number(at, &path("port"), port.port)?;
        one_of(at, &path("protocol"), port.protocol.as_deref(), PROTOCOLS)?;
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            syntactic(at, &path("name"), name, Syntax::Label)?;
        }
    }
    Ok(())
}
