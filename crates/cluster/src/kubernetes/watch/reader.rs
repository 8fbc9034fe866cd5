//! One kind: listed, then watched, for as long as somebody listens.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::WatchOptions;
use super::arrival::{Arrival, Named};
use super::failure::Failure;
use super::pace::Pace;
use super::target::{Target, What};
use super::trouble::Trouble;
use super::wire::{self, Line, Lines, Page, Told};
use crate::manifest::Id;

/// A watch that ended sooner than this is not begun again at once.
const SHORT: Duration = Duration::from_secs(1);

/// What a reader says of its kind.
#[derive(Debug)]
pub(super) enum Heard {
    /// Everything there is follows.
    Listing,
    /// It is there, and so.
    Object(Box<Arrival>),
    /// It is gone.
    Gone(Id),
    /// The node's ranges are gone.
    RangesGone(String),
    /// That was everything: what was there before and was not said again is gone.
    Listed,
    /// The server has no such kind.
    Absent,
    /// It cannot be read just now.
    Trouble(Trouble),
    /// It can be read again.
    Well,
}

/// Where a reader stands in the history of its kind.
struct Place {
    version: String,
    /// The watch that is already under way from there.
    lines: Option<Lines>,
}

/// What went wrong, and where to go on.
struct Broken {
    verb: &'static str,
    failure: Failure,
    /// None if everything is to be listed anew.
    from: Option<String>,
}

/// Nobody listens any more.
struct Ended;

/// Why a step did not end well.
enum Stop {
    Broken(Broken),
    Ended,
}

impl From<Ended> for Stop {
    fn from(Ended: Ended) -> Self {
        Self::Ended
    }
}

/// Reads one kind.
pub(super) struct Reader {
    client: Client,
    what: What,
    /// One for each version it is read in.
    paths: Vec<String>,
    options: Arc<WatchOptions>,
    say: mpsc::Sender<(What, Heard)>,
    /// Which of the paths is asked.
    path: usize,
    /// Whether the server is taken to send lists as streams.
    streams: bool,
    pace: Pace,
    /// Since when there is a failure.
    since: Option<Timestamp>,
    /// Whether it was said.
    said: bool,
    random: RandomState,
    drawn: u64,
}

impl Reader {
    pub(super) fn new(
        client: Client,
        target: &Target,
        options: Arc<WatchOptions>,
        say: mpsc::Sender<(What, Heard)>,
    ) -> Self {
        Self {
            client,
            what: target.what,
            paths: target.what.paths(),
            options,
            say,
            path: 0,
            streams: true,
            pace: Pace::default(),
            since: None,
            said: false,
            random: RandomState::new(),
            drawn: 0,
        }
    }

    /// Reads until nobody listens, from the moment on that `after` is fulfilled.
    pub(super) async fn run(mut self, after: Option<oneshot::Receiver<()>>) {
        if let Some(after) = after
            && after.await.is_err()
        {
            return;
        }
        let mut place = None;
        loop {
            let done = match place.take() {
                None => self.list().await,
                Some(place) => self.follow(place).await,
            };
            let broken = match done {
                Ok(next) => {
                    place = Some(next);
                    continue;
                }
                Err(Stop::Ended) => return,
                Err(Stop::Broken(broken)) => broken,
            };
            match self.recover(broken).await {
                Ok(from) => place = from.map(|version| Place { version, lines: None }),
                Err(Ended) => return,
            }
        }
    }

    /// Waits as long as a failure calls for. Returns where to go on.
    async fn recover(&mut self, Broken { verb, failure, from }: Broken) -> Result<Option<String>, Ended> {
        if failure.absent() && from.is_none() {
            return self.miss().await;
        }
        let wait = self.pace.failed(&failure, &self.options);
        let since = *self.since.get_or_insert_with(Timestamp::now);
        // What passes by itself is not worth a word.
        let word = self.pace.failures() > 2 || failure.lasting();
        if word && !failure.expired() && !std::mem::replace(&mut self.said, true) {
            tracing::debug!(what = %self.what.plural(), verb, ?failure, "cannot be read");
            self.tell(Heard::Trouble(Trouble { verb, failure: failure.clone(), since })).await?;
        }
        let wait = self.jitter(wait).max(failure.retry_after().unwrap_or_default());
        sleep(wait).await;
        // From a place that is gone, or of a kind that is, there is no going on.
        Ok(from.filter(|_| !failure.expired() && !failure.absent()))
    }

