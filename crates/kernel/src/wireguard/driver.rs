//! The agent's hand on the tunnel device, whoever runs it.
//!
//! The plan speaks of peers; this file translates to the control socket of the user-space device or to the kernel's
//! generic netlink. It remembers nothing that the device does not, but for one thing: where peers were said to be.

mod client;
mod kernel;
mod paths;
mod spawn;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::plan;
use ipnet::IpNet;
use model::{PresharedKey, PublicKey};
use nix::ifaddrs::getifaddrs;
use thiserror::Error;
use wireguard::{AllowedChange, PeerChange};
use zeroize::Zeroizing;

use self::client::{Client, Extensions};
use self::kernel::Kernel;
pub use self::spawn::{Launch, process_of};
use super::process::Options;
use super::uapi::{LineError, SetRequest, Status};
use crate::tun::Interface;

/// While the last handshake is younger than this, the peer is where we last heard it. A little more than keys live.
const ALIVE: Duration = Duration::from_secs(185);

/// So many peers change at once. Packets wait meanwhile, for some 50 µs of each that is new.
const AT_ONCE: usize = 64;

/// Why the device did not do as it was told.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// Nobody answers.
    #[error("no WireGuard device answers at {path}: {source}; is `causeway wireguard` running?")]
    Absent {
        /// The control socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It answered with an error.
    #[error("the WireGuard device {interface} refused: {source}")]
    Refused {
        /// The device.
        interface: String,
        /// Its error code.
        source: io::Error,
    },
    /// It answered something else.
    #[error("the WireGuard device {interface} answered what is not in the protocol: {source}")]
    Garbled {
        /// The device.
        interface: String,
        /// Where.
        source: LineError,
    },
    /// The user-space device could not be started.
    #[error("cannot start `{command}`: {source}; its log says more")]
    Start {
        /// What was run.
        command: String,
        /// What happened.
        source: io::Error,
    },
    /// The interface of the device could not be set up or read.
    #[error("cannot {attempt} the interface {interface}: {source}; it needs CAP_NET_ADMIN")]
    Interface {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a device was found to be.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// In the plan's words.
    pub tunnel: plan::Tunnel,
    /// The device's own public key, if it has a private one.
    pub public_key: Option<PublicKey>,
    /// The one that is believed beside it, if there is one.
    pub other_key: Option<PublicKey>,
    /// What was exchanged with each peer.
    pub peers: BTreeMap<PublicKey, PeerStats>,
}

/// What was exchanged with a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Where it was last heard, or was said to be.
    pub endpoint: Option<SocketAddr>,
    /// Our own public key in the session that is in use, where the device has two.
    pub own_key: Option<PublicKey>,
    /// When keys were last agreed on, since 1970.
    pub last_handshake: Option<Duration>,
    /// Bytes received from it, as they were on the underlay.
    pub rx_bytes: u64,
    /// Bytes sent to it, as they were on the underlay.
    pub tx_bytes: u64,
}

/// A WireGuard device of this network namespace. Calls block for as long as the device takes to answer.
#[derive(Debug)]
pub struct Device {
    interface: String,
    backend: Backend,
    link: Interface,
    /// Where peers were said to be; none for one that dials us. A peer that is alive may have moved since, and is then left
    /// alone.
    said: Mutex<BTreeMap<PublicKey, Option<SocketAddr>>>,
    /// Whether it passes on messages between peers, once it was asked.
    passes_on: OnceLock<bool>,
}

/// Who runs the device.
#[derive(Debug)]
enum Backend {
    User { client: Client, extensions: Extensions },
    Kernel(Kernel),
}

impl Device {
    /// The device of this name, whose control socket is in the usual place. It must be running.
    pub fn open(interface: &str) -> Result<Self, DeviceError> {
        Self::open_at(&Options::new(interface))
    }

