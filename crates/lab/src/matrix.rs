//! Who reaches whom: every ordered pair of pods, by every port, protocol and family that was asked for, tried at once from
//! inside the pods, and held against what policy says of each.
//!
//! A packet that is dropped is a timeout. One that reaches a pod where nobody listens is refused, which is an answer: policy
//! let it pass. What a pod says to itself is not tried; no policy is about it.

mod compare;
mod expect;
mod probe;
pub mod sctp;
mod situation;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use model::{ClusterName, ObjectName, Port};
use serde::{Deserialize, Serialize};
use wire::local::{Family, PolicyEnd, PolicyProtocol};

use crate::status::LabStatus;

pub use compare::{Checked, Difference};
pub use expect::{Expect, ExpectError};
pub use probe::probe;
pub use situation::{Applied, Situation, apply, parse as parse_situations, take_back};

/// Pods at most: so many that a matrix of them can still be read.
pub const MOST_PODS: usize = 100;

/// Before what differs is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// A pod of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its namespace and name.
    pub pod: ObjectName,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its network namespace.
    pub netns: String,
}

impl Member {
    /// As policy is asked about it.
    pub fn end(&self) -> PolicyEnd {
        PolicyEnd::Pod { cluster: Some(self.cluster.clone()), pod: self.pod.clone() }
    }

    /// Its address of a family.
    pub fn ip(&self, family: Family) -> Option<IpAddr> {
        self.ips.iter().copied().find(|ip| Family::of(*ip) == family)
    }
}

/// What is tried between each two pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Ports, of every protocol that has some.
    pub ports: Vec<Port>,
    /// How.
    pub protocols: Vec<PolicyProtocol>,
    /// By which addresses.
    pub families: Vec<Family>,
    /// What is not answered in this time was dropped.
    pub timeout: Duration,
    /// For how long what differs is tried again: a policy takes its time, and a busy machine loses packets.
    pub settle: Duration,
}

/// One try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// Who begins, by its place among the members.
    pub from: usize,
    /// Who is dialled.
    pub to: usize,
    /// How.
    pub protocol: PolicyProtocol,
    /// Which port; none for ICMP.
    pub port: Option<Port>,
    /// By which address.
    pub family: Family,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was answered.
    Open,
    /// It arrived, and nobody listens there.
    Refused,
    /// Nothing came back: it was dropped, or its answer.
    Silent,
    /// There is no way: a router said so, or the pod's node knows that the other one is dead.
    Unreachable,
    /// It could not be tried; this process' log says why.
    Failed,
}

impl Outcome {
    /// Whether what was sent arrived; none where that is not known.
    pub fn arrived(self) -> Option<bool> {
        match self {
            Self::Open | Self::Refused => Some(true),
            Self::Silent | Self::Unreachable => Some(false),
            Self::Failed => None,
        }
    }

    /// One character of a matrix.
    pub fn mark(self) -> char {
        match self {
            Self::Open => '+',
            Self::Refused => 'r',
            Self::Silent => '.',
            Self::Unreachable => 'u',
            Self::Failed => '?',
        }
    }
}

/// What was tried, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Who began.
    pub from: String,
    /// Who was dialled.
    pub to: String,
    /// How.
    pub protocol: PolicyProtocol,
    /// Which port.
    pub port: Option<Port>,
    /// By which address.
    pub family: Family,
    /// What became of it, in the end.
    pub outcome: Outcome,
    /// Whether it may be, as `policy check` says; none where it does not say.
    pub check: Option<bool>,
    /// Whether it may be, as was written down; none where nothing was.
    pub expected: Option<bool>,
}

/// A matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name; empty where it has none.
    pub name: String,
    /// The pods, in order.
    pub pods: Vec<String>,
    /// How many pairs were tried, by all ways.
    pub tried: usize,
    /// How long it took until all was tried once, in seconds.
    pub first_seconds: f64,
    /// And until what differed had been tried again.
    pub seconds: f64,
    /// How often something was tried again.
    pub rounds: u32,
    /// Why it was not held against `policy check`, or not in full; empty if it was.
    pub unchecked: String,
    /// Every try.
    pub results: Vec<Measured>,
    /// Those that are not as they should be.
    pub differences: Vec<Difference>,
}

