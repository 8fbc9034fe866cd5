//! What becomes of TCP connects that services led to backends, counted at the sockets of this node's clients.
//!
//! Attached only where somebody asks for it: elsewhere it costs nothing. The counts end with the programs that count.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use aya::EbpfLoader;
use engine::services::Connects;

use super::object::{OUTLIERS, Object};
use super::sys::Hook;
use super::table::Table;
use super::{BpfError, abi, attach, bytes, pins};

/// The hooks, by the names of the programs.
const HOOKS: [(&str, Hook); 2] =
    [("connect_watch", Hook::SockOps), ("connect_release", Hook::InetSockRelease)];

/// The counts.
pub(super) struct ConnectCounts(Table<abi::Address, abi::Connects>);

impl ConnectCounts {
    /// Counts from now on what sockets of a control group dial, beginning with nothing.
    pub(super) fn attach(
        loader: &mut EbpfLoader<'_>,
        folder: &Path,
        cgroup: &Path,
    ) -> Result<Self, BpfError> {
        let mut object = Object::open(OUTLIERS, loader)?;
        for (name, hook) in HOOKS {
            attach::to_cgroup(folder, name, object.program(name)?, cgroup, hook)?;
        }
        Ok(Self(Table::new("connects", object.map("connects")?)?))
    }

    /// Ends what an agent before us has attached.
    pub(super) fn detach(folder: &Path) -> Result<(), BpfError> {
        HOOKS.iter().try_for_each(|(name, _)| pins::remove(&pins::links(folder).join(name)))
    }

    /// Of every backend to which a connect has failed, what was counted since.
    pub(super) fn read(&self) -> Result<BTreeMap<SocketAddr, Connects>, BpfError> {
        let read = |(backend, counted): (abi::Address, abi::Connects)| {
            let abi::Connects { established, refused, unanswered } = counted;
            let backend = SocketAddr::new(bytes::ip(backend.ip), backend.port.into());
            (backend, Connects { established, refused, unanswered })
        };
        Ok(self.0.entries()?.into_iter().map(read).collect())
    }
}
