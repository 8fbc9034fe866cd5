//! Answers about policy, for eyes.

use wire::local::{
    DecidedBy, DeniedFlow, FlowEnd, PolicyCheck, PolicyDecision, PolicyDirection, PolicyEnd, PolicyLint,
    PolicyRef, PolicyShow,
};

use crate::status::table;

/// What is spoken, where: `tcp/80`, `icmp`.
fn spoken(check: &PolicyCheck) -> String {
    match &check.port {
        Some(port) => format!("{}/{port}", check.protocol),
        None => check.protocol.to_string(),
    }
}

fn word(allowed: Option<bool>) -> &'static str {
    match allowed {
        Some(true) => "allowed",
        Some(false) => "denied",
        None => "not known here",
    }
}

/// One connection.
pub(super) fn check(check: &PolicyCheck) -> String {
    let PolicyCheck { from, to, egress, ingress, .. } = check;
    let mut text = format!("{from} -> {to} {}: {}\n", spoken(check), word(check.allowed));
    for (side, decision) in [("egress", egress), ("ingress", ingress)] {
        text += &format!("  {side:<7}  {:<14}  {}\n", word(decision.allowed), why(decision));
        if decision.policies.len() > 1 || (decision.rule.is_none() && !decision.policies.is_empty()) {
            text += &format!("{:27}selected by: {}\n", "", list(&decision.policies));
        }
        if !decision.note.is_empty() && decision.by != DecidedBy::NotJudged {
            text += &format!("{:27}{}\n", "", decision.note);
        }
    }
    text
}

fn why(decision: &PolicyDecision) -> String {
    match (decision.by, &decision.rule) {
        (_, Some(rule)) => format!("{rule} {}, tier {}", rule.action, rule.tier),
        (DecidedBy::Rule, None) => "a rule".into(),
        (DecidedBy::NoPolicy, None) => "no policy says anything of it".into(),
        (DecidedBy::Isolated, None) => "isolated, and no rule accepts it".into(),
        (DecidedBy::Unknown, None) => "who it is, is not known yet".into(),
        (DecidedBy::OwnNode, None) => "a node's own talk with its own pods always passes".into(),
        (DecidedBy::AlwaysAllowed, None) => "no policy stops this at a node itself".into(),
        (DecidedBy::NotJudged, None) => decision.note.clone(),
    }
}

