//! Links, addresses, neighbours and routes of one network namespace, by rtnetlink.
//!
//! A [`Netlink`] is a socket in one namespace for its whole life; [`Netlink::open_in`] opens it in another than the
//! caller's without taking the caller there. It obeys: what to set up and why is decided elsewhere
//! ([`crate::routes`], [`crate::pod`], the lab). Deleting what is not there is no error, so that everything can be
//! repeated.

pub(crate) mod address;
pub(crate) mod blocking;
pub(crate) mod link;
pub(crate) mod route;
mod step;
pub mod sysctl;

use std::io;

use futures::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

pub use link::{Link, LinkChange, LinkLocal, Mac, MacError, VethEnd};
pub use route::{RouteKind, RouteSpec};
pub(crate) use step::Step;

use crate::netns::{Netns, NetnsError};

/// The routing protocol number (`rtm_protocol`, `ip route … proto`) of routes that come from the plan. iproute2's
/// table of names has nothing at this number.
pub const PROTOCOL_PLAN: u8 = 67;

/// The routing protocol number of the routes to a node's own pods.
pub const PROTOCOL_POD: u8 = 68;

/// How often a listing is begun anew when the kernel says that it changed under way.
const LISTINGS: usize = 8;

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {target}: {source}{}", advice(source))]
pub struct NetlinkError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On what.
    pub target: String,
    /// Why not.
    pub source: io::Error,
}

impl NetlinkError {
    /// The kernel's error number, if the kernel had an answer.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the thing to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether a device, address or route that was named is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL))
    }
}

fn advice(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; root (CAP_NET_ADMIN) is needed",
        Some(libc::ENETDOWN) => "; is the device up?",
        Some(libc::ENODEV) => "; there is no such device",
        Some(libc::EOPNOTSUPP) => "; the kernel lacks this kind of device",
        _ => "",
    }
}

/// A conversation with the kernel about one network namespace. Clones share it; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens one in the calling thread's namespace. Must be called in a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|source| NetlinkError {
            attempt: "open a netlink socket in",
            target: "this network namespace".into(),
            source,
        })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Opens one in another namespace. Must be called in a tokio runtime.
    pub fn open_in(netns: &Netns) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns.run(|| {
            let _inside = runtime.enter();
            Self::open()
        });
        opened.map_err(|e| NetlinkError {
            attempt: "open a netlink socket in",
            target: "a network namespace".into(),
            source: match e {
                NetnsError::Kernel { source, .. } => source,
                other => io::Error::other(other),
            },
        })?
    }

    /// Sends a request and collects the answers, up to the acknowledgement.
    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut stream = self.handle.clone().request(request).map_err(io::Error::other)?;
        let (mut answers, mut consistent) = (Vec::new(), true);
        while let Some(message) = stream.next().await {
            consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(e) if e.code.is_some() => return Err(e.to_io()),
                NetlinkPayload::Overrun(_) => {
                    return Err(io::Error::other("the kernel's answer did not fit the socket's buffer"));
                }
                _ => {}
            }
        }
        Ok((answers, consistent))
    }

    /// Makes something new.
    async fn create(&self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).await.map(drop)
    }

    /// Changes or deletes something.
    pub(crate) async fn change(&self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_ACK).await.map(drop)
    }

    /// Asks for one thing.
    async fn get(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        // The acknowledgement ends the answer when there is nothing to tell.
        Ok(self.request(message, NLM_F_ACK).await?.0)
    }

    /// Asks for one thing of a kind whose answers are notifications: whoever asks must want to hear them.
    pub(crate) async fn get_echoed(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        Ok(self.request(message, NLM_F_ACK | NLM_F_ECHO).await?.0)
    }

    /// Asks for all things of a kind.
    async fn list(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..LISTINGS {
            if let (answers, true) = self.request(message.clone(), NLM_F_DUMP).await? {
                return Ok(answers);
            }
        }
        Err(io::Error::other(format!("the list changed during each of {LISTINGS} readings; try again")))
    }
}

pub(crate) fn failed(attempt: &'static str, target: impl ToString) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError { attempt, target: target.to_string(), source }
}

/// Success, if the failure is only that what was to be deleted is not there.
pub(crate) fn if_there(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(e) if e.is_missing() => Ok(()),
        other => other,
    }
}
