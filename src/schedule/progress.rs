//! What the driver knows of one task beside its state: [`Progress`].

use std::sync::Arc;
use std::time::Duration;

use super::rush::Rush;
use super::services::Bring;
use crate::digest::Digest;
use crate::disk::DiskLock;
use crate::exec::{Cancel, Command};
use crate::outcome::Outcome;
use crate::state::{Examined, Start};

/// How far one task has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How it was found when it was last looked at; for a running task, what it was started from.
    pub(super) examined: Option<Arc<Examined>>,
    /// What its last run was started from, for one that is never found fresh.
    pub(super) ran_from: Option<Arc<Examined>>,
    /// What dependents see of it.
    pub(super) product: Option<Digest>,
    /// With this key it ended like this, and does not run again by itself.
    pub(super) settled: Option<(Digest, Outcome)>,
    /// Stops it, while it runs.
    pub(super) cancel: Option<Cancel>,
    /// What it runs, while nobody runs it.
    pub(super) commands: Vec<Command>,
    /// Keeps other processes from running it, while it runs here.
    pub(super) lock: Option<DiskLock>,
    /// 1, and one more for each retry.
    pub(super) attempt: u32,
    /// How it ended, as those who listen were last told.
    pub(super) told: Option<Outcome>,
    /// The version of the files that was last looked at.
    pub(super) seen: Option<u64>,
    /// The next run follows from one whose inputs moved.
    pub(super) again: bool,
    /// How long the next run is poised before its command starts.
    pub(super) poise: Option<Duration>,
    /// It moved its inputs too often: whatever key it has now, it rests, and ended like this.
    pub(super) exhausted: Option<Outcome>,
    /// How fast a service was started again.
    pub(super) rush: Rush,
    /// How far a service that is being brought up has come.
    pub(super) bring: Option<Bring>,
}

impl Progress {
    /// The last examination of a task that has been found stale.
    pub(super) fn examined(&self) -> Arc<Examined> {
        let examined = self.examined.as_ref();
        Arc::clone(examined.expect("a task is examined before it starts"))
    }

    /// How the next run follows from the last one.
    pub(super) fn kind_of_start(&self) -> Start {
        if self.again {
            Start::Again
        } else {
            Start::Anew
        }
    }

    /// A change that the task did not make itself: what it did before says nothing any more.
    pub(super) fn comes_from_outside(&mut self) {
        self.again = false;
        self.poise = None;
        self.exhausted = None;
    }

    /// It is up to date.
    pub(super) fn rests(&mut self) {
        self.comes_from_outside();
        self.settled = None;
    }
}
