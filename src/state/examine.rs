//! The question: [`Engine::examine`] looks at a task and gives an [`Examined`].

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use crate::digest::Digest;
use crate::disk::FileStat;
use crate::files::FileEntry;
use crate::path::RelPath;
use crate::task_id::TaskName;
use crate::watchfile::task::Caching;

use super::compare;
use super::definition::Definition;
use super::engine::Engine;
use super::error::StateError;
use super::input::{Content, InputFile, OutputFile};
use super::key;
use super::live::Seen;
use super::outputs::{self, Check};
use super::quick;
use super::record::{Attempt, Marker, Success};
use super::subject::{Changed, Demand, Subject, ToolProbe};
use super::tree::{Leaf, Tree};
use super::verdict::{InputChange, Reason, Verdict};
use super::warning::Warning;

/// Tasks with fewer inputs are kept in memory only when [`Engine::prepare`] asks for it: they are
/// looked through faster than it is worth memory.
const LIVE_FILES_MIN: usize = 1000;

/// A task as it was found: the verdict, and what recording a run needs.
#[derive(Clone, Debug)]
pub struct Examined {
    pub(super) task: TaskName,
    pub(super) verdict: Verdict,
    pub(super) also: Vec<Reason>,
    pub(super) key: Digest,
    pub(super) definition: Arc<Definition>,
    /// The inputs; not looked into when stat data alone showed that the task is fresh.
    pub(super) inputs: Option<Tree>,
    pub(super) success: Option<Arc<Success>>,
    pub(super) marker: Option<Marker>,
    pub(super) extent: Extent,
}

