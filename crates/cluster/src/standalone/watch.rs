//! The watching of a folder: inotify says which file, the source says what changed.
//!
//! It is a thread of its own: reading files would hold up whatever shares a thread with it, and a descriptor can be
//! waited for there without the promises that tokio's `AsyncFd` asks of its users in `unsafe`.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use model::Cluster;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use super::folder::Folder;
use super::source::{Said, Source};
use crate::Event;
use crate::index::Unsaid;

/// How many events may wait to be taken. A slow consumer makes the watch wait, not the memory grow.
const QUEUE: usize = 64;
/// How often a folder that has gone is looked for, in milliseconds.
const GONE: u16 = 1000;

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watching the folder {}: {doing}: {source}; {}", dir.display(), advice(source))]
pub struct WatchError {
    dir: PathBuf,
    doing: &'static str,
    source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc) if libc == Errno::ENOSPC as i32 => "raise the sysctl fs.inotify.max_user_watches",
        Some(libc) if libc == Errno::EMFILE as i32 => "raise the sysctl fs.inotify.max_user_instances",
        _ => "check that the folder exists and may be read",
    }
}

/// What a watched folder says. Dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Event>,
    /// The other end sees it close.
    _stop: UnixStream,
}

impl Watch {
    /// The next event. Nothing only if the watching thread is no more.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }
}

/// Watches a folder of manifests as the objects of `cluster`, whose backends stand so to each other where a service does
/// not say.
///
/// A file counts from the moment it is closed or moved into place. One with a mistake in it is a [`Event::Problem`],
/// once for each time it is changed, and what it said before stays in force; the other files do not notice. A change
/// costs what its file costs, however many there are.
pub fn watch(dir: &Path, cluster: &Cluster, unsaid: Unsaid) -> Result<Watch, WatchError> {
    let failed = |doing| move |error: io::Error| WatchError { dir: dir.to_path_buf(), doing, source: error };
    let notices = Notices::new(dir).map_err(failed("asking for notices"))?;
    std::fs::read_dir(dir).map_err(failed("reading it"))?;
    let (stop, stopped) = UnixStream::pair().map_err(failed("preparing the end of it"))?;
    let (sender, events) = mpsc::channel(QUEUE);
    let source = Source::new(Folder::new(dir.to_path_buf()), cluster.clone(), unsaid);
    let watcher = Watcher { dir: dir.to_path_buf(), source, sender, stopped };
    let thread = std::thread::Builder::new().name("manifests".into());
    // Ends when nobody listens any more; there is nobody to tell.
    thread.spawn(move || drop(watcher.run(notices))).map_err(failed("starting its thread"))?;
    Ok(Watch { events, _stop: stop })
}

struct Watcher {
    dir: PathBuf,
    source: Source,
    sender: mpsc::Sender<Event>,
    /// Readable once nobody listens any more.
    stopped: UnixStream,
}

/// The consumer is gone.
struct Ended;

impl Watcher {
    fn run(mut self, mut notices: Notices) -> Result<(), Ended> {
        let said = self.source.load();
        self.say_all(said)?;
        self.send(Event::Synced)?;
        loop {
            self.wait(Some(notices.inotify.as_fd()), PollTimeout::NONE)?;
            match notices.take() {
                Ok(Notice::Files(names)) => {
                    let said = self.source.reread(names);
                    self.say(said)?;
                    continue;
                }
                Ok(Notice::Anything) => {}
                Ok(Notice::Gone) => {
                    let dir = self.dir.display();
                    let gone =
                        format!("the folder {dir} is gone; what it said stays in force until it is back");
                    self.send(Event::Problem(gone))?;
                    notices = self.find_folder()?;
                }
                Err(error) => {
                    self.send(Event::Problem(format!("watching {}: {error}", self.dir.display())))?;
                    notices = self.find_folder()?;
                }
            }
            let said = self.source.rescan();
            self.say_all(said)?;
        }
    }

    /// Waits until there is something to read, or the time is over.
    fn wait(&self, notices: Option<BorrowedFd<'_>>, timeout: PollTimeout) -> Result<(), Ended> {
        let stopped = self.stopped.as_fd();
        let mut polled = [stopped, notices.unwrap_or(stopped)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => unreachable!("two descriptors that we own cannot be polled: {error}"),
        }
        if polled[0].any().unwrap_or(false) { Err(Ended) } else { Ok(()) }
    }

    /// Comes back with the folder.
    fn find_folder(&self) -> Result<Notices, Ended> {
        loop {
            self.wait(None, GONE.into())?;
            if let Ok(notices) = Notices::new(&self.dir) {
                return Ok(notices);
            }
        }
    }

    fn say_all(&self, said: io::Result<Said>) -> Result<(), Ended> {
        match said {
            Ok(said) => self.say(said),
            Err(error) => {
                self.send(Event::Problem(format!("reading the folder {}: {error}", self.dir.display())))
            }
        }
    }

    fn say(&self, said: Said) -> Result<(), Ended> {
        for problem in said.problems {
            tracing::warn!(problem, "a manifest is not in force");
            self.send(Event::Problem(problem))?;
        }
        if !said.changes.is_empty() {
            self.send(Event::Changes(said.changes))?;
        }
        if !said.facts.is_empty() {
            self.send(Event::Facts(said.facts))?;
        }
        for (id, complaints) in said.complaints {
            self.send(Event::Object { id, complaints })?;
        }
        said.notes.map_or(Ok(()), |notes| self.send(Event::Notes(notes)))
    }

    fn send(&self, event: Event) -> Result<(), Ended> {
        self.sender.blocking_send(event).map_err(|_| Ended)
    }
}

/// What happened in the folder.
enum Notice {
    /// Something to these files, or nothing that matters.
    Files(BTreeSet<String>),
    /// The kernel lost count, or a whole set of files was swapped behind a link.
    Anything,
    /// The folder itself was moved or removed.
    Gone,
}

/// The kernel's notices about one folder.
struct Notices {
    inotify: Inotify,
    dir: PathBuf,
}

impl Notices {
    fn new(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // Not IN_MODIFY: a file that is being written is not read before its writer has closed it.
        let wanted = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(dir, wanted)?;
        Ok(Self { inotify, dir: dir.to_path_buf() })
    }

    /// Takes the notices that there are.
    fn take(&self) -> io::Result<Notice> {
        const GONE: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
            .union(AddWatchFlags::IN_MOVE_SELF)
            .union(AddWatchFlags::IN_UNMOUNT)
            .union(AddWatchFlags::IN_IGNORED);
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut names = BTreeSet::new();
        for event in events {
            if event.mask.intersects(GONE) {
                return Ok(Notice::Gone);
            }
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                return Ok(Notice::Anything);
            }
            let Some(name) = event.name.and_then(|name| name.into_string().ok()) else { continue };
            // How Kubernetes swaps a mounted ConfigMap: files are links through this one.
            if name == "..data" {
                return Ok(Notice::Anything);
            }
            let created = event.mask.contains(AddWatchFlags::IN_CREATE);
            if Folder::counts(&name) && (!created || self.is_whole(&name)) {
                names.insert(name);
            }
        }
        Ok(Notice::Files(names))
    }

    /// Whether a file that has just appeared is complete already: a link is, what is opened for writing is not.
    fn is_whole(&self, name: &str) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::symlink_metadata(self.dir.join(name)).is_ok_and(|meta| meta.is_symlink() || meta.nlink() > 1)
    }
}

#[cfg(test)]
mod tests;
