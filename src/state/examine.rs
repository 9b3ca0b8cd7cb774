//! The question: [`Engine::examine`] looks at a task and gives an [`Examined`].

use std::sync::Arc;

use crate::digest::Digest;
use crate::disk::{DiskError, FileStat};
use crate::files::FileEntry;
use crate::path::RelPath;
use crate::task_id::TaskName;
use crate::watchfile::task::Caching;

use super::compare;
use super::contents::Snapshot;
use super::definition::Definition;
use super::engine::Engine;
use super::input::{InputFile, OutputFile};
use super::key;
use super::outputs::{self, Check};
use super::quick;
use super::record::{Attempt, Inputs, Marker, Success};
use super::subject::{Demand, Subject};
use super::verdict::{Reason, Verdict};

/// Why the engine could not do its work for a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An input is there and cannot be read.
    #[error("cannot read the inputs of task `{task}`")]
    Inputs {
        /// The task.
        task: TaskName,
        /// What failed.
        source: DiskError,
    },
    /// Something where outputs are declared cannot be read.
    #[error("cannot read the outputs of task `{task}`")]
    Outputs {
        /// The task.
        task: TaskName,
        /// What failed.
        source: DiskError,
    },
    /// Outputs could not be put back; some may be, the task is stale.
    #[error("cannot restore the outputs of task `{task}`")]
    Restore {
        /// The task.
        task: TaskName,
        /// What failed.
        source: DiskError,
    },
}

/// A task as it was found: the verdict, and what recording a run needs.
#[derive(Clone, Debug)]
pub struct Examined {
    pub(super) task: TaskName,
    pub(super) verdict: Verdict,
    pub(super) also: Vec<Reason>,
    pub(super) key: Digest,
    pub(super) definition: Definition,
    /// The inputs; not looked into when stat data alone showed that the task is fresh.
    pub(super) inputs: Option<Arc<Snapshot>>,
    pub(super) success: Option<Arc<Success>>,
    pub(super) marker: Option<Marker>,
}

impl Examined {
    /// The task's name.
    #[must_use]
    pub fn task(&self) -> &TaskName {
        &self.task
    }

    /// Whether it has to run.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Why it has to run, beside the reason in the verdict.
    #[must_use]
    pub fn further_reasons(&self) -> &[Reason] {
        &self.also
    }

    /// The identity of its result.
    #[must_use]
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// What dependents see of it, if it is fresh: its outputs, or its key if it declares none.
    #[must_use]
    pub fn product(&self) -> Option<Digest> {
        match (&self.verdict, &self.success) {
            (Verdict::Fresh, Some(success)) => Some(success.product),
            _ => None,
        }
    }

    /// What was compared, in order of path. Empty when stat data alone answered.
    #[must_use]
    pub fn inputs(&self) -> &[InputFile] {
        self.inputs.as_ref().map_or(&[], |inputs| &inputs.files)
    }

    /// What its last success made, in order of path.
    #[must_use]
    pub fn last_outputs(&self) -> &[OutputFile] {
        self.success
            .as_ref()
            .map_or(&[], |success| &success.outputs)
    }
}

