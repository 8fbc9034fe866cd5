//! Which of several gateways is in front of what no other has: the first that answers. What is behind each alone stays there.
//!
//! The one in front is asked every second by an echo request to its address in the mesh, through its own tunnel; the others as
//! soon as it does not answer, and those that come before it so that it is known when they are back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use engine::plan;
use ipnet::IpNet;
use kernel::icmp::{Echo, Kind};
use kernel::wireguard::Device;
use model::PublicKey;
use tokio::time::{Instant, interval};

use super::names::Names;
use crate::peer::Configuration;

/// How often a gateway is asked.
const EVERY: Duration = Duration::from_secs(1);
/// When the one in front has been silent so long the others are asked, too.
const DOUBTFUL: Duration = Duration::from_millis(1_500);
/// One that has been silent so long answers no more.
const SILENT: Duration = Duration::from_millis(3_500);
/// One that comes before the one in front takes its place when it has answered so long without a pause.
const STEADY: Duration = Duration::from_secs(10);

/// A gateway, as it answers.
#[derive(Debug)]
struct Gateway {
    /// Where it is asked: its own addresses in the mesh.
    asked: BTreeSet<IpAddr>,
    /// Since when it answers, and when it did last.
    heard: Option<(Duration, Duration)>,
}

impl Gateway {
    fn answers(&self, now: Duration) -> bool {
        self.heard.is_some_and(|(_, last)| now < last + SILENT)
    }

    fn is_steady(&self, now: Duration) -> bool {
        self.answers(now) && self.heard.is_some_and(|(since, _)| now >= since + STEADY)
    }
}

/// Who is in front. Time is an argument.
#[derive(Debug)]
pub(super) struct Front {
    gateways: Vec<Gateway>,
    front: usize,
    /// What whoever is in front has beside its own.
    common: BTreeSet<IpNet>,
}

impl Front {
    /// Of a configuration with several gateways, the first of which is in front; none if there is nothing to choose.
    pub(super) fn new(configuration: &Configuration) -> Option<Self> {
        let (first, others) = configuration.peers.split_first()?;
        // Inside a range of all pods stands the node's own; its addresses alone are named where pods are not wanted.
        let is_inside = |net: &&IpNet| first.allowed_ips.iter().any(|all| all != *net && all.contains(*net));
        let is_server = |net: &&IpNet| configuration.dns.iter().any(|ip| IpNet::from(*ip) == **net);
        let own: BTreeSet<IpNet> =
            first.allowed_ips.iter().filter(|net| is_inside(net) || is_server(net)).copied().collect();
        let common: BTreeSet<IpNet> =
            first.allowed_ips.iter().filter(|net| !own.contains(net)).copied().collect();
        let dns = configuration.dns.iter().copied();
        let asked = own.iter().filter_map(first_usable).chain(dns).collect();
        let mut gateways = vec![Gateway { asked, heard: Some((Duration::ZERO, Duration::ZERO)) }];
        gateways.extend(others.iter().map(|end| Gateway {
            asked: end.allowed_ips.iter().filter_map(first_usable).collect(),
            heard: None,
        }));
        let has_choice = gateways.len() > 1 && gateways.iter().all(|gateway| !gateway.asked.is_empty());
        (has_choice && !common.is_empty()).then_some(Self { gateways, front: 0, common })
    }

