//! How long tasks take and how often they fail: [`RunLog`].
//!
//! Helps to order and to estimate; no verdict depends on it. Written as a whole when a run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frame::{self, Kind, Spoiled};

/// A new duration counts for one part in so many.
const SMOOTHING: i64 = 4;

/// What is known of a task's runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStats {
    /// Moving average of the time a successful run takes, in microseconds.
    pub typical_us: i64,
    /// Commands that succeeded.
    pub successes: u64,
    /// Commands that failed, attempts that were repeated included.
    pub failures: u64,
    /// Successes that needed more than one attempt.
    pub flaky: u64,
}

/// How a command ended, as far as it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How long the last attempt took.
    pub duration: Duration,
    /// How many attempts there were, the last included. At least 1.
    pub attempts: u32,
}

/// [`RunStats`] by task name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunLog {
    tasks: BTreeMap<String, RunStats>,
    changed: BTreeSet<String>,
}

impl RunLog {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Spoiled> {
        Ok(Self {
            tasks: frame::decode(Kind::RunLog, bytes)?,
            changed: BTreeSet::new(),
        })
    }

    /// The bytes of the file, with what others wrote to it since; `None` when nothing is new.
    pub(super) fn take_changes(&mut self, on_disk: Option<Self>) -> Option<Vec<u8>> {
        if self.changed.is_empty() {
            return None;
        }
        let mut tasks = on_disk.map(|log| log.tasks).unwrap_or_default();
        for name in std::mem::take(&mut self.changed) {
            if let Some(stats) = self.tasks.get(&name) {
                tasks.insert(name, *stats);
            }
        }
        self.tasks = tasks;
        Some(frame::encode(Kind::RunLog, &self.tasks))
    }

    pub(super) fn succeeded(&mut self, task: &str, ran: Ran) {
        let stats = self.stats_of(task);
        let took = i64::try_from(ran.duration.as_micros()).unwrap_or(i64::MAX);
        stats.typical_us = match stats.successes {
            0 => took,
            _ => stats.typical_us + (took - stats.typical_us) / SMOOTHING,
        };
        stats.successes += 1;
        stats.failures += u64::from(ran.attempts.saturating_sub(1));
        stats.flaky += u64::from(ran.attempts > 1);
    }

    pub(super) fn failed(&mut self, task: &str, ran: Ran) {
        self.stats_of(task).failures += u64::from(ran.attempts);
    }

    pub(super) fn tasks(&self) -> &BTreeMap<String, RunStats> {
        &self.tasks
    }

    fn stats_of(&mut self, task: &str) -> &mut RunStats {
        self.changed.insert(task.to_owned());
        self.tasks.entry(task.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ran(ms: u64, attempts: u32) -> Ran {
        Ran {
            duration: Duration::from_millis(ms),
            attempts,
        }
    }

    #[test]
    fn durations_are_smoothed_and_failures_do_not_count_as_durations() {
        let mut log = RunLog::default();
        log.succeeded("a", ran(100, 1));
        log.failed("a", ran(900, 2));
        log.succeeded("a", ran(200, 3));
        assert_eq!(
            log.tasks()["a"],
            RunStats {
                typical_us: 125_000,
                successes: 2,
                failures: 4,
                flaky: 1,
            }
        );
    }

    #[test]
    fn what_another_process_wrote_is_kept() {
        let mut mine = RunLog::default();
        let mut theirs = RunLog::default();
        mine.succeeded("a", ran(1, 1));
        theirs.succeeded("b", ran(2, 1));
        let bytes = mine.take_changes(Some(theirs)).unwrap();
        let read = RunLog::decode(&bytes).unwrap();
        assert_eq!(read.tasks().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(mine.take_changes(None), None);
    }
}
