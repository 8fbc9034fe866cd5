//! Who leads: one controller of a cluster writes to the API server, the others stand by.
//!
//! The Lease is watched, not asked for; only its holder writes to it. Nobody's clock is compared with anybody's: a candidate
//! counts, by its own monotonic clock, how long the Lease has not changed. A leader counts from when it *sent* its last
//! renewal, so its time is up before anybody else's begins; [`Fence`] ends what it is writing by then.

mod elector;

use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use super::retry::Steps;
use super::write::{Remedy, answered, now, ours};
use super::{Error, FIELD_MANAGER};
use elector::{Ask, Elector, Seen};

pub use elector::Timing;

/// How long one request about the Lease may take: two fit into the time that is left after a renewal was due.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an election is about.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The Lease's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How this candidate signs: no other may sign so, nor may this one's next life.
    pub identity: String,
    /// How long the Lease lasts.
    pub timing: Timing,
}

/// What this candidate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It stands by.
    Standby {
        /// Who leads, by its identity; none when nobody is known to.
        leader: Option<String>,
    },
}

/// Whether the API server answers, as the election sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// Nothing was heard yet.
    Unknown,
    /// It answers.
    Answers {
        /// Since when.
        since: Instant,
    },
    /// It does not.
    Away {
        /// Since when.
        since: Instant,
        /// What happens instead.
        why: String,
    },
}

/// A running candidacy. It ends when this is dropped, as if the process had died: the Lease runs out.
#[derive(Debug)]
pub struct Election {
    role: watch::Receiver<Role>,
    contact: watch::Receiver<Contact>,
    fence: Fence,
    resign: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Stands for an election. Needs a tokio runtime with time.
pub fn elect(client: Client, options: LeaseOptions) -> Election {
    let (role, role_seen) = watch::channel(Role::Standby { leader: None });
    let (contact, contact_seen) = watch::channel(Contact::Unknown);
    let (until, until_seen) = watch::channel(None);
    let (resign, resigned) = oneshot::channel();
    let api = Api::namespaced(client, &options.namespace);
    let candidate = Candidate { api, options, started: Instant::now(), role, contact, until };
    let task = tokio::spawn(candidate.run(resigned));
    let fence = Fence { until: until_seen };
    Election { role: role_seen, contact: contact_seen, fence, resign: Some(resign), task }
}

impl Election {
    /// What this candidate is, and each time that changes.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Whether the API server answers.
    pub fn contact(&self) -> watch::Receiver<Contact> {
        self.contact.clone()
    }

    /// What keeps writes inside the time of this leadership.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Ends the candidacy. A leader gives the Lease back, so that the next one need not wait for it to run out.
    pub async fn resign(mut self) {
        if let Some(resign) = self.resign.take() {
            let _ = resign.send(());
        }
        // It ends by itself, in the time of one request.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets a leader write while it leads.
#[derive(Debug, Clone)]
pub struct Fence {
    until: watch::Receiver<Option<Instant>>,
}

impl Fence {
    /// Whether we lead now.
    pub fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until we lead. Ends with the election too.
    pub async fn held(&self) {
        let mut until = self.until.clone();
        while !until.borrow_and_update().is_some_and(|end| Instant::now() < end) {
            if until.changed().await.is_err() {
                return;
            }
        }
    }

    /// Does something that only a leader may; gives it up when the leadership ends. None if it was not done, or not
    /// known to be.
    pub async fn keep<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut until = self.until.clone();
        let over = async {
            loop {
                let Some(end) = *until.borrow_and_update() else { return };
                tokio::select! {
                    () = tokio::time::sleep_until(end) => return,
                    changed = until.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::select! {
            biased;
            () = over => None,
            done = work => Some(done),
        }
    }
}

struct Candidate {
    api: Api<Lease>,
    options: LeaseOptions,
    started: Instant,
    role: watch::Sender<Role>,
    contact: watch::Sender<Contact>,
    until: watch::Sender<Option<Instant>>,
}

/// What came of a request.
enum Answer {
    Held(Result<Lease, Error>, Duration),
    Looked(Result<Option<Lease>, Error>),
}

impl Candidate {
    async fn run(self, mut resigned: oneshot::Receiver<()>) {
        let mut elector = Elector::new(self.options.identity.clone(), self.options.timing);
        let mut watched = pin!(self.watch());
        let mut request: OptionFuture<BoxFuture<'_, Answer>> = None.into();
        let mut listed = None;
        loop {
            if let Some(ask) = elector.poll(self.now()) {
                request = Some(self.ask(ask).boxed()).into();
            }
            self.tell(&elector);
            let wake = elector.leads_until().map_or(elector.deadline(), |end| end.min(elector.deadline()));
            tokio::select! {
                event = watched.next() => match event {
                    Some(Ok(event)) => {
                        self.heard(None);
                        self.take(event, &mut listed, &mut elector);
                    }
                    Some(Err(error)) => self.heard(Some(error.to_string())),
                    None => return,
                },
                Some(answer) = &mut request => {
                    request = None.into();
                    self.take_answer(answer, &mut elector);
                }
                () = self.at(wake) => {}
                _ = &mut resigned => break,
            }
        }
        drop(request);
        self.until.send_replace(None);
        if elector.leads_until().is_some() {
            self.release(&elector).await;
        }
    }

    /// The Lease, and every change of it.
    fn watch(&self) -> impl Stream<Item = watcher::Result<watcher::Event<Lease>>> + use<> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.options.name));
        // Quick: while it is not watched it is not known who leads.
        let backoff = Steps::new(Duration::from_millis(200), Duration::from_secs(2));
        watcher::watcher(self.api.clone(), config).backoff(backoff)
    }

    fn take(&self, event: watcher::Event<Lease>, listed: &mut Option<Lease>, elector: &mut Elector) {
        match event {
            watcher::Event::Init => *listed = None,
            watcher::Event::InitApply(lease) => *listed = Some(lease),
            watcher::Event::InitDone => elector.handle_seen(listed.take().map(|l| seen(&l)), self.now()),
            watcher::Event::Apply(lease) => elector.handle_seen(Some(seen(&lease)), self.now()),
            watcher::Event::Delete(_) => elector.handle_seen(None, self.now()),
        }
    }

    async fn ask(&self, ask: Ask) -> Answer {
        let name = &self.options.name;
        let sent = self.now();
        match ask {
            Ask::Create => {
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.spec(0)) };
                let params =
                    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
                let created = self.api.create(&params, &lease);
                Answer::Held(answered(|| format!("create leases/{name}"), PATIENCE, created).await, sent)
            }
            Ask::Hold { version, transitions } => {
                let held = self.write(&version, Some(transitions));
                Answer::Held(held.await, sent)
            }
            Ask::Look => {
                let lease = self.api.get_opt(name);
                Answer::Looked(answered(|| format!("get leases/{name}"), PATIENCE, lease).await)
            }
        }
    }

