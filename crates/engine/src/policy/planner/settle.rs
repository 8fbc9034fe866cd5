//! What comes of what a planner was told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Assigned, Outcome, Planner, Ways};
use crate::plan::policing::{Identity, Judged, Op, Peer, RulesetId, Subject, in_order};
use crate::policy::compiled::{Compiled, Direction};
use crate::policy::matchers::MatcherId;
use crate::policy::rulesets::{Held, NoRoom, Sources, Written};
use crate::policy::subjects::{Say, Whose};
use crate::policy::tracked::Changed;

impl Planner {
    /// Works out what was taken in since the last time. Where pods go over to other rules, those they had stay in force until
    /// the others are, with all that they ask for, and are given up after that.
    pub fn poll(&mut self) -> Outcome {
        for name in std::mem::take(&mut self.stale_pods) {
            let ips = match self.mine.contains(&name) {
                true => self.ips(&name).to_vec(),
                false => Vec::new(),
            };
            self.assign(&Whose::Pod(name), ips);
        }
        for name in std::mem::take(&mut self.stale_nodes) {
            let ips = self.judged_ips(&name);
            self.assign(&Whose::Node(name), ips);
        }
        let mut outcome = self.settle();
        let retired = std::mem::take(&mut self.retired);
        if !retired.is_empty() {
            retired.iter().for_each(|(id, name)| self.release(*id, name));
            let after = self.settle();
            outcome.ops.extend(after.ops);
            outcome.raises_epoch |= after.raises_epoch;
        }
        outcome
    }

    fn settle(&mut self) -> Outcome {
        // What was given up leaves room at once.
        self.networks.poll(&mut self.known_networks);
        self.find_room();
        self.networks.poll(&mut self.known_networks);
        self.names.poll(&mut self.named);
        let classes = self.networks.classes.poll_changed();
        self.matchers.handle_classes(classes);
        let classes = self.names.classes.poll_changed();
        self.matchers.handle_classes(classes);
        let changed = self.matchers.poll_changed(&self.around);
        self.write(changed);
        if self.full_at > self.written.verdicts.len() {
            self.find_room();
            self.write(BTreeSet::new());
        }
        for ip in std::mem::take(&mut self.stale_subjects) {
            let subject = self.subject(ip);
            self.subjects.put(ip, subject);
        }
        self.outcome()
    }

    /// Looks anew which policies are about a pod or node with such addresses.
    fn assign(&mut self, name: &Whose, ips: Vec<IpAddr>) {
        let mut assigned = Assigned::default();
        if !ips.is_empty() {
            assigned.ingress = self.way(name, Direction::Ingress);
            assigned.egress = self.way(name, Direction::Egress);
        }
        assigned.ips = ips;
        let before = match assigned == Assigned::default() {
            true => self.assigned.remove(name),
            false => self.assigned.insert(name.clone(), assigned),
        }
        .unwrap_or_default();
        let keeps: BTreeSet<RulesetId> =
            self.assigned.get(name).into_iter().flat_map(Assigned::rulesets).collect();
        self.retired
            .extend(before.rulesets().map(|id| (id, name.clone())).filter(|(id, _)| !keeps.contains(id)));
        for ip in before.ips {
            if let Some(names) = self.subjects_at.get_mut(&ip) {
                names.remove(name);
                if names.is_empty() {
                    self.subjects_at.remove(&ip);
                }
            }
            self.stale_subjects.insert(ip);
        }
        for ip in self.assigned.get(name).into_iter().flat_map(|assigned| &assigned.ips) {
            self.subjects_at.entry(*ip).or_default().insert(name.clone());
            self.stale_subjects.insert(*ip);
        }
    }

    fn way(&mut self, whose: &Whose, direction: Direction) -> Ways {
        let say = match whose {
            Whose::Pod(name) => self.policies.say(self.seen(name), direction),
            Whose::Node(name) => {
                self.policies.say_of_node(&name.cluster, self.around.nodes.get(name), direction)
            }
        };
        let policies = match say {
            Say::Nothing => return Ways::Open,
            Say::Unknown(policy) => return Ways::Unknown(policy),
            Say::By(policies) => policies,
        };
        let who = match whose {
            Whose::Pod(name) => self.pods.get(name).and_then(|pod| self.around.identities.get(pod.who?)),
            // It gives ports no names.
            Whose::Node(_) => None,
        };
        let ports = who.map(|who| who.ports.as_slice()).unwrap_or_default();
        let id = Compiled::ruleset(&policies, direction, ports);
        if !self.rulesets.contains_key(&id) {
            let held = Held::new(policies, direction, ports);
            let mut new = Vec::new();
            for whom in held.whoms() {
                if self.matchers.acquire(whom, id, &self.around) {
                    new.push(whom.clone());
                }
            }
            new.iter().for_each(|whom| self.begin(whom));
            self.rulesets.insert(id, held);
            self.unwritten.insert(id);
        }
        if let Some(held) = self.rulesets.get_mut(&id) {
            held.of.insert(whose.clone());
        }
        Ways::By(id)
    }

