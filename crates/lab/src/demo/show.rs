//! The story as text: a table for eyes, live on a terminal, plain lines elsewhere.

use std::io::{self, Write};

use model::Tier;

use super::{Event, Line, Story};
use crate::load::Report;

const TIERS: [(Tier, &str); 5] = [
    (Tier::Node, "node"),
    (Tier::Zone, "zone"),
    (Tier::Region, "region"),
    (Tier::Cluster, "cluster"),
    (Tier::Elsewhere, "elsewhere"),
];

/// Shows a story while it is told.
pub trait Table {
    /// Shows what has just happened.
    fn show(&mut self, event: &Event<'_>) -> io::Result<()>;
    /// Shows how it ended.
    fn close(&mut self, story: &Story) -> io::Result<()>;
}

/// On a terminal: the line that is being played changes until it is done.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    title: String,
    begun: bool,
}

/// Elsewhere: a line when it is done.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    begun: bool,
}

impl<W: Write> Screen<W> {
    /// On a terminal.
    pub fn new(out: W) -> Self {
        Self { out, title: String::new(), begun: false }
    }
}

impl<W: Write> Plain<W> {
    /// To anything.
    pub fn new(out: W) -> Self {
        Self { out, begun: false }
    }
}

impl<W: Write> Table for Screen<W> {
    fn show(&mut self, event: &Event<'_>) -> io::Result<()> {
        head(&mut self.out, &mut self.begun)?;
        match event {
            Event::Begin(title) => {
                self.title = (*title).to_string();
                writeln!(self.out, "\r\x1b[2K\x1b[1m{title}\x1b[0m")?;
            }
            Event::Running(report) => write!(self.out, "\r\x1b[2K{}", row(report, None))?,
            Event::Line(line) => {
                write!(self.out, "\r\x1b[2K")?;
                let colour = if line.ok { "\x1b[32m" } else { "\x1b[31m" };
                writeln!(self.out, "{}", done(line, colour, "\x1b[0m"))?;
            }
            Event::Restoring => write!(self.out, "\r\x1b[2K(bringing everything back)\r")?,
        }
        self.out.flush()
    }

    fn close(&mut self, story: &Story) -> io::Result<()> {
        write!(self.out, "{}", ending(story))
    }
}

impl<W: Write> Table for Plain<W> {
    fn show(&mut self, event: &Event<'_>) -> io::Result<()> {
        head(&mut self.out, &mut self.begun)?;
        if let Event::Line(line) = event {
            writeln!(self.out, "{}\n{}", line.title, done(line, "", ""))?;
        }
        self.out.flush()
    }

    fn close(&mut self, story: &Story) -> io::Result<()> {
        write!(self.out, "{}", ending(story))
    }
}

fn head(out: &mut impl Write, begun: &mut bool) -> io::Result<()> {
    if std::mem::replace(begun, true) {
        return Ok(());
    }
    let tiers = TIERS.map(|(_, name)| format!("{name:>10}")).concat();
    writeln!(out, "{:>8}{:>8}{tiers}{:>10}{:>10}", "sent", "failed", "p50", "p99")
}

/// Who answered `settled`, of all that were sent.
fn row(settled: &Report, all: Option<&Report>) -> String {
    let all = all.unwrap_or(settled);
    let share = |(tier, _): (Tier, &str)| match settled.tiers.get(&tier) {
        Some(_) => format!("{:>8.0} %", settled.share(tier) * 100.0),
        None => format!("{:>10}", "·"),
    };
    let ms = |ms: Option<f64>| ms.map_or(format!("{:>10}", "·"), |ms| format!("{ms:>7.1} ms"));
    let tiers = TIERS.map(share).concat();
    format!("{:>8}{:>8}{tiers}{}{}", all.sent, all.failures(), ms(settled.p50_ms), ms(settled.p99_ms))
}

fn done(line: &Line, colour: &str, plain: &str) -> String {
    let mark = if line.ok { "ok" } else { "WRONG" };
    let said = if line.ok { &line.note } else { &line.wrong };
    format!(
        "{}\n    {colour}{mark}{plain}: {said}\n    $ {}",
        row(&line.settled, Some(&line.all)),
        line.command
    )
}

fn ending(story: &Story) -> String {
    let verdict = if story.ok {
        format!("That was {:.0} seconds of three clouds; the lab is as it was.", story.seconds)
    } else {
        "Something is not as it should be; the lines marked WRONG say what.".to_string()
    };
    format!(
        "\n{verdict}\nLook further: `causeway lab status` (who answers for what, and why), `causeway graph -o svg` (the \
         tunnels), `causeway lab exec POD -- CMD` (be a pod), `causeway lab cut A B` (break a link).\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ok: bool) -> Line {
        let mut settled =
            Report { sent: 300, answered: 300, p50_ms: Some(0.42), p99_ms: Some(1.5), ..Report::default() };
        settled.tiers.insert(Tier::Zone, 300);
        let all = Report { sent: 400, answered: 398, ..settled.clone() };
        Line {
            title: "a backend leaves".into(),
            note: "same zone 100 %".into(),
            command: "causeway lab kill gcp".into(),
            all,
            settled,
            change_ms: Some(120.0),
            last_failure_ms: None,
            ok,
            wrong: if ok { String::new() } else { "2 requests failed".into() },
        }
    }

    #[test]
    fn plain_lines() {
        let mut out = Vec::new();
        let mut table = Plain::new(&mut out);
        for event in [
            Event::Begin("x"),
            Event::Running(&Report::default()),
            Event::Line(&line(true)),
            Event::Line(&line(false)),
        ] {
            table.show(&event).unwrap();
        }
        table.close(&Story { ok: false, seconds: 12.0, lines: vec![] }).unwrap();
        let text = String::from_utf8(out).unwrap();
        let want = "\
sent  failed      node      zone    region   cluster elsewhere       p50       p99
a backend leaves
     400       2         ·     100 %         ·         ·         ·    0.4 ms    1.5 ms
    ok: same zone 100 %
    $ causeway lab kill gcp
a backend leaves
     400       2         ·     100 %         ·         ·         ·    0.4 ms    1.5 ms
    WRONG: 2 requests failed
    $ causeway lab kill gcp

Something is not as it should be";
        assert!(text.trim_start().starts_with(want), "{text}");
        assert!(text.contains("causeway lab status"), "{text}");
    }

    #[test]
    fn a_live_line_is_replaced() {
        let mut out = Vec::new();
        let mut table = Screen::new(&mut out);
        table.show(&Event::Begin("a backend leaves")).unwrap();
        table.show(&Event::Running(&Report::default())).unwrap();
        table.show(&Event::Line(&line(true))).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("\r\x1b[2K").count(), 3, "{text}");
        assert!(text.contains("\x1b[32mok"), "{text}");
    }
}
