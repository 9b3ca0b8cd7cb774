//! Lending the terminal to a command and taking it back: [`Loan`].
//!
//! A process in the background that changes the terminal's foreground group is stopped by
//! `SIGTTOU`, unless it ignores or blocks that signal, which a library must not do on behalf of
//! its program. So the terminal is taken back by a helper process that is started *in* the
//! command's group, which is the one in the foreground. The group exists for as long as its leader
//! has not been reaped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::stdio::stdin;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp,
};

use crate::exec::duct::Helper;
use crate::exec::procfs::Stat;

/// A Ctrl-C may hit a helper in the moment that it needs; then another one is sent.
const TRIES_MAX: usize = 5;

/// The argument that tells a helper to take the terminal back.
pub(super) const TAKE_BACK: &str = "terminal";

/// The terminal, lent to a process group.
pub(super) struct Loan {
    borrower: Pid,
    modes: Option<Termios>,
}

/// Whether the standard input is a terminal that listens to this process: its group is the one in
/// the foreground. From the background, reading from a terminal or changing it stops a program.
pub fn owns_terminal() -> bool {
    isatty(stdin()) && foreground().is_some_and(|group| Some(group) == own_group())
}

/// Whether there can be a shell that resumes this process once it is stopped: there is none when
/// the leader of its session is in its own group.
pub fn can_be_resumed() -> bool {
    Stat::own().is_ok_and(|own| own.group != own.session)
}

fn foreground() -> Option<i32> {
    tcgetpgrp(stdin()).ok().map(Pid::as_raw_pid)
}

/// `None` for one outside our pid namespace.
fn own_group() -> Option<i32> {
    Stat::own()
        .ok()
        .map(|own| own.group)
        .filter(|group| *group > 0)
}

impl Loan {
    /// Gives the terminal to the group of `leader`; `None` when it is not ours to give.
    pub(super) fn to(leader: Pid) -> Option<Self> {
        if !owns_terminal() {
            return None;
        }
        let modes = tcgetattr(stdin()).ok();
        tcsetpgrp(stdin(), leader).ok()?;
        // Race: it may have asked for the terminal before it had it, and was stopped for that.
        let _gone = kill_process_group(leader, Signal::CONT);
        Some(Self {
            borrower: leader,
            modes,
        })
    }

    /// Takes it back, with the modes that it had. To be called when the tree is dead and its
    /// leader not reaped.
    pub(super) fn take_back(self, helper: &[OsString]) {
        let Some(group) = own_group() else {
            return;
        };
        let own = [TAKE_BACK.to_owned(), group.to_string()].map(OsString::from);
        let words = [helper, &own].concat();
        for _ in 0..TRIES_MAX {
            if owns_terminal() || self.send(&words).is_err() {
                break;
            }
        }
        if let (true, Some(modes)) = (owns_terminal(), &self.modes) {
            let _gone = tcsetattr(stdin(), OptionalActions::Now, modes);
        }
    }

    fn send(&self, words: &[OsString]) -> io::Result<()> {
        let terminal = stdin().try_clone_to_owned()?;
        let output = std::fs::File::open("/dev/null")?;
        Helper::start(words, terminal, output, self.borrower.as_raw_pid())?.reap();
        Ok(())
    }
}

/// What the helper does: gives `terminal` to `group`.
pub(super) fn give(terminal: BorrowedFd<'_>, group: Pid) -> io::Result<()> {
    Ok(tcsetpgrp(terminal.as_fd(), group)?)
}
