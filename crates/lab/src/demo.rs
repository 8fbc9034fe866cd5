//! The story of a service over three clouds, told in half a minute: who answers while backends, and then a whole
//! cloud, go away.
//!
//! It does what anybody can do to a lab that is up (fail a probe, kill a cloud, start it again), watches 200 new
//! connections a second while it does, and judges what it sees. It leaves the lab as it found it.

mod act;
mod judge;
mod show;
mod stage;

use std::time::{Duration, Instant};

use model::ClusterName;
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::load::Report;

use act::Cue;
use judge::Expected;
use stage::{Backend, Stage};

pub use show::{Plain, Screen, Table};
pub use stage::StageError;

/// Requests a second.
pub const RATE: u32 = 200;

/// How long the lab may take to be as it was.
const RESTORE: Duration = Duration::from_secs(20);

/// How long measured round-trip times may take to come near the wires'.
const CALM: Duration = Duration::from_secs(8);

/// Between two questions to the lab.
const PAUSE: Duration = Duration::from_millis(100);

/// The whole story.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Whether everything was as it should be.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
    /// What happened, in order.
    pub lines: Vec<Line>,
}

/// One thing that happened, and who answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What happened.
    pub title: String,
    /// What was seen, in words.
    pub note: String,
    /// How anybody can do the same.
    pub command: String,
    /// All requests.
    pub all: Report,
    /// Those sent once the change had taken effect.
    pub settled: Report,
    /// From the event to the last request that was not yet answered as it should be, in milliseconds.
    pub change_ms: Option<f64>,
    /// From the event to the sending of the last request that failed; none if none did.
    pub last_failure_ms: Option<f64>,
    /// Whether this is what should happen.
    pub ok: bool,
    /// What should have happened instead; empty when it did.
    pub wrong: String,
}

