//! From what a cluster says of itself to settings that suit it, each with its reason. What was asked for goes before.

mod ranges;

use std::net::SocketAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::facts::{Facts, Flavour, NodeFact};
use crate::settings::{Settings, check};

/// How many controllers there are when nobody says.
const CONTROLLERS: usize = 3;
/// How many of them where every node is like the others.
const CONTROLLERS_ON_WORKERS: usize = 2;

/// Settings, and why they are what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The settings.
    pub settings: Settings,
    /// What was not asked for but decided.
    pub choices: Vec<Choice>,
}

/// A setting that was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its path.
    pub setting: &'static str,
    /// What it is now.
    pub value: Value,
    /// Why.
    pub reason: String,
    /// Whether the reason is no more than a guess, to be looked at.
    pub guessed: bool,
}

/// Settings that suit the flavour alone, for when no cluster is asked.
pub fn suit_flavour(flavour: Flavour, given: &Value) -> Result<Decision, serde_json::Error> {
    let mut choices = Choices { given, made: Vec::new() };
    choices.flavour(flavour);
    choices.finish()
}

/// Settings that suit the cluster; whatever `given` says goes before.
///
/// # Errors
/// `given` holds a value that is no setting.
pub fn decide(facts: &Facts, given: &Value) -> Result<Decision, serde_json::Error> {
    let mut choices = Choices { given, made: Vec::new() };
    choices.flavour(facts.flavour);
    choices.name(facts);
    choices.ranges(facts);
    choices.controllers(facts)?;
    if let Some(api) = facts.api_servers.first().filter(|_| !facts.kube_proxy) {
        let host = json!({ "host": api.ip(), "port": api.port() });
        choices.make("controllers.apiServer", host, "no kube-proxy makes the kubernetes service work", false);
    }
    choices.finish()
}

struct Choices<'a> {
    given: &'a Value,
    made: Vec<Choice>,
}

