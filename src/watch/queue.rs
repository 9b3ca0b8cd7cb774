//! What waits to be looked at: [`EventQueue`], bounded, coalescing, structure before content.
//!
//! One record a path, however many hints there were. When there are too many paths, the policy
//! of the watch decides; truth is coarsened, never lost. Also carries marks (for `sync`) and
//! commands, so that the processor waits at one place only.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::watch::options::OverflowPolicy;
use crate::watch::source::{Hint, HintKind, HintSink};

/// What was hinted of one path since it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of flags")]
pub struct Seen {
    /// A name may have appeared, vanished or come to mean something else.
    pub structural: bool,
    /// It was renamed away.
    pub moved_from: bool,
    /// Something was renamed to it.
    pub moved_to: bool,
    /// It was removed.
    pub removed: bool,
    /// It was created.
    pub created: bool,
    /// It was written.
    pub written: bool,
    /// Somebody who could write it has closed it.
    pub closed: bool,
    /// Written since it was last closed.
    pub open: bool,
    /// Stands for everything in this directory, too.
    pub whole: bool,
}

impl Seen {
    fn add(&mut self, kind: HintKind) {
        self.structural |= kind.is_structural();
        match kind {
            HintKind::Created => self.created = true,
            HintKind::Removed => self.removed = true,
            HintKind::MovedFrom => self.moved_from = true,
            HintKind::MovedTo => self.moved_to = true,
            HintKind::Written => (self.written, self.open) = (true, true),
            HintKind::Closed => (self.closed, self.open) = (true, false),
            HintKind::Metadata | HintKind::Unknown => {}
        }
    }
}

/// A mark that came back through one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which.
    pub shard: usize,
    /// The mark's file.
    pub path: PathBuf,
}

/// What the processor takes from the queue in one go.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent conditions")]
pub struct Batch<C> {
    /// Each at most once, absolute; those whose names may have changed come first.
    pub paths: Vec<(Arc<Path>, Seen)>,
    /// Every hint that came before these has been taken.
    pub marks: Vec<Mark>,
    /// In the order they were sent.
    pub commands: Vec<C>,
    /// The source lost events: fresh watches are needed.
    pub lost: bool,
    /// The queue gave up on single paths: everything must be compared with the disk.
    pub everything: bool,
    /// Single hints were given up, by whatever way.
    pub gap: bool,
    /// The table of mounts has changed.
    pub mounts: bool,
    /// What the source said of its own failures, at most 100.
    pub failures: Vec<String>,
}

/// How a queue is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueStats {
    /// Paths waiting.
    pub depth: usize,
    /// The most that ever waited.
    pub high_water: usize,
    /// How many may wait.
    pub capacity: usize,
    /// Hints taken in.
    pub hints: u64,
    /// Hints that joined a path already waiting.
    pub coalesced: u64,
    /// How often the queue was full.
    pub overflows: u64,
    /// Paths that were coarsened to their directory or the root.
    pub collapsed: u64,
    /// Hints dropped under [`OverflowPolicy::Drop`].
    pub dropped: u64,
}

