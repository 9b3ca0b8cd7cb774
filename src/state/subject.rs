//! What the engine is asked about: [`Subject`], a task with everything its result depends on.
//!
//! Facts come in as arguments. Picks the task's inputs out of all files; reads nothing.

use std::ffi::OsString;

use crate::change::FileType;
use crate::digest::Digest;
use crate::files::{FileEntry, FileList};
use crate::path::RelPath;
use crate::pattern::PatternIndex;
use crate::task_id::TaskName;
use crate::watchfile::task::{Inputs, Task};

/// A task and the facts its result depends on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The task: a command or a service. A group has no result of its own, see
    /// [`group_product`](super::group_product).
    pub task: &'a Task,
    /// Every file below the root that may be an input, as it is now.
    pub files: &'a FileList,
    /// Those of `files` that are ignored, ascending: they count only where a pattern without
    /// wildcards names them.
    pub ignored: &'a [RelPath],
    /// The outputs of all tasks of the plan.
    pub produced: &'a PatternIndex,
    /// The products of the direct dependencies, in any order.
    pub deps: &'a [(TaskName, Digest)],
    /// The variables the command inherits.
    pub environment: &'a [(OsString, OsString)],
    /// What the task's `tools` printed.
    pub tools: &'a [ToolProbe],
    /// Whether it may be found fresh.
    pub demand: Demand,
}

/// What one of a task's `tools` printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolProbe {
    /// The command as the watchfile writes it.
    pub command: String,
    /// The digest of its output.
    pub output: Digest,
}

/// Whether a task that is up to date runs all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It runs if it is stale.
    IfStale,
    /// It runs (`--force`).
    Always,
}

impl<'a> Subject<'a> {
    /// The files that enter the key and may trigger the task, in order of path. The task's own
    /// outputs never do; sockets, fifos and devices have no content and do not either.
    #[must_use]
    pub fn inputs(&self) -> Vec<&'a FileEntry> {
        let task = self.task;
        let own_outputs = &task.outputs;
        let counts = |entry: &FileEntry| {
            matches!(entry.stat.file_type(), FileType::File | FileType::Symlink)
                && (own_outputs.is_empty() || !own_outputs.matches(&entry.path))
        };
        let files: &'a FileList = self.files;
        match &task.inputs {
            Inputs::Everything => files
                .entries()
                .iter()
                .filter(|entry| {
                    counts(entry)
                        && !self.is_ignored(&entry.path)
                        && self.produced.matching(&entry.path).is_empty()
                })
                .collect(),
            Inputs::Patterns(patterns) => {
                let mut found = files.matching(patterns);
                found.retain(|entry| {
                    counts(entry) && (!self.is_ignored(&entry.path) || patterns.names(&entry.path))
                });
                found
            }
        }
    }

    fn is_ignored(&self, path: &RelPath) -> bool {
        !self.ignored.is_empty() && self.ignored.binary_search(path).is_ok()
    }
}
