//! Questions about policy, answered for this cluster: of each connection the ends that are its own.
//!
//! What holds at an end is the [`Judge`]'s to say; here it is seen to that nobody answers for another cluster.

use std::sync::Arc;

use engine::policy::{Distributed, Host, Limits, Planner, Scope, Selectors, Settings};
use model::{Change, ClusterName, Object, World};
use serve::local::Refusal;
use serve::policing::Explained;
use wire::local::{
    PolicyAnswer, PolicyCheck, PolicyDecision, PolicyEnd, PolicyLint, PolicyQuestion, PolicyShow,
    PolicyShowAsk,
};

use crate::controller::Controller;

/// Who knows what the cluster's policies mean. Pods and nodes of which nobody said the cluster never reach it.
pub(crate) trait Judge {
    /// The cluster.
    fn cluster(&self) -> &ClusterName;
    /// What holds between two ends. Where an address is a pod's or node's, the answer's ends name that. What it says
    /// of an end of another cluster does not count.
    ///
    /// # Errors
    /// In a sentence that says what to do, when an end of the cluster is not there, or a port has no such name.
    fn check(&self, question: &PolicyQuestion) -> Result<PolicyCheck, String>;
    /// What holds for a pod of the cluster.
    ///
    /// # Errors
    /// As with `check`.
    fn show(&self, pod: &PolicyEnd) -> Result<PolicyShow, String>;
    /// What is hardly meant as it is written.
    fn lint(&self) -> PolicyLint;
}

/// What follows from everything that is told to the cluster's agents.
struct Told {
    cluster: ClusterName,
    world: World,
    planner: Planner,
}

impl Told {
    /// Worked out anew for whoever asks, which is seldom: nothing is kept for it.
    fn new(
        cluster: ClusterName,
        selectors: Selectors,
        host: Option<Host>,
        objects: Vec<Arc<Object>>,
    ) -> Self {
        let mut world = World::default();
        for object in objects {
            world.apply(Change::Upsert(Arc::unwrap_or_clone(object)));
        }
        let settings = Settings {
            scope: Scope::Cluster(cluster.clone()),
            selectors,
            // What is not accepted is not among what is told.
            distributed: Distributed::Accept,
            limits: Limits::NONE,
            host,
        };
        let mut planner = Planner::new(settings);
        world.objects().for_each(|object| planner.handle_object(&world, &object.key()));
        planner.poll();
        planner.handle_subscribed(planner.interest());
        planner.poll();
        Self { cluster, world, planner }
    }

    fn explained(&self) -> Explained<'_> {
        Explained { cluster: &self.cluster, world: &self.world, planner: &self.planner }
    }
}

impl Judge for Told {
    fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    fn check(&self, question: &PolicyQuestion) -> Result<PolicyCheck, String> {
        self.explained().check(question)
    }

    fn show(&self, pod: &PolicyEnd) -> Result<PolicyShow, String> {
        self.explained().show(pod)
    }

    fn lint(&self) -> PolicyLint {
        self.explained().lint()
    }
}

/// The controller's own.
pub(crate) fn judge(controller: &Controller) -> Box<dyn Judge> {
    let Controller { cluster, selectors, host, handle, .. } = controller;
    Box::new(Told::new(cluster.name.clone(), *selectors, host.clone(), handle.told()))
}

/// Answers each question.
pub(crate) fn check(judge: &dyn Judge, questions: Vec<PolicyQuestion>) -> Vec<PolicyAnswer> {
    let answer = |question| match check_one(judge, question) {
        Ok(check) => PolicyAnswer::Judged(Box::new(check)),
        Err(error) => PolicyAnswer::Refused { error },
    };
    questions.into_iter().map(answer).collect()
}

fn check_one(judge: &dyn Judge, question: PolicyQuestion) -> Result<PolicyCheck, String> {
    let own = judge.cluster();
    let PolicyQuestion { from, to, protocol, port, family } = question;
    if protocol.transport().is_none() && port.is_some() {
        return Err(format!("{protocol} has no ports: leave --port out"));
    }
    let question = PolicyQuestion { from: from.or_in(own), to: to.or_in(own), protocol, port, family };
    let judged = judge.check(&question)?;
    let end = |end: &PolicyEnd, decision: PolicyDecision| match end.cluster() {
        _ if end.is_peer() => PolicyDecision::nobody(),
        Some(cluster) if cluster == own => PolicyDecision { judged_by: Some(own.clone()), ..decision },
        Some(cluster) => PolicyDecision::not_judged(cluster.clone()),
        None => PolicyDecision::nobody(),
    };
    let egress = end(&judged.from, judged.egress);
    let ingress = end(&judged.to, judged.ingress);
    Ok(PolicyCheck { allowed: PolicyCheck::conclude(&egress, &ingress), egress, ingress, ..judged })
}

