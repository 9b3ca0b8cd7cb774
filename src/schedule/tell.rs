//! What those who listen are told of a run, and when.

use std::sync::Arc;
use std::time::Duration;

use super::event::{OutputLine, RunEvent, TaskFinished, Warning};
use super::lines::Lines;
use super::run::{Driver, Mode};
use super::state::SkipCause;
use super::tokens::Trouble;
use super::wave::Wave;
use crate::outcome::Outcome;
use crate::parallel;
use crate::plan::MissingDep;
use crate::state::PathSample;
use crate::task_id::{TaskId, TaskName};
use crate::watchfile::{FailureRule, TaskKind};

impl Driver {
    /// Begins the run for those who listen, if it has not begun; adds `ids` to it.
    pub(super) fn announce(&mut self, ids: &[TaskId]) {
        let wave = self.wave.get_or_insert_with(Wave::new);
        wave.tasks.extend(ids);
        if wave.run.is_some() {
            return;
        }
        self.runs += 1;
        wave.run = Some(self.runs);
        let name = |&id: &TaskId| self.plan.name(id).clone();
        let tasks: Vec<TaskName> = wave.tasks.iter().map(name).collect();
        let expected = wave.tasks.iter().map(|&id| match self.plan.task(id).kind {
            TaskKind::Command(_) => self.ports.engine.typical_duration(self.plan.name(id)),
            TaskKind::Group | TaskKind::Service(_) => Some(Duration::ZERO),
        });
        let expected = expected.collect();
        (self.observe)(RunEvent::RunStarted {
            run: self.runs,
            tasks,
            expected,
        });
        for mut finished in std::mem::take(&mut wave.withheld) {
            finished.run = self.runs;
            if let Some(id) = self.plan.id(&finished.task) {
                self.progress[id].told = Some(finished.outcome);
            }
            (self.observe)(RunEvent::TaskFinished(finished));
        }
    }

    /// Passes on what `id` printed.
    pub(super) fn output(&mut self, id: TaskId, lines: &Lines) {
        let plan = Arc::clone(&self.plan);
        self.say_lines(plan.name(id), lines);
    }

    /// Passes on what something called `task` printed.
    pub(super) fn say_lines(&mut self, task: &TaskName, lines: &Lines) {
        let run = self.run_number();
        for line in lines.iter() {
            let (task, line) = (task.clone(), OutputLine::new(line));
            (self.observe)(RunEvent::TaskOutput { run, task, line });
        }
    }

    pub(super) fn run_number(&self) -> u64 {
        self.wave
            .as_ref()
            .and_then(|wave| wave.run)
            .unwrap_or(self.runs)
    }

    /// A task ended without running, as it had before: worth a word only in a run that has begun.
    pub(super) fn finished_again(&mut self, id: TaskId, outcome: Outcome) {
        let told = self.wave.as_ref().and_then(|wave| wave.outcomes.get(&id));
        let has_succeeded = told.is_some_and(|told| told.is_success());
        if told == Some(&outcome) || (outcome == Outcome::Fresh && has_succeeded) {
            // This very run has said so: it was only looked at once more.
            return;
        }
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        if outcome != Outcome::Fresh {
            finished.reason = Some("not run again: nothing that it depends on changed".to_owned());
        }
        self.tell_or_withhold(id, finished);
    }

    /// Tells of an end that is no news by itself.
    fn tell_or_withhold(&mut self, id: TaskId, mut finished: TaskFinished) {
        if self.wave.as_ref().is_some_and(|wave| wave.run.is_some()) {
            return self.tell_finished(id, finished);
        }
        self.mark_allowed(id, &mut finished);
        let wave = self.wave.get_or_insert_with(Wave::new);
        if wave.outcomes.insert(id, finished.outcome).is_some() {
            wave.withheld.retain(|other| other.task != finished.task);
        }
        wave.withheld.push(finished);
    }

    pub(super) fn finished_with(&mut self, id: TaskId, outcome: Outcome, reason: String) {
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        finished.reason = Some(reason);
        self.finished(id, finished);
    }

    pub(super) fn finished(&mut self, id: TaskId, finished: TaskFinished) {
        let is_group = matches!(self.plan.task(id).kind, TaskKind::Group);
        if is_group && finished.outcome.is_success() {
            // It runs nothing: if none of its deps has anything to tell, neither has it.
            self.tell_or_withhold(id, finished);
        } else {
            self.tell_finished(id, finished);
        }
    }

    fn tell_finished(&mut self, id: TaskId, mut finished: TaskFinished) {
        self.announce(&[]);
        finished.run = self.run_number();
        self.mark_allowed(id, &mut finished);
        self.progress[id].told = Some(finished.outcome);
        if let Some(wave) = &mut self.wave {
            wave.outcomes.insert(id, finished.outcome);
        }
        (self.observe)(RunEvent::TaskFinished(finished));
    }

