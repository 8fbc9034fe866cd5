//! Who should reach whom, written down in few lines.
//!
//! ```text
//! - * -> aws/x/*             # nobody reaches pods of x in aws,
//! + y/* -> aws/x/a tcp/80    # but those of y, in every cluster, open tcp/80 of one
//! ```
//!
//! At first everything is open; of the lines that fit the last one counts.

use std::str::FromStr;

use wire::local::{PolicyProtocol, PortChoice};

use super::{Member, Probe};

/// Lines at most, and characters in one.
const MOST_LINES: usize = 10_000;
const LONGEST_LINE: usize = 1_000;

/// Who should reach whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    lines: Vec<Line>,
}

/// Text that says nothing of who should reach whom.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {what}; write `+ FROM -> TO` or `- FROM -> TO`, with `tcp/80`, `udp` or `icmp` behind it where it is about \
     that alone; FROM and TO are `*`, NAMESPACE/POD or CLUSTER/NAMESPACE/POD, with `*` for any part"
)]
pub struct ExpectError {
    /// Which line, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    allowed: bool,
    from: Pods,
    to: Pods,
    protocol: Option<PolicyProtocol>,
    port: Option<PortChoice>,
}

/// Some pods: by cluster, namespace and name; none for any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pods {
    cluster: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

impl Pods {
    fn parse(text: &str) -> Result<Self, String> {
        let part = |text: &str| if text == "*" { None } else { Some(text.to_string()) };
        let parts: Vec<&str> = text.split('/').collect();
        let odd = |part: &&str| part.is_empty() || (*part != "*" && part.contains('*'));
        match parts[..] {
            _ if parts.iter().any(odd) => Err(format!("{text:?} names no pods")),
            ["*"] => Ok(Self::default()),
            [namespace, name] => Ok(Self { cluster: None, namespace: part(namespace), name: part(name) }),
            [cluster, namespace, name] => {
                Ok(Self { cluster: part(cluster), namespace: part(namespace), name: part(name) })
            }
            _ => Err(format!("{text:?} names no pods")),
        }
    }

    fn fits(&self, member: &Member) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.cluster, member.cluster.as_str())
            && fits(&self.namespace, &member.pod.namespace)
            && fits(&self.name, &member.pod.name)
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (sign, from, to, what) = match words[..] {
            [sign, from, "->", to] => (sign, from, to, None),
            [sign, from, "->", to, what] => (sign, from, to, Some(what)),
            _ => return Err(format!("{text:?} is not understood")),
        };
        let allowed = match sign {
            "+" => true,
            "-" => false,
            other => return Err(format!("{other:?} is neither + nor -")),
        };
        let (protocol, port) =
            match what.map(|what| what.split_once('/').map_or((what, None), |(a, b)| (a, Some(b)))) {
                None => (None, None),
                Some((protocol, port)) => {
                    (Some(protocol.parse::<PolicyProtocol>()?), port.map(PortChoice::from_str).transpose()?)
                }
            };
        if matches!(port, Some(PortChoice::Name(_)))
            || (port.is_some() && protocol == Some(PolicyProtocol::Icmp))
        {
            return Err(format!("{text:?}: a port is a number, and icmp has none"));
        }
        Ok(Self { allowed, from: Pods::parse(from)?, to: Pods::parse(to)?, protocol, port })
    }
}

impl FromStr for Expect {
    type Err = ExpectError;

    fn from_str(text: &str) -> Result<Self, ExpectError> {
        let mut lines = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let wrong = |what| ExpectError { line: n + 1, what };
            if line.len() > LONGEST_LINE || lines.len() == MOST_LINES {
                return Err(wrong(format!("more than {MOST_LINES} lines, or {LONGEST_LINE} bytes in one")));
            }
            let said = line.split('#').next().unwrap_or_default().trim();
            if !said.is_empty() {
                lines.push(said.parse::<Line>().map_err(wrong)?);
            }
        }
        Ok(Self { lines })
    }
}

impl Expect {
    /// Whether a try should arrive.
    pub fn allows(&self, members: &[Member], probe: &Probe) -> bool {
        let (from, to) = (&members[probe.from], &members[probe.to]);
        let fits = |line: &&Line| {
            line.protocol.is_none_or(|protocol| protocol == probe.protocol)
                && line
                    .port
                    .as_ref()
                    .is_none_or(|port| probe.port.map(PortChoice::Number).as_ref() == Some(port))
                && line.from.fits(from)
                && line.to.fits(to)
        };
        self.lines.iter().rev().find(fits).is_none_or(|line| line.allowed)
    }
}
