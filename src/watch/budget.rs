//! Which directories the system watches when it does not give enough watches: [`Budget`].
//!
//! Those that changed while we looked come first, then those that changed lately, then shallow
//! ones; the others are polled. A polled directory that turns out to be alive takes the watch of
//! one that is not. What is decided is a pure function of the model and of what was seen change;
//! nothing is kept, and nothing done, while there are enough watches.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::path::RelDir;
use crate::watch::processor::EventProcessor;
use crate::watch::reconcile::{Depth, Report, Task};
use crate::watch::tree::{NodeId, Tree};
use crate::watch::walk::absolute;

/// A directory in which something was seen to change keeps its precedence for this long: at most
/// once in that time does it change places with another.
const ALIVE: Duration = Duration::from_secs(30 * 60);
/// How many such directories are remembered.
const ALIVE_MAX: usize = 4_096;
/// By the files' own times, lately is within this time before the last change of the tree.
const LATELY_NS: i64 = 24 * 3600 * 1_000_000_000;
/// How many watches change hands after a reading of everything.
const MOVES_AFTER_READING: usize = 1_024;
/// How many change hands in one poll interval.
const MOVES_AT_ONCE: usize = 64;

/// Who has no watch for want of watches, and where something was seen to change since.
#[derive(Debug)]
pub(crate) struct Budget {
    interval: Duration,
    refused: HashSet<RelDir>,
    alive: HashMap<RelDir, Instant>,
    /// Something was seen to change in a directory that has no watch.
    wanted: bool,
    last: Option<Instant>,
}

/// How much a directory deserves a watch; the least deserves it most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    depth: usize,
    /// Since it last changed, by the files' own times.
    quiet_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Root,
    /// It was seen to change.
    Alive,
    /// It has changed lately.
    Lately,
    Quiet,
}

/// A watch that changes hands.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    from: RelDir,
    to: RelDir,
}

impl Budget {
    /// Watches change hands at most once an `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            refused: HashSet::new(),
            alive: HashMap::new(),
            wanted: false,
            last: None,
        }
    }

    pub(crate) fn is_short(&self) -> bool {
        !self.refused.is_empty()
    }

    pub(crate) fn refuse(&mut self, dir: &RelDir) {
        self.refused.insert(dir.clone());
    }

    /// Notes that it has a watch, or needs none any more.
    pub(crate) fn settle(&mut self, dir: &RelDir) {
        if self.is_short() {
            self.refused.remove(dir);
        }
    }

    /// Every watch is gone.
    pub(crate) fn clear(&mut self) {
        self.refused.clear();
        self.wanted = false;
    }

    /// Notes that the system told of a change in `dir`. What appears in a directory that is new
    /// itself does not count: a tree that is unpacked would take the watches of all others.
    pub(crate) fn note_told(&mut self, dir: impl FnOnce() -> RelDir, now: Instant) {
        if self.is_short() {
            let dir = dir();
            if !self.refused.contains(&dir) {
                self.note(dir, now);
            }
        }
    }

    /// Notes that polling has found a change in `dir`.
    pub(crate) fn note_found(&mut self, dir: &RelDir, now: Instant) {
        if self.refused.contains(dir) {
            self.wanted = true;
            self.note(dir.clone(), now);
        }
    }

    fn note(&mut self, dir: RelDir, now: Instant) {
        if self.alive.len() < ALIVE_MAX || self.alive.contains_key(&dir) {
            self.alive.insert(dir, now);
        }
    }

    fn take_due(&mut self, now: Instant) -> bool {
        let is_rested = |last| now.saturating_duration_since(last) >= self.interval;
        if !self.wanted || !self.last.is_none_or(is_rested) {
            return false;
        }
        self.last = Some(now);
        std::mem::take(&mut self.wanted)
    }

    /// Which watches are to change hands, at most `max`.
    fn moves(
        &mut self,
        tree: &Tree,
        is_readable: &dyn Fn(&RelDir) -> bool,
        max: usize,
        now: Instant,
    ) -> Vec<Move> {
        let tree_time_ns = tree_time_ns(tree);
        self.alive
            .retain(|_, at| now.saturating_duration_since(*at) < ALIVE);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        tree.each_dir(NodeId::ROOT, &mut |id| {
            let dir = tree.path(id).map_or(RelDir::ROOT, RelDir::from);
            let quiet_ns = tree_time_ns.saturating_sub(newest(tree, id)).max(0);
            let rank = rank(&dir, self.alive.contains_key(&dir), quiet_ns);
            if self.refused.contains(&dir) {
                without.push((rank, dir));
            } else if is_readable(&dir) {
                with.push((rank, dir));
            }
        });
        moves(without, with, max)
    }
}

fn rank(dir: &RelDir, is_alive: bool, quiet_ns: i64) -> Rank {
    let depth = dir.as_bytes().split(|&byte| byte == b'/').count();
    let class = match () {
        () if dir.is_root() => Class::Root,
        () if is_alive => Class::Alive,
        () if quiet_ns < LATELY_NS => Class::Lately,
        () => Class::Quiet,
    };
    Rank {
        class,
        depth,
        quiet_ns,
    }
}

