//! One change to what the kernel holds of policies, with a name for metrics and words for people.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Always, Identity, Judged, Network, Peer, Ruleset, RulesetId, Subject, Verdict, VerdictKey};

/// One change to what the kernel holds of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A verdict is now so.
    SetVerdict(VerdictKey, Verdict),
    /// A verdict is gone.
    DeleteVerdict(VerdictKey),
    /// This holds for a ruleset as a whole.
    SetRuleset(RulesetId, Ruleset),
    /// A ruleset is gone, its verdicts before it.
    DeleteRuleset(RulesetId),
    /// This is known of a range.
    SetNetwork(IpNet, Network),
    /// Nothing of its own is known of a range any more.
    DeleteNetwork(IpNet),
    /// A name led to this address.
    SetNamed(IpAddr, Peer),
    /// No name does any more that a rule is about.
    DeleteNamed(IpAddr),
    /// Somebody is at this address.
    SetIdentity(IpAddr, Identity),
    /// Nobody is known to be there any more.
    DeleteIdentity(IpAddr),
    /// An address of the node's own.
    AddOwn(IpAddr),
    /// It is not any more.
    DeleteOwn(IpAddr),
    /// No policy takes this from the node.
    AddAlways(Always),
    /// It is not so any more.
    DeleteAlways(Always),
    /// A pod is judged so.
    SetSubject(IpAddr, Subject),
    /// Policies are about nobody at this address any more.
    DeleteSubject(IpAddr),
}

impl Op {
    /// What kind of change it is: one of a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SetVerdict(..) => "set_verdict",
            Self::DeleteVerdict(_) => "delete_verdict",
            Self::SetRuleset(..) => "set_ruleset",
            Self::DeleteRuleset(_) => "delete_ruleset",
            Self::SetNetwork(..) => "set_network",
            Self::DeleteNetwork(_) => "delete_network",
            Self::SetNamed(..) => "set_named",
            Self::DeleteNamed(_) => "delete_named",
            Self::SetIdentity(..) => "set_identity",
            Self::DeleteIdentity(_) => "delete_identity",
            Self::AddOwn(_) => "add_own",
            Self::DeleteOwn(_) => "delete_own",
            Self::AddAlways(_) => "add_always",
            Self::DeleteAlways(_) => "delete_always",
            Self::SetSubject(..) => "set_subject",
            Self::DeleteSubject(_) => "delete_subject",
        }
    }
}

/// As an operator would type it, were there a command for it.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetVerdict(key, verdict) => {
                write!(f, "verdict set {key}")?;
                let tiers = [("admin", verdict.admin), ("namespace", verdict.namespace)];
                for (tier, ruling) in tiers.into_iter().chain([("baseline", verdict.baseline)]) {
                    if let Some(ruling) = ruling {
                        write!(f, " {tier} {:?} by rule {}", ruling.action, ruling.rule)?;
                    }
                }
                Ok(())
            }
            Self::DeleteVerdict(key) => write!(f, "verdict delete {key}"),
            Self::SetRuleset(id, ruleset) => {
                write!(f, "ruleset set {id:016x}")?;
                f.write_str(if ruleset.isolates { " isolates" } else { "" })?;
                f.write_str(if ruleset.denies_known { " denies-known" } else { "" })
            }
            Self::DeleteRuleset(id) => write!(f, "ruleset delete {id:016x}"),
            Self::SetNetwork(range, network) => {
                write!(f, "network set {range} class {:016x}", network.class.0)?;
                f.write_str(if network.pods { " pods" } else { "" })?;
                f.write_str(if network.world == Peer::ANY { "" } else { " world" })
            }
            Self::DeleteNetwork(range) => write!(f, "network delete {range}"),
            Self::SetNamed(ip, peer) => write!(f, "named set {ip} class {:016x}", peer.0),
            Self::DeleteNamed(ip) => write!(f, "named delete {ip}"),
            Self::SetIdentity(ip, its) => write!(
                f,
                "identity set {ip} {:016x} namespace {:016x} cluster {:016x}",
                its.identity.0, its.namespace.0, its.cluster.0
            ),
            Self::DeleteIdentity(ip) => write!(f, "identity delete {ip}"),
            Self::AddOwn(ip) => write!(f, "own add {ip}"),
            Self::DeleteOwn(ip) => write!(f, "own delete {ip}"),
            Self::AddAlways(its) => write!(f, "always add {its}"),
            Self::DeleteAlways(its) => write!(f, "always delete {its}"),
            Self::SetSubject(ip, subject) => {
                write!(f, "subject set {ip} ingress {} egress {}", subject.ingress, subject.egress)
            }
            Self::DeleteSubject(ip) => write!(f, "subject delete {ip}"),
        }
    }
}

impl fmt::Display for VerdictKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ruleset, peer, protocol, bits, port } = self;
        write!(f, "{ruleset:016x} peer {:016x} protocol {protocol} port {port}/{bits}", peer.0)
    }
}

impl fmt::Display for Always {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "port {port} protocol {protocol}"),
            Self::OthersPort(protocol, port) => write!(f, "port {port} protocol {protocol} of others"),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::By(id) => write!(f, "{id:016x}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}
