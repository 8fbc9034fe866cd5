//! Carrying out what the Multi-Cluster Services API asks to be written.

use cluster::kubernetes::Error;
use cluster::kubernetes::write::Remedy;
use tokio::time::Instant;

use super::{FIRST, Pause, REPAIR, Writer};
use crate::imports::{Step, Written};

impl Writer<'_> {
    /// What to write next. Nothing as long as linked clusters have not been heard: what they export would be taken for gone.
    pub(super) fn next_import(&self) -> Option<Step> {
        let mut guard = self.controller.inner();
        let inner = &mut *guard;
        if inner.synced.is_none() || inner.await_until.is_some() {
            return None;
        }
        let now = inner.now();
        let multicluster = &mut inner.multicluster;
        let writes = multicluster.writes.as_mut()?;
        if writes.asks_for_endpoints() {
            let told = self.controller.handle.told();
            writes.handle_told(told.iter().map(|object| &**object));
        }
        writes.poll(&multicluster.mcs, now)
    }

    pub(super) fn imports_at(&self) -> Option<Instant> {
        let inner = self.controller.inner();
        let at = inner.multicluster.writes.as_ref()?.deadline()?;
        Some(inner.at(at))
    }

    pub(super) async fn write_import(&self, step: Step) -> (Step, Option<Result<Written, Error>>) {
        let done = self.fence.keep(self.carry_out(&step)).await;
        (step, done)
    }

    async fn carry_out(&self, step: &Step) -> Result<Written, Error> {
        let api = &self.site.multicluster;
        let of_mcs = !matches!(step, Step::Property { .. } | Step::RemoveSlice { .. });
        if of_mcs && api.served().await?.is_none() {
            return Ok(Written::Absent);
        }
        Ok(match step {
            Step::Export { name, conditions } => {
                Written::Export(api.apply_export_status(name, conditions).await?)
            }
            Step::Import(fields) => Written::Import(api.apply_import(fields).await?),
            Step::ImportStatus { name, clusters, conditions } => {
                Written::Import(api.apply_import_status(name, clusters, conditions).await?)
            }
            Step::RemoveImport { name, uid } => {
                api.delete_import(name, uid).await?;
                Written::Removed
            }
            Step::Slice { fields, uid } => Written::Slice(api.apply_slice(fields, uid).await?),
            Step::RemoveSlice { name, .. } => {
                api.delete_slice(name).await?;
                Written::Removed
            }
            Step::Property { name, value } => {
                Written::Property(api.settle_property(name, value.as_deref()).await?)
            }
        })
    }

    pub(super) fn import_written(&self, step: &Step, done: Result<Written, Error>, pause: &mut Pause) {
        if let Err(error) = &done {
            self.failed(error);
        }
        let mut inner = self.controller.inner();
        let now = inner.now();
        let Some(writes) = inner.multicluster.writes.as_mut() else { return };
        match done {
            Ok(written) => {
                pause.reset();
                writes.handle_done(step, written, now);
            }
            Err(error) => {
                let again = match error.remedy() {
                    Remedy::Again(after) => {
                        pause.grow(after);
                        FIRST
                    }
                    Remedy::Look => FIRST,
                    // What is gone is heard of.
                    Remedy::Gone | Remedy::Repair => REPAIR,
                };
                writes.handle_failed(step, now + again);
            }
        }
        for problem in writes.take_problems() {
            inner.note(problem);
        }
    }
}
