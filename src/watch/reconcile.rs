//! Taking in what the disk says: one hinted path, one directory, or everything.
//!
//! A hint says only where to look. What is there is compared with the tree, and what differs is
//! observed. A directory is watched first and read after, so that what happens in between is seen
//! twice rather than never.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{io, mem};

use rustix::time::{ClockId, clock_gettime};

use crate::change::FileType;
use crate::disk::FileStat;
use crate::parallel;
use crate::path::{RelDir, RelPath};
use crate::watch::debounce::Observed;
use crate::watch::diff::Diff;
use crate::watch::ignored::Rules;
use crate::watch::options::Backend;
use crate::watch::poll::PollWatcher;
use crate::watch::processor::{EventProcessor, Retry};
use crate::watch::queue::Seen;
use crate::watch::record::Record;
use crate::watch::scan::{is_gone, unreadable};
use crate::watch::source::AddProblem;
use crate::watch::tree::Tree;
use crate::watch::walk::{Listing, Standing, Walker, absolute, open_absolute, stat};
use crate::watch::warning::PollReason;

/// How many directories are watched and read before the results are taken in: bounds memory.
const CHUNK: usize = 1_024;

/// A directory to read.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) dir: RelDir,
    pub(crate) standing: Standing,
    /// The rules of the directory it lies in.
    pub(crate) outer: Rules,
}

/// How far a look at a directory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Into every directory below, all watched anew.
    Deep,
    /// Only into directories that are new.
    Shallow,
}

/// Whether what differs is observed, or is simply how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Changes,
    Nothing,
}

impl EventProcessor {
    /// Looks at a path below the root that was hinted at.
    pub(crate) fn look(&mut self, rel: &RelPath, path: &Path, seen: Seen) {
        let now = Instant::now();
        self.record(
            &|| Record::Hint(rel.as_bytes().to_vec(), format!("{seen:?}")),
            now,
        );
        self.shared.metrics.looks.fetch_add(1, Relaxed);
        let dir = rel.parent();
        let name = rel.file_name();
        let old = {
            let tree = self.tree();
            let parent = tree.find(dir.as_bytes()).filter(|id| tree.is_dir(*id));
            let Some(parent) = parent else {
                // Nobody looks there: its directory will be read when it is taken up.
                return;
            };
            tree.child(parent, name).map(|id| tree.stat(id))
        };
        let settled = seen.closed || (seen.written && !seen.open);
        if self.ignored.is_rule_file(name) && (seen.structural || settled) {
            self.reload_rules(&dir, now);
        }
        match stat(path) {
            Err(error) if is_gone(&error) => {
                if old.is_some() {
                    self.forget(rel, seen.moved_from, !seen.removed || seen.moved_from, now);
                }
            }
            // Its directory cannot be searched now: that is told of the directory.
            Err(_) => {}
            Ok(new) if new.file_type() == FileType::Dir => {
                self.look_at_dir(rel, old, new, seen, now);
            }
            Ok(new) => self.look_at_file(rel, old, new, seen, now),
        }
    }

    fn look_at_dir(
        &mut self,
        rel: &RelPath,
        old: Option<FileStat>,
        new: FileStat,
        seen: Seen,
        now: Instant,
    ) {
        let dir = RelDir::from(rel.clone());
        let Some((standing, outer)) = self.standing_of(rel, true) else {
            if old.is_some() {
                self.forget(rel, false, true, now);
            }
            return;
        };
        let was_dir = old.filter(|old| old.file_type() == FileType::Dir);
        if old.is_some() && was_dir.is_none() {
            self.forget(rel, false, false, now);
        }
        let replaced = was_dir.is_none_or(|old| (old.dev, old.ino) != (new.dev, new.ino));
        if !self.put(rel, &new, standing) {
            return;
        }
        if was_dir.is_none_or(|old| old.mode != new.mode) {
            self.observe(
                Observed {
                    path: rel.clone(),
                    before: old,
                    after: Some(new),
                    written: false,
                    moved: seen.moved_to,
                },
                now,
            );
        }
        let task = Task {
            dir: dir.clone(),
            standing,
            outer,
        };
        if seen.structural || replaced || self.unreadable.contains_key(&dir) {
            self.read(vec![task], Depth::Deep, Report::Changes, now);
        } else if seen.whole || was_dir.is_some_and(|old| old.mode != new.mode) {
            self.read(vec![task], Depth::Shallow, Report::Changes, now);
        }
    }

