//! Makes and shares watches: [`WatchManager`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::watch::error::{CreationError, ProcessingError, WatchError};
use crate::watch::handle::WatchHandle;
use crate::watch::metrics::MetricsReport;
use crate::watch::options::WatchOptions;
use crate::watch::os::OsWatcher;
use crate::watch::processor::{Command, EventProcessor, Shared, WatchState};
use crate::watch::setup::check_path;
use crate::watch::source::{HintSink, RawSource};
use crate::watch::subscriber::Subscriber;
use crate::watch::warning::Warning;

/// Makes watches, shares them between users, and reports on them.
///
/// Every method may be called from any thread. Dropping the manager leaves its handles working.
#[derive(Clone, Debug, Default)]
pub struct WatchManager {
    registry: Arc<Registry>,
}

/// Makes the source of a watch. The sink takes its hints.
pub type SourceFactory = dyn Fn(Arc<dyn HintSink>) -> Box<dyn RawSource> + Send + Sync;

/// The running watches of a manager.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    // Guards the list. Held while a watch is made or ended, so that two users of one path share.
    cores: Mutex<Vec<Arc<Core>>>,
}

/// One running watch: its thread and what it shares with its handles.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: WatchOptions,
    users: AtomicUsize,
    // Guards the thread until it is joined. Leaf lock, held for one take.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WatchManager {
    /// A manager without watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches the directory `path` and everything in it that the options select.
    ///
    /// Blocks until the watch is armed and in step with the disk: every change from now on is
    /// reported. A second watch of the same path with equal options shares the work of the first.
    ///
    /// # Errors
    /// [`CreationError`]: the path is not there, not a directory or not readable; options that
    /// cannot work; no thread. [`SystemError::Resource`](crate::watch::SystemError::Resource): the
    /// tree is larger than allowed.
    pub fn create_watch(
        &self,
        path: &Path,
        options: WatchOptions,
    ) -> Result<WatchHandle, WatchError> {
        self.create_watch_from(path, options, &|sink| Box::new(OsWatcher::new(sink)))
    }

    /// As [`WatchManager::create_watch`], with a source of events of the caller's: for tests, and
    /// for systems that have their own way to know what changed.
    ///
    /// # Errors
    /// As [`WatchManager::create_watch`].
    pub fn create_watch_from(
        &self,
        path: &Path,
        options: WatchOptions,
        source: &SourceFactory,
    ) -> Result<WatchHandle, WatchError> {
        options.check()?;
        let root = check_path(path)?;
        let mut cores = self.registry.lock();
        let shared = cores.iter().find(|core| {
            let core_root = core.shared.root == root;
            core_root && core.options == options && core.shared.state() != WatchState::Stopped
        });
        let core = if let Some(core) = shared {
            Arc::clone(core)
        } else {
            let core = start(root, options, source)?;
            cores.push(Arc::clone(&core));
            core
        };
        core.users.fetch_add(1, Ordering::SeqCst);
        let subscriber = Arc::new(Subscriber::new(Arc::clone(&core.shared.metrics)));
        core.shared.subscribers().push(Arc::clone(&subscriber));
        for warning in core.shared.early_warnings() {
            subscriber.put_warning(&warning);
        }
        drop(cores);
        Ok(WatchHandle::new(
            core,
            subscriber,
            Arc::clone(&self.registry),
        ))
    }

    /// Closes `handle`; `false` if it was closed before, or is another manager's.
    #[must_use = "`false` means that nothing was closed"]
    #[expect(clippy::needless_pass_by_value, reason = "the handle is used up")]
    pub fn remove_watch(&self, handle: WatchHandle) -> bool {
        let cores = self.registry.lock().clone();
        let ours = cores
            .iter()
            .any(|core| core.shared.has(handle.subscriber()));
        handle.close();
        ours
    }

    /// A picture of the counters of every watch.
    #[must_use]
    pub fn report(&self) -> MetricsReport {
        let report = |core: &Arc<Core>| {
            let shared = &core.shared;
            let path = shared.root.display().to_string();
            shared
                .metrics
                .report(path, shared.started.elapsed(), shared.queue.stats())
        };
        MetricsReport {
            watches: self.registry.lock().iter().map(report).collect(),
        }
    }
}

impl Registry {
    /// Takes a handle's consumer off its watch; ends the watch with the last one.
    pub(crate) fn leave(&self, core: &Arc<Core>, subscriber: &Arc<Subscriber>) {
        let mut cores = self.lock();
        let was_there = {
            let mut all = core.shared.subscribers();
            let before = all.len();
            all.retain(|other| !Arc::ptr_eq(other, subscriber));
            all.len() < before
        };
        if !was_there || core.users.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        cores.retain(|other| !Arc::ptr_eq(other, core));
        drop(cores);
        core.end();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Core>>> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Ends the thread and waits for it.
    fn end(&self) {
        // Closed already: it ended by itself.
        drop(self.shared.queue.send(Command::Close));
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = thread.take();
        if let Some(thread) = thread {
            // A panic in it has been seen as `Stopped`.
            drop(thread.join());
        }
    }
}

impl Shared {
    pub(crate) fn subscribers(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn early_warnings(&self) -> Vec<Warning> {
        self.early
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn has(&self, subscriber: &Arc<Subscriber>) -> bool {
        self.subscribers()
            .iter()
            .any(|other| Arc::ptr_eq(other, subscriber))
    }
}

/// Starts the thread of a watch and waits until its model is complete.
fn start(
    root: PathBuf,
    options: WatchOptions,
    source: &SourceFactory,
) -> Result<Arc<Core>, WatchError> {
    let processor = EventProcessor::assemble(root, &options, source)?;
    let shared = Arc::clone(&processor.shared);
    let (ready_tx, ready_rx) = mpsc::channel();
    let guard = StopGuard(Arc::clone(&shared));
    let thread = thread::Builder::new()
        .name("watchrun-watch".to_owned())
        .spawn(move || {
            let _guard = guard;
            processor.run(&ready_tx);
        })
        .map_err(|source| CreationError::Resource {
            what: "the thread of the watch",
            source,
        })?;
    let is_ready = ready_rx.recv().is_ok();
    let core = Arc::new(Core {
        shared: Arc::clone(&shared),
        options,
        users: AtomicUsize::new(0),
        thread: Mutex::new(Some(thread)),
    });
    if !is_ready {
        return Err(ProcessingError::Stopped {
            path: shared.root.clone(),
        }
        .into());
    }
    if let Err(error) = shared.check_memory(core.options.memory_bytes_max) {
        core.end();
        return Err(error.into());
    }
    Ok(core)
}

/// Ends the consumers' waiting when the thread of a watch ends, by a panic as well.
struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        drop(self.0.queue.close());
        self.0.set_state(WatchState::Stopped);
        let error = ProcessingError::Stopped {
            path: self.0.root.clone(),
        };
        for subscriber in self.0.subscribers().iter() {
            subscriber.stop(error.clone());
        }
    }
}
