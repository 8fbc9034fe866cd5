//! Finds what a person means: a pod or a node, by its name or any unique end of it.

use std::fmt;

/// What one can name: `CLUSTER/NAMESPACE/NAME` is a pod, `CLUSTER/NODE` a node, `CLUSTER/HOST` another host, `CLUSTER` a
/// cluster, `CLUSTER/_controller` its controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A pod.
    Pod,
    /// A node.
    Node,
    /// A machine that is no node.
    Host,
    /// A cluster.
    Cluster,
    /// A cluster's controller.
    Controller,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Node => "node",
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::Controller => "controller",
        })
    }
}

/// Something that can be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is.
    pub what: What,
    /// Its full name.
    pub name: String,
}

/// A name that means nothing, or more than one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing ends so.
    #[error("no {wanted} is called {text:?}: {}", known(.among))]
    Unknown {
        /// What was wanted.
        wanted: &'static str,
        /// What was written.
        text: String,
        /// What there is.
        among: Vec<Candidate>,
    },
    /// Several end so.
    #[error("{text:?} means any of {}: write more of the name", list(.among))]
    Ambiguous {
        /// What was written.
        text: String,
        /// What it may mean.
        among: Vec<Candidate>,
    },
}

/// The longest list of names that an error shows.
const SHOWN: usize = 12;

fn list(among: &[Candidate]) -> String {
    let shown: Vec<String> = among.iter().take(SHOWN).map(|c| format!("{} {}", c.what, c.name)).collect();
    match among.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn known(among: &[Candidate]) -> String {
    if among.is_empty() { "there is none".into() } else { format!("there is {}", list(among)) }
}

/// The one candidate that `text` means. A full name wins over the end of one, whole words (between slashes) over a
/// part of one.
pub fn resolve(
    wanted: &'static str,
    text: &str,
    candidates: Vec<Candidate>,
) -> Result<Candidate, TargetError> {
    let whole =
        |name: &str| name.strip_suffix(text).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let ways: [&dyn Fn(&str) -> bool; 3] = [&|name| name == text, &whole, &|name| name.ends_with(text)];
    if !text.is_empty() {
        for way in ways {
            let mut found: Vec<Candidate> = candidates.iter().filter(|c| way(&c.name)).cloned().collect();
            match found.len() {
                0 => {}
                1 => return Ok(found.remove(0)),
                _ => return Err(TargetError::Ambiguous { text: text.into(), among: found }),
            }
        }
    }
    let text = text.chars().take(80).collect();
    Err(TargetError::Unknown { wanted, text, among: candidates })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Vec<Candidate> {
        let all = [
            (What::Pod, "aws/demo/client-aws-1"),
            (What::Pod, "aws/demo/echo-0"),
            (What::Pod, "gcp/demo/echo-0"),
            (What::Pod, "gcp/aws-1/echo-9"),
            (What::Node, "aws/aws-1"),
            (What::Node, "aws/aws-2"),
            (What::Host, "aws/office"),
            (What::Cluster, "aws"),
        ];
        all.iter().map(|(what, name)| Candidate { what: *what, name: (*name).into() }).collect()
    }

    #[test]
    fn found() {
        for (text, name) in [
            ("aws/demo/client-aws-1", "aws/demo/client-aws-1"),
            ("client-aws-1", "aws/demo/client-aws-1"),
            ("demo/client-aws-1", "aws/demo/client-aws-1"),
            ("t-aws-1", "aws/demo/client-aws-1"),
            ("gcp/demo/echo-0", "gcp/demo/echo-0"),
            ("9", "gcp/aws-1/echo-9"),
            ("aws-1", "aws/aws-1"),
            ("aws/aws-2", "aws/aws-2"),
            ("office", "aws/office"),
            ("aws", "aws"),
        ] {
            assert_eq!(resolve("pod or node", text, lab()).unwrap().name, name, "{text}");
        }
    }

    #[test]
    fn refused() {
        for (text, said) in [
            ("echo-0", "pod aws/demo/echo-0, pod gcp/demo/echo-0"),
            ("demo/echo-0", "write more"),
            ("-1", "means any of"),
            ("nope", "there is pod aws/demo/client-aws-1"),
            ("", "no pod or node is called"),
            ("/", "no pod or node is called"),
        ] {
            let error = resolve("pod or node", text, lab()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(resolve("pod", "x", vec![]).unwrap_err().to_string().contains("there is none"));
    }
}
