//! A cluster's controller: a machine of its own with one daemon that is kept running.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use controller::config::Config;
use kernel::sandbox::Sandbox;
use model::ClusterName;
use tracing::info;

use super::machine::{Machine, Site};
use crate::supervise::{DAEMON, Program, Supervisor};

/// A controller, whether it is up or not.
#[derive(Debug)]
pub struct ControllerHost {
    /// Where it stands.
    pub site: Site,
    config: Config,
    causeway: PathBuf,
    up: Mutex<Option<(Machine, Supervisor)>>,
}

/// What is left of a controller that was killed.
#[derive(Debug)]
pub struct DeadController {
    machine: Machine,
    process: Supervisor,
    site: Site,
}

impl DeadController {
    /// Pulls the cable and removes the namespace. What is on its disk stays.
    pub async fn remove(self) -> Result<()> {
        self.process.stop().await;
        self.machine.remove(&self.site, Vec::new()).await
    }
}

impl ControllerHost {
    /// A controller that is not built yet.
    pub fn new(site: Site, config: Config, causeway: PathBuf) -> Self {
        Self { site, config, causeway, up: Mutex::new(None) }
    }

    /// Its cluster.
    pub fn cluster(&self) -> &ClusterName {
        &self.config.cluster.name
    }

    /// Whether it has not been killed.
    pub fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Times it was started again.
    pub fn restarts(&self) -> u32 {
        self.lock().as_ref().map_or(0, |(_, process)| process.restarts())
    }

    /// Where a command beside it runs; none while it is down.
    pub fn sandbox(&self) -> Option<Sandbox> {
        self.lock().as_ref().map(|(machine, _)| machine.sandbox())
    }

    /// Where it answers, as the daemon sees it.
    pub fn socket(&self) -> PathBuf {
        self.site.folders.run.join("controller.sock")
    }

    /// Starts it on a machine that was built.
    pub fn boot(&self, machine: Machine) -> Result<()> {
        let text = serde_saphyr::to_string(&self.config).context("writing the controller's configuration")?;
        std::fs::write(self.site.folders.run.join("controller.yaml"), text)
            .context("writing the controller's configuration")?;
        let program = Program {
            name: format!("controller of {}", self.cluster()),
            command: vec![
                self.causeway.clone().into(),
                "controller".into(),
                "--config".into(),
                "/run/causeway/controller.yaml".into(),
            ],
            env: Vec::new(),
            folder: Some("/".into()),
            sandbox: machine.sandbox(),
            log: self.site.folders.log.clone(),
        };
        let process = Supervisor::start(program, DAEMON);
        *self.lock() = Some((machine, process));
        Ok(())
    }

    /// Kills it as a power cut does. [`DeadController::remove`] clears away what is left.
    pub fn kill(&self) -> Result<DeadController> {
        let Some((machine, process)) = self.lock().take() else {
            bail!("the controller of {} is down already", self.cluster());
        };
        process.halt();
        machine.cut_power()?;
        info!(cluster = %self.cluster(), "controller killed");
        Ok(DeadController { machine, process, site: self.site.clone() })
    }

    /// Builds the machine anew, with what is on its disk.
    pub async fn rebuild(&self) -> Result<Machine> {
        if self.is_up() {
            bail!("the controller of {} is up already", self.cluster());
        }
        self.site.folders.forget_run().context("clearing what the controller had in memory")?;
        Machine::build(&self.site).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Machine, Supervisor)>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