    /// The device with this control socket, or else the kernel's of this name. It must be there.
    pub fn open_at(options: &Options) -> Result<Self, DeviceError> {
        let interface = &options.interface;
        let failed =
            |source| DeviceError::Interface { attempt: "reach", interface: interface.clone(), source };
        let link = Interface::new(interface).map_err(failed)?;
        let client = Client::new(interface, options.socket());
        let backend = match client.status() {
            Ok(_) => Backend::User { extensions: client.extensions(), client },
            Err(DeviceError::Absent { path, source }) => match Kernel::open(interface).map_err(failed)? {
                Some(kernel) => Backend::Kernel(kernel),
                None => return Err(DeviceError::Absent { path, source }),
            },
            Err(error) => return Err(error),
        };
        Ok(Self {
            interface: interface.clone(),
            backend,
            link,
            said: Mutex::default(),
            passes_on: OnceLock::new(),
        })
    }

    /// The device, made if it is not there, and up. If the kernel cannot be it, `causeway` is launched as one, in a
    /// session of its own: it outlives the caller.
    pub fn ensure(options: &Options, launch: &Launch) -> Result<Self, DeviceError> {
        let device = match Self::open_at(options) {
            Ok(device) => device,
            Err(DeviceError::Absent { .. }) => {
                make(options, launch)?;
                Self::open_at(options)?
            }
            Err(error) => return Err(error),
        };
        device.link.set_up().map_err(device.interface_error("bring up"))?;
        Ok(device)
    }

    /// Whether the kernel itself is the device.
    pub fn is_kernel(&self) -> bool {
        matches!(self.backend, Backend::Kernel(_))
    }

    /// Its name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether it and its peers may have two keys while one is changed.
    pub fn knows_two_keys(&self) -> bool {
        self.extensions().two_keys
    }

    /// Whether its peers may have several pre-shared keys, of which it tries one after the other.
    pub fn knows_other_preshared_keys(&self) -> bool {
        self.extensions().other_preshared_keys
    }

    /// Whether its peers may stand in for each other ([`plan::Peer::group`]).
    pub fn knows_groups(&self) -> bool {
        self.extensions().groups
    }

    fn extensions(&self) -> Extensions {
        match &self.backend {
            Backend::User { extensions, .. } => *extensions,
            Backend::Kernel(_) => Extensions::default(),
        }
    }

    /// Gives the device its key. The same key again changes nothing.
    pub fn set_private_key(&self, secret: &[u8; 32]) -> Result<(), DeviceError> {
        self.set(SetRequest { private_key: Some(Zeroizing::new(*secret)), ..SetRequest::default() })
    }

    /// Gives the device its key, and one that is believed beside it or none: sessions of either go on. Where another than the
    /// first one is in use, shaking hands begins anew. A device that has only one key ([`Device::knows_two_keys`]) takes the
    /// first.
    pub fn set_private_keys(&self, first: &[u8; 32], other: Option<&[u8; 32]>) -> Result<(), DeviceError> {
        let other = Zeroizing::new(*other.unwrap_or(&[0; 32]));
        let other_private_key = self.knows_two_keys().then_some(other);
        let private_key = Some(Zeroizing::new(*first));
        self.set(SetRequest { private_key, other_private_key, ..SetRequest::default() })
    }

