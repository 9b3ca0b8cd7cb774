//! What is remembered of a task: [`Success`], its [`Inputs`] and the [`Marker`] of an attempt.
//!
//! Three small files a task. A success is written only after the command has succeeded; while an
//! attempt is under way, and after one that failed, the marker says so and the success does not
//! count. See the table of faults in `docs/design/state.md`.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{Disk, DiskError};
use crate::path::RelPath;
use crate::task_id::TaskName;

use super::definition::Definition;
use super::frame::{self, Kind, Spoiled};
use super::input::{Content, OutputFile};
use super::warning::{Warning, Warnings};

/// What a task's last success looked like, enough to find it fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Success {
    pub(super) task: String,
    pub(super) key: Digest,
    pub(super) product: Digest,
    pub(super) definition: Digest,
    /// Over paths and stats of the inputs, if these may stand for the content.
    pub(super) quick: Option<Digest>,
    pub(super) outputs: Vec<OutputFile>,
}

/// What a task's last success was made from, to name what changed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// The success it belongs to.
    pub(super) key: Digest,
    pub(super) definition: Definition,
    pub(super) files: Vec<(RelPath, Content)>,
}

/// An attempt that has not ended in a recorded success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// What was attempted.
    pub(super) key: Digest,
    pub(super) attempt: Attempt,
    /// How many attempts in a row, before this one, ended with other inputs than they began.
    pub(super) moved: u32,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Attempt {
    /// It has begun. If nobody holds the task's lock, it was stopped.
    Begun,
    /// It failed, with this exit code or this signal.
    Failed {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// It succeeded, but its inputs were not what they were before.
    Moved,
}

/// The files under `tasks/`.
pub(super) struct Records<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
}

impl<'d> Records<'d> {
    pub(super) fn new(disk: &'d dyn Disk, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// The last success, if there is one that can be read.
    pub(super) fn success(&self, task: &TaskName, warnings: &Warnings) -> Option<Success> {
        let path = self.path(task, "ok");
        let success: Success = self.load(&path, Kind::Task, warnings).ok()??;
        (success.task == task.as_str()).then_some(success)
    }

    /// What the success with this key was made from. `None` when that is not known any more.
    pub(super) fn inputs(
        &self,
        task: &TaskName,
        key: &Digest,
        warnings: &Warnings,
    ) -> Option<Inputs> {
        let path = self.path(task, "in");
        let inputs: Inputs = self.load(&path, Kind::Inputs, warnings).ok()??;
        (inputs.key == *key).then_some(inputs)
    }

    /// The attempt that is under way or did not succeed. One that cannot be read counts as begun.
    pub(super) fn marker(&self, task: &TaskName, warnings: &Warnings) -> Option<Marker> {
        let path = self.path(task, "run");
        self.load(&path, Kind::Marker, warnings)
            .unwrap_or_else(|_| {
                Some(Marker {
                    key: Digest::of(b""),
                    attempt: Attempt::Begun,
                    moved: 0,
                })
            })
    }

    /// Notes a success. Until the last step the attempt's marker is in force.
    pub(super) fn record(
        &self,
        task: &TaskName,
        success: &Success,
        inputs: &Inputs,
    ) -> Result<(), DiskError> {
        let inputs = frame::encode(Kind::Inputs, inputs);
        self.disk.write_atomic(&self.path(task, "in"), &inputs)?;
        self.record_again(task, success)?;
        self.disk.remove(&self.path(task, "run"))
    }

    /// Notes that the same success is known by other stats.
    pub(super) fn record_again(&self, task: &TaskName, success: &Success) -> Result<(), DiskError> {
        let success = frame::encode(Kind::Task, success);
        self.disk.write_atomic(&self.path(task, "ok"), &success)
    }

    /// Notes an attempt. When that fails the last success is forgotten, so that it cannot count.
    pub(super) fn mark(&self, task: &TaskName, marker: &Marker) -> Result<(), DiskError> {
        let bytes = frame::encode(Kind::Marker, marker);
        let written = self.disk.write_atomic(&self.path(task, "run"), &bytes);
        if written.is_err() {
            self.disk.remove(&self.path(task, "ok"))?;
        }
        written
    }

    /// Forgets the attempt: the last success, if there is one, counts again.
    pub(super) fn unmark(&self, task: &TaskName) -> Result<(), DiskError> {
        self.disk.remove(&self.path(task, "run"))
    }

    /// Forgets everything about the task.
    pub(super) fn forget(&self, task: &TaskName) -> Result<(), DiskError> {
        ["ok", "in", "run"]
            .iter()
            .try_for_each(|extension| self.disk.remove(&self.path(task, extension)))
    }

    /// `Ok(None)` when there is no such file, `Err` when it cannot be read.
    fn load<T: DeserializeOwned>(
        &self,
        path: &Path,
        kind: Kind,
        warnings: &Warnings,
    ) -> Result<Option<T>, Spoiled> {
        let bytes = match self.disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => {
                warnings.push(Warning::StateDiscarded {
                    path: path.to_path_buf(),
                    reason: error.source.to_string(),
                });
                return Err(Spoiled::Torn);
            }
        };
        frame::decode(kind, &bytes)
            .map(Some)
            .inspect_err(|spoiled| {
                warnings.push(Warning::StateDiscarded {
                    path: path.to_path_buf(),
                    reason: spoiled.to_string(),
                });
            })
    }

    fn path(&self, task: &TaskName, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", file_stem(task)))
    }
}

/// A file name for a task: task names may hold anything.
pub(super) fn file_stem(task: &TaskName) -> String {
    let mut hex = Digest::of(task.as_str().as_bytes()).to_string();
    hex.truncate(32);
    hex
}
