//! The thread that keeps the model in step: [`EventProcessor`], a loop over queue, timers, commands.
//!
//! Owns the source, the rules and the debouncer; is the only one that changes the tree. How one
//! hint or one directory is taken in is in `reconcile.rs`, what surrounds the tree (its root, git)
//! in `surroundings.rs`, what is done when events were lost or cannot be had in `recovery.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::path::RelDir;
use crate::watch::budget::Budget;
use crate::watch::cookies::Cookies;
use crate::watch::debounce::{Debouncer, Observed};
use crate::watch::degraded::PollNotices;
use crate::watch::error::{ErrorClass, ProcessingError};
use crate::watch::explain::{AuditReport, Explanation};
use crate::watch::git::Repo;
use crate::watch::ignored::{Ignored, Rules};
use crate::watch::metrics::WatchMetrics;
use crate::watch::mounts::{MountWatcher, Mounts};
use crate::watch::options::{Backend, WatchOptions, WatchUpdate};
use crate::watch::outside::Outside;
use crate::watch::poll::PollWatcher;
use crate::watch::queue::{Batch, EventQueue};
use crate::watch::record::{Record, Recorder};
use crate::watch::recovery::Recovery;
use crate::watch::select::Select;
use crate::watch::source::RawSource;
use crate::watch::subscriber::Subscriber;
use crate::watch::tree::Tree;
use crate::watch::warning::{PollReason, Warning};

/// How long the first mark may take before the system's watcher is taken to be deaf.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// How long git's release of its lock waits for the events before it.
const UNLOCK_TIME: Duration = Duration::from_millis(500);
/// How many directories are polled in one go.
const POLL_BATCH: usize = 256;
/// How many watches of directories long gone may pile up before all are made afresh.
const STALE_WATCHES_MAX: usize = 16_384;
/// In a burst, hints are left to gather for this long: they are fewer once coalesced, and nobody
/// wakes us for each.
const GATHER_TIME: Duration = Duration::from_millis(3);
/// A batch of so many paths is a burst.
const BURST_PATHS: usize = 8;
/// How many warnings from before the first consumer are kept.
const EARLY_WARNINGS_MAX: usize = 100;

/// What a handle asks of the processor.
#[derive(Debug)]
pub(crate) enum Command {
    /// Answer with the id of the last set once everything before now has been delivered.
    Sync(Sender<u64>),
    Explain(PathBuf, Sender<Explanation>),
    Audit(Sender<AuditReport>),
    Update(WatchUpdate, Sender<()>),
    Close,
}

/// What a mark was sent for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Sync(Sender<u64>, Instant),
    /// Git has let go of its lock; the changes it made come before the mark.
    Unlock,
    /// To see whether the system reports anything at all; how many more may follow if it is late.
    Probe(u8),
}

/// Where a watch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchState {
    /// In step, by the system's events alone.
    Ready,
    /// In step; some directories are polled or cannot be read.
    Degraded,
    /// In step, by polling alone.
    Polling,
    /// The root is gone; it is waited for.
    Detached,
    /// Closed, or its thread is gone.
    Stopped,
}

/// What the processor shares with the handles of its watch.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    // Guards the model. Written by the processor alone, for one directory or one path at a time,
    // never across I/O; read by handles.
    pub(crate) tree: RwLock<Tree>,
    pub(crate) queue: Arc<EventQueue<Command>>,
    pub(crate) metrics: Arc<WatchMetrics>,
    // Guards the list of consumers. Leaf lock, held for one change or one pass.
    pub(crate) subscribers: Mutex<Vec<Arc<Subscriber>>>,
    // Guards warnings from before the first consumer: each new one gets them. Leaf lock.
    pub(crate) early: Mutex<Vec<Warning>>,
    // Guards the state. Leaf lock.
    pub(crate) state: Mutex<WatchState>,
    pub(crate) started: Instant,
}

