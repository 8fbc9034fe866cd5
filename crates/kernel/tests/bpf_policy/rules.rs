//! Rules for tests and benches, and their way into the kernel.
#![allow(dead_code, reason = "each user uses its own part of this")]

use std::net::IpAddr;

use causeway_kernel::bpf::BpfError;
use causeway_kernel::bpf::policing::PolicyMaps;
use engine::plan::policing::{
    Always, Identity, Judged, Network, Peer, Policing, Ruleset, Ruling, Subject, Verdict, VerdictKey,
};
use model::policy::PolicyAction;

/// The ruleset of what pods are sent, and of what they send.
pub(crate) const IN: u64 = 100;
pub(crate) const OUT: u64 = 200;

/// Rules, put together one by one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) wanted: Policing,
}

impl Rules {
    /// Two rulesets that isolate; `own` are addresses of the node.
    pub(crate) fn new(own: &[IpAddr]) -> Self {
        let mut wanted = Policing::default();
        let ruleset = Ruleset { isolates: true, ..Ruleset::default() };
        wanted.rulesets = [(IN, ruleset), (OUT, ruleset)].into();
        wanted.own.extend(own);
        Self { wanted }
    }

    /// How a pod is judged.
    pub(crate) fn subject(mut self, pod: IpAddr, ingress: Judged, egress: Judged) -> Self {
        self.wanted.subjects.insert(pod, Subject { ingress, egress });
        self
    }

    /// Who is at an address.
    pub(crate) fn identity(mut self, ip: IpAddr, peer: u64) -> Self {
        self.wanted.identities.insert(ip, Identity { identity: Peer(peer), ..Identity::default() });
        self
    }

    /// What a range is.
    pub(crate) fn network(mut self, range: &str, class: u64, pods: bool) -> Self {
        let network = Network { class: Peer(class), pods, world: Peer::ANY };
        self.wanted.networks.insert(range.parse().expect("a range"), network);
        self
    }

    /// What no policy takes from the node.
    pub(crate) fn always(mut self, its: Always) -> Self {
        self.wanted.always.insert(its);
        self
    }

    /// A rule of the namespaces' tier: about a port, or without one about all of a protocol; without that about everything.
    pub(crate) fn rule(
        mut self,
        ruleset: u64,
        peer: u64,
        about: Option<(u8, Option<u16>)>,
        action: PolicyAction,
    ) -> Self {
        let (protocol, port) = about.unwrap_or_default();
        let bits = if port.is_some() { 16 } else { 0 };
        let key = VerdictKey { ruleset, peer: Peer(peer), protocol, bits, port: port.unwrap_or_default() };
        let ruling = Ruling { precedence: 1, action, rule: 3 };
        self.wanted.verdicts.insert(key, Verdict { namespace: Some(ruling), ..Verdict::default() });
        let whole = self.wanted.rulesets.get_mut(&ruleset).expect("a ruleset of ours");
        whole.lengths |= 1 << bits;
        whole.verdicts += 1;
        self
    }

    pub(crate) fn accept(self, ruleset: u64, peer: u64, about: Option<(u8, Option<u16>)>) -> Self {
        self.rule(ruleset, peer, about, PolicyAction::Accept)
    }

    /// Brings the maps there, whatever is in them: additions, then the switch, then what goes.
    pub(crate) fn enforce(&self, maps: &mut PolicyMaps) -> Result<(), BpfError> {
        let (old, new) = (maps.observe()?, &self.wanted);
        maps.set_identities(&pairs(&new.identities))?;
        maps.set_networks(&pairs(&new.networks))?;
        maps.set_named(&pairs(&new.named))?;
        maps.set_own(&new.own.iter().copied().collect::<Vec<_>>())?;
        maps.set_always(&new.always.iter().copied().collect::<Vec<_>>())?;
        maps.set_verdicts(&pairs(&new.verdicts))?;
        maps.set_rulesets(&pairs(&new.rulesets))?;
        maps.set_subjects(&pairs(&new.subjects))?;
        maps.delete_subjects(&gone(old.subjects.keys(), |k| new.subjects.contains_key(k)))?;
        maps.delete_rulesets(&gone(old.rulesets.keys(), |k| new.rulesets.contains_key(k)))?;
        maps.delete_verdicts(&gone(old.verdicts.keys(), |k| new.verdicts.contains_key(k)))?;
        maps.delete_identities(&gone(old.identities.keys(), |k| new.identities.contains_key(k)))?;
        maps.delete_networks(&gone(old.networks.keys(), |k| new.networks.contains_key(k)))?;
        maps.delete_named(&gone(old.named.keys(), |k| new.named.contains_key(k)))?;
        maps.delete_always(&gone(old.always.iter(), |k| new.always.contains(k)))?;
        maps.delete_own(&gone(old.own.iter(), |k| new.own.contains(k)))?;
        maps.raise_epoch()
    }
}

fn pairs<K: Copy, V: Copy>(map: &std::collections::BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(k, v)| (*k, *v)).collect()
}

fn gone<'a, K: Copy + 'a>(old: impl Iterator<Item = &'a K>, stays: impl Fn(&K) -> bool) -> Vec<K> {
    old.copied().filter(|key| !stays(key)).collect()
}