    fn look_at_file(
        &mut self,
        rel: &RelPath,
        old: Option<FileStat>,
        new: FileStat,
        seen: Seen,
        now: Instant,
    ) {
        let was_dir = old.is_some_and(|old| old.file_type() == FileType::Dir);
        if was_dir {
            self.forget(rel, seen.moved_from, true, now);
        }
        let Some((standing, _)) = self.standing_of(rel, false) else {
            if old.is_some() && !was_dir {
                self.forget(rel, false, false, now);
            }
            return;
        };
        if old != Some(new) || seen.written {
            if !self.put(rel, &new, standing) {
                return;
            }
            self.observe(
                Observed {
                    path: rel.clone(),
                    before: old,
                    after: Some(new),
                    written: seen.written,
                    moved: seen.moved_to,
                },
                now,
            );
        }
        // A new empty file is about to be written by whoever made it.
        let fresh = seen.created && !seen.closed && !seen.moved_to;
        let empty = new.size == 0 && new.file_type() == FileType::File;
        let open = seen.open || (fresh && empty);
        if open || seen.closed || seen.moved_to {
            self.record(&|| Record::Open(rel.clone(), open), now);
            self.debouncer.set_open(rel, open);
        }
    }

    /// Reads directories and what is new below them, level by level.
    pub(crate) fn read(&mut self, tops: Vec<Task>, depth: Depth, report: Report, now: Instant) {
        let mut level = tops;
        let mut depth = depth;
        while !level.is_empty() {
            let mut next = Vec::new();
            let mut tasks = level.into_iter();
            loop {
                let chunk: Vec<Task> = tasks.by_ref().take(CHUNK).collect();
                if chunk.is_empty() {
                    break;
                }
                if depth == Depth::Deep {
                    self.watch(&chunk, now);
                }
                let listings = self.list(&chunk);
                self.shared
                    .metrics
                    .scans
                    .fetch_add(chunk.len() as u64, Relaxed);
                for (task, listing) in chunk.into_iter().zip(listings) {
                    match listing {
                        Ok(listing) => self.take_in(&task, &listing, depth, report, &mut next, now),
                        Err(error) => self.not_listed(&task, &error, now),
                    }
                }
                std::thread::yield_now();
                if report == Report::Nothing && self.is_over_limit() {
                    // A watch that is being made: it is going to be refused.
                    return;
                }
            }
            level = next;
            // What a shallow look found is new, and read to the end.
            depth = Depth::Deep;
        }
        self.report_rule_problems();
        self.watch_repos();
        self.warn_of_polling();
    }

    fn is_over_limit(&self) -> bool {
        self.tree().memory_bytes() > self.options.memory_bytes_max
    }

    fn list(&self, tasks: &[Task]) -> Vec<io::Result<Listing>> {
        let walker = Walker {
            root: &self.shared.root,
            ignored: &self.ignored,
            select: &self.select,
        };
        let list = |task: &Task| {
            let fd = open_absolute(&absolute(walker.root, &task.dir))?;
            let mut listing = walker.list(fd.as_fd(), &task.dir, task.standing, &task.outer)?;
            listing.sort_by_name();
            Ok(listing)
        };
        // To share out fewer costs more than it gains.
        parallel::map(tasks, tasks.len() >= 16, list)
    }

