//! The telling half of a stream, the same towards agents and towards other clusters.
//!
//! One task writes to a stream. What others have to say on it lies on its [`Desk`] until there is room: whoever hears
//! must never wait for room to speak, or two sides that both do would wait for each other.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use engine::exchange::{Ask, Audience, Cursor, Teller, Told, Want};
use model::{ClusterName, NodeName};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use wire::{limits, pb};

use crate::error::ProtocolError;
use crate::frames;

/// Frames waiting to be sent on a stream. Few: what a slow receiver has not taken is not yet chosen.
pub(crate) const OUTBOX: usize = 4;
/// How often the other side is asked whether it is there, where it knows to answer.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// So many beats, and a receiver that nothing was told to is told where it stands.
const BEATS: u32 = 6;

/// The sending end of a stream: a server sends results, a client plain frames.
pub(crate) struct Outbox<T> {
    sender: mpsc::Sender<T>,
    wrap: fn(pb::Frame) -> T,
}

impl<T> Outbox<T> {
    pub(crate) fn new(sender: mpsc::Sender<T>, wrap: fn(pb::Frame) -> T) -> Self {
        Self { sender, wrap }
    }

    /// Waits until the frame can be sent. Returns whether anybody still listens.
    pub(crate) async fn send(&self, frame: pb::Frame) -> bool {
        self.sender.send((self.wrap)(frame)).await.is_ok()
    }
}

/// What is to be said on a stream.
pub(crate) struct Desk {
    began: Instant,
    /// The node whose agent is at the other side; none for another cluster.
    agent: Option<NodeName>,
    slips: Mutex<Slips>,
    bell: Notify,
}

#[derive(Default)]
struct Slips {
    /// What the other side asked for last, and how far it has been told.
    cursor: Option<Cursor>,
    /// What this side has to say for itself: no more than what happens here.
    own: VecDeque<pb::Frame>,
    /// The last question of the other side that has no answer yet.
    pong: Option<u64>,
    /// Whether the other side answers questions.
    beats: bool,
}

impl Desk {
    /// The desk of a stream that begins now.
    pub(crate) fn new(agent: Option<NodeName>) -> Self {
        Self { began: Instant::now(), agent, slips: Mutex::default(), bell: Notify::new() }
    }

    /// The clusters whose pods the other side wants.
    pub(crate) fn pods(&self) -> BTreeSet<ClusterName> {
        self.slips().cursor.iter().flat_map(Cursor::pods).cloned().collect()
    }

    /// The round trip of a question that was asked on this stream, by its answer.
    pub(crate) fn round_trip(&self, sent: u64) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_micros(sent))
    }

    /// The other side asks to be told.
    pub(crate) fn subscribe(&self, ask: Ask) {
        let cursor = Cursor::new(ask);
        self.slips().cursor = Some(match &self.agent {
            Some(node) => cursor.of_agent(node.clone()),
            None => cursor,
        });
        self.bell.notify_one();
    }

    /// The other side wants something else.
    pub(crate) fn want(&self, want: Want) -> Result<(), ProtocolError> {
        let mut slips = self.slips();
        let Some(cursor) = &mut slips.cursor else { return Ok(()) };
        cursor.want(want);
        let named = cursor.named();
        drop(slips);
        self.bell.notify_one();
        if named > limits::INTEREST_TOTAL {
            return Err(ProtocolError::WantsTooMuch { named, max: limits::INTEREST_TOTAL });
        }
        Ok(())
    }

    /// The other side asks whether somebody is there.
    pub(crate) fn answer(&self, sent: u64) {
        self.slips().pong = Some(sent);
        self.bell.notify_one();
    }

    /// Says something of our own.
    pub(crate) fn say(&self, frame: pb::Frame) {
        self.slips().own.push_back(frame);
        self.bell.notify_one();
    }

    /// Begins to ask whether the other side is there.
    pub(crate) fn beat(&self) {
        self.slips().beats = true;
        self.bell.notify_one();
    }

    fn slips(&self) -> MutexGuard<'_, Slips> {
        self.slips.lock().expect("no panic while the desk is locked")
    }
}

/// Says what is on the desk and tells what the other side wishes to hear, until it listens no more.
pub(crate) async fn tell<T>(
    teller: &Mutex<Teller>,
    audience: Audience,
    mut published: watch::Receiver<bool>,
    desk: &Desk,
    outbox: &Outbox<T>,
) {
    // The last moment at which there was nothing left to tell.
    let mut done_at = desk.began;
    let (mut next_beat, mut beats) = (desk.began, 0);
    loop {
        let begun = *published.borrow_and_update();
        let now = Instant::now();
        let (frame, beating) = {
            let mut slips = desk.slips();
            let due = slips.beats && now >= next_beat;
            let frame = if let Some(frame) = slips.own.pop_front() {
                Some(frame)
            } else if let Some(sent) = slips.pong.take() {
                Some(frames::pong(sent))
            } else if due {
                next_beat = now + BEAT;
                beats += 1;
                let teller = teller.lock().expect("no panic while the teller is locked");
                if let Some(cursor) = slips.cursor.as_mut().filter(|_| beats % BEATS == 0) {
                    teller.mark(audience, cursor);
                }
                let behind = if slips.cursor.is_some() { now - done_at } else { Duration::ZERO };
                Some(frames::ping(micros(now - desk.began), micros(behind)))
            } else {
                let cursor = slips.cursor.as_mut().filter(|_| begun);
                let told: Option<Told> = cursor.and_then(|cursor| {
                    teller.lock().expect("no panic while the teller is locked").poll(audience, cursor)
                });
                told.map(frames::told)
            };
            (frame, slips.beats)
        };
        match frame {
            Some(frame) => {
                if !outbox.send(frame).await {
                    return;
                }
            }
            None => {
                tokio::select! {
                    changed = published.changed() => if changed.is_err() { return },
                    () = desk.bell.notified() => {}
                    () = sleep_until(next_beat), if beating => {}
                }
                done_at = Instant::now();
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