/// The queue between a source's threads, which call it as a [`HintSink`], and the one that takes
/// batches out of it. Commands of type `C` travel with it, past every path.
///
/// ```
/// # use std::{path::{Path, PathBuf}, time::Duration};
/// use watchrun::watch::{EventQueue, Hint, HintKind, HintSink, OverflowPolicy};
///
/// let queue: EventQueue<()> = EventQueue::new(Path::new("/r"), 10_000, OverflowPolicy::Collapse);
/// let path = PathBuf::from("/r/a");
/// queue.hint(0, Hint::Path { path, kind: HintKind::Written });
/// let batch = queue.take(Some(Duration::ZERO), 100);
/// assert_eq!((batch.paths.len(), batch.gap), (1, false));
/// assert_eq!(queue.stats().hints, 1);
/// ```
#[derive(Debug)]
pub struct EventQueue<C> {
    // Guards everything that waits. Leaf lock; held for one push, one collapse or one take, never
    // across I/O. A source's thread may wait on `room` under the policy `Block`.
    state: Mutex<State<C>>,
    ready: Condvar,
    room: Condvar,
    root: PathBuf,
    policy: OverflowPolicy,
    capacity: usize,
    hints: AtomicU64,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent conditions")]
struct State<C> {
    paths: HashMap<Arc<Path>, Waiting>,
    structure: VecDeque<(u64, Arc<Path>)>,
    content: VecDeque<(u64, Arc<Path>)>,
    marks: VecDeque<(u64, Mark)>,
    commands: VecDeque<C>,
    /// Paths outside the root that are of interest.
    outside: HashSet<PathBuf>,
    marks_dir: Option<PathBuf>,
    next: u64,
    lost: bool,
    everything: bool,
    gap: bool,
    mounts: bool,
    failures: Vec<String>,
    /// The processor is waiting for the source: its thread must not be held up.
    open_gate: bool,
    closed: bool,
    stats: QueueStats,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Its place in its lane.
    number: u64,
    /// When its first hint came.
    first: u64,
    seen: Seen,
}

impl<C> EventQueue<C> {
    /// Takes paths at or below `root`, at most `capacity` of them at once; then `policy` decides.
    #[must_use]
    pub fn new(root: &Path, capacity: usize, policy: OverflowPolicy) -> Self {
        Self {
            state: Mutex::new(State {
                paths: HashMap::new(),
                structure: VecDeque::new(),
                content: VecDeque::new(),
                marks: VecDeque::new(),
                commands: VecDeque::new(),
                outside: HashSet::new(),
                marks_dir: None,
                next: 0,
                lost: false,
                everything: false,
                gap: false,
                mounts: false,
                failures: Vec::new(),
                open_gate: false,
                closed: false,
                stats: QueueStats {
                    capacity,
                    ..QueueStats::default()
                },
            }),
            ready: Condvar::new(),
            room: Condvar::new(),
            root: root.to_path_buf(),
            policy,
            capacity,
            hints: AtomicU64::new(0),
        }
    }

    /// Sets which paths outside the root count, and where marks are made.
    pub fn set_outside(&self, outside: HashSet<PathBuf>, marks_dir: Option<PathBuf>) {
        let mut state = self.lock();
        state.outside = outside;
        state.marks_dir = marks_dir;
    }