    fn handle_answer(&mut self, from: IpAddr, now: Duration) {
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.asked.contains(&from)) {
            let since = gateway.heard.filter(|_| gateway.answers(now)).map_or(now, |(since, _)| since);
            gateway.heard = Some((since, now));
        }
    }

    /// Who is to be asked now.
    fn to_ask(&self, now: Duration) -> impl Iterator<Item = &IpAddr> {
        let heard = self.gateways[self.front].heard;
        let is_doubtful = heard.is_none_or(|(_, last)| now >= last + DOUBTFUL);
        let asked = self.gateways.iter().enumerate();
        let asked = asked.filter(move |(place, _)| *place <= self.front || is_doubtful);
        asked.flat_map(|(_, gateway)| &gateway.asked)
    }

    /// Whether another is in front from now on. Where nobody answers all stays as it is.
    fn poll(&mut self, now: Duration) -> bool {
        let kept = self.gateways[self.front].answers(now);
        let fits = |(place, gateway): (usize, &Gateway)| match kept {
            true => place < self.front && gateway.is_steady(now),
            false => gateway.answers(now),
        };
        let next = self.gateways.iter().enumerate().position(fits);
        next.map(|next| self.front = next).is_some()
    }

    /// What is behind a gateway now, of all that may be behind it.
    fn behind(&self, place: usize, own: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        let alone = own.difference(&self.common).copied();
        let common = self.common.iter().filter(|_| place == self.front).copied();
        alone.chain(common).collect()
    }
}

/// The address that a node has in its range: the first that a host may have (in IPv6 the very first means every router).
fn first_usable(net: &IpNet) -> Option<IpAddr> {
    let is_host = net.prefix_len() == net.max_prefix_len();
    net.hosts().find(|ip| is_host || ip.is_ipv4() || *ip != net.network())
}

/// Keeps a gateway that answers in front, for as long as it is polled. Without raw sockets all stays as it is.
pub(super) async fn keep(
    mut front: Front,
    device: &Device,
    ends: &[(PublicKey, plan::Peer)],
    configuration: &Configuration,
    names: &mut Names,
    interface: &str,
) {
    let echo = match Echo::open(Some(interface)) {
        Ok(echo) => echo,
        Err(error) => {
            eprintln!("gateways are not watched: {error}");
            return std::future::pending().await;
        }
    };
    let (began, mut ticks, mut seq) = (Instant::now(), interval(EVERY), 0u16);
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    loop {
        tokio::select! {
            heard = echo.recv() => match heard {
                Ok(heard) if heard.kind == Kind::Reply && heard.id == id => {
                    front.handle_answer(heard.from, began.elapsed());
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("gateways are watched no more: {error}");
                    return std::future::pending().await;
                }
            },
            _ = ticks.tick() => {
                let before = front.front;
                if front.poll(began.elapsed()) {
                    let name = |place: usize| {
                        let end = &configuration.peers[place];
                        end.endpoint.clone().unwrap_or_else(|| end.public_key.to_string())
                    };
                    println!("by {} now, in place of {}", name(front.front), name(before));
                    if let Err(error) = change(&front, before, device, ends, configuration, names, interface) {
                        eprintln!("{error:#}");
                    }
                }
                seq = seq.wrapping_add(1);
                for to in front.to_ask(began.elapsed()) {
                    // One that cannot be sent is one that is not answered.
                    let _ = echo.send(*to, id, seq, &[]).await;
                }
            }
        }
    }
}