impl Engine<'_> {
    /// Whether `subject` has to run. When nothing happened since its last success this compares
    /// stat data; else it reads what changed, in parallel on rayon's global pool.
    ///
    /// # Errors
    /// [`StateError::Inputs`] and [`StateError::Outputs`].
    pub fn examine(&self, subject: &Subject<'_>) -> Result<Examined, StateError> {
        let task = &subject.task.name;
        let definition = Definition::of(subject);
        let entries = subject.inputs();
        let marker = self.records.marker(task, &self.warnings);
        let success = self.records.success(task, &self.warnings).map(Arc::new);
        if let Some(success) = &success
            && marker.is_none()
            && may_be_fresh(subject)
            && success.quick == Some(quick::digest(&entries))
            && success.definition == definition.digest()
            && self.check_outputs(task, success)?.is_same()
        {
            return Ok(Examined {
                task: task.clone(),
                verdict: Verdict::Fresh,
                also: Vec::new(),
                key: success.key,
                definition,
                inputs: None,
                success: Some(Arc::clone(success)),
                marker,
            });
        }
        self.examine_closely(subject, definition, &entries, success, marker)
    }

    /// The inputs that a command with `{files}` is given: those that are new or differ from the
    /// last success, all of them if there is none. In order of path.
    #[must_use]
    pub fn changed_files(&self, examined: &Examined) -> Vec<RelPath> {
        let files = examined.inputs();
        let last = examined.success.as_ref();
        let last = last.and_then(|success| {
            self.records
                .inputs(&examined.task, &success.key, &self.warnings)
        });
        match last {
            Some(last) => compare::changed_since(&last.files, files)
                .into_iter()
                .map(|file| file.path.clone())
                .collect(),
            None => files.iter().map(|file| file.path.clone()).collect(),
        }
    }

    fn examine_closely(
        &self,
        subject: &Subject<'_>,
        definition: Definition,
        entries: &[&FileEntry],
        mut success: Option<Arc<Success>>,
        marker: Option<Marker>,
    ) -> Result<Examined, StateError> {
        let task = &subject.task.name;
        let paths = entries.iter().map(|entry| (&entry.path, &entry.stat));
        let snapshot = self.read_inputs(task, paths)?;
        let key = key::key(subject, &definition, &snapshot.files);
        let mut reasons = Vec::new();
        if let Some(success) = &mut success {
            if success.key != key {
                reasons.extend(self.differences(task, success, &definition, &snapshot));
            }
            match self.check_outputs(task, success)? {
                Check::Differ { missing, edited } => {
                    if !missing.is_empty() {
                        reasons.push(Reason::OutputMissing { paths: missing });
                    }
                    if !edited.is_empty() {
                        reasons.push(Reason::OutputEdited { paths: edited });
                    }
                }
                check @ (Check::Same | Check::Touched(_)) => {
                    if reasons.is_empty() && marker.is_none() && self.may_write() {
                        self.remember_stats(success, check, &snapshot, entries);
                    }
                }
            }
        }
        let mut reasons = rank(subject, &key, reasons, success.is_some(), marker);
        let verdict = if reasons.is_empty() {
            Verdict::Fresh
        } else {
            Verdict::Stale(reasons.remove(0))
        };
        Ok(Examined {
            task: task.clone(),
            verdict,
            also: reasons,
            key,
            definition,
            inputs: Some(Arc::new(snapshot)),
            success,
            marker,
        })
    }

    fn differences(
        &self,
        task: &TaskName,
        success: &Success,
        definition: &Definition,
        snapshot: &Snapshot,
    ) -> Vec<Reason> {
        let Some(last) = self.records.inputs(task, &success.key, &self.warnings) else {
            return vec![Reason::Unknown];
        };
        let Inputs {
            key: _,
            definition: last_definition,
            files,
        } = last;
        let mut reasons = compare::definitions(&last_definition, definition);
        let change = compare::inputs(&files, &snapshot.files);
        if !change.is_empty() {
            reasons.push(Reason::Input(change));
        }
        if reasons.is_empty() {
            // The same by every field, and another key: made by another version.
            reasons.push(Reason::Unknown);
        }
        reasons
    }

    /// Notes the stats by which the same success is known from now on.
    fn remember_stats(
        &self,
        success: &mut Arc<Success>,
        check: Check,
        snapshot: &Snapshot,
        entries: &[&FileEntry],
    ) {
        // What was read may be newer than what was listed; then the listed stats say nothing.
        let as_listed = snapshot.files.len() == entries.len()
            && snapshot
                .files
                .iter()
                .zip(entries)
                .all(|(file, entry)| file.stat == entry.stat);
        let quick = (as_listed && snapshot.is_trusted()).then(|| quick::digest(entries));
        let outputs = match check {
            Check::Touched(outputs) => Some(outputs),
            Check::Same | Check::Differ { .. } => None,
        };
        if outputs.is_none() && (quick.is_none() || quick == success.quick) {
            return;
        }
        let known = Arc::make_mut(success);
        known.quick = quick.or(known.quick);
        known.outputs = outputs.unwrap_or_else(|| std::mem::take(&mut known.outputs));
        let task = TaskName::new(&known.task);
        self.note(self.records.record_again(&task, known));
    }

    fn check_outputs(&self, task: &TaskName, success: &Success) -> Result<Check, StateError> {
        outputs::check(
            &success.outputs,
            self.disk,
            &self.root,
            &self.contents,
            &self.warnings,
        )
        .map_err(|source| StateError::Outputs {
            task: task.clone(),
            source,
        })
    }

    pub(super) fn read_inputs<'a>(
        &self,
        task: &TaskName,
        paths: impl ExactSizeIterator<Item = (&'a RelPath, &'a FileStat)>,
    ) -> Result<Snapshot, StateError> {
        let read = self.contents.read(paths, &self.warnings);
        read.map_err(|source| StateError::Inputs {
            task: task.clone(),
            source,
        })
    }
}

impl Check {
    fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }
}

fn may_be_fresh(subject: &Subject<'_>) -> bool {
    subject.demand == Demand::IfStale && subject.task.caching == Caching::On
}

/// All reasons, the one to name first at the front. Empty: fresh.
fn rank(
    subject: &Subject<'_>,
    key: &Digest,
    differences: Vec<Reason>,
    has_succeeded: bool,
    marker: Option<Marker>,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if subject.demand == Demand::Always {
        reasons.push(Reason::Forced);
    }
    if subject.task.caching == Caching::Off {
        reasons.push(Reason::CacheOff);
    }
    let attempt = marker.map(|marker| match marker.attempt {
        Attempt::Begun => Reason::Interrupted,
        Attempt::Failed { code, signal } => Reason::PreviousFailed {
            exit_code: code,
            signal,
        },
        Attempt::Moved => Reason::InputsMoved,
    });
    let is_same_attempt = marker.is_some_and(|marker| marker.key == *key);
    let never = (!has_succeeded).then_some(Reason::NeverSucceeded);
    let failed_first = matches!(attempt, Some(Reason::PreviousFailed { .. })) && !has_succeeded;
    if is_same_attempt || failed_first {
        reasons.extend(attempt);
        reasons.extend(never);
        reasons.extend(differences);
    } else {
        reasons.extend(never);
        reasons.extend(differences);
        reasons.extend(attempt);
    }
    reasons
}
