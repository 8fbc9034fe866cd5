//! Traces of kube-proxy in the calling thread's network namespace: its rules, its device, its health check. Only
//! looked at, never touched.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use model::KubeProxy;
use nix::net::if_::if_nametoindex;

use crate::{legacy, nft};

/// Where kube-proxy answers whether it is well, unless it is told otherwise.
const HEALTH_PORT: u16 = 10256;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// What leads to the rules of all services, in the iptables modes.
const CHAIN: &str = "KUBE-SERVICES";

/// What it is called in the nftables mode.
const TABLE: &str = "kube-proxy";

/// Where all services' addresses are, in the ipvs mode.
const DEVICE: &str = "kube-ipvs0";

/// What there is of kube-proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// What follows from it.
    pub state: KubeProxy,
    /// What was seen, in words.
    pub seen: Vec<String>,
}

/// Looks around. Blocks, for some milliseconds.
pub fn look() -> Sighting {
    let mut seen = Vec::new();
    let looked = look_at_rules(&mut seen);
    if if_nametoindex(DEVICE).is_ok() {
        seen.push(format!("device {DEVICE}"));
    }
    let answers =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into_iter().any(is_answering);
    if answers {
        seen.push(format!("its answer on port {HEALTH_PORT}"));
    }
    if let Err(e) = &looked {
        seen.push(format!("the packet filters cannot be read: {e}"));
    }
    let state = match (answers, seen.is_empty()) {
        (true, _) => KubeProxy::Running,
        (false, true) => KubeProxy::Absent,
        // Rules outlive kube-proxy, and it may answer elsewhere.
        (false, false) => KubeProxy::Unknown,
    };
    Sighting { state, seen }
}

fn look_at_rules(seen: &mut Vec<String>) -> io::Result<()> {
    let (mut table, mut chain) = (false, false);
    nft::each_chain(|in_table, name| {
        table |= in_table == TABLE;
        chain |= name == CHAIN;
    })?;
    if table {
        seen.push(format!("nftables table {TABLE}"));
    }
    if chain {
        seen.push(format!("iptables-nft chain {CHAIN}"));
    }
    if legacy::has_chain(CHAIN)? {
        seen.push(format!("iptables-legacy chain {CHAIN}"));
    }
    Ok(())
}

/// Whether kube-proxy says how it is: well or not, it says when it last did its work.
fn is_answering(ip: IpAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, HEALTH_PORT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("lastUpdated"))
}
