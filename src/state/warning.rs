//! What went wrong without stopping the work: [`Warning`].

use std::collections::BTreeSet;
use std::mem;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::path::RelPath;
use crate::task_id::TaskName;

/// Something the engine lost or could not do. The work goes on; each kind is reported
/// once, and what a directory that cannot be written to leads to only once in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A state file was of no use; what it held is found out again.
    StateDiscarded {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing can be remembered: the next run starts cold.
    StateUnwritable {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Results are no longer kept in the store for the rest of this run.
    StoreUnwritable {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A stored result could not be put in place; the task runs instead.
    NotRestored {
        /// What could not be read or written.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A tool of a task could not be asked what it is. That it cannot enters the key.
    ToolFailed {
        /// Whose.
        task: TaskName,
        /// The command, as in the watchfile.
        command: String,
        /// How it ended.
        reason: String,
    },
    /// An entry of the store was damaged or would have written where it must not. It was dropped.
    StoreEntryRefused {
        /// Which file of the store.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a task made at this path cannot be kept, so its result is not in the store.
    OutputNotKept {
        /// Whose.
        task: TaskName,
        /// Where.
        path: RelPath,
        /// Why.
        reason: String,
    },
}

impl Warning {
    /// The name of the kind, as serialised.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StateDiscarded { .. } => "state_discarded",
            Self::StateUnwritable { .. } => "state_unwritable",
            Self::StoreUnwritable { .. } => "store_unwritable",
            Self::NotRestored { .. } => "not_restored",
            Self::ToolFailed { .. } => "tool_failed",
            Self::StoreEntryRefused { .. } => "store_entry_refused",
            Self::OutputNotKept { .. } => "output_not_kept",
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::StateDiscarded { .. } => "nothing to do: the state is rebuilt by this run",
            Self::StateUnwritable { .. } => {
                "make `.watchrun` writable, or free some space, to skip what is up to date"
            }
            Self::StoreUnwritable { .. } => "free some space, or set `cache_dir` or `cache_size`",
            Self::NotRestored { .. } => "free some space, or make the place writable",
            Self::ToolFailed { .. } => "correct the command in `tools`, or install it",
            Self::StoreEntryRefused { .. } => "nothing to do: the task runs instead",
            Self::OutputNotKept { .. } => "leave the path out of `outputs`, or make it a file",
        }
    }
}

impl Warning {
    /// Warnings of one group are one trouble, told once.
    fn group(&self) -> &'static str {
        match self {
            Self::StoreUnwritable { path, .. } | Self::NotRestored { path, .. }
                if path.iter().any(|part| part == ".watchrun") =>
            {
                "state_unwritable"
            }
            other => other.kind(),
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StateDiscarded { path, reason } => {
                write!(f, "discarded the state in `{}`: {reason}", path.display())
            }
            Self::StateUnwritable { path, reason } => {
                write!(f, "cannot keep state in `{}`: {reason}", path.display())
            }
            Self::StoreUnwritable { path, reason } => {
                write!(f, "cannot keep results in `{}`: {reason}", path.display())
            }
            Self::NotRestored { path, reason } => {
                write!(
                    f,
                    "cannot restore results by `{}`: {reason}",
                    path.display()
                )
            }
            Self::ToolFailed {
                task,
                command,
                reason,
            } => write!(f, "tool `{command}` of task `{task}` {reason}"),
            Self::StoreEntryRefused { path, reason } => {
                write!(
                    f,
                    "refused the cached result `{}`: {reason}",
                    path.display()
                )
            }
            Self::OutputNotKept { task, path, reason } => write!(
                f,
                "the result of task `{task}` is not cached: output `{path}` {reason}"
            ),
        }
    }
}

/// Collects warnings, the first of each group.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    // Guards what was said and not yet taken. Leaf lock, held for one push or one drain.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    said: BTreeSet<&'static str>,
    pending: Vec<Warning>,
}

impl Warnings {
    pub(super) fn push(&self, warning: Warning) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.said.insert(warning.group()) {
            inner.pending.push(warning);
        }
    }

    pub(super) fn take(&self) -> Vec<Warning> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut inner.pending)
    }
}
