//! The node's key, as it changes, and the pre-shared keys that it has with others.

use anyhow::Result;
use kernel::wireguard::Observed;
use model::PublicKey;
use tracing::info;

use super::Node;

impl Node {
    /// Brings the tunnel device back if it is gone. Returns whether it was.
    pub(super) async fn revive(&mut self) -> Result<bool> {
        if !self.datapath.revive(&self.config).await? {
            return Ok(false);
        }
        self.keys.load(&self.datapath.device, self.started.elapsed())?;
        let (device, settings) = (&self.datapath.device, &mut self.outlook.settings);
        let (two, groups) = (device.knows_two_keys(), device.knows_groups());
        self.replan |= (settings.knows_two_keys, settings.knows_groups) != (two, groups);
        (settings.knows_two_keys, settings.knows_groups) = (two, groups);
        Ok(true)
    }

    /// Changes the key when it is time to, step by step.
    pub(super) fn follow_keys(&mut self) {
        let now = self.now();
        let told = self.myself().map(|me| me.mesh.rekeying).unwrap_or_default();
        let behind = match self.keys.in_use() {
            Some(key) => self.behind(key, &self.datapath.device.observe().unwrap_or_default()),
            None => 0,
        };
        let held_back = self.peers_that_know_the_key();
        let device = &self.datapath.device;
        let connected = self.stream.connected;
        let begun = match connected {
            true => self.keys.begin(device, told, held_back, now),
            // Nobody would hear of it.
            false => Ok(None),
        };
        let followed = self.keys.poll(device, told, behind, now);
        let problem = match (begun, followed) {
            (Ok(held_back), Ok(late)) => held_back.or(late),
            (Err(e), _) | (_, Err(e)) => Some(format!("{e:#}")),
        };
        self.problems.set_machine("keys", problem);
    }

    /// Takes in the generations of pre-shared keys as they are now.
    pub(super) fn follow_generations(&mut self) {
        // Others are told a second later: then the tunnel takes what they answer with.
        let ids = self.outlook.settings.preshared.ids();
        self.told.report.send_if_modified(|report| {
            let changed = report.generations != ids;
            report.generations = ids;
            changed
        });
        let problem = self.generations.read();
        self.problems.set_machine("presharedKeys", problem);
        let knows_others = self.datapath.device.knows_other_preshared_keys();
        let held = self.generations.held().clone().with_device(knows_others);
        if self.outlook.settings.preshared != held {
            info!(generations = ?held.ids(), "other generations of pre-shared keys");
            self.outlook.settings.preshared = held;
            self.replan = true;
        }
    }

    /// How many nodes answer, could have taken the next key, and talk by another.
    fn behind(&self, key: PublicKey, observed: &Observed) -> usize {
        let nodes = self.outlook.world.nodes.values();
        let is_behind = |node: &&model::Node| {
            let stats = node.public_key.and_then(|key| observed.peers.get(&key));
            let talks_by_another =
                stats.and_then(|stats| stats.own_key).is_some_and(|own_key| own_key != key);
            node.mesh.rekeying.knows_two && talks_by_another && !self.outlook.dead.contains(&node.name)
        };
        nodes.filter(is_behind).count()
    }

    /// Why an old key is kept: laptops have it in their configuration, and nobody tells them of another.
    fn peers_that_know_the_key(&self) -> Option<String> {
        let ours = |peer: &&model::Peer| self.desired.tunnel.peers.contains_key(&peer.public_key);
        let names: Vec<String> =
            self.outlook.world.peers.values().filter(ours).map(|peer| peer.name.to_string()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the node's key is old and is kept, as peers have it in their configuration: {}; `causeway keys rotate` \
                 changes it all the same",
                names.join(", ")
            )
        })
    }
}
