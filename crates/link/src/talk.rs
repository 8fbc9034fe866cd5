//! The telling half of a stream, the same towards agents and towards other clusters.

use std::sync::Mutex;

use engine::exchange::{Audience, Cursor, Position, Teller};
use tokio::sync::{mpsc, watch};
use wire::pb;

use crate::frames;

/// Frames waiting to be sent on a stream. Few: what a slow receiver has not taken is not yet chosen.
pub(crate) const OUTBOX: usize = 4;

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

/// What a receiver asked for last: nothing yet, or to be told from there.
pub(crate) type Wish = Option<Option<Position>>;

/// Tells a receiver what it wishes to hear, until it listens no more.
pub(crate) async fn tell<T>(
    teller: &Mutex<Teller>,
    audience: Audience,
    mut published: watch::Receiver<bool>,
    mut wishes: watch::Receiver<Wish>,
    outbox: &Outbox<T>,
) {
    let mut cursor = None;
    loop {
        match wishes.has_changed() {
            Ok(false) => {}
            Ok(true) => cursor = wishes.borrow_and_update().map(Cursor::new),
            Err(_) => return,
        }
        let begun = *published.borrow_and_update();
        let told = cursor.as_mut().filter(|_| begun).and_then(|cursor| {
            teller.lock().expect("no panic while the teller is locked").poll(audience, cursor)
        });
        match told {
            Some(told) => {
                if !outbox.send(frames::told(told)).await {
                    return;
                }
            }
            None => tokio::select! {
                changed = published.changed() => if changed.is_err() { return },
                changed = wishes.changed() => {
                    if changed.is_err() { return }
                    wishes.mark_changed();
                }
            },
        }
    }
}
