//! What follows from the report of a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command;
use super::event::{RunEvent, TaskFinished};
use super::report::News;
use super::run::{Driver, Mode};
use super::rush::Endless;
use super::state::{Busy, Checked, TaskState, Ticket};
use super::step::{self, Errand, Executed, Look, Prepared};
use super::tell::describe;
use super::waits;
use crate::disk::DiskLock;
use crate::exec::{Cancel, Ended};
use crate::outcome::{ExitStatus, Outcome};
use crate::state::{Examined, Finished, Made, Moved, Ran, Reason, Restored, StateError, Verdict};
use crate::task_id::TaskId;
use crate::watchfile::{Caching, OnBusy, Terminal};

impl Driver {
    pub(super) fn take(&mut self, id: TaskId, news: News) {
        match news {
            News::Examined {
                epoch,
                ticket,
                look,
            } if epoch == self.epoch => {
                self.examined(ticket, *look);
            }
            News::Examined { .. } => {}
            News::Prepared(prepared) => self.prepared(id, *prepared),
            News::Started(lock) => self.started(id, lock),
            News::Restored(restored) => self.restored(id, &restored),
            News::Finished(_, Err(error)) => self.could_not(id, &error),
            News::Output(lines) => self.output(id, &lines),
            News::Executed(errand, executed) => {
                self.hold(id, errand);
                self.executed(id, executed);
            }
            News::Finished(took, Ok(finished)) => self.recorded(id, took, finished),
            News::Failed {
                outcome,
                took,
                moved,
            } => self.failed(id, outcome, took, moved),
            News::Brought(brought) => self.brought(id, brought),
            News::Service(_) => unreachable!("BUG: services are not in flight"),
        }
    }

    fn prepared(&mut self, id: TaskId, prepared: Result<Prepared, StateError>) {
        match prepared {
            Ok(Prepared::Restored(restored)) => self.replay(id, restored),
            Ok(Prepared::Fresh(examined)) => self.overtaken(id, &examined),
            Ok(Prepared::Run(errand, lock)) => {
                self.hold(id, errand);
                self.started(id, lock);
                match self.progress[id].poise {
                    Some(quiet) => drop(self.poised.insert(id, Instant::now() + quiet)),
                    None => self.execute(id),
                }
            }
            Ok(Prepared::Stored(lock)) => self.restore(id, lock),
            Ok(Prepared::Overtaken(lock)) => self.look_again(id, lock),
            Ok(Prepared::Busy) => self.wait_for_other(id),
            Ok(Prepared::Cancelled) => {
                let name = self.plan.name(id);
                let finished = TaskFinished::without_process(0, name, Outcome::Cancelled);
                self.finished(id, finished);
                self.ended(id, Outcome::Cancelled, false);
            }
            Ok(Prepared::Refused(reason)) => self.refused(id, reason),
            Err(error) => self.could_not(id, &error),
        }
    }

    pub(super) fn examined(&mut self, ticket: Ticket, look: Look) {
        let id = ticket.task;
        self.progress[id].seen = Some(look.version);
        let examined = match look.result {
            Ok(examined) => examined,
            Err(error) => {
                self.recall();
                if self
                    .schedule
                    .checked(ticket, Checked::Ends(Outcome::Failed))
                {
                    self.finished_with(id, Outcome::Failed, describe(&error));
                }
                return;
            }
        };
        if matches!(self.schedule.state(id), TaskState::Running(_)) {
            let same = self.progress[id].examined().key() == examined.key();
            let found = if same {
                Checked::Unmoved
            } else {
                Checked::Stale
            };
            self.schedule.checked(ticket, found);
            return;
        }
        let progress = &mut self.progress[id];
        let exhausted = progress.exhausted.take();
        if let Some(outcome) = exhausted {
            progress.settled = Some((*examined.key(), outcome));
        }
        let settled = progress.settled.filter(|(key, _)| key == examined.key());
        let ends = match (examined.verdict(), settled) {
            _ if self.is_service(id) => self.service_rests(id, examined.key()),
            (Verdict::Fresh, _) => Some(Outcome::Fresh),
            (Verdict::Stale(_), Some((_, outcome))) => Some(outcome),
            (Verdict::Stale(_), None) => None,
        };
        if ends.is_none() && self.wants_services(id) {
            // They are asked for first, and `id` is looked at again after them.
            self.schedule.checked(ticket, Checked::Stale);
            return;
        }
        let found = ends.map_or(Checked::Stale, Checked::Ends);
        let product = examined.product().unwrap_or(*examined.key());
        if !self.schedule.checked(ticket, found) {
            return;
        }
        let progress = &mut self.progress[id];
        progress.examined = Some(Arc::new(examined));
        if let Some(outcome) = ends {
            progress.product = Some(product);
            if outcome == Outcome::Fresh {
                progress.rests();
            }
            if outcome == Outcome::Fresh && self.is_service(id) {
                self.service_is_fresh(id);
            } else if exhausted.is_none() {
                // What was given up has been told of when its last run ended.
                self.finished_again(id, outcome);
            }
        }
    }

