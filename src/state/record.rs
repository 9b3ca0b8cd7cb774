//! What is remembered of a task: [`Success`], its [`Inputs`] and the [`Marker`] of an attempt.
//!
//! Values of one ledger for all tasks. A success is written only after the command has succeeded;
//! while an attempt is under way, and after one that failed, the marker says so and the success
//! does not count. See the table of faults in `docs/design/state.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{Disk, DiskError};
use crate::path::RelPath;
use crate::task_id::TaskName;

use super::definition::Definition;
use super::frame::{self, Kind};
use super::input::{Content, OutputFile};
use super::ledger::{self, Ledger, Note, Slot, Values};
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Inputs {
    /// The success it belongs to.
    pub(super) key: Digest,
    pub(super) definition: Definition,
    pub(super) files: Vec<(RelPath, Content)>,
}

/// [`Inputs`] to be written: there may be many, and they are not copied for it.
#[derive(Debug, Serialize)]
pub(super) struct InputsRef<'a> {
    pub(super) key: Digest,
    pub(super) definition: &'a Definition,
    pub(super) files: Vec<(&'a RelPath, &'a Content)>,
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

/// Inputs that take more bytes than this have a file of their own: they are read only to name
/// what changed, and the ledger at every start.
const INPUTS_IN_LEDGER_MAX: usize = 2048;

/// What is under `tasks/`.
pub(super) struct Records<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
    ledger: Ledger<'d>,
}

impl<'d> Records<'d> {
    /// The records in `dir`; `lock` is locked while one is written.
    pub(super) fn new(disk: &'d dyn Disk, dir: PathBuf, lock: PathBuf, session: String) -> Self {
        Self {
            disk,
            ledger: Ledger::new(disk, dir.join("ledger"), lock, session),
            dir,
        }
    }

    /// The last success, and the attempt that is under way or did not succeed. One that cannot be
    /// understood counts as begun.
    pub(super) fn look(
        &self,
        task: &TaskName,
        warnings: &Warnings,
    ) -> (Option<Success>, Option<Marker>) {
        let Values {
            success, marker, ..
        } = self.ledger.get(&key_of(task), warnings);
        let success = success.and_then(|bytes| postcard::from_bytes::<Success>(&bytes).ok());
        let marker = marker.map(|bytes| {
            postcard::from_bytes(&bytes).unwrap_or(Marker {
                key: Digest::OF_NOTHING,
                attempt: Attempt::Begun,
                moved: 0,
            })
        });
        let is_own = |success: &Success| success.task == task.as_str();
        (success.filter(is_own), marker)
    }

    /// The last success alone.
    pub(super) fn success(&self, task: &TaskName, warnings: &Warnings) -> Option<Success> {
        self.look(task, warnings).0
    }

    /// What the success with this key was made from. `None` when that is not known any more.
    pub(super) fn inputs(
        &self,
        task: &TaskName,
        key: &Digest,
        warnings: &Warnings,
    ) -> Option<Inputs> {
        let is_of = |inputs: &Inputs| inputs.key == *key;
        let noted = self.ledger.get(&key_of(task), warnings).inputs;
        let noted = noted.and_then(|bytes| postcard::from_bytes::<Inputs>(&bytes).ok());
        noted.filter(is_of).or_else(|| {
            let path = self.inputs_path(task);
            load(self.disk, &path, warnings).filter(is_of)
        })
    }

    /// Notes a success and ends the attempt, for [`Self::flush`] to write down.
    pub(super) fn record(
        &self,
        task: &TaskName,
        success: &Success,
        inputs: &InputsRef<'_>,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let mut draft = frame::draft(inputs);
        let inputs = if draft.len() > frame::HEADER + INPUTS_IN_LEDGER_MAX {
            frame::seal(Kind::Inputs, &mut draft);
            self.disk.write_atomic(&self.inputs_path(task), &draft)?;
            Note::Clear(Slot::Inputs)
        } else {
            Note::Set(Slot::Inputs, draft[frame::HEADER..].into())
        };
        let notes = [
            inputs,
            Note::Set(Slot::Success, encode(success)),
            Note::Clear(Slot::Marker),
        ];
        self.ledger.note(&key_of(task), notes, warnings)
    }

    /// Notes that the same success is known by other stats. An attempt stays in force.
    pub(super) fn record_again(
        &self,
        task: &TaskName,
        success: &Success,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let note = Note::Set(Slot::Success, encode(success));
        self.ledger.put(&key_of(task), [note], warnings)
    }

    /// Notes that an attempt begins of a task that has no success which could count meanwhile, for
    /// [`Self::flush`] to write down.
    pub(super) fn note_begun(
        &self,
        task: &TaskName,
        marker: &Marker,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let note = Note::Set(Slot::Marker, encode(marker));
        self.ledger.note(&key_of(task), [note], warnings)
    }

    /// Writes down an attempt. When that fails the last success is forgotten, so that it cannot count.
    pub(super) fn mark(
        &self,
        task: &TaskName,
        marker: &Marker,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let note = Note::Set(Slot::Marker, encode(marker));
        let written = self.ledger.put(&key_of(task), [note], warnings);
        if written.is_err() {
            self.ledger.forget_at_any_price(&key_of(task), warnings)?;
        }
        written
    }

    /// Forgets the attempt, with the next [`Self::flush`]: the last success, if there is one,
    /// counts again.
    pub(super) fn unmark(&self, task: &TaskName, warnings: &Warnings) -> Result<(), DiskError> {
        let note = Note::Clear(Slot::Marker);
        self.ledger.note(&key_of(task), [note], warnings)
    }

    /// Writes down what was noted.
    pub(super) fn flush(&self, warnings: &Warnings) -> Result<(), DiskError> {
        self.ledger.flush(warnings)
    }

    /// Forgets everything about the task.
    pub(super) fn forget(&self, task: &TaskName, warnings: &Warnings) -> Result<(), DiskError> {
        self.disk.remove(&self.inputs_path(task))?;
        self.ledger.forget_at_any_price(&key_of(task), warnings)
    }

    /// Drops what does not count any more, if that is most of it.
    pub(super) fn compact(&self, warnings: &Warnings) -> Result<(), DiskError> {
        self.ledger.compact(warnings)
    }

    fn inputs_path(&self, task: &TaskName) -> PathBuf {
        self.dir.join(format!("{}.in", file_stem(task)))
    }
}

/// The inputs in a file of their own, if there is one that can be read.
fn load(disk: &dyn Disk, path: &Path, warnings: &Warnings) -> Option<Inputs> {
    let reason = match disk.read(path) {
        Ok(bytes) => match frame::decode(Kind::Inputs, &bytes) {
            Ok(inputs) => return Some(inputs),
            Err(spoiled) => spoiled.to_string(),
        },
        Err(error) if error.is_not_found() => return None,
        Err(error) => error.source.to_string(),
    };
    warnings.push(Warning::StateDiscarded {
        path: path.to_path_buf(),
        reason,
    });
    None
}

fn encode(value: &impl Serialize) -> Arc<[u8]> {
    frame::payload(value).into()
}

/// What a task's values are kept under.
pub(super) fn key_of(task: &TaskName) -> ledger::Key {
    let digest = Digest::of(task.as_str().as_bytes());
    let key = digest.as_bytes().first_chunk();
    *key.expect("a digest is longer")
}

/// A file name for a task: task names may hold anything.
fn file_stem(task: &TaskName) -> String {
    let mut hex = Digest::of(task.as_str().as_bytes()).to_string();
    hex.truncate(32);
    hex
}
