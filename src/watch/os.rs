//! The system's file watcher, by way of notify: [`OsWatcher`].
//!
//! The one place that names the crate `notify`. One watch a directory, never recursive, with a
//! kernel mask that leaves out reads; spread over shards, because removing a watch costs notify
//! time in proportion to the watches beside it. What notify believes to be watched may be stale
//! (a directory removed and made again, a rename, a lost event): a path that was ever watched is
//! therefore unwatched before it is watched again. What surrounds the tree has shards of its own:
//! there only what is asked for wakes anybody. See `docs/design/watch.md`.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, Flag, ModifyKind, RemoveKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKind, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode,
    WatchPathConfig, Watcher,
};

use crate::watch::pace::Pace;
use crate::watch::source::{AddProblem, Hint, HintKind, HintSink, Interest, RawSource};

/// How many shards the tree gets at most: each is a thread and one of the user's few instances.
const SHARDS_MAX: usize = 32;
/// How many watches a shard takes before the next one is opened.
const SHARD_WATCHES: usize = 320;

/// How long we wait to be told of what we did: it is told at once, or never.
const TELLING_TIME: Duration = Duration::from_secs(1);

/// Watches directories through the system: inotify, by way of notify. Each shard has a thread of
/// its own that calls the sink.
pub struct OsWatcher {
    sink: Arc<dyn HintSink>,
    shard_size: usize,
    /// Those that tell of marks.
    shards: Vec<Shard>,
    /// Watches for [`Interest::Place`]; its mask leaves out what would tell of a mark.
    places: Option<RecommendedWatcher>,
    /// Where each directory around the tree is watched.
    around: Vec<(PathBuf, Home)>,
    /// Every path ever watched since the last restart, by hash, and its shard.
    homes: HashMap<u64, u8>,
    hasher: RandomState,
    marks: Option<PathBuf>,
    /// Which restart the living shards belong to; what older ones still say is void.
    epoch: Arc<AtomicU64>,
    /// Why no further shard can be opened.
    full: Option<AddProblem>,
}

struct Shard {
    watcher: RecommendedWatcher,
    scope: Scope,
    n_added: usize,
}

/// What a shard watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Tree,
    Around(Interest),
}

#[derive(Clone, Copy, Debug)]
enum Home {
    Places,
    Shard(usize),
}

impl Scope {
    fn mask(self) -> EventKindMask {
        let places = EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
        match self {
            Self::Tree => EventKindMask::CORE | EventKindMask::ACCESS_CLOSE,
            Self::Around(Interest::Place) => places,
            Self::Around(Interest::Names) => places | EventKindMask::CREATE,
            Self::Around(Interest::Files) => {
                places | EventKindMask::CREATE | EventKindMask::ACCESS_CLOSE
            }
        }
    }
}

impl fmt::Debug for OsWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsWatcher")
            .field("shards", &self.shards.len())
            .field("watches", &self.homes.len())
            .finish_non_exhaustive()
    }
}

impl OsWatcher {
    /// Watches nothing yet. Hints go to `sink`, from the watcher's own threads.
    #[must_use]
    pub fn new(sink: Arc<dyn HintSink>) -> Self {
        Self::with_shard_size(sink, SHARD_WATCHES)
    }

    /// As [`OsWatcher::new`], with another number of watches after which a further shard is
    /// opened, up to 32 of them.
    #[must_use]
    pub fn with_shard_size(sink: Arc<dyn HintSink>, watches: usize) -> Self {
        Self {
            sink,
            shard_size: watches,
            shards: Vec::new(),
            places: None,
            around: Vec::new(),
            homes: HashMap::new(),
            hasher: RandomState::new(),
            marks: None,
            epoch: Arc::default(),
            full: None,
        }
    }

    /// The shard for a path of the tree that was never watched, opening one if they are all full.
    fn place(&mut self) -> Result<usize, AddProblem> {
        let trees = self.shards.iter().enumerate();
        let trees = trees.filter(|(_, shard)| shard.scope == Scope::Tree);
        let (n_open, newest) = trees.fold((0, None), |(n, _), (at, _)| (n + 1, Some(at)));
        if let Some(newest) = newest.filter(|&at| self.shards[at].n_added < self.shard_size) {
            return Ok(newest);
        }
        if n_open < SHARDS_MAX && self.full.is_none() {
            match self.open_shard(Scope::Tree) {
                Ok(at) => return Ok(at),
                Err(problem) => self.full = Some(problem),
            }
        }
        let all = 0..self.shards.len();
        let trees = all.filter(|&at| self.shards[at].scope == Scope::Tree);
        let least = trees.min_by_key(|&at| self.shards[at].n_added);
        least.ok_or_else(|| {
            let problem = self.full.take();
            problem.unwrap_or(AddProblem::InstanceLimit)
        })
    }

