//! One thing that was looked at.

use serde::Serialize;

use crate::status::table;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should know.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How it is.
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) what: String,
    /// What was seen.
    pub(crate) seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(crate) fn ok(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), seen: seen.into(), advice: None }
    }

    pub(crate) fn warn(what: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), seen: seen.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn fail(what: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(what, seen, advice) }
    }
}

/// For eyes: what to do stands below what is wrong.
pub(crate) fn render(findings: &[Finding]) -> String {
    let mut rows = Vec::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        rows.push(vec![level.to_owned(), finding.what.clone(), finding.seen.clone()]);
        if let Some(advice) = &finding.advice {
            rows.push(vec![String::new(), String::new(), format!("-> {advice}")]);
        }
    }
    table(&["", "", ""], rows, &[]).lines().skip(1).map(|line| format!("{line}\n")).collect()
}
