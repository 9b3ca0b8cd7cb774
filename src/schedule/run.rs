//! Carries out what the schedule decides: [`Driver`].
//!
//! Owned by one thread, the coordinator, which never waits for a worker: steps run on pool
//! threads and report by message. Commands run on a rayon pool of their own, with as many threads
//! as there may be jobs; looking, hashing and storing run on rayon's global pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::ahead::Ahead;
use super::event::{RunEvent, TaskFinished};
use super::progress::Progress;
use super::replan::Leaving;
use super::report::{News, Report, Send, Serial, Urgency};
use super::services::Services;
use super::slots::Limits;
use super::state::{Checked, Schedule, TaskState, Ticket};
use super::step::{self, Assignment, Ports, Probes};
use super::wave::Wave;
use crate::digest::Digest;
use crate::outcome::Outcome;
use crate::parallel;
use crate::plan::{Plan, Selection};
use crate::state::{Demand, group_product};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::{Caching, TaskKind};

/// How many checks that are over at once are made before other things have their turn.
const QUICK_CHECKS_MAX: usize = 64;

/// Why the threads that run commands could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Whether a run ends or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What moved while a task ran is left stale, with a warning.
    Once,
    /// It is run again; a task that failed waits for a change.
    Watching,
}

/// How a [`Driver`] works.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Once or watching.
    pub mode: Mode,
    /// What bounds the schedule.
    pub limits: Limits,
    /// Whether tasks run that are up to date.
    pub demand: Demand,
}

/// Runs the tasks of a plan. See the module.
pub struct Driver {
    pub(super) ports: Arc<Ports>,
    pub(super) plan: Arc<Plan>,
    pub(super) options: DriverOptions,
    pub(super) schedule: Schedule,
    pub(super) progress: TaskMap<Progress>,
    pub(super) probes: Arc<Probes>,
    pub(super) pool: ThreadPool,
    pub(super) ahead: Arc<Ahead>,
    pub(super) send: Send,
    pub(super) observe: Box<dyn FnMut(RunEvent)>,
    /// What is in flight, and for which task; `None`: for one that the plan no longer has.
    pub(super) flights: BTreeMap<Serial, Option<TaskId>>,
    pub(super) leaving: Vec<Leaving>,
    pub(super) last_serial: u64,
    /// Running tasks whose command has not started yet, and when it does, see [`super::waits`].
    pub(super) poised: BTreeMap<TaskId, Instant>,
    /// Running tasks that `auto` leaves to end though they have to start over, and until when.
    pub(super) lingering: BTreeMap<TaskId, Instant>,
    /// How many tasks had become ready when it was looked ahead last.
    pub(super) looked_ahead: u64,
    /// Until then reports may come that can wait.
    pub(super) listening: Option<Instant>,
    pub(super) wave: Option<Wave>,
    pub(super) runs: u64,
    /// Counts plans: what was looked at for an earlier one says nothing about this one.
    pub(super) epoch: u64,
    /// How many tasks are being looked at.
    pub(super) checks: usize,
    pub(super) services: Services,
}

