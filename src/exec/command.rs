//! What to run and how it ended: [`Command`], [`Ended`], [`Executor`]. Touches nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec::{Cancel, SpawnError};
use crate::outcome::ExitStatus;

/// One command: a program, its arguments and how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, then its arguments. A program without `/` is looked up in `PATH`; a relative
    /// path is relative to `dir`.
    pub words: Vec<OsString>,
    /// Its working directory, absolute. The child's `PWD` is set to it.
    pub dir: PathBuf,
    /// Variables set over the inherited environment. The last of one name counts.
    pub env: Vec<(OsString, OsString)>,
    /// How it is stopped.
    pub stop: Stop,
    /// After this long it is stopped; `None`: it may run for ever.
    pub timeout: Option<Duration>,
    /// What it has for standard input and output.
    pub terminal: Terminal,
}

/// How a process tree is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal's number. One that the system does not name is taken for `SIGTERM`.
    pub signal: i32,
    /// How long it may take before it is killed.
    pub grace: Duration,
}

/// What a command has for standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Input is empty; both outputs go to one pipe and from there to the caller, in exact order.
    Captured,
    /// It has the caller's own input and outputs and, where input is a terminal, owns it.
    Owned,
}

/// How a command ended. Whatever it is, nothing of its process tree is left.
#[derive(Debug)]
pub enum Ended {
    /// Its first process ended by itself.
    Exited(ExitStatus),
    /// It ran longer than its `timeout` and was stopped.
    TimedOut,
    /// It was stopped by its [`Cancel`], or never started because of it.
    Cancelled,
    /// It could not be started.
    NotStarted(SpawnError),
}

/// What runs commands. [`OsExecutor`](crate::exec::OsExecutor) does so; tests have their own.
pub trait Executor: Send + Sync {
    /// Runs `command` and gives its output, piece by piece as it comes, to `output`.
    ///
    /// Blocks until the whole process tree is dead and its output has been handed on. Calls
    /// `output` on the calling thread; while `output` blocks, so does the command once its pipe is
    /// full. A `cancel` that is set before the start means that nothing is started.
    fn run(&self, command: &Command, cancel: &Cancel, output: &mut dyn FnMut(&[u8])) -> Ended;
}