    /// Says that there is no such kind, once every version was asked for, and waits.
    async fn miss(&mut self) -> Result<Option<String>, Ended> {
        self.path += 1;
        if self.path == self.paths.len() {
            self.path = 0;
            self.well().await?;
            self.tell(Heard::Absent).await?;
            let wait = self.jitter(self.options.absent);
            sleep(wait).await;
        }
        Ok(None)
    }

    /// At least two thirds of it, at random: so that not everybody comes at once.
    fn jitter(&mut self, wait: Duration) -> Duration {
        self.drawn += 1;
        let draw = self.random.hash_one(self.drawn) % 1024;
        wait.mul_f64((2.0 + draw as f64 / 1024.0) / 3.0)
    }

    async fn tell(&self, heard: Heard) -> Result<(), Ended> {
        self.say.send((self.what, heard)).await.map_err(|_| Ended)
    }

    async fn well(&mut self) -> Result<(), Ended> {
        (self.pace, self.since) = (Pace::default(), None);
        if std::mem::take(&mut self.said) { self.tell(Heard::Well).await } else { Ok(()) }
    }

    async fn arrived(&self, object: &serde_json::value::RawValue, verb: &'static str) -> Result<(), Stop> {
        let arrival = Arrival::read(self.what, object).map_err(|error| unreadable(verb, error))?;
        Ok(self.tell(Heard::Object(Box::new(arrival))).await?)
    }

    /// Says everything there is.
    async fn list(&mut self) -> Result<Place, Stop> {
        if self.streams {
            match self.stream().await {
                Err(Stop::Broken(broken)) if broken.failure.misunderstood() => self.streams = false,
                Err(Stop::Broken(broken)) if broken.failure == Failure::Unreadable(NO_END.into()) => {
                    self.streams = false;
                }
                // Over an etcd before 3.4.31 or 3.5.13 it is an error of the server's; if pages come, it was that.
                Err(Stop::Broken(broken)) if broken.failure.faulty() => {
                    let listed = self.pages().await?;
                    self.streams = false;
                    return Ok(listed);
                }
                done => return done,
            }
        }
        self.pages().await
    }

    /// As one watch that begins with everything.
    async fn stream(&mut self) -> Result<Place, Stop> {
        let broken = |failure| Stop::Broken(Broken { verb: "watch", failure, from: None });
        let renewal = self.jitter(self.options.renewal);
        let asked = wire::watch(&self.client, &self.paths[self.path], None, renewal);
        let mut lines =
            timeout(self.options.slow, asked).await.map_err(|_| broken(late()))?.map_err(broken)?;
        self.tell(Heard::Listing).await?;
        loop {
            let line = timeout(self.options.slow, lines.next()).await;
            // A server that does not know how never says that this was all.
            let line = line.map_err(|_| broken(Failure::Unreadable(NO_END.into())))?.map_err(broken)?;
            let line = line.ok_or_else(|| broken(Failure::Unreachable("the list broke off".into())))?;
            let line: Line<'_> = serde_json::from_slice(line).map_err(|error| unreadable("watch", error))?;
            match line.what {
                Told::Added | Told::Modified => self.arrived(line.object, "watch").await?,
                Told::Deleted => {}
                Told::Error => return Err(broken(refused(line.object))),
                Told::Bookmark => {
                    let mark: Mark =
                        serde_json::from_str(line.object.get()).map_err(|e| unreadable("watch", e))?;
                    if mark.metadata.annotations.ends {
                        let version = mark.metadata.resource_version;
                        self.tell(Heard::Listed).await?;
                        return Ok(Place { version, lines: Some(lines) });
                    }
                }
            }
        }
    }

    /// Page by page.
    async fn pages(&mut self) -> Result<Place, Stop> {
        let broken = |failure| Stop::Broken(Broken { verb: "list", failure, from: None });
        let mut next = String::new();
        let mut first = true;
        loop {
            let asked = wire::page(&self.client, &self.paths[self.path], self.options.page, &next);
            let text =
                timeout(self.options.slow, asked).await.map_err(|_| broken(late()))?.map_err(broken)?;
            let page: Page<'_> = serde_json::from_slice(&text).map_err(|error| unreadable("list", error))?;
            if std::mem::take(&mut first) {
                self.tell(Heard::Listing).await?;
            }
            for object in page.items.into_iter().flatten() {
                self.arrived(object, "list").await?;
            }
            if page.metadata.next.is_empty() {
                self.tell(Heard::Listed).await?;
                return Ok(Place { version: page.metadata.resource_version, lines: None });
            }
            next = page.metadata.next;
        }
    }

