//! One table of nf_tables, kept by netlink: masquerading and host ports.
//!
//! A table is written as a whole, in one transaction: packets see the old one or the new one, never a part. Other
//! tables are not touched, neither those of `iptables-nft` nor kube-proxy's nor Docker's: chains of the same hook live
//! side by side, and connection tracking lets the first address translation of a connection stand, as long as any
//! chain of the kind `nat` is left in the namespace. What belongs into a table is decided elsewhere.

pub(crate) mod attributes;
mod batch;
mod content;
mod expression;
mod foreign;
mod intervals;
pub(crate) mod observed;

use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use model::Protocol;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use siphasher::sip::SipHasher13;

use crate::netns::{Netns, NetnsError};
use batch::Batch;
use content::Content;

pub use observed::Observed;

/// Why a table could not be written, removed or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} the nf_tables table {table:?} ({part}): {source}{}", advice(source))]
pub struct NftError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which table.
    pub table: String,
    /// At which part of it.
    pub part: String,
    /// Why not.
    pub source: io::Error,
}

fn advice(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; root (CAP_NET_ADMIN) is needed",
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL) => {
            "; does the kernel have nf_tables with nft_nat, nft_masq and nft_fib_inet? Try `modprobe nft_masq`"
        }
        _ => "",
    }
}

/// A table of the `inet` family: what it holds is all that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name. Two tables of different names do not disturb each other.
    pub name: String,
    /// Which packets leave with the node's address.
    pub masquerade: Option<Masquerade>,
    /// Which ports of the node are pods'.
    pub host_ports: BTreeSet<HostPort>,
}

/// Packets from `sources` to anywhere but `except_destinations`, the node itself, broadcast and multicast leave with
/// the address of the device they leave by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Where they come from.
    pub sources: Vec<IpNet>,
    /// Where they may go with the source they have.
    pub except_destinations: Vec<IpNet>,
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which address of the node; none, 0.0.0.0 or ::: at every one of the pod's family.
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The pod's address.
    pub pod_ip: IpAddr,
    /// The pod's port.
    pub pod_port: u16,
}

impl Table {
    /// A table with nothing in it.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), masquerade: None, host_ports: BTreeSet::new() }
    }

    /// Whether the kernel holds this very table: written by [`Nft::replace`] for equal contents, chains and rules
    /// still there. A table that changes nothing is held when there is none.
    pub fn is_held(&self, observed: Option<&Observed>) -> bool {
        let content = Content::of(self);
        match observed {
            Some(observed) => !content.is_empty() && observed.agrees(self.digest(&content), &content),
            None => content.is_empty(),
        }
    }

    /// What stands in the table's note: equal for equal contents, written by the same version of this module.
    fn digest(&self, content: &Content) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(&Batch::replacing(&self.name, None, content).finish());
        hasher.finish()
    }
}

/// Writes a table in the calling thread's namespace: [`Nft::replace`].
///
/// # Errors
/// The kernel refused; the table is as it was.
pub fn replace(table: &Table) -> Result<(), NftError> {
    Nft::open()?.replace(table)
}

/// Removes a table in the calling thread's namespace: [`Nft::remove`].
///
/// # Errors
/// The kernel refused.
pub fn remove(name: &str) -> Result<(), NftError> {
    Nft::open()?.remove(name)
}

/// Looks at a table in the calling thread's namespace: [`Nft::observe`].
///
/// # Errors
/// The kernel refused.
pub fn observe(name: &str) -> Result<Option<Observed>, NftError> {
    Nft::open()?.observe(name)
}

/// Shows the table and the name of every chain, whosever it is, in the calling thread's namespace.
pub(crate) fn each_chain(take: impl FnMut(&str, &str)) -> io::Result<()> {
    let nft = Nft::open().map_err(|e| e.source)?;
    foreign::each_chain(&nft.socket, take)
}

