//! What the story does to the lab: requests from a pod, probes that fail, and the moment each thing happens.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel::netns::Netns;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::stage::{Backend, Stage};
use super::{Error, Event, RATE};
use crate::load::{Report, Sample};

/// A request that takes longer has failed.
const TIMEOUT: &str = "300ms";

/// How often what has been seen so far is shown.
const REFRESH: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    /// Every request.
    pub(super) samples: Vec<Sample>,
    /// When the event happened, in seconds since 1970.
    pub(super) mark: Option<f64>,
}

/// Something that happens while requests are sent.
pub(super) struct Cue<'a> {
    delay: Duration,
    event: Option<Happening<'a>>,
}

type Happening<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

impl<'a> Cue<'a> {
    /// Nothing happens.
    pub(super) fn none() -> Self {
        Self { delay: Duration::ZERO, event: None }
    }

    /// `event` happens this long after the first answer.
    pub(super) fn after(delay: Duration, event: impl Future<Output = Result<(), Error>> + 'a) -> Self {
        Self { delay, event: Some(Box::pin(event)) }
    }
}

/// Sends requests from the stage's client for a time, while something happens.
pub(super) async fn watch(
    stage: &Stage,
    time: Duration,
    cue: Cue<'_>,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<Watched, Error> {
    let failed = |reason: String| Error::Load { pod: stage.client.clone(), reason };
    let mut child = start(stage, time).map_err(|e| failed(e.to_string()))?;
    let output = child.stdout.take().ok_or_else(|| failed("no output".into()))?;
    let mut samples: Vec<Sample> = Vec::new();
    let (begun, first) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let read = async {
        let mut lines = BufReader::new(output).lines();
        let mut shown = Instant::now();
        while let Some(line) = lines.next_line().await.map_err(|e| failed(e.to_string()))? {
            samples.push(serde_json::from_str(&line).map_err(|e| failed(format!("{e} in {line:?}")))?);
            if let Some(begun) = begun.take() {
                // Without a cue nobody waits for it.
                let _ = begun.send(());
            }
            if shown.elapsed() > REFRESH {
                shown = Instant::now();
                show(Event::Running(&Report::new(&samples)));
            }
        }
        drop(begun);
        Ok(())
    };
    let act = async {
        let Some(event) = cue.event else { return Ok(None) };
        if first.await.is_err() {
            return Ok(None); // The load ended before it began, and says so itself.
        }
        tokio::time::sleep(cue.delay).await;
        let mark = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        event.await.map(|()| Some(mark))
    };
    let (mark, ()) = tokio::try_join!(act, read)?;
    let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
    if !status.success() || samples.is_empty() {
        return Err(failed(format!("the load ended with {status} after {} requests", samples.len())));
    }
    Ok(Watched { samples, mark })
}

/// Starts `causeway lab load` in the client's pod, as anybody would.
fn start(stage: &Stage, time: Duration) -> io::Result<Child> {
    let causeway = std::env::current_exe()?;
    Command::new(&causeway)
        .args(["lab", "exec", &stage.client, "--"])
        .arg(&causeway)
        .args(["lab", "load", "--url", &stage.url()])
        .args(["--rate", &RATE.to_string(), "--duration", &format!("{}ms", time.as_millis())])
        .args(["--timeout", TIMEOUT, "--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Has an echo server `fail` or `recover` its probe, from within its own pod.
pub(super) async fn set_probe(backend: &Backend, what: &'static str) -> Result<(), Error> {
    let failed = |reason: String| Error::Probe { pod: backend.pod.clone(), what, reason };
    let asked = backend.clone();
    let post = move || -> Result<(), String> {
        let netns = Netns::open(&asked.netns).map_err(|e| e.to_string())?;
        netns.run(|| post(&asked, what)).map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    };
    match tokio::task::spawn_blocking(post).await {
        Ok(result) => result.map_err(failed),
        Err(e) => Err(failed(e.to_string())),
    }
}

fn post(backend: &Backend, what: &str) -> io::Result<()> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&backend.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let host = backend.address;
    let request =
        format!("POST /{what} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("the answer was {:?}", answer.lines().next().unwrap_or_default()))),
    }
}
