//! What the engine is asked about: [`Subject`], a task with everything its result depends on.
//!
//! Facts come in as arguments. Picks the task's inputs out of all files; reads nothing.

use std::ffi::OsString;

use crate::change::FileType;
use crate::digest::Digest;
use crate::disk::FileStat;
use crate::files::{FileEntry, FileList, Listing};
use crate::path::RelPath;
use crate::pattern::PatternIndex;
use crate::task_id::TaskName;
use crate::watchfile::task::{Inputs, Task};

/// A task and the facts its result depends on.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The task: a command or a service. A group has no result of its own, see
    /// [`group_product`](super::group_product).
    pub task: &'a Task,
    /// Every file below the root that may be an input, as it is now.
    pub files: &'a dyn Listing,
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
    /// What became different since the engine examined this task last.
    pub changed: Changed<'a>,
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
    /// What is wrong with the answer, as a phrase after its name.
    pub failure: Option<String>,
}

/// What became different in `files` since the same engine examined the same task last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// That is not known, as in a one-shot run: all inputs are compared.
    Unknown,
    /// At most these paths, in any order; more may be named than did change. While watching; what
    /// is examined then costs what changed, not how many inputs there are. If the engine has not
    /// examined the task like this before, all inputs are compared, and kept in memory if they
    /// are many.
    Only(&'a [RelPath]),
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
        let files: &'a FileList = self.files.list();
        match &self.task.inputs {
            Inputs::Everything => files
                .entries()
                .iter()
                .filter(|entry| self.counts(entry) && self.is_in_everything(&entry.path))
                .collect(),
            Inputs::Patterns(patterns) => {
                let mut found = files.matching(patterns);
                found.retain(|entry| {
                    self.counts(entry)
                        && (!self.is_ignored(&entry.path) || patterns.names(&entry.path))
                });
                found
            }
        }
    }

    /// What is known of `path` if it is one of the inputs.
    pub(super) fn input(&self, path: &RelPath) -> Option<FileStat> {
        let stat = self.files.stat(path)?;
        let entry = FileEntry {
            path: path.clone(),
            stat,
        };
        let is_wanted = match &self.task.inputs {
            Inputs::Everything => self.is_in_everything(path),
            Inputs::Patterns(patterns) => {
                patterns.matches(path) && (!self.is_ignored(path) || patterns.names(path))
            }
        };
        (is_wanted && self.counts(&entry)).then_some(stat)
    }

    fn counts(&self, entry: &FileEntry) -> bool {
        let outputs = &self.task.outputs;
        matches!(entry.stat.file_type(), FileType::File | FileType::Symlink)
            && (outputs.is_empty() || !outputs.matches(&entry.path))
    }

    fn is_in_everything(&self, path: &RelPath) -> bool {
        !self.is_ignored(path) && self.produced.matching(path).is_empty()
    }

    fn is_ignored(&self, path: &RelPath) -> bool {
        !self.ignored.is_empty() && self.ignored.binary_search(path).is_ok()
    }
}