    /// Hands over a command. Does not block.
    ///
    /// # Errors
    /// The command, once the queue is closed.
    pub fn send(&self, command: C) -> Result<(), C> {
        let mut state = self.lock();
        if state.closed {
            return Err(command);
        }
        state.commands.push_back(command);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits until there is something, or for `timeout` (`None`: for ever); takes at most `max`
    /// paths, and everything else that waits.
    pub fn take(&self, timeout: Option<Duration>, max: usize) -> Batch<C> {
        let state = self.lock();
        let idle = |state: &mut State<C>| state.is_idle();
        let mut state = if let Some(timeout) = timeout {
            let waited = self.ready.wait_timeout_while(state, timeout, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let waited = self.ready.wait_while(state, idle);
            waited.unwrap_or_else(PoisonError::into_inner)
        };
        let batch = state.take(max);
        drop(state);
        self.room.notify_all();
        batch
    }

    /// How many paths wait; `None` when something else does, too.
    pub fn only_paths(&self) -> Option<usize> {
        let state = self.lock();
        state.has_only_paths().then_some(state.paths.len())
    }

    /// While `open`, nobody is held up by a full queue: the processor waits for the source.
    pub fn set_open_gate(&self, open: bool) {
        self.lock().open_gate = open;
        self.room.notify_all();
    }

    /// Forgets every waiting hint: everything is about to be looked at. Returns whether one of them
    /// was that events were lost.
    pub fn clear_paths(&self) -> bool {
        let mut state = self.lock();
        state.paths.clear();
        state.structure.clear();
        state.content.clear();
        state.marks.clear();
        state.everything = false;
        let lost = std::mem::take(&mut state.lost);
        drop(state);
        self.room.notify_all();
        lost
    }

    /// Lets nobody in any more; returns the commands that were not taken.
    pub fn close(&self) -> Vec<C> {
        let mut state = self.lock();
        state.closed = true;
        let left = state.commands.drain(..).collect();
        drop(state);
        self.room.notify_all();
        left
    }

    /// How it is doing.
    pub fn stats(&self) -> QueueStats {
        let mut stats = self.lock().stats;
        stats.hints = self.hints.load(Ordering::Relaxed);
        stats
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, shard: usize, path: PathBuf, kind: HintKind) {
        let inside = path.starts_with(&self.root);
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if !inside {
            if state
                .marks_dir
                .as_deref()
                .is_some_and(|dir| path.parent() == Some(dir))
            {
                if kind == HintKind::Created {
                    state.next += 1;
                    let number = state.next;
                    state.marks.push_back((number, Mark { shard, path }));
                    self.ready.notify_one();
                }
                return;
            }
            if !state.outside.contains(&path) {
                return;
            }
        }
        let path: Arc<Path> = path.into();
        let is_new = !state.paths.contains_key(&path);
        if is_new && state.paths.len() >= self.capacity {
            state = match self.make_room(state, kind) {
                Some(state) => state,
                None => return,
            };
            if state.everything && inside && self.policy == OverflowPolicy::Collapse {
                return self.ready.notify_one();
            }
        }
        state.add(path, kind);
        self.ready.notify_one();
    }

    /// Applies the policy to a full queue; `None` when the hint is to be dropped.
    fn make_room<'q>(
        &'q self,
        mut state: MutexGuard<'q, State<C>>,
        kind: HintKind,
    ) -> Option<MutexGuard<'q, State<C>>> {
        state.stats.overflows += 1;
        match self.policy {
            OverflowPolicy::Collapse => {
                state.collapse(&self.root, self.capacity);
                Some(state)
            }
            OverflowPolicy::Block => {
                self.ready.notify_one();
                let waited = self.room.wait_while(state, |state| {
                    state.paths.len() >= self.capacity && !state.open_gate && !state.closed
                });
                let state = waited.unwrap_or_else(PoisonError::into_inner);
                (!state.closed).then_some(state)
            }
            OverflowPolicy::Drop => {
                state.stats.dropped += 1;
                // A directory that nobody looks at would be blind: structure always counts.
                if kind.is_structural() {
                    return Some(state);
                }
                state.gap = true;
                state.everything = true;
                self.ready.notify_one();
                None
            }
        }
    }
}

impl<C: Send> HintSink for EventQueue<C> {
    fn hint(&self, shard: usize, hint: Hint) {
        self.hints.fetch_add(1, Ordering::Relaxed);
        match hint {
            Hint::Path { path, kind } => self.take_in(shard, path, kind),
            Hint::Lost => {
                self.lock().lost = true;
                self.ready.notify_one();
            }
            Hint::Mounts => {
                self.lock().mounts = true;
                self.ready.notify_one();
            }
            Hint::Failed(text) => {
                let mut state = self.lock();
                if state.failures.len() < 100 {
                    state.failures.push(text);
                }
                self.ready.notify_one();
            }
        }
    }
}

impl<C> State<C> {
    fn is_idle(&self) -> bool {
        self.paths.is_empty() && self.has_only_paths()
    }

    fn has_only_paths(&self) -> bool {
        self.marks.is_empty()
            && self.commands.is_empty()
            && self.failures.is_empty()
            && !(self.lost || self.everything || self.mounts || self.closed)
    }

    fn add(&mut self, path: Arc<Path>, kind: HintKind) {
        self.next += 1;
        let number = self.next;
        let structural = kind.is_structural();
        if let Some(waiting) = self.paths.get_mut(&path) {
            self.stats.coalesced += 1;
            // Moves up to the other lane; the old place is skipped later.
            if structural && !waiting.seen.structural {
                waiting.number = number;
                self.structure.push_back((number, path));
            }
            waiting.seen.add(kind);
        } else {
            let mut seen = Seen::default();
            seen.add(kind);
            self.insert(path, seen, (number, number));
        }
    }

