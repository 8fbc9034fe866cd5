//! The stream with an agent of the own cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::exchange::Audience;
use model::NodeName;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use wire::{check_version, pb};

use super::ControllerEvent;
use super::session::{Ending, Session};
use super::shared::Shared;
use crate::Error;
use crate::agent::next;
use crate::error::ProtocolError;
use crate::frames::{self, Said};
use crate::talk::{Desk, Outbox, tell};
use crate::tally::Refused;

/// Frames to an agent, or how the stream ends.
pub(crate) type Replies = mpsc::Sender<Result<pb::Frame, Status>>;

/// Talks with an agent until it goes, another stream of it comes, or everything ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    node: NodeName,
    remote: SocketAddr,
    incoming: Streaming<pb::Frame>,
    replies: Replies,
) {
    let (session, mut ending) = Session::new();
    // The newer stream is the living one: an agent that was cut off comes back before its old stream is noticed.
    shared.agents().insert(node.clone(), session);
    let _ = shared.events.send(ControllerEvent::AgentUp { node: node.clone() }).await;
    let outbox = Outbox::new(replies.clone(), Ok);
    let error = tokio::select! {
        error = talk(&shared, &node, remote, incoming, &outbox) => error,
        why = ending.wait() => why.map_or(Error::Stopping, Error::Dismissed),
        () = shared.stopped() => Error::Stopping,
    };
    close(&shared, &remote, &error, replies);
    if leave(&shared, &node, &ending) {
        tracing::info!(%node, %error, "an agent's stream ended");
        let _ = shared.events.send(ControllerEvent::AgentDown { node }).await;
    }
}

/// Takes the stream off the list, if it still counts. Returns whether the agent has none now.
fn leave(shared: &Shared, node: &NodeName, ending: &Ending) -> bool {
    let mut agents = shared.agents();
    match agents.get(node) {
        Some(session) if session.id() == ending.id() => {
            agents.remove(node);
            true
        }
        // A newer one.
        Some(_) => false,
        // It was dismissed.
        None => true,
    }
}

/// Says why a stream ends, to the other side if it is its fault, and counts that.
pub(crate) fn close(shared: &Shared, remote: &SocketAddr, error: &Error, replies: Replies) {
    let origin = remote.ip().to_string();
    let status = match error {
        Error::Version(_) => {
            shared.refuse(Refused::Version, &origin, &error.to_string());
            Status::failed_precondition(error.to_string())
        }
        Error::Protocol(_) => {
            shared.refuse(Refused::Message, &origin, &error.to_string());
            Status::invalid_argument(error.to_string())
        }
        Error::Frozen(_) => {
            shared.refuse(Refused::Budget, &origin, &error.to_string());
            Status::resource_exhausted(error.to_string())
        }
        Error::Removed(_) => Status::aborted(error.to_string()),
        Error::Refused { detail, .. } => {
            // tonic refuses a message that does not decode or is too large before we see it.
            shared.refuse(Refused::Message, &origin, detail);
            Status::invalid_argument(detail.clone())
        }
        _ => Status::unavailable(error.to_string()),
    };
    // If the other side does not listen, it is not told.
    let _ = replies.try_send(Err(status));
}

async fn talk<T>(
    shared: &Shared,
    node: &NodeName,
    remote: SocketAddr,
    mut incoming: Streaming<pb::Frame>,
    outbox: &Outbox<T>,
) -> Error {
    let desk = Desk::new(Some(node.clone()));
    let wishes = Wishes { shared, of: shared.wishes.begin() };
    let hear = async {
        outbox.send(shared.hello()).await;
        if let Err(error) = greeted(&mut incoming, remote).await {
            return error;
        }
        loop {
            if let Err(error) = hear(&wishes, node, remote, &mut incoming, &desk).await {
                return error;
            }
        }
    };
    let announce = announce(shared, outbox);
    let tell = async {
        tell(&shared.teller, Audience::Agents, shared.published.subscribe(), &desk, outbox).await;
        Error::Broken { address: remote.to_string(), detail: "the agent closed it".into() }
    };
    tokio::select! {
        error = hear => error,
        error = tell => error,
        error = announce => error,
    }
}

/// Says which roots the cluster has, whenever that changes. Ends with nothing to say any more.
pub(crate) async fn announce<T>(shared: &Shared, outbox: &Outbox<T>) -> Error {
    let mut rooted = shared.rooted.subscribe();
    while rooted.changed().await.is_ok() {
        outbox.send(shared.hello()).await;
    }
    Error::Stopping
}

/// Waits for the other side's greeting.
pub(crate) async fn greeted(
    incoming: &mut Streaming<pb::Frame>,
    remote: SocketAddr,
) -> Result<pb::Hello, Error> {
    let frame = next(incoming.message().await, remote)?;
    match frames::read(frame).map_err(ProtocolError::Parse)? {
        Said::Hello(hello) => {
            check_version(hello.version)?;
            Ok(hello)
        }
        _ => Err(ProtocolError::NoHello.into()),
    }
}

/// What an agent's stream wishes to hear of other clusters; over with the stream.
struct Wishes<'a> {
    shared: &'a Shared,
    of: u64,
}

impl Drop for Wishes<'_> {
    fn drop(&mut self) {
        self.shared.wishes.end(self.of);
    }
}

async fn hear(
    wishes: &Wishes<'_>,
    node: &NodeName,
    remote: SocketAddr,
    incoming: &mut Streaming<pb::Frame>,
    desk: &Desk,
) -> Result<(), Error> {
    let shared = wishes.shared;
    let frame = next(incoming.message().await, remote)?;
    match frames::read(frame).map_err(ProtocolError::Parse)? {
        Said::Subscribe(ask) => {
            desk.subscribe(ask);
            shared.wishes.set(wishes.of, desk.pods());
        }
        Said::Want(want) => {
            desk.want(want)?;
            shared.wishes.set(wishes.of, desk.pods());
        }
        Said::Ping(ping) => desk.answer(ping.sent),
        Said::Report(report) => {
            let node = node.clone();
            let _ = shared.events.send(ControllerEvent::Report { node, report }).await;
        }
        Said::Hello(_) | Said::Pong(_) | Said::Farewell(..) => {}
        Said::Told(..) => {
            shared.refuse(
                Refused::Frame,
                &node.to_string(),
                "an agent has nothing to tell; the frame is ignored",
            );
        }
        Said::Unknown => {
            shared.refuse(
                Refused::Frame,
                &node.to_string(),
                "a kind of frame this version does not know; ignored",
            );
        }
    }
    Ok(())
}
