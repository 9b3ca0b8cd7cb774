//! Keys while watching: [`Keys`]. The only file that changes the terminal's modes.
//!
//! Single keys arrive without Enter, and are not shown. Whatever happens, the modes are restored:
//! at the end, while a task has the terminal, and before the program is suspended. In the
//! background nothing is read, since that would stop the program.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};
use watchrun::exec::owns_terminal;
use watchrun::schedule::StopAll;
use watchrun::session::Control;

use super::report::Notices;

const HELP: &str = "\
keys:
  r  run the tasks that failed once more, else those that are never fresh
  c  clear the screen
  q  stop, and once more: kill
  h  this
";

const ESCAPE: u8 = 0x1b;

/// Reads keys on a thread of its own, until it is dropped.
pub(crate) struct Keys {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    /// Wakes the thread.
    wake: OwnedFd,
    // Guards the terminal: who holds it may read it and change its modes. Held for one read that
    // does not block, or for one change of the modes.
    state: Mutex<State>,
}

struct State {
    /// The terminal's own modes, while ours are set.
    modes: Option<Termios>,
    /// How many reasons there are not to read.
    pauses: usize,
    ended: bool,
}

impl Keys {
    /// Passes keys on to a session. `None` where input is no terminal.
    pub(crate) fn pass_to(control: Control, notices: Notices) -> io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let shared = Arc::new(Shared {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::new(State {
                modes: None,
                pauses: 0,
                ended: false,
            }),
        });
        shared.lock().take_over();
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || own.listen(&control, &notices))?;
        Ok(Some(Self {
            shared,
            thread: Some(thread),
        }))
    }

    /// Gives the terminal its own modes, and reads nothing until [`Self::resume`].
    pub(crate) fn pause(&self) {
        let mut state = self.shared.lock();
        state.pauses += 1;
        state.give_back();
    }

    /// The program may be in the foreground again.
    pub(crate) fn look_again(&self) {
        self.shared.lock().take_over();
        self.shared.wake();
    }

    /// Takes one [`Self::pause`] back.
    pub(crate) fn resume(&self) {
        let mut state = self.shared.lock();
        state.pauses = state.pauses.saturating_sub(1);
        state.take_over();
        drop(state);
        self.shared.wake();
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.give_back();
        drop(state);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // What it panicked of is of no use now.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn listen(&self, control: &Control, notices: &Notices) {
        let mut stops = 0;
        loop {
            let reads = {
                let state = self.lock();
                if state.ended {
                    return;
                }
                state.may_read()
            };
            let stdin = stdin();
            let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
            if reads {
                fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            if poll(&mut fds, None).is_err() {
                continue;
            }
            if !fds[0].revents().is_empty() {
                let _empty = rustix::io::read(&self.wake, &mut [0; 8]);
            }
            let is_typed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            if !is_typed {
                continue;
            }
            let Some(keys) = self.read() else { return };
            for key in keys {
                match key {
                    b'r' => control.retry_failed(),
                    b'h' | b'?' => notices.say(HELP),
                    b'c' => notices.wipe(),
                    b'q' => {
                        stops += 1;
                        notices.stops();
                        control.stop(if stops == 1 {
                            StopAll::Gracefully
                        } else {
                            StopAll::Kill
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    /// What was typed; `None` when the terminal is gone.
    fn read(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        if !state.may_read() {
            return Some(Vec::new());
        }
        let mut keys = [0; 64];
        match rustix::io::read(stdin(), &mut keys) {
            Ok(0) => None,
            Ok(n) => Some(without_codes(&keys[..n])),
            Err(rustix::io::Errno::INTR) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    fn wake(&self) {
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_read(&self) -> bool {
        !self.ended && self.pauses == 0 && self.modes.is_some() && owns_terminal()
    }

    /// Sets our modes, if it is our turn.
    fn take_over(&mut self) {
        if self.ended || self.pauses > 0 || self.modes.is_some() || !owns_terminal() {
            return;
        }
        let Ok(modes) = tcgetattr(stdin()) else {
            return;
        };
        let mut own = modes.clone();
        own.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        own.special_codes[SpecialCodeIndex::VMIN] = 1;
        own.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(stdin(), OptionalActions::Now, &own).is_ok() {
            self.modes = Some(modes);
        }
    }

    fn give_back(&mut self) {
        if let Some(modes) = self.modes.take()
            && owns_terminal()
        {
            let _gone = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
    }
}

/// Leaves out the codes of arrows and the like: the letters in them are no keys.
fn without_codes(typed: &[u8]) -> Vec<u8> {
    let mut keys = Vec::new();
    let mut bytes = typed.iter();
    while let Some(&byte) = bytes.next() {
        if byte != ESCAPE {
            keys.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'[') => drop(bytes.find(|byte| (0x40..0x7f).contains(*byte))),
            Some(b'O') => drop(bytes.next()),
            // With Alt, or the key alone.
            Some(_) | None => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::without_codes;

    #[test]
    fn letters_in_codes_are_no_keys() {
        assert_eq!(without_codes(b"rq"), b"rq");
        assert_eq!(without_codes(b"\x1b[A\x1b[1;5qr\x1bOqh\x1bq"), b"rh");
        assert_eq!(without_codes(b"r\x1b"), b"r");
        assert_eq!(without_codes(b"\x1b[1;"), b"");
    }
}
