//! What is done when events were lost or cannot be had: fresh watches, polling, and the way back.
//!
//! Lost events cost one comparison with the disk. Where they are lost again and again, or the
//! system does not watch at all, directories are polled; whether it does by now is tried again
//! after a while, and then after longer.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::path::RelDir;
use crate::watch::cookies::Cookies;
use crate::watch::options::Backend;
use crate::watch::processor::EventProcessor;
use crate::watch::reconcile::{Depth, Report, Task};
use crate::watch::record::Record;
use crate::watch::warning::{PollReason, Warning};

/// Losing events more often than this within [`LOSSES_WINDOW`] means that the system's watcher
/// cannot keep up.
const LOSSES_MAX: usize = 8;
const LOSSES_WINDOW: Duration = Duration::from_secs(10);
/// After how many poll intervals the system is first asked again to watch what is polled.
const RETRY_INTERVALS: u32 = 32;
/// How much longer than that the wait may become; it doubles with each failure.
const RETRY_FACTOR_MAX: u32 = 16;

/// How often events were lost, and when to try again to have the system watch what is polled.
#[derive(Debug)]
pub(crate) struct Recovery {
    losses: Vec<Instant>,
    /// The first and shortest wait.
    wait: Duration,
    factor: u32,
    retry_at: Option<Instant>,
    /// The system's watcher was given up as a whole.
    has_given_up: bool,
}

impl Recovery {
    pub(crate) fn new(poll_interval: Duration) -> Self {
        Self {
            losses: Vec::new(),
            wait: poll_interval.saturating_mul(RETRY_INTERVALS),
            factor: 1,
            retry_at: None,
            has_given_up: false,
        }
    }

    /// When the system is to be asked again; `None` while it watches everything.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Notes that the system refused to watch something.
    pub(crate) fn plan_retry(&mut self, now: Instant) {
        let wait = self.wait.saturating_mul(self.factor);
        self.retry_at.get_or_insert(now + wait);
    }

    /// Notes a loss of events; `true` when there were too many of them lately.
    fn note_loss(&mut self, now: Instant) -> bool {
        self.losses
            .retain(|at| now.saturating_duration_since(*at) < LOSSES_WINDOW);
        self.losses.push(now);
        self.losses.len() > LOSSES_MAX
    }

    /// Whether to ask again now. The next wait is twice as long.
    fn take_due(&mut self, now: Instant) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= now);
        if due {
            self.retry_at = None;
            self.factor = (self.factor * 2).min(RETRY_FACTOR_MAX);
        }
        due
    }
}

impl EventProcessor {
    /// The system lost events or failed: fresh watches, then a comparison of everything with the
    /// disk. Polls for a while instead where that happens again and again.
    pub(crate) fn repair(&mut self, lost: bool, now: Instant) {
        let too_often = self.recovery.note_loss(now) && self.options.backend == Backend::Auto;
        let before = self.debouncer.len();
        let lost = self.restart_source() || lost;
        if lost {
            self.note_lost(now);
        }
        if too_often {
            self.poll_everything(PollReason::LosesEvents, now);
        } else {
            self.watch_surroundings();
            self.rescan(now);
        }
        if lost {
            let changes = self.debouncer.len().saturating_sub(before);
            self.warn(&Warning::OverflowRepaired { changes });
        }
    }

    /// Compares everything with the disk, under fresh watches; nothing is wrong with the system.
    pub(crate) fn compare_everything(&mut self, now: Instant) {
        if self.restart_source() {
            self.note_lost(now);
        }
        self.watch_surroundings();
        self.rescan(now);
    }

    fn note_lost(&mut self, now: Instant) {
        self.shared.metrics.overflows.fetch_add(1, Relaxed);
        self.record(&|| Record::Gap, now);
        self.debouncer.mark_gap();
    }

    /// Gives up on the system's watcher, for a while.
    pub(crate) fn poll_everything(&mut self, reason: PollReason, now: Instant) {
        self.restart_source();
        self.notices.note(reason, &RelDir::ROOT);
        self.options.backend = Backend::Poll;
        self.recovery.has_given_up = true;
        self.budget.clear();
        self.recovery.plan_retry(now);
        self.watch_surroundings();
        self.rescan(now);
    }

    /// Asks the system again, when that is due, to watch what is polled.
    pub(crate) fn retry_native(&mut self, now: Instant) {
        if !self.recovery.take_due(now) {
            return;
        }
        self.shared.metrics.retries.fetch_add(1, Relaxed);
        if std::mem::take(&mut self.recovery.has_given_up) {
            self.options.backend = Backend::Auto;
            self.poll.clear();
            self.budget.clear();
            self.compare_everything(now);
            self.start_probe(now);
            return;
        }
        let dirs = self.poll.all();
        let tasks = |own: &Self, dirs: &[RelDir]| -> Vec<Task> {
            dirs.iter().filter_map(|dir| own.task(dir)).collect()
        };
        self.watch(&tasks(self, &dirs), now);
        let is_native = |dir: &RelDir| !self.poll.contains(dir);
        let native: Vec<RelDir> = dirs.into_iter().filter(is_native).collect();
        // Watched first, read after, as always.
        self.read(tasks(self, &native), Depth::Shallow, Report::Changes, now);
        self.share_watches(now);
        self.watch_surroundings();
        if self.poll.is_empty() {
            self.notices.clear();
            self.recovery.factor = 1;
        }
    }

    /// Drops every watch. Marks under way went with them: they are sent again once the loop has
    /// made new watches.
    ///
    /// Returns whether events had been lost before.
    pub(crate) fn restart_source(&mut self) -> bool {
        self.shared.metrics.restarts.fetch_add(1, Relaxed);
        self.shared.queue.set_open_gate(true);
        self.source.restart();
        let lost = self.shared.queue.clear_paths();
        self.shared.queue.set_open_gate(false);
        let marks = self
            .cookies
            .as_mut()
            .map_or_else(Vec::new, Cookies::take_all);
        self.stranded.extend(marks);
        lost
    }

    pub(crate) fn resend_marks(&mut self, now: Instant) {
        if !self.stranded.is_empty() && self.debouncer.is_locked() {
            // That git let go may be among what was lost.
            self.start_unlock(now);
        }
        for (purpose, until) in std::mem::take(&mut self.stranded) {
            self.send_mark(purpose, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked_again_after_longer_and_longer() {
        let start = Instant::now();
        let mut recovery = Recovery::new(Duration::from_secs(1));
        assert_eq!(recovery.deadline(), None);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..6 {
            recovery.plan_retry(now);
            recovery.plan_retry(now + Duration::from_secs(5));
            let at = recovery.deadline().unwrap();
            assert!(!recovery.take_due(now));
            waits.push((at - now).as_secs());
            now = at;
            assert!(recovery.take_due(now) && !recovery.take_due(now));
        }
        assert_eq!(waits, [32, 64, 128, 256, 512, 512]);
    }

    #[test]
    fn only_losses_in_quick_succession_are_too_many() {
        let start = Instant::now();
        let mut recovery = Recovery::new(Duration::from_secs(1));
        for n in 0..20 {
            assert!(!recovery.note_loss(start + Duration::from_secs(2 * n)));
        }
        let now = start + Duration::from_secs(100);
        let too_many: Vec<bool> = (0..9).map(|_| recovery.note_loss(now)).collect();
        assert_eq!(too_many.iter().filter(|&&many| many).count(), 1);
        assert!(too_many[8]);
    }
}
