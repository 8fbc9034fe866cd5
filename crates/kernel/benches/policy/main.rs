//! What policies cost: `./x bench policy`. Two pods of a node talk with each other: judged by nobody (the floor), by policies
//! that know 10,000 identities, and by what does the same with the kernel's own means: a set of 10,000 addresses of nftables
//! or ipset, behind its connection tracking. In turns, A B C D, D C B A: a machine that is busy is so for everybody. Then how
//! long a change takes to be enforced, and what the maps take.
//!
//! Arguments: `--rounds N`, `--window MS`. What a crashed run leaves is removed by the next one.

#[path = "../../tests/bpf_common/mod.rs"]
mod bpf_common;
mod maps;
#[path = "../../tests/net_common/mod.rs"]
mod net_common;
#[path = "../../tests/bpf_policy/rules.rs"]
mod rules;
mod traffic;
mod ways;

use std::time::Duration;

use ways::{Stage, Way};

/// A number that follows a word.
fn argument(args: &[String], name: &str, otherwise: u64) -> u64 {
    let value = args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    value.map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name} {text}: {e}")))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let rounds = argument(&args, "--rounds", 20);
    let window = Duration::from_millis(argument(&args, "--window", 500));
    let mut stage = Stage::new();
    let ways = Way::available();
    let mut streams = vec![Vec::new(); ways.len()];
    let mut connects = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..ways.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for n in order {
            stage.become_of(ways[n]);
            streams[n].push(traffic::stream(&stage, window) * 8.0 / 1e9);
            connects[n].push(traffic::connects(&stage, window));
        }
    }
    stage.become_of(Way::Nobody);
    println!(
        "{rounds} rounds of {window:?}; the median, and the median of each round's ratio to the floor\n"
    );
    println!("{:10} {:>12} {:>8} {:>16} {:>8}", "way", "stream", "ratio", "new connections", "ratio");
    for (n, way) in ways.iter().enumerate() {
        println!(
            "{:10} {:>7.2} Gb/s {:>8.3} {:>14.0}/s {:>8.3}",
            way.name(),
            median(&streams[n]),
            ratio(&streams[n], &streams[0]),
            median(&connects[n]),
            ratio(&connects[n], &connects[0]),
        );
    }
    println!();
    maps::changes(&mut stage);
    maps::memory(&mut stage);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn ratio(values: &[f64], floor: &[f64]) -> f64 {
    median(&values.iter().zip(floor).map(|(value, floor)| value / floor).collect::<Vec<_>>())
}