    fn open_shard(&mut self, scope: Scope) -> Result<usize, AddProblem> {
        let shard = self.shards.len();
        let mut watcher = self.open_watcher(shard, scope)?;
        if let Some(marks) = &self.marks {
            // Without them nobody could tell when the shard's events have all been taken in.
            let added = watcher.update_paths(vec![watch_op(marks)]);
            added.map_err(|error| problem(&error.source.kind))?;
        }
        self.shards.push(Shard {
            watcher,
            scope,
            n_added: 0,
        });
        Ok(shard)
    }

    fn open_watcher(&self, shard: usize, scope: Scope) -> Result<RecommendedWatcher, AddProblem> {
        let sink = Arc::clone(&self.sink);
        let config = Config::default()
            .with_event_kinds(scope.mask())
            .with_follow_symlinks(false);
        let current = Arc::clone(&self.epoch);
        let own = current.load(Ordering::SeqCst);
        let mut pace = Pace::new(Instant::now());
        let handler = move |event: notify::Result<Event>| {
            if current.load(Ordering::SeqCst) != own {
                return;
            }
            forward(&*sink, shard, event);
            if let Some(rest) = pace.rest(Instant::now()) {
                std::thread::sleep(rest);
                pace.rested(Instant::now());
            }
        };
        RecommendedWatcher::new(handler, config).map_err(|e| problem(&e.kind))
    }

    /// Where to watch a directory around the tree. Where no instance is left for that, with the
    /// tree: more is told then than is asked.
    fn home_around(&mut self, interest: Interest) -> Result<Home, AddProblem> {
        let scope = Scope::Around(interest);
        let home = match interest {
            Interest::Place if self.places.is_some() => Ok(Home::Places),
            Interest::Place => self.open_watcher(usize::MAX, scope).map(|watcher| {
                self.places = Some(watcher);
                Home::Places
            }),
            Interest::Names | Interest::Files => {
                let known = self.shards.iter().position(|shard| shard.scope == scope);
                known
                    .map_or_else(|| self.open_shard(scope), Ok)
                    .map(Home::Shard)
            }
        };
        home.or_else(|problem| {
            let tree = self.shards.iter().position(|s| s.scope == Scope::Tree);
            tree.map(Home::Shard).ok_or(problem)
        })
    }

    fn watcher_at(&mut self, home: Home) -> Option<&mut RecommendedWatcher> {
        match home {
            Home::Places => self.places.as_mut(),
            Home::Shard(at) => self.shards.get_mut(at).map(|shard| &mut shard.watcher),
        }
    }

    fn hash(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path)
    }
}

impl RawSource for OsWatcher {
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Vec<(PathBuf, AddProblem)> {
        let mut refused = Vec::new();
        let mut batches: Vec<Vec<PathOp>> = Vec::new();
        for dir in dirs {
            let key = self.hash(&dir);
            let shard = match self.homes.get(&key) {
                Some(&shard) => {
                    let shard = usize::from(shard);
                    // Not found: the shard has noticed by itself that it was gone.
                    drop(self.shards[shard].watcher.unwatch(&dir));
                    shard
                }
                None => match self.place() {
                    Ok(shard) => {
                        self.shards[shard].n_added += 1;
                        shard
                    }
                    Err(problem) => {
                        refused.push((dir, problem));
                        continue;
                    }
                },
            };
            let home = u8::try_from(shard).expect("there are few shards");
            self.homes.insert(key, home);
            if batches.len() <= shard {
                batches.resize_with(shard + 1, Vec::new);
            }
            batches[shard].push(watch_op(&dir));
        }
        for (shard, ops) in batches.into_iter().enumerate() {
            add_all(&mut self.shards[shard].watcher, ops, &mut refused);
        }
        for (dir, _) in &refused {
            let key = self.hash(dir);
            if let Some(shard) = self.homes.remove(&key) {
                let shard = &mut self.shards[usize::from(shard)];
                shard.n_added = shard.n_added.saturating_sub(1);
            }
        }
        refused
    }

    fn watch_around(&mut self, dirs: Vec<(PathBuf, Interest)>) -> Vec<(PathBuf, AddProblem)> {
        for (dir, home) in std::mem::take(&mut self.around) {
            if let Some(watcher) = self.watcher_at(home) {
                // Not found: the shard has noticed by itself that it was gone.
                drop(watcher.unwatch(&dir));
            }
        }
        let mut refused = Vec::new();
        for (dir, interest) in dirs {
            match self.home_around(interest) {
                Ok(home) => {
                    let before = refused.len();
                    if let Some(watcher) = self.watcher_at(home) {
                        add_all(watcher, vec![watch_op(&dir)], &mut refused);
                    }
                    if refused.len() == before {
                        self.around.push((dir, home));
                    }
                }
                Err(problem) => refused.push((dir, problem)),
            }
        }
        refused
    }

