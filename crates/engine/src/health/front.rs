//! Which of several gateways a client has in front of what no other has: the first that answers. What is behind each alone stays
//! there.
//!
//! The one in front is asked every second by an echo request to its address in the mesh, through its own tunnel; the others as
//! soon as it does not answer, and those that come before it so that it is known when they are back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

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

/// Who is in front. A gateway's place is where it stands among all. Time is an argument.
#[derive(Debug)]
pub struct Front {
    gateways: Vec<Gateway>,
    front: usize,
    /// What whoever is in front has beside its own.
    common: BTreeSet<IpNet>,
}

impl Front {
    /// How often whoever is to be asked is asked.
    pub const EVERY: Duration = Duration::from_secs(1);

    /// Of gateways with what is behind each, the first of which is in front, and of who is asked for names there; none if there
    /// is nothing to choose, or somebody cannot be asked.
    pub fn new(gateways: &[BTreeSet<IpNet>], dns: &[IpAddr]) -> Option<Self> {
        let (first, others) = gateways.split_first()?;
        // Inside a range of all pods stands the node's own; its addresses alone are named where pods are not wanted.
        let is_inside = |net: &&IpNet| first.iter().any(|all| all != *net && all.contains(*net));
        let is_server = |net: &&IpNet| dns.iter().any(|ip| IpNet::from(*ip) == **net);
        let own: BTreeSet<IpNet> =
            first.iter().filter(|net| is_inside(net) || is_server(net)).copied().collect();
        let common: BTreeSet<IpNet> = first.difference(&own).copied().collect();
        let asked = own.iter().filter_map(first_usable).chain(dns.iter().copied()).collect();
        let mut gateways = vec![Gateway { asked, heard: Some((Duration::ZERO, Duration::ZERO)) }];
        let asked = |behind: &BTreeSet<IpNet>| behind.iter().filter_map(first_usable).collect();
        gateways.extend(others.iter().map(|behind| Gateway { asked: asked(behind), heard: None }));
        let has_choice = gateways.len() > 1 && gateways.iter().all(|gateway| !gateway.asked.is_empty());
        (has_choice && !common.is_empty()).then_some(Self { gateways, front: 0, common })
    }

    /// The place of who is in front.
    pub fn front(&self) -> usize {
        self.front
    }

    /// Where who is in front answers: its own addresses in the mesh.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.gateways[self.front].asked
    }

    /// An address has answered.
    pub fn handle_answer(&mut self, from: IpAddr, now: Duration) {
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.asked.contains(&from)) {
            let since = gateway.heard.filter(|_| gateway.answers(now)).map_or(now, |(since, _)| since);
            gateway.heard = Some((since, now));
        }
    }

    /// Who is to be asked now.
    pub fn to_ask(&self, now: Duration) -> impl Iterator<Item = &IpAddr> {
        let heard = self.gateways[self.front].heard;
        let is_doubtful = heard.is_none_or(|(_, last)| now >= last + DOUBTFUL);
        let asked = self.gateways.iter().enumerate();
        let asked = asked.filter(move |(place, _)| *place <= self.front || is_doubtful);
        asked.flat_map(|(_, gateway)| &gateway.asked)
    }

    /// Whether another is in front from now on. Where nobody answers all stays as it is.
    pub fn poll(&mut self, now: Duration) -> bool {
        let kept = self.gateways[self.front].answers(now);
        let fits = |(place, gateway): (usize, &Gateway)| match kept {
            true => place < self.front && gateway.is_steady(now),
            false => gateway.answers(now),
        };
        let next = self.gateways.iter().enumerate().position(fits);
        next.map(|next| self.front = next).is_some()
    }

    /// What is behind the gateway of this place now, of all that may be behind it.
    pub fn behind(&self, place: usize, all: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        let alone = all.difference(&self.common).copied();
        let common = self.common.iter().filter(|_| place == self.front).copied();
        alone.chain(common).collect()
    }
}

/// The address that a node has in its range: the first that a host may have (in IPv6 the very first means every router).
fn first_usable(net: &IpNet) -> Option<IpAddr> {
    let is_host = net.prefix_len() == net.max_prefix_len();
    net.hosts().find(|ip| is_host || ip.is_ipv4() || *ip != net.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(allowed: &[&str]) -> BTreeSet<IpNet> {
        allowed.iter().map(|net| net.parse().unwrap()).collect()
    }

    const FIRST: [&str; 6] =
        ["10.1.0.0/16", "10.1.1.0/24", "fd00:1::/48", "fd00:1:0:1::/64", "10.101.0.0/16", "10.254.1.7/32"];

    fn three() -> Front {
        let others = [ranges(&["10.1.2.0/24", "fd00:1:0:2::/64"]), ranges(&["10.1.3.0/24"])];
        let [two, three] = others;
        Front::new(&[ranges(&FIRST), two, three], &[]).unwrap()
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
        let gateways = [ranges(&["10.101.0.0/16", "10.1.1.1/32"]), ranges(&["10.1.2.1/32"])];
        let front = Front::new(&gateways, &["10.1.1.1".parse().unwrap()]).unwrap();
        assert_eq!(asked(&front), ["10.1.1.1", "10.1.2.1"]);
        assert_eq!(front.common, ["10.101.0.0/16".parse().unwrap()].into());
        // Nothing to choose, or nobody to ask.
        assert!(Front::new(&[ranges(&FIRST)], &[]).is_none());
        assert!(Front::new(&[ranges(&["10.0.0.0/8"]), ranges(&[])], &[]).is_none());
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
                now += Front::EVERY;
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
