//! Puts an [`EventProcessor`] together from its parts; and lets a program run one itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::watch::budget::Budget;
use crate::watch::cookies::Cookies;
use crate::watch::debounce::Debouncer;
use crate::watch::degraded::PollNotices;
use crate::watch::error::{CreationError, SystemError, WatchError};
use crate::watch::ignored::Ignored;
use crate::watch::manager::SourceFactory;
use crate::watch::metrics::WatchMetrics;
use crate::watch::mounts::{MountWatcher, Mounts};
use crate::watch::options::WatchOptions;
use crate::watch::outside::Outside;
use crate::watch::poll::PollWatcher;
use crate::watch::processor::{Command, EventProcessor, Shared, WatchState};
use crate::watch::queue::{EventQueue, QueueStats};
use crate::watch::record::Recorder;
use crate::watch::recovery::Recovery;
use crate::watch::select::Select;
use crate::watch::source::HintSink;
use crate::watch::subscriber::Subscriber;
use crate::watch::tree::Tree;
use crate::watch::warning::Warning;

impl EventProcessor {
    /// Watches `path` for a program that runs the processor itself, in a loop of its own: see
    /// [`EventProcessor::turn`]. Blocks until the model is complete.
    ///
    /// # Errors
    /// As [`WatchManager::create_watch`](crate::watch::WatchManager::create_watch).
    pub fn new(
        path: &Path,
        options: &WatchOptions,
        source: &SourceFactory,
    ) -> Result<Self, WatchError> {
        options.check()?;
        let mut own = Self::assemble(check_path(path)?, options, source)?;
        let subscriber = Arc::new(Subscriber::new(Arc::clone(&own.shared.metrics)));
        own.shared.subscribers().push(Arc::clone(&subscriber));
        own.own = Some(subscriber);
        own.begin();
        own.shared.check_memory(options.memory_bytes_max)?;
        Ok(own)
    }

    /// Takes in what has happened and does what is due, until a change set is ready or `timeout`
    /// is over; on the calling thread. Nothing is looked at between two calls: hints wait in the
    /// queue, bounded as the options say.
    #[must_use = "a set is given out once"]
    pub fn turn(&mut self, timeout: Duration) -> Option<ChangeSet> {
        let until = Instant::now() + timeout;
        loop {
            let ready = self.own.as_ref()?.next(Duration::ZERO);
            if let Some(set) = ready.ok().flatten() {
                return Some(Arc::unwrap_or_clone(set));
            }
            let now = Instant::now();
            if now >= until {
                return None;
            }
            let due = self.deadline().map_or(until, |due| due.min(until));
            let queue = Arc::clone(&self.shared.queue);
            let wait = due.saturating_duration_since(now);
            self.step(queue.take(Some(wait), self.options.batch_size));
        }
    }

    /// Takes the warnings since the last time, oldest first. At most 1,000 are kept.
    #[must_use]
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        let own = self.own.as_ref();
        own.map_or_else(Vec::new, |own| own.take_warnings())
    }

    /// The model, as of the last turn.
    pub fn model(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree()
    }

    /// How its queue is doing.
    #[must_use]
    pub fn queue_stats(&self) -> QueueStats {
        self.shared.queue.stats()
    }

    /// Makes everything that a watch of `root` needs; looks at nothing yet.
    pub(crate) fn assemble(
        root: PathBuf,
        options: &WatchOptions,
        source: &SourceFactory,
    ) -> Result<Self, CreationError> {
        let started = Instant::now();
        let queue = EventQueue::new(&root, options.queue_capacity, options.overflow);
        let shared = Arc::new(Shared {
            root,
            tree: RwLock::new(Tree::new()),
            queue: Arc::new(queue),
            metrics: Arc::new(WatchMetrics::new()),
            subscribers: Mutex::default(),
            early: Mutex::default(),
            state: Mutex::new(WatchState::Ready),
            started,
        });
        let resource = |what| move |source| CreationError::Resource { what, source };
        let recorder = options
            .record
            .as_ref()
            .map(|path| Recorder::create(path, started))
            .transpose()
            .map_err(resource("the recording"))?;
        let cookies = Cookies::new(options.cookie_dir.as_deref())
            .map_err(resource("the directory for marks"))?;
        let sink: Arc<dyn HintSink> = Arc::<EventQueue<Command>>::clone(&shared.queue);
        Ok(Self {
            source: source(sink),
            ignored: Ignored::load(
                &shared.root,
                options.gitignore,
                &options.excluded_names,
                options.global_excludes.as_deref(),
            ),
            select: Select::new(options.select.as_ref()),
            former: None,
            levels: HashMap::new(),
            spared: HashSet::new(),
            unreadable: BTreeMap::new(),
            poll: PollWatcher::new(options.poll_interval),
            notices: PollNotices::default(),
            budget: Budget::new(options.poll_interval),
            debouncer: Debouncer::new(options.debounce, options.debounce_max),
            cookies: Some(cookies),
            stranded: Vec::new(),
            repos: Vec::new(),
            repos_changed: false,
            identity: None,
            // Without it, a mount over a directory is seen with the next set or `sync`.
            mount_watcher: MountWatcher::start(Arc::<EventQueue<Command>>::clone(&shared.queue))
                .ok(),
            mounts: Mounts::around(&shared.root),
            file_systems: HashMap::new(),
            last_id: 0,
            outside: Outside::new(options.poll_interval),
            missed: Vec::new(),
            recovery: Recovery::new(options.poll_interval),
            warned_lock: false,
            warned_memory: false,
            recorder,
            first_pending: None,
            options: options.clone(),
            own: None,
            shared,
        })
    }
}

impl Shared {
    /// Refuses a tree that is over the limit from the start.
    pub(crate) fn check_memory(&self, limit_bytes: usize) -> Result<(), SystemError> {
        let tree = self.tree.read();
        let needed_bytes = tree.unwrap_or_else(PoisonError::into_inner).memory_bytes();
        if needed_bytes <= limit_bytes {
            return Ok(());
        }
        Err(SystemError::memory(needed_bytes, limit_bytes))
    }
}

/// The directory at `path`, absolute and without links.
pub(crate) fn check_path(path: &Path) -> Result<PathBuf, CreationError> {
    let at = |source: io::Error| CreationError::Path {
        path: path.to_path_buf(),
        source,
    };
    let root = path.canonicalize().map_err(at)?;
    if !root.is_dir() {
        return Err(CreationError::NotADirectory {
            path: path.to_path_buf(),
        });
    }
    std::fs::read_dir(&root).map_err(at)?;
    Ok(root)
}
