//! `./x bench dns`: CPU per answered query, ours and Debian's knot and unbound, on one zone, in turns, while endpoints
//! change. The questions come from `dnsperf` on a processor of their own.

mod measure;
mod peers;
mod zone;

use anyhow::{Result, bail};

use crate::measure::{Load, Row};
use crate::peers::Peer;

/// How often each server is asked for a while.
const ROUNDS: usize = 5;

/// Loads: as much as comes back with 64 questions under way, and a calm 5,000 a second.
const LOADS: [Load; 2] =
    [Load { name: "as many as it can", rate: None }, Load { name: "5,000 /s", rate: Some(5_000) }];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, port, ..] = arguments.as_slice()
        && word == "serve"
    {
        return zone::serve(port.parse()?);
    }
    let folder = tempfile::tempdir()?;
    zone::write_files(folder.path())?;
    let peers = [Peer::ours(folder.path())?, Peer::knot(folder.path())?, Peer::unbound(folder.path())?];
    for load in LOADS {
        let mut rows: Vec<Vec<Row>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (peer, rows) in peers.iter().zip(&mut rows) {
                rows.push(measure::round(peer, &load, folder.path())?);
            }
        }
        println!("\n{}; {} changes of endpoints a second\n", load.name, peers::CHANGES);
        println!("| server | CPU per answer, µs | answers/s | lost |\n|---|---|---|---|");
        for (peer, rows) in peers.iter().zip(rows) {
            println!("{}", measure::line(peer.name, &rows));
            if rows.iter().any(|row| row.wrong > 0) {
                bail!("{} answered wrongly: the comparison says nothing", peer.name);
            }
        }
    }
    Ok(())
}
