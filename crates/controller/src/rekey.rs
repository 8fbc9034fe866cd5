//! Nodes that an operator wants to have new WireGuard keys: they are told so with what they are told of themselves.

use std::time::{SystemTime, UNIX_EPOCH};

use model::NodeName;
use serve::local::Refusal;
use wire::local::{KeysRequested, RotateKeys};

use crate::controller::Controller;

impl Controller {
    /// Has nodes make new keys. Who is not connected hears of it when it is, as long as this controller leads.
    pub(crate) fn rotate_keys(&self, ask: RotateKeys) -> Result<KeysRequested, Refusal> {
        let mut inner = self.inner();
        if let Some(leader) = inner.other_leader() {
            let leader = leader.unwrap_or_else(|| "nobody yet".into());
            return Err(Refusal::NotNow(format!("this controller stands by; {leader} leads: ask that one")));
        }
        let cluster = &self.cluster.name;
        let nodes: Vec<NodeName> = match &ask.nodes {
            None => inner.known.nodes().map(|node| node.name.clone()).collect(),
            Some(names) => {
                let wrong = |e: model::NameError| Refusal::Wrong(e.to_string());
                let named = names.iter().map(|name| NodeName::new(cluster.clone(), name).map_err(wrong));
                named.collect::<Result<_, _>>()?
            }
        };
        let is_known = |name: &NodeName| inner.known.nodes().any(|node| node.name == *name);
        let unknown: Vec<String> =
            nodes.iter().filter(|name| !is_known(name)).map(ToString::to_string).collect();
        if !unknown.is_empty() {
            let text = format!("there is no node {}; see: causeway keys show", unknown.join(", "));
            return Err(Refusal::Wrong(text));
        }
        // Greater than any of before, of other controllers' too: what counts is that it is another number.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let (number, changes) = inner.known.request_keys(&nodes, number);
        self.publish(changes);
        Ok(KeysRequested { number, nodes })
    }
}
