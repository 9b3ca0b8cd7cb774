//! Watching one running command: [`Watch`]. One thread and one `poll` see to its output, its first
//! process, what else is left of its tree, its cancellation and the clock.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::exec::cancel::{Level, Waker};
use crate::exec::tree::Tree;
use crate::exec::{Cancel, Command, Observed};

/// How much is read from a pipe at once. What a pipe holds by default.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long after a kill it is looked again for what the kill did not reach.
const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// How often a tree that was asked to end is looked at while it changes all the time.
const RESTLESS_INTERVAL: Duration = Duration::from_millis(2);

/// A time that never comes.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// Why a tree came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its leader ended by itself.
    Exited,
    /// Its time was up.
    TimedOut,
    /// It was stopped.
    Cancelled,
}

/// One running command, from its start to the death of its tree.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    command: &'a Command,
    cancel: &'a Cancel,
    waker: &'a Arc<Waker>,
    /// Of the leader; readable when it has ended.
    pidfd: OwnedFd,
    /// `None` once nobody holds its other end.
    output: Option<OwnedFd>,
    buffer: Vec<u8>,
    phase: Phase,
    /// Whether the leader has ended.
    has_ended: bool,
    /// Why the tree must die; the first cause counts.
    cause: Option<Cause>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It may run until then.
    Running(Option<Instant>),
    /// It was asked to end, and has until then.
    Stopping(Instant),
    /// It is being killed; what is left then is killed again.
    Killing(Instant),
}

/// What `poll` found.
#[derive(Clone, Copy, Debug)]
struct Ready {
    output: Output,
    /// Whether the waker was called.
    call: bool,
    /// Whether one of the tree has ended.
    death: Death,
    /// Whether the time that was waited for has come.
    is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    None,
    Leader,
    Member,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Nothing,
    Bytes,
    Closed,
}

impl<'a> Watch<'a> {
    /// `pidfd` is the leader's, `output` the reading end of its pipe.
    pub(super) fn new(
        command: &'a Command,
        cancel: &'a Cancel,
        waker: &'a Arc<Waker>,
        pidfd: OwnedFd,
        output: Option<OwnedFd>,
    ) -> Self {
        let phase = Phase::Running(command.timeout.map(after));
        let (buffer, has_ended, cause) = (Vec::new(), false, None);
        Self {
            command,
            cancel,
            waker,
            pidfd,
            output,
            buffer,
            phase,
            has_ended,
            cause,
        }
    }