fn list(policies: &[PolicyRef]) -> String {
    policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What holds for a pod.
pub(super) fn show(show: &PolicyShow) -> String {
    let join = |items: Vec<String>| if items.is_empty() { "-".to_string() } else { items.join(" ") };
    let ips = join(show.ips.iter().map(ToString::to_string).collect());
    let labels = join(show.labels.iter().map(|(key, value)| format!("{key}={value}")).collect());
    let node = show.node.as_ref().map_or("no node yet".to_string(), ToString::to_string);
    let on = if matches!(show.pod, PolicyEnd::Node { .. }) { String::new() } else { format!(" on {node}") };
    let mut text = format!("{}{on}, at {ips}\n  labels: {labels}\n", show.pod);
    for (side, about) in [("INGRESS", &show.ingress), ("EGRESS", &show.egress)] {
        text += &format!("{side}: {}\n", standing(about));
        let rows = about.rules.iter().map(|shown| {
            let rule = &shown.rule;
            let priority = shown.priority.map_or(String::new(), |priority| format!(" {priority}"));
            let named = if rule.rule.is_empty() { String::new() } else { format!(" ({})", rule.rule) };
            vec![
                format!("{}{priority}", rule.tier),
                rule.policy.to_string(),
                format!("{}{named}", rule.path),
                rule.action.to_string(),
                if shown.peers.is_empty() { "everybody".into() } else { shown.peers.join("; ") },
                if shown.ports.is_empty() { "everything".into() } else { shown.ports.join(" ") },
            ]
        });
        if !about.rules.is_empty() {
            text += &table(&["TIER", "POLICY", "RULE", "", "PEERS", "PORTS"], rows, &[]);
        }
        // Those that isolate and have no rule are in no row.
        let silent = about.policies.iter().filter(|of| !about.rules.iter().any(|r| r.rule.policy == **of));
        let silent: Vec<PolicyRef> = silent.cloned().collect();
        if !silent.is_empty() {
            text += &format!("  without a rule: {}\n", list(&silent));
        }
    }
    text
}

fn standing(about: &PolicyDirection) -> String {
    if !about.closed.is_empty() {
        return format!("closed, nothing passes: {}", about.closed);
    }
    match (about.isolated, about.policies.is_empty()) {
        (true, _) => "isolated: what no rule accepts is denied".into(),
        (false, true) => "open: no policy selects it".into(),
        (false, false) => "not isolated: what no rule denies may pass".into(),
    }
}

/// What is hardly meant as it is written.
pub(super) fn lint(found: &[PolicyLint]) -> String {
    let mut text = String::new();
    for lint in found {
        let many = match lint.policies {
            1 => "1 policy".to_string(),
            many => format!("{many} policies"),
        };
        let what = match lint.findings.len() {
            0 => "nothing to say".to_string(),
            1 => "1 finding".into(),
            many => format!("{many} findings"),
        };
        text += &format!("{}: {many}, {what}\n", lint.cluster);
        for finding in &lint.findings {
            let at = if finding.path.is_empty() { String::new() } else { format!(" {}", finding.path) };
            text += &format!("  {}{at}: {}\n    {}\n", finding.policy, finding.kind, finding.message);
        }
    }
    text
}

/// A flow that was denied, in a line.
pub(super) fn denied(flow: &DeniedFlow) -> String {
    let rule = flow.rule.as_ref().map_or(String::new(), |rule| format!("  {rule} (tier {})", rule.tier));
    let many = if flow.count > 1 { format!("  {} times", flow.count) } else { String::new() };
    let kind = flow.icmp_type.map_or(String::new(), |kind| format!("/{kind}"));
    format!(
        "{}  {}  {:<7}  {} -> {}  {}{kind}  {}{rule}{many}\n",
        time_of_day(flow.at),
        flow.node,
        flow.direction,
        end(&flow.from),
        end(&flow.to),
        flow.protocol,
        flow.reason,
    )
}

fn end(end: &FlowEnd) -> String {
    let at = match end.port {
        Some(port) => std::net::SocketAddr::new(end.ip, port).to_string(),
        None => end.ip.to_string(),
    };
    if end.name.is_empty() { at } else { format!("{} ({at})", end.name) }
}

/// `15:04:05.123`, in UTC.
fn time_of_day(seconds: f64) -> String {
    let ms = (seconds * 1e3).round() as u64 % 86_400_000;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
        serde_json::from_value(json).unwrap()
    }

    fn rule() -> serde_json::Value {
        json!({
            "kind": "NetworkPolicy", "cluster": "gcp", "namespace": "y", "name": "web", "path": "spec.ingress[0]",
            "rule": "", "tier": "namespace", "action": "accept", "priority": null,
            "peers": ["pods app=web in x"], "ports": ["tcp/80"],
        })
    }

    #[test]
    fn a_check() {
        let policy = json!({"kind": "NetworkPolicy", "cluster": "gcp", "namespace": "y", "name": "web"});
        let answer: PolicyCheck = read(json!({
            "from": "aws/x/a", "to": "gcp/y/b", "protocol": "tcp", "port": 80, "allowed": false,
            "egress": {"allowed": true, "by": "no-policy", "rule": null, "judgedBy": "aws", "policies": []},
            "ingress": {"allowed": false, "by": "isolated", "rule": null, "judgedBy": "gcp", "policies": [policy]},
        }));
        let text = check(&answer);
        assert_eq!(
            text,
            "aws/x/a -> gcp/y/b tcp/80: denied\n  \
               egress   allowed         no policy says anything of it\n  \
               ingress  denied          isolated, and no rule accepts it\n                           \
               selected by: NetworkPolicy y/web of gcp\n"
        );
        let answer: PolicyCheck = read(json!({
            "from": "aws/x/a", "to": "gcp/y/b", "protocol": "icmp", "port": null, "allowed": null,
            "egress": {"allowed": true, "by": "rule", "rule": rule(), "judgedBy": "aws", "policies": [policy]},
            "ingress": {"allowed": null, "by": "not-judged", "rule": null, "judgedBy": "gcp", "policies": [],
                        "note": "ask gcp"},
        }));
        let text = check(&answer);
        assert_eq!(
            text,
            "aws/x/a -> gcp/y/b icmp: not known here\n  \
               egress   allowed         NetworkPolicy y/web of gcp spec.ingress[0] accepts, tier namespace\n  \
               ingress  not known here  ask gcp\n"
        );
    }

    #[test]
    fn a_pod() {
        let policy =
            |name: &str| json!({"kind": "NetworkPolicy", "cluster": "gcp", "namespace": "y", "name": name});
        let shown: PolicyShow = read(json!({
            "pod": "gcp/y/b", "node": "gcp/gcp-1", "ips": ["10.2.0.4"], "labels": {"app": "web"},
            "ingress": {"isolated": true, "policies": [policy("web"), policy("none")], "rules": [rule()]},
            "egress": {"isolated": false, "policies": [], "rules": []},
        }));
        let text = show(&shown);
        for part in [
            "gcp/y/b on gcp/gcp-1, at 10.2.0.4\n  labels: app=web\nINGRESS: isolated",
            "pods app=web in x  tcp/80",
            "  without a rule: NetworkPolicy y/none of gcp\n",
            "EGRESS: open: no policy selects it\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let closed = PolicyDirection { closed: "there is no room".into(), ..PolicyDirection::default() };
        assert_eq!(standing(&closed), "closed, nothing passes: there is no room");
    }

    #[test]
    fn findings() {
        let policy = json!({"kind": "NetworkPolicy", "cluster": "aws", "namespace": "x", "name": "web"});
        let found: Vec<PolicyLint> = read(json!([
            {"cluster": "aws", "policies": 1, "findings": [
                {"policy": policy, "path": "spec.podSelector", "kind": "selects-nothing", "message": "No pod has it."},
            ]},
            {"cluster": "gcp", "policies": 2, "findings": []},
        ]));
        assert_eq!(
            lint(&found),
            "aws: 1 policy, 1 finding\n  NetworkPolicy x/web of aws spec.podSelector: selects-nothing\n    \
             No pod has it.\ngcp: 2 policies, nothing to say\n"
        );
    }

    #[test]
    fn a_flow() {
        let flow: DeniedFlow = read(json!({
            "at": 1795910400.0 + 3723.456, "node": "gcp/gcp-1", "direction": "ingress",
            "from": {"name": "aws/x/a", "ip": "10.1.0.4", "port": 41000},
            "to": {"name": "", "ip": "fd00:2::4", "port": 80},
            "protocol": "tcp", "reason": "policy_isolated", "rule": null, "count": 3,
        }));
        assert_eq!(
            denied(&flow),
            "01:02:03.456  gcp/gcp-1  ingress  aws/x/a (10.1.0.4:41000) -> [fd00:2::4]:80  tcp  policy_isolated  3 times\n"
        );
    }
}
