//! What this machine can do, found out by trying: programs, maps and devices of the smallest kind, made and let go.
//!
//! Devices are tried in a network namespace that lives as long as the question. Nothing is attached, nothing stays.

mod devices;
mod programs;

use std::fs;
use std::path::Path;

use crate::host::Host;

pub use programs::{has_redirect_to_neighbours, has_set_retval};

/// Something that Causeway uses, or would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name, such as `wireguard` or `tcx`.
    pub name: &'static str,
    /// Whether it is there.
    pub present: bool,
    /// What it is for.
    pub purpose: &'static str,
    /// What is used in its place, when it is missing.
    pub fallback: Option<&'static str>,
    /// Whether nothing works without it.
    pub required: bool,
    /// What to do when it is missing.
    pub advice: &'static str,
}

/// Tries everything. Takes some tens of milliseconds.
pub fn probe() -> Vec<Feature> {
    probe_on(&Host::default())
}

/// Tries everything, for a machine that this process may be in a container on: what only the machine has is looked
/// for there.
pub fn probe_on(host: &Host) -> Vec<Feature> {
    let mut devices = devices::try_all();
    // In a container the device cannot be opened, but programs that are started outside can.
    devices.tun |= !host.is_here() && host.path(Path::new("/dev/net/tun")).exists();
    base(host).into_iter().chain(packet_path(&devices)).chain(links(&devices)).collect()
}

/// The features among these without which nothing works, and which are missing. Without privileges nothing else could
/// be tried, so nothing else is named that had to be.
pub fn missing(features: &[Feature]) -> Vec<&Feature> {
    let privileged = features.iter().any(|feature| feature.name == PRIVILEGES && feature.present);
    let is_known = |feature: &Feature| privileged || UNTRIED.contains(&feature.name);
    features.iter().filter(|feature| feature.required && !feature.present && is_known(feature)).collect()
}

const PRIVILEGES: &str = "privileges";
/// What is found out by reading alone.
const UNTRIED: [&str; 4] = ["kernel", PRIVILEGES, "cgroup2", "bpffs"];

const NEWER_KERNEL: &str = "boot a kernel of 5.15 or newer (Debian 12, Ubuntu 22.04)";
const AS_ROOT: &str = "run as root, or with the capabilities CAP_BPF and CAP_NET_ADMIN";
const BPF_KERNEL: &str =
    "run as root on a kernel of 5.15 or newer that was built with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF";

fn base(host: &Host) -> [Feature; 4] {
    [
        Feature {
            name: "kernel",
            present: release().is_some_and(|r| r >= (5, 15)),
            purpose: "everything",
            fallback: None,
            required: true,
            advice: NEWER_KERNEL,
        },
        Feature {
            name: PRIVILEGES,
            present: is_privileged(),
            purpose: "loading eBPF programs, changing the network",
            fallback: None,
            required: true,
            advice: AS_ROOT,
        },
        Feature {
            name: "cgroup2",
            present: host.cgroup_root().is_ok(),
            purpose: "attaching the service balancer to pods and programs",
            fallback: None,
            required: true,
            advice: "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified (any place will do)",
        },
        Feature {
            name: "bpffs",
            present: fs::read_to_string("/proc/filesystems")
                .is_ok_and(|t| t.lines().any(|l| l.ends_with("\tbpf"))),
            purpose: "keeping the packet path at work while the agent restarts",
            fallback: None,
            required: true,
            advice: BPF_KERNEL,
        },
    ]
}

fn packet_path(devices: &devices::Devices) -> [Feature; 9] {
    [
        Feature {
            name: "btf",
            present: programs::has_types(),
            purpose: "types of the packet path's maps and functions",
            fallback: None,
            required: true,
            advice: BPF_KERNEL,
        },
        Feature {
            name: "socket-hooks",
            present: programs::has_socket_hooks(),
            purpose: "balancing services where sockets are dialled",
            fallback: None,
            required: true,
            advice: BPF_KERNEL,
        },
        Feature {
            name: "socket-storage",
            present: programs::has_socket_storage(),
            purpose: "showing programs the address they dialled",
            fallback: None,
            required: true,
            advice: BPF_KERNEL,
        },
        Feature {
            name: "set-retval",
            present: has_set_retval(),
            purpose: "refusing connections to services without backends",
            fallback: Some("such a connection fails with EPERM, not with ECONNREFUSED"),
            required: false,
            advice: "boot a kernel of 5.18 or newer",
        },
        Feature {
            name: "socket-destroy",
            present: devices.socket_destroy,
            purpose: "failing connects that are under way to a node when it dies",
            fallback: Some("such a connect waits for its client's timeout"),
            required: false,
            advice: "boot a kernel that was built with CONFIG_INET_DIAG and CONFIG_INET_DIAG_DESTROY",
        },
        Feature {
            name: "prefix-tries",
            present: programs::has_prefix_tries(),
            purpose: "guarding pods' address ranges on the underlay",
            fallback: None,
            required: true,
            advice: BPF_KERNEL,
        },
        Feature {
            name: "redirect",
            present: has_redirect_to_neighbours(),
            purpose: "services for clients outside of the cluster, packet by packet",
            fallback: Some("services are for pods and nodes of the cluster"),
            required: false,
            advice: "boot a kernel of 5.10 or newer",
        },
        Feature {
            name: "tcx",
            present: devices.tcx,
            purpose: "programs on devices, replaced without a gap",
            fallback: Some("filters of a clsact qdisc"),
            required: false,
            advice: "boot a kernel of 6.6 or newer",
        },
        Feature {
            name: "clsact",
            present: devices.clsact,
            purpose: "programs on devices of kernels before 6.6",
            fallback: if devices.tcx { Some("tcx, which is better") } else { None },
            required: !devices.tcx,
            advice: "load the modules sch_ingress and cls_bpf",
        },
    ]
}

