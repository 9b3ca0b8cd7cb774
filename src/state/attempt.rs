//! A run and its end: [`Engine::begin`], [`Engine::finish`], [`Engine::failed`], and the run that
//! is not needed: [`Engine::restore`].

use std::io::Read;
use std::sync::Arc;

use crate::digest::Digest;
use crate::disk::DiskError;
use crate::outcome::ExitStatus;
use crate::path::RelPath;
use crate::watchfile::task::{Caching, Task};

use super::engine::Engine;
use super::error::StateError;
use super::examine::Examined;
use super::input::{Content, OutputFile};
use super::key;
use super::movement::{self, After, Moved};
use super::outputs;
use super::quick;
use super::record::{Attempt, InputsRef, Marker, Success};
use super::restore::{self, Ended, Restorer};
use super::runlog::Ran;
use super::store::{StoredOutput, StoredResult};
use super::subject::{Demand, Subject};
use super::tree::Tree;
use super::verdict::PathSample;
use super::warning::Warning;

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It was asked for, or something changed.
    Anew,
    /// The run before it ended with [`Moved`] inputs.
    Again,
}

/// What became of a run that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is up to date now.
    Recorded(Made),
    /// It is not recorded, and the task is not fresh. In a one-shot run it may be left stale, with
    /// a warning.
    Moved(Moved),
}

/// What a run, or a restore, left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What dependents see of it.
    pub product: Digest,
    /// Its outputs in order of path, with the stats they have now.
    pub outputs: Arc<[OutputFile]>,
    /// What was an output at the last success and is gone.
    pub removed: Vec<RelPath>,
}

/// A result that was taken from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it left behind.
    pub made: Made,
    /// Of what the command printed when it ran, see [`Engine::open_log`].
    pub log: Digest,
    /// How many outputs had to be written; the others were right already.
    pub written: usize,
}

