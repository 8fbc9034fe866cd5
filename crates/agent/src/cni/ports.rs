//! The node's ports that lead to pods: one nf_tables table, made from the ledger alone.

use kernel::netlink::sysctl::{self, Setting};
use kernel::netns::Netns;
use kernel::nft::{Nft, Table};

use super::extras::PortMapping;
use super::failure::Failure;
use super::request::Attachment;
use super::store::{Entry, Ledger};

/// The table's name.
pub(super) const TABLE: &str = "causeway-hostport";

/// The table, as it was written last; unknown at the start.
#[derive(Debug, Default)]
pub(super) struct Ports {
    written: Option<Table>,
}

/// What the table ought to hold for these containers.
fn table<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Table {
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
    /// Brings the kernel's table to what these containers ask for. Blocks for a millisecond if that is news.
    pub(super) fn set<'a>(
        &mut self,
        node: &Netns,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), Failure> {
        let table = table(entries);
        if self.written.as_ref() != Some(&table) {
            self.written = None;
            Nft::open_in(node)?.replace(&table)?;
            self.written = Some(table);
        }
        Ok(())
    }

    /// Whether the kernel's table is what these containers ask for.
    pub(super) fn is_set<'a>(
        node: &Netns,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<bool, Failure> {
        let observed = Nft::open_in(node)?.observe(TABLE)?;
        Ok(table(entries).is_held(observed.as_ref()))
    }

    /// What these containers ask for is known to be there.
    pub(super) fn adopt<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) {
        self.written = Some(table(entries));
    }

    /// What was written is not to be relied on any more.
    pub(super) fn forget(&mut self) {
        self.written = None;
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
