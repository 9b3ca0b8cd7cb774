//! Signals of a running session: [`Signals`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals as Caught};
use watchrun::exec::can_be_resumed;
use watchrun::schedule::StopAll;
use watchrun::session::Control;

use super::exit::Exit;
use super::keys::Keys;
use super::report::Notices;

/// How long the threads that run commands are given to pass a signal on.
const SEND_TIME: Duration = Duration::from_millis(20);

/// Passes signals on to a session, until it is dropped.
pub(crate) struct Signals {
    first: Arc<AtomicI32>,
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Signals {
    /// The first SIGINT, SIGTERM or SIGHUP stops the session gracefully, any further one at once.
    /// SIGTSTP (Ctrl-Z) suspends the program with everything it runs.
    pub(crate) fn pass_to(
        control: Control,
        keys: Option<Arc<Keys>>,
        notices: Notices,
    ) -> io::Result<Self> {
        let mut caught = Caught::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT])?;
        let handle = caught.handle();
        let first = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&first);
        let pass = move || {
            for signal in &mut caught {
                match (signal, &keys) {
                    (SIGTSTP, keys) => {
                        suspend(&control, keys.as_deref(), &notices);
                        continue;
                    }
                    (SIGCONT, Some(keys)) => keys.look_again(),
                    (_, _) => {}
                }
                if signal == SIGCONT {
                    continue;
                }
                let was_first = seen
                    .compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
                notices.stops();
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

    /// For a Ctrl-C that comes to a task which has the terminal.
    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(Arc::clone(&self.first))
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

/// Notes a Ctrl-C that came to somebody else.
pub(crate) struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// As if it had come to this program.
    pub(crate) fn note(&self) {
        // The first signal counts.
        let _first = self
            .0
            .compare_exchange(0, SIGINT, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Stops this program and what it runs, and goes on with both when it is told to.
fn suspend(control: &Control, keys: Option<&Keys>, notices: &Notices) {
    if !can_be_resumed() {
        return;
    }
    notices.hide();
    if let Some(keys) = keys {
        keys.pause();
    }
    control.signal(SIGSTOP);
    // The signals are sent by threads that are stopped with this program.
    thread::sleep(SEND_TIME);
    // Returns when the program is resumed. It cannot fail for this signal.
    drop(signal_hook::low_level::emulate_default_handler(SIGTSTP));
    control.signal(SIGCONT);
    if let Some(keys) = keys {
        keys.resume();
    }
    notices.show();
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
