//! What `lab up` shows while it waits.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::api::{Phase, Progress};

/// The lines and the phase, written by one and read by others.
#[derive(Debug)]
pub(super) struct Journal {
    start: Instant,
    inner: Mutex<(Vec<String>, Phase)>,
}

impl Journal {
    pub(super) fn new() -> Self {
        let phase = Phase::Starting { missing: Vec::new() };
        Self { start: Instant::now(), inner: Mutex::new((Vec::new(), phase)) }
    }

    /// Adds a line, with the time since the start.
    pub(super) fn line(&self, text: &str) {
        let line = format!("{:5.1} s  {text}", self.start.elapsed().as_secs_f64());
        tracing::info!("{text}");
        self.lock().0.push(line);
    }

    pub(super) fn set(&self, phase: Phase) {
        self.lock().1 = phase;
    }

    pub(super) fn read(&self, after: usize) -> Progress {
        let inner = self.lock();
        let lines = inner.0.get(after..).unwrap_or_default().to_vec();
        Progress { lines, count: inner.0.len(), phase: inner.1.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<String>, Phase)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
