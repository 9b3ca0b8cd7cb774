//! What surrounds the watched tree: its root and the directories above, git, the kind of mount.
//!
//! The root may vanish, come back or be another directory by the same name; rule files outside
//! the tree count; git says through its lock that it is at work.

use std::collections::HashSet;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::change::FileType;
use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::watch::filesystem::{Telling, telling};
use crate::watch::git::Repo;
use crate::watch::ignored::{Ignored, Rules};
use crate::watch::mounts::Mounts;
use crate::watch::options::Backend;
use crate::watch::processor::{EventProcessor, WatchState};
use crate::watch::queue::Seen;
use crate::watch::reconcile::{Depth, Report, Task};
use crate::watch::source::{AddProblem, Interest};
use crate::watch::walk::{Standing, absolute, stat};
use crate::watch::warning::{PollReason, Warning};

/// How many repositories' locks are watched: those found first.
const REPOS_MAX: usize = 64;

/// A hint that stands for whatever may have happened.
const SOMETHING: Seen = Seen {
    structural: true,
    moved_from: false,
    moved_to: false,
    removed: false,
    created: false,
    written: false,
    closed: true,
    open: false,
    whole: false,
};

impl EventProcessor {
    /// Watches and reads everything for the first time.
    pub(crate) fn attach_first(&mut self, now: Instant) {
        let found = stat(&self.shared.root).ok();
        let found = found.filter(|stat| stat.file_type() == FileType::Dir);
        self.identity = found.map(|stat| (stat.dev, stat.ino));
        if let Some(cookies) = &self.cookies
            && self.options.backend != Backend::Poll
        {
            // Before anything else, lest the limit is reached when it is their turn.
            self.source.watch_in_every_shard(cookies.dir());
        }
        self.watch_surroundings();
        // Watched first, read after.
        self.load_rules();
        self.repos_changed = false;
        if self.identity.is_none() {
            self.refresh_figures();
            return;
        }
        let task = Task {
            dir: RelDir::ROOT,
            standing: Standing::Plain,
            outer: self.ignored.outer().clone(),
        };
        self.read(vec![task], Depth::Deep, Report::Nothing, now);
        self.share_watches(now);
        self.start_probe(now);
        self.refresh_figures();
    }

    /// Sorts out what a hint is about.
    pub(crate) fn take_hint(&mut self, path: &Path, seen: Seen) {
        let now = Instant::now();
        if self.shared.root.starts_with(path) {
            if seen.whole && path == self.shared.root {
                let depth = if seen.structural {
                    Depth::Deep
                } else {
                    Depth::Shallow
                };
                let tasks: Vec<Task> = self.task(&RelDir::ROOT).into_iter().collect();
                self.read(tasks, depth, Report::Changes, now);
            }
            if seen.structural {
                self.check_root(true, now);
            }
            return;
        }
        if self.take_special(path, seen, now) || self.identity.is_none() {
            return;
        }
        let Ok(inside) = path.strip_prefix(&self.shared.root) else {
            return;
        };
        if let Some(rel) = RelPath::new(inside.as_os_str().as_encoded_bytes()) {
            self.look(&rel, path, seen);
        }
    }

    /// Git's own files, and rule files that are not found by reading the tree. `true` when the
    /// path cannot be part of the tree.
    fn take_special(&mut self, path: &Path, seen: Seen, now: Instant) -> bool {
        if self.repos.iter().any(|repo| path == repo.index_lock()) {
            self.outside.note(path, state_of(path));
            if path.exists() {
                self.set_locked(true, now);
            } else if self.debouncer.is_locked() {
                self.start_unlock(now);
            }
            return true;
        }
        let repo = self.repos.iter().find(|repo| path == repo.index());
        if let Some(repo) = repo.cloned() {
            if seen.structural || seen.closed {
                self.outside.note(path, state_of(path));
                self.reload_index(&repo, now);
            }
            return true;
        }
        let is_exclude = self.repos.iter().any(|repo| path == repo.exclude_file());
        let is_global = self.ignored.global_path() == Some(path);
        let above = self
            .ignored
            .above()
            .iter()
            .any(|dir| path.parent() == Some(dir));
        if is_exclude || is_global || above {
            if seen.structural || seen.closed {
                self.outside.note(path, state_of(path));
                self.reload_all_rules(now);
            }
            return !path.starts_with(&self.shared.root);
        }
        false
    }

    /// Looks whether the root is still the directory that is watched; takes it up if it is
    /// another one, lets go of it if it is gone. `hinted`: its watches may be gone in any case.
    pub(crate) fn check_root(&mut self, hinted: bool, now: Instant) {
        let found = stat(&self.shared.root).ok();
        let found = found.filter(|stat| stat.file_type() == FileType::Dir);
        let found = found.map(|stat| (stat.dev, stat.ino));
        let was = self.identity;
        if found == was && !hinted {
            return;
        }
        if found.is_none() {
            if was.is_some() {
                self.identity = None;
                self.restart_source();
                self.poll.clear();
                self.budget.clear();
                let path = self.shared.root.clone();
                self.warn(&Warning::RootDetached { path });
            }
            self.watch_surroundings();
            // It may have come back before its surroundings were watched.
            if stat(&self.shared.root).is_ok_and(|stat| stat.file_type() == FileType::Dir) {
                self.check_root(true, now);
            }
            return;
        }
        self.identity = found;
        if found != was {
            self.restart_source();
            self.load_rules();
        }
        self.watch_surroundings();
        self.rescan(now);
        if found != was {
            let path = self.shared.root.clone();
            self.warn(&Warning::RootAttached { path });
        }
    }

