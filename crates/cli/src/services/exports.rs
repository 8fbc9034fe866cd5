//! What becomes of exports: the controller says it of each ServiceExport, agents know only those that come to something.

use std::collections::BTreeMap;

use model::NodeName;
use wire::local::{ConditionStatus, ExportStatus, ServiceReport};

/// Puts what is said of exports beside the services that they export, as a node sees these. An export with nothing behind it
/// stands for itself.
pub(super) fn join(services: &mut Vec<ServiceReport>, seen_from: &NodeName, exports: Vec<ExportStatus>) {
    let name = |export: &ExportStatus| (export.service.namespace.clone(), export.service.name.clone());
    let mut exports: BTreeMap<_, _> = exports.into_iter().map(|e| (name(&e), e.conditions)).collect();
    for service in services.iter_mut().filter(|service| !service.imported) {
        if let Some(conditions) = exports.remove(&(service.namespace.clone(), service.name.clone())) {
            service.exported = true;
            service.export_conditions = conditions;
        }
    }
    services.extend(exports.into_iter().map(|(name, conditions)| alone(seen_from, name, conditions)));
}

fn alone(
    seen_from: &NodeName,
    (namespace, name): (String, String),
    export_conditions: Vec<ConditionStatus>,
) -> ServiceReport {
    ServiceReport {
        cluster: seen_from.cluster.clone(),
        namespace,
        name,
        kind: "None".into(),
        from: seen_from.node.clone(),
        vips: Vec::new(),
        ports: Vec::new(),
        global: false,
        shared: false,
        exported: true,
        export_conditions,
        imported: false,
        prefer: "ladder".into(),
        cluster_weights: BTreeMap::new(),
        capacities: BTreeMap::new(),
        clusters: Vec::new(),
        healthy: 0,
        total: 0,
        backends: Vec::new(),
        distances: Vec::new(),
        tiers: Vec::new(),
        frontends: Vec::new(),
        outside: Vec::new(),
        problems: Vec::new(),
        doubts: Vec::new(),
        differences: Vec::new(),
    }
}

/// Whether there is something to export, as far as is known.
pub(super) fn is_valid(service: &ServiceReport) -> bool {
    !service.export_conditions.iter().any(|c| (c.kind.as_str(), c.status.as_str()) == ("Valid", "False"))
}

/// What is wrong with the export: a reason, and sentences.
pub(super) fn troubles(service: &ServiceReport) -> impl Iterator<Item = String> {
    let wrong = |c: &&ConditionStatus| {
        matches!((c.kind.as_str(), c.status.as_str()), ("Valid", "False") | ("Conflict", "True"))
    };
    let conditions = service.export_conditions.iter().filter(wrong);
    conditions.flat_map(|c| {
        c.message.lines().map(|line| format!("export of {}: {}: {line}", service.cluster, c.reason))
    })
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::*;

    #[test]
    fn what_is_said_of_exports_stands_beside_their_services() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| ConditionStatus {
            kind: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
        };
        let export = |name: &str, conditions| ExportStatus { service: name.parse().unwrap(), conditions };
        let node = NodeName::try_from("aws/aws-1".to_string()).unwrap();
        let name = |name: &str| ("demo".to_string(), name.to_string());
        let mut services = vec![ServiceReport {
            exported: false,
            kind: "ClusterIP".into(),
            ..alone(&node, name("echo"), vec![])
        }];
        let conflicts = condition("Conflict", "True", "PortConflict", "gcp has no port 80\nlab neither");
        let nothing = condition("Valid", "False", "NoService", "there is no Service of this name");
        let ready = condition("Ready", "False", "Pending", "it waits for a Service of this name");
        let valid = condition("Valid", "True", "Valid", "there is such a Service");
        let exports =
            vec![export("demo/echo", vec![valid, conflicts]), export("demo/gone", vec![nothing, ready])];
        join(&mut services, &node, exports);
        assert_eq!(
            render::list(&services),
            "  SERVICE    CLUSTER  TYPE       ADDRESS  PORTS  JOINED            ANSWERED BY  HEALTHY
  demo/echo  aws      ClusterIP                  exported                           0/0
  demo/gone  aws      None                       exported in vain                   0/0
  ! demo/echo: export of aws: PortConflict: gcp has no port 80
  ! demo/echo: export of aws: PortConflict: lab neither
  ! demo/gone: export of aws: NoService: there is no Service of this name
"
        );
        let json = serde_json::to_value(&services[1]).unwrap();
        assert_eq!(json["exportConditions"][0]["reason"], "NoService");
    }
}
