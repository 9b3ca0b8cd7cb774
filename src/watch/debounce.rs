//! When changes are a change set: [`Debouncer`], a pure state machine; the clock is an argument.
//!
//! Keeps what each path was when it was last reported and what it is now; what kind of change
//! that is gets decided only when the set is made, so that no order of events can confuse it.
//! Knows nothing of files or threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::change::{Change, ChangeKind, ChangeSet, FileType};
use crate::disk::FileStat;
use crate::path::RelPath;

/// For how long changes are held back because git is at work.
pub const LOCK_HELD_MAX: Duration = Duration::from_secs(10);

/// One look at a path that found it different from the look before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which path.
    pub path: RelPath,
    /// What it was; `None` if it was not there.
    pub before: Option<FileStat>,
    /// What it is; `None` if it is not there.
    pub after: Option<FileStat>,
    /// It was certainly written, even if it looks the same.
    pub written: bool,
    /// A rename was reported to have brought it here or taken it away.
    pub moved: bool,
}

/// Gathers observations into change sets.
#[derive(Debug)]
pub struct Debouncer {
    quiet: Duration,
    longest: Duration,
    pending: BTreeMap<RelPath, Pending>,
    /// Paths of `pending` that someone is still writing.
    open: BTreeSet<RelPath>,
    first: Option<Instant>,
    last: Option<Instant>,
    locked_since: Option<Instant>,
    gap: bool,
    next_id: u64,
    vanished: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    before: Option<FileStat>,
    after: Option<FileStat>,
    written: bool,
    moved_away: bool,
    moved_here: bool,
    /// When it was looked at last; `None`: it was left for the next set once, so that the other
    /// end of its rename can come.
    at: Option<Instant>,
}

impl Pending {
    /// Whether a rename has one end here, and the other may be seen at any moment.
    fn is_half_of_a_rename(&self) -> bool {
        match (self.before, self.after) {
            (Some(_), None) => self.moved_away,
            (None, Some(_)) => self.moved_here,
            (_, _) => false,
        }
    }
}

impl Debouncer {
    /// A set is ready `quiet` after its last change, at the latest `longest` after its first. Then
    /// half a rename that was seen less than `quiet` ago is left for the next set, once.
    #[must_use]
    pub fn new(quiet: Duration, longest: Duration) -> Self {
        Self {
            quiet,
            longest,
            pending: BTreeMap::new(),
            open: BTreeSet::new(),
            first: None,
            last: None,
            locked_since: None,
            gap: false,
            next_id: 1,
            vanished: 0,
        }
    }

    /// Changes the times; counts for what is pending, too.
    pub fn set_times(&mut self, quiet: Duration, longest: Duration) {
        self.quiet = quiet;
        self.longest = longest;
    }

