//! Everything a session reacts to, in one queue: [`Inbox`].

use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::schedule::{self, REPORT_DELAY_MAX, Report, StopAll, Warning};

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

impl Input {
    fn is_piece(&self) -> bool {
        matches!(self, Self::Report(report) if report.is_output())
    }

    fn can_wait(&self) -> bool {
        matches!(self, Self::Report(report) if report.can_wait())
    }
}

/// The reading end. Dropping it ends all waits of those who send.
pub(super) struct Inbox {
    shared: Arc<Shared>,
}

/// The sending end.
#[derive(Clone)]
pub(super) struct Sender {
    shared: Arc<Shared>,
}

/// Nobody reads the inbox any more.
#[derive(Debug, thiserror::Error)]
#[error("the session has ended")]
pub(super) struct Closed;

struct Shared {
    // Guards everything. Leaf lock, held for one change.
    queue: Mutex<Queue>,
    /// There is something to read.
    filled: Condvar,
    /// There is room to write.
    freed: Condvar,
}

struct Queue {
    inputs: VecDeque<Input>,
    /// How many of them are pieces of output.
    pieces: usize,
    reader: Reader,
    /// How many wait for room.
    writers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// It comes again before it waits, or was called.
    Awake,
    /// It waits, for so long.
    Waits(Option<Instant>),
    /// It does not come again.
    Gone,
}

