//! From nouns of the plan to entries of the maps of policies, and back.

use engine::plan::policing::{
    Always, Identity, Judged, Network, Peer, Ruleset, Ruling, Subject, Verdict, VerdictKey,
};
use model::policy::PolicyAction;

use crate::bpf::{abi, bytes};

const OPEN: u64 = 0;
const CLOSED: u64 = abi::CLOSED as u64;

fn judged_value(judged: Judged) -> u64 {
    match judged {
        Judged::Open => OPEN,
        // A number that means something else here; hashes never are so small.
        Judged::By(OPEN | CLOSED) | Judged::Closed => CLOSED,
        Judged::By(ruleset) => ruleset,
    }
}

fn judged(value: u64) -> Judged {
    match value {
        OPEN => Judged::Open,
        CLOSED => Judged::Closed,
        ruleset => Judged::By(ruleset),
    }
}

pub(super) fn subject_value(subject: Subject) -> abi::Subject {
    abi::Subject { ingress: judged_value(subject.ingress), egress: judged_value(subject.egress) }
}

pub(super) fn subject(value: &abi::Subject) -> Subject {
    Subject { ingress: judged(value.ingress), egress: judged(value.egress) }
}

pub(super) fn always_key(its: Always) -> abi::Always {
    let zero = abi::Always::default();
    match its {
        Always::Port(protocol, port) => abi::Always { protocol, port: port.into(), ..zero },
        Always::OthersPort(protocol, port) => abi::Always { protocol, port: port.into(), others: 1, ..zero },
        Always::Address(ip) => abi::Always { ip: bytes::address(ip), ..zero },
    }
}

pub(super) fn always_of_key(key: &abi::Always) -> Always {
    let abi::Always { ip, port, protocol, others } = *key;
    match (protocol, others) {
        (0, _) => Always::Address(bytes::ip(ip)),
        (protocol, 0) => Always::Port(protocol, port.into()),
        (protocol, _) => Always::OthersPort(protocol, port.into()),
    }
}

pub(super) fn ruleset_value(ruleset: &Ruleset) -> abi::Ruleset {
    let Ruleset { isolates, denies_known, lengths, verdicts: _ } = *ruleset;
    abi::Ruleset { lengths, isolates: isolates.into(), denies_known: denies_known.into(), zero: [0; 2] }
}

/// Without the number of its verdicts.
pub(super) fn ruleset(value: &abi::Ruleset) -> Ruleset {
    let abi::Ruleset { lengths, isolates, denies_known, .. } = *value;
    Ruleset { isolates: isolates != 0, denies_known: denies_known != 0, lengths, verdicts: 0 }
}

pub(super) fn verdict_key(key: &VerdictKey) -> abi::VerdictKey {
    let VerdictKey { ruleset, peer, protocol, bits, port } = *key;
    abi::VerdictKey { ruleset, peer: peer.0, port, bits, protocol, zero: [0; 4] }
}

pub(super) fn verdict_of_key(key: &abi::VerdictKey) -> VerdictKey {
    let abi::VerdictKey { ruleset, peer, port, bits, protocol, .. } = *key;
    VerdictKey { ruleset, peer: Peer(peer), protocol, bits, port }
}

fn ruling_value(ruling: Option<Ruling>) -> abi::Ruling {
    let Some(Ruling { precedence, action, rule }) = ruling else { return abi::Ruling::default() };
    let action = match action {
        PolicyAction::Accept => abi::ACCEPT,
        PolicyAction::Deny => abi::DENY,
        PolicyAction::Pass => abi::PASS,
    };
    abi::Ruling { precedence, rule, action: action as u8, zero: 0 }
}

/// None if it is none that we would write; then the ruling, if there is one.
fn ruling(value: &abi::Ruling) -> Option<Option<Ruling>> {
    let abi::Ruling { precedence, rule, action, .. } = *value;
    if precedence == 0 {
        return Some(None);
    }
    let action = match usize::from(action) {
        abi::ACCEPT => PolicyAction::Accept,
        abi::DENY => PolicyAction::Deny,
        abi::PASS => PolicyAction::Pass,
        _ => return None,
    };
    Some(Some(Ruling { precedence, action, rule }))
}

pub(super) fn verdict_value(verdict: &Verdict) -> abi::Verdict {
    abi::Verdict { tier: [verdict.admin, verdict.namespace, verdict.baseline].map(ruling_value) }
}

pub(super) fn verdict(value: &abi::Verdict) -> Option<Verdict> {
    let [admin, namespace, baseline] = value.tier.each_ref().map(ruling);
    Some(Verdict { admin: admin?, namespace: namespace?, baseline: baseline? })
}

pub(super) fn identity_value(identity: &Identity) -> abi::Identity {
    let Identity { identity, namespace, cluster } = *identity;
    abi::Identity { identity: identity.0, namespace: namespace.0, cluster: cluster.0 }
}

pub(super) fn identity(value: &abi::Identity) -> Identity {
    let abi::Identity { identity, namespace, cluster } = *value;
    Identity { identity: Peer(identity), namespace: Peer(namespace), cluster: Peer(cluster) }
}

pub(super) fn network_value(network: &Network) -> abi::Network {
    let Network { class, pods, world } = *network;
    abi::Network { class: class.0, world: world.0, pods: pods.into(), zero: 0 }
}

pub(super) fn network(value: &abi::Network) -> Network {
    let abi::Network { class, world, pods, .. } = *value;
    Network { class: Peer(class), pods: pods != 0, world: Peer(world) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_back_or_are_closed() {
        for judged in [Judged::Open, Judged::Closed, Judged::By(2), Judged::By(u64::MAX)] {
            let whole = Subject { ingress: judged, egress: Judged::Open };
            assert_eq!(subject(&subject_value(whole)), whole);
        }
        for number in [0, 1] {
            let whole = Subject { ingress: Judged::Open, egress: Judged::By(number) };
            assert_eq!(subject(&subject_value(whole)).egress, Judged::Closed);
        }
    }

    #[test]
    fn what_always_passes_comes_back() {
        let address = Always::Address("192.0.2.1".parse().unwrap());
        for its in [Always::Port(6, 22), Always::OthersPort(6, 9640), address] {
            assert_eq!(always_of_key(&always_key(its)), its);
        }
    }

    #[test]
    fn verdicts_come_back() {
        let ruling = |action| Some(Ruling { precedence: 7, action, rule: 3 });
        for (admin, namespace, baseline) in [
            (None, ruling(PolicyAction::Accept), None),
            (ruling(PolicyAction::Pass), None, ruling(PolicyAction::Deny)),
        ] {
            let whole = Verdict { admin, namespace, baseline };
            assert_eq!(verdict(&verdict_value(&whole)), Some(whole));
        }
        let strange = abi::Ruling { precedence: 1, action: 4, ..Default::default() };
        assert_eq!(verdict(&abi::Verdict { tier: [strange; 3] }), None);
    }
}
