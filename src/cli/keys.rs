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
    pub(crate) fn pass_to(control: Control) -> io::Result<Option<Self>> {
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
            .spawn(move || own.listen(&control))?;
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
    fn listen(&self, control: &Control) {
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
                    b'q' => {
                        stops += 1;
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
            Ok(n) => Some(keys[..n].to_vec()),
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
