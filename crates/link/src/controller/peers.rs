//! The stream with the controller of a linked cluster: both tell, both hear, whoever dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::exchange::{Audience, Heard, Tell, Told};
use model::{ClusterName, Object};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::pb;

use super::ControllerEvent;
use super::agents::{Replies, announce, close, greeted};
use super::links::Link;
use super::session::Session;
use super::shared::Shared;
use crate::agent::next;
use crate::backoff::Backoff;
use crate::enrol::answered;
use crate::error::ProtocolError;
use crate::frames::{self, Said};
use crate::pki::{Expect, client_config, parse_crosses, parse_roots};
use crate::talk::{OUTBOX, Outbox, Wish, tell};
use crate::tally::Refused;
use crate::{Error, transport};

/// Talks with a linked cluster that has dialled us.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    cluster: ClusterName,
    remote: SocketAddr,
    incoming: Streaming<pb::Frame>,
    replies: Replies,
) {
    let outbox = Outbox::new(replies.clone(), Ok);
    let peer = Peer { shared: &shared, cluster: &cluster, remote, dialled: false };
    if let Err(error) = peer.session(incoming, &outbox, shared.deposed(), || {}).await {
        close(&shared, &remote, &error, replies);
    }
}

/// Dials a linked cluster for as long as it is linked, and talks with it.
pub(crate) async fn dial(shared: Arc<Shared>, cluster: ClusterName) {
    let mut backoff = Backoff::new();
    let mut renewed = shared.renewed.subscribe();
    for turn in 0.. {
        // The other side hears one of us: the one that leads.
        shared.elected().await;
        let addresses = match shared.links().get(&cluster) {
            Some(link) => link.record.addresses.clone(),
            None => return,
        };
        let Some(address) = addresses.get(turn % addresses.len().max(1)) else { return };
        let found = match address.resolve().await {
            Ok(found) => found,
            Err(error) => {
                say(&shared, &cluster, &error);
                backoff.wait().await;
                continue;
            }
        };
        // Behind a name there may be several, and the next one is tried when its turn comes again.
        let remote = found[turn / addresses.len() % found.len()];
        renewed.mark_unchanged();
        let peer = Peer { shared: &shared, cluster: &cluster, remote, dialled: true };
        let ended = tokio::select! {
            () = shared.stopped() => return,
            ended = peer.dial(&mut renewed, &mut backoff) => ended,
        };
        if let Err(error) = ended {
            say(&shared, &cluster, &error);
            backoff.wait().await;
        }
    }
}

/// Logs why there is no stream, once for each cause.
fn say(shared: &Shared, cluster: &ClusterName, error: &Error) {
    let text = error.to_string();
    if let Some(link) = shared.links().get(cluster)
        && link.last_error.as_ref() != Some(&text)
    {
        tracing::warn!(%cluster, error = %text, "no stream with a linked cluster; trying again");
        link.last_error = Some(text);
    }
}

/// A linked cluster, and where it is talked with.
struct Peer<'a> {
    shared: &'a Shared,
    cluster: &'a ClusterName,
    remote: SocketAddr,
    dialled: bool,
}