/// Gives watches of those that deserve them least to those `without` that deserve them most. Among
/// directories that are alive none changes hands: they would do so for ever.
fn moves(mut without: Vec<(Rank, RelDir)>, mut with: Vec<(Rank, RelDir)>, max: usize) -> Vec<Move> {
    without.sort_unstable();
    with.sort_unstable_by(|a, b| b.cmp(a));
    let pairs = with.into_iter().zip(without).take(max);
    let is_gain = |(old, new): &((Rank, RelDir), (Rank, RelDir))| {
        let both_alive = old.0.class == Class::Alive && new.0.class == Class::Alive;
        new.0 < old.0 && !both_alive
    };
    let gains = pairs.take_while(is_gain);
    gains
        .map(|((_, from), (_, to))| Move { from, to })
        .collect()
}

/// The newest change of a directory's names or of a file in it, by their own times.
fn newest(tree: &Tree, dir: NodeId) -> i64 {
    let files = tree.children(dir).iter().filter(|&&id| !tree.is_dir(id));
    let times = files.map(|&id| tree.stat(id).mtime_ns);
    times.fold(tree.stat(dir).mtime_ns, i64::max)
}

/// When anything last changed, by the clock that nobody can set back: files may be copied with the
/// times of others.
fn tree_time_ns(tree: &Tree) -> i64 {
    let mut newest = 0;
    tree.each_dir(NodeId::ROOT, &mut |dir| {
        let files = tree.children(dir).iter().map(|&id| tree.stat(id).ctime_ns);
        newest = files.fold(newest, i64::max);
    });
    newest
}

impl EventProcessor {
    /// After everything was watched and read in the order of its depth: gives the watches to those
    /// that deserve them.
    pub(crate) fn share_watches(&mut self, now: Instant) {
        if self.budget.is_short() {
            self.move_watches(MOVES_AFTER_READING, now);
        }
    }

    /// Gives polled directories that turned out to be alive a watch, when that is due.
    pub(crate) fn promote_polled(&mut self, now: Instant) {
        if self.budget.take_due(now) {
            self.move_watches(MOVES_AT_ONCE, now);
        }
    }

    fn move_watches(&mut self, max: usize, now: Instant) {
        let moves = {
            let tree = self.shared.tree.read();
            let tree = tree.unwrap_or_else(PoisonError::into_inner);
            let is_readable = |dir: &RelDir| !self.unreadable.contains_key(dir);
            self.budget.moves(&tree, &is_readable, max, now)
        };
        if moves.is_empty() {
            return;
        }
        let (mut from, to): (Vec<RelDir>, Vec<RelDir>) =
            moves.into_iter().map(|step| (step.from, step.to)).unzip();
        // Some may be free by now.
        self.watch(&self.tasks(&to), now);
        let mut left = to.clone();
        left.retain(|dir| self.budget.refused.contains(dir));
        from.truncate(left.len());
        self.end_watches(&from, now);
        self.watch(&self.tasks(&left), now);
        // Race: what happens in the one before it is watched, or was under way in the other when
        // its watch ended, is told by nobody; both are read after.
        let both: Vec<RelDir> = from.into_iter().chain(to).collect();
        self.read(self.tasks(&both), Depth::Shallow, Report::Changes, now);
    }

    fn end_watches(&mut self, dirs: &[RelDir], now: Instant) {
        let root = &self.shared.root;
        let paths: Vec<_> = dirs.iter().map(|dir| absolute(root, dir)).collect();
        self.shared.queue.set_open_gate(true);
        self.source.unwatch(&paths);
        self.shared.queue.set_open_gate(false);
        for dir in dirs {
            self.poll.add(dir, now);
            self.budget.refuse(dir);
        }
    }

