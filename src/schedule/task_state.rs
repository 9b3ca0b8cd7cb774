//! Where a task can stand in a schedule: [`TaskState`], and what is asked and answered about it.

use crate::outcome::Outcome;
use crate::task_id::TaskId;

/// What a check of one task found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Up to date, or ended for another reason than by running: it ends with this outcome.
    Ends(Outcome),
    /// It has to run. For a running task: what it depends on has moved since it started.
    Stale,
    /// For a running task: nothing that it depends on has moved.
    Unmoved,
}

/// Why a task was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipCause {
    /// This task, which it depends on, did not succeed.
    Dep(TaskId),
    /// The run stopped before its turn.
    Halted,
}

/// Where one task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not asked for.
    Out,
    /// Asked for; a dep has not succeeded yet.
    Waiting,
    /// Being checked.
    Checking,
    /// Stale; waiting for a slot.
    Ready,
    /// Its command runs.
    Running(Busy),
    /// It ended.
    Ended(Outcome),
    /// It did not run.
    Skipped(SkipCause),
}

/// What a running task has been through since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Nothing.
    Undisturbed,
    /// A change may concern it: to be checked when its deps have settled.
    Suspect,
    /// That check is under way.
    Rechecking,
    /// It runs on, and then again.
    Queued,
    /// It has been told to stop, and then starts over.
    Stopping,
}

/// Names one check of one task: the answer to an earlier one is out of date and is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The task that is checked.
    pub task: TaskId,
    pub(super) generation: u64,
}