    fn unwatch(&mut self, dirs: &[PathBuf]) {
        for dir in dirs {
            let key = self.hash(dir);
            if let Some(shard) = self.homes.remove(&key) {
                let shard = &mut self.shards[usize::from(shard)];
                shard.n_added = shard.n_added.saturating_sub(1);
                // Not found: the shard has noticed by itself.
                drop(shard.watcher.unwatch(dir));
            }
        }
    }

    fn watch_in_every_shard(&mut self, dir: &Path) -> usize {
        if self.marks.as_deref() != Some(dir) {
            self.marks = Some(dir.to_path_buf());
            for shard in &mut self.shards {
                drop(shard.watcher.update_paths(vec![watch_op(dir)]));
            }
        }
        self.full = None;
        if self.shards.is_empty() {
            self.full = self.open_shard(Scope::Tree).err();
        }
        self.shards.len()
    }

    fn tells_of(&mut self, dir: &Path) -> bool {
        tells_of(dir).is_some()
    }

    fn restart(&mut self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.shards.clear();
        self.places = None;
        self.around.clear();
        self.homes.clear();
        self.full = None;
    }

    fn n_watches(&self) -> usize {
        self.homes.len() + self.around.len()
    }
}

/// Opens `dir`, which needs no right to write and leaves no trace, and waits to be told of it.
fn tells_of(dir: &Path) -> Option<()> {
    let config = Config::default()
        .with_event_kinds(EventKindMask::ACCESS_OPEN)
        .with_follow_symlinks(false);
    let (tx, rx) = mpsc::channel();
    // Events after the first are of no interest to anybody.
    let handler = move |event: notify::Result<Event>| drop(event.map(|_| tx.send(())));
    let mut watcher = RecommendedWatcher::new(handler, config).ok()?;
    watcher.update_paths(vec![watch_op(dir)]).ok()?;
    drop(File::open(dir).ok()?);
    rx.recv_timeout(TELLING_TIME).ok()
}

fn watch_op(path: &Path) -> PathOp {
    let config = WatchPathConfig::new(RecursiveMode::NonRecursive);
    PathOp::Watch(path.to_path_buf(), config.with_dereference_symlinks(false))
}

/// Adds in one message; after a refusal, goes on with the rest.
fn add_all(
    watcher: &mut RecommendedWatcher,
    mut ops: Vec<PathOp>,
    refused: &mut Vec<(PathBuf, AddProblem)>,
) {
    while !ops.is_empty() {
        let Err(error) = watcher.update_paths(ops) else {
            return;
        };
        let problem = problem(&error.source.kind);
        let no_more = problem == AddProblem::WatchLimit;
        refused.extend(error.origin.map(|op| (op.into_path(), problem.clone())));
        ops = error.remaining;
        if no_more {
            let rest = ops.drain(..).map(|op| (op.into_path(), problem.clone()));
            refused.extend(rest);
        }
    }
}

fn problem(kind: &ErrorKind) -> AddProblem {
    match kind {
        ErrorKind::PathNotFound => AddProblem::Gone,
        ErrorKind::MaxFilesWatch => AddProblem::WatchLimit,
        ErrorKind::Io(error) => io_problem(error),
        ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            AddProblem::Other(format!("{kind:?}"))
        }
    }
}

fn io_problem(error: &io::Error) -> AddProblem {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => AddProblem::InstanceLimit,
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            AddProblem::Gone
        }
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            AddProblem::Denied(error.to_string())
        }
        _ => AddProblem::Other(error.to_string()),
    }
}

/// Runs on a shard's own thread: must not block, look at files or call the watcher.
fn forward(sink: &dyn HintSink, shard: usize, event: notify::Result<Event>) {
    let event = match event {
        Ok(event) => event,
        Err(error) => return sink.hint(shard, Hint::Failed(error.to_string())),
    };
    if event.flag() == Some(Flag::Rescan) {
        return sink.hint(shard, Hint::Lost);
    }
    let kind = match event.kind {
        EventKind::Create(
            CreateKind::Any | CreateKind::File | CreateKind::Folder | CreateKind::Other,
        ) => HintKind::Created,
        EventKind::Remove(
            RemoveKind::Any | RemoveKind::File | RemoveKind::Folder | RemoveKind::Other,
        ) => HintKind::Removed,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => HintKind::MovedFrom,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => HintKind::MovedTo,
        EventKind::Modify(ModifyKind::Data(_)) => HintKind::Written,
        EventKind::Modify(ModifyKind::Metadata(_)) => HintKind::Metadata,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => HintKind::Closed,
        // `Both` repeats the two before it.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => return,
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => HintKind::Unknown,
    };
    for path in event.paths {
        sink.hint(shard, Hint::Path { path, kind });
    }
}
