//! Carries out what the schedule decides: [`Driver`].
//!
//! Owned by one thread, the coordinator, which never waits for a worker: steps run on pool
//! threads and report by message. Commands run on a rayon pool of their own, with as many threads
//! as there may be jobs; looking, hashing and storing run on rayon's global pool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::event::{OutputLine, RunEvent, TaskFinished, Warning};
use super::progress::Progress;
use super::state::{Checked, Limits, Schedule, SkipCause, TaskState, Ticket};
use super::step::{self, Assignment, Errand, Executed, Ports, Prepared, Probes};
use super::wave::Wave;
use crate::digest::Digest;
use crate::exec::{Cancel, Ended};
use crate::outcome::{ExitStatus, Outcome};
use crate::plan::{MissingDep, Plan, Selection};
use crate::state::{
    Demand, Examined, Finished, Made, PathSample, Ran, Restored, Start, StateError, Verdict,
    group_product,
};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::TaskKind;

/// How long the inputs of a task must be quiet before it is run for the third time in a row with
/// inputs that moved: what changes meanwhile was not written by the task itself.
const QUIET: Duration = Duration::from_millis(500);

/// After so many runs in a row with moved inputs the next one waits for [`QUIET`].
const MOVED_BEFORE_QUIET: u32 = 2;

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

/// What a worker tells the coordinator. To be handed to [`Driver::handle`], unread.
pub struct Report {
    serial: Serial,
    news: News,
}

/// Names one piece of work in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Serial(u64);

enum News {
    Examined {
        epoch: u64,
        ticket: Ticket,
        result: Box<Result<Examined, StateError>>,
    },
    /// Another process runs the same task.
    Waits,
    Prepared(Result<Prepared, StateError>),
    Output(Vec<OutputLine>),
    Executed(Executed),
    Finished(Duration, Result<Finished, StateError>),
}

/// Sends a report to the coordinator's inbox. May block while that is full.
pub type Send = Arc<dyn Fn(Report) + std::marker::Send + Sync>;

