//! What the driver waits for by the clock: a task that is *poised*, and one that *lingers*.
//!
//! Poised is a task whose inputs moved during its last runs: its start is told, and its command
//! starts when nothing changed for a while. What changes meanwhile was not written by the task
//! itself, also if it answers the start. Lingering is one that `auto` leaves to end though it has
//! to start over: for how long is bounded, as it may be a server.

use std::time::{Duration, Instant};

use super::run::Driver;
use super::state::{Busy, TaskState};
use crate::outcome::Outcome;
use crate::state::Moved;
use crate::task_id::TaskId;
use crate::watchfile::OnBusy;

/// After so many runs in a row with moved inputs the next one is poised first.
const MOVED_BEFORE_POISE: u32 = 2;

/// How long `auto` waits at least for a task that lingers.
const PATIENCE_MIN: Duration = Duration::from_secs(4);

/// How long the run after one that took `took` and `moved` its inputs is poised, if at all: half as
/// long, as somebody who saves now and then is met in a long run more likely, within bounds.
pub(super) fn poise(moved: &Moved, took: Duration) -> Option<Duration> {
    let quiet = (took / 2).clamp(Duration::from_millis(500), Duration::from_secs(5));
    (moved.in_a_row >= MOVED_BEFORE_POISE).then_some(quiet)
}

/// How long `auto` waits for the end of a run of a task that usually takes `typical`: twice that.
/// One that has not ended by then may never do so.
fn patience(typical: Option<Duration>) -> Duration {
    typical.map_or(PATIENCE_MIN, |typical| PATIENCE_MIN.max(typical * 2))
}

impl Driver {
    /// When [`Self::tick`] has to be called next; `None`: no need to.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self.poised.values().chain(self.lingering.values());
        waits.chain(&self.listening).min().copied()
    }

    /// Goes on with tasks whose time has come.
    pub fn tick(&mut self, now: Instant) {
        self.listening = self.listening.filter(|&until| until > now);
        let due = |(&id, &at): (&TaskId, &Instant)| (at <= now).then_some(id);
        let poised: Vec<TaskId> = self.poised.iter().filter_map(due).collect();
        for id in poised {
            self.poised.remove(&id);
            self.schedule.let_finish(id);
            self.execute(id);
        }
        let lingering: Vec<TaskId> = self.lingering.iter().filter_map(due).collect();
        for id in lingering {
            self.lingering.remove(&id);
            let never_ended = self.typical(id).is_none();
            self.schedule.set_endless(id, never_ended);
            self.schedule.stop_waiting_for(id);
        }
        self.pump();
    }

    /// A running task was found stale: if it is left to end all the same, that is not for ever.
    pub(super) fn may_linger(&mut self, id: TaskId, now: Instant) {
        let is_left = self.schedule.state(id) == TaskState::Running(Busy::Queued);
        if is_left && self.plan.task(id).on_busy == OnBusy::Auto {
            let until = now + patience(self.typical(id));
            self.lingering.entry(id).or_insert(until);
        }
    }

    fn typical(&self, id: TaskId) -> Option<Duration> {
        self.ports.engine.typical_duration(self.plan.name(id))
    }

    /// If the command of `id` did not start yet, its start is taken back, and it is looked at anew.
    pub(super) fn put_off(&mut self, id: TaskId) {
        if self.take_back(id) {
            self.progress[id].comes_from_outside();
            self.schedule.put_off(id);
        }
    }

    /// The same, without another start. Whether it was so.
    pub(super) fn withdraw(&mut self, id: TaskId) -> bool {
        let was_poised = self.take_back(id);
        if was_poised {
            self.ended(id, Outcome::Cancelled, false);
        }
        was_poised
    }

    fn take_back(&mut self, id: TaskId) -> bool {
        if self.poised.remove(&id).is_none() {
            return false;
        }
        let finished = self.finish_of(id, Outcome::Cancelled, Duration::ZERO);
        self.finished(id, finished);
        let progress = &mut self.progress[id];
        progress.cancel = None;
        progress.lock = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PathSample;

    #[test]
    fn the_third_run_in_a_row_is_poised_in_proportion_to_the_last_one() {
        let poise = |in_a_row, took| {
            let paths = PathSample::default();
            poise(&Moved { paths, in_a_row }, Duration::from_millis(took)).map(|d| d.as_millis())
        };
        assert_eq!(poise(1, 2_000), None);
        assert_eq!(poise(2, 20), Some(500));
        assert_eq!(poise(2, 2_000), Some(1_000));
        assert_eq!(poise(2, 60_000), Some(5_000));
    }

    #[test]
    fn patience_is_twice_the_usual_time() {
        let patience = |typical: Option<u64>| patience(typical.map(Duration::from_secs)).as_secs();
        assert_eq!(patience(None), 4);
        assert_eq!(patience(Some(1)), 4);
        assert_eq!(patience(Some(60)), 120);
    }
}
