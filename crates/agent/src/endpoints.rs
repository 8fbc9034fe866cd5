//! Where the names lead by which the ends of tunnels are given. Each is asked for by itself: one that leads nowhere, or
//! whose server is slow, keeps nobody waiting. What was found last counts until something else is found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use model::mesh::Host;
use model::{ClusterName, PeerHost, World};
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How often a name is asked for again.
const EVERY: Duration = Duration::from_secs(30);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// As many addresses of a name are kept.
const MOST: usize = 16;

/// A name, and what was found.
type Answer = (String, Result<Vec<IpAddr>, String>);

/// Asks for names, from time to time.
pub(crate) struct Endpoints {
    /// When each name is to be asked for again; none while an answer is awaited.
    due: BTreeMap<String, Option<Instant>>,
    /// Names that led nowhere the last time, and why.
    failing: BTreeMap<String, String>,
    answer: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Endpoints {
    pub(crate) fn new() -> Self {
        let (answer, answers) = mpsc::unbounded_channel();
        Self { due: BTreeMap::new(), failing: BTreeMap::new(), answer, answers }
    }

    /// Asks for what is due, and takes in what was found. Returns whether a name leads somewhere else now.
    pub(crate) fn poll(
        &mut self,
        world: &World,
        own: &ClusterName,
        resolved: &mut BTreeMap<String, Vec<IpAddr>>,
    ) -> bool {
        let names = names(world, own);
        let now = Instant::now();
        self.due.retain(|name, _| names.contains(name));
        self.failing.retain(|name, _| names.contains(name));
        let before = resolved.len();
        resolved.retain(|name, _| names.contains(name));
        let mut changed = before != resolved.len();
        while let Ok((name, found)) = self.answers.try_recv() {
            let Some(due) = self.due.get_mut(&name) else { continue };
            *due = Some(now + EVERY);
            match found {
                Ok(ips) => {
                    self.failing.remove(&name);
                    changed |= resolved.get(&name) != Some(&ips);
                    resolved.insert(name, ips);
                }
                Err(error) => drop(self.failing.insert(name, error)),
            }
        }
        for name in names {
            let due = self.due.entry(name.clone()).or_insert(Some(now));
            if due.is_some_and(|at| at <= now) {
                *due = None;
                let (name, answer) = (name.clone(), self.answer.clone());
                tokio::spawn(async move {
                    let found = find(&name).await;
                    // Nobody listens only when the agent ends.
                    let _ = answer.send((name, found));
                });
            }
        }
        changed
    }

    /// Names that lead nowhere.
    pub(crate) fn problem(&self) -> Option<String> {
        let (name, error) = self.failing.first_key_value()?;
        let more = match self.failing.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!(
            "the endpoint {name} cannot be resolved{more}: {error}; check the nodes' annotations force-endpoint, and the peers"
        ))
    }
}

/// Those of all nodes, and of the own cluster's peers: no other's are dialled from here.
fn names<'a>(world: &'a World, own: &ClusterName) -> BTreeSet<&'a String> {
    let of_nodes = world.nodes.values().filter_map(|node| match &node.mesh.endpoint.as_ref()?.host {
        Host::Dns(name) => Some(name),
        _ => None,
    });
    let own = world.peers.values().filter(|peer| peer.name.cluster == *own);
    let of_peers = own.filter_map(|peer| match &peer.endpoint.as_ref()?.host {
        PeerHost::Dns(name) => Some(name),
        PeerHost::Ip(_) => None,
    });
    of_nodes.chain(of_peers).collect()
}

/// All its addresses, in an order of their own: servers shuffle them.
async fn find(name: &str) -> Result<Vec<IpAddr>, String> {
    let asked = timeout(PATIENCE, lookup_host((name, 0))).await;
    let found = asked.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|e| e.to_string())?;
    let ips: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
    if ips.is_empty() {
        return Err("it has no address".into());
    }
    Ok(ips.into_iter().take(MOST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Change, Node, NodeName, Object};

    fn node(n: u8, endpoint: &str) -> Change {
        Change::Upsert(Object::Node(Node {
            name: NodeName::try_from(format!("a/{n}")).unwrap(),
            topology: Default::default(),
            location: String::new(),
            private_ips: vec![],
            public_ips: vec![],
            pod_cidrs: vec![],
            public_key: None,
            port: 51820,
            labels: Default::default(),
            mesh: model::NodeMesh { endpoint: Some(endpoint.parse().unwrap()), ..Default::default() },
        }))
    }

    #[tokio::test]
    async fn one_that_leads_nowhere_is_alone() {
        let mut world = World::default();
        world.apply(node(1, "nowhere.invalid:51820"));
        world.apply(node(2, "localhost:51820"));
        world.apply(node(3, "192.0.2.1:51820"));
        let (mut endpoints, mut resolved) = (Endpoints::new(), BTreeMap::new());
        let own: ClusterName = "a".parse().unwrap();
        assert!(!endpoints.poll(&world, &own, &mut resolved));
        while resolved.is_empty() || endpoints.problem().is_none() {
            let answer = endpoints.answers.recv().await.unwrap();
            endpoints.answer.send(answer).unwrap();
            endpoints.poll(&world, &own, &mut resolved);
        }
        assert_eq!(resolved.keys().collect::<Vec<_>>(), ["localhost"]);
        assert!(resolved["localhost"].iter().all(IpAddr::is_loopback));
        assert!(endpoints.problem().is_some_and(|problem| problem.contains("nowhere.invalid")));
        world.nodes.clear();
        assert!(endpoints.poll(&world, &own, &mut resolved), "nobody needs it");
        assert!(resolved.is_empty() && endpoints.problem().is_none());
    }
}
