//! One round: `dnsperf` for a while, and what the server's process used meanwhile.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::peers::Peer;
use crate::zone::NO_NAME_PERCENT;

/// Seconds of a round.
const SECONDS: u32 = 6;

/// Questions under way at a time.
const OUTSTANDING: u32 = 64;

/// How quickly questions come.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Questions a second; none: as many as are answered.
    pub(crate) rate: Option<u32>,
}

/// What one round gave.
pub(crate) struct Row {
    /// Microseconds of CPU for one answer.
    cpu: f64,
    /// Answers a second.
    rate: f64,
    lost: u64,
    /// Whether the answers are others than they should be: 1 if so.
    pub(crate) wrong: u64,
}

pub(crate) fn round(peer: &Peer, load: &Load, folder: &Path) -> Result<Row> {
    let questions = folder.join("questions");
    let mut command = Command::new("taskset");
    command
        .args(["-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", &peer.port.to_string(), "-d"])
        .arg(questions);
    command.args(["-l", &SECONDS.to_string(), "-q", &OUTSTANDING.to_string(), "-c", "4", "-T", "1", "-e"]);
    if let Some(rate) = load.rate {
        command.args(["-Q", &rate.to_string()]);
    }
    let before = ticks(peer.pid())?;
    let output = command.output().context("dnsperf: apt-get install dnsperf")?;
    let used = ticks(peer.pid())? - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.trim_start().starts_with(label));
        let value =
            line.and_then(|line| line.split(':').nth(1)).and_then(|rest| rest.split_whitespace().next());
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("dnsperf says no {label:?}:\n{text}"))
    };
    let answered = number("Queries completed")?;
    let no_name = text
        .split("NXDOMAIN ")
        .nth(1)
        .and_then(|rest| rest.split('(').nth(1)?.split('%').next()?.parse::<f64>().ok())
        .with_context(|| format!("dnsperf tells of no NXDOMAIN:\n{text}"))?;
    let right =
        (no_name - NO_NAME_PERCENT).abs() < 1.0 && !text.contains("SERVFAIL") && !text.contains("REFUSED");
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Row {
        cpu: used as f64 * 10_000.0 / answered,
        rate: number("Queries per second")?,
        lost: number("Queries lost")? as u64,
        wrong: u64::from(!right),
    })
}

/// Clock ticks that the process's threads have used (proc(5): fields 14 and 15).
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit(')').next().context("a name in brackets")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// Medians, least and greatest.
pub(crate) fn line(name: &str, rows: &[Row]) -> String {
    let spread = |value: &dyn Fn(&Row) -> f64, digits: usize| {
        let mut all: Vec<f64> = rows.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        let (least, most) = (all[0], all[all.len() - 1]);
        format!("{:.digits$} ({least:.digits$} – {most:.digits$})", all[all.len() / 2])
    };
    let lost: u64 = rows.iter().map(|row| row.lost).sum();
    format!("| {name} | {} | {} | {lost} |", spread(&|row| row.cpu, 2), spread(&|row| row.rate, 0))
}