    /// Takes in one observation. Within a path, observations come in the order they were made.
    pub fn push(&mut self, observed: Observed, now: Instant) {
        let Observed {
            path,
            before,
            after,
            written,
            moved,
        } = observed;
        let pending = self.pending.entry(path).or_insert(Pending {
            before,
            after,
            written: false,
            moved_away: false,
            moved_here: false,
            at: Some(now),
        });
        pending.at = pending.at.map(|_| now);
        pending.after = after;
        pending.written |= written;
        pending.moved_away |= moved && after.is_none();
        pending.moved_here |= moved && after.is_some();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// Notes that `path` is being written (`open`), or that its writer has closed it.
    pub fn set_open(&mut self, path: &RelPath, open: bool) {
        if !open {
            self.open.remove(path);
        } else if self.pending.contains_key(path) {
            self.open.insert(path.clone());
        }
    }

    /// Notes whether git holds its lock. Once it lets go, the quiet time starts anew.
    pub fn set_locked(&mut self, locked: bool, now: Instant) {
        match (locked, self.locked_since) {
            (true, None) => self.locked_since = Some(now),
            (false, Some(_)) => {
                self.locked_since = None;
                if !self.pending.is_empty() {
                    self.first = Some(now);
                    self.last = Some(now);
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether git is taken to hold its lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked_since.is_some()
    }

    /// Notes that not every event was seen: the next set says so.
    pub fn mark_gap(&mut self) {
        self.gap = true;
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether something of `path` is pending.
    #[must_use]
    pub fn is_pending(&self, path: &RelPath) -> bool {
        self.pending.contains_key(path)
    }

    /// How many paths are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many paths came and went within a window, or turned out the same, since the start.
    #[must_use]
    pub fn vanished(&self) -> u64 {
        self.vanished
    }

    /// When to call [`Debouncer::take_ready`] next; `None` while nothing is pending.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        let longest = first + self.longest;
        let ready = if self.open.is_empty() {
            longest.min(last + self.quiet)
        } else {
            longest
        };
        Some(match self.locked_since {
            Some(since) => ready.max(since + LOCK_HELD_MAX),
            None => ready,
        })
    }

    /// The set, if it is ready. `None` as well when everything in it has vanished.
    pub fn take_ready(&mut self, now: Instant) -> Option<ChangeSet> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        self.take(Some(now))
    }

    /// What is pending, ready or not.
    pub fn take_all(&mut self) -> Option<ChangeSet> {
        self.take(None)
    }

    /// What is pending, but for halves of renames that are new at `now`.
    fn take(&mut self, now: Option<Instant>) -> Option<ChangeSet> {
        let mut pending = std::mem::take(&mut self.pending);
        let renames = Renames::of(&pending);
        (self.first, self.last) = (None, None);
        if let Some(now) = now {
            let is_held = |(path, pending): &(&RelPath, &Pending)| {
                let is_new = pending.at.is_some_and(|at| now < at + self.quiet);
                is_new && pending.is_half_of_a_rename() && !renames.concern(path)
            };
            let halves = pending.iter().filter(is_held);
            let halves: Vec<RelPath> = halves.map(|(path, _)| path.clone()).collect();
            for path in halves {
                let half = pending.remove(&path);
                self.pending.extend(half.map(|half| (path, half)));
            }
            for half in self.pending.values_mut() {
                let at = half.at.take();
                self.first = self.first.min(at).or(at);
                self.last = self.last.max(at);
            }
        }
        self.open.clear();
        let n_pending = pending.len();
        let (changes, n_paired) = changes_of(pending, renames);
        self.vanished += (n_pending - n_paired - changes.len()) as u64;
        let complete = !std::mem::take(&mut self.gap);
        if changes.is_empty() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        Some(ChangeSet {
            id,
            changes,
            complete,
        })
    }
}

/// The changes, sorted by path, and how many removals became part of a rename.
fn changes_of(pending: BTreeMap<RelPath, Pending>, renames: Renames) -> (Vec<Change>, usize) {
    let Renames {
        mut origins,
        consumed,
    } = renames;
    let n_paired = consumed.len();
    let mut changes = Vec::new();
    for (path, pending) in pending {
        let change = match (pending.before, pending.after) {
            (None, None) => None,
            (None, Some(after)) => {
                let kind = match origins.remove(&path) {
                    Some(from) => ChangeKind::Renamed { from },
                    None => ChangeKind::Created,
                };
                Some((kind, after.file_type()))
            }
            (Some(before), None) => {
                (!consumed.contains(&path)).then_some((ChangeKind::Removed, before.file_type()))
            }
            (Some(before), Some(after)) => {
                kind_of(&before, &after, pending.written).map(|kind| (kind, after.file_type()))
            }
        };
        changes.extend(change.map(|(kind, file_type)| Change {
            path,
            kind,
            file_type,
        }));
    }
    (changes, n_paired)
}

/// How a path that was there and is there differs; `None` when it does not.
fn kind_of(before: &FileStat, after: &FileStat, written: bool) -> Option<ChangeKind> {
    let mode_differs = before.mode != after.mode;
    let is_dir = |stat: &FileStat| stat.file_type() == FileType::Dir;
    if is_dir(before) && is_dir(after) {
        // What is in it is reported by itself.
        return mode_differs.then_some(ChangeKind::Metadata);
    }
    let content = |stat: &FileStat| (stat.dev, stat.ino, stat.size, stat.mtime_ns);
    let same_type = before.file_type() == after.file_type();
    if written || !same_type || content(before) != content(after) {
        return Some(ChangeKind::Modified);
    }
    if mode_differs {
        return Some(ChangeKind::Metadata);
    }
    // Only the change time differs: the modification time may have been set back.
    (before != after).then_some(ChangeKind::Modified)
}

/// Which removed path each created one used to be.
struct Renames {
    /// By new path, the old one.
    origins: HashMap<RelPath, RelPath>,
    consumed: BTreeSet<RelPath>,
}

/// What is gone, by inode.
type Gone<'a> = HashMap<(u64, u64), Vec<(&'a RelPath, &'a Pending)>>;

impl Renames {
    /// Finds them by inode, and by proof that it is the same file and not a new one that got a
    /// freed inode number.
    fn of(pending: &BTreeMap<RelPath, Pending>) -> Self {
        let mut gone = Gone::new();
        for (path, pending) in pending {
            if let (Some(before), None) = (pending.before, pending.after) {
                let same = gone.entry((before.dev, before.ino)).or_default();
                same.push((path, pending));
            }
        }
        let mut renames = Self {
            origins: HashMap::new(),
            consumed: BTreeSet::new(),
        };
        for (path, pending) in pending {
            if let (None, Some(after)) = (pending.before, pending.after) {
                renames.pair(&mut gone, path, pending, &after);
            }
        }
        renames
    }

    /// Whether `path` is an end of one.
    fn concern(&self, path: &RelPath) -> bool {
        self.origins.contains_key(path) || self.consumed.contains(path)
    }

    fn pair(&mut self, gone: &mut Gone<'_>, path: &RelPath, here: &Pending, after: &FileStat) {
        let Some(candidates) = gone.get_mut(&(after.dev, after.ino)) else {
            return;
        };
        let origins = &self.origins;
        let found = candidates.iter().position(|(from, away)| {
            let Some(before) = away.before else {
                return false;
            };
            if before.file_type() != after.file_type() {
                return false;
            }
            let told = away.moved_away && here.moved_here;
            let untouched = (before.size, before.mtime_ns) == (after.size, after.mtime_ns);
            told || untouched || moved_with_parent(origins, from, path)
        });
        if let Some(at) = found {
            let (from, _) = candidates.remove(at);
            self.consumed.insert(from.clone());
            self.origins.insert(path.clone(), from.clone());
        }
    }
}

/// Whether the directory of `from` was renamed to the directory of `to`, and the name is kept.
fn moved_with_parent(origins: &HashMap<RelPath, RelPath>, from: &RelPath, to: &RelPath) -> bool {
    let parent = to.parent();
    let origin = parent.as_rel_path().and_then(|dir| origins.get(dir));
    origin.is_some() && origin == from.parent().as_rel_path() && from.file_name() == to.file_name()
}

#[cfg(test)]
#[path = "debounce_tests.rs"]
mod tests;