    /// Says what changes, until the watch is over. Returns where to go on.
    async fn follow(&mut self, Place { mut version, lines }: Place) -> Result<Place, Stop> {
        let began = Instant::now();
        let mut lines = match lines {
            Some(lines) => lines,
            None => {
                let renewal = self.jitter(self.options.renewal);
                let asked = wire::watch(&self.client, &self.paths[self.path], Some(&version), renewal);
                let lines = timeout(self.options.slow, asked).await.unwrap_or_else(|_| Err(late()));
                lines.map_err(|failure| broken(failure, &version))?
            }
        };
        // A watch that is refused in its first line is none.
        let mut proven = false;
        loop {
            let patience = if proven { self.options.quiet } else { SHORT.min(self.options.quiet) };
            let line = match timeout(patience, lines.next()).await {
                Err(_) if !proven => {
                    proven = true;
                    self.well().await?;
                    continue;
                }
                // Bookmarks should have come: whoever is there does not listen any more.
                Err(_) => {
                    tracing::debug!(what = %self.what.plural(), "a watch is silent; beginning another");
                    return Ok(Place { version, lines: None });
                }
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => break,
                Ok(Err(failure)) => return Err(broken(failure, &version)),
            };
            let line: Line<'_> = match serde_json::from_slice(line) {
                Ok(line) => line,
                // The last one, broken off.
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(unreadable("watch", error)),
            };
            if line.what != Told::Error && !std::mem::replace(&mut proven, true) {
                self.well().await?;
            }
            version = match line.what {
                Told::Error => return Err(broken(refused(line.object), &version)),
                Told::Bookmark => {
                    let mark: Mark =
                        serde_json::from_str(line.object.get()).map_err(|e| unreadable("watch", e))?;
                    mark.metadata.resource_version
                }
                Told::Added | Told::Modified | Told::Deleted => {
                    let named = Named::read(line.object).map_err(|error| unreadable("watch", error))?;
                    let at = named.metadata.resource_version.clone();
                    match (line.what, self.what) {
                        (Told::Deleted, What::Object(kind)) => self.tell(Heard::Gone(named.id(kind))).await?,
                        (Told::Deleted, What::Ranges) => self.tell(Heard::RangesGone(named.node())).await?,
                        _ => self.arrived(line.object, "watch").await?,
                    }
                    at
                }
            };
        }
        if began.elapsed() < SHORT {
            let wait = self.jitter(self.options.retry.min(SHORT));
            sleep(wait).await;
        }
        Ok(Place { version, lines: None })
    }
}

const NO_END: &str = "the list did not end";

fn late() -> Failure {
    Failure::Unreachable("no answer in time".into())
}

fn broken(failure: Failure, version: &str) -> Stop {
    Stop::Broken(Broken { verb: "watch", failure, from: Some(version.to_string()) })
}

/// What was said is no object: where it stood is not known, so everything is listed anew.
fn unreadable(verb: &'static str, error: serde_json::Error) -> Stop {
    Stop::Broken(Broken { verb, failure: Failure::Unreadable(error.to_string()), from: None })
}

/// The failure that a watch tells of.
fn refused(status: &serde_json::value::RawValue) -> Failure {
    match serde_json::from_str::<kube::core::Status>(status.get()) {
        Ok(status) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Failure::Refused {
                code: status.code,
                message: status.message,
                retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
            }
        }
        Err(error) => Failure::Unreadable(error.to_string()),
    }
}

/// How far a watch is, without any change.
#[derive(Deserialize)]
struct Mark {
    metadata: MarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarkMeta {
    resource_version: String,
    #[serde(default)]
    annotations: MarkAnnotations,
}

#[derive(Default, Deserialize)]
struct MarkAnnotations {
    #[serde(default, rename = "k8s.io/initial-events-end", deserialize_with = "is_true")]
    ends: bool,
}

fn is_true<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)? == "true")
}
