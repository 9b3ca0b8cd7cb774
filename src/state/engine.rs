//! The façade: [`Engine`], all state of one root.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, DiskError, DiskLock, LockWait};
use crate::path::Root;
use crate::task_id::TaskName;

use super::contents::{Contents, Saving};
use super::gc::{self, Collected};
use super::live::Live;
use super::outputs;
use super::record::{Records, key_of};
use super::runlog::{RunLog, RunStats};
use super::store::Store;
use super::warning::{Warning, Warnings};

/// How an [`Engine`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Where results are kept. `None`: with the rest of the state, in the root's `.watchrun`.
    pub cache_dir: Option<PathBuf>,
    /// How many bytes of results are kept.
    pub cache_size: u64,
    /// Whether results are kept and restored at all (`--no-cache`: not).
    pub store: StoreUse,
    /// Whether anything may be written (`check`, `--dry-run` and `why`: not).
    pub access: Access,
}

/// Whether results are kept and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreUse {
    /// They are.
    On,
    /// They are not; what is up to date is known all the same.
    Off,
}

/// Whether anything may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// What is up to date in one root, and what is known from before.
///
/// Every method may be called from any thread, for different tasks at the same time; several
/// engines, in one process or more, may share a root.
pub struct Engine<'d> {
    pub(super) disk: &'d dyn Disk,
    pub(super) root: Root,
    pub(super) options: EngineOptions,
    pub(super) records: Records<'d>,
    pub(super) contents: Contents<'d>,
    pub(super) store: Store<'d>,
    pub(super) warnings: Warnings,
    pub(super) live: Live,
    dir: PathBuf,
    session: String,
    stages: AtomicU64,
    // Guards the run log. Leaf lock, held for one update or one merge, never across I/O.
    run_log: OnceLock<Mutex<RunLog>>,
}

impl std::fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("root", &self.root)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'d> Engine<'d> {
    /// Opens the state of `root`; reads nothing yet. Never fails: without usable state everything
    /// is stale, and [`Self::take_warnings`] says what is wrong.
    #[must_use]
    pub fn open(disk: &'d dyn Disk, root: &Root, mut options: EngineOptions) -> Self {
        let top = root.as_path().join(".watchrun");
        let dir = top.join("v1");
        let warnings = Warnings::default();
        if options.access == Access::ReadWrite
            && let Err(error) = make_dirs(disk, &top, &dir)
        {
            warnings.push(unwritable(&error));
            options.access = Access::ReadOnly;
        }
        let clock = dir.join("clock");
        let (clock_path, opened_ns) = match options.access {
            Access::ReadOnly => (None, 0),
            Access::ReadWrite => {
                let now = disk.clock(&clock).map_or(0, |time| time.ns);
                (Some(clock), now)
            }
        };
        let session = format!("{}-{opened_ns:x}-{}", std::process::id(), next_engine());
        let cache_dir = options.cache_dir.clone().unwrap_or_else(|| dir.clone());
        Self {
            disk,
            root: root.clone(),
            records: Records::new(
                disk,
                dir.join("tasks"),
                dir.join("lock").join("ledger"),
                session.clone(),
            ),
            contents: Contents::new(disk, root, dir.join("index"), clock_path),
            store: Store::new(disk, &cache_dir, session.clone()),
            warnings,
            live: Live::default(),
            dir,
            session,
            stages: AtomicU64::new(0),
            run_log: OnceLock::new(),
            options,
        }
    }

    /// What went wrong since the last call, each kind once in the engine's life.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// Reads the index now rather than at the first stale task, so that the first change while
    /// watching does not wait for it. How many files it knows.
    pub fn warm(&self) -> usize {
        self.contents.warm(&self.warnings)
    }

    /// Keeps everyone else, in this and any other process, from running `task` in this root until
    /// the result is dropped. If somebody holds it, `on_wait` is called and then waited for.
    /// The task has to be examined once more after a wait: the other one may have done the work.
    /// `None` when locking is not possible; the task may run all the same.
    pub fn lock(&self, task: &TaskName, on_wait: &mut dyn FnMut()) -> Option<DiskLock> {
        match self.try_lock(task) {
            Locked::Held(lock) => Some(lock),
            Locked::Impossible => None,
            Locked::Busy => {
                on_wait();
                match self.lock_file(task, LockWait::Block) {
                    Locked::Held(lock) => Some(lock),
                    Locked::Busy | Locked::Impossible => None,
                }
            }
        }
    }