    fn insert(&mut self, path: Arc<Path>, seen: Seen, (number, first): (u64, u64)) {
        let lane = if seen.structural {
            &mut self.structure
        } else {
            &mut self.content
        };
        lane.push_back((number, Arc::clone(&path)));
        let waiting = Waiting {
            number,
            first,
            seen,
        };
        self.paths.insert(path, waiting);
        self.stats.depth = self.paths.len();
        self.stats.high_water = self.stats.high_water.max(self.paths.len());
    }

    fn take(&mut self, max: usize) -> Batch<C> {
        let everything = std::mem::take(&mut self.everything);
        let mut paths = Vec::new();
        while paths.len() < max {
            let Some((number, path)) = self
                .structure
                .pop_front()
                .or_else(|| self.content.pop_front())
            else {
                break;
            };
            let current = self.paths.get(&path).is_some_and(|w| w.number == number);
            if current && let Some(waiting) = self.paths.remove(&path) {
                paths.push((path, waiting.seen));
            }
        }
        self.stats.depth = self.paths.len();
        // Invariant: a mark goes out in or after the batch with the last hint before it.
        let mut marks = Vec::new();
        if !self.marks.is_empty() {
            let oldest = self.paths.values().map(|waiting| waiting.first).min();
            while let Some((number, _)) = self.marks.front()
                && oldest.is_none_or(|oldest| *number < oldest)
            {
                marks.extend(self.marks.pop_front().map(|(_, mark)| mark));
            }
        }
        Batch {
            paths,
            marks,
            commands: self.commands.drain(..).collect(),
            lost: std::mem::take(&mut self.lost),
            everything,
            gap: std::mem::take(&mut self.gap),
            mounts: std::mem::take(&mut self.mounts),
            failures: std::mem::take(&mut self.failures),
        }
    }

    /// Paths become their directories; when those are too many as well, everything.
    fn collapse(&mut self, root: &Path, capacity: usize) {
        self.gap = true;
        let mut dirs: HashMap<Arc<Path>, Waiting> = HashMap::new();
        let mut kept = Vec::new();
        let mut waiting: Vec<_> = std::mem::take(&mut self.paths).into_iter().collect();
        waiting.sort_unstable_by_key(|(_, waiting)| waiting.first);
        for (path, waiting) in waiting {
            let parent = path.parent().filter(|dir| dir.starts_with(root));
            let Some(parent) = parent else {
                kept.push((path, waiting));
                continue;
            };
            self.stats.collapsed += 1;
            let dir = dirs.entry(parent.into()).or_insert(Waiting {
                number: waiting.first,
                first: waiting.first,
                seen: Seen::default(),
            });
            dir.first = dir.first.min(waiting.first);
            dir.number = dir.first;
            dir.seen.whole = true;
            dir.seen.structural |= waiting.seen.structural;
        }
        self.structure.clear();
        self.content.clear();
        if dirs.len() + kept.len() > capacity / 2 {
            self.everything = true;
            dirs.clear();
        }
        let mut all: Vec<_> = kept.into_iter().chain(dirs).collect();
        all.sort_unstable_by_key(|(_, waiting)| waiting.number);
        for (path, waiting) in all {
            self.insert(path, waiting.seen, (waiting.number, waiting.first));
        }
        self.stats.depth = self.paths.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: usize, policy: OverflowPolicy) -> EventQueue<()> {
        EventQueue::new(Path::new("/r"), capacity, policy)
    }

    fn hint(queue: &EventQueue<()>, path: &str, kind: HintKind) {
        let path = PathBuf::from(path);
        queue.hint(0, Hint::Path { path, kind });
    }

    fn taken(queue: &EventQueue<()>) -> (Vec<String>, Batch<()>) {
        let batch = queue.take(Some(Duration::ZERO), 100);
        let paths = batch.paths.iter();
        (paths.map(|(p, _)| p.display().to_string()).collect(), batch)
    }