/// Which inputs a command with `{files}` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All: the last success says nothing about any of them.
    All,
    /// Those that differ from the last success.
    Changed,
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

    /// How its inputs differ from those that `before` was found with, where both were looked into.
    #[must_use]
    pub fn inputs_since(&self, before: &Self) -> Option<InputChange> {
        let change = compare::inputs(before.inputs.as_ref()?, self.inputs.as_ref()?);
        (!change.is_empty()).then_some(change)
    }

    /// Says that what the direct deps in `names` will produce is not known: a difference to what
    /// they produced says nothing, and neither does that there is none.
    #[must_use]
    pub fn with_stale_deps(mut self, names: &[TaskName]) -> Self {
        let stale = names.iter().map(|name| Reason::DepStale {
            name: name.to_string(),
        });
        let is_guess = |reason: &Reason| match reason {
            Reason::Dep { name } => names.iter().any(|stale| stale.as_str() == name),
            _ => false,
        };
        let known = match mem::replace(&mut self.verdict, Verdict::Fresh) {
            Verdict::Fresh => None,
            Verdict::Stale(reason) => Some(reason),
        };
        let also = mem::take(&mut self.also);
        let known = known.into_iter().chain(also);
        let mut all = known.filter(|reason| !is_guess(reason)).chain(stale);
        if let Some(first) = all.next() {
            self.verdict = Verdict::Stale(first);
        }
        self.also = all.collect();
        self
    }

    /// The identity of its result.
    #[must_use]
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// What the task's tools printed when it was examined.
    #[must_use]
    pub fn tools(&self) -> Vec<ToolProbe> {
        let tools = self.definition.tools.iter();
        let probe = |(command, output): (&String, &Digest)| ToolProbe {
            command: command.clone(),
            output: *output,
            failure: None,
        };
        tools.map(probe).collect()
    }

    /// What dependents see of it, if it is fresh: its outputs, or its key if it declares none.
    #[must_use]
    pub fn product(&self) -> Option<Digest> {
        match (&self.verdict, &self.success) {
            (Verdict::Fresh, Some(success)) => Some(success.product),
            _ => None,
        }
    }

    /// What dependents saw of its last success, whatever it is now.
    pub fn last_product(&self) -> Option<Digest> {
        self.success.as_ref().map(|success| success.product)
    }

    /// What was compared, in order of path. Empty when stat data alone answered.
    #[must_use]
    pub fn inputs(&self) -> Vec<&InputFile> {
        let trees = self.inputs.iter();
        trees.flat_map(Tree::files).collect()
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
        self.warn_of_tools(subject);
        let definition = Arc::new(Definition::of(subject));
        let (success, marker) = self.records.look(task, &self.warnings);
        let success = success.map(Arc::new);
        // Taken out: what the caller tells is told once, so when this fails it is not believed
        // any more what was seen before.
        let mut seen = self.live.take(task);
        if let (Changed::Only(paths), Some(seen)) = (subject.changed, &mut seen) {
            seen.now = self.update(mem::take(&mut seen.now), subject, paths)?;
            let inputs = seen.now.clone();
            self.live.put(task, seen.clone());
            return self.judge(subject, definition, inputs, None, success, marker);
        }
        let entries = subject.inputs();
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
                extent: Extent::Changed,
            });
        }
        let inputs = self.read_all(task, &entries)?;
        // Few inputs are looked through faster than it is worth memory.
        let is_worth = subject.changed != Changed::Unknown && entries.len() >= LIVE_FILES_MIN;
        if seen.is_some() || is_worth {
            let seen = Seen {
                now: inputs.clone(),
                success: seen.and_then(|seen| seen.success),
            };
            self.live.put(task, seen);
        }
        self.judge(subject, definition, inputs, Some(&entries), success, marker)
    }

    /// Reads the inputs of `subject` into memory, some 250 bytes each, so that its first change
    /// while watching costs as little as the later ones. May be called while the task is examined
    /// elsewhere; it has no effect then.
    ///
    /// # Errors
    /// [`StateError::Inputs`].
    pub fn prepare(&self, subject: &Subject<'_>) -> Result<(), StateError> {
        self.prepare_inputs(subject, &subject.inputs())
    }

    /// As [`Self::prepare`], for a task with so many inputs that it is worth it.
    ///
    /// # Errors
    /// [`StateError::Inputs`].
    pub fn prepare_if_large(&self, subject: &Subject<'_>) -> Result<(), StateError> {
        let entries = subject.inputs();
        if entries.len() < LIVE_FILES_MIN || self.live.get(&subject.task.name).is_some() {
            return Ok(());
        }
        self.prepare_inputs(subject, &entries)
    }

    /// As [`Self::prepare_if_large`], with the inputs as they were found by the last examination,
    /// which nothing may have followed but the run of the task. `false` when they were not looked
    /// into.
    #[must_use]
    pub fn keep(&self, examined: &Examined) -> bool {
        let Some(inputs) = &examined.inputs else {
            return false;
        };
        if inputs.files().len() >= LIVE_FILES_MIN && self.live.get(&examined.task).is_none() {
            let seen = Seen {
                now: inputs.clone(),
                success: self
                    .records
                    .success(&examined.task, &self.warnings)
                    .and_then(|success| {
                        (success.key == examined.key).then(|| (success.key, inputs.clone()))
                    }),
            };
            self.live.put(&examined.task, seen);
        }
        true
    }

    fn prepare_inputs(
        &self,
        subject: &Subject<'_>,
        entries: &[&FileEntry],
    ) -> Result<(), StateError> {
        let task = &subject.task.name;
        let looks = self.live.looks(task);
        let inputs = self.read_all(task, entries)?;
        // This also digests the tree's directories.
        let key = key::key(subject, &Definition::of(subject), &inputs);
        let success = match self.records.success(task, &self.warnings) {
            Some(success) if success.key == key => Some((key, inputs.clone())),
            Some(success) => {
                let last = self.last_inputs(task, &success.key);
                last.map(|last| (success.key, last))
            }
            None => None,
        };
        let now = inputs;
        self.live
            .put_unless_examined(task, Seen { now, success }, looks);
        Ok(())
    }

    /// The inputs that a command with `{files}` is given: those that are new or differ from the
    /// last success; all of them if there is none, or if more than files differs from it. In
    /// order of path.
    #[must_use]
    pub fn changed_files(&self, examined: &Examined) -> Vec<RelPath> {
        let Some(now) = &examined.inputs else {
            return Vec::new();
        };
        let last = match (examined.extent, &examined.success) {
            (Extent::Changed, Some(success)) => self.last_inputs(&examined.task, &success.key),
            (Extent::All, _) | (_, None) => None,
        };
        compare::changed_since(&last.unwrap_or_default(), now)
    }

    fn warn_of_tools(&self, subject: &Subject<'_>) {
        for tool in subject.tools {
            if let Some(reason) = &tool.failure {
                self.warnings.push(Warning::ToolFailed {
                    task: subject.task.name.clone(),
                    command: tool.command.clone(),
                    reason: reason.clone(),
                });
            }
        }
    }

    fn judge(
        &self,
        subject: &Subject<'_>,
        definition: Arc<Definition>,
        inputs: Tree,
        entries: Option<&[&FileEntry]>,
        mut success: Option<Arc<Success>>,
        marker: Option<Marker>,
    ) -> Result<Examined, StateError> {
        let task = &subject.task.name;
        let key = key::key(subject, &definition, &inputs);
        let mut reasons = Vec::new();
        if let Some(success) = &mut success {
            if success.key == key {
                self.live.put_success(task, key, inputs.clone());
            } else {
                reasons.extend(self.differences(task, success, &definition, &inputs));
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
                        self.remember_stats(success, check, &inputs, entries);
                    }
                }
            }
        }
        let reasons = rank(subject, &key, reasons, success.is_some(), marker);
        let mut examined = Examined {
            task: task.clone(),
            extent: extent(&reasons),
            verdict: Verdict::Fresh,
            also: reasons,
            key,
            definition,
            inputs: Some(inputs),
            success,
            marker,
        };
        if subject.task.takes_files() && self.changed_files(&examined).is_empty() {
            // There is no file to give to it: what it did last still stands.
            examined.also.clear();
        }
        if !examined.also.is_empty() {
            examined.verdict = Verdict::Stale(examined.also.remove(0));
            // Mostly nothing is left, and every task that waits for its turn has one.
            examined.also.shrink_to_fit();
        }
        Ok(examined)
    }

    /// The inputs as they are now, when they were like `tree` and at most `paths` changed since.
    fn update(
        &self,
        mut tree: Tree,
        subject: &Subject<'_>,
        paths: &[RelPath],
    ) -> Result<Tree, StateError> {
        // A write within the tick of the clock in which a file was read does not show in its
        // stat, and so may not have been noticed by whoever watches.
        let asked: BTreeSet<RelPath> = paths.iter().chain(tree.untrusted()).cloned().collect();
        let present: Vec<_> = asked
            .iter()
            .filter_map(|path| Some((path, subject.input(path)?)))
            .collect();
        let present = present.iter().map(|(path, stat)| (*path, stat));
        let read = self.read_inputs(&subject.task.name, present)?;
        let mut read = read.into_iter().peekable();
        for path in &asked {
            tree.set(path, read.next_if(|leaf| leaf.file.path == *path));
        }
        Ok(tree)
    }

    fn differences(
        &self,
        task: &TaskName,
        success: &Success,
        definition: &Definition,
        now: &Tree,
    ) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if success.definition != definition.digest() {
            let last = self.records.inputs(task, &success.key, &self.warnings);
            let last = last.map(|inputs| inputs.definition);
            reasons.extend(
                last.iter()
                    .flat_map(|last| compare::definitions(last, definition)),
            );
        }
        if let Some(last) = self.last_inputs(task, &success.key) {
            let change = compare::inputs(&last, now);
            if !change.is_empty() {
                reasons.push(Reason::Input(change));
            }
        }
        if reasons.is_empty() {
            // What it was made from is lost, or another version made the key.
            reasons.push(Reason::Unknown);
        }
        reasons
    }

    /// What the success with this key was made from.
    fn last_inputs(&self, task: &TaskName, key: &Digest) -> Option<Tree> {
        let seen = self.live.get(task).and_then(|seen| seen.success);
        if let Some((_, inputs)) = seen.filter(|(known, _)| known == key) {
            return Some(inputs);
        }
        let recorded = self.records.inputs(task, key, &self.warnings)?;
        let leaves = recorded.files.into_iter().map(recorded_leaf);
        let inputs = Tree::new(&leaves.map(Arc::new).collect::<Vec<_>>());
        self.live.put_success(task, *key, inputs.clone());
        Some(inputs)
    }

    fn read_all(&self, task: &TaskName, entries: &[&FileEntry]) -> Result<Tree, StateError> {
        let paths = entries.iter().map(|entry| (&entry.path, &entry.stat));
        Ok(Tree::new(&self.read_inputs(task, paths)?))
    }

    /// Notes the stats by which the same success is known from now on.
    fn remember_stats(
        &self,
        success: &mut Arc<Success>,
        check: Check,
        inputs: &Tree,
        entries: Option<&[&FileEntry]>,
    ) {
        // What was read may be newer than what was listed; then the listed stats say nothing.
        let as_listed = |entries: &&[&FileEntry]| {
            inputs.untrusted().is_empty()
                && inputs.files().len() == entries.len()
                && inputs
                    .files()
                    .zip(*entries)
                    .all(|(file, entry)| file.stat == entry.stat)
        };
        let quick = entries.filter(as_listed).map(quick::digest);
        let outputs = match check {
            Check::Touched(outputs) => Some(outputs),
            Check::Same | Check::Differ { .. } => None,
        };
        if outputs.is_none() && (quick.is_none() || quick == success.quick) {
            return;
        }
        let known = Arc::make_mut(success);
        known.quick = quick.or(known.quick);
        known.outputs = outputs.unwrap_or_else(|| mem::take(&mut known.outputs));
        let task = TaskName::new(&known.task);
        self.note(self.records.record_again(&task, known, &self.warnings));
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

    fn read_inputs<'a>(
        &self,
        task: &TaskName,
        paths: impl ExactSizeIterator<Item = (&'a RelPath, &'a FileStat)>,
    ) -> Result<Vec<Arc<Leaf>>, StateError> {
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

/// A recorded input; its stat is not known any more.
fn recorded_leaf((path, content): (RelPath, Content)) -> Leaf {
    let stat = FileStat {
        dev: 0,
        ino: 0,
        size: 0,
        mtime_ns: 0,
        ctime_ns: 0,
        mode: 0,
    };
    Leaf {
        file: InputFile {
            path,
            stat,
            content,
        },
        is_trusted: true,
    }
}

fn may_be_fresh(subject: &Subject<'_>) -> bool {
    subject.demand == Demand::IfStale && subject.task.caching == Caching::On
}

/// How far the last success still holds for inputs that did not change, when a task is stale
/// because of `reasons`. An attempt that came to nothing takes nothing away from it.
fn extent(reasons: &[Reason]) -> Extent {
    let is_of_files = |reason: &Reason| {
        matches!(
            reason,
            Reason::Input(_)
                | Reason::PreviousFailed { .. }
                | Reason::Interrupted
                | Reason::InputsMoved
        )
    };
    if reasons.iter().all(is_of_files) {
        Extent::Changed
    } else {
        Extent::All
    }
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
    // That it never succeeded is no news beside what became of the attempt.
    if is_same_attempt || (attempt.is_some() && !has_succeeded) {
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
