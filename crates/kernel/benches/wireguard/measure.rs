//! What goes through a pair of devices: streams, small datagrams, round trips.

use std::time::Duration;

use crate::Arguments;
use crate::pair::{End, Setup, pair};
use crate::report::{Metric, Report};
use crate::traffic::{self, Carried};

/// What lies between the two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    /// Whether it takes several packets in one.
    offloads: bool,
    /// Of what is inside the tunnel.
    mtu: u32,
}

impl Wire {
    pub(crate) const ALL: [Self; 4] = [
        Self { offloads: true, mtu: 1420 },
        Self { offloads: false, mtu: 1420 },
        Self { offloads: true, mtu: 8920 },
        Self { offloads: false, mtu: 8920 },
    ];

    /// From `on-1420`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--wires {text}: not on-MTU or off-MTU");
        let (offloads, mtu) = text.split_once('-').ok_or_else(wrong)?;
        let offloads = match offloads {
            "on" => true,
            "off" => false,
            _ => return Err(wrong()),
        };
        Ok(Self {
            offloads,
            mtu: mtu.parse().ok().filter(|mtu| (1280..=8920).contains(mtu)).ok_or_else(wrong)?,
        })
    }
}

const METRICS: [Metric; 6] = [
    Metric::new("one stream", "Gbit/s", 2),
    Metric::new("CPU of it, whole system", "s/Gbit", 3),
    Metric::new("four streams each way, sum", "Gbit/s", 2),
    Metric::new("CPU of them, whole system", "s/Gbit", 3),
    Metric::new("datagrams of 64 bytes", "1000/s", 1),
    Metric::new("round trip, p50", "µs", 1),
];

/// What `--measure` names: parts of [`METRICS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    One,
    Four,
    Small,
    Trip,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::One, Self::Four, Self::Small, Self::Trip];

    /// From its name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "one" => Ok(Self::One),
            "four" => Ok(Self::Four),
            "small" => Ok(Self::Small),
            "trip" => Ok(Self::Trip),
            _ => Err(format!("--measure {text}: not one, four, small or trip")),
        }
    }
}

pub(crate) fn tables(arguments: &Arguments, report: &mut Report) {
    for wire in &arguments.wires {
        let mut samples = vec![vec![Vec::new(); arguments.compared.len()]; METRICS.len()];
        for round in 0..arguments.rounds {
            let mut order: Vec<usize> = (0..arguments.compared.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let kind = arguments.compared[at].kind;
                // The outer headers of IPv6, as the tunnels' MTU allows for.
                let ends = pair(Setup { name: "wgx", kinds: [kind, kind], mtu: wire.mtu + 80 });
                if !wire.offloads {
                    switch_off(&ends);
                }
                eprintln!("round {} of {}: {}", round + 1, arguments.rounds, arguments.compared[at].name);
                for (metric, value) in samples.iter_mut().zip(sample(&ends, arguments)) {
                    metric[at].push(value);
                }
            }
        }
        let offloads = if wire.offloads { "on" } else { "off" };
        report.table(&format!("MTU {}, offloads of the wire {offloads}", wire.mtu), &METRICS, &samples);
    }
}

/// In the order of [`METRICS`]; what is not wanted is no number.
fn sample(ends: &[End; 2], arguments: &Arguments) -> [f64; METRICS.len()] {
    let wanted = |part| arguments.parts.contains(&part);
    let seconds = arguments.seconds;
    // The handshake is not what is measured here.
    traffic::round_trip(ends, 200);
    let trip = if wanted(Part::Trip) { traffic::round_trip(ends, 2000) } else { f64::NAN };
    let none = Carried { rate: f64::NAN, cost: f64::NAN };
    let one = if wanted(Part::One) { traffic::streams(ends, seconds, &[]) } else { none };
    let four =
        if wanted(Part::Four) { traffic::streams(ends, seconds, &["-P", "4", "--bidir"]) } else { none };
    let time = Duration::from_secs_f64(seconds / 2.0);
    let small = if wanted(Part::Small) { traffic::datagrams(ends, time) } else { f64::NAN };
    [one.rate, one.cost, four.rate, four.cost, small / 1e3, trip]
}

/// Every packet on the wire by itself, as on a network card without offloads.
fn switch_off(ends: &[End; 2]) {
    for end in ends {
        end.netns.run("ethtool -K eth0 tx-udp-segmentation off gso off gro off tso off");
    }
}