    /// The store may have what `id` makes: that is read and put in place by many threads.
    fn restore(&mut self, id: TaskId, lock: Option<DiskLock>) {
        let progress = &self.progress[id];
        let (start, examined) = (progress.kind_of_start(), progress.examined());
        let assignment = self.assignment(id, self.products_of(id));
        self.launch(id, move |ports| {
            let prepared = step::restore_or_run(ports, &assignment, &examined, start, lock);
            News::Prepared(Box::new(prepared))
        });
    }

    /// Another process has done `id` since it was looked at.
    fn look_again(&mut self, id: TaskId, lock: Option<DiskLock>) {
        let start = self.progress[id].kind_of_start();
        let assignment = self.assignment(id, self.products_of(id));
        self.launch(id, move |ports| {
            let prepared = step::look_again(ports, &assignment, start, lock);
            News::Prepared(Box::new(prepared))
        });
    }

    /// The run of `id` that this is about goes on here.
    fn hold(&mut self, id: TaskId, errand: Errand) {
        let progress = &mut self.progress[id];
        progress.examined = Some(errand.examined);
        progress.commands = errand.commands;
    }

    /// The commands of `id` run, or are about to.
    fn started(&mut self, id: TaskId, lock: Option<DiskLock>) {
        self.progress[id].lock = lock;
        self.tell_started(id);
    }

    /// Another process made `id` fresh while this one waited for it.
    pub(super) fn overtaken(&mut self, id: TaskId, examined: &Examined) {
        self.progress[id].product = examined.product();
        self.progress[id].rests();
        self.finished(
            id,
            TaskFinished::without_process(0, self.plan.name(id), Outcome::Fresh),
        );
        self.ended(id, Outcome::Fresh, false);
    }

    /// Runs the commands of `id`.
    pub(super) fn execute(&mut self, id: TaskId) {
        let progress = &mut self.progress[id];
        let errand = Errand {
            examined: progress.examined(),
            commands: std::mem::take(&mut progress.commands),
        };
        let cancel = progress.cancel.clone().unwrap_or_default();
        self.launch_job(id, move |ports, report| {
            let mut lines = |lines| report(News::Output(lines));
            let executed = step::execute(ports, &errand.commands, &cancel, &mut lines);
            News::Executed(errand, executed)
        });
    }

    fn tell_started(&mut self, id: TaskId) {
        self.announce(&[]);
        let reason = self.reason_of(id);
        let progress = &self.progress[id];
        let (task, attempt) = (self.plan.name(id).clone(), progress.attempt);
        let run = self.run_number();
        (self.observe)(RunEvent::TaskStarted {
            run,
            task,
            attempt,
            reason,
            command: self.plan.task(id).command_text(),
            interactive: self.plan.task(id).terminal == Terminal::Owned,
        });
    }

    /// Why `id` starts. One that is never fresh is started by what changed since it ran last, if
    /// anything did.
    fn reason_of(&mut self, id: TaskId) -> Reason {
        let watching = self.options.mode == Mode::Watching;
        let progress = &mut self.progress[id];
        let examined = progress.examined();
        let Verdict::Stale(reason) = examined.verdict() else {
            unreachable!("BUG: task {id:?} runs though it is fresh");
        };
        if *reason != Reason::CacheOff || !watching {
            return reason.clone();
        }
        let last = progress.ran_from.replace(Arc::clone(&examined));
        let change = last.and_then(|last| examined.inputs_since(&last));
        change.map_or(Reason::CacheOff, Reason::Input)
    }

