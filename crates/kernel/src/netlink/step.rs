//! One change as a value: sent alone, or with others at once.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::blocking::Conversation;
use super::link::{self, Link};
use super::{Netlink, NetlinkError};

/// What to tell the kernel, and how to say that it refused.
#[derive(Debug)]
pub(crate) struct Step {
    message: RouteNetlinkMessage,
    flags: u16,
    attempt: &'static str,
    target: String,
}

impl Step {
    /// Makes something new.
    pub(super) fn create(message: RouteNetlinkMessage, attempt: &'static str, target: String) -> Self {
        Self { message, flags: NLM_F_CREATE | NLM_F_EXCL, attempt, target }
    }

    /// Makes something, in place of what may be there.
    pub(crate) fn replace(message: RouteNetlinkMessage, attempt: &'static str, target: String) -> Self {
        Self { message, flags: NLM_F_CREATE | NLM_F_REPLACE, attempt, target }
    }

    /// Changes or deletes something.
    pub(super) fn change(message: RouteNetlinkMessage, attempt: &'static str, target: String) -> Self {
        Self { message, flags: 0, attempt, target }
    }

    fn failed(&self, source: io::Error) -> NetlinkError {
        NetlinkError { attempt: self.attempt, target: self.target.clone(), source }
    }
}

impl Netlink {
    /// Takes one step.
    pub(crate) async fn carry_out(&self, step: Step) -> Result<(), NetlinkError> {
        let Step { message, flags, attempt, target } = step;
        let taken = self.request(message, NLM_F_ACK | flags).await;
        taken.map(drop).map_err(super::failed(attempt, target))
    }
}

impl Conversation {
    /// Takes steps in their order, with one trip into the kernel for all of them. It does not stop at one that fails;
    /// the first failure is told.
    pub(crate) fn carry_out(&mut self, steps: Vec<Step>) -> Result<(), NetlinkError> {
        let Some(whole) = steps.first() else { return Ok(()) };
        let messages = steps.iter().map(|step| (step.message.clone(), step.flags));
        match self.tell(messages.collect()) {
            Ok(outcomes) => {
                let first =
                    steps.iter().zip(outcomes).find_map(|(step, outcome)| Some((step, outcome.err()?)));
                first.map_or(Ok(()), |(step, e)| Err(step.failed(e)))
            }
            Err(e) => Err(whole.failed(e)),
        }
    }

    /// The device of this name, if there is one.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let answers: io::Result<Vec<RouteNetlinkMessage>> =
            self.ask(link::named(name), NLM_F_REQUEST | NLM_F_ACK);
        match answers {
            Ok(answers) => Ok(answers.into_iter().find_map(link::parse)),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(super::failed("look at device", name)(e)),
        }
    }
}
