//! How fast the user-space WireGuard device is, and what it takes, against others in the same run: `./x bench wireguard`.
//!
//! Two network namespaces on a veth wire, a device of one kind at both ends, rounds in turn (A B C, C B A, …), medians with
//! the least and the greatest. Compared with Debian's wireguard-go, with `boringtun-cli` if it is on the PATH, and with
//! whatever `--peer NAME=PATH` names: a program that is called as one of these two, or a `causeway`, is told by its name.
//! It needs what the tests of the device need (`tests/wireguard_device`), iperf3 and ethtool.
//!
//! A veth wire never cuts a large send into real packets, which flatters whoever sends large; hence every table also with
//! that switched off.
//!
//! Arguments: `--peer NAME=PATH` (several times), `--rounds N`, `--seconds N` of each stream, `--only WORD` (ours and those
//! with WORD in their names), `--wires on-1420,off-8920`, `--measure one,four,small,trip` (not all of the traffic),
//! `--traffic` or `--costs` for one half, `-o json`.

mod costs;
mod measure;
#[path = "../../tests/net_common/mod.rs"]
mod net_common;
#[path = "../../tests/wireguard_device/pair.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod pair;
mod peers;
#[path = "../../tests/wireguard_device/program.rs"]
mod program;
mod report;
mod traffic;

use std::process::ExitCode;

use peers::Compared;
use report::Report;

/// What was asked for.
struct Arguments {
    compared: Vec<Compared>,
    rounds: usize,
    seconds: f64,
    wires: Vec<measure::Wire>,
    parts: Vec<measure::Part>,
    traffic: bool,
    costs: bool,
    json: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(exit) = program::device(&args) {
        return exit;
    }
    let arguments = match Arguments::parse(&args) {
        Ok(arguments) => arguments,
        Err(problem) => {
            let known = "--peer NAME=PATH, --rounds N, --seconds N, --only WORD, --wires on-1420,on-8920,off-1420,off-8920, \
                         --measure one,four,small,trip, --traffic, --costs, -o json";
            eprintln!("{problem}; known are {known}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new(&arguments.compared, arguments.rounds, arguments.json);
    if arguments.traffic {
        measure::tables(&arguments, &mut report);
    }
    if arguments.costs {
        costs::table(&arguments, &mut report);
    }
    report.end();
    ExitCode::SUCCESS
}

impl Arguments {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut named = Vec::new();
        let mut only = None;
        let mut this = Self {
            compared: Vec::new(),
            rounds: 5,
            seconds: 2.0,
            wires: measure::Wire::ALL.to_vec(),
            parts: measure::Part::ALL.to_vec(),
            traffic: true,
            costs: true,
            json: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--peer" => named.push(Compared::parse(value()?)?),
                "--only" => only = Some(value()?.clone()),
                "--rounds" => this.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?,
                "--seconds" => this.seconds = value()?.parse().map_err(|e| format!("--seconds: {e}"))?,
                "--wires" => {
                    this.wires = value()?.split(',').map(measure::Wire::parse).collect::<Result<_, _>>()?;
                }
                "--measure" => {
                    this.parts = value()?.split(',').map(measure::Part::parse).collect::<Result<_, _>>()?;
                }
                "--traffic" => this.costs = false,
                "--costs" => this.traffic = false,
                "-o" | "--output" => this.json = value()? == "json",
                other => return Err(format!("unknown argument {other}")),
            }
        }
        // iperf3 takes whole seconds, and 0 for no end.
        if this.rounds == 0 || !(1.0..=60.0).contains(&this.seconds) {
            return Err("--rounds is 1 or more, --seconds 1 to 60".into());
        }
        this.compared = peers::all(named);
        if let Some(word) = only {
            this.compared.retain(|compared| compared.is_ours() || compared.name.contains(&word));
        }
        Ok(this)
    }
}