/// Runs the tasks of a plan. See the module.
pub struct Driver {
    ports: Arc<Ports>,
    plan: Arc<Plan>,
    options: DriverOptions,
    schedule: Schedule,
    progress: TaskMap<Progress>,
    probes: Arc<Probes>,
    pool: ThreadPool,
    send: Send,
    observe: Box<dyn FnMut(RunEvent)>,
    /// What is in flight, and for which task; `None`: for one that the plan no longer has.
    flights: HashMap<Serial, Option<TaskId>>,
    last_serial: u64,
    /// Tasks that wait for quiet, and until when.
    held: BTreeMap<TaskId, Instant>,
    wave: Option<Wave>,
    runs: u64,
    /// Counts plans: what was looked at for an earlier one says nothing about this one.
    epoch: u64,
    /// How many tasks are being looked at.
    checks: usize,
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
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.limits.jobs)
            .thread_name(|n| format!("job-{n}"))
            .build()?;
        let mut driver = Self {
            schedule: Schedule::new(plan.graph().clone(), options.limits.clone()),
            progress: TaskMap::from_fn(plan.tasks().len(), |_| Progress::default()),
            probes: Arc::default(),
            pool,
            send,
            observe,
            flights: HashMap::new(),
            last_serial: 0,
            held: BTreeMap::new(),
            wave: None,
            runs: 0,
            epoch: 0,
            checks: 0,
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
        self.wave.get_or_insert_with(Wave::new);
        self.announce(selection.ids());
        self.schedule.open(selection.ids());
        self.pump();
    }

    /// Says that what `ids` depend on may have changed. `ids` is closed over dependents. Nothing
    /// is reported unless one of them turns out to be stale.
    pub fn change(&mut self, ids: &[TaskId]) {
        for &id in ids {
            if !matches!(self.schedule.state(id), TaskState::Running(_)) {
                self.progress[id].comes_from_outside();
            }
            if self.held.remove(&id).is_some() {
                self.schedule.release(id);
            }
        }
        let wave = self.wave.get_or_insert_with(Wave::new);
        wave.tasks.extend(ids);
        self.schedule.open(ids);
        self.pump();
    }

    /// Runs tasks that failed, once more, though nothing has changed.
    pub fn retry_failed(&mut self) {
        let failed: Vec<TaskId> = self
            .plan
            .tasks()
            .ids()
            .filter(|&id| self.schedule.has_failed(id))
            .collect();
        for &id in &failed {
            self.progress[id].settled = None;
        }
        self.change(&failed);
    }

    /// Takes what a worker reported.
    pub fn handle(&mut self, report: Report) {
        let Report { serial, news } = report;
        if matches!(news, News::Examined { .. }) {
            self.checks -= 1;
        }
        let flight = match &news {
            News::Output(_) | News::Waits => self.flights.get(&serial).copied(),
            _ => self.flights.remove(&serial),
        };
        match (flight, news) {
            (Some(Some(id)), news) => self.take(id, news),
            (Some(None), _) | (None, _) => {}
        }
        self.pump();
    }

    /// When [`Self::tick`] has to be called next; `None`: no need to.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.values().min().copied()
    }

    /// Goes on with tasks whose time has come.
    pub fn tick(&mut self, now: Instant) {
        let due = |(&id, &at): (&TaskId, &Instant)| (at <= now).then_some(id);
        let due: Vec<TaskId> = self.held.iter().filter_map(due).collect();
        for id in due {
            self.held.remove(&id);
            self.schedule.release(id);
        }
        self.pump();
    }

    /// Starts nothing any more and stops what runs: with its signal and grace, or at once.
    pub fn stop(&mut self, how: StopAll) {
        self.schedule.halt();
        for id in std::mem::take(&mut self.held).into_keys() {
            self.schedule.release(id);
        }
        if how == StopAll::Kill {
            for (_, progress) in self.progress.iter() {
                if let Some(cancel) = &progress.cancel {
                    cancel.kill();
                }
            }
        }
        self.pump();
    }

    /// Whether nothing waits, runs or is being looked at.
    pub fn is_settled(&self) -> bool {
        self.schedule.is_settled() && self.flights.is_empty()
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

    /// Goes on with another plan. Tasks with the same definition keep their process and their
    /// result; one whose definition changed is stopped first. Returns the tasks that are new or
    /// changed, closed over dependents in `selection`: they are asked for.
    pub fn replan(&mut self, plan: Arc<Plan>, selection: &Selection) -> Vec<TaskId> {
        let mut limits = self.options.limits.clone();
        limits.pools = plan.pool_sizes().to_vec();
        self.options.limits = limits.clone();
        let old = std::mem::replace(&mut self.plan, plan);
        let mut schedule = Schedule::new(self.plan.graph().clone(), limits);
        std::mem::swap(&mut schedule, &mut self.schedule);
        let mut progress = TaskMap::from_fn(self.plan.tasks().len(), |_| Progress::default());
        std::mem::swap(&mut progress, &mut self.progress);
        self.probes = Arc::default();
        self.epoch += 1;
        self.held.clear();
        self.wave = None;
        let mut changed = Vec::new();
        let mut moved_to: TaskMap<Option<TaskId>> = TaskMap::from_fn(old.tasks().len(), |_| None);
        for id in self.plan.tasks().ids() {
            let task = self.plan.task(id);
            let before = old.id(&task.name);
            let same = before.is_some_and(|before| old.task(before).same_definition(task));
            if let Some(before) = before {
                moved_to[before] = Some(id);
                self.progress[id] = std::mem::take(&mut progress[before]);
                self.schedule.adopt(id, schedule.state(before), same);
            }
            if !same && selection.holds(id) {
                changed.push(id);
            }
        }
        for (id, left) in progress.iter() {
            if let Some(cancel) = &left.cancel {
                cancel.cancel();
                let run = self.runs;
                let gone = &old.task(id).name;
                let finished = TaskFinished::without_process(run, gone, Outcome::Cancelled);
                (self.observe)(RunEvent::TaskFinished(finished));
            }
        }
        for flight in self.flights.values_mut() {
            *flight = flight.and_then(|id| moved_to[id]);
        }
        self.rank();
        self.warn_of_missing_deps(&self.plan.missing_deps());
        let settled = |id: &TaskId| self.schedule.state(*id) == TaskState::Out;
        changed.extend(selection.ids().iter().filter(|id| settled(id)));
        let hit = self.plan.with_dependents(selection, &changed);
        self.change(&hit);
        hit
    }

    /// Asks the schedule until it has nothing more to say.
    fn pump(&mut self) {
        // A worker that waits for its part of a scan takes on further checks, one inside the
        // other: the number bounds its stack.
        let checks_max = 4 * rayon::current_num_threads();
        loop {
            let mut idle = true;
            while self.checks < checks_max
                && let Some(ticket) = self.schedule.next_check()
            {
                idle = false;
                self.check(ticket);
            }
            while let Some(id) = self.schedule.next_stop() {
                idle = false;
                if let Some(cancel) = &self.progress[id].cancel {
                    cancel.cancel();
                }
            }
            while let Some(id) = self.schedule.next_start() {
                idle = false;
                self.start(id);
            }
            for (id, cause) in self.schedule.take_skipped() {
                idle = false;
                self.report_skipped(id, cause);
            }
            if idle {
                break;
            }
        }
        if self.schedule.is_settled()
            && let Some(wave) = self.wave.take()
        {
            self.end(&wave);
        }
    }

    fn check(&mut self, ticket: Ticket) {
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
            return;
        }
        let assignment = self.assignment(id, deps);
        let epoch = self.epoch;
        self.checks += 1;
        self.launch(id, move |ports| {
            let result = Box::new(step::examine(ports, &assignment));
            News::Examined {
                epoch,
                ticket,
                result,
            }
        });
    }

    /// What the schedule started: takes the result from the store, or runs the command.
    fn start(&mut self, id: TaskId) {
        let progress = &mut self.progress[id];
        progress.attempt = 1;
        progress.cancel = Some(Cancel::new());
        let start = if progress.again {
            Start::Again
        } else {
            Start::Anew
        };
        let examined = progress.examined();
        let assignment = self.assignment(id, self.products_of(id));
        let serial = self.next_serial(id);
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        rayon::spawn(move || {
            let mut on_wait = || {
                send(Report {
                    serial,
                    news: News::Waits,
                })
            };
            let prepared = step::prepare(&ports, &assignment, &examined, start, &mut on_wait);
            send(Report {
                serial,
                news: News::Prepared(prepared),
            });
        });
    }

    fn take(&mut self, id: TaskId, news: News) {
        match news {
            News::Examined {
                epoch,
                ticket,
                result,
            } if epoch == self.epoch => {
                self.examined(ticket, *result);
            }
            News::Examined { .. } => {}
            News::Prepared(Ok(Prepared::Restored(restored))) => self.restored(id, restored),
            News::Prepared(Ok(Prepared::Fresh(examined))) => self.overtaken(id, examined),
            News::Prepared(Ok(Prepared::Run(errand))) => self.run(id, errand),
            News::Waits => {
                let message = format!("task `{}` waits for another watchrun", self.plan.name(id));
                self.warn("waiting", message, None);
            }
            News::Prepared(Err(error)) | News::Finished(_, Err(error)) => {
                self.could_not(id, &error);
            }
            News::Output(lines) => {
                let run = self.run_number();
                for line in lines {
                    let task = self.plan.name(id).clone();
                    (self.observe)(RunEvent::TaskOutput { run, task, line });
                }
            }
            News::Executed(executed) => self.executed(id, executed),
            News::Finished(took, Ok(finished)) => self.recorded(id, took, finished),
        }
    }

    fn examined(&mut self, ticket: Ticket, result: Result<Examined, StateError>) {
        let id = ticket.task;
        let examined = match result {
            Ok(examined) => examined,
            Err(error) => {
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
        if progress.exhausted {
            progress.exhausted = false;
            progress.settled = Some((*examined.key(), Outcome::Done));
        }
        let settled = progress.settled.filter(|(key, _)| key == examined.key());
        let ends = match (examined.verdict(), settled) {
            (Verdict::Fresh, _) => Some(Outcome::Fresh),
            (Verdict::Stale(_), Some((_, outcome))) => Some(outcome),
            (Verdict::Stale(_), None) => None,
        };
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
            self.finished_again(id, outcome);
        }
    }

    fn run(&mut self, id: TaskId, errand: Errand) {
        let Errand {
            examined,
            commands,
            lock,
        } = errand;
        let progress = &mut self.progress[id];
        progress.examined = Some(Arc::new(examined));
        progress.commands = commands.into();
        progress.lock = lock;
        self.attempt(id);
    }

    /// Another process made `id` fresh while this one waited for it.
    fn overtaken(&mut self, id: TaskId, examined: Examined) {
        self.progress[id].product = examined.product();
        self.progress[id].rests();
        self.finished(
            id,
            TaskFinished::without_process(0, self.plan.name(id), Outcome::Fresh),
        );
        self.ended(id, Outcome::Fresh, false);
    }

    /// Starts the command of `id`, for the first time or as a retry.
    fn attempt(&mut self, id: TaskId) {
        self.announce(&[]);
        let progress = &self.progress[id];
        let reason = match progress.examined().verdict() {
            Verdict::Stale(reason) => reason.clone(),
            Verdict::Fresh => unreachable!("BUG: task {id:?} runs though it is fresh"),
        };
        let (task, attempt) = (self.plan.name(id).clone(), progress.attempt);
        let commands = Arc::clone(&progress.commands);
        let cancel = progress.cancel.clone().unwrap_or_default();
        let run = self.run_number();
        (self.observe)(RunEvent::TaskStarted {
            run,
            task,
            attempt,
            reason,
        });
        let serial = self.next_serial(id);
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        self.pool.spawn(move || {
            let report = |news| send(Report { serial, news });
            let mut lines = |lines| report(News::Output(lines));
            report(News::Executed(step::execute(
                &ports, &commands, &cancel, &mut lines,
            )));
        });
    }

    fn executed(&mut self, id: TaskId, executed: Executed) {
        let Executed { ended, took, log } = executed;
        let ran = Ran {
            duration: took,
            attempts: self.progress[id].attempt,
        };
        if matches!(ended, Ended::Exited(ExitStatus::Code(0))) {
            let examined = self.progress[id].examined();
            let assignment = self.assignment(id, self.products_of(id));
            self.launch(id, move |ports| {
                let finished = step::finish(ports, &assignment, &examined, ran, &log);
                News::Finished(took, finished)
            });
            return;
        }
        let mut finished = self.finish_of(id, Outcome::Failed, took);
        let status = match &ended {
            Ended::Exited(status) => Some(*status),
            Ended::TimedOut | Ended::Cancelled | Ended::NotStarted(_) => None,
        };
        match &ended {
            Ended::Exited(status) => finished.set_status(*status),
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
            self.progress[id].again = false;
            self.ended(id, outcome, false);
            return;
        }
        let retries = self.plan.task(id).retries;
        if self.progress[id].attempt <= retries && !self.is_disturbed(id) {
            self.progress[id].attempt += 1;
            self.attempt(id);
            return;
        }
        let examined = self.progress[id].examined();
        self.ports.engine.failed(&examined, status, ran);
        self.progress[id].settled =
            (self.options.mode == Mode::Watching).then_some((*examined.key(), outcome));
        self.progress[id].product = Some(*examined.key());
        self.ended(id, outcome, false);
    }

    fn recorded(&mut self, id: TaskId, took: Duration, finished: Finished) {
        let watching = self.options.mode == Mode::Watching;
        match finished {
            Finished::Recorded(made) => {
                let done = self.finish_of(id, Outcome::Done, took);
                self.made(id, &made);
                self.finished(id, done);
                self.ended(id, Outcome::Done, false);
            }
            Finished::RunAgain { moved } => {
                self.report_moved(id, took, &moved);
                let progress = &mut self.progress[id];
                progress.moved += 1;
                progress.again = true;
                progress.product = Some(*progress.examined().key());
                if watching && progress.moved >= MOVED_BEFORE_QUIET {
                    self.held.insert(id, Instant::now() + QUIET);
                    self.schedule.hold(id);
                }
                self.ended(id, Outcome::Done, watching);
            }
            Finished::NeverRests { moved } => {
                let name = self.plan.name(id);
                let message = format!(
                    "task `{name}` was stopped after it ran 3 times: each run changed its own input {moved}"
                );
                let hint = format!(
                    "exclude the file from the `inputs` of `{name}`, or name it in its `outputs`"
                );
                self.warn("loop", message, Some(hint));
                self.report_moved(id, took, &moved);
                let progress = &mut self.progress[id];
                progress.exhausted = true;
                progress.product = Some(*progress.examined().key());
                self.ended(id, Outcome::Done, watching);
            }
        }
    }

    /// A success that does not count.
    fn report_moved(&mut self, id: TaskId, took: Duration, moved: &PathSample) {
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

    fn restored(&mut self, id: TaskId, restored: Restored) {
        let Restored { made, log, .. } = restored;
        self.announce(&[]);
        let run = self.run_number();
        let mut lines = crate::exec::LineSplitter::new();
        let mut all = Vec::new();
        lines.push(&log, |line| all.push(OutputLine::new(line)));
        all.extend(lines.take_rest().map(|rest| OutputLine::new(&rest)));
        for line in all {
            let task = self.plan.name(id).clone();
            (self.observe)(RunEvent::TaskOutput { run, task, line });
        }
        self.made(id, &made);
        self.finished(
            id,
            TaskFinished::without_process(0, self.plan.name(id), Outcome::Restored),
        );
        self.ended(id, Outcome::Restored, false);
    }

    /// Notes what `id` left behind.
    fn made(&mut self, id: TaskId, made: &Made) {
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
    fn could_not(&mut self, id: TaskId, error: &StateError) {
        self.finished_with(id, Outcome::Failed, describe(error));
        self.progress[id].product = Some(*self.progress[id].examined().key());
        self.ended(id, Outcome::Failed, false);
    }

    fn ended(&mut self, id: TaskId, outcome: Outcome, again: bool) {
        self.progress[id].cancel = None;
        self.progress[id].lock = None;
        self.schedule.ended(id, outcome, again);
    }

    /// Runs `step` on the global pool and sends what it gives.
    fn launch(
        &mut self,
        id: TaskId,
        step: impl FnOnce(&Ports) -> News + std::marker::Send + 'static,
    ) {
        let serial = self.next_serial(id);
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        rayon::spawn(move || {
            send(Report {
                serial,
                news: step(&ports),
            })
        });
    }

    fn next_serial(&mut self, id: TaskId) -> Serial {
        self.last_serial += 1;
        let serial = Serial(self.last_serial);
        self.flights.insert(serial, Some(id));
        serial
    }

    fn assignment(&self, id: TaskId, deps: Vec<(TaskName, Digest)>) -> Assignment {
        Assignment {
            plan: Arc::clone(&self.plan),
            id,
            deps: deps.into(),
            demand: self.options.demand,
            probes: Arc::clone(&self.probes),
        }
    }

    /// What dependents see of the deps of `id`.
    fn products_of(&self, id: TaskId) -> Vec<(TaskName, Digest)> {
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

    fn is_disturbed(&self, id: TaskId) -> bool {
        self.schedule.state(id) != TaskState::Running(super::state::Busy::Undisturbed)
            || self.progress[id]
                .cancel
                .as_ref()
                .is_some_and(Cancel::is_cancelled)
    }

    /// Orders by the longest chain of measured durations.
    fn rank(&mut self) {
        let known: HashMap<TaskName, Duration> =
            self.ports.engine.durations().into_iter().collect();
        let mut sorted: Vec<Duration> = known.values().copied().collect();
        sorted.sort_unstable();
        let typical = sorted
            .get(sorted.len() / 2)
            .copied()
            .unwrap_or(Duration::from_millis(1));
        let micros = |name| {
            let duration: &Duration = known.get(name).unwrap_or(&typical);
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
        };
        let durations = self
            .plan
            .tasks()
            .iter()
            .map(|(_, task)| micros(&task.name))
            .collect();
        self.schedule
            .set_urgency(self.plan.graph().longest_paths(&durations));
    }
}

/// How everything is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAll {
    /// Each with its signal and grace.
    Gracefully,
    /// At once.
    Kill,
}

/// What is said of a run, and when.
impl Driver {
    /// Begins the run for those who listen, if it has not begun; adds `ids` to it.
    fn announce(&mut self, ids: &[TaskId]) {
        let wave = self.wave.get_or_insert_with(Wave::new);
        wave.tasks.extend(ids);
        if wave.run.is_some() {
            return;
        }
        self.runs += 1;
        wave.run = Some(self.runs);
        let tasks = wave
            .tasks
            .iter()
            .map(|&id| self.plan.name(id).clone())
            .collect();
        (self.observe)(RunEvent::RunStarted {
            run: self.runs,
            tasks,
        });
        for mut finished in std::mem::take(&mut wave.withheld) {
            finished.run = self.runs;
            (self.observe)(RunEvent::TaskFinished(finished));
        }
    }

    fn run_number(&self) -> u64 {
        self.wave
            .as_ref()
            .and_then(|wave| wave.run)
            .unwrap_or(self.runs)
    }

    /// A task ended without running, as it had before: worth a word only in a run that has begun.
    fn finished_again(&mut self, id: TaskId, outcome: Outcome) {
        let finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        let wave = self.wave.get_or_insert_with(Wave::new);
        if wave.run.is_some() {
            self.finished(id, finished);
        } else {
            wave.outcomes.insert(id, outcome);
            wave.withheld.push(finished);
        }
    }

    fn finished_with(&mut self, id: TaskId, outcome: Outcome, reason: String) {
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        finished.reason = Some(reason);
        self.finished(id, finished);
    }

    fn finished(&mut self, id: TaskId, mut finished: TaskFinished) {
        self.announce(&[]);
        finished.run = self.run_number();
        if let Some(wave) = &mut self.wave {
            wave.outcomes.insert(id, finished.outcome);
        }
        (self.observe)(RunEvent::TaskFinished(finished));
    }

    fn finish_of(&self, id: TaskId, outcome: Outcome, took: Duration) -> TaskFinished {
        let mut finished = TaskFinished::without_process(0, self.plan.name(id), outcome);
        finished.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if outcome == Outcome::Done {
            finished.exit_code = Some(0);
        }
        finished
    }

    fn report_skipped(&mut self, id: TaskId, cause: SkipCause) {
        let reason = match cause {
            SkipCause::Dep(dep) => format!("`{}` did not succeed", self.plan.name(dep)),
            SkipCause::Halted => "the run stopped before its turn".to_owned(),
        };
        self.finished_with(id, Outcome::Skipped, reason);
    }

    /// Nothing of `wave` is left to do.
    fn end(&mut self, wave: &Wave) {
        self.ports.engine.save();
        for warning in self.ports.engine.take_warnings() {
            self.warn(
                warning.kind(),
                warning.to_string(),
                Some(warning.hint().to_owned()),
            );
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

    fn warn_of_missing_deps(&mut self, missing: &[MissingDep]) {
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

    fn warn_once(&mut self, kind: &'static str, message: String, hint: String) {
        if self.ports.said.insert(&message) {
            self.warn(kind, message, Some(hint));
        }
    }

    fn warn(&mut self, kind: &'static str, message: String, hint: Option<String>) {
        (self.observe)(RunEvent::Warning(Warning {
            kind,
            message,
            hint,
        }));
    }
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
