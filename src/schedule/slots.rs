//! How many commands run at a time: [`Limits`], and what is taken of them: [`Slots`].
//!
//! A command takes a slot of the jobs, one of its pool if it has one, and all of them if it owns
//! the terminal. A service takes none.

use std::collections::BTreeSet;

use crate::plan::{Node, Role};
use crate::task_id::TaskId;
use crate::watchfile::Terminal;

/// What bounds the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands at a time, at least 1.
    pub jobs: usize,
    /// Slots of each pool, by the watchfile's pool index.
    pub pools: Vec<usize>,
    /// How many failures stop new starts; `None`: none does.
    pub failures_max: Option<usize>,
}

/// What is taken of the limits.
#[derive(Debug)]
pub(super) struct Slots {
    jobs_max: usize,
    pools_max: Vec<usize>,
    jobs: usize,
    pools: Vec<usize>,
    /// An interactive task runs, alone.
    exclusive: bool,
    /// Running tasks whose command has ended: they have given back what they took.
    recording: BTreeSet<TaskId>,
}

impl Slots {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            jobs_max: limits.jobs,
            pools_max: limits.pools.clone(),
            jobs: 0,
            pools: vec![0; limits.pools.len()],
            exclusive: false,
            recording: BTreeSet::new(),
        }
    }

    /// Whether `node` could start now.
    pub(super) fn has_for(&self, node: &Node) -> bool {
        let alone = node.terminal == Terminal::Owned;
        let full = node.role == Role::Command && self.is_full();
        if full || self.exclusive || (alone && self.jobs > 0) {
            return false;
        }
        node.pool
            .is_none_or(|pool| self.pools[pool] < self.pools_max[pool])
    }

    /// Whether as many commands run as may.
    pub(super) fn is_full(&self) -> bool {
        self.jobs >= self.jobs_max
    }

    /// Whether as many commands run as may, and no more.
    pub(super) fn is_just_full(&self) -> bool {
        self.jobs == self.jobs_max
    }

    /// How many more commands may run.
    pub(super) fn free(&self) -> usize {
        self.jobs_max.saturating_sub(self.jobs)
    }

    /// The task `id` runs.
    pub(super) fn take(&mut self, id: TaskId, node: &Node) {
        if !self.recording.contains(&id) {
            self.shift(node, Shift::Take);
        }
    }

    /// The task `id` does not run any more.
    pub(super) fn give_back(&mut self, id: TaskId, node: &Node) {
        if !self.recording.contains(&id) {
            self.shift(node, Shift::GiveBack);
        }
    }

    /// The command of `id` has ended, and the task still runs. Up to as many tasks as there are
    /// jobs may be in this state; more keep what they took, so that ends do not pile up.
    pub(super) fn give_back_early(&mut self, id: TaskId, node: &Node) {
        if self.recording.len() < self.jobs_max && self.recording.insert(id) {
            self.shift(node, Shift::GiveBack);
        }
    }

    /// The task `id` is not running: it takes its slots anew when it starts.
    pub(super) fn rest(&mut self, id: TaskId) {
        self.recording.remove(&id);
    }

    fn shift(&mut self, node: &Node, shift: Shift) {
        if node.role == Role::Service {
            return;
        }
        let count = |count: &mut usize| match shift {
            Shift::Take => *count += 1,
            Shift::GiveBack => *count -= 1,
        };
        count(&mut self.jobs);
        if let Some(pool) = node.pool {
            count(&mut self.pools[pool]);
        }
        if node.terminal == Terminal::Owned {
            self.exclusive = shift == Shift::Take;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shift {
    Take,
    GiveBack,
}
