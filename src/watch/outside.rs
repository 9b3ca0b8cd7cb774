//! Paths outside the tree that count: what was last seen of them, and when to look: [`Outside`].
//!
//! Rule files above the root, the global excludes, git's index and lock. Their directories are
//! watched anew now and then, and what happens between the end of the old watch and the start of
//! the new one is not told: so a look follows. Where the system does not watch them, looks are
//! due at an interval. Pure but for the look itself, which is the caller's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::FileStat;

/// How long a look waits at most while git holds its lock.
const HURRY: Duration = Duration::from_millis(50);

/// What was last seen of paths outside the tree, and when to look again.
#[derive(Debug)]
pub(crate) struct Outside {
    interval: Duration,
    seen: BTreeMap<PathBuf, Option<FileStat>>,
    due: Option<Instant>,
    in_a_hurry: bool,
}

impl Outside {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            seen: BTreeMap::new(),
            due: None,
            in_a_hurry: false,
        }
    }

    /// Looks at `paths`, and at nothing else, from now on. What is known of them already stays.
    pub(crate) fn follow<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p Path>,
        look: impl Fn(&Path) -> Option<FileStat>,
    ) {
        let mut old = std::mem::take(&mut self.seen);
        let keep = |path: &Path| match old.remove_entry(path) {
            Some(known) => known,
            None => (path.to_path_buf(), look(path)),
        };
        self.seen = paths.map(keep).collect();
    }

    /// Notes what `path` is now: it is being dealt with.
    pub(crate) fn note(&mut self, path: &Path, found: Option<FileStat>) {
        if let Some(seen) = self.seen.get_mut(path) {
            *seen = found;
        }
    }

    /// Looks are due at an interval from now on, or no longer: the system watches it all.
    pub(crate) fn set_polled(&mut self, polled: bool, now: Instant) {
        let due = self.due.unwrap_or(now + self.wait());
        self.due = polled.then_some(due);
    }

    /// Whether looks are due at an interval.
    pub(crate) fn is_polled(&self) -> bool {
        self.due.is_some()
    }

    /// Looks more often while git is at work.
    pub(crate) fn hurry(&mut self, hurry: bool, now: Instant) {
        self.in_a_hurry = hurry;
        let wait = self.wait();
        if let Some(due) = &mut self.due {
            *due = (*due).min(now + wait);
        }
    }

    /// When the next look is due; `None` while there is nothing to look at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Looks at every path now; returns those that differ from what was seen last.
    pub(crate) fn changed(
        &mut self,
        look: impl Fn(&Path) -> Option<FileStat>,
        now: Instant,
    ) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, seen) in &mut self.seen {
            let found = look(path);
            if *seen != found {
                *seen = found;
                changed.push(path.clone());
            }
        }
        if self.is_polled() {
            self.due = Some(now + self.wait());
        }
        changed
    }

    fn wait(&self) -> Duration {
        if self.in_a_hurry {
            self.interval.min(HURRY)
        } else {
            self.interval
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stat(size: u64) -> FileStat {
        FileStat {
            dev: 1,
            ino: 1,
            size,
            mtime_ns: 0,
            ctime_ns: 0,
            mode: 0o100_644,
        }
    }

    #[test]
    fn what_differs_since_the_last_look_is_told_once() {
        let disk = RefCell::new(BTreeMap::from([(PathBuf::from("/a"), stat(1))]));
        let look = |path: &Path| disk.borrow().get(path).copied();
        let start = Instant::now();
        let mut outside = Outside::new(SECOND);
        assert_eq!(outside.deadline(), None);
        assert!(outside.changed(look, start).is_empty());
        outside.follow([Path::new("/a"), Path::new("/b")].into_iter(), look);
        assert!(outside.deadline().is_none() && !outside.is_polled());
        outside.set_polled(true, start);
        assert_eq!(outside.deadline(), Some(start + SECOND));
        assert!(outside.changed(look, start).is_empty());
        disk.borrow_mut().insert("/a".into(), stat(2));
        // Known paths keep what was seen of them.
        outside.follow([Path::new("/a")].into_iter(), look);
        assert_eq!(outside.changed(look, start), [Path::new("/a")]);
        assert!(outside.changed(look, start).is_empty());
        disk.borrow_mut().clear();
        assert_eq!(outside.changed(look, start), [Path::new("/a")]);
        disk.borrow_mut().insert("/a".into(), stat(3));
        outside.note(Path::new("/a"), Some(stat(3)));
        outside.set_polled(false, start);
        assert!(outside.changed(look, start).is_empty());
        assert_eq!(outside.deadline(), None);
    }

    #[test]
    fn looks_are_more_frequent_while_git_is_at_work() {
        let start = Instant::now();
        let mut outside = Outside::new(SECOND);
        outside.follow([Path::new("/a")].into_iter(), |_| None);
        outside.set_polled(true, start);
        outside.hurry(true, start);
        assert_eq!(outside.deadline(), Some(start + HURRY));
        outside.changed(|_| None, start + HURRY);
        assert_eq!(outside.deadline(), Some(start + 2 * HURRY));
        outside.hurry(false, start);
        outside.changed(|_| None, start + SECOND);
        assert_eq!(outside.deadline(), Some(start + 2 * SECOND));
    }
}
