//! Unencrypted ways to nodes of the same location: they are opened before anybody is told that they are, and closed some
//! time after everybody was told that they are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::mesh::encapsulation::{self, Unencrypted};
use ipnet::IpNet;
use link::NodeReport;
use model::mesh::Transport;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::Node;

/// How long is taken what is not wanted any more: until everybody else has heard.
const LINGER: Duration = Duration::from_secs(10);

/// What a node knows of its unencrypted ways, beside the plan.
#[derive(Debug)]
pub(crate) struct Ways {
    /// What the settings wanted last.
    wanted: BTreeSet<Transport>,
    /// Until when is taken what they do not want any more.
    lingering: BTreeMap<Transport, Instant>,
    /// What was last opened; nothing before it is known what a former agent left.
    opened: Option<BTreeSet<Transport>>,
    report: watch::Sender<NodeReport>,
}

impl Ways {
    pub(super) fn new(report: watch::Sender<NodeReport>) -> Self {
        Self { wanted: BTreeSet::new(), lingering: BTreeMap::new(), opened: None, report }
    }

    /// Devices are other ones, or may be: all is to be looked at again.
    pub(super) fn forget(&mut self) {
        self.opened = None;
    }

    /// Whether something was taken long enough.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.lingering.values().any(|until| *until <= now)
    }

    /// Takes in what the settings want, and says what is to be open.
    fn follow(&mut self, wanted: BTreeSet<Transport>, now: Instant) -> BTreeSet<Transport> {
        for gone in self.wanted.difference(&wanted) {
            self.lingering.insert(*gone, now + LINGER);
        }
        self.lingering.retain(|transport, until| *until > now && !wanted.contains(transport));
        self.wanted = wanted;
        self.wanted.iter().chain(self.lingering.keys()).copied().collect()
    }
}

impl Node {
    /// Opens what the settings want, before it is planned with.
    pub(super) async fn open_ways(&mut self) {
        let wanted = self.myself().map(encapsulation::wanted).unwrap_or_default();
        let open = self.ways.follow(wanted, Instant::now());
        let lingering = self.ways.lingering.keys().copied().collect();
        if self.ways.opened.as_ref() == Some(&open) {
            self.outlook.seen.unencrypted.lingering = lingering;
            return;
        }
        let (port, mtu) = (self.config.vxlan_port, self.outlook.settings.mtu);
        let done = self.datapath.go_unencrypted(&open, port, mtu).await;
        let (able, problem) = match done {
            Ok(None) => (open.clone(), None),
            Ok(Some(failed)) => {
                let rest = open.iter().copied().filter(|transport| *transport != Transport::Vxlan);
                (rest.collect(), Some(failed))
            }
            Err(failed) => (BTreeSet::new(), Some(failed)),
        };
        let before = &self.outlook.seen.unencrypted.able;
        if *before != able {
            let names =
                |ways: &BTreeSet<Transport>| ways.iter().map(|way| way.name()).collect::<Vec<_>>().join(", ");
            info!(from = names(before), to = names(&able), "unencrypted ways inside the location");
        }
        // What failed is tried again when the machine is looked at.
        self.ways.opened = Some(open);
        self.problems.set_machine("unencrypted", problem.map(|e| format!("{e:#}")));
        let on_link = self.on_link().await;
        self.outlook.seen.unencrypted = Unencrypted { able, lingering, on_link };
    }

    /// Tells others what they may send unencrypted, once it is taken.
    pub(super) fn tell_ways(&self) {
        if self.observed.neighbours != self.desired.neighbours {
            return;
        }
        let able = &self.outlook.seen.unencrypted.able;
        let takes: BTreeSet<Transport> = self.ways.wanted.intersection(able).copied().collect();
        self.ways.report.send_if_modified(|report| {
            let changed = report.takes != takes;
            report.takes = takes;
            changed
        });
    }

    /// The subnets in which the device to other nodes stands.
    async fn on_link(&self) -> BTreeSet<IpNet> {
        let addresses = async {
            let index = self.datapath.netlink.index(&self.underlay).await?;
            self.datapath.netlink.addresses(index).await
        };
        let addresses = addresses.await.unwrap_or_default();
        let shared = addresses.into_iter().filter(|net| net.prefix_len() < net.max_prefix_len());
        shared.map(|net| net.trunc()).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::{KubeProxy, PublicKey};

    use super::*;
    use Transport::{Plain, Vxlan};

    #[test]
    fn what_is_not_wanted_any_more_is_taken_a_little_longer() {
        let report = NodeReport {
            public_key: PublicKey([1; 32]),
            next_key: None,
            knows_two_keys: true,
            knows_groups: true,
            port: 51820,
            addresses: Vec::new(),
            version: String::new(),
            kube_proxy: KubeProxy::Unknown,
            reach: Default::default(),
            takes: BTreeSet::new(),
            generations: Vec::new(),
        };
        let mut ways = Ways::new(watch::channel(report).0);
        let begun = Instant::now();
        let mut follow = |wanted: &[Transport], after: u64| {
            ways.follow(wanted.iter().copied().collect(), begun + Duration::from_secs(after))
        };
        assert_eq!(follow(&[], 0), [].into());
        assert_eq!(follow(&[Plain], 0), [Plain].into());
        assert_eq!(follow(&[Vxlan], 1), [Plain, Vxlan].into());
        assert_eq!(follow(&[], 5), [Plain, Vxlan].into());
        assert_eq!(follow(&[], 12), [Vxlan].into());
        assert_eq!(follow(&[Vxlan], 14), [Vxlan].into());
        assert_eq!(follow(&[Vxlan], 90), [Vxlan].into());
        assert_eq!(follow(&[], 91), [Vxlan].into());
        assert_eq!(follow(&[], 101), [].into());
    }
}
