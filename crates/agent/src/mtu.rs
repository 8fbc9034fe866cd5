//! Whether packets as large as pods may send arrive at other nodes; and if not, how large they may be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use kernel::icmp::{Echo, EchoError, Kind, MAX_PAYLOAD};
use model::NodeName;
use tokio::time::{Instant, timeout_at};
use wire::local::{MtuPeer, MtuStatus};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a size is tried before it is too large: single packets get lost.
const TRIES: usize = 2;
/// The sizes between which the largest is looked for are this near in the end.
const NEAR: usize = 8;
/// What every path carries (RFC 8200 §5, RFC 791 §3.1).
const LEAST_V6: usize = 1280;
const LEAST_V4: usize = 576;

/// A node, and what is known of the way to it.
struct Path {
    peer: NodeName,
    ip: IpAddr,
    /// A size that arrives; 0 while none is known.
    good: usize,
    /// A size that does not; one more than the largest that is tried.
    bad: usize,
    /// Whether the largest size was lost once more, after a smaller one was found.
    is_narrow: bool,
}

impl Path {
    /// What to try next, in bytes with all headers.
    fn next(&self, mtu: usize) -> Option<usize> {
        let least = if self.ip.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        match (self.good, self.bad) {
            (0, bad) if bad > mtu => Some(mtu),
            (0, bad) if bad > least => Some(least),
            (0, _) => None,
            (good, bad) if bad > good + NEAR => Some(usize::midpoint(good, bad)),
            // On a way that was just changing it may have been lost by that.
            (good, _) => (good < mtu && !self.is_narrow).then_some(mtu),
        }
    }

    fn handle(&mut self, size: usize, arrived: bool) {
        match arrived {
            true => (self.good, self.bad) = (size, self.bad.max(size + 1)),
            false => {
                self.is_narrow = self.good > 0 && size >= self.bad;
                self.bad = self.bad.min(size);
            }
        }
    }

    fn payload(&self, size: usize) -> usize {
        size.saturating_sub(if self.ip.is_ipv4() { 28 } else { 48 }).min(MAX_PAYLOAD)
    }
}

/// Sends packets of the tunnel's size to these nodes, and smaller ones to those that do not answer.
///
/// # Errors
/// No socket.
pub(crate) async fn measure(
    interface: &str,
    mtu: u32,
    peers: Vec<(NodeName, IpAddr)>,
) -> Result<MtuStatus, EchoError> {
    let echo = Echo::open(Some(interface))?;
    echo.forbid_fragments()?;
    // Not the prober's number, nor that of whoever else looks at the same time.
    let id = (std::process::id() ^ u32::from(peers.len() as u16) ^ 0x4d54) as u16;
    let size = mtu as usize;
    let path = |(peer, ip)| Path { peer, ip, good: 0, bad: size + 1, is_narrow: false };
    let mut paths: Vec<Path> = peers.into_iter().map(path).collect();
    let mut seq = 0;
    loop {
        let mut tried: BTreeMap<usize, usize> = BTreeMap::new();
        for (n, path) in paths.iter().enumerate() {
            if let Some(size) = path.next(size) {
                tried.insert(n, size);
            }
        }
        if tried.is_empty() {
            break;
        }
        let mut waiting = tried.clone();
        for _ in 0..TRIES {
            seq += 1;
            for (n, size) in &waiting {
                let path = &paths[*n];
                // What cannot even be sent does not arrive.
                let _ = echo.send(path.ip, id, seq, &vec![0; path.payload(*size)]).await;
            }
            let until = Instant::now() + PATIENCE;
            while !waiting.is_empty() {
                let Ok(heard) = timeout_at(until, echo.recv()).await else { break };
                let heard = heard?;
                if heard.kind == Kind::Reply && heard.id == id {
                    let paths = &paths;
                    waiting.retain(|n, size| {
                        paths[*n].ip != heard.from || paths[*n].payload(*size) != heard.payload.len()
                    });
                }
            }
        }
        for (n, size) in tried {
            paths[n].handle(size, !waiting.contains_key(&n));
        }
    }
    let peer =
        |path: Path| MtuPeer { peer: path.peer, largest: u32::try_from(path.good).unwrap_or_default() };
    Ok(MtuStatus { mtu, peers: paths.into_iter().map(peer).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that are tried on a path that carries `carries` bytes, and what is found.
    fn search(ip: &str, mtu: usize, carries: usize) -> (Vec<usize>, usize) {
        search_while(ip, mtu, |_| carries)
    }

    /// The same where it carries another number of bytes each time.
    fn search_while(ip: &str, mtu: usize, carries: impl Fn(usize) -> usize) -> (Vec<usize>, usize) {
        let peer = NodeName::try_from("gcp/gcp-1".to_string()).unwrap();
        let mut path = Path { peer, ip: ip.parse().unwrap(), good: 0, bad: mtu + 1, is_narrow: false };
        let mut tried = Vec::new();
        while let Some(size) = path.next(mtu) {
            path.handle(size, size <= carries(tried.len()));
            tried.push(size);
        }
        (tried, path.good)
    }

    #[test]
    fn what_was_lost_while_the_way_changed_is_tried_again() {
        for lost in 1..5 {
            let (tried, found) = search_while("10.1.0.1", 1420, |n| if n < lost { 600 } else { 1500 });
            assert_eq!((tried.last(), found), (Some(&1420), 1420), "{lost}: {tried:?}");
        }
        let (tried, found) = search("10.1.0.1", 1420, 1372);
        assert_eq!(tried.iter().filter(|size| **size == 1420).count(), 2, "and no more: {tried:?} {found}");
    }

    #[test]
    fn a_good_path_costs_one_packet_and_a_bad_one_few() {
        assert_eq!(search("10.1.0.1", 1420, 1500), (vec![1420], 1420));
        let (tried, found) = search("10.1.0.1", 1420, 1372);
        assert!(tried.len() <= 10 && (1372 - NEAR..=1372).contains(&found), "{tried:?} {found}");
        let (tried, found) = search("fd00::1", 8920, 1400);
        assert!(tried.len() < 14 && (1400 - NEAR..=1400).contains(&found), "{tried:?} {found}");
        assert_eq!(search("fd00::1", 1420, 100), (vec![1420, 1280], 0), "nothing arrives");
        assert_eq!(search("fd00::1", 1280, 100).1, 0);
    }
}