    pub(super) fn executed(&mut self, id: TaskId, executed: Executed) {
        let ran = Ran {
            duration: executed.took,
            attempts: self.progress[id].attempt,
        };
        if executed.has_succeeded() {
            let examined = self.progress[id].examined();
            let assignment = self.assignment(id, self.products_of(id));
            self.schedule.command_ended(id);
            self.launch(id, move |ports| {
                let finished = step::finish(ports, &assignment, &examined, ran, &executed.log);
                News::Finished(ran.duration, finished)
            });
            return;
        }
        let Executed {
            ended,
            took,
            log: _,
        } = executed;
        let is_cancelled = |cancel: &Cancel| cancel.is_cancelled();
        let is_cancelled = self.progress[id].cancel.as_ref().is_some_and(is_cancelled);
        let ended = match ended {
            // Race: a Ctrl-C in a terminal also reaches a process that has not left our group yet.
            Ended::Exited(ExitStatus::Signal(_)) if is_cancelled => Ended::Cancelled,
            ended => ended,
        };
        let mut finished = self.finish_of(id, Outcome::Failed, took);
        let status = match &ended {
            Ended::Exited(status) => Some(*status),
            Ended::NotStarted(error) => command::status_in_shell(self.plan.task(id), error),
            Ended::TimedOut | Ended::Cancelled => None,
        };
        if let Some(status) = status {
            finished.set_status(status);
        }
        match &ended {
            Ended::Exited(_) => {}
            Ended::TimedOut => finished.outcome = Outcome::TimedOut,
            Ended::Cancelled => finished.outcome = Outcome::Cancelled,
            Ended::NotStarted(error) => {
                let hint = error
                    .hint()
                    .map(|hint| format!(" (hint: {hint})"))
                    .unwrap_or_default();
                finished.reason = Some(format!("{}{hint}", describe(error)));
            }
        }
        let outcome = finished.outcome;
        self.finished(id, finished);
        if outcome == Outcome::Cancelled {
            self.ended(id, outcome, false);
            return;
        }
        let retries = self.plan.task(id).retries;
        if self.progress[id].attempt <= retries && !self.is_disturbed(id) {
            self.progress[id].attempt += 1;
            self.tell_started(id);
            self.execute(id);
            return;
        }
        self.note_failure(id, outcome, status, ran);
    }

    /// While watching, inputs are looked at: whether the failure is one of what they are now.
    fn note_failure(&mut self, id: TaskId, outcome: Outcome, status: Option<ExitStatus>, ran: Ran) {
        let examined = self.progress[id].examined();
        if self.options.mode == Mode::Once {
            self.ports.engine.failed(&examined, status, ran, None);
            return self.failed(id, outcome, ran.duration, None);
        }
        let assignment = self.assignment(id, self.products_of(id));
        self.schedule.command_ended(id);
        self.launch(id, move |ports| {
            let moved = step::fail(ports, &assignment, &examined, status, ran);
            News::Failed {
                outcome,
                took: ran.duration,
                moved,
            }
        });
    }

    /// The failure of `id` is noted.
    pub(super) fn failed(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        took: Duration,
        moved: Option<Moved>,
    ) {
        if let Some(moved) = moved {
            return self.moved(id, outcome, took, &moved);
        }
        let key = *self.progress[id].examined().key();
        self.progress[id].settled = (self.options.mode == Mode::Watching).then_some((key, outcome));
        self.progress[id].product = Some(key);
        self.ended(id, outcome, false);
    }

    pub(super) fn recorded(&mut self, id: TaskId, took: Duration, finished: Finished) {
        let watching = self.options.mode == Mode::Watching;
        match finished {
            Finished::Recorded(made) => {
                let done = self.finish_of(id, Outcome::Done, took);
                self.made(id, &made);
                if watching && self.plan.task(id).caching == Caching::Off {
                    // It runs when asked; a change that moves nothing does not ask.
                    let key = *self.progress[id].examined().key();
                    self.progress[id].settled = Some((key, Outcome::Done));
                }
                self.finished(id, done);
                self.ended(id, Outcome::Done, false);
            }
            Finished::Moved(moved) => {
                self.report_moved(id, took, &moved.paths);
                self.moved(id, Outcome::Done, took, &moved);
            }
        }
    }

