//! Exit statuses: [`Exit`], a contract with scripts.

use std::process::ExitCode;

use watchrun::session::Ended;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All good.
    Good,
    /// A task failed, or something is stale (`check`).
    TaskFailed,
    /// The command line or the watchfile is wrong.
    Usage,
    /// The environment does not allow it: cannot watch, root missing, state not writable.
    Environment,
    /// Stopped by SIGHUP.
    HungUp,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::TaskFailed => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The status after a session; `signal` is what stopped it, if a signal did.
    pub(crate) fn after(ended: Ended, signal: Option<Self>) -> Self {
        match (ended, signal) {
            (Ended::Stopped, Some(signal)) => signal,
            (Ended::Good | Ended::Stopped, _) => Self::Good,
            (Ended::TaskFailed, _) => Self::TaskFailed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_decides_only_when_it_stopped_the_session() {
        let after = |ended, signal| Exit::after(ended, signal).code();
        assert_eq!(after(Ended::Good, None), 0);
        assert_eq!(after(Ended::TaskFailed, None), 1);
        assert_eq!(after(Ended::TaskFailed, Some(Exit::Interrupted)), 1);
        assert_eq!(after(Ended::Stopped, Some(Exit::Interrupted)), 130);
        assert_eq!(after(Ended::Stopped, Some(Exit::Terminated)), 143);
        assert_eq!(after(Ended::Stopped, Some(Exit::HungUp)), 129);
        assert_eq!(after(Ended::Stopped, None), 0);
        assert_eq!([Exit::Usage, Exit::Environment].map(Exit::code), [2, 3]);
    }
}
