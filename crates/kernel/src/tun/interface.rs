//! The little that a device's owner asks of its own network interface: MTU, up, how its packets begin.
//!
//! Addresses, routes and everything about other interfaces go through netlink elsewhere.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A network interface of the namespace in which this value was made, whichever thread uses it.
#[derive(Debug)]
pub struct Interface {
    name: String,
    socket: OwnedFd,
}

impl Interface {
    /// The interface of this name in the calling thread's network namespace. It need not exist yet.
    pub fn new(name: &str) -> io::Result<Self> {
        request(name)?;
        // SAFETY: a plain system call; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened, and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { name: name.to_owned(), socket })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of its largest packet.
    pub fn mtu(&self) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFMTU, request(&self.name)?)?;
        // SAFETY: after SIOCGIFMTU the union holds the MTU.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Sets the bytes of its largest packet.
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        self.ask(libc::SIOCSIFMTU, request).map(drop)
    }

    /// Sets how many packets wait for whoever reads the device.
    pub fn set_queue_len(&self, packets: u32) -> io::Result<()> {
        let mut request = request(&self.name)?;
        // The union has no member of this name; the kernel reads the same int (`ifr_qlen`).
        request.ifr_ifru.ifru_metric = packets as libc::c_int;
        self.ask(libc::SIOCSIFTXQLEN, request).map(drop)
    }

    /// Whether its packets begin with an Ethernet header; those of a TUN or of WireGuard begin with IP's.
    pub fn has_ethernet_header(&self) -> io::Result<bool> {
        let request = self.ask(libc::SIOCGIFHWADDR, request(&self.name)?)?;
        // SAFETY: after SIOCGIFHWADDR the union holds an address, whose family is the kind of the hardware.
        let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
        Ok([libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&kind))
    }

    /// Brings it up.
    pub fn set_up(&self) -> io::Result<()> {
        let mut request = self.ask(libc::SIOCGIFFLAGS, request(&self.name)?)?;
        // SAFETY: after SIOCGIFFLAGS the union holds the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ask(libc::SIOCSIFFLAGS, request).map(drop)
    }

    fn ask(&self, what: libc::c_ulong, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: these requests read and write one `ifreq`, which outlives the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
    }
}

/// An `ifreq` with its name filled in.
pub(crate) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeroes is a valid `ifreq`: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte is left for the closing zero.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['\0', '/']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no interface name: 1 to 15 bytes, no '/'"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// The name in an `ifreq`.
pub(crate) fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().take_while(|c| **c != 0).map(|c| *c as u8);
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}
