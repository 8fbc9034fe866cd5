//! What the node has to do with policies: who judges by them, and whose pods it wants to know for that.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use engine::policy;
use kernel::bpf::policing::Established;
use tracing::warn;

use super::Node;
use crate::police::{self, Police};

impl Node {
    /// Whoever judges by policies; nobody where they are not enforced.
    pub(super) fn open_police(&self) -> Result<Option<Arc<Police>>> {
        let (maps, policy) = (self.datapath.shared(), &self.config.policy);
        if !policy.enabled {
            Police::forget(&maps).context("letting go of policies")?;
            return Ok(None);
        }
        let settings = self.config.policing(self.outlook.me.clone());
        let names = self.config.state_dir.join("names.json");
        let police = Police::new(settings, &self.outlook.world, names, maps, self.started);
        police.subscribed(self.told.interest.topics.pods.clone());
        Ok(Some(Arc::new(police)))
    }

    /// Judges by policies from now on: every pod of before is attached.
    pub(crate) fn begin_policing(&self) -> Result<()> {
        let Some(police) = &self.police else { return Ok(()) };
        let established = match self.config.policy.established {
            policy::Established::Cut => Established::Cut,
            policy::Established::Keep => Established::Keep,
        };
        self.tell_host_addresses(police);
        police.begin(established)?;
        self.wish();
        police::watch(police.clone(), self.vital.clone(), self.outlook.me.clone())
    }

    /// Has the node itself judged by the addresses that its devices have now.
    pub(super) fn tell_host_addresses(&self, police: &Police) {
        if !self.config.policy.judges_host() {
            return;
        }
        match kernel::host::addresses() {
            Ok(ips) => police.host_has(ips),
            Err(e) => warn!("asking for this machine's addresses: {e}"),
        }
    }

    /// Wants the pods that policies can lead to, no others.
    pub(super) fn wish(&self) {
        let Some(pods) = self.police.as_ref().map(|police| Some(police.interest())) else { return };
        self.told.wished.send_if_modified(|before| std::mem::replace(before, pods.clone()) != pods);
    }
}
