//! The node's side: enrol, stream, renew, reconnect.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use engine::exchange::{Heard, Held, Interest, Mirror, Opening, Position, Topics};
use model::{Change, ClusterName, NodeName};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use wire::pb::exchange_client::ExchangeClient;
use wire::{check_version, pb};

use crate::backoff::{Backoff, at_some_time};
use crate::enrol::{Member, answered};
use crate::error::ProtocolError;
use crate::frames::{self, Said};
use crate::pki::{Expect, client_config};
use crate::talk::OUTBOX;
use crate::{Error, NodeReport, transport};

/// Events waiting for the agent. A frame brings at most four.
const EVENTS: usize = 16;

/// What an agent needs to know to find its controller.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The node.
    pub node: NodeName,
    /// The controller's addresses, tried in turn.
    pub controllers: Vec<SocketAddr>,
    /// What proves that this is the node, while there is no valid certificate.
    pub proof: Proof,
    /// Where key, certificate and trusted roots are kept (in `tls/`, readable by the owner only).
    pub state_dir: PathBuf,
    /// What is known already, from disk: [`Held::of_agent`] the whole world, with the position it was saved at.
    pub held: Held,
    /// The clusters whose pods are wanted beside the node's own; none at all: it knows of no policies.
    pub pods: watch::Receiver<Option<BTreeSet<ClusterName>>>,
    /// What the node says of itself; sent at each connection and each change.
    pub report: watch::Receiver<NodeReport>,
}

pub use crate::enrol::Proof;

/// What happens on the stream.
#[derive(Debug)]
pub enum AgentEvent {
    /// The stream is up.
    Connected {
        /// With whom.
        controller: SocketAddr,
    },
    /// The stream could not be had, or is gone; said once for each cause. It is tried again by itself; the world
    /// stays as it was.
    Disconnected {
        /// Why, with what to check.
        error: Error,
    },
    /// The world changes.
    Changes {
        /// To be applied in order.
        changes: Vec<Change>,
        /// The place to save with the world after them; none in the middle of a first snapshot.
        position: Option<Position>,
    },
    /// What is known in full as of the position, beyond what every agent is told: to be saved with it.
    Interest(Interest),
    /// Everything the controller knew is now known.
    Synced {
        /// The place to save with the world.
        position: Position,
    },
    /// Something for the operator's eyes that does not stop the stream, such as an object that does not parse.
    Problem(String),
}

/// Starts the agent's side. It ends when the receiver is dropped. Needs a tokio runtime with time and net.
pub fn spawn(options: AgentOptions) -> mpsc::Receiver<AgentEvent> {
    let (events, receiver) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let gone = events.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = Agent::new(options, events).run() => {}
        }
    });
    receiver
}

struct Agent {
    options: AgentOptions,
    /// Key and certificate, once they could be read.
    member: Option<Member>,
    mirror: Mirror,
    events: mpsc::Sender<AgentEvent>,
    /// The last error that was said, while there is no stream.
    said: Option<String>,
    /// A controller was reached and there was no stream: it may be the certificate.
    doubted: bool,
}

/// Why a stream was ended without an error.
struct Renewed;

impl Agent {
    fn new(mut options: AgentOptions, events: mpsc::Sender<AgentEvent>) -> Self {
        let mirror = Mirror::trusting(std::mem::take(&mut options.held));
        Self { options, member: None, mirror, events, said: None, doubted: false }
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut turn = 0;
        loop {
            let error = match self.session(&mut turn, &mut backoff).await {
                Ok(Renewed) => continue,
                Err(error) => error,
            };
            let text = error.to_string();
            if self.said.as_ref() != Some(&text) {
                self.said = Some(text);
                let _ = self.events.send(AgentEvent::Disconnected { error }).await;
            }
            backoff.wait().await;
        }
    }

    /// One attempt at one address, and the stream if it comes to one.
    async fn session(&mut self, turn: &mut usize, backoff: &mut Backoff) -> Result<Renewed, Error> {
        let mut member = match self.member.take() {
            Some(member) => member,
            None => Member::open(self.options.node.clone(), &self.options.state_dir)?,
        };
        let ended = self.attempt(&mut member, turn, backoff).await;
        self.member = Some(member);
        ended
    }

