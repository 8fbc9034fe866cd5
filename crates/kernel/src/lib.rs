//! Linux.

pub mod bpf;
pub mod capacity;
pub mod cgroup;
pub mod conntrack;
pub mod features;
pub mod firewall;
pub mod host;
pub mod icmp;
pub mod kube_proxy;
mod legacy;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod pod;
pub mod process;
pub mod routes;
pub mod sandbox;
pub mod shaping;
pub mod sockets;
pub mod tun;
pub mod wireguard;
