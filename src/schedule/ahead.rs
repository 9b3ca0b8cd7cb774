//! Starting tasks ahead of the coordinator's word: [`Ahead`].
//!
//! A thread whose command has ended would have to wait until the coordinator has read its report
//! and decided what comes next. Instead it takes the task that the schedule will start as soon as a
//! slot is free, and the coordinator learns that it did when it looks next. What is taken runs like
//! any other task; what is not can be recalled at any time, and as soon as a command fails nothing
//! is taken any more until the coordinator has heard of it. So what is started, and in which order,
//! is the same; it is started sooner.
//!
//! An offered task is ready. Who makes a ready task anything else than running recalls the offers
//! first: a failure, a stop, a change, a service that is asked for or lost.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::report::Serial;
use crate::task_id::TaskId;

/// How many tasks are offered at a time. Enough for the time in which a report can wait.
pub(super) const OFFERS_MAX: usize = 64;

/// What a thread for commands does for one task. Gives what the same thread does next.
pub(super) struct Job(Step);

type Step = Box<dyn FnOnce(&Ahead) -> Option<Job> + Send>;

impl Job {
    pub(super) fn new(run: impl FnOnce(&Ahead) -> Option<Self> + Send + 'static) -> Self {
        Self(Box::new(run))
    }

    /// Does it, and what comes after it. Blocks.
    pub(super) fn run(self, ahead: &Ahead) {
        let mut next = Some(self);
        while let Some(job) = next {
            next = (job.0)(ahead);
        }
    }
}

/// The tasks that are offered to threads that have nothing to do.
#[derive(Default)]
pub(super) struct Ahead {
    // Guards everything. Leaf lock, held for one change.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offers: VecDeque<Offer>,
    /// Whose job was taken, and the coordinator has not heard of it.
    taken: Vec<(TaskId, Serial)>,
    /// A command failed, and the coordinator has not heard of it.
    is_closed: bool,
}

/// One task, to be started by whoever takes it.
pub(super) struct Offer {
    pub(super) id: TaskId,
    pub(super) serial: Serial,
    pub(super) job: Job,
}

/// How the task of a thread is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// So that something more urgent than what is offered may go on now.
    Awaited,
    /// So that others go on as they would have without it.
    Well,
    /// So that others may not be started any more.
    Badly,
}

/// What became of an offer.
pub(super) enum Called {
    /// There was none.
    Unknown,
    /// Nobody has taken it, and nobody will.
    Untaken(Offer),
    /// A thread has.
    Taken(Serial),
}

impl Ahead {
    /// For a thread: the job that it does after its task is `over`, if any. After a bad end nobody
    /// gets one until the next [`Self::recall`].
    pub(super) fn next(&self, over: Over) -> Option<Job> {
        let mut state = self.lock();
        state.is_closed |= over == Over::Badly;
        if state.is_closed || over == Over::Awaited {
            return None;
        }
        let offer = state.offers.pop_front()?;
        state.taken.push((offer.id, offer.serial));
        Some(offer.job)
    }

    /// Offers one more.
    pub(super) fn offer(&self, offer: Offer) {
        self.lock().offers.push_back(offer);
    }

    /// How many are offered.
    pub(super) fn len(&self) -> usize {
        self.lock().offers.len()
    }

    /// What was taken since the last look.
    pub(super) fn taken(&self) -> Vec<(TaskId, Serial)> {
        std::mem::take(&mut self.lock().taken)
    }

    /// What was taken since the last look, and what is still offered.
    pub(super) fn look(&self) -> (Vec<(TaskId, Serial)>, Vec<TaskId>) {
        let mut state = self.lock();
        let offered = state.offers.iter().map(|offer| offer.id).collect();
        (std::mem::take(&mut state.taken), offered)
    }

    /// Takes back what is offered, and lets threads take again. What was taken since the last look.
    pub(super) fn recall(&self) -> Vec<(TaskId, Serial)> {
        let mut state = self.lock();
        state.offers.clear();
        state.is_closed = false;
        std::mem::take(&mut state.taken)
    }

    /// Takes the offer of one task back, if nobody was faster.
    pub(super) fn call(&self, id: TaskId) -> Called {
        let mut state = self.lock();
        if let Some(at) = state.taken.iter().position(|(taken, _)| *taken == id) {
            return Called::Taken(state.taken.swap_remove(at).1);
        }
        let at = state.offers.iter().position(|offer| offer.id == id);
        match at.and_then(|at| state.offers.remove(at)) {
            Some(offer) => Called::Untaken(offer),
            None => Called::Unknown,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(ahead: &Ahead, n: usize) {
        ahead.offer(Offer {
            id: TaskId::new(n),
            serial: Serial(n as u64),
            job: Job::new(well),
        });
    }

    fn well(ahead: &Ahead) -> Option<Job> {
        ahead.next(Over::Well)
    }

    fn ids(taken: &[(TaskId, Serial)]) -> Vec<u64> {
        taken.iter().map(|(_, serial)| serial.0).collect()
    }

    #[test]
    fn a_thread_goes_on_until_nothing_is_offered() {
        let ahead = Ahead::default();
        (1..=3).for_each(|n| offer(&ahead, n));
        Job::new(well).run(&ahead);
        let (taken, offered) = ahead.look();
        assert_eq!((ids(&taken), offered), (vec![1, 2, 3], vec![]));
        assert!(ahead.look().0.is_empty());
    }

    #[test]
    fn after_a_failure_nothing_is_taken_until_the_coordinator_knows() {
        let ahead = Ahead::default();
        (1..=3).for_each(|n| offer(&ahead, n));
        assert!(well(&ahead).is_some());
        assert!(ahead.next(Over::Badly).is_none());
        assert!(well(&ahead).is_none());
        assert_eq!(ids(&ahead.recall()), [1]);
        assert!(well(&ahead).is_none());
        offer(&ahead, 2);
        assert!(well(&ahead).is_some());
    }

    #[test]
    fn where_something_waits_for_the_end_of_a_task_it_comes_first() {
        let ahead = Ahead::default();
        offer(&ahead, 1);
        assert!(ahead.next(Over::Awaited).is_none());
        assert!(well(&ahead).is_some());
    }

    #[test]
    fn an_offer_is_either_taken_or_called_back() {
        let ahead = Ahead::default();
        (1..=3).for_each(|n| offer(&ahead, n));
        assert!(well(&ahead).is_some());
        assert!(matches!(
            ahead.call(TaskId::new(1)),
            Called::Taken(Serial(1))
        ));
        assert!(matches!(ahead.call(TaskId::new(1)), Called::Unknown));
        let called = ahead.call(TaskId::new(2));
        assert!(matches!(called, Called::Untaken(offer) if offer.id == TaskId::new(2)));
        assert_eq!(ahead.look(), (vec![], vec![TaskId::new(3)]));
    }
}
