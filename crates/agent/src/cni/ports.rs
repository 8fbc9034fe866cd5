//! The node's ports that lead to pods: one nf_tables table, made from the ledger alone.

use kernel::conntrack::{self, Stale};
use kernel::netlink::sysctl::{self, Setting};
use kernel::netns::Netns;
use kernel::nft::{Nft, Table};
use tracing::warn;

use super::extras::PortMapping;
use super::failure::Failure;
use super::ledger::{Entry, Ledger};
use super::request::Attachment;

/// The table's name.
pub(super) const TABLE: &str = "causeway-hostport";

/// The table, as it was written last; unknown at the start.
#[derive(Debug, Default)]
pub(super) struct Ports {
    nft: Option<Nft>,
    written: Option<Table>,
}

/// What the table ought to hold for these containers.
pub(super) fn table<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Table {
    let ports = entries
        .into_iter()
        .flat_map(|entry| entry.extras.ports.iter().flat_map(|port| port.leading_to(&entry.ips)));
    Table { host_ports: ports.collect(), ..Table::named(TABLE) }
}

/// Whether these ports are free: which is not, and whose it is.
pub(super) fn taken(ledger: &Ledger, by: &Attachment, ports: &[PortMapping]) -> Result<(), Failure> {
    for port in ports {
        let has = |entry: &&Entry| {
            entry.attachment != *by && entry.extras.ports.iter().any(|other| other.collides(port))
        };
        if let Some(entry) = ledger.entries.values().find(has) {
            let owner =
                entry.pod.as_ref().map_or_else(|| entry.attachment.container_id.clone(), ToString::to_string);
            return Err(Failure::PortTaken { protocol: port.protocol, port: port.host_port, owner });
        }
    }
    Ok(())
}

impl Ports {
    /// Brings the kernel's table to this. Blocks for a millisecond if it is news.
    pub(super) fn set(&mut self, node: &Netns, table: Table) -> Result<(), Failure> {
        let before = self.written.take_if(|written| *written != table);
        if self.written.is_none() {
            let nft = self.nft(node)?;
            match &before {
                Some(before) => nft.change(before, &table)?,
                None => nft.replace(&table)?,
            }
            self.written = Some(table);
        }
        Ok(())
    }

    /// Whether the kernel's table is what was written.
    pub(super) fn are_set(&mut self, node: &Netns) -> Result<bool, Failure> {
        let observed = self.nft(node)?.observe(TABLE)?;
        Ok(self.written.as_ref().is_some_and(|written| written.is_held(observed.as_ref())))
    }

    /// Writes the table again if the kernel's is not what it ought to be. Returns whether that was so.
    pub(super) fn repair(&mut self, node: &Netns, table: Table) -> Result<bool, Failure> {
        // A request that is under way has its say when it is done.
        let expected = self.written.clone().unwrap_or(table);
        match self.nft(node).and_then(|nft| Ok(nft.observe(TABLE)?)) {
            Ok(observed) if expected.is_held(observed.as_ref()) => {
                self.written = Some(expected);
                Ok(false)
            }
            // A kernel that cannot have a table has none that is wrong.
            Err(_) if expected.host_ports.is_empty() => Ok(false),
            Err(failure) => Err(failure),
            Ok(_) => {
                self.written = None;
                self.set(node, expected).map(|()| true)
            }
        }
    }

    fn nft(&mut self, node: &Netns) -> Result<&mut Nft, Failure> {
        match &mut self.nft {
            Some(nft) => Ok(nft),
            none => Ok(none.insert(Nft::open_in(node)?)),
        }
    }
}

/// Has UDP clients that send all the time begin anew: their flows would go on to where they went before.
pub(super) fn forget_flows(node: &Netns, entry: &Entry, stale: Stale) {
    let ports: Vec<_> = entry.extras.ports.iter().flat_map(|port| port.leading_to(&entry.ips)).collect();
    if let Err(e) = conntrack::forget(node, &ports, stale) {
        warn!(
            device = entry.host_ifname,
            "UDP clients of a host port may be sent where they were before: {e}"
        );
    }
}

/// Lets what the node sends from a loopback address through a pod's device, as far as the pod has host ports: the
/// table sends it there with an address of the node's. It keeps such packets of others away from every device.
pub(super) fn let_loopback_pass(node: &Netns, entry: &Entry) -> Result<(), Failure> {
    if entry.extras.ports.is_empty() || !entry.ips.iter().any(std::net::IpAddr::is_ipv4) {
        return Ok(());
    }
    let setting = format!("net/ipv4/conf/{}/route_localnet", entry.host_ifname);
    sysctl::write(node, &[Setting::required(&setting, "1")]).map_err(kernel::pod::PodError::from)?;
    Ok(())
}