    async fn attempt(
        &mut self,
        member: &mut Member,
        turn: &mut usize,
        backoff: &mut Backoff,
    ) -> Result<Renewed, Error> {
        if !member.is_enrolled() || std::mem::take(&mut self.doubted) {
            let enrolled = member.enrol(&self.options.proof, &self.options.controllers).await;
            // A certificate that was doubted is better than none: it gets the next attempt.
            enrolled?;
        }
        let cluster = self.options.node.cluster.clone();
        let addresses = &self.options.controllers;
        let address = match addresses.len() {
            0 => return Err(Error::NoAddress(format!("the controller of {cluster}"))),
            count => addresses[*turn % count],
        };
        *turn += 1;
        let expect = Expect::Controller(cluster);
        let config = client_config(member.trust.clone(), expect, Some(member.credentials.clone()));
        let client = transport::dial(address, config).await;
        let client = client.inspect_err(|error| self.doubt(matches!(error, Error::Untrusted { .. })))?;
        let ended = self.stream(client, address, member, backoff).await;
        self.mirror.handle_break();
        // Back to the one that worked; if it is gone the next attempt moves on.
        *turn -= 1;
        ended.inspect_err(|_| *turn += 1)
    }

    async fn stream(
        &mut self,
        client: ExchangeClient<Channel>,
        address: SocketAddr,
        member: &mut Member,
        backoff: &mut Backoff,
    ) -> Result<Renewed, Error> {
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let hello = frames::hello(&Vec::new(), &Vec::new());
        let wanted = interest(&self.options.pods.borrow_and_update());
        let Opening { ask, wants, dropped } = self.mirror.open(wanted, true);
        let report = frames::report(&self.options.report.borrow_and_update());
        let wants = wants.iter().map(frames::want);
        for frame in [hello, frames::subscribe(ask), report].into_iter().chain(wants) {
            outbox.try_send(frame).expect("the outbox has room for three frames and one of what is wanted");
        }
        self.drop_useless(dropped).await?;
        self.doubt(true);
        let mut caller = client.clone();
        let mut incoming = answered(address, caller.stream(ReceiverStream::new(frames))).await?;
        self.greeted(&mut incoming, address, member).await?;
        self.doubted = false;
        backoff.reset();
        self.said = None;
        let _ = self.events.send(AgentEvent::Connected { controller: address }).await;

        let mut renew_at = Instant::now() + member.renew_in();
        let (mut reports, mut minds) = (true, true);
        loop {
            tokio::select! {
                frame = incoming.message() => {
                    let frame = next(frame, address)?;
                    if self.hear(frame, member).await? {
                        // A certificate of the new root, before the old one is gone.
                        renew_at = renew_at.min(Instant::now() + at_some_time(RENEW_SOON));
                    }
                }
                changed = self.options.report.changed(), if reports => {
                    reports = changed.is_ok();
                    let report = frames::report(&self.options.report.borrow_and_update());
                    let _ = outbox.send(report).await;
                }
                changed = self.options.pods.changed(), if minds => {
                    minds = changed.is_ok();
                    let wanted = interest(&self.options.pods.borrow_and_update());
                    let (wants, dropped) = self.mirror.want(wanted);
                    // A send that waits would be given up, and what was wanted with it, if this stream ended meanwhile:
                    // then everything is asked for anew.
                    for want in wants {
                        let _ = outbox.send(frames::want(&want)).await;
                    }
                    self.drop_useless(dropped).await?;
                }
                () = sleep_until(renew_at) => match member.renew(client.clone(), address).await {
                    Ok(()) => return Ok(Renewed),
                    Err(error) => {
                        renew_at = Instant::now() + RENEW_AGAIN;
                        let problem = format!("the certificate could not be renewed yet: {error}");
                        let _ = self.events.send(AgentEvent::Problem(problem)).await;
                    }
                }
            }
        }
    }

