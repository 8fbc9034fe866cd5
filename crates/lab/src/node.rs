//! A node of the lab: a machine with an agent that is kept running, and a kubelet that runs its pods.

pub mod controller;
mod kubelet;
pub mod machine;
pub mod outside;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use agent::config::Config;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kernel::sandbox::Sandbox;
use model::{NodeName, ObjectName};
use tracing::info;

use self::kubelet::Kubelet;
use self::machine::{Machine, Site};
use crate::plan::NodePlan;
use crate::pod::{Host, Place};
use crate::probe::Prober;
use crate::state;
use crate::supervise::{DAEMON, Program, Supervisor};

pub use self::kubelet::Objects;

/// The folder of generations of pre-shared keys, on a node's disk.
pub const GENERATIONS: &str = "preshared-keys";

/// A node, whether it is up or not.
#[derive(Debug)]
pub struct Node {
    /// Its place in the plan.
    pub plan: Arc<NodePlan>,
    /// Where it stands.
    pub site: Site,
    config: Config,
    causeway: PathBuf,
    up: Mutex<Option<Up>>,
}

#[derive(Debug)]
struct Up {
    machine: Machine,
    agent: Supervisor,
    kubelet: Kubelet,
}

/// What is left of a node that was killed.
#[derive(Debug)]
pub struct Dead {
    machine: Machine,
    agent: Supervisor,
    pods: Vec<String>,
    site: Site,
}

impl Dead {
    /// Pulls the cable and removes the namespaces. What is on its disk stays.
    pub async fn remove(self) -> Result<()> {
        self.agent.stop().await;
        self.machine.remove(&self.site, self.pods).await
    }
}

impl Node {
    /// A node that is not built yet. `causeway` is the binary that everything on it runs.
    pub fn new(plan: Arc<NodePlan>, site: Site, config: Config, causeway: PathBuf) -> Self {
        Self { plan, site, config, causeway, up: Mutex::new(None) }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.plan.name
    }

    /// Whether it has not been killed.
    pub fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Times its agent was started again.
    pub fn restarts(&self) -> u32 {
        self.lock().as_ref().map_or(0, |up| up.agent.restarts())
    }

    /// Where a command on the node runs; none while it is down.
    pub fn sandbox(&self) -> Option<Sandbox> {
        self.lock().as_ref().map(|up| up.machine.sandbox())
    }

    /// Where the agent answers, as the daemon sees it.
    pub fn agent_socket(&self) -> PathBuf {
        self.site.folders.run.join("agent.sock")
    }

    /// The pod's place, if it runs here.
    pub fn place(&self, pod: &ObjectName) -> Option<Place> {
        self.lock().as_ref().and_then(|up| up.kubelet.place(pod))
    }

    /// Makes its pods so, if it is up.
    pub fn reconcile(&self, wanted: &BTreeMap<ObjectName, Pod>) {
        if let Some(up) = self.lock().as_mut() {
            up.kubelet.reconcile(wanted);
        }
    }

    /// Starts the agent and the kubelet on a machine that was built. A token lets the agent join; one that has
    /// joined before needs none.
    pub fn boot(&self, machine: Machine, token: Option<&str>, objects: Objects) -> Result<()> {
        let run = &self.site.folders.run;
        let text = serde_saphyr::to_string(&self.config).context("writing the agent's configuration")?;
        std::fs::write(run.join("agent.yaml"), text).context("writing the agent's configuration")?;
        if let Some(token) = token {
            write_secret(&run.join("join-token"), token).context("writing the agent's token")?;
        }
        if self.config.preshared_keys.is_some() {
            self.share_keys().context("giving the node its pre-shared keys")?;
        }
        let sandbox = machine.sandbox();
        let program = Program {
            name: format!("agent of {}", self.name()),
            command: vec![
                self.causeway.clone().into(),
                "agent".into(),
                "--config".into(),
                "/run/causeway/agent.yaml".into(),
            ],
            env: Vec::new(),
            folder: Some("/".into()),
            sandbox: sandbox.clone(),
            log: self.site.folders.log.clone(),
        };
        let prober = Prober::start(Arc::clone(&machine.netns)).context("starting the node's prober")?;
        let host = Host::new(Arc::clone(&self.plan), sandbox, prober, self.causeway.clone());
        let agent = Supervisor::start(program, DAEMON);
        let kubelet = Kubelet::new(host, objects);
        *self.lock() = Some(Up { machine, agent, kubelet });
        Ok(())
    }

    /// Kills it as a power cut does: at once, with everything on it. [`Dead::remove`] clears away what is left.
    pub fn kill(&self) -> Result<Dead> {
        let Some(Up { machine, agent, kubelet }) = self.lock().take() else {
            bail!(
                "node {} is down already: `causeway lab start {}` brings it back",
                self.name(),
                self.name()
            );
        };
        agent.halt();
        let pods = kubelet.forget().into_iter().map(|place| place.netns).collect();
        machine.cut_power()?;
        info!(node = %self.name(), "killed");
        Ok(Dead { machine, agent, pods, site: self.site.clone() })
    }

    /// Builds the machine anew, with what is on its disk.
    pub async fn rebuild(&self) -> Result<Machine> {
        if self.is_up() {
            bail!("node {} is up already", self.name());
        }
        self.site.folders.forget_run().context("clearing what the node had in memory")?;
        Machine::build(&self.site).await
    }

    /// Puts the first generation of pre-shared keys on its disk, if none was put there before.
    fn share_keys(&self) -> std::io::Result<()> {
        let folder = self.site.folders.lib.join(GENERATIONS);
        if !folder.exists() {
            std::fs::create_dir_all(&folder)?;
            write_secret(&folder.join("1"), &std::fs::read_to_string(state::generation())?)?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Up>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file that only root reads.
fn write_secret(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
