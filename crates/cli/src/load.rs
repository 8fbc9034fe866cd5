//! `causeway lab load`: a steady load of new connections, from where it runs. The demo and the benchmarks run it in
//! pods.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use lab::echo::Answer;
use lab::load::{Load, Report, Target};

use crate::status::Output;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --output json: one JSON object a line for each request, as soon as it is over.\n\
                        Example: causeway lab exec client-aws-1 -- causeway lab load --url http://10.101.0.1/"
)]
pub(crate) struct Args {
    /// An echo server, by address: `http://10.101.0.1/` or `http://[fd00:101::1]:80/`.
    #[arg(long)]
    url: Target,
    /// New connections a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// For how long, such as 5s or 500ms.
    #[arg(long, default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// A request that takes longer has failed.
    #[arg(long, default_value = "300ms", value_parser = duration)]
    timeout: Duration,
    /// How to print what became of it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Sends it. Exit status 0 when every request was answered, 1 when not.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let load = Load { target: args.url, rate: args.rate, duration: args.duration, timeout: args.timeout };
    let mut samples = Vec::new();
    // Who reads slowly, or only at the end, must not hold up what is sent.
    let (tell, told) = mpsc::channel::<String>();
    let teller = std::thread::spawn(move || -> io::Result<()> {
        let mut out = io::stdout().lock();
        told.iter().try_for_each(|line| writeln!(out, "{line}").and_then(|()| out.flush()))
    });
    let mut lines = Ok(());
    lab::load::run(&load, &Answer::of_this_process(), |sample| {
        if args.output == Output::Json && lines.is_ok() {
            // Nobody takes it any more: that is said at the end.
            lines = serde_json::to_string(&sample).map(|line| drop(tell.send(line)));
        }
        samples.push(sample);
    })
    .await;
    drop(tell);
    teller.join().map_err(|_| anyhow::anyhow!("what became of the requests could not be printed"))??;
    lines?;
    let report = Report::new(&samples);
    if args.output == Output::Text {
        print(&report);
    }
    Ok(if args.output == Output::Json || report.failures() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report) {
    let ms = |ms: Option<f64>| ms.map_or("-".to_string(), |ms| format!("{ms:.2} ms"));
    println!("sent {}, answered {}, failed {}", report.sent, report.answered, report.failures());
    println!("p50 {}, p99 {}", ms(report.p50_ms), ms(report.p99_ms));
    for tier in report.tiers.keys() {
        println!("{tier}: {:.1} %", report.share(*tier) * 100.0);
    }
    for (cluster, count) in &report.clusters {
        println!("cluster {cluster}: {count}");
    }
    for (outcome, count) in &report.failed {
        println!("{outcome}: {count}");
    }
}

/// A length of time, as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    lab::file::parse_duration(text).ok_or_else(|| "write something like 5s or 300ms".to_string())
}