impl Reader {
    /// Whether it waits and is to be called for `input`.
    fn is_wanted(self, input: &Input) -> bool {
        match self {
            Self::Awake | Self::Gone => false,
            Self::Waits(Some(until)) if input.can_wait() => {
                until > Instant::now() + REPORT_DELAY_MAX
            }
            Self::Waits(_) => true,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `input` in. Blocks while there is no room.
    fn put(&self, input: Input) -> Result<(), Closed> {
        let mut queue = self.lock();
        while !queue.has_room(&input) {
            queue.writers += 1;
            let waited = self.freed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.writers -= 1;
        }
        self.push(queue, input)
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, input: Input) -> Result<(), Closed> {
        if queue.reader == Reader::Gone {
            return Err(Closed);
        }
        let calls = queue.reader.is_wanted(&input);
        if calls {
            queue.reader = Reader::Awake;
        }
        queue.pieces += usize::from(input.is_piece());
        queue.inputs.push_back(input);
        drop(queue);
        if calls {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes the next input out, if there is one.
    fn take(&self, queue: &mut Queue) -> Option<Input> {
        let input = queue.inputs.pop_front()?;
        queue.pieces -= usize::from(input.is_piece());
        if queue.writers > 0 {
            self.freed.notify_all();
        }
        Some(input)
    }
}

impl Queue {
    /// Whether `input` finds room, or nobody to read it.
    fn has_room(&self, input: &Input) -> bool {
        let is_full = self.inputs.len() >= CAPACITY;
        let is_full = is_full || input.is_piece() && self.pieces >= PIECES_MAX;
        self.reader == Reader::Gone || !is_full
    }
}

impl Sender {
    /// Sends `input`. Blocks while the inbox is full.
    pub(super) fn send(&self, input: Input) -> Result<(), Closed> {
        self.shared.put(input)
    }

    /// As [`Self::send`], and never blocks: whether the inbox had room.
    fn try_send(&self, input: Input) -> bool {
        let queue = self.shared.lock();
        queue.has_room(&input) && self.shared.push(queue, input).is_ok()
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        let queue = Queue {
            inputs: VecDeque::new(),
            pieces: 0,
            reader: Reader::Awake,
            writers: 0,
        };
        let shared = Shared {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            freed: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The next input; `None` when `deadline` comes first. Blocks.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<Input> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(input) = self.shared.take(&mut queue) {
                return Some(input);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            queue.reader = Reader::Waits(deadline);
            let filled = &self.shared.filled;
            queue = match left {
                None => filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = filled.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            queue.reader = Reader::Awake;
        }
    }

    /// The next input, if there is one already.
    pub(super) fn try_next(&self) -> Option<Input> {
        self.shared.take(&mut self.shared.lock())
    }

    pub(super) fn sender(&self) -> Sender {
        Sender {
            shared: Arc::clone(&self.shared),
        }
    }

    pub(super) fn reports(&self) -> schedule::Send {
        let tx = self.sender();
        // A report that comes after the session has ended has nobody to concern.
        Arc::new(move |report| drop(tx.send(Input::Report(report))))
    }

    pub(super) fn control(&self) -> Control {
        Control { tx: self.sender() }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.lock().reader = Reader::Gone;
        self.shared.freed.notify_all();
    }
}

/// Steers a session from another thread. What is sent after the session has ended is ignored.
#[derive(Clone)]
pub struct Control {
    tx: Sender,
}

impl Control {
    /// Ends the session. Returns at once.
    pub fn stop(&self, how: StopAll) {
        drop(self.tx.send(Input::Stop(how)));
    }

    /// As [`Self::stop`], and never blocks: whether the word was taken. For those who speak from
    /// the session's own thread.
    pub fn try_stop(&self, how: StopAll) -> bool {
        self.tx.try_send(Input::Stop(how))
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// An inbox that has no room left.
    fn full() -> (Inbox, Sender) {
        let inbox = Inbox::new();
        let tx = inbox.sender();
        for _ in 0..CAPACITY {
            assert!(tx.try_send(Input::RetryFailed));
        }
        assert!(!tx.try_send(Input::RetryFailed));
        (inbox, tx)
    }

    #[test]
    fn inputs_come_in_order_and_what_is_there_comes_after_the_deadline_too() {
        let inbox = Inbox::new();
        let tx = inbox.sender();
        let past = Some(Instant::now());
        assert!(inbox.next(past).is_none());
        tx.send(Input::RetryFailed).unwrap();
        tx.send(Input::Stop(StopAll::Kill)).unwrap();
        assert!(matches!(inbox.next(past), Some(Input::RetryFailed)));
        assert!(matches!(inbox.try_next(), Some(Input::Stop(_))));
        assert!(inbox.try_next().is_none());
    }

    #[test]
    fn who_waits_for_an_input_is_called() {
        let inbox = Inbox::new();
        let tx = inbox.sender();
        let far = Instant::now() + Duration::from_secs(3600);
        for deadline in [None, Some(far)] {
            thread::scope(|scope| {
                let reader = scope.spawn(|| inbox.next(deadline));
                tx.send(Input::RetryFailed).unwrap();
                assert!(reader.join().unwrap().is_some());
            });
        }
    }

    #[test]
    fn who_waits_for_room_goes_on_when_there_is_some() {
        let (inbox, tx) = full();
        thread::scope(|scope| {
            let writer = scope.spawn(|| tx.send(Input::RetryFailed));
            let taken = (0..=CAPACITY).filter_map(|_| inbox.next(None)).count();
            assert_eq!(taken, CAPACITY + 1);
            assert!(writer.join().unwrap().is_ok());
        });
    }

    #[test]
    fn the_end_of_the_inbox_ends_all_waits() {
        let (inbox, tx) = full();
        thread::scope(|scope| {
            let writers = [(); 3].map(|()| scope.spawn(|| tx.send(Input::RetryFailed)));
            drop(inbox);
            for writer in writers {
                assert!(writer.join().unwrap().is_err());
            }
        });
        assert!(tx.send(Input::RetryFailed).is_err());
    }

    #[test]
    fn only_a_reader_that_waits_is_called() {
        let now = Instant::now();
        let until = |ms| Reader::Waits(Some(now + Duration::from_millis(ms)));
        for reader in [Reader::Waits(None), until(1), until(60_000)] {
            assert!(reader.is_wanted(&Input::RetryFailed));
        }
        for reader in [Reader::Awake, Reader::Gone] {
            assert!(!reader.is_wanted(&Input::RetryFailed));
        }
    }
}