/// Chains that drop what is forwarded, whosever they are, in the calling thread's namespace.
pub(crate) fn dropping_forward() -> io::Result<Vec<String>> {
    let nft = Nft::open().map_err(|e| e.source)?;
    let mut found = Vec::new();
    foreign::dropping_forward(&nft.socket, |family, table, chain| {
        found.push(format!("nftables, chain {chain} of table {family} {table}"));
    })?;
    Ok(found)
}

/// Whether address translation works: tries it in the calling thread's namespace, which should be one of its own.
pub(crate) fn can_translate() -> bool {
    let any = |text: &str| text.parse().expect("an address");
    let port = |pod_ip| HostPort {
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port: 1,
        pod_ip: any(pod_ip),
        pod_port: 1,
    };
    let range = |text: &str| text.parse::<IpNet>().expect("a range");
    let masquerade = Masquerade {
        sources: vec![range("192.0.2.0/24"), range("2001:db8::/32")],
        except_destinations: Vec::new(),
    };
    replace(&Table {
        name: "causeway-probe".into(),
        masquerade: Some(masquerade),
        host_ports: [port("192.0.2.1"), port("2001:db8::1")].into(),
    })
    .is_ok()
}

/// A conversation about one namespace's tables. Every call blocks, for about a millisecond.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel has no nf_tables.
    pub fn open() -> Result<Self, NftError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Errors come without a copy of what was sent.
            socket.set_cap_ack(true)?;
            Ok(Self { socket })
        };
        open().map_err(failed("open a socket for", "(any)"))
    }

    /// Opens one in another namespace.
    ///
    /// # Errors
    /// As [`Nft::open`], and a namespace that cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self, NftError> {
        netns.run(Self::open).unwrap_or_else(|e| {
            let source = match e {
                NetnsError::Kernel { source, .. } => source,
                other => io::Error::other(other),
            };
            Err(failed("open a socket for", "(any)")(source))
        })
    }

    /// Writes a table, in place of the one of its name if there is one, in one transaction. One that changes nothing
    /// is removed instead.
    ///
    /// # Errors
    /// The kernel refused; the table is as it was.
    pub fn replace(&mut self, table: &Table) -> Result<(), NftError> {
        let content = Content::of(table);
        if content.is_empty() {
            return self.remove(&table.name);
        }
        let digest = table.digest(&content);
        self.commit(&table.name, "write", Batch::replacing(&table.name, Some(digest), &content))
    }

    /// Makes one table of another, in one transaction, with no more than what differs if only elements of sets do: as
    /// quick with many as with few. `from` is what [`Nft::replace`] or this wrote last.
    ///
    /// # Errors
    /// The kernel refused; the table is as it was.
    pub fn change(&mut self, from: &Table, to: &Table) -> Result<(), NftError> {
        let (old, new) = (Content::of(from), Content::of(to));
        let batch = Batch::changing(&to.name, to.digest(&new), &old, &new).filter(|_| from.name == to.name);
        match batch.map(|batch| self.commit(&to.name, "change", batch)) {
            Some(Ok(())) => Ok(()),
            // It may have been changed by others: what is wanted is known as a whole.
            Some(Err(_)) | None => self.replace(to),
        }
    }

    /// Removes a table. One that is not there is no error.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove(&mut self, name: &str) -> Result<(), NftError> {
        self.commit(name, "remove", Batch::removing(name))
    }

    /// Looks at a table; none if there is none.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn observe(&mut self, name: &str) -> Result<Option<Observed>, NftError> {
        observed::observe(&self.socket, name).map_err(failed("read", name))
    }

    fn commit(&mut self, name: &str, attempt: &'static str, batch: Batch) -> Result<(), NftError> {
        batch.commit(&self.socket).map_err(|(part, source)| NftError {
            attempt,
            table: name.into(),
            part,
            source,
        })
    }
}

fn failed(attempt: &'static str, table: &str) -> impl FnOnce(io::Error) -> NftError {
    let table = table.into();
    move |source| NftError { attempt, table, part: "all of it".into(), source }
}
