//! Everything a session reacts to, in one queue: [`Inbox`].

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::schedule::{self, Report, StopAll, Warning};

/// How much may lie in the inbox before those who send have to wait.
const CAPACITY: usize = 1024;

/// How many pieces of output may lie in it. Few: each holds up to 64 KiB, and a change or a word to
/// stop waits behind what is there. Whatever a command writes, those find room.
const PIECES_MAX: usize = 8;

/// One thing to react to.
pub(super) enum Input {
    /// The disk changed.
    Changed(Arc<ChangeSet>),
    /// The watch has something to say.
    Warned(Warning),
    /// A worker has something to say.
    Report(Report),
    /// The user wants failed tasks to run again.
    RetryFailed,
    /// What runs is to get this signal; the answer says that it is on its way.
    Signal(i32, SyncSender<()>),
    /// The user wants an end.
    Stop(StopAll),
}

pub(super) struct Inbox {
    tx: SyncSender<Input>,
    rx: Receiver<Input>,
    pieces: Arc<Pieces>,
}

/// The places for pieces of output.
struct Pieces {
    // Guards how many are taken; `None`: there is nobody to read them any more. Leaf lock, held for
    // one change.
    taken: Mutex<Option<usize>>,
    freed: Condvar,
}

impl Pieces {
    /// Blocks until there is a place.
    fn take(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut Option<usize>| taken.is_some_and(|n| n >= PIECES_MAX);
        let waited = self.freed.wait_while(taken, is_full);
        let mut taken = waited.unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|n| n + 1);
    }

    fn free(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|n| n.saturating_sub(1));
        self.freed.notify_one();
    }

    fn close(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.freed.notify_all();
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        let (tx, rx) = mpsc::sync_channel(CAPACITY);
        let pieces = Arc::new(Pieces {
            taken: Mutex::new(Some(0)),
            freed: Condvar::new(),
        });
        Self { tx, rx, pieces }
    }

    /// The next input; `None` when `deadline` comes first. Blocks.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<Input> {
        let Some(deadline) = deadline else {
            return self.rx.recv().ok().map(|input| self.taken(input));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let input = self.rx.recv_timeout(left).ok()?;
        Some(self.taken(input))
    }

    /// The next input, if there is one already.
    pub(super) fn try_next(&self) -> Option<Input> {
        self.rx.try_recv().ok().map(|input| self.taken(input))
    }

    /// Frees the place that `input` had.
    fn taken(&self, input: Input) -> Input {
        if matches!(&input, Input::Report(report) if report.is_output()) {
            self.pieces.free();
        }
        input
    }

    pub(super) fn sender(&self) -> SyncSender<Input> {
        self.tx.clone()
    }

    pub(super) fn reports(&self) -> schedule::Send {
        let (tx, pieces) = (self.tx.clone(), Arc::clone(&self.pieces));
        Arc::new(move |report| {
            if report.is_output() {
                pieces.take();
            }
            // A report that comes after the session has ended has nobody to concern.
            drop(tx.send(Input::Report(report)));
        })
    }

    pub(super) fn control(&self) -> Control {
        Control {
            tx: self.tx.clone(),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.pieces.close();
    }
}

/// Steers a session from another thread. What is sent after the session has ended is ignored.
#[derive(Clone)]
pub struct Control {
    tx: SyncSender<Input>,
}

impl Control {
    /// Ends the session. Returns at once.
    pub fn stop(&self, how: StopAll) {
        drop(self.tx.send(Input::Stop(how)));
    }

    /// As [`Self::stop`], and never blocks: whether the word was taken. For those who speak from
    /// the session's own thread.
    pub fn try_stop(&self, how: StopAll) -> bool {
        self.tx.try_send(Input::Stop(how)).is_ok()
    }

    /// Sends `signal` to everything that runs, as when the program is suspended and resumed. Returns
    /// when it is on its way, or after a second.
    pub fn signal(&self, signal: i32) {
        let (tx, rx) = mpsc::sync_channel(1);
        if self.tx.send(Input::Signal(signal, tx)).is_ok() {
            // Without an answer the session is busy or over.
            let _late = rx.recv_timeout(Duration::from_secs(1));
        }
    }

    /// Runs the tasks that failed once more. Returns at once.
    pub fn retry_failed(&self) {
        drop(self.tx.send(Input::RetryFailed));
    }
}
