//! In what the exports of one name differ, in the words of the MCS API.

use std::collections::{BTreeMap, BTreeSet};

use model::{ClusterName, ServicePort, Terms};

use super::merge::Claim;

/// How many different values, and how many clusters of one, a message names.
const NAMED: usize = 5;

/// The reasons of a ServiceExport's condition `Conflict`, in the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Ports.
    Port,
    /// Whether it is headless.
    Type,
    /// Whether clients stay with their backend.
    SessionAffinity,
    /// For how long they do.
    SessionAffinityConfig,
    /// Exported annotations.
    Annotations,
    /// Exported labels.
    Labels,
    /// `internalTrafficPolicy`.
    InternalTrafficPolicy,
    /// `trafficDistribution`.
    TrafficDistribution,
    /// Address families: clients of one of them reach only some of the clusters.
    IpFamily,
}

impl Reason {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "PortConflict",
            Self::Type => "TypeConflict",
            Self::SessionAffinity => "SessionAffinityConflict",
            Self::SessionAffinityConfig => "SessionAffinityConfigConflict",
            Self::Annotations => "AnnotationsConflict",
            Self::Labels => "LabelsConflict",
            Self::InternalTrafficPolicy => "InternalTrafficPolicyConflict",
            Self::TrafficDistribution => "TrafficDistributionConflict",
            Self::IpFamily => "IPFamilyConflict",
        }
    }
}

/// Something in which the exports of a name differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is.
    pub reason: Reason,
    /// Which cluster says what, and what counts.
    pub message: String,
}

/// The reasons as a condition has them: joined by commas. `NoConflicts` when there are none.
pub fn reasons(conflicts: &[Conflict]) -> String {
    if conflicts.is_empty() {
        return "NoConflicts".into();
    }
    conflicts.iter().map(|conflict| conflict.reason.as_str()).collect::<Vec<_>>().join(",")
}

/// Everything in which the claims differ, the oldest claim being the first.
pub(super) fn conflicts(claims: &[Claim<'_>]) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut compare = |reason, field: &str, hence: &str, value: &dyn Fn(&Claim<'_>) -> Option<String>| {
        if let Some(said) = differences(claims, value) {
            found.push(Conflict { reason, message: format!("{field}: {said}; {hence}") });
        }
    };
    let oldest = "the oldest export decides";
    let of_terms = |value: fn(&Terms) -> String| move |claim: &Claim<'_>| Some(value(&claim.terms));
    compare(
        Reason::Port,
        "ports",
        "the import has all of them, of two with one name or number the older export's, and each leads only to the \
         clusters that have it",
        &|claim| Some(ports(claim.ports)),
    );
    compare(
        Reason::Type,
        "type",
        oldest,
        &of_terms(|terms| if terms.headless { "Headless" } else { "ClusterSetIP" }.into()),
    );
    compare(
        Reason::SessionAffinity,
        "sessionAffinity",
        oldest,
        &of_terms(|terms| if terms.session_affinity.is_some() { "ClientIP" } else { "None" }.into()),
    );
    compare(
        Reason::SessionAffinityConfig,
        "sessionAffinityConfig.clientIP.timeoutSeconds",
        oldest,
        &|claim| claim.terms.session_affinity.map(|seconds| seconds.to_string()),
    );
    compare(Reason::Annotations, "exportedAnnotations", oldest, &of_terms(|terms| pairs(&terms.annotations)));
    compare(Reason::Labels, "exportedLabels", oldest, &of_terms(|terms| pairs(&terms.labels)));
    compare(
        Reason::InternalTrafficPolicy,
        "internalTrafficPolicy",
        oldest,
        &of_terms(|terms| if terms.internal_local { "Local" } else { "Cluster" }.into()),
    );
    compare(
        Reason::TrafficDistribution,
        "trafficDistribution",
        oldest,
        &of_terms(|terms| {
            if terms.traffic_distribution.is_empty() {
                "none".into()
            } else {
                terms.traffic_distribution.clone()
            }
        }),
    );
    compare(
        Reason::IpFamily,
        "ipFamilies",
        "the import has all of them, and each leads only to the clusters that have it",
        &|claim| {
            let families: BTreeSet<bool> = claim.terms.ipv6.iter().copied().collect();
            let names: Vec<&str> = families.iter().map(|v6| if *v6 { "IPv6" } else { "IPv4" }).collect();
            (!names.is_empty()).then(|| names.join(" and "))
        },
    );
    found
}

/// Who says what, if not all who say anything say the same: the oldest's value first.
fn differences(claims: &[Claim<'_>], value: &dyn Fn(&Claim<'_>) -> Option<String>) -> Option<String> {
    let mut groups: Vec<(String, Vec<&ClusterName>)> = Vec::new();
    for claim in claims {
        let Some(value) = value(claim) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, clusters)) => clusters.push(claim.cluster),
            None => groups.push((value, vec![claim.cluster])),
        }
    }
    if groups.len() < 2 {
        return None;
    }
    let group = |(value, clusters): &(String, Vec<&ClusterName>)| {
        let named: Vec<&str> = clusters.iter().take(NAMED).map(|cluster| cluster.as_str()).collect();
        format!("{value} in {}{}", named.join(", "), more(clusters.len()))
    };
    let named: Vec<String> = groups.iter().take(NAMED).map(group).collect();
    Some(format!("{}{}", named.join("; "), more(groups.len())))
}

fn more(count: usize) -> String {
    if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() }
}

/// Ports in an order that does not depend on how they were written.
fn ports(ports: &[ServicePort]) -> String {
    let text = |port: &ServicePort| {
        let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
        let spoken =
            if port.app_protocol.is_empty() { String::new() } else { format!(" ({})", port.app_protocol) };
        format!("{name}{}/{}{spoken}", port.port, port.protocol)
    };
    let mut all: Vec<String> = ports.iter().map(text).collect();
    all.sort();
    if all.is_empty() { "no port".into() } else { short(&all.join(", ")) }
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "none".into() } else { short(&all.join(", ")) }
}

/// A value as it is quoted. Two long ones that differ only behind the cut still differ: their length is said, and a digest.
fn short(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.len() <= LONGEST {
        return text.into();
    }
    use std::hash::{Hash, Hasher};
    let mut hasher = siphasher::sip::SipHasher13::new();
    text.hash(&mut hasher);
    let cut = &text[..text.floor_char_boundary(LONGEST)];
    format!("{cut}… ({} bytes, {:08x})", text.len(), hasher.finish() >> 32)
}