/// Turns hints into exact changes: looks at each path, compares with its [`Tree`], and gathers what
/// differs into change sets.
///
/// A [`WatchManager`](crate::watch::WatchManager) runs one on a thread of its own for each watch.
/// A program with a loop of its own may run one itself, with [`EventProcessor::new`] and
/// [`EventProcessor::turn`]. Dropping it ends its watches.
pub struct EventProcessor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: WatchOptions,
    pub(crate) source: Box<dyn RawSource>,
    pub(crate) ignored: Ignored,
    pub(crate) select: Select,
    /// What was selected before, while the tree is read for another selection.
    pub(crate) former: Option<Select>,
    /// The rules inside directories that add to those outside.
    pub(crate) levels: HashMap<RelDir, Rules>,
    /// Ignored directories that are modelled nevertheless, on the way to something spared.
    pub(crate) spared: HashSet<RelDir>,
    pub(crate) unreadable: BTreeMap<RelDir, Retry>,
    pub(crate) poll: PollWatcher,
    pub(crate) notices: PollNotices,
    /// Who is polled for want of watches.
    pub(crate) budget: Budget,
    pub(crate) debouncer: Debouncer,
    pub(crate) cookies: Option<Cookies<Purpose>>,
    /// Marks whose shards are gone.
    pub(crate) stranded: Vec<(Purpose, Option<Instant>)>,
    pub(crate) repos: Vec<Arc<Repo>>,
    /// Some of them are not watched yet.
    pub(crate) repos_changed: bool,
    /// Device and inode of the root; `None` while it is gone.
    pub(crate) identity: Option<(u64, u64)>,
    pub(crate) mount_watcher: Option<MountWatcher>,
    /// What is mounted around the root.
    pub(crate) mounts: Mounts,
    /// File systems by device: why they are to be polled, if they are.
    pub(crate) file_systems: HashMap<u64, Option<PollReason>>,
    pub(crate) last_id: u64,
    pub(crate) outside: Outside,
    /// Paths of the surroundings that changed while nobody watched them.
    pub(crate) missed: Vec<PathBuf>,
    pub(crate) recovery: Recovery,
    pub(crate) warned_lock: bool,
    pub(crate) warned_memory: bool,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) first_pending: Option<Instant>,
    /// Takes the sets for who runs the processor without a thread.
    pub(crate) own: Option<Arc<Subscriber>>,
}

/// When to try an unreadable directory again; `None` when only a change of it can help.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) at: Option<Instant>,
    pub(crate) wait: Duration,
}

impl EventProcessor {
    /// Runs until it is told to close. Tells `ready` once the model is complete.
    pub(crate) fn run(mut self, ready: &Sender<()>) {
        self.begin();
        // The creator may have given up.
        ready.send(()).unwrap_or_default();
        loop {
            let now = Instant::now();
            let timeout = self.deadline().map(|at| at.saturating_duration_since(now));
            let queue = Arc::clone(&self.shared.queue);
            let batch = queue.take(timeout, self.options.batch_size);
            let n_paths = batch.paths.len();
            if !self.step(batch) {
                break;
            }
            if n_paths >= BURST_PATHS && n_paths < self.options.batch_size {
                self.gather(Instant::now() + self.options.batch_time);
            }
        }
        self.stop();
    }

    /// Takes in the whole tree for the first time.
    pub(crate) fn begin(&mut self) {
        let now = Instant::now();
        let (quiet, longest) = (self.options.debounce, self.options.debounce_max);
        self.record(&|| Record::Times(quiet, longest), now);
        self.attach_first(now);
    }

