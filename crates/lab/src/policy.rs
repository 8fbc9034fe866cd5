//! Questions about policy, put to the controllers of a lab: each connection's two ends to their own clusters'.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use model::{ClusterName, NodeName};
use serve::client;
use wire::local::{PolicyAnswer, PolicyEnd, PolicyQuestion, PolicyQuestions};

use crate::state::{Candidate, Folders, What, resolve};
use crate::status::LabStatus;

/// Questions in one request: far from the longest that is taken, whatever the names.
const AT_ONCE: usize = 1_000;

/// Answers each question by what both ends' clusters say. Of an end in no cluster whoever is asked for the other one says
/// it; where neither is in one, `otherwise` is asked.
///
/// # Errors
/// When a controller does not answer, or nobody is to be asked.
pub async fn check(
    questions: &[PolicyQuestion],
    otherwise: Option<&ClusterName>,
) -> Result<Vec<PolicyAnswer>> {
    let mut by_cluster: BTreeMap<&ClusterName, Vec<usize>> = BTreeMap::new();
    for (n, question) in questions.iter().enumerate() {
        let ends = [question.from.cluster(), question.to.cluster()];
        let mut clusters: BTreeSet<&ClusterName> = ends.into_iter().flatten().collect();
        if clusters.is_empty() {
            clusters.extend(otherwise);
        }
        if clusters.is_empty() {
            let (from, to) = (&question.from, &question.to);
            bail!(
                "neither {from} nor {to} is in a cluster of the lab: say whose eyes to look with, by --cluster"
            );
        }
        clusters.into_iter().for_each(|cluster| by_cluster.entry(cluster).or_default().push(n));
    }
    let mut answers: Vec<Option<PolicyAnswer>> = questions.iter().map(|_| None).collect();
    for (cluster, asked) in by_cluster {
        let socket = Folders::of_controller(cluster).run.join("controller.sock");
        for some in asked.chunks(AT_ONCE) {
            let body = PolicyQuestions { questions: some.iter().map(|n| questions[*n].clone()).collect() };
            let said: Vec<PolicyAnswer> = client::post(&socket, "/v1/policy/check", &body)
                .await
                .with_context(|| format!("asking the controller of {cluster}"))?;
            if said.len() != some.len() {
                bail!("the controller of {cluster} gave {} answers to {} questions", said.len(), some.len());
            }
            for (n, answer) in some.iter().zip(said) {
                answers[*n] = Some(match answers[*n].take() {
                    Some(other) => join(other, answer),
                    None => answer,
                });
            }
        }
    }
    Ok(answers.into_iter().map(|answer| answer.expect("everybody was asked of somebody")).collect())
}

/// What cannot be answered at one end cannot be answered.
fn join(one: PolicyAnswer, other: PolicyAnswer) -> PolicyAnswer {
    match (one, other) {
        (PolicyAnswer::Judged(one), PolicyAnswer::Judged(other)) => {
            PolicyAnswer::Judged(Box::new(one.join(*other)))
        }
        (refused @ PolicyAnswer::Refused { .. }, _) | (_, refused) => refused,
    }
}

/// The end that a person means: as [`PolicyEnd`] is written, or any end of a pod's or node's name that only one has. An
/// address that a pod or node of the lab has is that one. Names count in `cluster` first, where one is given.
///
/// # Errors
/// When nobody or more than one is meant.
pub fn end(status: &LabStatus, text: &str, cluster: Option<&ClusterName>) -> Result<PolicyEnd> {
    if text == "world" {
        return Ok(PolicyEnd::World);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(at(status, ip.to_canonical()));
    }
    let mut pods: Vec<_> = status.pods.iter().collect();
    let mut nodes: Vec<_> = status.nodes.iter().collect();
    // A name that says its own cluster is not looked for in another's.
    let says_cluster = |text: &str| {
        let first = text.split_once('/').map(|(first, _)| first);
        first.is_some_and(|first| status.clusters.iter().any(|c| c.name.as_str() == first))
    };
    let name = text.strip_prefix("node:");
    if let Some(cluster) = cluster.filter(|_| !says_cluster(name.unwrap_or(text))) {
        pods.retain(|pod| pod.cluster == *cluster);
        nodes.retain(|node| node.cluster == *cluster);
    }
    if let Some(name) = name {
        let candidate = |name: String| Candidate { what: What::Node, name };
        let all = nodes.iter().map(|node| candidate(format!("{}/{}", node.cluster, node.name)));
        let found: NodeName = resolve("node", name, all.collect())?.name.try_into()?;
        return Ok((&found).into());
    }
    if text.parse::<ipnet::IpNet>().is_ok() {
        // Says what to write instead.
        return Ok(text.parse::<PolicyEnd>()?);
    }
    let candidate = |name: String| Candidate { what: What::Pod, name };
    let all = pods.iter().map(|pod| candidate(format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name)));
    Ok(resolve("pod", text, all.collect())?.name.parse()?)
}

