//! The stream with the controller of a linked cluster: both tell, both hear, whoever dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::exchange::{Audience, Interest, Topics};
use model::ClusterName;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::pb::farewell::Reason;
use wire::{knows_interests, pb};

use super::ControllerEvent;
use super::agents::{Replies, announce, close, greeted};
use super::forgetting::today;
use super::links::Link;
use super::session::Session;
use super::shared::Shared;
use crate::agent::next;
use crate::backoff::Backoff;
use crate::enrol::answered;
use crate::error::ProtocolError;
use crate::frames;
use crate::pki::{Expect, client_config, parse_crosses, parse_roots};
use crate::talk::{Desk, OUTBOX, Outbox, tell};
use crate::tally::Refused;
use crate::{Error, transport};

/// How long the other side may take to hear why a stream ends.
const FAREWELL: Duration = Duration::from_millis(500);

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

/// Tells a cluster with which there was a link that there is none any more.
pub(crate) fn take_leave(shared: &Shared, cluster: &ClusterName, replies: &Replies) {
    let why = format!("the link was removed at cluster {}", shared.name());
    shared.refuse(Refused::Caller, cluster.as_str(), &why);
    let hello = shared.hello();
    let farewell = frames::farewell(Reason::Removed, &why);
    for reply in [Ok(hello), Ok(farewell), Err(Status::permission_denied(why))] {
        // The channel is new: there is room.
        let _ = replies.try_send(reply);
    }
}

