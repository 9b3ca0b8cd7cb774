//! What was last seen of tasks while watching: [`Live`], so that a change costs its own size.
//!
//! Holds the inputs of tasks that were examined with the paths that changed since, and which inputs
//! moved in a run; in a one-shot run, no more than that. In memory alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;
use crate::task_id::TaskName;

use super::tree::Tree;
use super::verdict::PathSample;

/// Inputs by task.
#[derive(Debug, Default)]
pub(super) struct Live {
    // Guards the map. Leaf lock, held for one lookup or insert.
    tasks: Mutex<HashMap<TaskName, Slot>>,
}

/// What is kept of one task.
#[derive(Debug, Default)]
struct Slot {
    seen: Option<Seen>,
    /// How often it was examined.
    looks: u64,
    /// The inputs that moved in its last run.
    moved: Option<PathSample>,
}

/// How often a task had been examined at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks(u64);

/// What was seen of one task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its inputs when it was examined last.
    pub(super) now: Tree,
    /// Its inputs at the success with this key.
    pub(super) success: Option<(Digest, Tree)>,
}

impl Live {
    pub(super) fn get(&self, task: &TaskName) -> Option<Seen> {
        self.lock(|tasks| tasks.get(task)?.seen.clone())
    }

    /// Takes what was seen of a task out, for an examination: until it is put back, nothing is
    /// believed of it.
    pub(super) fn take(&self, task: &TaskName) -> Option<Seen> {
        self.lock(|tasks| {
            let slot = tasks.entry(task.clone()).or_default();
            slot.looks += 1;
            slot.seen.take()
        })
    }

    /// Notes how a task was found.
    pub(super) fn put(&self, task: &TaskName, seen: Seen) {
        self.lock(|tasks| tasks.entry(task.clone()).or_default().seen = Some(seen));
    }

    pub(super) fn looks(&self, task: &TaskName) -> Looks {
        self.lock(|tasks| Looks(tasks.get(task).map_or(0, |slot| slot.looks)))
    }

    /// As [`Self::put`], unless the task was examined after it had been `looks` times: whoever
    /// did that may have been told of changes that `seen` does not know.
    pub(super) fn put_unless_examined(&self, task: &TaskName, seen: Seen, looks: Looks) {
        self.lock(|tasks| {
            let slot = tasks.entry(task.clone()).or_default();
            if Looks(slot.looks) == looks {
                slot.seen = Some(seen);
            }
        });
    }

    /// Notes what a success was made from, if the task is kept here at all.
    pub(super) fn put_success(&self, task: &TaskName, key: Digest, inputs: Tree) {
        self.lock(|tasks| {
            if let Some(seen) = tasks.get_mut(task).and_then(|slot| slot.seen.as_mut()) {
                seen.success = Some((key, inputs));
            }
        });
    }

    /// Notes which inputs moved in a run that has to be done again.
    pub(super) fn put_moved(&self, task: &TaskName, moved: PathSample) {
        self.lock(|tasks| tasks.entry(task.clone()).or_default().moved = Some(moved));
    }

    /// Which inputs moved in the run before, if that is known.
    pub(super) fn take_moved(&self, task: &TaskName) -> Option<PathSample> {
        self.lock(|tasks| tasks.get_mut(task)?.moved.take())
    }

    fn lock<T>(&self, with: impl FnOnce(&mut HashMap<TaskName, Slot>) -> T) -> T {
        with(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_prepared_gives_way_to_an_examination_meanwhile() {
        let (live, task) = (Live::default(), TaskName::new("t"));
        let seen = || Seen {
            now: Tree::default(),
            success: None,
        };
        let looks = live.looks(&task);
        assert!(live.take(&task).is_none());
        live.put_unless_examined(&task, seen(), looks);
        assert!(live.get(&task).is_none());
        live.put_unless_examined(&task, seen(), live.looks(&task));
        assert!(live.get(&task).is_some());
    }
}