    /// A pod or node is not judged by a ruleset any more.
    fn release(&mut self, id: RulesetId, name: &Whose) {
        let Some(held) = self.rulesets.get_mut(&id) else { return };
        held.of.remove(name);
        if !held.of.is_empty() {
            return;
        }
        let Some(mut held) = self.rulesets.remove(&id) else { return };
        self.unwritten.remove(&id);
        self.written.erase(id, &mut held);
        for matcher in held.matchers() {
            if let Some(whom) = self.matchers.release(matcher, id) {
                self.end(&whom);
            }
        }
    }

    /// Tries again what found no room.
    fn find_room(&mut self) {
        for id in std::mem::take(&mut self.no_networks) {
            let Some(matcher) = self.matchers.get(id) else { continue };
            let (whom, users) = (matcher.whom.clone(), matcher.users.clone());
            self.begin(&whom);
            if !self.no_networks.contains(&id) {
                self.unwritten.extend(users);
            }
        }
        if self.full_at > self.written.verdicts.len() {
            self.full_at = 0;
            let full = self.rulesets.iter().filter(|(_, held)| held.no_room == Some(NoRoom::Verdicts));
            self.unwritten.extend(full.map(|(id, _)| *id));
        }
        while self.identities.now().len() < self.settings.limits.identities {
            let Some((_, name)) = self.left_out.pop_first() else { break };
            self.claim(&name);
        }
    }

    /// Brings verdicts up to date: new rulesets, and of the others those peers of which it has changed who is about them.
    fn write(&mut self, changed: BTreeSet<(MatcherId, Peer)>) {
        let mut unwritten = std::mem::take(&mut self.unwritten);
        let limit = self.settings.limits.verdicts;
        let mut rows: BTreeSet<(RulesetId, Peer)> = BTreeSet::new();
        let sources = Sources {
            matchers: &self.matchers,
            networks: &self.networks.classes,
            names: &self.names.classes,
            identities: &self.around.identities,
        };
        for (matcher, peer) in changed {
            let lost = !sources.has(matcher, peer);
            for id in self.matchers.get(matcher).into_iter().flat_map(|matcher| &matcher.users) {
                let full = self.rulesets.get(id).is_some_and(|held| held.no_room == Some(NoRoom::Verdicts));
                if full && lost {
                    // It may have become small enough.
                    unwritten.insert(*id);
                } else if !unwritten.contains(id) {
                    rows.insert((*id, peer));
                }
            }
        }
        let mut turned = Vec::new();
        for row in rows {
            let Some(held) = self.rulesets.get_mut(&row.0).filter(|held| held.no_room.is_none()) else {
                continue;
            };
            self.written.update(row, held, &sources, limit);
            if held.no_room.is_some() {
                turned.push(row.0);
            }
        }
        for id in unwritten {
            let Some(held) = self.rulesets.get_mut(&id) else { continue };
            let lacks = held.matchers().any(|matcher| self.no_networks.contains(&matcher));
            match held.no_room {
                Some(NoRoom::Rules) => {}
                _ if lacks => held.no_room = Some(NoRoom::Networks),
                _ => {
                    held.no_room = None;
                    self.written.write(id, held, &sources, limit);
                }
            }
            turned.push(id);
        }
        for id in turned {
            let Some(held) = self.rulesets.get(&id) else { continue };
            if held.no_room == Some(NoRoom::Verdicts) {
                self.full_at = self.written.verdicts.len();
            }
            let assigned = held.of.iter().filter_map(|whose| self.assigned.get(whose));
            self.stale_subjects.extend(assigned.flat_map(|assigned| &assigned.ips));
        }
    }

