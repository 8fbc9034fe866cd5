//! What stands between us and the API server, in words, for as long as it does.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::failure::Failure;
use super::target::What;

/// A failure that did not go away by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// `list` or `watch`.
    pub(super) verb: &'static str,
    pub(super) failure: Failure,
    /// On our own clock, for people.
    pub(super) since: Timestamp,
}

/// Which kinds of trouble are one, and said together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Unreachable,
    Unreadable,
    Refused(u16),
}

/// What an operator is told of all troubles there are: alike ones together, so that it does not change as long as they
/// do not.
pub(super) fn notes(troubles: &BTreeMap<What, Trouble>) -> Vec<String> {
    let mut classes: BTreeMap<Class, Vec<(&What, &Trouble)>> = BTreeMap::new();
    for (what, trouble) in troubles {
        let class = match &trouble.failure {
            Failure::Unreachable(_) => Class::Unreachable,
            Failure::Unreadable(_) => Class::Unreadable,
            Failure::Refused { code, .. } => Class::Refused(*code),
        };
        classes.entry(class).or_default().push((what, trouble));
    }
    classes.into_iter().map(|(class, alike)| note(&class, &alike)).collect()
}

fn note(class: &Class, alike: &[(&What, &Trouble)]) -> String {
    let (_, first) = alike.iter().min_by_key(|(_, trouble)| trouble.since).expect("no class is empty");
    let since = first.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let asked: Vec<String> =
        alike.iter().map(|(what, trouble)| format!("{} {}", trouble.verb, what.plural())).collect();
    let asked = asked.join(", ");
    let stays = "what was read before stays in force";
    match (class, &first.failure) {
        (Class::Refused(403), _) => format!(
            "the API server forbids since {since} to {asked}; {stays}; give our ServiceAccount the verbs list and \
             watch there (`causeway install` does)"
        ),
        (Class::Refused(401), _) => format!(
            "the API server does not know us since {since}; {stays}; check the token or certificate in our kubeconfig, \
             or the pod's ServiceAccount"
        ),
        (_, Failure::Refused { code, message, .. }) => format!(
            "the API server answers {code} since {since} when asked to {asked}: {message}; {stays}; look at the API \
             server's log"
        ),
        (_, Failure::Unreachable(error)) => format!(
            "the API server is out of reach since {since}: {error}; {stays}; check that it runs, and the network from \
             here to it"
        ),
        (_, Failure::Unreadable(error)) => format!(
            "what the API server says cannot be read since {since}, when asked to {asked}: {error}; {stays}; check that \
             the address leads to an API server"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Kind;

    #[test]
    fn alike_troubles_are_said_once() {
        let refused = |code| Failure::Refused { code, message: "no".into(), retry_after: None };
        let trouble = |verb, failure, second: i64| Trouble {
            verb,
            failure,
            since: Timestamp::from_second(1_800_000_000 + second).unwrap(),
        };
        let down = || Failure::Unreachable("connection refused".into());
        let said = |troubles: &[(Kind, Trouble)]| {
            notes(&troubles.iter().map(|(kind, trouble)| (What::Object(*kind), trouble.clone())).collect())
        };
        assert_eq!(said(&[]), [""; 0]);
        assert_eq!(
            said(&[(Kind::Pod, trouble("list", down(), 9)), (Kind::Node, trouble("watch", down(), 5))]),
            [
                "the API server is out of reach since 2027-01-15T08:00:05Z: connection refused; what was read before stays \
              in force; check that it runs, and the network from here to it"
            ]
        );
        let both = said(&[
            (Kind::Pod, trouble("list", refused(403), 0)),
            (Kind::Node, trouble("list", refused(403), 0)),
            (Kind::Service, trouble("watch", refused(500), 0)),
        ]);
        assert_eq!(both.len(), 2);
        assert!(both[0].contains("forbids since 2027-01-15T08:00:00Z to list nodes, list pods;"), "{both:?}");
        assert!(both[1].contains("answers 500") && both[1].contains("watch services: no"), "{both:?}");
    }
}