    /// Compares a listing with the tree.
    fn take_in(
        &mut self,
        task: &Task,
        listing: &Listing,
        depth: Depth,
        report: Report,
        next: &mut Vec<Task>,
        now: Instant,
    ) {
        self.unreadable.remove(&task.dir);
        if listing.has_rules {
            self.note_repo(&listing.rules);
            self.levels.insert(task.dir.clone(), listing.rules.clone());
        } else {
            self.levels.remove(&task.dir);
        }
        self.poll_if_untold(&task.dir, listing.stat.dev, now);
        let mut found = Diff::default();
        {
            let tree = self.shared.tree.write();
            let mut tree = tree.unwrap_or_else(PoisonError::into_inner);
            let id = tree.find(task.dir.as_bytes()).filter(|id| tree.is_dir(*id));
            let Some(id) = id else { return };
            let is_rule_file = |name: &[u8]| self.ignored.is_rule_file(name);
            found.compare(&mut tree, id, task, listing, depth, &is_rule_file);
        }
        let gone = mem::take(&mut found.gone_dirs);
        self.drop_dirs(&gone, true);
        for (dir, standing) in found.dirs {
            if standing == Standing::Spared {
                self.spared.insert(dir.clone());
            } else {
                self.spared.remove(&dir);
            }
            next.push(Task {
                dir,
                standing,
                outer: listing.rules.clone(),
            });
        }
        if report == Report::Changes {
            for observed in found.observed {
                if self.is_change(&observed) {
                    self.observe(observed, now);
                }
            }
        }
    }

    /// Whether something happened to a path that is read differently; while the tree is read for
    /// another selection, it may just have come into view or gone out of it.
    fn is_change(&self, observed: &Observed) -> bool {
        let Some(former) = &self.former else {
            return true;
        };
        let path = &observed.path;
        match (&observed.before, &observed.after) {
            (Some(before), None) => {
                self.select.models(path, before)
                    && stat(&self.shared.root.join(path.as_path())).is_err()
            }
            (None, Some(after)) => {
                // What is pending of it may be that it was removed.
                let is_dir = after.file_type() == FileType::Dir;
                self.debouncer.is_pending(path)
                    || (former.models(path, after)
                        && (former.names(path) || self.ignored_by(path, is_dir).is_none()))
            }
            // The same file, by other rules.
            (before, after) => before != after,
        }
    }

    fn not_listed(&mut self, task: &Task, error: &io::Error, now: Instant) {
        let path = absolute(&self.shared.root, &task.dir);
        let Some(rel) = task.dir.as_rel_path().cloned() else {
            // The root: whether it is gone is looked at by itself.
            return;
        };
        if is_gone(error) {
            return self.forget(&rel, false, true, now);
        }
        self.forget_content(&rel, now);
        let wait = self.unreadable.get(&task.dir).map(|retry| retry.wait * 2);
        if wait.is_none() {
            self.warn(&unreadable(path, error));
        } else {
            self.shared.metrics.retries.fetch_add(1, Relaxed);
        }
        let wait = wait
            .unwrap_or(Duration::from_millis(100))
            .min(Duration::from_secs(30));
        // A change of permissions is reported; anything else is tried again.
        let parent = task.dir.parent();
        let is_told = parent.is_none_or(|parent| !self.poll.contains(&parent));
        let denied = error.kind() == io::ErrorKind::PermissionDenied && is_told;
        let at = (!denied).then(|| now + wait);
        self.unreadable.insert(task.dir.clone(), Retry { at, wait });
    }

    pub(crate) fn retry_unreadable(&mut self, now: Instant) {
        let due = |retry: &Retry| retry.at.is_some_and(|at| at <= now);
        let dirs: Vec<RelDir> = self
            .unreadable
            .iter()
            .filter(|(_, retry)| due(retry))
            .map(|(dir, _)| dir.clone())
            .collect();
        let tasks: Vec<Task> = dirs.iter().filter_map(|dir| self.task(dir)).collect();
        self.read(tasks, Depth::Deep, Report::Changes, now);
    }