    /// As [`Self::lock`], without waiting.
    pub fn try_lock(&self, task: &TaskName) -> Locked {
        self.lock_file(task, LockWait::Try)
    }

    /// How long each task that ever succeeded here takes as a rule, ordered by name.
    #[must_use]
    pub fn durations(&self) -> Vec<(TaskName, Duration)> {
        let stats = self.run_stats();
        let typical = |stats: &RunStats| Duration::from_micros(stats.typical_us.cast_unsigned());
        stats
            .iter()
            .filter(|(_, stats)| stats.successes > 0)
            .map(|(name, stats)| (name.clone(), typical(stats)))
            .collect()
    }

    /// How long `task` takes as a rule; `None`: it never succeeded here.
    #[must_use]
    pub fn typical_duration(&self, task: &TaskName) -> Option<Duration> {
        let log = self
            .run_log()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let stats = log.tasks().get(task.as_str());
        let stats = stats.filter(|stats| stats.successes > 0)?;
        Some(Duration::from_micros(stats.typical_us.cast_unsigned()))
    }

    /// What is known of each task's runs, ordered by name.
    #[must_use]
    pub fn run_stats(&self) -> Vec<(TaskName, RunStats)> {
        let log = self
            .run_log()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        log.tasks()
            .iter()
            .map(|(name, stats)| (TaskName::new(name), *stats))
            .collect()
    }

    /// Writes down the successes since the last call, many in one write. What a crash loses before
    /// is made again. Cheap when there is nothing to write.
    pub fn flush(&self) {
        if self.may_write() {
            self.note(self.records.flush(&self.warnings));
        }
    }

    /// Writes what was learnt and is not on disk yet, and collects the store if much was added.
    /// Called when a run ends; what a crash loses by not calling it costs time only.
    pub fn save(&self) {
        self.write(Saving::AtTheEnd);
    }

    /// As [`Self::save`], when more is to come: what costs as much as the project is large waits
    /// until there is enough of it.
    pub fn save_between(&self) {
        self.write(Saving::Between);
    }

    fn write(&self, when: Saving) {
        if self.options.access == Access::ReadOnly {
            return;
        }
        self.flush();
        if let Some(bytes) = self.contents.take_changes(when) {
            self.note(self.disk.write_atomic(&self.dir.join("index"), &bytes));
        }
        self.note(self.records.compact(&self.warnings));
        let path = self.dir.join("runs");
        if self.run_log.get().is_some() {
            let on_disk = self.disk.read(&path).ok();
            let on_disk = on_disk.and_then(|bytes| RunLog::decode(&bytes).ok());
            let changes = {
                let log = self.run_log().lock();
                log.unwrap_or_else(PoisonError::into_inner)
                    .take_changes(on_disk)
            };
            if let Some(bytes) = changes {
                self.note(self.disk.write_atomic(&path, &bytes));
            }
        }
        if self.uses_store() {
            self.store.flush(&self.warnings);
            self.note(self.store.shrink(&self.warnings));
        }
        let added = self.store.added_bytes();
        if added > self.options.cache_size / 16 || added > 0 && self.is_collection_due() {
            self.note(self.collect().map(drop));
        }
    }