    #[test]
    fn structure_comes_before_content_and_a_path_comes_once() {
        let queue = queue(10, OverflowPolicy::Collapse);
        hint(&queue, "/r/a", HintKind::Written);
        hint(&queue, "/r/b", HintKind::Closed);
        hint(&queue, "/r/d", HintKind::Created);
        hint(&queue, "/r/a", HintKind::Removed);
        hint(&queue, "/elsewhere", HintKind::Created);
        let (paths, batch) = taken(&queue);
        assert_eq!(paths, ["/r/d", "/r/a", "/r/b"]);
        assert!(batch.paths[1].1.written && batch.paths[1].1.removed);
        assert_eq!(taken(&queue).0, [""; 0]);
    }

    #[test]
    fn closing_after_writing_settles_a_path() {
        let queue = queue(10, OverflowPolicy::Collapse);
        hint(&queue, "/r/a", HintKind::Written);
        hint(&queue, "/r/a", HintKind::Closed);
        hint(&queue, "/r/b", HintKind::Closed);
        hint(&queue, "/r/b", HintKind::Written);
        let (_, batch) = taken(&queue);
        assert_eq!(
            batch.paths.iter().map(|p| p.1.open).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn a_mark_waits_for_every_hint_before_it() {
        let queue = queue(10, OverflowPolicy::Collapse);
        queue.set_outside(HashSet::new(), Some("/marks".into()));
        hint(&queue, "/r/a", HintKind::Written);
        hint(&queue, "/r/b", HintKind::Written);
        hint(&queue, "/marks/1", HintKind::Created);
        hint(&queue, "/r/d", HintKind::Created);
        hint(&queue, "/r/a", HintKind::Removed);
        let first = queue.take(Some(Duration::ZERO), 2);
        assert!(first.marks.is_empty(), "{first:?}");
        let second = queue.take(Some(Duration::ZERO), 2);
        assert_eq!(second.marks.len(), 1, "{second:?}");
    }

    #[test]
    fn a_full_queue_collapses_to_directories_and_then_to_everything() {
        let queue = queue(8, OverflowPolicy::Collapse);
        for n in 0..9 {
            hint(&queue, &format!("/r/d{}/f{n}", n % 2), HintKind::Written);
        }
        let (mut paths, batch) = taken(&queue);
        paths.sort();
        assert_eq!(paths, ["/r/d0", "/r/d0/f8", "/r/d1"]);
        assert!(batch.gap && !batch.everything);
        for n in 0..9 {
            hint(&queue, &format!("/r/d{n}/f"), HintKind::Written);
        }
        let (paths, batch) = taken(&queue);
        assert!(
            batch.everything && batch.gap && paths.is_empty(),
            "{paths:?}"
        );
        assert_eq!(queue.stats().collapsed, 8 + 8);
    }

    #[test]
    fn dropping_is_counted_and_marked_and_never_drops_structure() {
        let queue = queue(2, OverflowPolicy::Drop);
        for n in 0..5 {
            hint(&queue, &format!("/r/f{n}"), HintKind::Written);
        }
        hint(&queue, "/r/d", HintKind::Created);
        let (paths, batch) = taken(&queue);
        assert_eq!(paths, ["/r/d", "/r/f0", "/r/f1"]);
        assert!(batch.gap && batch.everything);
        assert_eq!(queue.stats().dropped, 4);
    }

    #[test]
    fn blocking_holds_the_source_until_there_is_room() {
        let queue = Arc::new(queue(1, OverflowPolicy::Block));
        hint(&queue, "/r/a", HintKind::Written);
        let other = Arc::clone(&queue);
        let writer = std::thread::spawn(move || hint(&other, "/r/b", HintKind::Written));
        let mut all = Vec::new();
        while all.len() < 2 {
            let batch = queue.take(None, 1);
            all.extend(
                batch
                    .paths
                    .into_iter()
                    .map(|(p, _)| p.display().to_string()),
            );
        }
        writer.join().unwrap();
        assert_eq!(all, ["/r/a", "/r/b"]);
        assert_eq!(queue.stats().high_water, 1);
    }
}