    /// The run of `id` does not count, because its inputs moved: while watching it runs again, but
    /// not for ever.
    fn moved(&mut self, id: TaskId, outcome: Outcome, took: Duration, moved: &Moved) {
        let watching = self.options.mode == Mode::Watching;
        if watching && moved.never_rests() {
            self.warn_of_loop(id, moved);
        }
        let is_over = moved.never_rests() || self.plan.task(id).on_busy == OnBusy::Ignore;
        let progress = &mut self.progress[id];
        progress.product = Some(*progress.examined().key());
        progress.again = !is_over;
        progress.exhausted = is_over.then_some(outcome);
        progress.poise = waits::poise(moved, took);
        self.ended(id, outcome, watching);
    }

    /// Warns that `id` is not started, and returns why.
    pub(super) fn warn_of_endless_starts(&mut self, id: TaskId, endless: Endless) -> String {
        let what = if self.is_service(id) {
            "service"
        } else {
            "task"
        };
        let name = self.plan.name(id);
        let reason = endless.reason();
        let cause = match self.progress[id].examined().verdict() {
            Verdict::Stale(cause) => format!("; the last time: {cause}"),
            Verdict::Fresh => String::new(),
        };
        let message = format!("{what} `{name}` {reason}{cause}");
        let hint = format!("exclude what tasks write from the `inputs` of `{name}`");
        self.warn("loop", message, Some(hint));
        reason
    }

    fn warn_of_loop(&mut self, id: TaskId, moved: &Moved) {
        let name = self.plan.name(id);
        let Moved { paths, in_a_row } = moved;
        let message = format!(
            "task `{name}` was stopped after it ran {in_a_row} times: each run changed its own input {paths}"
        );
        let hint =
            format!("exclude the file from the `inputs` of `{name}`, or name it in its `outputs`");
        self.warn("loop", message, Some(hint));
    }

    /// Shows what `id` printed when it ran.
    fn replay(&mut self, id: TaskId, restored: Restored) {
        self.announce(&[]);
        self.launch_job(id, move |ports, report| {
            // Dependents look at what was restored: it has to be seen first.
            ports.files.settle();
            step::replay(ports, &restored, &mut |lines| report(News::Output(lines)));
            News::Restored(restored)
        });
    }

    pub(super) fn restored(&mut self, id: TaskId, restored: &Restored) {
        self.made(id, &restored.made);
        let finished = TaskFinished::without_process(0, self.plan.name(id), Outcome::Restored);
        self.finished(id, finished);
        self.ended(id, Outcome::Restored, false);
    }

    /// Notes what `id` left behind.
    pub(super) fn made(&mut self, id: TaskId, made: &Made) {
        self.progress[id].product = Some(made.product);
        self.progress[id].rests();
        let produced = made
            .outputs
            .iter()
            .map(|output| (id, output.file.path.clone()));
        let missing = self.plan.missing_deps_of(produced);
        self.warn_of_missing_deps(&missing);
    }

    /// The engine could not do its work for a task that runs.
    pub(super) fn could_not(&mut self, id: TaskId, error: &StateError) {
        self.refused(id, describe(error));
    }

    /// A task that has its turn fails without having run.
    pub(super) fn refused(&mut self, id: TaskId, reason: String) {
        self.finished_with(id, Outcome::Failed, reason);
        self.progress[id].product = Some(*self.progress[id].examined().key());
        self.ended(id, Outcome::Failed, false);
    }

    pub(super) fn ended(&mut self, id: TaskId, outcome: Outcome, again: bool) {
        if !outcome.is_success() {
            self.recall();
        }
        self.lingering.remove(&id);
        let progress = &mut self.progress[id];
        progress.cancel = None;
        progress.lock = None;
        progress.commands = Vec::new();
        if self.options.mode == Mode::Once {
            // Nobody asks any more why it ran.
            progress.examined = None;
        }
        if outcome != Outcome::Cancelled {
            self.schedule.set_endless(id, false);
        }
        self.schedule.ended(id, outcome, again);
    }

    pub(super) fn is_disturbed(&self, id: TaskId) -> bool {
        self.schedule.state(id) != TaskState::Running(Busy::Undisturbed)
            || self.progress[id]
                .cancel
                .as_ref()
                .is_some_and(Cancel::is_cancelled)
    }
}
