//! A machine of the lab that is no node: no agent runs there, no socket is led to a backend. A client from outside.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use kernel::sandbox::Sandbox;
use model::NodeName;

use super::machine::{Machine, Site};

/// Such a machine.
#[derive(Debug)]
pub struct OutsideHost {
    /// Its name, with the cluster whose location it stands on.
    pub name: NodeName,
    /// Where it stands.
    pub site: Site,
    machine: OnceLock<Machine>,
}

impl OutsideHost {
    /// One that is not built yet.
    pub fn new(name: NodeName, site: Site) -> Self {
        Self { name, site, machine: OnceLock::new() }
    }

    /// Builds it. Doing it twice changes nothing.
    pub async fn build(&self) -> Result<()> {
        if self.machine.get().is_none() {
            let built = Machine::build(&self.site).await;
            let machine = built.with_context(|| format!("building host {}", self.name))?;
            self.machine.get_or_init(|| machine);
        }
        Ok(())
    }

    /// Where a command on it runs; none while it is not built.
    pub fn sandbox(&self) -> Option<Sandbox> {
        self.machine.get().map(Machine::sandbox)
    }
}
