//! One run as those who listen see it: [`Wave`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::event::{Counts, TaskFinished};
use crate::outcome::Outcome;
use crate::task_id::{TaskId, TaskMap};

/// Everything from the first task that is looked at until nothing is left to do.
///
/// It begins for listeners when something in it is worth telling; a change that makes nothing
/// stale passes in silence.
#[derive(Debug)]
pub(super) struct Wave {
    /// Its number, once it has begun for listeners.
    pub(super) run: Option<u64>,
    /// The tasks it is about.
    pub(super) tasks: BTreeSet<TaskId>,
    /// How each ended, the last time.
    pub(super) outcomes: BTreeMap<TaskId, Outcome>,
    /// Ends that nobody has been told of.
    pub(super) withheld: Vec<TaskFinished>,
    /// Services that nothing needs so far.
    pub(super) unneeded: BTreeSet<TaskId>,
    started: Instant,
}

impl Wave {
    pub(super) fn new() -> Self {
        Self {
            run: None,
            tasks: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            withheld: Vec::new(),
            unneeded: BTreeSet::new(),
            started: Instant::now(),
        }
    }

    /// The same run with another plan, in which each task has this id, if it is still there.
    pub(super) fn moved(self, moved_to: &TaskMap<Option<TaskId>>) -> Self {
        let ids = |ids: BTreeSet<TaskId>| ids.into_iter().filter_map(|id| moved_to[id]).collect();
        let outcomes = self.outcomes.into_iter();
        Self {
            tasks: ids(self.tasks),
            outcomes: outcomes
                .filter_map(|(id, outcome)| Some((moved_to[id]?, outcome)))
                .collect(),
            unneeded: ids(self.unneeded),
            ..self
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.outcomes
            .values()
            .for_each(|&outcome| counts.add(outcome));
        counts
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