    /// Writes the Lease, if it is still of this version: held by us, or by nobody.
    async fn write(&self, version: &str, held: Option<i32>) -> Result<Lease, Error> {
        let name = &self.options.name;
        // An empty holder, since a field that is left out would stay: whoever created the Lease has it too.
        let given_back = LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() };
        let spec = held.map_or(given_back, |transitions| self.spec(transitions));
        let fields = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": name, "resourceVersion": version },
            "spec": spec,
        });
        let (ours, fields) = (ours(), Patch::Apply(fields));
        let patched = self.api.patch(name, &ours, &fields);
        answered(|| format!("patch leases/{name}"), PATIENCE, patched).await
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.timing.duration.as_secs().max(1)).ok(),
            lease_transitions: Some(transitions),
            // For people; no candidate looks at it.
            renew_time: Some(MicroTime(now())),
            ..LeaseSpec::default()
        }
    }

    fn take_answer(&self, answer: Answer, elector: &mut Elector) {
        let now = self.now();
        match answer {
            Answer::Held(Ok(lease), sent) => {
                self.heard(None);
                elector.handle_held(seen(&lease), sent, now);
            }
            Answer::Looked(Ok(lease)) => {
                self.heard(None);
                elector.handle_looked(lease.as_ref().map(seen), now);
            }
            Answer::Held(Err(error), _) | Answer::Looked(Err(error)) => {
                let remedy = error.remedy();
                self.heard((remedy != Remedy::Look).then(|| error.to_string()));
                elector.handle_failure(matches!(remedy, Remedy::Look | Remedy::Gone), now);
            }
        }
    }

    async fn release(&self, elector: &Elector) {
        let Some(version) = elector.version() else { return };
        if let Err(error) = self.write(version, None).await {
            info!(%error, "the lease was not given back; it runs out by itself");
        }
    }

    /// Says what has changed.
    fn tell(&self, elector: &Elector) {
        let until = elector.leads_until().map(|end| self.started + end);
        self.until.send_if_modified(|before| std::mem::replace(before, until) != until);
        let role = match until {
            Some(_) => Role::Leader,
            None => Role::Standby {
                leader: elector.leader().filter(|leader| *leader != self.options.identity).map(Into::into),
            },
        };
        self.role.send_if_modified(|before| {
            let changed = *before != role;
            if changed {
                info!(?role, "election");
            }
            *before = role;
            changed
        });
    }

    /// Notes that the API server answered, or what happened instead.
    fn heard(&self, trouble: Option<String>) {
        let now = Instant::now();
        self.contact.send_if_modified(|contact| match (&contact, trouble) {
            (Contact::Answers { .. }, None) => false,
            (_, None) => {
                *contact = Contact::Answers { since: now };
                true
            }
            (Contact::Away { .. }, Some(_)) => false,
            (_, Some(why)) => {
                *contact = Contact::Away { since: now, why };
                true
            }
        });
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn at(&self, time: Duration) {
        match self.started.checked_add(time) {
            Some(time) => tokio::time::sleep_until(time).await,
            None => std::future::pending().await,
        }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Seen {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A holder whose clock is a day ahead, behind, or as ours, is seen alike: an election cannot be won by a clock.
    #[test]
    fn clocks_that_differ_change_nothing() {
        let lease = |renewed: &str| -> Lease {
            serde_json::from_value(json!({
                "metadata": {"name": "causeway", "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z"},
                "spec": {
                    "holderIdentity": "other", "leaseDurationSeconds": 4, "leaseTransitions": 1,
                    "renewTime": renewed, "acquireTime": renewed
                }
            }))
            .unwrap()
        };
        let times =
            ["2026-11-29T12:00:00.000000Z", "2026-11-28T12:00:00.000000Z", "2026-11-30T12:00:00.000000Z"];
        let [ours, behind, ahead] = times.map(|renewed| seen(&lease(renewed)));
        assert_eq!(ours.holder.as_deref(), Some("other"));
        assert_eq!([&behind, &ahead], [&ours; 2]);
    }
}