/// The pods of a lab that run: of these clusters and namespaces, of all where none is named.
///
/// # Errors
/// When there are fewer than two, or too many.
pub fn members(status: &LabStatus, clusters: &[ClusterName], namespaces: &[String]) -> Result<Vec<Member>> {
    if let Some(unknown) = clusters.iter().find(|name| !status.clusters.iter().any(|c| c.name == **name)) {
        let there: Vec<_> = status.clusters.iter().map(|cluster| cluster.name.to_string()).collect();
        bail!("no cluster of the lab is called {unknown}: there is {}", there.join(", "));
    }
    if let Some(unknown) = namespaces.iter().find(|name| !status.pods.iter().any(|p| p.namespace == **name)) {
        bail!("no pod of the lab is in namespace {unknown}: `causeway lab status` lists them");
    }
    let mut members = Vec::new();
    for pod in &status.pods {
        let chosen = (clusters.is_empty() || clusters.contains(&pod.cluster))
            && (namespaces.is_empty() || namespaces.contains(&pod.namespace));
        if chosen && pod.phase == "Running" && !pod.ips.is_empty() {
            members.push(Member {
                cluster: pod.cluster.clone(),
                pod: ObjectName::new(&pod.namespace, &pod.name)?,
                ips: pod.ips.clone(),
                netns: pod.netns.clone(),
            });
        }
    }
    members.sort_by(|a, b| (&a.cluster, &a.pod).cmp(&(&b.cluster, &b.pod)));
    match members.len() {
        0 | 1 => bail!("a matrix needs two pods that run: `causeway lab status` says which do"),
        2..=MOST_PODS => Ok(members),
        many => bail!("{many} pods are too many for a matrix (at most {MOST_PODS}): choose with --namespace"),
    }
}

/// Every try that the members make possible.
pub fn probes(members: &[Member], spec: &Spec) -> Vec<Probe> {
    let mut probes = Vec::new();
    for &protocol in &spec.protocols {
        let ports: Vec<Option<Port>> = match protocol.transport() {
            Some(_) => spec.ports.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        for port in ports {
            for &family in &spec.families {
                let has: Vec<usize> =
                    (0..members.len()).filter(|n| members[*n].ip(family).is_some()).collect();
                let to = |from: usize| has.iter().map(move |to| (from, *to));
                let pairs = has.iter().flat_map(|from| to(*from)).filter(|(from, to)| from != to);
                probes.extend(pairs.map(|(from, to)| Probe { from, to, protocol, port, family }));
            }
        }
    }
    probes
}

/// Tries everything, and what is not as it should be again until it is, or for as long as `spec` says.
///
/// # Errors
/// When a controller that was asked answers with nonsense, or a pod cannot be entered.
pub async fn measure(
    name: &str,
    members: &[Member],
    spec: &Spec,
    expect: Option<&Expect>,
    checks: bool,
) -> Result<Report> {
    let begun = Instant::now();
    let probes = probes(members, spec);
    let mut outcomes = probe(members, &probes, spec.timeout).await?;
    let first_seconds = begun.elapsed().as_secs_f64();
    let expected = |probe: &Probe| expect.map(|expect| expect.allows(members, probe));
    let (mut checked, unchecked) = match checks {
        true => compare::check(members, &probes).await?,
        false => (vec![Checked::default(); probes.len()], "not asked for".to_string()),
    };
    let mut rounds = 0;
    let differs = |n: usize, outcomes: &[Outcome], checked: &[Checked]| {
        compare::differs(outcomes[n], checked[n].allowed, expected(&probes[n]))
    };
    // Of what nothing says how it should be, what was silent is tried once more.
    let silent = |n: &usize| {
        outcomes[*n] == Outcome::Silent && checked[*n].allowed.or(expected(&probes[*n])).is_none()
    };
    let silent: Vec<usize> = (0..probes.len()).filter(silent).collect();
    if !silent.is_empty() {
        let some: Vec<Probe> = silent.iter().map(|n| probes[*n]).collect();
        let now = probe(members, &some, spec.timeout).await?;
        silent.iter().zip(now).for_each(|(n, outcome)| outcomes[*n] = outcome);
    }
    while begun.elapsed() < spec.settle + Duration::from_secs_f64(first_seconds) {
        let again: Vec<usize> = (0..probes.len()).filter(|n| differs(*n, &outcomes, &checked)).collect();
        if again.is_empty() {
            break;
        }
        rounds += 1;
        tokio::time::sleep(PAUSE).await;
        let some: Vec<Probe> = again.iter().map(|n| probes[*n]).collect();
        if unchecked.is_empty() {
            let (now, why) = compare::check(members, &some).await?;
            // One that was just killed has nothing to say; what it said before counts.
            if why.is_empty() {
                again.iter().zip(now).for_each(|(n, check)| checked[*n] = check);
            }
        }
        let now = probe(members, &some, spec.timeout).await?;
        again.iter().zip(now).for_each(|(n, outcome)| outcomes[*n] = outcome);
    }
    let names: Vec<String> = members.iter().map(|member| member.end().to_string()).collect();
    let mut results = Vec::with_capacity(probes.len());
    let mut differences = Vec::new();
    for (n, (probe, check)) in probes.iter().zip(checked.iter()).enumerate() {
        let Probe { from, to, protocol, port, family } = *probe;
        let measured = Measured {
            from: names[from].clone(),
            to: names[to].clone(),
            protocol,
            port,
            family,
            outcome: outcomes[n],
            check: check.allowed,
            expected: expected(probe),
        };
        if differs(n, &outcomes, &checked) {
            differences.push(Difference { measured: measured.clone(), why: check.why.clone() });
        }
        results.push(measured);
    }
    Ok(Report {
        name: name.into(),
        pods: names,
        tried: probes.len(),
        first_seconds,
        seconds: begun.elapsed().as_secs_f64(),
        rounds,
        unchecked,
        results,
        differences,
    })
}

#[cfg(test)]
mod tests;
