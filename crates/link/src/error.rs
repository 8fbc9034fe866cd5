//! What can go wrong in a conversation, and whose turn it is then.

use std::io;
use std::path::PathBuf;

use engine::exchange::{OutOfTurn, Overrun, Refusal};
use model::ClusterName;
use wire::{ParseError, VersionSkew};

use crate::pki::Untrusted;
use crate::token::TokenError;

/// Why a conversation did not happen, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours could not be read or written.
    #[error("cannot {attempt} {}: {source}", path.display())]
    File {
        /// `read`, `write`, ...
        attempt: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of ours is not what we wrote.
    #[error("{} is damaged: {detail}; {advice}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// What to do.
        advice: &'static str,
    },
    /// The port could not be had.
    #[error(
        "cannot listen on {address}: {source}; check that no other controller runs and that the address is ours"
    )]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A token that cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is neither a certificate nor a token.
    #[error(
        "no valid certificate, and no token in {}: ask the controller for one (`POST /v1/tokens/node` on its local \
         socket) and put it there",
        .0.display()
    )]
    NotEnrolled(PathBuf),
    /// A file that the node was to be provided with is not there, or empty.
    #[error("no valid certificate, and nothing in {} to ask for one with: {advice}", path.display())]
    Unprovided {
        /// Which.
        path: PathBuf,
        /// Who puts it there.
        advice: &'static str,
    },
    /// No address to go to.
    #[error("no address to reach {0} at: name one in the configuration")]
    NoAddress(String),
    /// A name that stands for nobody.
    #[error("cannot look up {name}: {detail}; check the name, and DNS on this machine")]
    Unknown {
        /// Which.
        name: String,
        /// What happened.
        detail: String,
    },
    /// Nobody answers.
    #[error("cannot reach {address}: {detail}; check that it runs and that TCP gets through")]
    Unreachable {
        /// Whom.
        address: String,
        /// What happened.
        detail: String,
    },
    /// Somebody else answers.
    #[error("{address} is not who it should be: {source}")]
    Untrusted {
        /// Whom.
        address: String,
        /// Why not.
        source: Untrusted,
    },
    /// The other side does not want us.
    #[error("{address} refuses: {detail}")]
    Refused {
        /// Who.
        address: String,
        /// What it says.
        detail: String,
    },
    /// The conversation broke off.
    #[error("the stream with {address} broke off: {detail}")]
    Broken {
        /// With whom.
        address: String,
        /// What happened.
        detail: String,
    },
    /// The other side's version is too far from ours.
    #[error(transparent)]
    Version(#[from] VersionSkew),
    /// The other side does not keep to the protocol.
    #[error("the other side does not keep to the exchange protocol: {0}; it is not Causeway, or a bug")]
    Protocol(#[from] ProtocolError),
    /// Another controller of the cluster has to be asked.
    #[error("this controller stands by: {0}")]
    Standby(String),
    /// The stream was ended by us, for this reason.
    #[error("{0}")]
    Dismissed(String),
    /// The other cluster costs more than it may.
    #[error(
        "the link is frozen: {0}; what is known of the cluster stays, and it is tried again by itself; find out what is \
         exported there, or raise that part of link.budget here"
    )]
    Frozen(Overrun),
    /// The other cluster has removed the link.
    #[error(
        "cluster {0} has removed the link: what it had told is withdrawn; remove the link here too, or join again with a \
         new token"
    )]
    Removed(ClusterName),
    /// The other cluster cannot be linked.
    #[error("cannot link: {0}")]
    Link(Box<Refusal>),
    /// This side cannot make what it needs to prove itself: a bug, or an exhausted system.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
    /// Too many roots at once.
    #[error(
        "the cluster's CA has {0} roots already: wait until the oldest is dropped (`causeway status` says when), or drop \
         all but the newest with `causeway link rotate --finish`"
    )]
    TooManyRoots(usize),
    /// A certificate that has ended could not be renewed.
    #[error(
        "the node's certificate has ended, and could not be renewed: {renewal}; nor could it join anew: {joining}"
    )]
    Lapsed {
        /// Why it was not renewed.
        renewal: Box<Error>,
        /// Why the token did not help.
        joining: Box<Error>,
    },
    /// The server has been stopped.
    #[error("the exchange is stopping")]
    Stopping,
}

/// What was not as the protocol says.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Frames in the wrong order.
    #[error(transparent)]
    OutOfTurn(#[from] OutOfTurn),
    /// A message that is none.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The first frame is not `Hello`.
    #[error("the first frame is not a greeting")]
    NoHello,
    /// The endpoints of more services are wanted than there can be.
    #[error("the endpoints of {named} services are wanted; {max} can be")]
    WantsTooMuch {
        /// How many.
        named: usize,
        /// How many can be.
        max: usize,
    },
}

impl Error {
    /// Whether trying again by itself may help: nobody has to change anything first.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unknown { .. }
            | Self::Broken { .. }
            | Self::Stopping
            | Self::Standby(_)
            | Self::Dismissed(_) => true,
            Self::Lapsed { renewal, .. } => renewal.is_transient(),
            Self::File { .. }
            | Self::TooManyRoots(_)
            | Self::Damaged { .. }
            | Self::Listen { .. }
            | Self::Token(_)
            | Self::NotEnrolled(_)
            | Self::Unprovided { .. }
            | Self::NoAddress(_)
            | Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::Version(_)
            | Self::Protocol(_)
            | Self::Link(_)
            | Self::Frozen(_)
            | Self::Removed(_)
            | Self::Crypto(_) => false,
        }
    }

    /// What ended a call to `address`.
    pub(crate) fn of_status(address: impl ToString, status: &tonic::Status) -> Self {
        let address = address.to_string();
        let detail = status.message().to_string();
        // tonic calls a message that does not decode internal, and a broken connection too; only the latter has a cause.
        let broken_in_transit = std::error::Error::source(status).is_some();
        match status.code() {
            tonic::Code::Unauthenticated
            | tonic::Code::PermissionDenied
            | tonic::Code::InvalidArgument
            | tonic::Code::FailedPrecondition
            | tonic::Code::OutOfRange
            | tonic::Code::ResourceExhausted
            | tonic::Code::Unimplemented => Self::Refused { address, detail },
            tonic::Code::Internal if !broken_in_transit => Self::Refused { address, detail },
            _ => Self::Broken { address, detail: plain(chain(status, detail)) },
        }
    }
}

/// What happens every day, in words; everything else as it was said.
fn plain(text: String) -> String {
    // rustls' word for a connection that ended without TLS's farewell: the process or its machine has gone.
    if text.contains("UnexpectedEof") {
        return "the connection was cut".into();
    }
    // TLS 1.3 tells the client only after the handshake, by an alert (RFC 8446 §6.2).
    if let Some((_, alert)) = text.split_once("received fatal alert: ") {
        return format!(
            "the other side does not accept our certificate (alert {alert}); has it removed the link?"
        );
    }
    text
}

/// The message of an error with those of its sources, which tonic leaves out.
fn chain(error: &(dyn std::error::Error + 'static), mut text: String) -> String {
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