    /// Lets the hints of a burst gather: until a batch is full, none comes for a moment, somebody
    /// waits for an answer, or `until`.
    fn gather(&self, until: Instant) {
        let mut before = None;
        loop {
            let waiting = self.shared.queue.only_paths();
            let full = waiting.is_none_or(|n| n >= self.options.batch_size);
            let quiet = waiting == before;
            let left = until.saturating_duration_since(Instant::now());
            if full || quiet || left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(GATHER_TIME));
            before = waiting;
        }
    }

    /// Takes in one batch and does what is due. `false` ends the loop.
    pub(crate) fn step(&mut self, batch: Batch<Command>) -> bool {
        let started = Instant::now();
        let Batch {
            mut paths,
            marks,
            commands,
            lost,
            everything,
            gap,
            mounts,
            failures,
        } = batch;
        if !paths.is_empty() {
            self.shared.metrics.batch_paths.record(paths.len() as u64);
        }
        self.note_failures(failures.len());
        if gap || lost {
            self.record(&|| Record::Gap, started);
            self.debouncer.mark_gap();
        }
        if lost || !failures.is_empty() {
            self.repair(lost, started);
        } else if everything {
            self.compare_everything(started);
        } else {
            // Directories before what is in them: one that is gone takes its content along.
            paths.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
            for (path, seen) in &paths {
                self.take_hint(path, *seen);
                for twin in self.mounts.twins_of(path) {
                    self.take_hint(&twin, *seen);
                }
            }
        }
        if mounts {
            self.check_mounts(started);
        }
        for mark in marks {
            let back = self
                .cookies
                .as_mut()
                .and_then(|c| c.back(mark.shard, &mark.path));
            if let Some(purpose) = back {
                self.mark_is_back(purpose);
            }
        }
        let mut open = true;
        for command in commands {
            open &= self.obey(command);
        }
        self.resend_marks(Instant::now());
        let now = Instant::now();
        if !paths.is_empty() {
            self.shared.metrics.batch_us.record_us(now - started);
        }
        self.do_what_is_due(now);
        self.resend_marks(Instant::now());
        self.refresh_figures();
        open
    }

    /// The next moment at which something must be done without being asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let retry = self.unreadable.values().filter_map(|retry| retry.at).min();
        let marks = self.cookies.as_ref().and_then(Cookies::deadline);
        [
            self.debouncer.deadline(),
            self.poll.deadline(),
            self.outside.deadline(),
            self.recovery.deadline(),
            retry,
            marks,
            self.missed.first().map(|_| Instant::now()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn do_what_is_due(&mut self, now: Instant) {
        let late = self
            .cookies
            .as_mut()
            .map_or_else(Vec::new, |c| c.take_late(now));
        for purpose in late {
            match purpose {
                // We may have been stopped, or starved, meanwhile.
                Purpose::Probe(more @ 1..) => {
                    self.send_mark(Purpose::Probe(more - 1), Some(Instant::now() + PROBE_TIME));
                }
                Purpose::Probe(0) => self.poll_everything(PollReason::NoEvents, now),
                // The events before the mark are late as well; waiting on helps nobody.
                Purpose::Unlock => self.mark_is_back(Purpose::Unlock),
                Purpose::Sync(..) => {}
            }
        }
        self.take_missed();
        self.retry_unreadable(now);
        self.retry_native(now);
        self.poll_outside(now);
        let due = self.poll.due(now, POLL_BATCH);
        if !due.is_empty() {
            self.poll_dirs(&due, now);
        }
        self.promote_polled(now);
        if self.source.n_watches() > self.shared_tree_dirs() + STALE_WATCHES_MAX {
            self.compare_everything(now);
        }
        self.deliver_ready(Instant::now());
    }

    fn deliver_ready(&mut self, now: Instant) {
        if self
            .debouncer
            .deadline()
            .is_none_or(|deadline| deadline > now)
        {
            return;
        }
        if self.is_git_at_work() && !self.debouncer.is_locked() {
            self.set_locked(true, now);
            return;
        }
        self.check_root(false, now);
        self.record(&|| Record::Ready, now);
        if let Some(set) = self.debouncer.take_ready(now) {
            self.warn_of_held_lock();
            self.deliver(set, now);
        }
    }

    /// Delivers what is pending without waiting for quiet; answers who waits for it.
    fn deliver_now(&mut self, now: Instant) {
        if self.debouncer.is_empty() {
            return;
        }
        self.record(&|| Record::Taken, now);
        if let Some(set) = self.debouncer.take_all() {
            self.deliver(set, now);
        }
    }

    fn deliver(&mut self, set: ChangeSet, now: Instant) {
        let metrics = &self.shared.metrics;
        metrics.change_sets.fetch_add(1, Relaxed);
        metrics.changes.fetch_add(set.changes.len() as u64, Relaxed);
        if let Some(first) = self.first_pending.take() {
            metrics
                .latency_us
                .record_us(now.saturating_duration_since(first));
        }
        self.last_id = set.id;
        let set = Arc::new(set);
        for subscriber in self.subscribers() {
            subscriber.put(&set);
        }
        self.flush_recorder();
    }

    pub(crate) fn observe(&mut self, observed: Observed, now: Instant) {
        self.record(
            &|| Record::Observed {
                path: observed.path.clone(),
                before: observed.before,
                after: observed.after,
                written: observed.written,
                moved: observed.moved,
            },
            now,
        );
        self.first_pending.get_or_insert(now);
        self.budget.note_told(|| observed.path.parent(), now);
        self.debouncer.push(observed, now);
    }

    pub(crate) fn set_locked(&mut self, locked: bool, now: Instant) {
        self.record(&|| Record::Locked(locked), now);
        self.debouncer.set_locked(locked, now);
        self.outside.hurry(locked, now);
        self.warned_lock &= locked;
    }

    /// Sends a mark through every shard; does at once what it is for when there is none.
    pub(crate) fn send_mark(&mut self, purpose: Purpose, until: Option<Instant>) {
        let Some(cookies) = &mut self.cookies else {
            return self.mark_is_back(purpose);
        };
        let n_shards = if self.options.backend == Backend::Poll || self.identity.is_none() {
            0
        } else {
            self.shared.queue.set_open_gate(true);
            let n = self.source.watch_in_every_shard(cookies.dir());
            self.shared.queue.set_open_gate(false);
            n
        };
        if let Err(purpose) = cookies.send(purpose, n_shards, until) {
            self.mark_is_back(purpose);
        }
    }

    fn mark_is_back(&mut self, purpose: Purpose) {
        let now = Instant::now();
        match purpose {
            Purpose::Probe(_) => {}
            Purpose::Unlock => {
                if !self.is_git_at_work() {
                    self.poll_all(now);
                    self.set_locked(false, Instant::now());
                }
            }
            Purpose::Sync(reply, since) => {
                self.check_root(false, now);
                self.look_outside(now);
                self.poll_all(now);
                self.deliver_now(Instant::now());
                self.refresh_figures();
                self.shared.metrics.syncs.fetch_add(1, Relaxed);
                self.shared.metrics.sync_us.record_us(since.elapsed());
                // Who waited may have given up.
                reply.send(self.last_id).unwrap_or_default();
            }
        }
    }

    fn obey(&mut self, command: Command) -> bool {
        let now = Instant::now();
        match command {
            Command::Sync(reply) => self.send_mark(Purpose::Sync(reply, now), None),
            Command::Explain(path, reply) => drop(reply.send(self.explain(&path))),
            Command::Audit(reply) => drop(reply.send(self.audit())),
            Command::Update(update, reply) => {
                self.update(update, now);
                self.refresh_figures();
                reply.send(()).unwrap_or_default();
            }
            Command::Close => return false,
        }
        true
    }

    fn update(&mut self, update: WatchUpdate, now: Instant) {
        let WatchUpdate {
            select,
            debounce,
            debounce_max,
        } = update;
        let quiet = debounce.unwrap_or(self.options.debounce);
        let longest = debounce_max.unwrap_or(self.options.debounce_max).max(quiet);
        (self.options.debounce, self.options.debounce_max) = (quiet, longest);
        self.record(&|| Record::Times(quiet, longest), now);
        self.debouncer.set_times(quiet, longest);
        if let Some(select) = select
            && select != self.options.select
        {
            let former = mem::replace(&mut self.select, Select::new(select.as_ref()));
            self.options.select = select;
            self.former = Some(former);
            self.rescan(now);
            self.former = None;
        }
    }

    fn is_git_at_work(&self) -> bool {
        self.repos.iter().any(|repo| repo.index_lock().exists())
    }

    fn poll_all(&mut self, now: Instant) {
        let polled = self.poll.all();
        if !polled.is_empty() {
            self.poll_dirs(&polled, now);
            self.poll.forgive();
        }
    }

    pub(crate) fn start_probe(&mut self, now: Instant) {
        if self.options.backend == Backend::Auto {
            self.send_mark(Purpose::Probe(1), Some(now + PROBE_TIME));
        }
    }

    pub(crate) fn start_unlock(&mut self, now: Instant) {
        self.send_mark(Purpose::Unlock, Some(now + UNLOCK_TIME));
    }

    pub(crate) fn warn(&self, warning: &Warning) {
        if let Some(error) = warning.error() {
            self.shared.metrics.count_error(error.class());
        }
        let subscribers = self.subscribers();
        if subscribers.is_empty() {
            let mut early = self
                .shared
                .early
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if early.len() < EARLY_WARNINGS_MAX {
                early.push(warning.clone());
            }
        }
        for subscriber in subscribers {
            subscriber.put_warning(warning);
        }
    }

    pub(crate) fn record(&mut self, record: &dyn Fn() -> Record, now: Instant) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Err(error) = recorder.write(&record(), now) {
            self.recorder = None;
            let problem = error.to_string();
            self.warn(&Warning::RecordingStopped { problem });
        }
    }

    fn flush_recorder(&mut self) {
        let flushed = self.recorder.as_mut().map_or(Ok(()), Recorder::flush);
        if let Err(error) = flushed {
            self.recorder = None;
            let problem = error.to_string();
            self.warn(&Warning::RecordingStopped { problem });
        }
    }

    fn warn_of_held_lock(&mut self) {
        if self.debouncer.is_locked() && !self.warned_lock {
            self.warned_lock = true;
            let locks = self.repos.iter().map(|repo| repo.index_lock());
            for path in locks.filter(|lock| lock.exists()) {
                self.warn(&Warning::GitLockHeld { path });
            }
        }
    }

    fn note_failures(&self, n: usize) {
        let metrics = &self.shared.metrics;
        metrics.source_errors.fetch_add(n as u64, Relaxed);
        for _ in 0..n {
            metrics.count_error(ErrorClass::Degraded);
        }
    }

    fn subscribers(&self) -> Vec<Arc<Subscriber>> {
        let all = self.shared.subscribers.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(mut self) {
        self.mount_watcher = None;
        self.end_source();
        self.flush_recorder();
        self.shared.set_state(WatchState::Stopped);
        let error = ProcessingError::Stopped {
            path: self.shared.root.clone(),
        };
        for subscriber in self.subscribers() {
            subscriber.stop(error.clone());
        }
    }
}

impl EventProcessor {
    /// Lets nobody in any more, and nobody wait, so that the source's threads can end.
    fn end_source(&mut self) {
        drop(self.shared.queue.close());
        self.shared.queue.set_open_gate(true);
        self.source.restart();
    }
}

impl Drop for EventProcessor {
    fn drop(&mut self) {
        self.end_source();
    }
}

impl fmt::Debug for EventProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventProcessor")
            .field("root", &self.shared.root)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn set_state(&self, state: WatchState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn state(&self) -> WatchState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
