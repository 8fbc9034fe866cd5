//! What is wrong with settings as a whole: what each field's type cannot see.

use std::fmt;

use cluster::kubernetes::clusterlink::TOKENS;
use cluster::kubernetes::state::STATE;
use ipnet::IpNet;
use model::ClusterName;

use super::{Authority, Cidr, Settings};

/// How many places a table of Maglev may have, as agents take it.
const MAGLEV_TABLES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];

/// The Secrets that controllers may read.
pub(super) const OURS: [&str; 2] = [STATE, TOKENS];

/// One thing that is wrong with the settings. Always the writer's to fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which setting, by its path.
    pub setting: &'static str,
    /// The flag of `causeway install` that sets it, if there is one.
    pub flag: Option<&'static str>,
    /// What to write.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)?;
        match self.flag {
            Some(flag) => write!(f, " ({flag})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong; nothing may be installed while there is anything.
pub fn check(settings: &Settings) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut say = |setting, flag: &'static str, problem: String| {
        let flag = if flag.is_empty() { None } else { Some(flag) };
        found.push(Problem { setting, flag, problem });
    };
    let cluster = &settings.cluster;
    if cluster.name.is_empty() {
        say("cluster.name", "--name", "give the cluster a name that no linked cluster has".into());
    } else if let Err(e) = ClusterName::new(cluster.name.clone()) {
        say("cluster.name", "--name", e.to_string());
    }
    if let Err(e) = model::ClusterId::new(cluster.id.into()) {
        say("cluster.id", "--id", e.to_string());
    }
    for (setting, flag, ranges) in [
        ("cluster.podCIDRs", "--pod-cidr", &cluster.pod_cidrs),
        ("cluster.serviceCIDRs", "--service-cidr", &cluster.service_cidrs),
    ] {
        if let Some(problem) = wrong_with(ranges) {
            say(setting, flag, problem);
        }
    }
    for pod in &cluster.pod_cidrs {
        if let Some(service) = cluster.service_cidrs.iter().find(|s| overlap(&pod.0, &s.0)) {
            say("cluster.podCIDRs", "--pod-cidr", format!("{pod} overlaps the services' {service}"));
        }
        let (mask, setting) = match pod.0 {
            IpNet::V4(_) => (cluster.node_mask_size_ipv4, "cluster.nodeMaskSizeIPv4"),
            IpNet::V6(_) => (cluster.node_mask_size_ipv6, "cluster.nodeMaskSizeIPv6"),
        };
        if mask < pod.0.prefix_len() {
            say(setting, "", format!("/{mask} is larger than all of {pod}"));
        }
    }
    if settings.agent.vxlan_port == settings.agent.wireguard_port {
        say("agent.vxlanPort", "", "give another port than agent.wireguardPort".into());
    }
    for (name, other) in &settings.services.clusters {
        if let Err(e) = ClusterName::new(name.clone()) {
            say("services.clusters", "", e.to_string());
        } else if !(1..=100).contains(&other.weight) || other.egress_cost > 60_000 {
            say(
                "services.clusters",
                "",
                format!("give {name} a weight from 1 to 100 and an egressCost of at most 60000"),
            );
        }
    }
    let at = &settings.services.node_port_addresses;
    let is_range = |text: &&String| text.parse::<IpNet>().is_ok();
    if let Some(text) = at.iter().find(|text| !is_range(text) && at.as_slice() != ["primary"]) {
        let problem = format!("{text:?} is no range; give ranges such as 192.0.2.0/24, or primary alone");
        say("services.nodePortAddresses", "", problem);
    }
    if !MAGLEV_TABLES.contains(&settings.services.maglev_table_size) {
        say("services.maglevTableSize", "", format!("give one of {MAGLEV_TABLES:?}"));
    }
    if settings.mesh.topology_label.is_empty() {
        say("mesh.topologyLabel", "", "name a label, such as topology.kubernetes.io/region".into());
    }
    if settings.mesh.preshared_keys.required && settings.mesh.preshared_keys.secret.is_empty() {
        say("mesh.presharedKeys.secret", "", "name the Secret, as keys of it are required".into());
    }
    if OURS.contains(&settings.mesh.preshared_keys.secret.as_str()) {
        let problem = "name another Secret: controllers read and write this one".to_owned();
        say("mesh.presharedKeys.secret", "", problem);
    }
    let controllers = &settings.controllers;
    if controllers.nodes.is_empty() {
        say(
            "controllers.nodes",
            "--controller-node",
            "name the nodes that run a controller, two or three".into(),
        );
    }
    if controllers.addresses.is_empty() {
        let problem = format!("give the controllers' addresses, such as 192.0.2.1:{}", controllers.port);
        say("controllers.addresses", "--controller-address", problem);
    }
    let is_address = |text: &&String| {
        let parts = text.rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
    };
    if let Some(text) = controllers.addresses_for_clusters.iter().find(|text| !is_address(text)) {
        let problem = format!("{text:?} is not ADDRESS:PORT or NAME:PORT");
        say("controllers.addressesForClusters", "", problem);
    }
    let Authority { root_days, rotate_after_days, grace_days } = controllers.authority;
    if rotate_after_days == 0 || root_days <= rotate_after_days.saturating_add(grace_days) {
        let problem = "give more than rotateAfterDays, which is at least 1, and graceDays together";
        say("controllers.authority.rootDays", "", problem.into());
    }
    let cni = &settings.agent.cni;
    for (setting, path) in
        [("agent.cni.confDir", &cni.conf_dir), ("agent.hostRoot", &settings.agent.host_root)]
    {
        if !path.is_empty() && !path.starts_with('/') {
            say(setting, "", format!("{path:?} is not an absolute path"));
        }
    }
    if let Some(path) = cni.bin_dirs.iter().find(|path| !path.starts_with('/')) {
        say("agent.cni.binDirs", "", format!("{path:?} is not an absolute path"));
    }
    let dns = &settings.agent.dns;
    let is_ip = |text: &&String| text.parse::<std::net::IpAddr>().is_ok();
    if let Some(text) = dns.listen.iter().find(|text| !is_ip(text)) {
        say("agent.dns.listen", "", format!("{text:?} is not an address"));
    }
    let is_server = |text: &&String| is_ip(text) || text.parse::<std::net::SocketAddr>().is_ok();
    if let Some(text) = dns.upstreams.iter().find(|text| !is_server(text)) {
        say("agent.dns.upstreams", "", format!("{text:?} is not ADDRESS or ADDRESS:PORT"));
    }
    if dns.cluster_domain == dns.clusterset_domain {
        say("agent.dns.clusterDomain", "", "give another than clustersetDomain".into());
    }
    found
}

