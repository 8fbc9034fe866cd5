//! What selectors, peers and ports say, in words: labels as `kubectl -l` writes them.

use std::collections::BTreeSet;
use std::fmt;

use super::{
    NamespaceChoice, Operator, PodSelector, PolicyAction, PolicyEntity, PolicyPeer, PolicyPort, Requirement,
    Selector,
};

/// More of a list than this is counted, not named.
const NAMED: usize = 5;

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator } = self;
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Operator::In(values) => write!(f, "{key} in ({})", list(values)),
            Operator::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for PodSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pods.requirements.is_empty() {
            true => f.write_str("all pods")?,
            false => write!(f, "pods {}", self.pods)?,
        }
        match &self.namespaces {
            NamespaceChoice::Named(name) => write!(f, " of namespace {name}"),
            NamespaceChoice::Selected(all) if all.requirements.is_empty() => {
                f.write_str(" of all namespaces")
            }
            NamespaceChoice::Selected(some) => write!(f, " of namespaces {some}"),
        }
    }
}

impl fmt::Display for PolicyPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(items: &[T]) -> String {
            let named: Vec<_> = items.iter().take(NAMED).map(ToString::to_string).collect();
            match items.len().saturating_sub(NAMED) {
                0 => named.join(", "),
                more => format!("{} and {more} more", named.join(", ")),
            }
        }
        match self {
            Self::Pods(pods) => pods.fmt(f),
            Self::Networks { ranges, except } if except.is_empty() => {
                write!(f, "addresses in {}", list(ranges))
            }
            Self::Networks { ranges, except } => {
                write!(f, "addresses in {} except {}", list(ranges), list(except))
            }
            Self::Nodes(all) if all.requirements.is_empty() => f.write_str("all nodes"),
            Self::Nodes(some) => write!(f, "nodes {some}"),
            Self::DomainNames(names) => write!(f, "where {} lead", list(names)),
            Self::Entity(entity) => write!(f, "entity {entity}"),
        }
    }
}

/// Cilium's words.
impl fmt::Display for PolicyEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::ClusterMesh => "cluster-mesh",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::World => "world",
            Self::All => "all",
        })
    }
}

impl fmt::Display for PolicyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports { protocol, first: 0, last: u16::MAX } => write!(f, "{protocol}"),
            Self::Ports { protocol, first, last } if first == last => write!(f, "{protocol}/{first}"),
            Self::Ports { protocol, first, last } => write!(f, "{protocol}/{first}-{last}"),
            Self::Named { protocol: Some(protocol), name } => write!(f, "{protocol}/{name}"),
            Self::Named { protocol: None, name } => f.write_str(name),
            Self::Icmp { v6, kind } => {
                f.write_str(if *v6 { "ICMPv6" } else { "ICMP" })?;
                kind.map_or(Ok(()), |kind| write!(f, "/{kind}"))
            }
        }
    }
}

impl fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "Accept",
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn selector(requirements: &[(&str, Operator)]) -> Selector {
        let requirement = |(key, operator): &(&str, Operator)| Requirement {
            key: (*key).into(),
            operator: operator.clone(),
        };
        Selector { requirements: requirements.iter().map(requirement).collect() }
    }

    #[test]
    fn peers_and_ports_in_words() {
        let values = |values: &[&str]| values.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let web = selector(&[
            ("app", Operator::In(values(&["web"]))),
            ("env", Operator::NotIn(values(&["a", "b"]))),
            ("old", Operator::DoesNotExist),
        ]);
        let everywhere = NamespaceChoice::Selected(Selector::default());
        for (peer, words) in [
            (
                PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Named("x".into()), pods: web }),
                "pods app=web,env notin (a,b),!old of namespace x",
            ),
            (
                PolicyPeer::Pods(PodSelector { namespaces: everywhere, pods: Selector::default() }),
                "all pods of all namespaces",
            ),
            (
                PolicyPeer::Networks {
                    ranges: (0..7).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect(),
                    except: vec!["10.0.1.0/24".parse().unwrap()],
                },
                "addresses in 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16 and 2 more except \
                 10.0.1.0/24",
            ),
            (PolicyPeer::Nodes(Selector::default()), "all nodes"),
            (PolicyPeer::Entity(PolicyEntity::ClusterMesh), "entity cluster-mesh"),
        ] {
            assert_eq!(peer.to_string(), words);
        }
        let ports = |first, last| PolicyPort::Ports { protocol: Protocol::Tcp, first, last };
        for (port, words) in [
            (ports(0, u16::MAX), "TCP"),
            (ports(80, 80), "TCP/80"),
            (ports(80, 90), "TCP/80-90"),
            (PolicyPort::Named { protocol: None, name: "http".into() }, "http"),
            (PolicyPort::Icmp { v6: true, kind: Some(128) }, "ICMPv6/128"),
        ] {
            assert_eq!(port.to_string(), words);
        }
    }
}