    /// Says that something is of no use any more: first that less is known, then what goes. A crash between the two must not
    /// claim what is gone.
    async fn drop_useless(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let Ok(mut room) = self.events.reserve_many(2).await else { return Err(Error::Stopping) };
        let interest = AgentEvent::Interest(self.mirror.interest().clone());
        let position = self.mirror.position();
        let gone = (!changes.is_empty()).then_some(AgentEvent::Changes { changes, position });
        for (event, permit) in std::iter::once(interest).chain(gone).zip(&mut room) {
            permit.send(event);
        }
        Ok(())
    }

    /// What the certificate is for was not had. A proof that can be shown again is shown again.
    fn doubt(&mut self, is_doubtful: bool) {
        self.doubted = is_doubtful && matches!(self.options.proof, Proof::ServiceAccount { .. });
    }

    /// Waits for the other side's greeting.
    async fn greeted(
        &mut self,
        incoming: &mut Streaming<pb::Frame>,
        address: SocketAddr,
        member: &mut Member,
    ) -> Result<(), Error> {
        let frame = answered(address, async { incoming.message().await.map(tonic::Response::new) }).await?;
        match frames::read(next(Ok(frame), address)?).map_err(ProtocolError::Parse)? {
            Said::Hello(hello) => {
                check_version(hello.version)?;
                member.follow(hello).map(drop)
            }
            _ => Err(ProtocolError::NoHello.into()),
        }
    }

    /// Takes in one frame. Returns whether the cluster has other roots now.
    async fn hear(&mut self, frame: pb::Frame, member: &mut Member) -> Result<bool, Error> {
        // Room first: once the mirror has moved on, what it says may not be lost.
        let Ok(mut room) = self.events.reserve_many(4).await else { return Err(Error::Stopping) };
        let mut say = |event| {
            if let Some(permit) = room.next() {
                permit.send(event);
            }
        };
        match frames::read(frame).map_err(ProtocolError::Parse)? {
            Said::Told(told, unreadable) => {
                let mut heard = self.mirror.handle(told, &[]).map_err(ProtocolError::OutOfTurn)?;
                for bad in unreadable {
                    let Heard { changes, refused, .. } =
                        self.mirror.handle_malformed(bad.key, bad.error.to_string());
                    heard.changes.extend(changes);
                    heard.refused.extend(refused);
                }
                let position = self.mirror.position();
                if !heard.changes.is_empty() {
                    say(AgentEvent::Changes { changes: heard.changes, position });
                }
                if heard.grown {
                    say(AgentEvent::Interest(self.mirror.interest().clone()));
                }
                if let Some(position) = position.filter(|_| heard.synced) {
                    say(AgentEvent::Synced { position });
                }
                if let Some(problem) = frames::summary(&heard.refused) {
                    say(AgentEvent::Problem(problem));
                }
                Ok(false)
            }
            Said::Hello(hello) => member.follow(hello),
            // A controller of a later version may say more than this agent knows.
            Said::Subscribe(_)
            | Said::Want(_)
            | Said::Report(_)
            | Said::Ping(_)
            | Said::Pong(_)
            | Said::Farewell(..)
            | Said::Unknown => Ok(false),
        }
    }
}

/// What an agent wants that has to know the pods of these clusters.
fn interest(pods: &Option<BTreeSet<ClusterName>>) -> Interest {
    match pods {
        None => Interest::default(),
        Some(pods) => {
            Interest { topics: Topics { pods: pods.clone(), ..Topics::default() }, ..Interest::everything() }
        }
    }
}

/// How long after a failed renewal it is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// When the cluster has a new root, at most; not all agents at once.
const RENEW_SOON: Duration = Duration::from_secs(5);

/// The next frame, or how the stream ended.
pub(crate) fn next(
    frame: Result<Option<pb::Frame>, tonic::Status>,
    address: SocketAddr,
) -> Result<pb::Frame, Error> {
    match frame {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => {
            Err(Error::Broken { address: address.to_string(), detail: "the other side closed it".into() })
        }
        Err(status) => Err(Error::of_status(address, &status)),
    }
}
