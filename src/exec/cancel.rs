//! Stopping what runs, from any thread: [`Cancel`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Stops the commands that run under it. Clones are one and the same.
///
/// Setting it never blocks and wakes the command's thread at once. It cannot be unset: each
/// attempt takes a new one.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    // Guards the level, the pending signals and the wakers of those that run under it. Leaf lock,
    // held for one read or one change and the (never blocking) wake-up.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    level: Level,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    waker: Arc<Waker>,
    signals: Vec<i32>,
}

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// It may run.
    #[default]
    None,
    /// Signal, grace, kill.
    Graceful,
    /// Kill.
    Kill,
}

impl Cancel {
    /// One that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks what runs under it to stop: its stop signal, its grace, then a kill.
    pub fn cancel(&self) {
        self.raise(Level::Graceful);
    }

    /// Kills what runs under it at once.
    pub fn kill(&self) {
        self.raise(Level::Kill);
    }

    /// Whether [`cancel`](Self::cancel) or [`kill`](Self::kill) was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().level > Level::None
    }

    /// Sends `signal` to the process groups of what runs under it now; the commands go on.
    pub fn signal(&self, signal: i32) {
        let mut state = self.lock();
        for run in &mut state.runs {
            run.signals.push(signal);
            run.waker.wake();
        }
    }

    /// Waits for `time`, or less if it is set. Whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        let Ok(waker) = Waker::new().map(Arc::new) else {
            return self.is_cancelled();
        };
        if self.attach(&waker) {
            let mut fds = [PollFd::new(&*waker, PollFlags::IN)];
            let time = Timespec::try_from(time).ok();
            let _interrupted = poll(&mut fds, time.as_ref());
            self.detach(&waker);
        }
        self.is_cancelled()
    }

    pub(super) fn level(&self) -> Level {
        self.lock().level
    }

    /// Takes the signals to pass on to the run that `waker` belongs to.
    pub(super) fn take_signals(&self, waker: &Arc<Waker>) -> Vec<i32> {
        let mut state = self.lock();
        let mut own = state
            .runs
            .iter_mut()
            .filter(|run| Arc::ptr_eq(&run.waker, waker));
        own.next()
            .map(|run| std::mem::take(&mut run.signals))
            .unwrap_or_default()
    }

    /// From now on a stop wakes `waker`. `false`, and nothing is done, when it is set already.
    pub(super) fn attach(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.lock();
        if state.level > Level::None {
            return false;
        }
        state.runs.push(Run {
            waker: Arc::clone(waker),
            signals: Vec::new(),
        });
        true
    }

    pub(super) fn detach(&self, waker: &Arc<Waker>) {
        let mut state = self.lock();
        state.runs.retain(|run| !Arc::ptr_eq(&run.waker, waker));
        // Given back by the thread that took it: another one would have to wait for the allocator.
        state.runs.shrink_to_fit();
    }

    fn raise(&self, level: Level) {
        let mut state = self.lock();
        if state.level < level {
            state.level = level;
            for run in &state.runs {
                run.waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor that becomes readable when someone calls.
#[derive(Debug)]
pub(super) struct Waker {
    event: OwnedFd,
    // Spares the system call that empties `event` where nobody called, the usual case.
    called: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event,
            called: AtomicBool::new(false),
        })
    }

    /// Makes it readable. Never blocks: a counter that is full is readable too.
    pub(super) fn wake(&self) {
        self.called.store(true, Ordering::Release);
        let _full = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable again.
    pub(super) fn clear(&self) {
        if self.called.swap(false, Ordering::AcqRel) {
            let _empty = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