impl Engine<'_> {
    /// Says that a command is about to run. Until it is finished the task is not fresh, even if
    /// the machine stops now. That it was begun is remembered from then on, or, if the task never
    /// succeeded, from the next [`Engine::flush`] on. Called by who holds the task's lock and knows
    /// that it was not overtaken.
    pub fn begin(&self, examined: &mut Examined, start: Start) {
        let moved = match start {
            Start::Again => examined.moved_before(),
            // That the last run moved its inputs is still worth knowing, how often is not.
            Start::Anew => examined.moved_before().min(1),
        };
        let marker = Marker {
            key: examined.key,
            attempt: Attempt::Begun,
            moved,
        };
        examined.marker = Some(marker);
        if self.may_write() {
            let (records, task) = (&self.records, &examined.task);
            self.note(match examined.success {
                Some(_) => records.mark(task, &marker, &self.warnings),
                None => records.note_begun(task, &marker, &self.warnings),
            });
        }
    }

    /// Whether another process has recorded a success of the task since it was examined. Asked by
    /// who holds the task's lock: then it has to be examined once more.
    #[must_use]
    pub fn is_overtaken(&self, examined: &Examined) -> bool {
        let (success, marker) = self.records.look(&examined.task, &self.warnings);
        success.is_some() && marker.is_none() && success.as_ref() != examined.success.as_deref()
    }

    /// Says that the command failed. What it succeeded with before does not count until it
    /// succeeds again. `moved`: nor does the failure, see [`Self::moved_in_failure`].
    pub fn failed(
        &self,
        examined: &Examined,
        exit: Option<ExitStatus>,
        ran: Ran,
        moved: Option<&Moved>,
    ) {
        let (code, signal) = match exit {
            Some(ExitStatus::Code(code)) => (Some(code), None),
            Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let in_a_row = moved.map_or(0, |moved| moved.in_a_row);
        self.mark(examined, Attempt::Failed { code, signal }, in_a_row);
        self.log_run(|log| log.failed(examined.task.as_str(), ran));
    }

    /// Whether inputs changed while a command ran that failed, so that it has to run once more:
    /// `after` holds the files as they are *after* the command ended.
    ///
    /// # Errors
    /// [`StateError::Inputs`].
    pub fn moved_in_failure(
        &self,
        examined: &Examined,
        after: &Subject<'_>,
    ) -> Result<Option<Moved>, StateError> {
        let Some(before) = &examined.inputs else {
            return Ok(None);
        };
        let compared = self.compare(before, after)?;
        let moved = compared.movement.after_failure(examined.moved_before());
        if moved.is_some() {
            self.live.put_moved(&examined.task, compared.moved);
        }
        Ok(moved)
    }

    /// Records a run that succeeded, if its inputs are still what they were: `after` holds the
    /// files as they are *after* the command ended, and `log` what it printed. The outputs and
    /// the log go to the store. [`Engine::flush`] makes it last.
    ///
    /// # Errors
    /// [`StateError::Inputs`] and [`StateError::Outputs`]; nothing is recorded then.
    pub fn finish(
        &self,
        examined: &Examined,
        after: &Subject<'_>,
        ran: Ran,
        log: &mut dyn Read,
    ) -> Result<Finished, StateError> {
        let task = after.task;
        let Some(before) = &examined.inputs else {
            // It was fresh and ran all the same: there is nothing to compare with.
            return Ok(Finished::Moved(Moved {
                paths: PathSample::default(),
                in_a_row: 1,
            }));
        };
        let compared = self.compare(before, after)?;
        let (before, earlier) = (examined.moved_before(), self.live.take_moved(&task.name));
        if let Some(moved) = compared.movement.after_success(before, earlier.as_ref()) {
            self.live.put_moved(&task.name, compared.moved);
            self.mark(examined, Attempt::Moved, moved.in_a_row);
            return Ok(Finished::Moved(moved));
        }
        let (outputs, is_storable) = self.read_outputs(task)?;
        let made = made_of(examined, task, outputs);
        if task.caching == Caching::On {
            if is_storable && self.uses_store() {
                self.store_result(examined, &made, ran, log);
            }
            self.record(examined, &made, compared.quick);
        } else if self.may_write() {
            self.note(self.records.unmark(&task.name, &self.warnings));
        }
        self.log_run(|log| log.succeeded(task.name.as_str(), ran));
        Ok(Finished::Recorded(made))
    }

    fn compare(&self, before: &Tree, after: &Subject<'_>) -> Result<After, StateError> {
        let compared = movement::compare(before, &after.inputs(), &self.contents, &self.warnings);
        compared.map_err(|source| StateError::Inputs {
            task: after.task.name.clone(),
            source,
        })
    }

    /// Makes a stale task fresh from the store, if its key has been run before: its outputs are
    /// put in place and verified, and what is there already and right is left alone. `None` when
    /// it has to run, as when something cannot be written. Begins by itself; nothing has to be
    /// called before, and [`Engine::flush`] after.
    ///
    /// # Errors
    /// [`StateError::Outputs`]; the task is stale then.
    pub fn restore(
        &self,
        examined: &Examined,
        subject: &Subject<'_>,
    ) -> Result<Option<Restored>, StateError> {
        let task = subject.task;
        let Some(inputs) = &examined.inputs else {
            return Ok(None);
        };
        if !self.may_restore(examined, task, subject.demand) {
            return Ok(None);
        }
        let Some(result) = self.store.result(&examined.key, &self.warnings) else {
            return Ok(None);
        };
        if let Err(refusal) = restore::admit(&result, &task.outputs) {
            self.store
                .refuse(&examined.key, &refusal.to_string(), &self.warnings);
            return Ok(None);
        }
        if !self.store.verify(&result.log, &self.warnings) {
            self.store.forget(&examined.key);
            return Ok(None);
        }
        let Some((made, written)) = self.put_back(examined, subject, &result)? else {
            return Ok(None);
        };
        let now_ns = self.contents.hash_time().0.map_or(0, |time| time.ns);
        self.store.touch(&examined.key, &result, now_ns);
        let files: Vec<_> = inputs.files().collect();
        let is_trusted = inputs.untrusted().is_empty();
        let quick = is_trusted.then(|| quick::digest(&files));
        self.record(examined, &made, quick);
        let log = result.log;
        Ok(Some(Restored { made, log, written }))
    }

    /// Whether the store may have the result of a stale task: without it, [`Self::restore`] gives
    /// `None`. Reads no content.
    #[must_use]
    pub fn is_stored(&self, examined: &Examined, task: &Task, demand: Demand) -> bool {
        self.may_restore(examined, task, demand) && self.store.has(&examined.key, &self.warnings)
    }

    fn may_restore(&self, examined: &Examined, task: &Task, demand: Demand) -> bool {
        examined.inputs.is_some()
            && self.uses_store()
            && task.caching == Caching::On
            && demand != Demand::Always
            && !examined.has_failed_with_this_key()
    }

    /// What a command printed when it ran, stdout and stderr in the order written, as a stream: it
    /// may be larger than memory. `None` when it was collected since.
    #[must_use]
    pub fn open_log(&self, log: &Digest) -> Option<Box<dyn Read + Send>> {
        self.store.open(log)
    }

    fn put_back(
        &self,
        examined: &Examined,
        subject: &Subject<'_>,
        result: &StoredResult,
    ) -> Result<Option<(Made, usize)>, StateError> {
        let task = subject.task;
        let restorer = Restorer {
            disk: self.disk,
            root: &self.root,
            store: &self.store,
            contents: &self.contents,
            warnings: &self.warnings,
            stage: self.stage(),
            produced: subject.produced,
        };
        let moved = examined.moved_before();
        let ended = restorer.run(result, &task.outputs, || {
            self.try_mark(examined, Attempt::Begun, moved)
        });
        let written = match ended {
            Ok(Ended::Done { written }) => written,
            Ok(Ended::Missing) => {
                self.store.forget(&examined.key);
                return Ok(None);
            }
            Ok(Ended::Obstructed) => return Ok(None),
            Err(error) => {
                // Whatever is half in place, the marker says so, and the command makes it anew.
                self.warnings.push(Warning::NotRestored {
                    path: error.path.clone(),
                    reason: error.source.to_string(),
                });
                return Ok(None);
            }
        };
        let (mut outputs, _) = self.read_outputs(task)?;
        // What another task may produce too was left alone and is not part of this result.
        outputs.retain(|output| {
            let mut stored = result.outputs.iter().map(|stored| &stored.path);
            let is_shared = subject.produced.matching(&output.file.path).len() > 1;
            !is_shared || stored.any(|path| *path == output.file.path)
        });
        let is_as_stored = outputs.len() == result.outputs.len()
            && outputs.iter().zip(&result.outputs).all(|(output, stored)| {
                output.file.path == stored.path && output.file.content == stored.content
            });
        // Race: somebody wrote to an output meanwhile. The marker keeps the task stale.
        Ok(is_as_stored.then(|| (made_of(examined, task, outputs), written)))
    }

    /// Reads what lies where outputs are declared; whether all of it can be kept in the store.
    fn read_outputs(&self, task: &Task) -> Result<(Vec<OutputFile>, bool), StateError> {
        let failed = |source: DiskError| StateError::Outputs {
            task: task.name.clone(),
            source,
        };
        if task.outputs.is_empty() {
            return Ok((Vec::new(), true));
        }
        let found = outputs::find(self.disk, &self.root, &task.outputs).map_err(failed)?;
        let read = outputs::read(&found, &self.contents, &self.warnings).map_err(failed)?;
        let strange = found
            .strange
            .first()
            .map(|path| (path, "is neither file nor link"));
        let leaving = read.iter().find_map(|output| match &output.file.content {
            Content::Link { target } if restore::link_leaves_root(&output.file.path, target) => {
                Some((&output.file.path, "is a link that leads out of the root"))
            }
            _ => None,
        });
        let obstacle = strange.or(leaving);
        if let Some((path, reason)) = obstacle {
            self.warnings.push(Warning::OutputNotKept {
                task: task.name.clone(),
                path: path.clone(),
                reason: reason.to_owned(),
            });
        }
        let is_storable = obstacle.is_none();
        Ok((read, is_storable))
    }

    fn store_result(&self, examined: &Examined, made: &Made, ran: Ran, log: &mut dyn Read) {
        let sizes = made.outputs.iter().map(|output| match output.file.content {
            Content::File { size, .. } => size,
            Content::Link { .. } | Content::EmptyDir => 0,
        });
        if sizes.sum::<u64>() > self.options.cache_size {
            return;
        }
        self.store.attempt(&self.warnings, || {
            for output in made.outputs.iter() {
                if let Content::File { digest, .. } = &output.file.content {
                    let from = self.root.join(&output.file.path);
                    if !self.store.put_file(digest, &from)? {
                        // Race: somebody writes to it; then this result is not worth keeping.
                        return Ok(());
                    }
                }
            }
            let result = StoredResult {
                key: examined.key,
                outputs: made.outputs.iter().map(stored).collect(),
                log: self.store.put_stream(log)?,
                duration_ms: u64::try_from(ran.duration.as_millis()).unwrap_or(u64::MAX),
            };
            self.store
                .put_result(&examined.key, &result, &self.warnings)
        });
    }

    fn record(&self, examined: &Examined, made: &Made, quick: Option<Digest>) {
        if let Some(tree) = &examined.inputs {
            self.live
                .put_success(&examined.task, examined.key, tree.clone());
        }
        let files = examined.inputs().into_iter();
        let inputs = InputsRef {
            key: examined.key,
            definition: &examined.definition,
            files: files.map(|file| (&file.path, &file.content)).collect(),
        };
        let success = Success {
            task: examined.task.as_str().to_owned(),
            key: examined.key,
            product: made.product,
            definition: examined.definition.digest(),
            quick,
            outputs: made.outputs.to_vec(),
        };
        if self.may_write() {
            self.note(
                self.records
                    .record(&examined.task, &success, &inputs, &self.warnings),
            );
        }
    }

    fn mark(&self, examined: &Examined, attempt: Attempt, moved: u32) {
        if self.may_write() {
            self.note(self.try_mark(examined, attempt, moved));
        }
    }

    fn try_mark(&self, examined: &Examined, attempt: Attempt, moved: u32) -> Result<(), DiskError> {
        let marker = Marker {
            key: examined.key,
            attempt,
            moved,
        };
        self.records.mark(&examined.task, &marker, &self.warnings)
    }
}

impl Examined {
    fn moved_before(&self) -> u32 {
        self.marker.map_or(0, |marker| marker.moved)
    }

    fn has_failed_with_this_key(&self) -> bool {
        self.marker.is_some_and(|marker| {
            marker.key == self.key && matches!(marker.attempt, Attempt::Failed { .. })
        })
    }
}

fn made_of(examined: &Examined, task: &Task, outputs: Vec<OutputFile>) -> Made {
    let product = if task.outputs.is_empty() {
        examined.key
    } else {
        key::product(&outputs)
    };
    let is_gone = |path: &RelPath| {
        outputs
            .binary_search_by(|output| output.file.path.cmp(path))
            .is_err()
    };
    let last = examined
        .last_outputs()
        .iter()
        .map(|output| &output.file.path);
    Made {
        product,
        removed: last.filter(|path| is_gone(path)).cloned().collect(),
        outputs: outputs.into(),
    }
}

fn stored(output: &OutputFile) -> StoredOutput {
    StoredOutput {
        path: output.file.path.clone(),
        content: output.file.content.clone(),
        mode: output.file.stat.mode & 0o777,
    }
}