impl Driver {
    /// A driver that has been asked for nothing yet.
    ///
    /// `send` is called on worker threads, `observe` on the thread that calls the driver.
    ///
    /// # Errors
    /// When the threads for commands cannot be started.
    pub fn new(
        plan: Arc<Plan>,
        ports: Arc<Ports>,
        options: DriverOptions,
        send: Send,
        observe: Box<dyn FnMut(RunEvent)>,
    ) -> Result<Self, StartError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.limits.jobs)
            .thread_name(|n| format!("job-{n}"))
            .start_handler(|_| parallel::keep_to_this_thread())
            .build()
            .map_err(|error| StartError(error.to_string()))?;
        let mut driver = Self {
            schedule: Schedule::new(plan.graph().clone(), &options.limits),
            progress: TaskMap::from_fn(plan.tasks().len(), |_| Progress::default()),
            probes: Arc::default(),
            pool,
            ahead: Arc::default(),
            send,
            observe,
            flights: BTreeMap::new(),
            leaving: Vec::new(),
            last_serial: 0,
            poised: BTreeMap::new(),
            lingering: BTreeMap::new(),
            looked_ahead: 0,
            listening: None,
            wave: None,
            runs: 0,
            epoch: 0,
            checks: 0,
            services: Services::default(),
            ports,
            plan,
            options,
        };
        driver.rank();
        driver.warn_of_missing_deps(&driver.plan.missing_deps());
        Ok(driver)
    }

    /// Asks for tasks for the first time: what is stale runs, and each is reported.
    pub fn open(&mut self, selection: &Selection) {
        self.recall();
        self.wave.get_or_insert_with(Wave::new);
        self.announce(selection.ids());
        self.schedule.open(selection.ids());
        self.pump();
    }

    /// Says that what `ids` depend on may have changed. `ids` is closed over dependents. Nothing
    /// is reported unless one of them turns out to be stale.
    pub fn change(&mut self, ids: &[TaskId]) {
        let ids = &self.schedule.with_new_deps(ids);
        self.recall();
        for &id in ids {
            if !matches!(self.schedule.state(id), TaskState::Running(_)) {
                self.progress[id].comes_from_outside();
            }
        }
        let wave = self.wave.get_or_insert_with(Wave::new);
        wave.tasks.extend(ids);
        self.schedule.open(ids);
        for &id in ids {
            self.put_off(id);
        }
        self.pump();
    }

    /// Says that what is told next by [`Self::change`] does not come from outputs of tasks alone.
    pub fn comes_from_outside(&mut self) {
        for id in self.plan.tasks().ids() {
            self.progress[id].rush.comes_from_outside();
        }
    }

    /// Runs tasks that failed, once more, though nothing has changed; if none did, those that are
    /// never fresh. Whether there is any.
    pub fn retry_failed(&mut self) -> bool {
        let ids = || self.plan.tasks().ids();
        let mut again: Vec<TaskId> = ids().filter(|&id| self.schedule.has_failed(id)).collect();
        if again.is_empty() {
            let rests = |&id: &TaskId| {
                let is_never_fresh = self.plan.task(id).caching == Caching::Off;
                is_never_fresh && self.schedule.state(id) == TaskState::Ended(Outcome::Done)
            };
            again = ids().filter(rests).collect();
        }
        for &id in &again {
            self.progress[id].settled = None;
        }
        self.comes_from_outside();
        self.change(&again);
        !again.is_empty()
    }

    /// Takes what a worker reported.
    pub fn handle(&mut self, report: Report) {
        // What is told of from here on has lasted: a crash does not take it back.
        self.ports.engine.flush();
        let Report {
            serial,
            news,
            urgency,
        } = report;
        if news.is_good() {
            self.look_who_started();
        } else {
            self.recall();
        }
        if urgency == Urgency::CanWait {
            self.listen();
        }
        let news = match news {
            News::Service(event) => {
                self.service_event(serial, event);
                return self.pump();
            }
            news => news,
        };
        if matches!(news, News::Examined { .. }) {
            self.checks -= 1;
        }
        let flight = match &news {
            News::Started(_) | News::Output(_) => self.flights.get(&serial).copied(),
            _ => self.flights.remove(&serial),
        };
        if flight == Some(None) {
            let flights = &self.flights;
            let flies = |serial: &Serial| flights.contains_key(serial);
            self.leaving.retain(|task| task.flights.iter().any(flies));
        }
        if let Some(Some(id)) = flight {
            self.take(id, news);
        }
        self.pump();
    }

    /// Starts nothing any more and stops what runs: with its signal and grace, or at once.
    pub fn stop(&mut self, how: StopAll) {
        self.recall();
        self.schedule.halt();
        self.services.close();
        self.probes.cancel.cancel();
        if how == StopAll::Kill {
            self.probes.cancel.kill();
            self.services.kill();
            for (_, progress) in self.progress.iter() {
                if let Some(cancel) = &progress.cancel {
                    cancel.kill();
                }
            }
        }
        self.pump();
    }

    /// Sends `signal` to the process group of everything that runs; it goes on or stops as the
    /// signal says.
    pub fn signal(&self, signal: i32) {
        let running = self.schedule.running();
        for cancel in running.filter_map(|id| self.progress[id].cancel.as_ref()) {
            cancel.signal(signal);
        }
        self.services.signal(signal);
    }

    /// Prepares, on the global pool and without waiting for it, for changes that come later: what
    /// is known of files, and the inputs of tasks that have many and succeeded. Only when settled.
    pub fn prepare(&self) {
        let succeeded = |id: &TaskId| match self.schedule.state(*id) {
            TaskState::Ended(outcome) => outcome.is_success(),
            _ => false,
        };
        let tasks: Vec<_> = self.plan.tasks().ids().filter(succeeded).collect();
        let of = |id| {
            let examined = self.progress[id].examined.clone()?;
            if self.ports.engine.keep(&examined) {
                return None;
            }
            Some((self.assignment(id, self.products_of(id)), examined))
        };
        let tasks: Vec<_> = tasks.into_iter().filter_map(of).collect();
        let ports = Arc::clone(&self.ports);
        parallel::spawn(move || {
            ports.engine.warm();
            for (assignment, examined) in tasks {
                step::prepare_inputs(&ports, &assignment, &examined);
            }
        });
    }

    /// Writes what is not written yet. For the end.
    pub fn close(&mut self) {
        self.ports.engine.save();
        self.tell_of_state();
    }

    /// Whether nothing waits, runs or is being looked at.
    pub fn is_settled(&self) -> bool {
        self.schedule.is_settled() && self.flights.is_empty() && self.services.is_settled()
    }

    /// Whether some task failed, or did not run because of one, and has not succeeded since.
    pub fn has_failures(&self) -> bool {
        self.plan
            .tasks()
            .ids()
            .any(|id| self.schedule.has_failed(id))
    }

    /// What it works with.
    pub fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    /// Asks the schedule until it has nothing more to say.
    pub(super) fn pump(&mut self) {
        let mut quick_checks = QUICK_CHECKS_MAX;
        loop {
            if self.flights.is_empty() {
                // No report would come to go on with.
                quick_checks = QUICK_CHECKS_MAX;
            }
            let mut idle = !self.check_some(&mut quick_checks);
            while let Some(id) = self.schedule.next_start() {
                idle = false;
                self.start(id);
            }
            for id in self.schedule.take_queued() {
                self.may_linger(id, Instant::now());
            }
            // After the starts: one that is held back decides on stops.
            while let Some(id) = self.schedule.next_stop() {
                idle = false;
                if !self.withdraw(id)
                    && let Some(cancel) = &self.progress[id].cancel
                {
                    cancel.cancel();
                }
                self.stop_bringing(id);
            }
            for (id, cause) in self.schedule.take_skipped() {
                idle = false;
                self.report_skipped(id, cause);
                self.service_skipped(id, cause);
            }
            if idle {
                break;
            }
        }
        self.look_ahead();
        if self.schedule.is_settled() && self.options.mode == Mode::Once {
            self.services.close();
        }
        self.close_services();
        let is_over = !self.services.is_closing() || self.services.is_settled();
        if self.schedule.is_settled()
            && is_over
            && let Some(wave) = self.wave.take()
        {
            self.end(wave);
        }
    }

    /// Begins to check what can be; whether there was anything. Checks that read no file are done
    /// here, at most so many of them at a time: starts have to wait meanwhile.
    fn check_some(&mut self, quick_checks: &mut usize) -> bool {
        // A worker that waits for its part of a scan takes on further checks, one inside the
        // other: the number bounds its stack.
        let checks_max = 4 * parallel::n_threads();
        let mut any = false;
        while self.checks < checks_max
            && *quick_checks > 0
            && let Some(ticket) = self.schedule.next_check()
        {
            any = true;
            if self.check(ticket) == Pace::Quick {
                *quick_checks -= 1;
            }
        }
        any
    }

    fn check(&mut self, ticket: Ticket) -> Pace {
        let id = ticket.task;
        let deps = self.products_of(id);
        if self.plan.task(id).kind == TaskKind::Group {
            let fresh =
                |dep: &TaskId| self.schedule.state(*dep) == TaskState::Ended(Outcome::Fresh);
            let all_fresh = self.plan.graph().nodes()[id].deps.iter().all(fresh);
            let outcome = if all_fresh {
                Outcome::Fresh
            } else {
                Outcome::Done
            };
            self.progress[id].product = Some(group_product(&deps));
            if self.schedule.checked(ticket, Checked::Ends(outcome)) {
                self.finished(
                    id,
                    TaskFinished::without_process(0, self.plan.name(id), outcome),
                );
            }
            return Pace::Quick;
        }
        let assignment = self.assignment(id, deps);
        if assignment.reads_no_file() {
            let look = step::examine(&self.ports, &assignment);
            self.examined(ticket, look);
            return Pace::Quick;
        }
        let epoch = self.epoch;
        self.checks += 1;
        self.launch(id, move |ports| {
            let look = Box::new(step::examine(ports, &assignment));
            News::Examined {
                epoch,
                ticket,
                look,
            }
        });
        Pace::Slow
    }

    pub(super) fn assignment(&self, id: TaskId, deps: Vec<(TaskName, Digest)>) -> Assignment {
        Assignment {
            plan: Arc::clone(&self.plan),
            id,
            deps: deps.into(),
            demand: self.options.demand,
            probes: Arc::clone(&self.probes),
            seen: self.progress[id].seen,
        }
    }

    /// What dependents see of the deps of `id`.
    pub(super) fn products_of(&self, id: TaskId) -> Vec<(TaskName, Digest)> {
        let product = |&dep: &TaskId| {
            let product = self.progress[dep].product?;
            Some((self.plan.name(dep).clone(), product))
        };
        self.plan.graph().nodes()[id]
            .deps
            .iter()
            .filter_map(product)
            .collect()
    }
}

/// How long a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// It is over.
    Quick,
    /// It runs on another thread.
    Slow,
}

/// How everything is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAll {
    /// Each with its signal and grace.
    Gracefully,
    /// At once.
    Kill,
}