    /// Something was mounted or unmounted: looks at what that hides or uncovers.
    pub(crate) fn check_mounts(&mut self, now: Instant) {
        let new = Mounts::around(&self.shared.root);
        let old = std::mem::replace(&mut self.mounts, new.clone());
        // What is mounted next may get the number of what was there.
        self.file_systems.clear();
        let seen = Seen {
            structural: true,
            ..Seen::default()
        };
        let differ = old.around.symmetric_difference(&new.around);
        let mut paths: Vec<&PathBuf> = differ.map(|(_, at)| at).collect();
        paths.dedup();
        for path in paths {
            self.take_hint(path, seen);
        }
        self.check_root(false, now);
    }

    /// Watches the directories above the root, those with rule files outside of it, and git's.
    pub(crate) fn watch_surroundings(&mut self) {
        let mut dirs: Vec<PathBuf> = self.ignored.above().to_vec();
        let mut outside: HashSet<PathBuf> = HashSet::new();
        for dir in self.ignored.above() {
            for name in [".gitignore", ".ignore", ".watchrunignore"] {
                outside.insert(dir.join(name));
            }
        }
        if let Some(global) = self.ignored.global_path() {
            outside.insert(global.to_path_buf());
            dirs.extend(global.parent().map(Path::to_path_buf));
        }
        for repo in &self.repos {
            outside.extend([repo.index_lock(), repo.index(), repo.exclude_file()]);
            dirs.push(repo.git_dir().to_path_buf());
            dirs.extend(repo.exclude_file().parent().map(Path::to_path_buf));
        }
        let followed: Vec<PathBuf> = outside.iter().cloned().collect();
        outside.extend(self.shared.root.ancestors().skip(1).map(PathBuf::from));
        let marks = self
            .cookies
            .as_ref()
            .map(|cookies| cookies.dir().to_path_buf());
        self.shared.queue.set_outside(outside, marks);
        let paths = followed.iter().map(PathBuf::as_path);
        self.outside.follow(paths, state_of);
        let watched = self.options.backend != Backend::Poll && {
            self.shared.queue.set_open_gate(true);
            let refused = self.source.watch_around(self.interests(dirs));
            self.shared.queue.set_open_gate(false);
            // A directory above that may not be read is left to the look before each set.
            refused.iter().all(|(_, problem)| match problem {
                AddProblem::Gone | AddProblem::Denied(_) => true,
                AddProblem::WatchLimit | AddProblem::InstanceLimit | AddProblem::Other(_) => false,
            })
        };
        let now = Instant::now();
        self.outside.set_polled(!watched, now);
        // Race: until a moment ago some of them were not watched.
        let mut missed = self.outside.changed(state_of, now);
        let root = state_of(&self.shared.root).filter(|stat| stat.file_type() == FileType::Dir);
        if root.map(|stat| (stat.dev, stat.ino)) != self.identity {
            missed.push(self.shared.root.clone());
        }
        self.missed.extend(missed);
    }

    /// What is of interest in the directories above the root, and in `dirs`, which hold files that
    /// count. While the root is there, it is enough to hear that it, or one above it, goes.
    fn interests(&self, mut dirs: Vec<PathBuf>) -> Vec<(PathBuf, Interest)> {
        dirs.sort_unstable();
        dirs.dedup();
        let above = match self.identity {
            Some(_) => Interest::Place,
            None => Interest::Names,
        };
        // Race: from the top down, so that one that appears meanwhile is told by the one above.
        let ancestors = self.shared.root.ancestors().skip(1);
        let mut all: Vec<(PathBuf, Interest)> = ancestors
            .map(Path::to_path_buf)
            .filter(|dir| dirs.binary_search(dir).is_err())
            .map(|dir| (dir, above))
            .collect();
        all.extend(dirs.into_iter().map(|dir| (dir, Interest::Files)));
        all.sort();
        all
    }

    /// Takes in what happened to the surroundings while they were watched anew.
    pub(crate) fn take_missed(&mut self) {
        for path in mem::take(&mut self.missed) {
            self.take_hint(&path, SOMETHING);
        }
    }

    /// Looks, when that is due, at what surrounds the tree and is not watched by the system.
    pub(crate) fn poll_outside(&mut self, now: Instant) {
        if self.outside.deadline().is_some_and(|due| due <= now) {
            self.look_outside(now);
            self.check_root(false, now);
        }
    }

    /// Looks at what surrounds the tree and is not watched by the system.
    pub(crate) fn look_outside(&mut self, now: Instant) {
        if self.outside.is_polled() {
            for path in self.outside.changed(state_of, now) {
                self.take_hint(&path, SOMETHING);
            }
        }
    }