    /// Watches directories; those that the system cannot watch are polled.
    pub(crate) fn watch(&mut self, tasks: &[Task], now: Instant) {
        if self.options.backend == Backend::Poll {
            for task in tasks {
                self.poll.add(&task.dir, now);
            }
            return;
        }
        let root = &self.shared.root;
        let paths: Vec<PathBuf> = tasks.iter().map(|task| absolute(root, &task.dir)).collect();
        self.shared.queue.set_open_gate(true);
        let refused = self.source.watch(paths);
        self.shared.queue.set_open_gate(false);
        if !self.poll.is_empty() {
            for task in tasks {
                self.poll.remove(&task.dir);
                self.budget.settle(&task.dir);
            }
        }
        for (path, problem) in refused {
            let inside = path.strip_prefix(&self.shared.root).ok();
            let Some(dir) =
                inside.and_then(|path| RelDir::new(path.as_os_str().as_encoded_bytes()))
            else {
                continue;
            };
            let reason = match problem {
                // Reading it will tell.
                AddProblem::Gone | AddProblem::Denied(_) => continue,
                AddProblem::WatchLimit => {
                    self.budget.refuse(&dir);
                    PollReason::WatchLimit
                }
                AddProblem::InstanceLimit => PollReason::InstanceLimit,
                AddProblem::Other(_) => PollReason::NoEvents,
            };
            self.poll.add(&dir, now);
            self.recovery.plan_retry(now);
            self.notices.note(reason, &dir);
        }
    }

    /// Looks at polled directories.
    pub(crate) fn poll_dirs(&mut self, dirs: &[RelDir], now: Instant) {
        let mut changed = Vec::new();
        let busy = cpu_time();
        for dir in dirs {
            let before = self.debouncer.len();
            let tasks: Vec<Task> = self.task(dir).into_iter().collect();
            self.read(tasks, Depth::Shallow, Report::Changes, now);
            if self.debouncer.len() != before {
                self.budget.note_found(dir, now);
                changed.push(dir.clone());
            }
        }
        let done = Instant::now();
        let cpu = cpu_time().saturating_sub(busy);
        let spent = PollWatcher::cost(cpu, done.saturating_duration_since(now));
        self.poll.looked(dirs, &changed, spent, done);
        if dirs.contains(&RelDir::ROOT) {
            self.check_root(false, done);
        }
    }

    /// Compares everything with the disk, watching every directory anew.
    pub(crate) fn rescan(&mut self, now: Instant) {
        if self.identity.is_none() {
            return;
        }
        self.shared.metrics.rescans.fetch_add(1, Relaxed);
        self.levels.clear();
        self.spared.clear();
        let task = Task {
            dir: RelDir::ROOT,
            standing: Standing::Plain,
            outer: self.ignored.outer().clone(),
        };
        self.read(vec![task], Depth::Deep, Report::Changes, now);
        self.share_watches(now);
    }

    /// An ignore file in `dir` has changed: everything below is looked at under the new rules.
    fn reload_rules(&mut self, dir: &RelDir, now: Instant) {
        let tasks: Vec<Task> = self.task(dir).into_iter().collect();
        self.read(tasks, Depth::Deep, Report::Changes, now);
    }

    /// The task that reads `dir` again; `None` when it is not modelled.
    pub(crate) fn task(&self, dir: &RelDir) -> Option<Task> {
        let tree = self.tree();
        tree.find(dir.as_bytes()).filter(|id| tree.is_dir(*id))?;
        let outer = match dir.parent() {
            Some(parent) => self.rules(&parent),
            None => self.ignored.outer().clone(),
        };
        Some(Task {
            dir: dir.clone(),
            standing: self.dir_standing(dir),
            outer,
        })
    }

    /// The rules inside `dir`.
    pub(crate) fn rules(&self, dir: &RelDir) -> Rules {
        let mut at = Some(dir.clone());
        while let Some(here) = at {
            if let Some(rules) = self.levels.get(&here) {
                return rules.clone();
            }
            at = here.parent();
        }
        self.ignored.outer().clone()
    }

    pub(crate) fn dir_standing(&self, dir: &RelDir) -> Standing {
        let mut at = Some(dir.clone());
        while let Some(here) = at {
            if self.spared.contains(&here) {
                return Standing::Spared;
            }
            at = here.parent();
        }
        Standing::Plain
    }

