//! Which polled directory to look at when: [`PollWatcher`], a pure schedule.
//!
//! For directories that the system does not watch for us. What changed lately is looked at more
//! often; the whole is stretched so that polling never takes more than its share of a core. The
//! looking is the processor's: it compares inode, size, times and type with the model.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::path::RelDir;

/// The share of one core that polling may take: one in this many.
const SHARE: u32 = 20;
/// How much more often a directory is looked at while it is hot.
const HOT: u32 = 8;
/// How long a directory stays hot after a change, in intervals.
const HOT_INTERVALS: u32 = 30;

/// The polled directories and when each is due.
///
/// ```
/// # use std::time::{Duration, Instant};
/// use watchrun::{path::RelDir, watch::PollWatcher};
///
/// let (start, interval) = (Instant::now(), Duration::from_secs(1));
/// let mut poll = PollWatcher::new(interval);
/// poll.add(&RelDir::ROOT, start);
/// let due = poll.due(start + interval, 256);
/// assert_eq!(due, [RelDir::ROOT]);
/// // Look at them, then say what that took and where something had changed:
/// poll.looked(&due, &[], Duration::from_millis(2), start + interval);
/// ```
pub struct PollWatcher {
    interval: Duration,
    dirs: HashMap<RelDir, Polled>,
    due: BTreeSet<(Instant, RelDir)>,
    /// No look before this: the last ones took that much.
    rest_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Polled {
    due: Instant,
    hot_until: Option<Instant>,
}

impl PollWatcher {
    /// Polls nothing yet; each directory once an `interval`, which is not zero.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            dirs: HashMap::new(),
            due: BTreeSet::new(),
            rest_until: None,
        }
    }

    /// How many directories are polled.
    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Whether nothing is polled.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Whether `dir` is polled.
    pub fn contains(&self, dir: &RelDir) -> bool {
        self.dirs.contains_key(dir)
    }

    /// The first of them, if there is one.
    pub fn first(&self) -> Option<&RelDir> {
        self.dirs.keys().min()
    }

    /// Polls `dir` from now on.
    pub fn add(&mut self, dir: &RelDir, now: Instant) {
        if !self.dirs.contains_key(dir) {
            self.schedule(dir, now + self.interval, None);
        }
    }

    /// Polls it no more.
    pub fn remove(&mut self, dir: &RelDir) {
        if let Some(polled) = self.dirs.remove(dir) {
            self.due.remove(&(polled.due, dir.clone()));
        }
    }

    /// Polls nothing any more.
    pub fn clear(&mut self) {
        self.dirs.clear();
        self.due.clear();
    }

    /// When the next look is due; `None` while nothing is polled.
    pub fn deadline(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        Some(self.rest_until.map_or(*due, |rest| rest.max(*due)))
    }

    /// Up to `max` directories that are due, or nearly so; each must be told of by `looked`.
    pub fn due(&self, now: Instant, max: usize) -> Vec<RelDir> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        // What is nearly due comes along: fewer wake-ups.
        let until = now + self.interval / (HOT * 2);
        let due = self.due.iter().take_while(|(due, _)| *due <= until);
        due.take(max).map(|(_, dir)| dir.clone()).collect()
    }

    /// Every polled directory, in order.
    pub fn all(&self) -> Vec<RelDir> {
        let mut all: Vec<_> = self.dirs.keys().cloned().collect();
        all.sort_unstable();
        all
    }

    /// Notes that `dirs` were looked at, `changed` of them with changes, and that it took `spent`,
    /// as [`PollWatcher::cost`] has it.
    pub fn looked(&mut self, dirs: &[RelDir], changed: &[RelDir], spent: Duration, now: Instant) {
        for dir in dirs {
            let Some(polled) = self.dirs.get(dir).copied() else {
                continue;
            };
            self.due.remove(&(polled.due, dir.clone()));
            let hot_until = if changed.contains(dir) {
                Some(now + self.interval * HOT_INTERVALS)
            } else {
                polled.hot_until.filter(|until| *until > now)
            };
            let wait = match hot_until {
                Some(_) => self.interval / HOT,
                None => self.interval,
            };
            self.schedule(dir, now + wait, hot_until);
        }
        self.rest_until = Some(now + spent * (SHARE - 1));
    }

    /// What looks took that kept a core busy for `cpu` and lasted for `wall`. A machine that has
    /// other things to do makes them last; that puts nothing off for long. Where they mostly wait,
    /// as for a share on the network, half of the time is left for the rest.
    #[must_use]
    pub fn cost(cpu: Duration, wall: Duration) -> Duration {
        cpu.max(wall / (SHARE - 1))
    }

    /// What was looked at last was asked for: it is not held against polling's share.
    pub fn forgive(&mut self) {
        self.rest_until = None;
    }

    fn schedule(&mut self, dir: &RelDir, due: Instant, hot_until: Option<Instant>) {
        self.dirs.insert(dir.clone(), Polled { due, hot_until });
        self.due.insert((due, dir.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn dir(text: &str) -> RelDir {
        RelDir::new(text.as_bytes()).unwrap()
    }

    fn names(dirs: &[RelDir]) -> Vec<String> {
        dirs.iter().map(RelDir::to_string).collect()
    }

    #[test]
    fn a_directory_is_due_once_an_interval_and_sooner_after_a_change() {
        let start = Instant::now();
        let mut poll = PollWatcher::new(SECOND);
        poll.add(&dir("a"), start);
        poll.add(&dir("b"), start);
        assert_eq!(poll.deadline(), Some(start + SECOND));
        assert!(poll.due(start, 9).is_empty());
        let now = start + SECOND;
        let due = poll.due(now, 9);
        assert_eq!(names(&due), ["a", "b"]);
        poll.looked(&due, &[dir("b")], Duration::ZERO, now);
        assert_eq!(poll.deadline(), Some(now + SECOND / 8));
        assert_eq!(names(&poll.due(now + SECOND / 8, 9)), ["b"]);
        // Quiet for long: as all the others again.
        let later = now + SECOND * 31;
        poll.looked(&[dir("b")], &[], Duration::ZERO, later);
        assert_eq!(names(&poll.due(later, 9)), ["a"]);
    }

    #[test]
    fn polling_rests_in_proportion_to_what_it_took() {
        let start = Instant::now();
        let mut poll = PollWatcher::new(SECOND);
        poll.add(&dir("a"), start);
        let now = start + SECOND;
        poll.looked(&[dir("a")], &[], SECOND / 2, now);
        assert_eq!(poll.deadline(), Some(now + SECOND / 2 * 19));
        poll.forgive();
        assert_eq!(poll.deadline(), Some(now + SECOND));
    }

    #[test]
    fn what_others_took_of_the_machine_is_no_cost() {
        assert_eq!(PollWatcher::cost(SECOND, SECOND), SECOND);
        assert_eq!(PollWatcher::cost(SECOND, SECOND * 8), SECOND);
        // A share that answers slowly: as long again without a look.
        let start = Instant::now();
        let mut poll = PollWatcher::new(SECOND);
        poll.add(&dir("a"), start);
        let cost = PollWatcher::cost(SECOND / 1000, SECOND * 38);
        poll.looked(&[dir("a")], &[], cost, start);
        assert_eq!(poll.deadline(), Some(start + SECOND * 38));
    }

    #[test]
    fn what_is_removed_is_never_due() {
        let start = Instant::now();
        let mut poll = PollWatcher::new(SECOND);
        poll.add(&dir("a"), start);
        poll.remove(&dir("a"));
        assert_eq!((poll.deadline(), poll.len()), (None, 0));
    }
}