/// Something to show while the story is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// What is happening now.
    Begin(&'a str),
    /// Who has answered so far.
    Running(&'a Report),
    /// What has happened.
    Line(&'a Line),
    /// The lab is being restored.
    Restoring,
}

/// Why the story cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab does not answer.
    #[error(transparent)]
    Lab(#[from] AskError),
    /// The lab is not one that the story is about.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The load does not run.
    #[error("cannot send requests from pod {pod}: {reason}")]
    Load {
        /// The pod.
        pod: String,
        /// Why not.
        reason: String,
    },
    /// A probe could not be made to fail, or to succeed.
    #[error("cannot ask echo server {pod} to {what} its probe: {reason}; is `causeway echo` running in it?")]
    Probe {
        /// The pod.
        pod: String,
        /// `fail` or `recover`.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// Something of the lab did not come back.
    #[error(
        "the lab is not as it was: {0}; see `causeway lab status`, and start anew with `causeway lab down` and `up`"
    )]
    NotRestored(String),
    /// Called off.
    #[error("interrupted; the lab is as it was")]
    Interrupted,
}

/// What must be undone.
#[derive(Default)]
struct Undo {
    failing: Vec<Backend>,
    killed: Option<ClusterName>,
}

/// Tells the story. Whatever happens, the lab is restored before this returns.
pub async fn run(show: &mut dyn FnMut(Event<'_>)) -> Result<Story, Error> {
    let start = Instant::now();
    let stage = Stage::set(&client::status(None).await?)?;
    let mut undo = Undo::default();
    let mut lines = Vec::new();
    let told = tokio::select! {
        told = tell(&stage, &mut undo, &mut lines, show) => told,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    show(Event::Restoring);
    let command = undo.killed.as_ref().map(|cloud| format!("causeway lab start {cloud}")).unwrap_or_default();
    restore(&stage, &mut undo).await?;
    told?;
    let title = "everything is back".to_string();
    let last = calm(&stage, title, command, show).await?;
    lines.push(last);
    let ok = lines.iter().all(|line| line.ok);
    Ok(Story { ok, seconds: start.elapsed().as_secs_f64(), lines })
}

async fn tell(
    stage: &Stage,
    undo: &mut Undo,
    lines: &mut Vec<Line>,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<(), Error> {
    let title = format!("{} calls {}; it has a backend on its own node", stage.client, stage.service);
    lines.push(
        calm(stage, title, format!("causeway lab exec {} -- curl -s {}", stage.client, stage.url()), show)
            .await?,
    );

    let first = std::slice::from_ref(&stage.own);
    let title = format!("its neighbour {} fails its readiness probe", stage.own.name());
    undo.failing.push(stage.own.clone());
    lines.push(unready(stage, title, first, Expected::Tier(stage.next_tier), show).await?);

    let clouds = measure(stage).await?;
    let (nearest, rtt) = &clouds[0];
    let title =
        format!("the last backends of {} fail theirs; {nearest} is nearest ({rtt:.0} ms)", stage.cluster);
    undo.failing.extend(stage.rest.iter().cloned());
    lines.push(unready(stage, title, &stage.rest, Expected::Cluster(nearest.clone()), show).await?);

    let (next, rtt) = &clouds[1];
    let title = format!("{nearest} is killed under load; {next} is next ({rtt:.0} ms)");
    undo.killed = Some(nearest.clone());
    lines.push(killed(stage, title, nearest, Expected::Cluster(next.clone()), show).await?);
    Ok(())
}

/// The two nearest clouds at least, nearest first, once they are measured without the noise of a lab that comes up.
async fn measure(stage: &Stage) -> Result<Vec<(ClusterName, f64)>, Error> {
    let start = Instant::now();
    loop {
        let (clouds, calm) = stage.clouds_now(&client::status(None).await?);
        let whole = clouds.len() >= 2;
        if whole && (calm || start.elapsed() > CALM) {
            return Ok(clouds);
        }
        if start.elapsed() > CALM {
            let lost = "a cloud was lost while the story was told".to_string();
            return Err(StageError::Broken(lost).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// 200 requests while nothing happens.
async fn calm(
    stage: &Stage,
    title: String,
    command: String,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<Line, Error> {
    show(Event::Begin(&title));
    let watched = act::watch(stage, Duration::from_secs(1), Cue::none(), show).await?;
    told(judge::calm(title, command, &Expected::Tier(model::Tier::Node), &watched), show)
}

/// Requests while probes begin to fail: none of them may fail.
async fn unready(
    stage: &Stage,
    title: String,
    backends: &[Backend],
    expected: Expected,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<Line, Error> {
    show(Event::Begin(&title));
    let fail = async {
        for backend in backends {
            act::set_probe(backend, "fail").await?;
        }
        Ok(())
    };
    let cue = Cue::after(Duration::from_millis(400), fail);
    let watched = act::watch(stage, Duration::from_millis(2400), cue, show).await?;
    let pod = backends.first().map(|backend| backend.pod.as_str()).unwrap_or_default();
    let command = format!("causeway lab exec {pod} -- curl -s -X POST http://localhost:{}/fail", stage::PORT);
    told(judge::unready(title, command, &expected, &watched), show)
}

/// Requests while a cloud goes dark: some may fail, for a moment.
async fn killed(
    stage: &Stage,
    title: String,
    cloud: &ClusterName,
    expected: Expected,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<Line, Error> {
    show(Event::Begin(&title));
    let kill = async { Ok(client::kill(cloud.as_str()).await.map(drop)?) };
    let cue = Cue::after(Duration::from_millis(600), kill);
    let watched = act::watch(stage, Duration::from_secs(4), cue, show).await?;
    told(judge::killed(title, format!("causeway lab kill {cloud}"), &expected, &watched), show)
}

fn told(line: Line, show: &mut dyn FnMut(Event<'_>)) -> Result<Line, Error> {
    show(Event::Line(&line));
    Ok(line)
}

/// Undoes what the story did, and waits until the lab has noticed.
async fn restore(stage: &Stage, undo: &mut Undo) -> Result<(), Error> {
    if let Some(cloud) = undo.killed.take() {
        client::start(cloud.as_str()).await?;
    }
    for backend in undo.failing.drain(..) {
        act::set_probe(&backend, "recover").await?;
    }
    let start = Instant::now();
    loop {
        let missing = match client::status(None).await {
            Ok(status) => stage.missing(&status),
            Err(error) => error.to_string(),
        };
        if missing.is_empty() {
            return Ok(());
        }
        if start.elapsed() > RESTORE {
            return Err(Error::NotRestored(missing));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