    /// How `rel` stands, and the rules of its directory; notes spared directories.
    fn standing_of(&mut self, rel: &RelPath, is_dir: bool) -> Option<(Standing, Rules)> {
        let parent = rel.parent();
        let rules = self.rules(&parent);
        let walker = Walker {
            root: &self.shared.root,
            ignored: &self.ignored,
            select: &self.select,
        };
        let path = absolute(walker.root, &parent);
        let standing = self.dir_standing(&parent);
        let name = rel.file_name();
        let standing = walker.standing(&parent, &path, standing, &rules, (name, is_dir))?;
        if is_dir {
            let dir = RelDir::from(rel.clone());
            match standing {
                Standing::Spared => self.spared.insert(dir),
                Standing::Plain | Standing::Named => self.spared.remove(&dir),
            };
        }
        Some((standing, rules))
    }

    /// Writes one entry into the tree; `false` when its directory is not there.
    fn put(&self, rel: &RelPath, stat: &FileStat, standing: Standing) -> bool {
        let tree = self.shared.tree.write();
        let mut tree = tree.unwrap_or_else(PoisonError::into_inner);
        let parent = tree
            .find(rel.parent().as_bytes())
            .filter(|id| tree.is_dir(*id));
        let Some(dir) = parent else { return false };
        let id = tree.put(dir, rel.file_name(), stat);
        tree.set_named(id, standing == Standing::Named);
        true
    }

    /// Takes `rel`, and what is below it, out of the tree. `moved`: a rename was reported to have
    /// taken it away. `alive`: its directories may live on elsewhere, with their watches.
    pub(crate) fn forget(&mut self, rel: &RelPath, moved: bool, alive: bool, now: Instant) {
        let gone = {
            let tree = self.shared.tree.write();
            let mut tree = tree.unwrap_or_else(PoisonError::into_inner);
            let Some(id) = tree.find(rel.as_bytes()) else {
                return;
            };
            let mut gone = Vec::new();
            tree.remove(id, &mut |path, stat| gone.push((path, stat)));
            gone
        };
        self.observe_gone(gone, moved, alive, now);
    }

    /// As [`EventProcessor::forget`], but `rel` itself stays.
    fn forget_content(&mut self, rel: &RelPath, now: Instant) {
        let gone = {
            let tree = self.shared.tree.write();
            let mut tree = tree.unwrap_or_else(PoisonError::into_inner);
            let Some(id) = tree.find(rel.as_bytes()) else {
                return;
            };
            let mut gone = Vec::new();
            for child in tree.children(id).to_vec() {
                tree.remove(child, &mut |path, stat| gone.push((path, stat)));
            }
            gone
        };
        self.observe_gone(gone, false, true, now);
    }

    fn observe_gone(
        &mut self,
        gone: Vec<(RelPath, FileStat)>,
        moved: bool,
        alive: bool,
        now: Instant,
    ) {
        let is_dir = |stat: &FileStat| stat.file_type() == FileType::Dir;
        let dirs: Vec<RelPath> = gone
            .iter()
            .filter(|(_, stat)| is_dir(stat))
            .map(|(path, _)| path.clone())
            .collect();
        self.drop_dirs(&dirs, alive);
        for (path, stat) in gone {
            let before = Some(stat);
            self.debouncer.set_open(&path, false);
            self.observe(
                Observed {
                    path,
                    before,
                    after: None,
                    written: false,
                    moved,
                },
                now,
            );
        }
    }

    /// Forgets what was kept of directories that are modelled no more.
    fn drop_dirs(&mut self, gone: &[RelPath], alive: bool) {
        if gone.is_empty() {
            return;
        }
        if alive {
            let root = &self.shared.root;
            let paths: Vec<PathBuf> = gone.iter().map(|dir| root.join(dir.as_path())).collect();
            self.shared.queue.set_open_gate(true);
            self.source.unwatch(&paths);
            self.shared.queue.set_open_gate(false);
        }
        for dir in gone {
            let dir = RelDir::from(dir.clone());
            self.levels.remove(&dir);
            self.spared.remove(&dir);
            self.unreadable.remove(&dir);
            self.poll.remove(&dir);
            self.budget.settle(&dir);
        }
    }

    pub(crate) fn tree(&self) -> std::sync::RwLockReadGuard<'_, Tree> {
        self.shared
            .tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long this thread has kept a core busy.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
