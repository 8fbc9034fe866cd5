//! How fast, against wireguard-go in the same run: one TCP stream, rounds in turn, medians and spread.

use std::process::Command;

use crate::pair::{Kind, Setup, pair};

const ROUNDS: usize = 5;
const SECONDS: &str = "4";

pub(crate) fn against_wireguard_go() {
    for mtu in [1500, 9000] {
        let mut speeds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (kind, speeds) in [Kind::Ours, Kind::Go].into_iter().zip(&mut speeds) {
                speeds.push(one(kind, mtu));
            }
        }
        for (kind, speeds) in [Kind::Ours, Kind::Go].into_iter().zip(&mut speeds) {
            speeds.sort_by(f64::total_cmp);
            println!(
                "MTU {mtu}, {kind:?}: {:.2} Gbit/s ({:.2} to {:.2}, {ROUNDS} rounds)",
                speeds[ROUNDS / 2],
                speeds[0],
                speeds[ROUNDS - 1]
            );
        }
    }
}

/// Gbit/s of one stream.
fn one(kind: Kind, mtu: u32) -> f64 {
    let ends = pair(Setup { name: "wgx", kinds: [kind, kind], mtu });
    let target = ends[1].inside[0].to_string();
    let mut server = ends[1]
        .netns
        .netns()
        .run(|| Command::new("iperf3").args(["-s", "-1"]).stdout(std::process::Stdio::null()).spawn())
        .expect("netns")
        .expect("install iperf3");
    crate::pair::until("the server", || ends[1].netns.run("ss -Hltn sport = 5201").contains("5201"));
    let answer = ends[0].netns.run(&format!("iperf3 -J -t {SECONDS} -c {target}"));
    server.wait().expect("wait");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["end"]["sum_received"]["bits_per_second"].as_f64().expect("a speed") / 1e9
}
