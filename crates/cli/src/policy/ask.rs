//! Who is asked: a controller, or those of a lab, each about its own ends.

use anyhow::{Context as _, Result, bail};
use model::ClusterName;
use wire::local::{
    Family, PolicyAnswer, PolicyCheck, PolicyEnd, PolicyLint, PolicyProtocol, PolicyQuestion,
    PolicyQuestions, PolicyShow, PolicyShowAsk, PortChoice,
};

use crate::seat::Seat;

/// Protocol, port and family of a question.
pub(super) type What = (PolicyProtocol, Option<PortChoice>, Option<Family>);

/// Asks whether one end may talk to the other.
pub(super) async fn check(seat: &Seat, from: &str, to: &str, what: What) -> Result<PolicyCheck> {
    let (protocol, port, family) = what;
    if protocol == PolicyProtocol::Icmp && port.is_some() {
        bail!("icmp has no ports: leave --port out");
    }
    let question = |from, to| PolicyQuestion { from, to, protocol, port, family };
    let answer = if seat.is_lab() {
        let status = lab::client::status(None).await?;
        let otherwise = seat.cluster().or_else(|| match &status.clusters[..] {
            [only] => Some(&only.name),
            _ => None,
        });
        let end = |text| lab::policy::end(&status, text, seat.cluster());
        let question = question(end(from)?, end(to)?);
        lab::policy::check(&[question], otherwise).await?.pop()
    } else {
        let question = question(from.parse::<PolicyEnd>()?, to.parse::<PolicyEnd>()?);
        let questions = PolicyQuestions { questions: vec![question] };
        seat.post::<_, Vec<PolicyAnswer>>("/v1/policy/check", &questions).await?.pop()
    };
    match answer.context("the controller gave no answer; is it of the same version?")? {
        PolicyAnswer::Judged(check) => Ok(*check),
        PolicyAnswer::Refused { error } => bail!(error),
    }
}

/// Asks what holds for a pod, or for `node/NAME`.
pub(super) async fn show(seat: &Seat, pod: &str) -> Result<PolicyShow> {
    let node = pod.strip_prefix("node/").map(|name| format!("node:{name}"));
    let pod = node.as_deref().unwrap_or(pod);
    if !seat.is_lab() {
        return seat.post("/v1/policy/show", &PolicyShowAsk { pod: pod.parse()? }).await;
    }
    let status = lab::client::status(None).await?;
    let pod = lab::policy::end(&status, pod, seat.cluster())?;
    match pod.cluster() {
        Some(cluster) => {
            let seat = Seat::of_lab(cluster.clone());
            seat.post("/v1/policy/show", &PolicyShowAsk { pod }).await
        }
        None => bail!(
            "policies are about pods and nodes, and {pod} is none of this lab: write NAMESPACE/POD or node/NAME"
        ),
    }
}

/// Asks what is hardly meant as it is written.
pub(super) async fn lint(seat: &Seat) -> Result<Vec<PolicyLint>> {
    let clusters: Vec<ClusterName> = match (seat.is_lab(), seat.cluster()) {
        (false, _) => return Ok(vec![seat.get("/v1/policy/lint").await?]),
        (true, Some(cluster)) => vec![cluster.clone()],
        (true, None) => {
            let status = lab::client::status(None).await?;
            status.clusters.into_iter().map(|cluster| cluster.name).collect()
        }
    };
    let mut found = Vec::new();
    for cluster in clusters {
        let asked = Seat::of_lab(cluster.clone()).get::<PolicyLint>("/v1/policy/lint").await;
        found.push(asked.with_context(|| format!("asking the controller of {cluster}"))?);
    }
    Ok(found)
}