    /// Brings the store below `cache_size`. `None` when another process is at it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn collect(&self) -> Result<Option<Collected>, DiskError> {
        let collected = gc::collect(self.disk, self.store.dir(), self.options.cache_size)?;
        if self.store.dir() != self.dir
            && let Some(now) = self.contents.hash_time().0
        {
            // What a restore that was cut short left here, beside a store that is elsewhere.
            gc::remove_leftovers(self.disk, &self.dir.join("tmp"), now.ns)?;
        }
        Ok(collected)
    }

    /// Forgets everything but the results in the store: every task is stale then.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean_state(&self) -> Result<(), DiskError> {
        for name in ["tasks", "index", "runs"] {
            self.disk.remove(&self.dir.join(name))?;
        }
        self.disk.make_dir(&self.dir.join("tasks"))
    }

    /// Forgets what is known of one task but its results in the store: it is stale then.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean_state_of(&self, task: &TaskName) -> Result<(), DiskError> {
        self.records.forget(task, &self.warnings)
    }

    /// Removes every result from the store.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean_store(&self) -> Result<(), DiskError> {
        for name in ["ac", "cas", "tmp", "bare"] {
            self.disk.remove(&self.store.dir().join(name))?;
        }
        Ok(())
    }

    /// Removes what the last success of `task` made and the directories that leaves empty; how
    /// many files. The task is stale then. Nothing else is touched, whatever its patterns match.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean_outputs(&self, task: &TaskName) -> Result<usize, DiskError> {
        let success = self.records.success(task, &self.warnings);
        let outputs = success.map(|success| success.outputs).unwrap_or_default();
        let mut removed = 0;
        for output in &outputs {
            let path = &output.file.path;
            if outputs::behind_link(self.disk, &self.root, path).is_none() {
                outputs::remove(self.disk, &self.root, path, |_| false)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub(super) fn may_write(&self) -> bool {
        self.options.access == Access::ReadWrite
    }

    pub(super) fn uses_store(&self) -> bool {
        self.may_write() && self.options.store == StoreUse::On
    }

    /// Reports a failure to write state; the work goes on.
    pub(super) fn note(&self, written: Result<(), DiskError>) {
        if let Err(error) = written {
            self.warnings.push(unwritable(&error));
        }
    }

    pub(super) fn log_run(&self, update: impl FnOnce(&mut RunLog)) {
        let mut log = self
            .run_log()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        update(&mut log);
    }

    /// Whether nobody has collected the store for a day.
    fn is_collection_due(&self) -> bool {
        let last = self.disk.stat(&gc::clock_path(self.store.dir()));
        let now = self.contents.hash_time().0;
        match (last, now) {
            (Ok(last), Some(now)) => last.mtime_ns < now.ns - gc::PERIOD_NS,
            (Err(_), _) => true,
            (Ok(_), None) => false,
        }
    }

    /// A new name on the root's file system.
    pub(super) fn stage(&self) -> PathBuf {
        let n = self.stages.fetch_add(1, Ordering::Relaxed);
        self.dir
            .join("tmp")
            .join(format!("{}-restore-{n}", self.session))
    }

    fn lock_file(&self, task: &TaskName, wait: LockWait) -> Locked {
        if !self.may_write() {
            return Locked::Impossible;
        }
        let [place @ .., _, _, _, _, _, _, _, _] = key_of(task);
        // Different tasks have different places, short of an accident in 2^31 tasks.
        let place = u64::from_le_bytes(place) >> 2;
        let path = self.dir.join("lock").join("tasks");
        let lock = || self.disk.lock(&path, place, wait);
        let locked = match lock() {
            // Somebody removed the state; it is made anew.
            Err(error) if error.is_not_found() => {
                self.warnings.push(Warning::StateDiscarded {
                    path: self.dir.clone(),
                    reason: "it was removed".to_owned(),
                });
                let top = self.root.as_path().join(".watchrun");
                make_dirs(self.disk, &top, &self.dir).and_then(|()| lock())
            }
            locked => locked,
        };
        match locked {
            Ok(Some(lock)) => Locked::Held(lock),
            Ok(None) => Locked::Busy,
            Err(error) => {
                self.note(Err(error));
                Locked::Impossible
            }
        }
    }

    fn run_log(&self) -> &Mutex<RunLog> {
        self.run_log.get_or_init(|| {
            let path = self.dir.join("runs");
            let log = self
                .disk
                .read(&path)
                .ok()
                .map(|bytes| RunLog::decode(&bytes));
            Mutex::new(log.and_then(Result::ok).unwrap_or_default())
        })
    }
}

/// Whether a lock was free.
#[derive(Debug)]
pub enum Locked {
    /// It was; it is held until this is dropped.
    Held(DiskLock),
    /// Somebody else holds it.
    Busy,
    /// Nothing can be locked here: the state is read-only, or the file system cannot. The task
    /// may run all the same.
    Impossible,
}

fn make_dirs(disk: &dyn Disk, top: &Path, dir: &Path) -> Result<(), DiskError> {
    for name in ["tasks", "lock", "tmp"] {
        disk.make_dir(&dir.join(name))?;
    }
    let ignore = top.join(".gitignore");
    if disk.stat(&ignore).is_err() {
        disk.write_atomic(&ignore, b"*\n")?;
    }
    Ok(())
}

fn unwritable(error: &DiskError) -> Warning {
    Warning::StateUnwritable {
        path: error.path.clone(),
        reason: error.source.to_string(),
    }
}

/// Tells engines of one process apart.
fn next_engine() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}
