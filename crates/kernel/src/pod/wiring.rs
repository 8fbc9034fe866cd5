//! Wires are made and taken away: a few trips into the kernel, each with everything that can be said at once.
//!
//! Everything here blocks, because the kernel does: whoever has a runtime calls it where blocking is allowed. Any
//! number of threads may wire pods at once. The kernel makes devices one after the other (one lock, RTNL, for all
//! namespaces), but much of what it does for a pod is not under it, above all its waiting when a device goes.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{PodError, PodSpec, Wired, default_route, gateway, macs, route_to};
use crate::netlink::address::{add_address, set_neighbour};
use crate::netlink::blocking::Conversation;
use crate::netlink::link::{add_veth, delete_link, set_link};
use crate::netlink::route::{set_route, take_in};
use crate::netlink::sysctl;
use crate::netlink::{Link, LinkChange, LinkLocal, NetlinkError, Step, VethEnd, failed, if_there};
use crate::netns::Netns;
use crate::shaping::set_limit;

/// How many conversations with the node's namespace are kept for the next pods.
const KEPT: usize = 8;

/// Makes and deletes the wires between a node and its pods.
#[derive(Debug)]
pub struct Wirer {
    node: Netns,
    idle: Mutex<Vec<Conversation>>,
}

impl Wirer {
    /// For the pods of a node, whose network namespace this is.
    pub fn new(node: Netns) -> Self {
        Self { node, idle: Mutex::default() }
    }

    /// Wires a pod. What an earlier, interrupted attempt left is replaced; what this one leaves unfinished is taken
    /// back.
    ///
    /// # Errors
    /// The kernel refused, or the pod has another interface of the name.
    pub fn add(&self, spec: &PodSpec) -> Result<Wired, PodError> {
        let netns = spec.open_netns()?;
        let mut node = self.conversation()?;
        let mut pod = converse_with(&netns)?;
        make(&mut node, spec, &netns)?;
        let wired = wire(&mut node, &mut pod, spec);
        if wired.is_err() {
            // The first error is the one to tell; whatever is left is replaced by the next attempt.
            let _ = node.carry_out(vec![delete_link(&spec.host_ifname)]);
        }
        self.keep(node);
        Ok(wired?)
    }

    /// Takes a pod's wire away, with its routes. One that is not there is no error, and the pod's namespace need not
    /// exist any more. Some tens of milliseconds: the kernel waits until nobody can be using the devices any more.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove(&self, host_ifname: &str) -> Result<(), PodError> {
        let mut node = self.conversation()?;
        if_there(node.carry_out(vec![delete_link(host_ifname)]))?;
        self.keep(node);
        Ok(())
    }

    fn conversation(&self) -> Result<Conversation, PodError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| Ok(self.node.visit(open)??), Ok)
    }

    fn keep(&self, node: Conversation) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(node);
        }
    }
}

fn open() -> Result<Conversation, NetlinkError> {
    Conversation::open(NETLINK_ROUTE).map_err(failed("open a netlink socket in", "a network namespace"))
}

/// Settles what a pod's devices will begin with, and opens a conversation, in one visit.
fn converse_with(netns: &Netns) -> Result<Conversation, PodError> {
    netns.visit(|| {
        sysctl::write_here(sysctl::POD)?;
        Ok(open()?)
    })?
}

/// Makes the veth pair, both ends down.
fn make(node: &mut Conversation, spec: &PodSpec, netns: &Netns) -> Result<(), PodError> {
    let (host_mac, pod_mac) = macs(&spec.host_ifname);
    let here = VethEnd { mtu: Some(spec.mtu), mac: Some(host_mac), ..VethEnd::named(&spec.host_ifname) };
    let there = VethEnd {
        netns: Some(netns),
        mtu: Some(spec.mtu),
        mac: Some(pod_mac),
        ..VethEnd::named(&spec.ifname)
    };
    let taken = || PodError::Taken { netns: spec.netns.clone(), ifname: spec.ifname.clone() };
    match node.carry_out(vec![add_veth(&here, &there)]) {
        Err(e) if e.is_exists() => {
            if node.link(&spec.host_ifname)?.is_none() {
                return Err(taken());
            }
            if_there(node.carry_out(vec![delete_link(&spec.host_ifname)]))?;
            let again = node.carry_out(vec![add_veth(&here, &there)]);
            again.map_err(|e| if e.is_exists() { taken() } else { e.into() })
        }
        made => Ok(made?),
    }
}

fn wire(node: &mut Conversation, pod: &mut Conversation, spec: &PodSpec) -> Result<Wired, NetlinkError> {
    let (host_mac, pod_mac) = macs(&spec.host_ifname);
    let Link { index: host_index, peer, .. } = found(node, &spec.host_ifname)?;
    let pod_index = peer.map_or_else(|| found(pod, &spec.ifname).map(|link| link.index), Ok)?;
    let limits = &spec.limits;

    // Limits before a device is up: an exchange of queues at work would wait for the packets in them.
    let mut here: Vec<Step> = limits.to_pod.map(|limit| set_limit(host_index, limit)).into_iter().collect();
    let change = LinkChange {
        up: Some(true),
        alias: Some(&spec.note),
        link_local: Some(LinkLocal::None),
        ..LinkChange::default()
    };
    here.push(set_link(host_index, &change));
    node.carry_out(here)?;

    let mut there: Vec<Step> = limits.from_pod.map(|limit| set_limit(pod_index, limit)).into_iter().collect();
    there.push(set_link(pod_index, &LinkChange { up: Some(true), ..LinkChange::default() }));
    let mut here = Vec::new();
    for ip in &spec.ips {
        there.push(add_address(pod_index, IpNet::from(*ip)));
        there.push(set_neighbour(pod_index, gateway(*ip), host_mac));
        there.push(set_route(&default_route(*ip, pod_index)));
        if ip.is_ipv6() {
            there.push(take_in(*ip, pod_index));
        }
        here.push(set_neighbour(host_index, *ip, pod_mac));
        here.push(set_route(&route_to(*ip, host_index)));
    }
    pod.carry_out(there)?;
    node.carry_out(here)?;
    await_running(node, &spec.host_ifname)?;
    Ok(Wired { host_index, host_mac, pod_mac })
}

fn found(netlink: &mut Conversation, name: &str) -> Result<Link, NetlinkError> {
    let missing = || failed("find device", name)(io::Error::from_raw_os_error(libc::ENODEV));
    netlink.link(name)?.ok_or_else(missing)
}

/// Returns when a device passes packets, or has not begun to for a second.
///
/// A device whose other end comes up after itself drops what it is to send until the kernel's link watch, a worker of
/// its own, has taken notice. Being asked makes newer kernels take notice at once (6.8, "synchronize link-watch when
/// carrier is queried"); the worker of older ones needs some tens of microseconds.
fn await_running(netlink: &mut Conversation, name: &str) -> Result<(), NetlinkError> {
    const AGAIN: Duration = Duration::from_micros(200);
    const LIMIT: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    while !netlink.link(name)?.is_some_and(|link| link.running) && begun.elapsed() < LIMIT {
        #[expect(
            clippy::disallowed_methods,
            reason = "a device has no event for this but the answer to a question"
        )]
        thread::sleep(AGAIN);
    }
    Ok(())
}