/// What holds for a pod.
pub(crate) fn show(judge: &dyn Judge, ask: PolicyShowAsk) -> Result<PolicyShow, Refusal> {
    let own = judge.cluster();
    let pod = ask.pod.or_in(own);
    match &pod {
        PolicyEnd::Pod { cluster: Some(cluster), .. } | PolicyEnd::Node { cluster: Some(cluster), .. }
            if cluster != own =>
        {
            Err(Refusal::Wrong(format!(
                "{pod} is judged by its own cluster: ask the controller of {cluster} (this one is {own}'s)"
            )))
        }
        PolicyEnd::Pod { .. } | PolicyEnd::Node { .. } | PolicyEnd::Address(_) => {
            judge.show(&pod).map_err(Refusal::Wrong)
        }
        PolicyEnd::World => Err(Refusal::Wrong(format!(
            "policies are about pods and nodes, and {pod} is none: write NAMESPACE/POD or node/NAME"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use wire::local::{DecidedBy, PolicyProtocol};

    use super::*;

    /// Denies what is sent by anybody to aws's pods, knows one pod by its address, and nothing of pod x/gone.
    struct Fixed(ClusterName);

    impl Judge for Fixed {
        fn cluster(&self) -> &ClusterName {
            &self.0
        }

        fn check(&self, question: &PolicyQuestion) -> Result<PolicyCheck, String> {
            let PolicyQuestion { from, mut to, protocol, port, family } = question.clone();
            if from.to_string() == "aws/x/gone" {
                return Err(format!("there is no pod {from}"));
            }
            if to.to_string() == "10.1.0.1" {
                to = "aws/x/a".parse().unwrap();
            }
            let decision = |allowed, by| PolicyDecision {
                allowed: Some(allowed),
                by,
                note: String::new(),
                ..PolicyDecision::nobody()
            };
            let (egress, ingress) =
                (decision(true, DecidedBy::NoPolicy), decision(false, DecidedBy::Isolated));
            let allowed = Some(false);
            Ok(PolicyCheck { from, to, protocol, port, family, allowed, egress, ingress })
        }

        fn show(&self, pod: &PolicyEnd) -> Result<PolicyShow, String> {
            Err(format!("there is no pod {pod}"))
        }

        fn lint(&self) -> PolicyLint {
            PolicyLint { cluster: self.0.clone(), policies: 0, findings: Vec::new() }
        }
    }

    fn aws() -> Fixed {
        Fixed("aws".parse().unwrap())
    }

    fn ask(from: &str, to: &str, port: Option<&str>) -> PolicyAnswer {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let (protocol, port) = match port {
            Some(port) => (PolicyProtocol::Tcp, Some(port.parse().unwrap())),
            None => (PolicyProtocol::Icmp, None),
        };
        let question = PolicyQuestion { from, to, protocol, port, family: None };
        check(&aws(), vec![question]).remove(0)
    }

    #[test]
    fn of_each_connection_its_own_ends() {
        use DecidedBy::{Isolated, NoPolicy, NotJudged};
        for (from, to, allowed, egress, ingress) in [
            ("x/a", "x/b", Some(false), NoPolicy, Isolated),
            ("aws/x/a", "gcp/x/b", None, NoPolicy, NotJudged),
            ("gcp/x/a", "x/b", Some(false), NotJudged, Isolated),
            ("gcp/x/a", "azure/x/b", None, NotJudged, NotJudged),
            ("world", "x/b", Some(false), NoPolicy, Isolated),
            ("x/a", "1.1.1.1", Some(true), NoPolicy, NoPolicy),
            ("gcp/x/a", "10.1.0.1", Some(false), NotJudged, Isolated),
            ("node:aws-1", "x/b", Some(false), NoPolicy, Isolated),
        ] {
            let PolicyAnswer::Judged(got) = ask(from, to, None) else { panic!("{from} {to}") };
            assert_eq!(
                (got.allowed, got.egress.by, got.ingress.by),
                (allowed, egress, ingress),
                "{from} {to}"
            );
            let by = |end: &PolicyEnd| end.cluster().cloned();
            assert_eq!((&got.egress.judged_by, &got.ingress.judged_by), (&by(&got.from), &by(&got.to)));
        }
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let icmp = PolicyQuestion {
            from: "x/a".parse().unwrap(),
            to: "x/b".parse().unwrap(),
            protocol: PolicyProtocol::Icmp,
            port: Some("80".parse().unwrap()),
            family: None,
        };
        let said = |answer: &PolicyAnswer| match answer {
            PolicyAnswer::Refused { error } => error.clone(),
            PolicyAnswer::Judged(check) => panic!("{check:?}"),
        };
        assert!(said(&check(&aws(), vec![icmp])[0]).contains("leave --port out"));
        assert!(said(&ask("x/gone", "x/b", Some("80"))).contains("no pod aws/x/gone"));
        for (pod, words) in [
            ("x/a", "there is no pod aws/x/a"),
            ("gcp/x/a", "ask the controller of gcp"),
            ("node:aws-1", "there is no pod node:aws/aws-1"),
            ("world", "NAMESPACE/POD"),
        ] {
            let refused = show(&aws(), PolicyShowAsk { pod: pod.parse().unwrap() }).unwrap_err().to_string();
            assert!(refused.contains(words), "{pod}: {refused}");
        }
    }
}
