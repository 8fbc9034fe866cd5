//! Endpoints that have left the world: nobody answers there any more, and connections to them wait for timeouts unless
//! somebody ends them. Not at once: who comes back within a moment, or is followed by another at the same address, was
//! never gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use model::{Change, ClusterName, Endpoint, Key, Object, Protocol, World};

/// Addresses that endpoints have left, until it is sure that they are gone for good.
#[derive(Debug)]
pub struct Departed {
    grace: Duration,
    /// Whose endpoint it was, and when it is gone for good.
    left: BTreeMap<SocketAddr, (ClusterName, Duration)>,
}

impl Departed {
    /// Nobody has left yet; whoever does is gone after this time.
    pub fn new(grace: Duration) -> Self {
        Self { grace, left: BTreeMap::new() }
    }

    /// Looks at a change before the world takes it in.
    pub fn handle_change(&mut self, world: &World, change: &Change, now: Duration) {
        let (key, stays) = match change {
            Change::Delete(Key::Endpoint(key)) => (key, BTreeSet::new()),
            Change::Upsert(Object::Endpoint(endpoint)) => (&endpoint.key, addresses(endpoint).collect()),
            Change::Delete(_) | Change::Upsert(_) => return,
        };
        let Some(before) = world.endpoints.get(&key.service).and_then(|all| all.get(&key.name)) else {
            return;
        };
        let cluster = &key.service.cluster;
        for address in addresses(before).filter(|address| !stays.contains(address)) {
            self.left.insert(address, (cluster.clone(), now + self.grace));
        }
    }

    /// When somebody may be gone for good.
    pub fn deadline(&self) -> Option<Duration> {
        self.left.values().map(|(_, at)| *at).min()
    }

    /// Where nobody is and nobody will be. A cluster of which nothing is known any more has taken nobody away: it is the
    /// word of it that is missing.
    pub fn poll_gone(&mut self, world: &World, now: Duration) -> BTreeSet<SocketAddr> {
        let due = |(_, at): &(ClusterName, Duration)| *at <= now;
        let mut gone: BTreeMap<_, _> = self.left.extract_if(.., |_, left| due(left)).collect();
        gone.retain(|_, (cluster, _)| world.clusters.contains_key(cluster));
        if !gone.is_empty() {
            for endpoint in world.endpoints.values().flat_map(BTreeMap::values) {
                addresses(endpoint).for_each(|address| drop(gone.remove(&address)));
            }
        }
        gone.into_keys().collect()
    }
}

/// Where connections to it lead.
pub(super) fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = SocketAddr> {
    let tcp = endpoint.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    tcp.flat_map(|port| endpoint.ips.iter().map(move |ip| SocketAddr::new(*ip, port.port.get())))
}

#[cfg(test)]
mod tests {
    use model::EndpointKey;

    use super::*;
    use crate::testing::{cluster, endpoint, service_key, world};

    const GRACE: Duration = Duration::from_secs(10);

    struct Case {
        world: World,
        departed: Departed,
        now: u64,
    }

    impl Case {
        /// `echo-1` and `echo-2` of `a`, in seconds since the start.
        fn new() -> Self {
            let one = |n: u8| endpoint("a", "echo", &format!("echo-{n}"), &format!("10.0.0.{n}"), None);
            let world = world(vec![cluster("a", 1, &[])], Vec::new(), Vec::new(), vec![one(1), one(2)]);
            Self { world, departed: Departed::new(GRACE), now: 0 }
        }

        fn apply(&mut self, change: Change) -> &mut Self {
            self.departed.handle_change(&self.world, &change, Duration::from_secs(self.now));
            self.world.apply(change);
            self
        }

        fn delete(&mut self, n: u8) -> &mut Self {
            let key = EndpointKey { service: service_key("a", "echo"), name: format!("echo-{n}") };
            self.apply(Change::Delete(Key::Endpoint(key)))
        }

        fn edit(&mut self, n: u8, change: impl Fn(&mut Endpoint)) -> &mut Self {
            let mut one = self.world.endpoints[&service_key("a", "echo")][&format!("echo-{n}")].clone();
            change(&mut one);
            self.apply(Change::Upsert(Object::Endpoint(one)))
        }

        fn gone(&mut self, seconds: u64) -> Vec<String> {
            self.now = seconds;
            let gone = self.departed.poll_gone(&self.world, Duration::from_secs(seconds));
            gone.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn gone_after_a_while_and_once() {
        let mut case = Case::new();
        assert_eq!(case.departed.deadline(), None);
        case.now = 3;
        case.delete(1);
        assert_eq!(case.departed.deadline(), Some(Duration::from_secs(13)));
        assert_eq!(case.gone(12), [""; 0]);
        case.delete(2);
        assert_eq!(case.gone(13), ["10.0.0.1:8080"]);
        assert_eq!(case.departed.deadline(), Some(Duration::from_secs(22)));
        assert_eq!(case.gone(30), ["10.0.0.2:8080"]);
        assert_eq!((case.gone(99), case.departed.deadline()), (Vec::new(), None));
    }

    #[test]
    fn who_is_not_gone() {
        let mut case = Case::new();
        case.edit(1, |e| (e.ready, e.serving) = (false, false)).edit(2, |e| e.terminating = true);
        assert_eq!(case.departed.deadline(), None, "unready or shutting down is not gone");
        let back = case.world.endpoints[&service_key("a", "echo")]["echo-1"].clone();
        case.delete(1).apply(Change::Upsert(Object::Endpoint(back.clone())));
        assert_eq!(case.gone(10), [""; 0], "it came back");
        // Another one took its address, behind another service.
        let mut heir = back;
        heir.key = EndpointKey { service: service_key("a", "other"), name: "heir".into() };
        case.delete(1).apply(Change::Upsert(Object::Endpoint(heir)));
        assert_eq!(case.gone(30), [""; 0]);
        case.delete(2);
        case.world.clusters.clear();
        assert_eq!(case.gone(50), [""; 0], "nothing is known of its cluster");
    }

    #[test]
    fn who_moves_has_left() {
        let mut case = Case::new();
        case.edit(1, |e| e.ips = vec!["10.0.0.9".parse().unwrap()]);
        assert_eq!(case.gone(10), ["10.0.0.1:8080"]);
        case.edit(1, |e| e.ports[0].protocol = Protocol::Udp);
        assert_eq!(case.gone(30), ["10.0.0.9:8080"]);
        case.delete(1);
        assert_eq!(case.departed.deadline(), None, "UDP has no connections");
    }
}