    /// Returns when nothing of `tree` is left but the leader, which is a zombie then, and when its
    /// output has been handed on.
    pub(super) fn run(
        mut self,
        tree: &mut Tree<'_>,
        observe: &mut dyn FnMut(Observed<'_>),
    ) -> Cause {
        loop {
            let ready = self.wait(tree);
            match ready.output {
                Output::Nothing => {}
                Output::Bytes => {
                    self.read(observe);
                    tree.reap_orphans();
                }
                Output::Closed => self.output = None,
            }
            if ready.death == Death::Leader {
                self.has_ended = true;
                self.cause.get_or_insert(Cause::Exited);
            }
            let level = if ready.call {
                self.answer_call(tree)
            } else {
                Level::None
            };
            if ready.is_late {
                self.cause.get_or_insert(Cause::TimedOut);
            }
            let has_news =
                ready.death != Death::None || ready.call || ready.is_late || tree.is_restless();
            if let (true, Some(cause)) = (has_news, self.cause)
                && self.advance(tree, level, ready.is_late)
            {
                self.drain(observe);
                return cause;
            }
        }
    }

    /// Takes the death of the tree one step further; whether it is complete.
    fn advance(&mut self, tree: &mut Tree<'_>, level: Level, is_late: bool) -> bool {
        tree.refresh();
        if self.has_ended && tree.is_empty() {
            return true;
        }
        let stop = self.command.stop;
        let signal = Signal::from_named_raw(stop.signal).unwrap_or(Signal::TERM);
        match self.phase {
            Phase::Killing(_) => {}
            _ if level == Level::Kill => self.phase = Phase::Killing(after(KILL_INTERVAL)),
            Phase::Running(_) => {
                self.phase = Phase::Stopping(after(stop.grace));
                tree.ask(signal);
                return self.has_ended && tree.is_empty();
            }
            Phase::Stopping(_) if is_late => self.phase = Phase::Killing(after(KILL_INTERVAL)),
            Phase::Stopping(_) => {
                tree.ask_strays(signal);
                return false;
            }
        }
        self.phase = Phase::Killing(after(KILL_INTERVAL));
        // A leader that may not be killed runs as another user: nothing more can be done.
        let is_reachable = tree.kill();
        (self.has_ended || !is_reachable) && tree.is_empty()
    }

    /// Waits for the first thing to happen.
    fn wait(&self, tree: &Tree<'_>) -> Ready {
        let until = match self.phase {
            Phase::Running(until) => until,
            Phase::Stopping(until) | Phase::Killing(until) => Some(until),
        };
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
        fds.push(readable(self.waker.as_fd()));
        fds.extend(self.output.iter().map(|output| readable(output.as_fd())));
        let leader_at = fds.len();
        if !self.has_ended {
            fds.push(readable(self.pidfd.as_fd()));
        }
        let members_at = fds.len();
        fds.extend(tree.pidfds().map(readable));
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = match self.phase {
            Phase::Killing(_) if tree.is_restless() => Some(Duration::ZERO),
            _ if tree.is_restless() => timeout.map(|timeout| timeout.min(RESTLESS_INTERVAL)),
            _ => timeout,
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // When a signal to this process interrupts it, nothing is ready and the caller comes again.
        let is_ok = poll(&mut fds, timeout.as_ref()).is_ok();
        let is_ready = |fd: &PollFd<'_>| is_ok && !fd.revents().is_empty();
        let output = match fds[1..leader_at].first() {
            Some(fd) if is_ready(fd) && fd.revents().contains(PollFlags::IN) => Output::Bytes,
            Some(fd) if is_ready(fd) => Output::Closed,
            Some(_) | None => Output::Nothing,
        };
        let death = match fds[leader_at..].iter().position(is_ready) {
            Some(at) if leader_at + at < members_at => Death::Leader,
            Some(_) => Death::Member,
            None => Death::None,
        };
        Ready {
            output,
            call: is_ready(&fds[0]),
            death,
            is_late: until.is_some_and(|at| Instant::now() >= at),
        }
    }

    /// Reads what is there. Only called when something is, so it does not block.
    fn read(&mut self, observe: &mut dyn FnMut(Observed<'_>)) {
        let Some(output) = &self.output else {
            return;
        };
        self.buffer.clear();
        self.buffer.reserve(CHUNK_BYTES);
        match rustix::io::read(output, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(1..) => observe(Observed::Output(&self.buffer)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.output = None,
        }
    }

    /// Reads what is still in the pipe. Does not wait for its end: a process that is not of the
    /// tree may have been given the other end and keep it.
    fn drain(&mut self, observe: &mut dyn FnMut(Observed<'_>)) {
        while let Some(output) = &self.output {
            let mut fds = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            match poll(&mut fds, Some(&now)) {
                Ok(1..) if fds[0].revents().contains(PollFlags::IN) => self.read(observe),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Passes on the signals that were asked for and says how far a stop has gone.
    fn answer_call(&mut self, tree: &Tree<'_>) -> Level {
        self.waker.clear();
        for signal in self.cancel.take_signals(self.waker) {
            if let Some(signal) = Signal::from_named_raw(signal) {
                tree.pass_on(signal);
            }
        }
        let level = self.cancel.level();
        if level > Level::None {
            self.cause.get_or_insert(Cause::Cancelled);
        }
        level
    }
}

/// The time `delay` from now, or one that never comes.
fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or_else(|| now + FOR_EVER)
}