/// Tells the device, and whoever asks for names.
fn change(
    front: &Front,
    before: usize,
    device: &Device,
    ends: &[(PublicKey, plan::Peer)],
    configuration: &Configuration,
    names: &mut Names,
    interface: &str,
) -> anyhow::Result<()> {
    // An address goes to whoever is given it last: at no moment is it nobody's.
    for place in [front.front, before] {
        let (key, end) = &ends[place];
        let allowed_ips = front.behind(place, &end.allowed_ips);
        device.apply(&plan::Op::SetPeer(*key, plan::Peer { allowed_ips, ..end.clone() }))?;
    }
    if !names.is_told() {
        return Ok(());
    }
    let speaks = |ip: &&IpAddr| configuration.dns.iter().any(|dns| dns.is_ipv4() == ip.is_ipv4());
    let servers: Vec<IpAddr> = front.gateways[front.front].asked.iter().filter(speaks).copied().collect();
    std::mem::take(names).end()?;
    names.begin(interface, &servers, &configuration.search)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::End;

    fn end(n: u8, allowed: &[&str]) -> End {
        End {
            name: String::new(),
            public_key: PublicKey([n; 32]),
            preshared_key: None,
            endpoint: None,
            allowed_ips: allowed.iter().map(|net| net.parse().unwrap()).collect(),
            keepalive: 25,
        }
    }

    fn configuration(dns: &[&str], peers: Vec<End>) -> Configuration {
        let (private_key, addresses, search) = (None, Vec::new(), Vec::new());
        let dns = dns.iter().map(|ip| ip.parse().unwrap()).collect();
        Configuration { name: String::new(), private_key, addresses, dns, search, mtu: None, peers }
    }

    const FIRST: [&str; 6] =
        ["10.1.0.0/16", "10.1.1.0/24", "fd00:1::/48", "fd00:1:0:1::/64", "10.101.0.0/16", "10.254.1.7/32"];

    fn three() -> Front {
        let others = [end(2, &["10.1.2.0/24", "fd00:1:0:2::/64"]), end(3, &["10.1.3.0/24"])];
        let [two, three] = others;
        Front::new(&configuration(&[], vec![end(1, &FIRST), two, three])).unwrap()
    }

    #[test]
    fn what_is_asked_and_what_moves() {
        let front = three();
        let asked = |front: &Front| -> Vec<String> {
            front.gateways.iter().flat_map(|gateway| gateway.asked.iter().map(ToString::to_string)).collect()
        };
        assert_eq!(asked(&front), ["10.1.1.1", "fd00:1:0:1::1", "10.1.2.1", "fd00:1:0:2::1", "10.1.3.1"]);
        let common: Vec<String> = front.common.iter().map(ToString::to_string).collect();
        assert_eq!(common, ["10.1.0.0/16", "10.101.0.0/16", "10.254.1.7/32", "fd00:1::/48"]);
        // Services alone.
        let peers = vec![end(1, &["10.101.0.0/16", "10.1.1.1/32"]), end(2, &["10.1.2.1/32"])];
        let front = Front::new(&configuration(&["10.1.1.1"], peers)).unwrap();
        assert_eq!(asked(&front), ["10.1.1.1", "10.1.2.1"]);
        assert_eq!(front.common, ["10.101.0.0/16".parse().unwrap()].into());
        // Nothing to choose, or nobody to ask.
        assert!(Front::new(&configuration(&[], vec![end(1, &FIRST)])).is_none());
        assert!(Front::new(&configuration(&[], vec![end(1, &["10.0.0.0/8"]), end(2, &[])])).is_none());
    }

    #[test]
    fn who_is_in_front() {
        let mut front = three();
        let mut now = Duration::ZERO;
        // Who answers, for how many seconds, and who is in front at the end of them.
        for (answering, seconds, expected) in [
            (&[0, 1, 2][..], 20, 0),
            (&[1, 2], 3, 0),
            (&[1, 2], 1, 1),
            // Back only when it is steady.
            (&[0, 1, 2], 10, 1),
            (&[0, 1, 2], 1, 0),
            (&[2], 4, 2),
            // Nobody: it is this machine's own network.
            (&[], 60, 2),
            (&[1], 2, 1),
        ] {
            for _ in 0..seconds {
                now += EVERY;
                front.poll(now);
                let asked: BTreeSet<IpAddr> = front.to_ask(now).copied().collect();
                for place in answering {
                    let from = *front.gateways[*place].asked.first().unwrap();
                    if asked.contains(&from) {
                        front.handle_answer(from, now);
                    }
                }
            }
            assert_eq!(front.front, expected, "{answering:?} for {seconds} s");
        }
        // Who comes behind one that answers is left in peace.
        front.handle_answer("10.1.2.1".parse().unwrap(), now);
        let asked: Vec<String> = front.to_ask(now).map(ToString::to_string).collect();
        assert_eq!(asked, ["10.1.1.1", "fd00:1:0:1::1", "10.1.2.1", "fd00:1:0:2::1"]);
        let own = ["10.1.2.0/24".parse().unwrap()].into();
        assert_eq!(front.behind(1, &own).len(), 5);
        assert_eq!(front.behind(2, &own), own);
    }
}
