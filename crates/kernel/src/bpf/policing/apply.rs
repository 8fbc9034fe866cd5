//! A plan's operations, as calls that write many entries at once.

use engine::plan::policing::Op;

use super::PolicyMaps;
use crate::bpf::BpfError;

impl PolicyMaps {
    /// Makes the changes in their order, as far as they go. Whoever takes something away raises the epoch afterwards
    /// ([`PolicyMaps::raise_epoch`]).
    ///
    /// # Errors
    /// The kernel refused one of them: there is no room, say. Those before it are made.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), BpfError> {
        fn all<T>(run: &[Op], one: impl Fn(&Op) -> Option<T>) -> Vec<T> {
            run.iter().filter_map(one).collect()
        }
        for run in ops.chunk_by(|a, b| a.kind() == b.kind()) {
            let Some(first) = run.first() else { continue };
            // A run is of one kind, so that nothing is left out.
            macro_rules! each {
                ($pattern:pat => $entry:expr) => {
                    &all(run, |op| match op {
                        $pattern => Some($entry),
                        _ => None,
                    })
                };
            }
            match first {
                Op::SetVerdict(..) => {
                    self.set_verdicts(each!(Op::SetVerdict(key, verdict) => (*key, *verdict)))
                }
                Op::DeleteVerdict(_) => self.delete_verdicts(each!(Op::DeleteVerdict(key) => *key)),
                Op::SetRuleset(..) => {
                    self.set_rulesets(each!(Op::SetRuleset(id, ruleset) => (*id, *ruleset)))
                }
                Op::DeleteRuleset(_) => self.delete_rulesets(each!(Op::DeleteRuleset(id) => *id)),
                Op::SetNetwork(..) => {
                    self.set_networks(each!(Op::SetNetwork(range, network) => (*range, *network)))
                }
                Op::DeleteNetwork(_) => self.delete_networks(each!(Op::DeleteNetwork(range) => *range)),
                Op::SetNamed(..) => self.set_named(each!(Op::SetNamed(ip, peer) => (*ip, *peer))),
                Op::DeleteNamed(_) => self.delete_named(each!(Op::DeleteNamed(ip) => *ip)),
                Op::SetIdentity(..) => self.set_identities(each!(Op::SetIdentity(ip, its) => (*ip, *its))),
                Op::DeleteIdentity(_) => self.delete_identities(each!(Op::DeleteIdentity(ip) => *ip)),
                Op::AddOwn(_) => self.set_own(each!(Op::AddOwn(ip) => *ip)),
                Op::DeleteOwn(_) => self.delete_own(each!(Op::DeleteOwn(ip) => *ip)),
                Op::AddAlways(_) => self.set_always(each!(Op::AddAlways(its) => *its)),
                Op::DeleteAlways(_) => self.delete_always(each!(Op::DeleteAlways(its) => *its)),
                Op::SetSubject(..) => {
                    self.set_subjects(each!(Op::SetSubject(ip, subject) => (*ip, *subject)))
                }
                Op::DeleteSubject(_) => self.delete_subjects(each!(Op::DeleteSubject(ip) => *ip)),
            }?;
        }
        Ok(())
    }
}
