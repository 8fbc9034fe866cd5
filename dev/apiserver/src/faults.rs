//! What goes wrong on request.

use std::sync::Mutex;
use std::time::Duration;

use crate::failure::Failure;
use crate::journal::Request;

/// What happens to a request instead of, or beside, what it asked for.
#[derive(Debug, Clone)]
enum Action {
    Refuse(Failure),
    Delay(Duration),
    LoseResponse,
    Cut,
    Hang,
}

/// A fault that waits for its request.
#[derive(Debug, Clone)]
pub struct Fault {
    action: Action,
    verb: Option<String>,
    resource: Option<String>,
    name: Option<String>,
    user_agent: Option<String>,
    times: Option<u32>,
}

impl Fault {
    fn new(action: Action) -> Fault {
        Fault { action, verb: None, resource: None, name: None, user_agent: None, times: Some(1) }
    }

    /// `429 Too Many Requests`, with `Retry-After`.
    pub fn too_many_requests(retry_after: u32) -> Fault {
        let why = "the server has received too many requests and has asked us to try again later";
        Fault::new(Action::Refuse(Failure::new(429, "TooManyRequests", why).retry_after(retry_after)))
    }

    /// A server's error: 500, 503, 504.
    pub fn server_error(code: u16) -> Fault {
        let (reason, why) = match code {
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "the server was unable to return a response in the time allotted"),
            _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
        };
        Fault::new(Action::Refuse(Failure::new(code, reason, why)))
    }

    /// `409 Conflict`: somebody else was faster.
    pub fn conflict() -> Fault {
        let why = "Operation cannot be fulfilled: the object has been modified; please apply your changes to \
                   the latest version and try again";
        Fault::new(Action::Refuse(Failure::new(409, "Conflict", why)))
    }

    /// `410 Gone` as the answer to a list, a page of one, or a watch.
    pub fn gone() -> Fault {
        let why = "The provided continue parameter is too old to display a consistent list result.";
        Fault::new(Action::Refuse(Failure::expired(why)))
    }

    /// `403 Forbidden`.
    pub fn forbidden() -> Fault {
        Fault::new(Action::Refuse(Failure::new(403, "Forbidden", "the request is forbidden")))
    }

    /// The answer comes late.
    pub fn slow(delay: Duration) -> Fault {
        Fault::new(Action::Delay(delay))
    }

    /// The request is carried out, and then the connection breaks before the answer.
    pub fn lost_response() -> Fault {
        Fault::new(Action::LoseResponse)
    }

    /// The connection breaks and nothing is carried out.
    pub fn cut() -> Fault {
        Fault::new(Action::Cut)
    }

    /// Neither is anything carried out nor does an answer ever come.
    pub fn hang() -> Fault {
        Fault::new(Action::Hang)
    }

    /// Only for this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub fn verb(mut self, verb: &str) -> Fault {
        self.verb = Some(verb.into());
        self
    }

    /// Only for this resource: `pods`, `endpointslices`.
    pub fn resource(mut self, plural: &str) -> Fault {
        self.resource = Some(plural.into());
        self
    }

    /// Only for the object of this name.
    pub fn name(mut self, name: &str) -> Fault {
        self.name = Some(name.into());
        self
    }

    /// Only for clients whose user agent contains this.
    pub fn user_agent(mut self, part: &str) -> Fault {
        self.user_agent = Some(part.into());
        self
    }

    /// So many times; once unless said otherwise.
    pub fn times(mut self, times: u32) -> Fault {
        self.times = Some(times);
        self
    }

    /// Until [`Faults::clear`].
    pub fn always(mut self) -> Fault {
        self.times = None;
        self
    }

    fn fits(&self, request: &Request) -> bool {
        let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        fits(&self.verb, &request.verb)
            && fits(&self.resource, &request.resource)
            && fits(&self.name, &request.name)
            && self.user_agent.as_deref().is_none_or(|part| request.user_agent.contains(part))
    }
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Fault>>);

/// What is left to do for the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) refuse: Option<Failure>,
    pub(crate) delay: Duration,
    pub(crate) lose_response: bool,
    pub(crate) cut: bool,
    pub(crate) hang: bool,
}

impl Faults {
    /// Adds a fault. Faults that fit the same request come one after the other, except that delays add up.
    pub fn add(&self, fault: Fault) {
        self.0.lock().expect("never poisoned").push(fault);
    }

    /// Takes all of them back.
    pub fn clear(&self) {
        self.0.lock().expect("never poisoned").clear();
    }

    /// How many have not struck as often as they were to.
    pub fn left(&self) -> usize {
        self.0.lock().expect("never poisoned").len()
    }

    pub(crate) fn strike(&self, request: &Request) -> Verdict {
        let mut verdict = Verdict::default();
        let mut faults = self.0.lock().expect("never poisoned");
        let mut struck = false;
        for fault in faults.iter_mut().filter(|f| f.fits(request)) {
            match &fault.action {
                Action::Delay(delay) => verdict.delay += *delay,
                _ if struck => continue,
                Action::Refuse(failure) => (verdict.refuse, struck) = (Some(failure.clone()), true),
                Action::LoseResponse => (verdict.lose_response, struck) = (true, true),
                Action::Cut => (verdict.cut, struck) = (true, true),
                Action::Hang => (verdict.hang, struck) = (true, true),
            }
            fault.times = fault.times.map(|t| t.saturating_sub(1));
        }
        faults.retain(|f| f.times != Some(0));
        verdict
    }
}

/// What is asked of all open watches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watching {
    pub(crate) stalled: bool,
    /// Watches opened before this number of watches end so.
    pub(crate) ending: Option<(u64, Ending)>,
}

/// How an open watch ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection breaks.
    Cut,
    /// An `ERROR` event says that the version is too old.
    Expired,
}

impl Watching {
    pub(crate) fn ending_since(&self, number: u64) -> Option<Ending> {
        self.ending.filter(|(before, _)| number < *before).map(|(_, how)| how)
    }
}