fn wrong_with(ranges: &[Cidr]) -> Option<String> {
    if ranges.is_empty() {
        return Some("give at least one range, such as 10.42.0.0/16".into());
    }
    let loose = ranges.iter().find(|range| range.0 != range.0.trunc());
    if let Some(range) = loose {
        return Some(format!("{range} has bits beyond its prefix; write {}", range.0.trunc()));
    }
    ranges.iter().enumerate().find_map(|(i, a)| {
        let b = ranges[..i].iter().find(|b| overlap(&a.0, &b.0))?;
        Some(format!("{a} overlaps {b}"))
    })
}

pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Settings {
        let mut settings = Settings::default();
        settings.cluster.name = "home".into();
        settings.controllers.nodes = vec!["n1".into()];
        settings.controllers.addresses = vec!["192.0.2.1:9640".parse().unwrap()];
        settings
    }

    #[test]
    fn what_is_wrong() {
        type Spoil = fn(&mut Settings);
        let cases: [(&[&str], Spoil); 20] = [
            (&[], |_| ()),
            (&["cluster.name", "controllers.nodes", "controllers.addresses"], |s| *s = Settings::default()),
            (&["cluster.name"], |s| s.cluster.name = "Home".into()),
            (&["cluster.id"], |s| s.cluster.id = 512),
            (&["cluster.podCIDRs"], |s| s.cluster.pod_cidrs.clear()),
            (&["cluster.podCIDRs"], |s| s.cluster.pod_cidrs = vec!["10.43.7.0/24".parse().unwrap()]),
            (&["cluster.serviceCIDRs"], |s| s.cluster.service_cidrs = vec!["10.96.0.1/12".parse().unwrap()]),
            (&["cluster.podCIDRs"], |s| s.cluster.pod_cidrs.push("10.42.1.0/24".parse().unwrap())),
            (&["cluster.nodeMaskSizeIPv4"], |s| s.cluster.node_mask_size_ipv4 = 12),
            (&["controllers.authority.rootDays"], |s| s.controllers.authority.root_days = 1855),
            (&["controllers.addressesForClusters"], |s| {
                s.controllers.addresses_for_clusters = vec!["gcp.example.net".into()];
            }),
            (&[], |s| s.services.node_port_addresses = vec!["primary".into()]),
            (&[], |s| s.services.node_port_addresses = vec!["192.0.2.0/24".into(), "::/0".into()]),
            (&["services.nodePortAddresses"], |s| {
                s.services.node_port_addresses = vec!["192.0.2.0/24".into(), "primary".into()];
            }),
            (&["services.maglevTableSize"], |s| s.services.maglev_table_size = 1000),
            (&["mesh.presharedKeys.secret"], |s| s.mesh.preshared_keys.required = true),
            (&["mesh.presharedKeys.secret"], |s| s.mesh.preshared_keys.secret = "causeway-state".into()),
            (&["mesh.topologyLabel"], |s| s.mesh.topology_label.clear()),
            (&["agent.cni.binDirs"], |s| s.agent.cni.bin_dirs.push("bin".into())),
            (&["agent.cni.confDir"], |s| s.agent.cni.conf_dir = "net.d".into()),
        ];
        for (expected, spoil) in cases {
            let mut settings = good();
            spoil(&mut settings);
            let found = check(&settings);
            let names: Vec<_> = found.iter().map(|p| p.setting).collect();
            assert_eq!(names, expected, "{found:?}");
        }
    }
}