    /// Takes note of the repository that starts where these rules were loaded.
    pub(crate) fn note_repo(&mut self, rules: &Rules) {
        if let Some(repo) = rules.repo().cloned() {
            self.add_repo(&repo);
        }
    }

    /// Watches the directories of repositories that were found since the last time.
    pub(crate) fn watch_repos(&mut self) {
        if std::mem::take(&mut self.repos_changed) {
            self.watch_surroundings();
        }
    }

    fn add_repo(&mut self, repo: &Arc<Repo>) {
        let known = self
            .repos
            .iter()
            .position(|known| known.git_dir() == repo.git_dir());
        match known {
            // Loaded anew: the old one is asked no more.
            Some(at) => self.repos[at] = Arc::clone(repo),
            None if self.repos.len() < REPOS_MAX => {
                self.repos.push(Arc::clone(repo));
                self.repos_changed = true;
            }
            None => {}
        }
    }

    /// The index has changed: files that it tracks count even when they are ignored.
    fn reload_index(&mut self, repo: &Arc<Repo>, now: Instant) {
        let (gained, lost) = repo.reload();
        let root = self.shared.root.clone();
        let ignored = gained.iter().any(|path| {
            let inside = path.strip_prefix(&root).ok();
            let rel = inside.and_then(|path| RelPath::new(path.as_os_str().as_encoded_bytes()));
            rel.is_some_and(|rel| self.is_ignored_path(&rel))
        });
        if ignored || (lost && repo.has_spared()) {
            self.rescan(now);
        }
    }

    fn reload_all_rules(&mut self, now: Instant) {
        self.load_rules();
        self.watch_surroundings();
        self.rescan(now);
    }

    fn load_rules(&mut self) {
        let options = &self.options;
        self.ignored = Ignored::load(
            &self.shared.root,
            options.gitignore,
            &options.excluded_names,
            options.global_excludes.as_deref(),
        );
        self.repos.clear();
        if let Some(repo) = self.ignored.outer().repo().cloned() {
            self.add_repo(&repo);
        }
    }

    /// Polls a directory of a file system on which the system does not tell of all changes. What
    /// it does tell is told sooner.
    pub(crate) fn poll_if_untold(&mut self, dir: &RelDir, dev: u64, now: Instant) {
        if self.options.backend != Backend::Auto {
            return;
        }
        let known = self.file_systems.get(&dev).copied();
        let reason = known.unwrap_or_else(|| {
            let reason = self.why_untold(&absolute(&self.shared.root, dir));
            self.file_systems.insert(dev, reason);
            reason
        });
        if let Some(reason) = reason {
            self.poll.add(dir, now);
            self.notices.note(reason, dir);
        }
    }

    fn why_untold(&mut self, path: &Path) -> Option<PollReason> {
        match telling(path) {
            Telling::All => None,
            Telling::Ours => Some(PollReason::NetworkFileSystem),
            Telling::Unknown => (!self.source.tells_of(path)).then_some(PollReason::NoEvents),
        }
    }

    pub(crate) fn report_rule_problems(&self) {
        for (path, problem) in self.ignored.take_problems() {
            self.warn(&Warning::IgnoreRule { path, problem });
        }
    }

    pub(crate) fn shared_tree_dirs(&self) -> usize {
        self.tree().n_dirs()
    }

    /// How many of `n_dirs` directories, all of the tree, the system watches.
    pub(crate) fn watched_of(&self, n_dirs: usize) -> usize {
        n_dirs.saturating_sub(self.poll.len() + self.unreadable.len())
    }

    /// Brings the figures that handles read up to date.
    pub(crate) fn refresh_figures(&mut self) {
        let (n_files, n_dirs, bytes) = {
            let tree = self.tree();
            (tree.n_files(), tree.n_dirs(), tree.memory_bytes())
        };
        let metrics = &self.shared.metrics;
        let polled = self.poll.len();
        let unreadable = self.unreadable.len();
        let watched = self.watched_of(n_dirs);
        metrics.files.store(n_files, Relaxed);
        metrics.watched_dirs.store(watched, Relaxed);
        metrics.polled_dirs.store(polled, Relaxed);
        metrics.unreadable_dirs.store(unreadable, Relaxed);
        metrics.tree_bytes.store(bytes, Relaxed);
        metrics.vanished.store(self.debouncer.vanished(), Relaxed);
        self.shared.set_state(match () {
            () if self.identity.is_none() => WatchState::Detached,
            () if watched == 0 && polled > 0 => WatchState::Polling,
            () if polled + unreadable > 0 => WatchState::Degraded,
            () => WatchState::Ready,
        });
        let limit_bytes = self.options.memory_bytes_max;
        if bytes > limit_bytes && !self.warned_memory {
            self.warned_memory = true;
            self.warn(&Warning::MemoryLimit {
                held_bytes: bytes,
                limit_bytes,
            });
        }
    }
}

fn state_of(path: &Path) -> Option<FileStat> {
    stat(path).ok()
}
