//! Watches: one stream of JSON lines each, fed from the store's log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::Stream;
use hyper::body::{Bytes, Frame};
use serde_json::json;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::faults::{Ending, Watching};
use crate::kind::Kind;
use crate::list::invalid_options;
use crate::object::Object;
use crate::query::Query;
use crate::select::Selector;
use crate::server::Shared;
use crate::store::{Change, Store, What};

/// An open watch.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    prefix: String,
    selector: Selector,
    /// Everything up to this version has been said.
    version: u64,
    bookmarks: bool,
    /// The version of the last bookmark, or where the watch began.
    announced: u64,
    ends: Instant,
    next_bookmark: Instant,
    /// Lines that wait to be sent.
    first: Option<Bytes>,
    changed: watch::Receiver<u64>,
    control: watch::Receiver<Watching>,
    over: bool,
    open: Open,
}

/// Counts as an open watch for as long as it lives.
struct Open(Arc<Shared>, u64);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.watches.lock().expect("never poisoned").remove(&self.1);
    }
}

/// Begins a watch.
pub(crate) fn open(
    shared: &Arc<Shared>,
    store: &Store,
    kind: Arc<Kind>,
    namespace: &str,
    query: &Query,
    who: &str,
) -> Result<Watch, Failure> {
    let selector = Selector::parse(&kind, query.text("labelSelector"), query.text("fieldSelector"))?;
    let bookmarks = query.is_true("allowWatchBookmarks");
    let streams = streaming_list(shared, query)?;
    let asked = query.version("resourceVersion")?;
    let table = store.table(&kind.resource())?;
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let everything = streams || asked.is_none_or(|v| v == 0);
    let mut first = Vec::new();
    let mut over = false;
    if everything {
        let objects = table.from(&prefix);
        for object in objects.take_while(|o| o.key.starts_with(&prefix)).filter(|o| selector.matches(o)) {
            line(&mut first, "ADDED", &kind, &object.json);
        }
        if streams && bookmarks {
            bookmark(&mut first, &kind, store.version, true);
        }
    } else if let Some(version) = asked.filter(|v| *v < table.oldest) {
        let why = format!("too old resource version: {version} ({})", table.oldest);
        failure(&mut first, &Failure::expired(why));
        over = true;
    }
    let now = Instant::now();
    let timeout = query.number("timeoutSeconds")?.filter(|s| *s > 0).unwrap_or(1_800);
    let ends = now + Duration::from_secs(timeout);
    let number = shared.opened.fetch_add(1, Ordering::Relaxed);
    shared.watches.lock().expect("never poisoned").insert(number, (kind.plural.clone(), who.to_string()));
    let version = if everything { store.version } else { asked.unwrap_or(store.version) };
    Ok(Watch {
        kind,
        prefix,
        selector,
        version,
        announced: version,
        bookmarks,
        ends,
        next_bookmark: next_bookmark(now, ends, shared.bookmarks),
        first: (!first.is_empty()).then(|| first.into()),
        changed: store.changed.subscribe(),
        control: shared.watching.subscribe(),
        over,
        open: Open(shared.clone(), number),
        shared: shared.clone(),
    })
}

/// Whether the watch is to begin with a list; refused where the server does not stream lists.
fn streaming_list(shared: &Shared, query: &Query) -> Result<bool, Failure> {
    if query.text("sendInitialEvents").is_empty() {
        if query.text("resourceVersionMatch").is_empty() {
            return Ok(false);
        }
        let why =
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", why));
    }
    if query.text("resourceVersionMatch") != "NotOlderThan" {
        let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", why));
    }
    if !shared.streaming_lists {
        let why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(invalid_options("sendInitialEvents", "FieldValueForbidden", why));
    }
    Ok(query.is_true("sendInitialEvents"))
}

/// At the usual interval, and as the real server does two seconds before the end, if that is sooner.
fn next_bookmark(now: Instant, ends: Instant, interval: Duration) -> Instant {
    let regular = now + interval;
    match ends.checked_sub(Duration::from_secs(2)) {
        Some(last) if last > now => regular.min(last),
        _ => regular,
    }
}

