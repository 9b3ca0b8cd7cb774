//! What was last seen of tasks while watching: [`Live`], so that a change costs its own size.
//!
//! Holds the inputs of tasks that were examined with the paths that changed since; empty in a
//! one-shot run. In memory alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;
use crate::task_id::TaskName;

use super::tree::Tree;

/// Inputs by task.
#[derive(Debug, Default)]
pub(super) struct Live {
    // Guards the map. Leaf lock, held for one lookup or insert.
    tasks: Mutex<HashMap<TaskName, Seen>>,
}

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
        self.lock(|tasks| tasks.get(task).cloned())
    }

    /// Takes what was seen of a task out: until it is put back, nothing is believed of it.
    pub(super) fn take(&self, task: &TaskName) -> Option<Seen> {
        self.lock(|tasks| tasks.remove(task))
    }

    /// Notes how a task was found.
    pub(super) fn put(&self, task: &TaskName, seen: Seen) {
        self.lock(|tasks| drop(tasks.insert(task.clone(), seen)));
    }

    /// Notes what a success was made from, if the task is kept here at all.
    pub(super) fn put_success(&self, task: &TaskName, key: Digest, inputs: Tree) {
        self.lock(|tasks| {
            if let Some(seen) = tasks.get_mut(task) {
                seen.success = Some((key, inputs));
            }
        });
    }

    fn lock<T>(&self, with: impl FnOnce(&mut HashMap<TaskName, Seen>) -> T) -> T {
        with(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