    fn tasks(&self, dirs: &[RelDir]) -> Vec<Task> {
        dirs.iter().filter_map(|dir| self.task(dir)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileStat;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR_NS: i64 = LATELY_NS / 24;
    /// When the trees of these tests last changed.
    const TREE_TIME_NS: i64 = 1_000 * LATELY_NS;

    fn dir(text: &str) -> RelDir {
        RelDir::new(text.as_bytes()).unwrap()
    }

    /// A tree of directories, each with a file of the given age in hours.
    fn tree(dirs: &[(&str, i64)]) -> Tree {
        let mut tree = Tree::new();
        let stat = |mode, mtime_ns, ctime_ns| FileStat {
            dev: 1,
            ino: 1,
            size: 1,
            mtime_ns,
            ctime_ns,
            mode,
        };
        for (path, hours) in dirs {
            let mut at = NodeId::ROOT;
            for name in path.split('/') {
                at = match tree.child(at, name.as_bytes()) {
                    Some(known) => known,
                    None => tree.put(at, name.as_bytes(), &stat(0o040_755, 0, 0)),
                };
            }
            let time = TREE_TIME_NS - hours * HOUR_NS;
            tree.put(at, b"file", &stat(0o100_644, time, TREE_TIME_NS));
        }
        tree
    }

    fn moved(budget: &mut Budget, tree: &Tree, max: usize, now: Instant) -> Vec<String> {
        let moves = budget.moves(tree, &|_| true, max, now);
        for Move { from, to } in &moves {
            budget.settle(to);
            budget.refuse(from);
        }
        let text = moves
            .iter()
            .map(|step| format!("{} -> {}", step.from, step.to));
        text.collect()
    }

    /// Which watches change hands once everything is read: those `refused` have none.
    #[track_caller]
    fn check(dirs: &[(&str, i64)], refused: &[&str], expected: &[&str]) {
        let (tree, now) = (tree(dirs), Instant::now());
        let mut budget = Budget::new(SECOND);
        for text in refused {
            budget.refuse(&dir(text));
        }
        assert_eq!(moved(&mut budget, &tree, 99, now), expected);
        // And then all is well.
        assert_eq!(moved(&mut budget, &tree, 99, now), [""; 0]);
    }

    #[test]
    fn what_changed_lately_comes_first_then_what_is_shallow() {
        check(&[("a", 50), ("b/c/d", 1)], &["b/c/d"], &["b/c -> b/c/d"]);
        // A day has passed over both: the shallow one keeps its watch.
        check(&[("a", 90), ("b/c", 50)], &["b/c"], &[]);
        check(&[("a", 2), ("b", 3), ("c/d", 1)], &["c/d"], &["c -> c/d"]);
        check(&[("a", 1), ("b", 3), ("c/d", 2)], &["a"], &["c -> a"]);
        // Equal in all else: the newer one.
        check(&[("a", 90), ("b", 50)], &["b"], &["a -> b"]);
        check(&[("a", 50), ("b", 50)], &["b"], &[]);
    }

    #[test]
    fn the_root_is_always_watched() {
        check(&[("a", 1), ("b", 1)], &[""], &["b -> ."]);
        check(&[("a", 50)], &["a"], &[]);
    }

    #[test]
    fn a_polled_directory_that_is_alive_takes_the_watch_of_the_quietest() {
        let start = Instant::now();
        let tree = tree(&[("a", 1), ("b", 30), ("c/x", 40), ("c/y", 60), ("d/e", 90)]);
        let mut budget = Budget::new(SECOND);
        budget.refuse(&dir("d/e"));
        budget.settle(&dir("d/e"));
        assert!(!budget.is_short());
        budget.refuse(&dir("c/y"));
        budget.note_told(|| dir("d/e"), start);
        assert!(!budget.take_due(start), "it has a watch");
        budget.note_found(&dir("c/y"), start);
        assert!(budget.take_due(start) && !budget.take_due(start));
        assert_eq!(moved(&mut budget, &tree, 9, start), ["c/x -> c/y"]);
        // No sooner than an interval after.
        budget.note_found(&dir("c/x"), start);
        assert!(!budget.take_due(start));
        let now = start + SECOND;
        assert!(budget.take_due(now));
        assert_eq!(moved(&mut budget, &tree, 9, now).len(), 1);
    }

    #[test]
    fn watches_do_not_change_hands_among_directories_that_are_alive() {
        let start = Instant::now();
        let dirs = ["a", "b", "c", "d"];
        let tree = tree(&dirs.map(|name| (name, 50)));
        let mut budget = Budget::new(SECOND);
        for text in ["c", "d"] {
            budget.refuse(&dir(text));
        }
        let mut n_moves = 0;
        for round in 0..100 {
            let now = start + SECOND * round;
            for name in dirs {
                budget.note_found(&dir(name), now);
                budget.note_told(|| dir(name), now);
            }
            if budget.take_due(now) {
                n_moves += moved(&mut budget, &tree, 9, now).len();
            }
        }
        assert_eq!(n_moves, 0, "all are alive from the start");
        // One that has been quiet for long gives way.
        let now = start + SECOND * 100 + ALIVE;
        budget.note_found(&dir("d"), now);
        assert_eq!(moved(&mut budget, &tree, 9, now), ["b -> d"]);
    }

    #[test]
    fn few_watches_change_hands_at_once_and_little_is_remembered() {
        let start = Instant::now();
        let names: Vec<String> = (0..ALIVE_MAX + 300).map(|n| format!("d{n}")).collect();
        let dirs: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 50)).collect();
        let tree = tree(&dirs);
        let mut budget = Budget::new(SECOND);
        for name in &names[..200] {
            budget.refuse(&dir(name));
        }
        for name in names.iter().take(100) {
            budget.note_found(&dir(name), start);
        }
        assert_eq!(
            moved(&mut budget, &tree, MOVES_AT_ONCE, start).len(),
            MOVES_AT_ONCE
        );
        for name in &names {
            budget.note_told(|| dir(name), start);
        }
        assert_eq!(budget.alive.len(), ALIVE_MAX);
    }
}