impl Peer<'_> {
    /// One attempt, and the stream if it comes to one. Ends without an error when our certificate was renewed: the
    /// other side would end the stream with the old one, and not at a moment of our choice.
    async fn dial(&self, renewed: &mut watch::Receiver<()>, backoff: &mut Backoff) -> Result<(), Error> {
        if self.shared.links().get(self.cluster).is_some_and(|link| self.yields_to(link)) {
            backoff.wait().await;
            return Ok(());
        }
        let expect = Expect::Controller(self.cluster.clone());
        let credentials = Some(self.shared.credentials.clone());
        let config = client_config(self.shared.trust.clone(), expect, credentials);
        let mut client = transport::dial(self.remote, config).await?;
        let (sender, frames) = mpsc::channel(OUTBOX);
        let incoming = answered(self.remote, client.stream(ReceiverStream::new(frames))).await?;
        let outbox = Outbox::new(sender, std::convert::identity);
        let until = async {
            // The sender lives as long as everything does.
            tokio::select! {
                _ = renewed.changed() => {}
                () = self.shared.deposed() => {}
            }
        };
        self.session(incoming, &outbox, until, || backoff.reset()).await
    }

    /// Whether this stream is one too many: when each side dials the other, the stream that the first by name has
    /// dialled stays.
    fn yields_to(&self, link: &Link) -> bool {
        let we_are_first = self.shared.name() < self.cluster;
        link.session.is_some() && link.dialled != self.dialled && link.dialled == we_are_first
    }

    /// A stream, from its first frame to its last.
    async fn session<T>(
        &self,
        incoming: Streaming<pb::Frame>,
        outbox: &Outbox<T>,
        until: impl Future<Output = ()>,
        greeted: impl FnOnce(),
    ) -> Result<(), Error> {
        let (session, mut ending) = Session::new();
        let id = ending.id();
        let from = match self.shared.links().get(self.cluster) {
            Some(link) if self.yields_to(link) => {
                return Err(self.refused("there is a stream already, dialled from the other side"));
            }
            Some(link) => {
                // The newer stream is the living one.
                link.session = Some(session);
                link.remote = Some(self.remote);
                link.dialled = self.dialled;
                link.mirror.handle_break();
                link.mirror.position()
            }
            None => return Err(self.refused("the clusters are not linked any more")),
        };
        for frame in [self.shared.hello(), frames::subscribe(from)] {
            outbox.send(frame).await;
        }
        let ended = tokio::select! {
            error = self.talk(incoming, outbox, id, greeted) => Err(error),
            _ = ending.wait() => Err(self.refused("a newer stream has taken this one's place, or the link was removed")),
            () = self.shared.stopped() => Err(Error::Stopping),
            () = until => Ok(()),
        };
        self.leave(id, ended.as_ref().err()).await;
        ended
    }

    /// Takes the stream off the link, if it still counts, and says so if it was not meant.
    async fn leave(&self, session: u64, error: Option<&Error>) {
        match self.shared.links().of_session(self.cluster, session) {
            Some(link) => {
                link.session = None;
                link.mirror.handle_break();
                link.last_error = error.map(ToString::to_string);
            }
            None => return,
        }
        if let Some(error) = error {
            let (cluster, error) = (self.cluster.clone(), error.to_string());
            tracing::info!(%cluster, %error, "the stream with a linked cluster ended");
            let _ = self.shared.events.send(ControllerEvent::PeerDown { cluster, error }).await;
        }
    }

    async fn talk<T>(
        &self,
        mut incoming: Streaming<pb::Frame>,
        outbox: &Outbox<T>,
        session: u64,
        on_greeting: impl FnOnce(),
    ) -> Error {
        let (wish, wishes) = watch::channel(Wish::None);
        let hear = async {
            match greeted(&mut incoming, self.remote).await.and_then(|hello| self.follow(hello)) {
                Ok(()) => on_greeting(),
                Err(error) => return error,
            }
            let _ = self.shared.events.send(ControllerEvent::PeerUp { cluster: self.cluster.clone() }).await;
            loop {
                match self.hear(&mut incoming, &wish, session).await {
                    // What it may say has changed, so everything has to be heard again.
                    Ok(true) => {
                        outbox.send(frames::subscribe(None)).await;
                    }
                    Ok(false) => {}
                    Err(error) => return error,
                }
            }
        };
        let tell = async {
            tell(&self.shared.teller, Audience::Peers, self.shared.published.subscribe(), wishes, outbox)
                .await;
            Error::Broken { address: self.remote.to_string(), detail: "the other side closed it".into() }
        };
        tokio::select! {
            error = hear => error,
            error = tell => error,
            error = announce(self.shared, outbox) => error,
        }
    }

    /// Takes in one frame. Returns whether a snapshot has to be asked for.
    async fn hear(
        &self,
        incoming: &mut Streaming<pb::Frame>,
        wish: &watch::Sender<Wish>,
        session: u64,
    ) -> Result<bool, Error> {
        let frame = next(incoming.message().await, self.remote)?;
        match frames::read(frame).map_err(ProtocolError::Parse)? {
            Said::Told(told, unreadable) => {
                // Room first: once the mirror has moved on, what it says may not be lost.
                let Ok(mut room) = self.shared.events.reserve_many(3).await else {
                    return Err(Error::Stopping);
                };
                let mut say = |event| {
                    if let Some(permit) = room.next() {
                        permit.send(event);
                    }
                };
                return self.take(told, unreadable, session, &mut say);
            }
            Said::Subscribe(from) => {
                wish.send_replace(Some(from));
            }
            Said::Hello(hello) => self.follow(hello)?,
            Said::Report(_) => self.ignore("a cluster has no node to report; the frame is ignored"),
            Said::Unknown => self.ignore("a kind of frame this version does not know; ignored"),
        }
        Ok(false)
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
        let mut heard = link.mirror.handle(told, &others).map_err(ProtocolError::OutOfTurn)?;
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
        if let Some(position) = position.filter(|_| heard.synced) {
            say(ControllerEvent::PeerSynced { cluster: cluster.clone(), position });
        }
        if let Some(problem) = frames::summary(&heard.refused) {
            say(ControllerEvent::Problem(format!("from cluster {cluster}: {problem}")));
        }
        if let Some(moved) = moved {
            link.record.cluster = moved;
            links.save()?;
        }
        Ok(heard.resync)
    }

    /// Takes new roots from the cluster, if they follow from the ones that are pinned.
    fn follow(&self, hello: pb::Hello) -> Result<(), Error> {
        if hello.roots.is_empty() {
            return Ok(());
        }
        let roots = parse_roots(hello.roots).map_err(ProtocolError::Parse)?;
        let crosses = parse_crosses(hello.crosses).map_err(ProtocolError::Parse)?;
        if self.shared.trust.may_follow(self.cluster, &roots, &crosses) {
            let mut links = self.shared.links();
            if let Some(link) = links.get(self.cluster) {
                link.record.roots = roots.clone();
                links.save()?;
                self.shared.trust.set(self.cluster, roots);
            }
        }
        Ok(())
    }

    fn ignore(&self, detail: &str) {
        self.shared.refuse(Refused::Frame, self.cluster.as_str(), detail);
    }

    fn refused(&self, detail: &str) -> Error {
        Error::Refused { address: self.remote.to_string(), detail: detail.into() }
    }
}

/// Whether the other clusters' ranges matter for what is told.
fn speaks_of_ranges(told: &Told) -> bool {
    match told {
        Told::Batch { changes, .. } => {
            changes.iter().any(|tell| matches!(tell, Tell::Upsert(o) if matches!(**o, Object::Cluster(_))))
        }
        Told::Begin { .. } | Told::Synced { .. } => false,
    }
}
