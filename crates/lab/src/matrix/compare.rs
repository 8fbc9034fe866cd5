//! What was measured, against what policy says.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serve::client::ClientError;
use wire::local::{PolicyAnswer, PolicyCheck, PolicyDecision, PolicyQuestion, PortChoice};

use super::{Measured, Member, Outcome, Probe};
use crate::policy;

/// What `policy check` says of a try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Whether it may be; none where that is not known.
    pub allowed: Option<bool>,
    /// Why.
    pub why: String,
}

/// A try that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
    /// Why it should be otherwise, as `policy check` says.
    pub why: String,
}

/// Whether what was measured contradicts what should be. A try that failed contradicts all there is to be contradicted.
pub(super) fn differs(outcome: Outcome, check: Option<bool>, expected: Option<bool>) -> bool {
    let arrived = outcome.arrived();
    [check, expected].into_iter().flatten().any(|allowed| arrived != Some(allowed))
}

/// Asks about each try; and why it could not be asked about all, if so.
pub(super) async fn check(members: &[Member], probes: &[Probe]) -> Result<(Vec<Checked>, String)> {
    let question = |probe: &Probe| PolicyQuestion {
        from: members[probe.from].end(),
        to: members[probe.to].end(),
        protocol: probe.protocol,
        port: probe.port.map(PortChoice::Number),
        family: Some(probe.family),
    };
    let questions: Vec<PolicyQuestion> = probes.iter().map(question).collect();
    let answers = match policy::check(&questions, None).await {
        Ok(answers) => answers,
        // Nobody is there, or does not judge: what was measured is worth showing all the same.
        Err(error) if error.downcast_ref::<ClientError>().is_some() => {
            return Ok((vec![Checked::default(); probes.len()], format!("{error:#}")));
        }
        Err(error) => return Err(error),
    };
    let refused = answers.iter().find_map(|answer| match answer {
        PolicyAnswer::Refused { error } => Some(error.clone()),
        PolicyAnswer::Judged(_) => None,
    });
    let checked = answers.into_iter().map(|answer| match answer {
        PolicyAnswer::Judged(check) => Checked { allowed: check.allowed, why: why(&check) },
        PolicyAnswer::Refused { error } => Checked { allowed: None, why: error },
    });
    Ok((checked.collect(), refused.unwrap_or_default()))
}

/// What decides: the end that denies, else both.
fn why(check: &PolicyCheck) -> String {
    let side = |name: &str, decision: &PolicyDecision| match &decision.rule {
        Some(rule) => format!("{name}: {rule} {}", rule.action),
        None => format!("{name}: {}", decision.by),
    };
    let (egress, ingress) = (side("egress", &check.egress), side("ingress", &check.ingress));
    match (check.egress.allowed, check.ingress.allowed) {
        (Some(false), _) => egress,
        (_, Some(false)) => ingress,
        _ => format!("{egress}, {ingress}"),
    }
}
