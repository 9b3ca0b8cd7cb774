//! Signals of a running session: [`Signals`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Caught};
use watchrun::schedule::StopAll;
use watchrun::session::Control;

use super::exit::Exit;

/// Passes signals on to a session, until it is dropped.
pub(crate) struct Signals {
    first: Arc<AtomicI32>,
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Signals {
    /// The first SIGINT, SIGTERM or SIGHUP stops the session gracefully, any further one at once.
    pub(crate) fn pass_to(control: Control) -> io::Result<Self> {
        let mut caught = Caught::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = caught.handle();
        let first = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&first);
        let pass = move || {
            for signal in &mut caught {
                let was_first = seen
                    .compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
                control.stop(if was_first {
                    StopAll::Gracefully
                } else {
                    StopAll::Kill
                });
            }
        };
        let thread = thread::Builder::new()
            .name("signals".to_owned())
            .spawn(pass)?;
        Ok(Self {
            first,
            handle,
            thread: Some(thread),
        })
    }

    /// The exit status for the first signal that came, if one came.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.first.load(Ordering::Acquire) {
            SIGINT => Some(Exit::Interrupted),
            SIGTERM => Some(Exit::Terminated),
            SIGHUP => Some(Exit::HungUp),
            _ => None,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It ends when the handle is closed; what it panicked of is of no use now.
            drop(thread.join());
        }
    }
}