    /// Marks a failure of `id` that fails nothing else.
    fn mark_allowed(&self, id: TaskId, finished: &mut TaskFinished) {
        let may_fail = self.plan.task(id).failure == FailureRule::Allowed;
        finished.allowed = may_fail && finished.outcome.is_failure();
    }

    pub(super) fn finish_of(&self, id: TaskId, outcome: Outcome, took: Duration) -> TaskFinished {
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        finished.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if outcome == Outcome::Done {
            finished.exit_code = Some(0);
        }
        finished
    }

    pub(super) fn report_skipped(&mut self, id: TaskId, cause: SkipCause) {
        let reason = match cause {
            SkipCause::Dep(dep) => format!("`{}` did not succeed", self.plan.name(dep)),
            SkipCause::Halted => "the run stopped before its turn".to_owned(),
        };
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), Outcome::Skipped);
        finished.reason = Some(reason);
        match (cause, self.progress[id].told) {
            // What keeps it from running did so before, and may not have run either.
            (SkipCause::Dep(_), Some(Outcome::Skipped)) => self.tell_or_withhold(id, finished),
            _ => self.finished(id, finished),
        }
    }

    /// Nothing of `wave` is left to do.
    pub(super) fn end(&mut self, mut wave: Wave) {
        self.report_unneeded(&mut wave);
        // What tools print holds for one run.
        self.probes = Arc::default();
        match self.options.mode {
            Mode::Once => self.ports.engine.save(),
            Mode::Watching => self.ports.engine.save_between(),
        }
        self.tell_of_state();
        for Trouble { message, hint } in self.ports.tokens.take_troubles() {
            self.warn("jobserver", message, Some(hint.to_owned()));
        }
        if let Some(trouble) = parallel::trouble() {
            let message = format!("one thread looks at all files: {trouble}");
            let hint = "let more processes run (`ulimit -u`)";
            self.warn_once("threads", message, hint.to_owned());
        }
        let Some(run) = wave.run else { return };
        let ok = !wave.outcomes.keys().any(|&id| self.schedule.has_failed(id));
        let (counts, duration_ms) = (wave.counts(), wave.elapsed_ms());
        (self.observe)(RunEvent::RunFinished {
            run,
            ok,
            counts,
            duration_ms,
        });
    }

    /// Tells of what went wrong with the state.
    pub(super) fn tell_of_state(&mut self) {
        for warning in self.ports.engine.take_warnings() {
            self.warn(
                warning.kind(),
                warning.to_string(),
                Some(warning.hint().to_owned()),
            );
        }
    }

    /// Services that were not started are as fresh as what did not need them.
    fn report_unneeded(&mut self, wave: &mut Wave) {
        let Some(run) = wave.run else { return };
        for id in std::mem::take(&mut wave.unneeded) {
            wave.outcomes.insert(id, Outcome::Fresh);
            let name = self.plan.name(id);
            let finished = TaskFinished::without_process(run, name, Outcome::Fresh);
            (self.observe)(RunEvent::TaskFinished(finished));
        }
    }

    pub(super) fn warn_of_missing_deps(&mut self, missing: &[MissingDep]) {
        for MissingDep {
            task,
            producer,
            path,
        } in missing
        {
            let (task, producer) = (
                self.plan.name(*task).clone(),
                self.plan.name(*producer).clone(),
            );
            let message = format!(
                "task `{task}` takes `{path}` as input, which task `{producer}` produces, and does not depend on it"
            );
            let hint = format!("add `{producer}` to the `deps` of `{task}`");
            self.warn_once("missing_dep", message, hint);
        }
    }

    pub(super) fn warn_once(&mut self, kind: &'static str, message: String, hint: String) {
        if self.ports.said.insert(&message) {
            self.warn(kind, message, Some(hint));
        }
    }

    pub(super) fn warn(&mut self, kind: &'static str, message: String, hint: Option<String>) {
        (self.observe)(RunEvent::Warning(Warning {
            kind,
            message,
            hint,
        }));
    }

    /// A success that does not count.
    pub(super) fn report_moved(&mut self, id: TaskId, took: Duration, moved: &PathSample) {
        let mut done = self.finish_of(id, Outcome::Done, took);
        done.reason = Some(format!("not recorded: input {moved} changed while it ran"));
        self.finished(id, done);
        if self.options.mode == Mode::Once {
            let name = self.plan.name(id);
            let message =
                format!("task `{name}` is left stale: its input {moved} changed while it ran");
            self.warn("inputs_moved", message, Some("run it again".to_owned()));
        }
    }
}

/// An error with its causes, in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}
