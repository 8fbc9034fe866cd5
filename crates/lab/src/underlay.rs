//! The underlay: what lies between the locations of a lab, in one process.
//!
//! Every location's namespace has a device [`DEVICE`] with the default routes on it. What leaves by one is delivered
//! by another after half the wire's round-trip time, at the wire's rate, if the wire does not lose it: a small
//! Internet, which knows public addresses only. This kernel may have no netem, so the delay is ours.
//!
//! Packets travel as the kernel hands them over, bulk flows as super-packets of many segments. Where a wire loses
//! packets or is slow, the devices at its ends turn that off, because what is lost or queued there is one packet.

mod control;
mod device;
mod nat;
mod packet;
mod run;
mod switch;

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, Wire};

pub use control::{Control, ControlError};
pub use nat::{NatBox, NatKind};
pub use run::run;
pub use switch::{Counters, Dropped, WireCounters};

/// The device to other locations, in every location's namespace.
pub const DEVICE: &str = "wan0";

/// Its largest packet: Ethernet's.
pub const MTU: u32 = 1500;

/// What the process is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Decides which packets are lost.
    pub seed: u64,
    /// The Unix socket on which wires are changed and counters read. It is there once the devices are.
    pub control: PathBuf,
    /// The locations.
    pub segments: Vec<Segment>,
    /// What lies between each two of them; nothing passes between two that have no wire.
    pub wires: Vec<Wire>,
}

/// One location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Segment {
    /// Its number, as [`Wire`]s use it.
    pub number: u8,
    /// Its network namespace.
    pub netns: String,
    /// What the device's own addresses are.
    pub uplink: Vec<IpNet>,
    /// The addresses found there.
    pub public: Vec<IpNet>,
    /// What translates addresses between there and elsewhere.
    #[serde(default)]
    pub nats: Vec<NatBox>,
}

/// Why the underlay does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration could not be read.
    #[error("cannot read the underlay's configuration {}: {source}; `causeway lab up` writes it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is not one.
    #[error("the underlay's configuration {} is not valid: {source}; `causeway lab up` writes it", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The configuration contradicts itself.
    #[error("the underlay's configuration cannot be: {0}")]
    Config(String),
    /// A device could not be made.
    #[error(
        "cannot {attempt} {DEVICE} in network namespace {netns}: {reason}; root and /dev/net/tun are needed"
    )]
    Device {
        /// What was attempted.
        attempt: &'static str,
        /// In which namespace.
        netns: String,
        /// Why not.
        reason: String,
    },
    /// The system refused something that should always work.
    #[error("cannot {attempt}: {source}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl Config {
    /// The underlay of a lab.
    pub fn new(plan: &Plan, seed: u64, control: PathBuf) -> Self {
        let segments = plan
            .locations
            .iter()
            .map(|location| Segment {
                number: location.number,
                netns: location.netns.clone(),
                uplink: location.uplink.clone(),
                public: location.public.clone(),
                nats: plan.nats(location.number),
            })
            .collect();
        Self { seed, control, segments, wires: plan.wires.clone() }
    }

    /// Reads one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        serde_json::from_slice(&text).map_err(|source| Error::Parse { path: path.to_path_buf(), source })
    }
}