impl Choices<'_> {
    /// Chooses, unless somebody did already.
    fn make(&mut self, setting: &'static str, value: Value, reason: impl Into<String>, guessed: bool) {
        let given = setting.split('.').try_fold(self.given, |value, key| value.get(key));
        if given.is_none_or(Value::is_null) {
            self.made.push(Choice { setting, value, reason: reason.into(), guessed });
        }
    }

    fn flavour(&mut self, flavour: Flavour) {
        let reason = format!("where {} keeps it", flavour.name());
        match flavour {
            Flavour::K3s => {
                self.make(
                    "agent.cni.binDirs",
                    json!(["/var/lib/rancher/k3s/data/cni"]),
                    reason.clone(),
                    false,
                );
                self.make(
                    "agent.cni.confDir",
                    json!("/var/lib/rancher/k3s/agent/etc/cni/net.d"),
                    reason,
                    false,
                );
            }
            Flavour::Gke => self.make("agent.cni.binDirs", json!(["/home/kubernetes/bin"]), reason, false),
            Flavour::Kubeadm => {
                self.make("cluster.podCIDRs", json!(["10.244.0.0/16"]), "what kubeadm's guides use", true);
                self.make("cluster.serviceCIDRs", json!(["10.96.0.0/12"]), "kubeadm's default", true);
            }
            Flavour::Rke2 | Flavour::Eks | Flavour::Aks | Flavour::Other => {}
        }
    }

    fn name(&mut self, facts: &Facts) {
        // What kubeconfigs are filled with when nobody gave a name.
        let nobodys = ["default", "kubernetes", "cluster", "local"].contains(&facts.name.as_str());
        if !nobodys && model::ClusterName::new(facts.name.clone()).is_ok() {
            let reason = "what your kubeconfig calls it; it cannot be changed later";
            self.make("cluster.name", json!(facts.name), reason, true);
        }
    }

    fn ranges(&mut self, facts: &Facts) {
        if let Some((ranges, reason, guessed)) = ranges::of_pods(facts) {
            self.replace("cluster.podCIDRs", json!(texts(&ranges)), reason, guessed);
        }
        if !facts.service_cidrs.is_empty() {
            let ranges = json!(texts(&facts.service_cidrs));
            self.replace("cluster.serviceCIDRs", ranges, "what the API server says".into(), false);
        }
    }

    /// Chooses over what the flavour alone made likely.
    fn replace(&mut self, setting: &'static str, value: Value, reason: String, guessed: bool) {
        self.made.retain(|choice| choice.setting != setting);
        self.make(setting, value, reason, guessed);
    }

    /// Nodes that carry the control plane, else the first ones; and the addresses of whichever were chosen.
    fn controllers(&mut self, facts: &Facts) -> Result<(), serde_json::Error> {
        let (nodes, reason) = candidates(&facts.nodes);
        if !nodes.is_empty() {
            let names: Vec<_> = nodes.iter().map(|node| &node.name).collect();
            self.make("controllers.nodes", json!(names), reason, false);
        }
        let settings = self.settings()?;
        let chosen = |node: &&NodeFact| settings.controllers.nodes.contains(&node.name);
        let addresses: Vec<_> = facts
            .nodes
            .iter()
            .filter(chosen)
            .filter_map(|node| Some(SocketAddr::new(*node.internal_ips.first()?, settings.controllers.port)))
            .collect();
        if !addresses.is_empty() {
            let reason = "these nodes' InternalIP; other clusters need to reach them, too, to be linked";
            self.make("controllers.addresses", json!(addresses), reason, false);
        }
        Ok(())
    }

    fn settings(&self) -> Result<Settings, serde_json::Error> {
        let mut values = json!({});
        for choice in &self.made {
            let mut at = &mut values;
            for key in choice.setting.split('.') {
                at = &mut at[key];
            }
            *at = choice.value.clone();
        }
        Settings::default().with(&values)?.with(self.given)
    }

    fn finish(self) -> Result<Decision, serde_json::Error> {
        Ok(Decision { settings: self.settings()?, choices: self.made })
    }
}

fn candidates(nodes: &[NodeFact]) -> (Vec<&NodeFact>, &'static str) {
    let mut masters: Vec<_> = nodes.iter().filter(|node| node.control_plane).collect();
    masters.sort_by(|a, b| a.name.cmp(&b.name));
    masters.truncate(CONTROLLERS);
    if !masters.is_empty() {
        return (masters, "they carry the control plane");
    }
    let mut any: Vec<_> = nodes.iter().collect();
    any.sort_by(|a, b| b.ready.cmp(&a.ready).then(a.name.cmp(&b.name)));
    any.truncate(CONTROLLERS_ON_WORKERS);
    (any, "the first ones; choose nodes that stay")
}

fn texts(ranges: &[IpNet]) -> Vec<String> {
    ranges.iter().map(ToString::to_string).collect()
}

/// What has to be looked at by a person before anything is applied: an existing cluster's ranges collide.
pub fn collisions(facts: &Facts, settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for node in &facts.nodes {
        for slice in &node.pod_cidrs {
            if !settings.cluster.pod_cidrs.iter().any(|range| range.0.contains(slice)) {
                let ranges =
                    settings.cluster.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                found.push(format!(
                    "node {} has {slice}, which is outside of cluster.podCIDRs ({ranges})",
                    node.name
                ));
            }
            if let Some(services) =
                settings.cluster.service_cidrs.iter().find(|s| check::overlap(&s.0, slice))
            {
                found
                    .push(format!("node {} has {slice}, which overlaps the services' {services}", node.name));
            }
        }
        for ip in &node.internal_ips {
            let ours = settings.cluster.pod_cidrs.iter().chain(&settings.cluster.service_cidrs);
            for range in ours.filter(|range| range.0.contains(ip)) {
                found.push(format!("node {} has the address {ip}, which is inside of {range}", node.name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