    /// What the device is now. A peer that is alive is reported where it was said to be, so that one that moved by
    /// itself is no difference from the plan; [`PeerStats::endpoint`] tells where it is.
    pub fn observe(&self) -> Result<Observed, DeviceError> {
        let status = self.status()?;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut observed = Observed {
            tunnel: plan::Tunnel {
                port: status.listen_port,
                mtu: self.link.mtu().map_err(self.interface_error("read the MTU of"))?,
                addresses: addresses(&self.interface)
                    .map_err(self.interface_error("read the addresses of"))?,
                peers: BTreeMap::new(),
            },
            public_key: status.private_key.as_deref().map(public_half),
            other_key: status.other_private_key.as_deref().map(public_half),
            peers: BTreeMap::new(),
        };
        for peer in status.peers {
            let key = PublicKey(peer.public_key);
            let endpoint = match said.get(&key) {
                // From wherever it is: that is no difference from the plan.
                Some(None) => None,
                Some(Some(told)) if is_alive(peer.last_handshake) => Some(*told),
                _ => peer.endpoint,
            };
            observed.tunnel.peers.insert(
                key,
                plan::Peer {
                    endpoint,
                    allowed_ips: peer.allowed_ips.into_iter().collect(),
                    keepalive: peer.keepalive,
                    other_key: peer.other_key.map(PublicKey),
                    group: peer.group,
                    accepted_ips: peer.accepted_ips.into_iter().collect(),
                    preshared_key: preshared(&peer.preshared_key),
                    other_preshared_keys: peer
                        .other_preshared_keys
                        .iter()
                        .map(|key| preshared(key))
                        .collect(),
                },
            );
            observed.peers.insert(
                key,
                PeerStats {
                    endpoint: peer.endpoint,
                    own_key: peer.own_key.map(PublicKey),
                    last_handshake: peer.last_handshake,
                    rx_bytes: peer.rx_bytes,
                    tx_bytes: peer.tx_bytes,
                },
            );
        }
        Ok(observed)
    }

    /// How many packets the device dropped, by reason. Only the user-space device tells; the kernel's is silent.
    pub fn drops(&self) -> Result<BTreeMap<String, u64>, DeviceError> {
        match &self.backend {
            Backend::User { client, .. } => client.drops(),
            Backend::Kernel(_) => Ok(BTreeMap::new()),
        }
    }

    /// Does one operation of the plan, if it is about the tunnel's port or peers; others are not this device's.
    pub fn apply(&self, op: &plan::Op) -> Result<(), DeviceError> {
        match op {
            plan::Op::TunnelPort(port) => {
                self.set(SetRequest { listen_port: Some(*port), ..SetRequest::default() })
            }
            plan::Op::SetPeer(..) | plan::Op::DeletePeer(_) => self.change_peers(std::slice::from_ref(op)),
            _ => Ok(()),
        }
    }

    /// Does operations in their order; what failed. Changes of peers that follow each other take place at once, as far as
    /// [`AT_ONCE`]: where a range goes from one to another there is no moment at which neither may send from it.
    pub fn apply_all(&self, ops: &[plan::Op]) -> Vec<DeviceError> {
        let is_peer = |op: &plan::Op| matches!(op, plan::Op::SetPeer(..) | plan::Op::DeletePeer(_));
        let runs = ops.chunk_by(|a, b| is_peer(a) && is_peer(b)).flat_map(|run| run.chunks(AT_ONCE));
        let mut failed = Vec::new();
        for run in runs {
            // What is refused in company is looked at alone: the others are not to suffer for it.
            if run.len() == 1 || self.change_peers(run).is_err() {
                failed.extend(run.iter().filter_map(|op| self.apply(op).err()));
            }
        }
        failed
    }