/// Dials a linked cluster for as long as it is linked, and talks with it.
pub(crate) async fn dial(shared: Arc<Shared>, cluster: ClusterName) {
    let mut backoff = Backoff::new();
    let mut renewed = shared.renewed.subscribe();
    for turn in 0.. {
        // The other side hears one of us: the one that leads.
        shared.elected().await;
        let (addresses, frozen) = match shared.links().get(&cluster) {
            Some(link) if !link.record.severed => (link.record.addresses.clone(), link.pulse.frozen()),
            Some(_) | None => return,
        };
        if let Some((_, until)) = frozen {
            tokio::select! {
                () = shared.stopped() => return,
                () = sleep_until(until) => {}
            }
        }
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
pub(super) struct Peer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) cluster: &'a ClusterName,
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
        mut incoming: Streaming<pb::Frame>,
        outbox: &Outbox<T>,
        until: impl Future<Output = ()>,
        greeted: impl FnOnce(),
    ) -> Result<(), Error> {
        let (session, mut ending) = Session::new();
        let id = ending.id();
        match self.shared.links().get(self.cluster) {
            Some(link) if self.yields_to(link) => {
                return Err(self.refused("there is a stream already, dialled from the other side"));
            }
            Some(link) => {
                if let Some((overrun, _)) = link.pulse.frozen() {
                    return Err(Error::Frozen(overrun));
                }
                // The newer stream is the living one.
                link.session = Some(session);
                link.remote = Some(self.remote);
                link.dialled = self.dialled;
                link.mirror.handle_break();
                link.pulse.handle_break();
            }
            None => return Err(self.refused("the clusters are not linked any more")),
        }
        outbox.send(self.shared.hello()).await;
        let ended = tokio::select! {
            error = self.talk(&mut incoming, outbox, id, greeted) => Err(error),
            why = ending.wait() => Err(match why {
                Some(why) => Error::Dismissed(why),
                None => self.refused("a newer stream has taken this one's place"),
            }),
            () = self.shared.stopped() => Err(Error::Stopping),
            () = until => Ok(()),
        };
        self.leave(id, ended.as_ref().err()).await;
        let (reason, why) = match &ended {
            Err(Error::Dismissed(why)) => (Reason::Removed, why.clone()),
            Err(error @ Error::Frozen(_)) => (Reason::Frozen, error.to_string()),
            _ => return ended,
        };
        // It is heard when the other side ends the stream, too.
        let told = async {
            outbox.send(frames::farewell(reason, &why)).await;
            if self.dialled {
                while let Ok(Some(_)) = incoming.message().await {}
            }
        };
        let _ = timeout(FAREWELL, told).await;
        ended
    }

    /// Takes the stream off the link, if it still counts, and says so if it was not meant.
    async fn leave(&self, session: u64, error: Option<&Error>) {
        match self.shared.links().of_session(self.cluster, session) {
            Some(link) => {
                link.session = None;
                link.mirror.handle_break();
                link.pulse.handle_break();
                link.last_error = error.map(ToString::to_string);
                link.record.heard = self.shared.options.links.forget_after.map(|_| today());
            }
            None => return,
        }
        if self.shared.options.links.forget_after.is_some()
            && let Err(error) = self.shared.links().save()
        {
            tracing::error!(%error, "when a cluster was last heard is not on disk");
        }
        if let Some(error) = error {
            let (cluster, error) = (self.cluster.clone(), error.to_string());
            tracing::info!(%cluster, %error, "the stream with a linked cluster ended");
            let _ = self.shared.events.send(ControllerEvent::PeerDown { cluster, error }).await;
        }
    }

    async fn talk<T>(
        &self,
        incoming: &mut Streaming<pb::Frame>,
        outbox: &Outbox<T>,
        session: u64,
        on_greeting: impl FnOnce(),
    ) -> Error {
        let desk = Desk::new(None);
        let hear = async {
            let greeting = match greeted(incoming, self.remote).await {
                Ok(hello) => hello,
                Err(error) => return error,
            };
            let heeds = knows_interests(greeting.version);
            if let Err(error) = self.follow(greeting) {
                return error;
            }
            on_greeting();
            if heeds {
                desk.beat();
            }
            let _ = self.shared.events.send(ControllerEvent::PeerUp { cluster: self.cluster.clone() }).await;
            // What is of use here is known once something was published.
            let mut wanted = self.shared.wanted.subscribe();
            if wanted.wait_for(Option::is_some).await.is_err() {
                return Error::Stopping;
            }
            wanted.mark_changed();
            let mut pods = self.shared.wishes.subscribe();
            let mut begun = false;
            loop {
                let done = tokio::select! {
                    // What is asked for comes before anything is told.
                    biased;
                    changed = async {
                        tokio::select! {
                            changed = wanted.changed() => changed,
                            changed = pods.changed() => changed,
                        }
                    } => {
                        let interest = self.interest();
                        match (changed, std::mem::replace(&mut begun, true)) {
                            (Err(_), _) => Err(Error::Stopping),
                            (Ok(()), false) => self.open(&desk, session, interest, heeds, true).await,
                            (Ok(()), true) => self.want(&desk, session, interest).await,
                        }
                    }
                    frame = incoming.message() => match next(frame, self.remote) {
                        Ok(frame) => match self.hear(frame, &desk, session).await {
                            // What it may say has changed, so everything has to be heard again.
                            Ok(true) => {
                                self.open(&desk, session, self.interest(), heeds, false).await
                            }
                            Ok(false) => Ok(()),
                            Err(error) => Err(error),
                        }
                        Err(error) => Err(error),
                    },
                };
                if let Err(error) = done {
                    return error;
                }
            }
        };
        let tell = async {
            let published = self.shared.published.subscribe();
            tell(&self.shared.teller, Audience::Peers, published, &desk, outbox).await;
            Error::Broken { address: self.remote.to_string(), detail: "the other side closed it".into() }
        };
        tokio::select! {
            error = hear => error,
            error = tell => error,
            error = announce(self.shared, outbox) => error,
        }
    }

    /// What is of use here of what the cluster could say.
    fn interest(&self) -> Interest {
        let services = self.shared.wanted.borrow().as_ref().map(|names| (**names).clone());
        let wished = self.shared.wishes.subscribe().borrow().contains(self.cluster);
        Interest::only(Topics {
            services: services.unwrap_or_default(),
            pods: wished.then(|| self.cluster.clone()).into_iter().collect(),
            policies: self.shared.options.links.policies,
        })
    }

    /// Takes new roots from the cluster, if they follow from the ones that are pinned.
    pub(super) fn follow(&self, hello: pb::Hello) -> Result<(), Error> {
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

    pub(super) fn ignore(&self, detail: &str) {
        self.shared.refuse(Refused::Frame, self.cluster.as_str(), detail);
    }

    pub(super) fn refused(&self, detail: &str) -> Error {
        Error::Refused { address: self.remote.to_string(), detail: detail.into() }
    }
}
