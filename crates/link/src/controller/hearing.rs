//! What a linked cluster says, and what it is asked for.

use std::time::Duration;

use engine::exchange::{Around, Heard, Interest, Opening, Tell, Told};
use model::{Change, Object, PublicKey};
use prost::Message;
use wire::pb;
use wire::pb::farewell::Reason;
use wire::pb::frame::Body;

use super::ControllerEvent;
use super::links::Link;
use super::peers::Peer;
use crate::Error;
use crate::error::ProtocolError;
use crate::frames::{self, Said};
use crate::talk::Desk;

impl Peer<'_> {
    /// Asks to be told; `greeted` for the first time on a stream.
    pub(super) async fn open(
        &self,
        desk: &Desk,
        session: u64,
        wanted: Interest,
        heeds: bool,
        greeted: bool,
    ) -> Result<(), Error> {
        let Ok(mut room) = self.shared.events.reserve_many(2).await else { return Err(Error::Stopping) };
        let mut links = self.shared.links();
        let link = links.of_session(self.cluster, session).ok_or(Error::Stopping)?;
        if greeted {
            link.pulse.handle_greeting();
        }
        let Opening { ask, wants, dropped } = link.mirror.open(wanted, heeds);
        desk.say(frames::subscribe(ask));
        wants.iter().for_each(|want| desk.say(frames::want(want)));
        let what_is_left = self.dropped(link, dropped);
        what_is_left.into_iter().zip(&mut room).for_each(|(event, permit)| permit.send(event));
        Ok(())
    }

    /// What to say when something is not of any use any more: first that less is known, then what goes. A crash between
    /// the two must not claim what is gone.
    fn dropped(&self, link: &Link, changes: Vec<Change>) -> Vec<ControllerEvent> {
        let (interest, position) = (link.mirror.interest().clone(), link.mirror.position());
        let cluster = || self.cluster.clone();
        let mut events = vec![ControllerEvent::PeerInterest { cluster: cluster(), interest }];
        if !changes.is_empty() {
            events.push(ControllerEvent::PeerChanges { cluster: cluster(), changes, position });
        }
        events
    }

    /// Asks for something else.
    pub(super) async fn want(&self, desk: &Desk, session: u64, wanted: Interest) -> Result<(), Error> {
        let Ok(mut room) = self.shared.events.reserve_many(2).await else { return Err(Error::Stopping) };
        let mut links = self.shared.links();
        let link = links.of_session(self.cluster, session).ok_or(Error::Stopping)?;
        let (wants, dropped) = link.mirror.want(wanted);
        wants.iter().for_each(|want| desk.say(frames::want(want)));
        let what_is_left = self.dropped(link, dropped);
        what_is_left.into_iter().zip(&mut room).for_each(|(event, permit)| permit.send(event));
        Ok(())
    }

    /// Takes in one frame. Returns whether everything has to be asked for anew.
    pub(super) async fn hear(&self, frame: pb::Frame, desk: &Desk, session: u64) -> Result<bool, Error> {
        self.charge(&frame, session)?;
        match frames::read(frame).map_err(ProtocolError::Parse)? {
            Said::Told(told, unreadable) => {
                // Room first: once the mirror has moved on, what it says may not be lost.
                let Ok(mut room) = self.shared.events.reserve_many(4).await else {
                    return Err(Error::Stopping);
                };
                let mut say = |event| {
                    if let Some(permit) = room.next() {
                        permit.send(event);
                    }
                };
                return self.take(told, unreadable, session, &mut say);
            }
            Said::Subscribe(ask) => desk.subscribe(ask),
            Said::Want(want) => desk.want(want)?,
            Said::Ping(pb::Ping { sent, behind }) => {
                desk.answer(sent);
                if let Some(link) = self.shared.links().of_session(self.cluster, session) {
                    link.pulse.handle_ping(Duration::from_micros(behind));
                }
            }
            Said::Pong(pb::Pong { sent }) => {
                if let Some(link) = self.shared.links().of_session(self.cluster, session) {
                    link.pulse.handle_round_trip(desk.round_trip(sent));
                }
            }
            Said::Farewell(Reason::Removed, _) => return Err(self.sever().await),
            Said::Farewell(_, why) => return Err(self.refused(&why)),
            Said::Hello(hello) => self.follow(hello)?,
            Said::Report(_) => self.ignore("a cluster has no node to report; the frame is ignored"),
            Said::Unknown => self.ignore("a kind of frame this version does not know; ignored"),
        }
        Ok(false)
    }

    /// Counts a frame against the link's budget.
    fn charge(&self, frame: &pb::Frame, session: u64) -> Result<(), Error> {
        let (changes, bytes) = match &frame.body {
            Some(Body::Batch(batch)) => {
                let bytes: usize = batch.changes.iter().map(|change| change.len()).sum();
                (batch.changes.len() + batch.keeps.len(), bytes + 8 * batch.keeps.len())
            }
            _ => (1, frame.encoded_len()),
        };
        let mut links = self.shared.links();
        let link = links.of_session(self.cluster, session).ok_or(Error::Stopping)?;
        link.pulse.charge(changes, bytes).map_err(|overrun| {
            link.pulse.freeze(overrun);
            Error::Frozen(overrun)
        })
    }

    /// The other cluster has removed the link.
    async fn sever(&self) -> Error {
        let Ok(room) = self.shared.events.reserve().await else { return Error::Stopping };
        let mut links = self.shared.links();
        match links.sever(self.cluster) {
            Err(error) => error,
            Ok(held) => {
                let (cluster, changes) = (self.cluster.clone(), held.deletions());
                room.send(ControllerEvent::PeerChanges { cluster, changes, position: None });
                Error::Removed(self.cluster.clone())
            }
        }
    }

    fn take(
        &self,
        told: Told,
        unreadable: Vec<wire::Unreadable>,
        session: u64,
        say: &mut impl FnMut(ControllerEvent),
    ) -> Result<bool, Error> {
        let mut links = self.shared.links();
        let others = if speaks_of_ranges(&told) { links.others(self.cluster) } else { Vec::new() };
        let link = links.of_session(self.cluster, session).ok_or(Error::Stopping)?;
        let refused_before = link.mirror.refusals().total();
        let key_of = |key: &PublicKey| self.shared.teller().key_of(key).cloned();
        let around = Around { clusters: &others, key_of: Some(&key_of) };
        let mut heard = link.mirror.handle(told, around).map_err(ProtocolError::OutOfTurn)?;
        for bad in unreadable {
            let Heard { changes, refused, .. } = link.mirror.handle_malformed(bad.key, bad.error.to_string());
            heard.changes.extend(changes);
            heard.refused.extend(refused);
        }
        self.shared.tally.add_objects(link.mirror.refusals().total() - refused_before);
        link.confirmed |= heard.synced;
        let position = link.mirror.position();
        let moved = link.mirror.peer().filter(|peer| **peer != link.record.cluster).cloned();

        let cluster = self.cluster;
        if !heard.changes.is_empty() {
            let changes = heard.changes;
            say(ControllerEvent::PeerChanges { cluster: cluster.clone(), changes, position });
        }
        if heard.grown {
            let interest = link.mirror.interest().clone();
            say(ControllerEvent::PeerInterest { cluster: cluster.clone(), interest });
        }
        if let Some(position) = position.filter(|_| heard.synced) {
            say(ControllerEvent::PeerSynced { cluster: cluster.clone(), position });
        }
        if let Some(problem) = frames::summary(&heard.refused) {
            say(ControllerEvent::Problem(format!("from cluster {cluster}: {problem}")));
        }
        if let Some(overrun) = heard.overrun {
            link.pulse.freeze(overrun);
            return Err(Error::Frozen(overrun));
        }
        if let Some(moved) = moved {
            link.record.cluster = moved;
            links.save()?;
        }
        Ok(heard.resync)
    }
}

/// Whether the other clusters' ranges matter for what is told.
fn speaks_of_ranges(told: &Told) -> bool {
    let of_ranges = |tell: &Tell| match tell {
        Tell::Upsert(object) => matches!(**object, Object::Cluster(_) | Object::Node(_)),
        Tell::Delete(_) | Tell::Keep(_) => false,
    };
    match told {
        Told::Batch { changes, .. } => changes.iter().any(of_ranges),
        Told::Begin { .. } | Told::Taken { .. } | Told::Synced { .. } => false,
    }
}
