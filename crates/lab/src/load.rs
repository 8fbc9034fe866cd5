//! A steady load of new connections, and what became of each.
//!
//! Open loop: a request is sent when its time has come, whether or not the ones before were answered, because real
//! clients do not wait for each other. Each has a connection of its own, because a balancer decides once a
//! connection.

mod report;
mod request;
mod target;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::echo::Answer;

pub use report::{Report, tier};
pub use target::{Target, TargetError};

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Where to.
    pub target: Target,
    /// Requests a second.
    pub rate: u32,
    /// For how long.
    pub duration: Duration,
    /// A request that takes longer has failed.
    pub timeout: Duration,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it was sent, in seconds since 1970: all processes of a machine agree on it.
    pub at: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What became of it.
    pub outcome: Outcome,
    /// Who answered.
    pub answer: Option<Answer>,
    /// How near that is to where this load was sent from.
    pub tier: Option<model::Tier>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// An echo server answered.
    Ok,
    /// The connection was refused.
    Refused,
    /// There was no answer in time.
    Timeout,
    /// The connection was cut.
    Reset,
    /// There was no way there.
    Unreachable,
    /// Something answered that is no echo server.
    Strange,
    /// Something else went wrong.
    Other,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Strange => "strange",
            Self::Other => "other",
        })
    }
}

impl Sample {
    /// When it was over, in seconds since 1970.
    pub fn ended(&self) -> f64 {
        self.at + self.ms / 1e3
    }
}

/// Sends the load from where this process stands, and hands over each sample when it is complete.
pub async fn run(load: &Load, place: &Answer, mut done: impl FnMut(Sample)) {
    let count = (load.duration.as_secs_f64() * f64::from(load.rate)).round() as u64;
    // Every sample is taken out as soon as it is in; only what is under way waits.
    let (finished, mut samples) = mpsc::unbounded_channel();
    let start = Instant::now();
    let send = async {
        for i in 0..count {
            let offset = Duration::from_secs_f64(i as f64 / f64::from(load.rate));
            tokio::time::sleep_until(start + offset).await;
            let (finished, target, timeout) = (finished.clone(), load.target.clone(), load.timeout);
            tokio::spawn(async move {
                // Nobody listens any more: the load was called off.
                let _ = finished.send(one(&target, timeout).await);
            });
        }
        drop(finished);
    };
    let take = async {
        while let Some(mut sample) = samples.recv().await {
            sample.tier = sample.answer.as_ref().map(|answer| tier(place, answer));
            done(sample);
        }
    };
    tokio::join!(send, take);
}

async fn one(target: &Target, timeout: Duration) -> Sample {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let start = Instant::now();
    let result = match tokio::time::timeout(timeout, request::ask(target)).await {
        Ok(result) => result,
        Err(_) => Err(Outcome::Timeout),
    };
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let (outcome, answer) = match result {
        Ok(answer) => (Outcome::Ok, Some(answer)),
        Err(outcome) => (outcome, None),
    };
    Sample { at, ms, outcome, answer, tier: None }
}

#[cfg(test)]
mod tests;