impl Watch {
    /// The body of the response.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let lines = watch.next().await?;
            Some((lines.map(Frame::data), watch))
        })
    }

    /// What is to be sent next; the end is `None`, a broken connection an error.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            let asked = *self.control.borrow_and_update();
            if self.over {
                return None;
            }
            match asked.ending_since(self.open.1) {
                Some(Ending::Cut) => {
                    self.over = true;
                    return Some(Err(io::Error::other("the connection is cut, as a fault asked for")));
                }
                Some(Ending::Expired) => {
                    self.over = true;
                    let mut lines = Vec::new();
                    let why = "The resourceVersion for the provided watch is too old.";
                    failure(&mut lines, &Failure::expired(why));
                    return Some(Ok(lines.into()));
                }
                None => {}
            }
            self.changed.borrow_and_update();
            if !asked.stalled {
                let lines = self.news();
                if !lines.is_empty() {
                    return Some(Ok(lines.into()));
                }
            }
            let now = Instant::now();
            if now >= self.ends {
                return None;
            }
            if now >= self.next_bookmark {
                self.next_bookmark = next_bookmark(now, self.ends, self.shared.bookmarks);
                if self.bookmarks && !asked.stalled && self.newest() > self.announced {
                    self.announced = self.newest();
                    let mut lines = Vec::new();
                    bookmark(&mut lines, &self.kind, self.announced, false);
                    return Some(Ok(lines.into()));
                }
            }
            let until = self.ends.min(self.next_bookmark);
            tokio::select! {
                _ = tokio::time::sleep_until(until.into()) => {}
                _ = self.changed.changed() => {}
                _ = self.control.changed() => {}
            }
        }
    }

    /// The version of the last change of any object of the kind: as far as a bookmark goes.
    fn newest(&self) -> u64 {
        let store = self.shared.store.lock().expect("never poisoned");
        let table = store.table(&self.kind.resource());
        table.ok().and_then(|t| t.log.back()).map_or(0, |change| change.object.version)
    }

    /// What has happened since.
    fn news(&mut self) -> Vec<u8> {
        let shared = self.shared.clone();
        let store = shared.store.lock().expect("never poisoned");
        let mut lines = Vec::new();
        let Ok(table) = store.table(&self.kind.resource()) else {
            self.over = true;
            return lines;
        };
        if self.version < table.oldest {
            let why = format!("too old resource version: {} ({})", self.version, table.oldest);
            failure(&mut lines, &Failure::expired(why));
            self.over = true;
            return lines;
        }
        let from = table.log.partition_point(|c| c.object.version <= self.version);
        for change in table.log.range(from..) {
            if change.object.key.starts_with(&self.prefix) {
                self.tell(&mut lines, change);
            }
        }
        self.version = self.version.max(store.version);
        lines
    }

    /// An object that no longer matches the selector is gone for this watcher; one that does now, is new.
    fn tell(&self, lines: &mut Vec<u8>, change: &Change) {
        let matched = change.previous.as_ref().is_some_and(|p| self.selector.matches(p));
        let matches = change.what != What::Deleted && self.selector.matches(&change.object);
        match (matched, matches) {
            (false, false) => {}
            (false, true) => line(lines, "ADDED", &self.kind, &change.object.json),
            (true, true) => line(lines, "MODIFIED", &self.kind, &change.object.json),
            (true, false) if change.what == What::Deleted => {
                line(lines, "DELETED", &self.kind, &change.object.json);
            }
            (true, false) => {
                let was = change.previous.as_ref().expect("it matched");
                let last = Object::new(&self.kind, was.value(), change.object.version);
                line(lines, "DELETED", &self.kind, &last.json);
            }
        }
    }
}

fn line(lines: &mut Vec<u8>, what: &str, kind: &Kind, json: &[u8]) {
    lines.extend_from_slice(format!("{{\"type\":\"{what}\",\"object\":{}", kind.head()).as_bytes());
    lines.extend_from_slice(&json[1..]);
    lines.extend_from_slice(b"}\n");
}

fn bookmark(lines: &mut Vec<u8>, kind: &Kind, version: u64, initial: bool) {
    let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
    if initial {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    line(lines, "BOOKMARK", kind, json!({ "metadata": metadata }).to_string().as_bytes());
}

fn failure(lines: &mut Vec<u8>, failure: &Failure) {
    let event = json!({ "type": "ERROR", "object": failure.status() });
    lines.extend_from_slice(event.to_string().as_bytes());
    lines.push(b'\n');
}