    fn change_peers(&self, ops: &[plan::Op]) -> Result<(), DeviceError> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // Only who is told where to go may have moved.
        let to_go = ops.iter().any(|op| matches!(op, plan::Op::SetPeer(_, peer) if peer.endpoint.is_some()));
        let status = if to_go { self.status()?.peers } else { Vec::new() };
        let alive: BTreeSet<[u8; 32]> = status
            .iter()
            .filter(|peer| peer.endpoint.is_some() && is_alive(peer.last_handshake))
            // By its second key, too: that is about to be its first.
            .flat_map(|peer| std::iter::once(peer.public_key).chain(peer.other_key))
            .collect();
        let change = |op: &plan::Op| match op {
            plan::Op::SetPeer(key, peer) => {
                // A peer that is alive is where it was told to be, or has moved by itself. If it was not this driver that
                // told it, another life of the agent did.
                let is_told = said.get(key).is_none_or(|known| *known == peer.endpoint);
                let stays = is_told && alive.contains(&key.0);
                Some(self.change_of(*key, peer, peer.endpoint.filter(|_| !stays)))
            }
            plan::Op::DeletePeer(key) => {
                Some(PeerChange { public_key: key.0, remove: true, ..PeerChange::default() })
            }
            _ => None,
        };
        let peers = ops.iter().filter_map(change).collect();
        self.set(SetRequest { peers, ..SetRequest::default() })?;
        for op in ops {
            match op {
                plan::Op::SetPeer(key, peer) => drop(said.insert(*key, peer.endpoint)),
                plan::Op::DeletePeer(key) => drop(said.remove(key)),
                _ => {}
            }
        }
        Ok(())
    }

    fn change_of(&self, key: PublicKey, peer: &plan::Peer, endpoint: Option<SocketAddr>) -> PeerChange {
        PeerChange {
            public_key: key.0,
            endpoint,
            keepalive: Some(peer.keepalive),
            other_key: self.knows_two_keys().then(|| peer.other_key.map_or([0; 32], |key| key.0)),
            preshared_key: Some(bytes(&peer.preshared_key)),
            other_preshared_keys: self
                .knows_other_preshared_keys()
                .then(|| peer.other_preshared_keys.iter().map(bytes).collect()),
            group: self.knows_groups().then_some(peer.group),
            accepted_ips: peer.accepted_ips.iter().copied().filter(|_| self.knows_groups()).collect(),
            replace_allowed_ips: true,
            allowed_ips: peer.allowed_ips.iter().copied().map(AllowedChange::Add).collect(),
            ..PeerChange::default()
        }
    }

    fn status(&self) -> Result<Status, DeviceError> {
        match &self.backend {
            Backend::User { client, .. } => client.status(),
            Backend::Kernel(kernel) => kernel.status(),
        }
    }

    fn set(&self, request: SetRequest) -> Result<(), DeviceError> {
        match &self.backend {
            Backend::User { client, .. } => client.set(&request),
            Backend::Kernel(kernel) => kernel.set(&request),
        }
    }

    fn interface_error(&self, attempt: &'static str) -> impl FnOnce(io::Error) -> DeviceError {
        let interface = self.interface.clone();
        move |source| DeviceError::Interface { attempt, interface, source }
    }
}

/// Makes a device: the kernel's, or else a process of ours.
fn make(options: &Options, launch: &Launch) -> Result<(), DeviceError> {
    let interface = &options.interface;
    match kernel::make(interface) {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::info!(interface, "the kernel has no WireGuard: running it in user space");
            spawn::start(options, launch)
        }
        Err(source) => Err(DeviceError::Interface { attempt: "make", interface: interface.clone(), source }),
    }
}

/// All zeros are none, for WireGuard itself.
fn preshared(bytes: &[u8; 32]) -> Option<PresharedKey> {
    Some(PresharedKey(*bytes)).filter(|key| key.0 != [0; 32])
}

fn bytes(key: &Option<PresharedKey>) -> [u8; 32] {
    key.as_ref().map_or([0; 32], |key| key.0)
}

fn public_half(secret: &[u8; 32]) -> PublicKey {
    PublicKey(*wireguard::LocalKey::new(*secret).public())
}

fn is_alive(last_handshake: Option<Duration>) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    last_handshake.is_some_and(|at| now.saturating_sub(at) < ALIVE)
}

/// The interface's addresses with their prefix lengths, but for the link's own.
fn addresses(interface: &str) -> io::Result<std::collections::BTreeSet<IpNet>> {
    let of_ours = getifaddrs()?.filter(|entry| entry.interface_name == interface);
    let mut found = std::collections::BTreeSet::new();
    for entry in of_ours {
        let (Some(address), Some(mask)) = (entry.address, entry.netmask) else { continue };
        let v4 = address.as_sockaddr_in().zip(mask.as_sockaddr_in());
        let v6 = address.as_sockaddr_in6().zip(mask.as_sockaddr_in6());
        let range = match (v4, v6) {
            (Some((ip, mask)), _) => IpNet::with_netmask(ip.ip().into(), mask.ip().into()),
            (_, Some((ip, mask))) if !ip.ip().is_unicast_link_local() => {
                IpNet::with_netmask(ip.ip().into(), mask.ip().into())
            }
            _ => continue,
        };
        found.extend(range);
    }
    Ok(found)
}