/// Whoever has the address.
fn at(status: &LabStatus, ip: IpAddr) -> PolicyEnd {
    if let Some(pod) = status.pods.iter().find(|pod| pod.ips.contains(&ip))
        && let Ok(end) = format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name).parse()
    {
        return end;
    }
    let has =
        |node: &&crate::status::NodeStatus| node.private_ips.contains(&ip) || node.public_ips.contains(&ip);
    match status.nodes.iter().find(has) {
        Some(node) => PolicyEnd::Node { cluster: Some(node.cluster.clone()), name: node.name.clone() },
        None => PolicyEnd::Address(ip),
    }
}

#[cfg(test)]
mod tests {
    use wire::local::{DecidedBy, PolicyCheck, PolicyDecision, PolicyProtocol};

    use super::*;
    use crate::status::{ClusterStatus, PodStatus};

    fn lab() -> LabStatus {
        let cluster = |name: &str| ClusterStatus {
            name: name.parse().unwrap(),
            id: 1,
            pod_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            controller: Default::default(),
        };
        let pod = |cluster: &str, namespace: &str, name: &str, ip: &str| PodStatus {
            cluster: cluster.parse().unwrap(),
            namespace: namespace.into(),
            name: name.into(),
            node: None,
            ips: vec![ip.parse().unwrap()],
            netns: String::new(),
            ready: true,
            phase: "Running".into(),
            restarts: 0,
            message: String::new(),
        };
        LabStatus {
            clusters: vec![cluster("aws"), cluster("gcp")],
            pods: vec![
                pod("aws", "x", "a", "10.1.0.1"),
                pod("gcp", "x", "a", "10.2.0.1"),
                pod("gcp", "y", "only", "fd00::1"),
            ],
            ..LabStatus::default()
        }
    }

    #[test]
    fn ends() {
        let aws = "aws".parse().unwrap();
        for (text, cluster, end) in [
            ("aws/x/a", None, "aws/x/a"),
            ("gcp/x/a", Some(&aws), "gcp/x/a"),
            ("x/a", Some(&aws), "aws/x/a"),
            ("only", None, "gcp/y/only"),
            ("10.2.0.1", None, "gcp/x/a"),
            ("10.9.0.1", None, "10.9.0.1"),
            ("fd00::1", None, "gcp/y/only"),
            ("world", None, "world"),
        ] {
            assert_eq!(super::end(&lab(), text, cluster).unwrap().to_string(), end, "{text}");
        }
        for (text, said) in [
            ("x/a", "means any of"),
            ("nobody", "no pod is called"),
            ("node:aws-1", "no node is called"),
            ("10.1.0.0/16", "is a range"),
        ] {
            let error = super::end(&lab(), text, None).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn somebody_must_be_asked() {
        let question = PolicyQuestion {
            from: PolicyEnd::World,
            to: "1.1.1.1".parse().unwrap(),
            protocol: PolicyProtocol::Icmp,
            port: None,
            family: None,
        };
        let error = check(&[question], None).await.unwrap_err().to_string();
        assert!(error.contains("--cluster"), "{error}");
        assert!(check(&[], None).await.unwrap().is_empty());
    }

    #[test]
    fn what_one_end_cannot_answer_is_not_answered() {
        let refused = || PolicyAnswer::Refused { error: "no such pod".into() };
        let end = PolicyDecision::nobody();
        let judged = || {
            PolicyAnswer::Judged(Box::new(PolicyCheck {
                from: PolicyEnd::World,
                to: PolicyEnd::World,
                protocol: PolicyProtocol::Icmp,
                port: None,
                family: None,
                allowed: Some(true),
                egress: end.clone(),
                ingress: end.clone(),
            }))
        };
        assert_eq!(join(judged(), refused()), refused());
        assert_eq!(join(refused(), judged()), refused());
        let PolicyAnswer::Judged(both) = join(judged(), judged()) else { panic!() };
        assert_eq!(both.egress.by, DecidedBy::NoPolicy);
    }
}
