//! What the API server's audit log tells of us.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::Value;

/// Whose requests are ours.
const CONTROLLER: &str = "system:serviceaccount:kube-system:causeway-controller";
const AGENT: &str = "system:serviceaccount:kube-system:causeway-agent";

fn text<'a>(entry: &'a Value, pointer: &str) -> &'a str {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn said(entry: &Value) -> String {
    let code = entry.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{} {} by {}: {code}",
        text(entry, "/verb"),
        text(entry, "/requestURI"),
        text(entry, "/user/username")
    )
}

/// No watcher but controllers, no request of an agent's, and nothing that a controller may not.
pub(crate) fn judge(log: &[Value]) -> Result<()> {
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    for entry in log {
        let (user, agent) = (text(entry, "/user/username"), text(entry, "/userAgent"));
        let forbidden = entry.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(403);
        let ours = user == CONTROLLER || agent.starts_with("causeway/");
        let watches = text(entry, "/verb") == "watch" && agent.starts_with("causeway/") && user != CONTROLLER;
        if user == AGENT || watches || ours && forbidden {
            *wrong.entry(said(entry)).or_default() += 1;
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = wrong.iter().map(|(what, times)| format!("{what} ({times} times)")).collect();
    bail!("the audit log shows what must not be:\n{}", lines.join("\n"))
}

/// The requests of controllers, each once: a watch counts when it begins.
pub(crate) fn ours(log: &[Value]) -> Vec<String> {
    let begun =
        |entry: &&Value| text(entry, "/verb") != "watch" || text(entry, "/stage") == "ResponseStarted";
    let finished =
        |entry: &&Value| text(entry, "/verb") == "watch" || text(entry, "/stage") == "ResponseComplete";
    let ours = log.iter().filter(|entry| text(entry, "/user/username") == CONTROLLER);
    ours.filter(begun).filter(finished).map(said).collect()
}
