//! Linux.

pub mod cgroup;
pub mod mount;
pub mod netns;
pub mod process;
pub mod sandbox;
pub mod tun;
