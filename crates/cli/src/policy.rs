//! `causeway policy`: who may talk to whom, and why not.

mod ask;
mod render;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use wire::local::{Family, PolicyProtocol, PortChoice};

use crate::seat::Seat;
use crate::status::Output;

/// `causeway policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway policy check x/a y/b --port 80                 may x/a open tcp/80 of y/b, and which rule says so
  causeway policy check world y/b --port dns --protocol udp
  causeway policy show y/b                                which policies select it, and their rules
  causeway policy show node/aws-1                         the same of the node itself
  causeway policy lint                                    rules that select nothing, are shadowed, or open too much
  causeway policy watch --for 10s                         what is denied now, with the rule that does it

Nothing is sent: the controller answers from the policies as its nodes enforce them.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Whether one end may open a connection to another, and the rule that decides, at both ends.
    Check(Check),
    /// Which policies select a pod or a node, and what their rules are.
    Show(Show),
    /// Rules that select nothing, are shadowed by others, or open more than they seem to.
    Lint(Lint),
    /// Flows as they are denied, with the rule and the reason.
    Watch(watch::Args),
}

/// `causeway policy check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FROM and TO: NAMESPACE/POD, CLUSTER/NAMESPACE/POD, node:NAME, peer:NAME, an address, or `world`. In a lab any end of a pod's name
that only one has will do.
Examples:
  causeway policy check x/a y/b --port 80
  causeway policy check aws/x/a gcp/y/b --port http         both clusters are asked, in a lab
  causeway policy check node:aws-1 x/a --port 8080          a node's own pods always hear it
  causeway policy check x/a 1.1.1.1 --port 53 --protocol udp
  causeway policy check x/a y/b --protocol icmp
  causeway policy check x/a y/b --port 80 -o json | jq '.allowed, .ingress.rule'

The port is the one behind a service: the pod's own. Each end is judged by its own cluster; outside of a lab only this
one is asked, and `allowed` is null where the other one's word is needed. Exit status 0 when the question was answered,
whatever the answer.")]
struct Check {
    /// Who begins.
    from: String,
    /// Who is dialled.
    to: String,
    /// The port that is dialled: a number, or a name that the pod gives it. Without: a port that no rule names.
    #[arg(short, long, value_name = "N|NAME")]
    port: Option<PortChoice>,
    /// What is spoken: tcp, udp, sctp or icmp (an echo request).
    #[arg(long, default_value = "tcp", value_name = "PROTOCOL")]
    protocol: PolicyProtocol,
    /// By IPv4 or IPv6: 4 or 6 [default: what both have, IPv4 before IPv6].
    #[arg(long, value_name = "4|6", value_parser = family)]
    family: Option<Family>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

/// `causeway policy show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway policy show y/b
  causeway policy show gcp/y/b -o json | jq '.ingress.rules[] | {name, path, action}'")]
struct Show {
    /// The pod, NAMESPACE/POD or CLUSTER/NAMESPACE/POD; or a node, node/NAME or node/CLUSTER/NAME.
    pod: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

/// `causeway policy lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In a lab every cluster is asked, or the one named by --cluster. Exit status 1 when something was found.
Examples:
  causeway policy lint
  causeway policy lint -o json | jq '.[].findings[] | {name: .policy.name, path, kind}'")]
struct Lint {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

/// A family, as people write it.
pub(crate) fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" | "ipv4" | "IPv4" => Ok(Family::IPv4),
        "6" | "ipv6" | "IPv6" => Ok(Family::IPv6),
        other => Err(format!("{other:?} is no family: write 4 or 6")),
    }
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Check(check) => {
            let Check { from, to, port, protocol, family, output, seat } = check;
            let answer = ask::check(&seat, &from, &to, (protocol, port, family)).await?;
            print(&answer, output, render::check)
        }
        Verb::Show(Show { pod, output, seat }) => print(&ask::show(&seat, &pod).await?, output, render::show),
        Verb::Lint(Lint { output, seat }) => {
            let found = ask::lint(&seat).await?;
            print(&found, output, |found| render::lint(found))?;
            let clean = found.iter().all(|lint| lint.findings.is_empty());
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Verb::Watch(args) => watch::run(args).await,
    }
}

fn print<T: Serialize>(answer: &T, output: Output, text: impl Fn(&T) -> String) -> Result<ExitCode> {
    match output {
        Output::Text => print!("{}", text(answer)),
        Output::Json => println!("{}", serde_json::to_string_pretty(answer)?),
    }
    Ok(ExitCode::SUCCESS)
}
