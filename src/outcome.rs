//! How a task ended: [`Outcome`].

use std::fmt;

use serde::Serialize;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it is exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// How a task ended. The names are those of the `task_finished` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran and succeeded.
    Done,
    /// It was up to date and did not run.
    Fresh,
    /// Its outputs were taken from the store; it did not run.
    Restored,
    /// It ran and failed, or could not be started.
    Failed,
    /// It ran longer than its `timeout` and was stopped.
    TimedOut,
    /// It was stopped: the run ended or its inputs changed.
    Cancelled,
    /// It did not run because a task it depends on did not succeed, or the run ended first.
    Skipped,
}

impl Outcome {
    /// Whether dependents may go on.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::Fresh | Self::Restored)
    }

    /// Whether it ran, or should have, and went wrong.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }

    /// The name in events and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Fresh => "fresh",
            Self::Restored => "restored",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