    /// How the pod at an address is judged. Of two that have it the one counts that this node has given it; if there is none
    /// such, what they do not agree on is closed.
    fn subject(&self, ip: IpAddr) -> Option<Subject> {
        let names = self.subjects_at.get(&ip)?;
        let is_attached = |name: &Whose| matches!(name, Whose::Pod(pod) if self.attached.contains_key(pod));
        let attached = names.iter().any(is_attached);
        let count = names.iter().filter(|name| !attached || is_attached(name));
        let mut all = count.filter_map(|name| self.assigned.get(name)).map(|assigned| Subject {
            ingress: self.judged(&assigned.ingress),
            egress: self.judged(&assigned.egress),
        });
        let first = all.next()?;
        let both = |a, b| if a == b { a } else { Judged::Closed };
        let agreed = all.fold(first, |agreed, its| Subject {
            ingress: both(agreed.ingress, its.ingress),
            egress: both(agreed.egress, its.egress),
        });
        (agreed != Subject::default()).then_some(agreed)
    }

    fn judged(&self, way: &Ways) -> Judged {
        match way {
            Ways::Open => Judged::Open,
            Ways::Unknown(_) => Judged::Closed,
            Ways::By(id) => match self.rulesets.get(id) {
                Some(held) if held.no_room.is_none() => Judged::By(*id),
                _ => Judged::Closed,
            },
        }
    }

    fn outcome(&mut self) -> Outcome {
        let mut ops = Vec::new();
        let mut raises = false;
        for Changed { key, was, is } in self.written.verdicts.poll() {
            raises |= was.is_some() || is.is_some_and(|is| !is.only_accepts());
            ops.push(is.map_or(Op::DeleteVerdict(key), |is| Op::SetVerdict(key, is)));
        }
        for Changed { key, was, is } in self.written.rulesets.poll() {
            match is {
                Some(is) if was.is_some_and(|was| was.same(&is)) => {}
                Some(is) => ops.push(Op::SetRuleset(key, is)),
                None => ops.push(Op::DeleteRuleset(key)),
            }
        }
        let takes = |written: &Written, was: Peer, is: Peer| {
            was != is && (written.about(was).0 && was != Peer::ANY || written.about(is).1 && is != Peer::ANY)
        };
        for Changed { key, was, is } in self.known_networks.poll() {
            let (old, new) = (was.unwrap_or_default(), is.unwrap_or_default());
            raises |= takes(&self.written, old.class, new.class);
            raises |= takes(&self.written, old.world, new.world);
            raises |= new.pods && !old.pods;
            ops.push(is.map_or(Op::DeleteNetwork(key), |is| Op::SetNetwork(key, is)));
        }
        for Changed { key, was, is } in self.named.poll() {
            raises |= takes(&self.written, was.unwrap_or_default(), is.unwrap_or_default());
            ops.push(is.map_or(Op::DeleteNamed(key), |is| Op::SetNamed(key, is)));
        }
        // Where somebody known is denied, whoever is not known any more is denied, too.
        let strict = self.written.rulesets.now().values().any(|ruleset| ruleset.denies_known);
        for Changed { key, was, is } in self.identities.poll() {
            raises |= is.is_none() && strict;
            let (old, new): (Identity, Identity) = (was.unwrap_or_default(), is.unwrap_or_default());
            raises |= takes(&self.written, old.identity, new.identity);
            raises |= takes(&self.written, old.namespace, new.namespace);
            raises |= takes(&self.written, old.cluster, new.cluster);
            ops.push(is.map_or(Op::DeleteIdentity(key), |is| Op::SetIdentity(key, is)));
        }
        for Changed { key, is, .. } in self.own.poll() {
            raises |= is.is_none();
            ops.push(is.map_or(Op::DeleteOwn(key), |()| Op::AddOwn(key)));
        }
        for Changed { key, is, .. } in self.always.poll() {
            ops.push(is.map_or(Op::DeleteAlways(key), |()| Op::AddAlways(key)));
        }
        for Changed { key, was, is } in self.subjects.poll() {
            let (old, new) = (was.unwrap_or_default(), is.unwrap_or_default());
            let judged = |old, new| new != old && new != Judged::Open;
            raises |= judged(old.ingress, new.ingress) || judged(old.egress, new.egress);
            ops.push(is.map_or(Op::DeleteSubject(key), |is| Op::SetSubject(key, is)));
        }
        in_order(&mut ops);
        Outcome { ops, raises_epoch: raises }
    }
}