fn links(devices: &devices::Devices) -> [Feature; 7] {
    [
        Feature {
            name: "netns",
            present: devices.netns,
            purpose: "a network of its own for every pod",
            fallback: None,
            required: true,
            advice: "run as root on a kernel that was built with CONFIG_NET_NS",
        },
        Feature {
            name: "veth",
            present: devices.veth,
            purpose: "wires between pods and their node",
            fallback: None,
            required: true,
            advice: "load the module veth (Ubuntu: apt-get install linux-modules-extra-$(uname -r))",
        },
        Feature {
            name: "wireguard",
            present: devices.wireguard,
            purpose: "encrypted tunnels between nodes, in the kernel",
            fallback: Some("our own process: causeway wireguard"),
            required: false,
            advice: "load the module wireguard",
        },
        Feature {
            name: "tun",
            present: devices.tun,
            purpose: "tunnels by a process of ours; the lab's underlay",
            fallback: if devices.wireguard {
                Some("wireguard in the kernel (not for the lab)")
            } else {
                None
            },
            required: !devices.wireguard,
            advice: "load the module tun; in a container, pass the device /dev/net/tun in",
        },
        Feature {
            name: "nftables",
            present: devices.nftables,
            purpose: "pods leaving the mesh with their node's address; hostPort",
            fallback: Some("neither of them"),
            required: false,
            advice: "load the modules nf_tables, nft_nat, nft_masq and nft_fib_inet",
        },
        Feature {
            name: "shaping",
            present: devices.shaping,
            purpose: "limits of pods' bandwidth",
            fallback: Some("such a pod is refused"),
            required: false,
            advice: "load the module sch_tbf",
        },
        Feature {
            name: "vxlan",
            present: devices.vxlan,
            purpose: "packets that need not be encrypted inside a location (mesh.encryption: mesh)",
            fallback: Some("the tunnel, encrypted"),
            required: false,
            advice: "load the module vxlan",
        },
    ]
}

/// Version and patch level of the running kernel.
fn release() -> Option<(u32, u32)> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    parse_release(&text)
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether the capabilities are there; CAP_SYS_ADMIN holds CAP_BPF, as it did before 5.8.
fn is_privileged() -> bool {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const BPF: u32 = 39;
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else { return false };
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else { return false };
    let has = |capability: u32| held & (1 << capability) != 0;
    has(NET_ADMIN) && (has(BPF) || has(SYS_ADMIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_privileges_nothing_else_is_blamed() {
        let feature = |name, present| Feature {
            name,
            present,
            purpose: "a test",
            fallback: None,
            required: true,
            advice: "none",
        };
        for (present, expected) in [
            ([true, false, true, false], vec![PRIVILEGES]),
            ([false, false, true, true], vec!["kernel", PRIVILEGES]),
            ([true, true, false, false], vec!["cgroup2", "veth"]),
            ([true, true, true, true], vec![]),
        ] {
            let names = ["kernel", PRIVILEGES, "cgroup2", "veth"];
            let features: Vec<_> = names.into_iter().zip(present).map(|(n, p)| feature(n, p)).collect();
            let found: Vec<_> = missing(&features).iter().map(|f| f.name).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn releases() {
        for (text, expected) in [
            ("6.18.44-fc-v669\n", Some((6, 18))),
            ("5.15.0-91-generic", Some((5, 15))),
            ("6.1", Some((6, 1))),
            ("six", None),
        ] {
            assert_eq!(parse_release(text), expected, "{text}");
        }
    }
}
