//! How a session can end: [`SessionError`] and [`Ended`].

use crate::exec::ExecError;
use crate::path::Root;
use crate::plan::UnknownTask;
use crate::schedule::StartError;
use crate::watch::WatchError;

/// Why a session could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A task that does not exist was asked for.
    #[error(transparent)]
    UnknownTask(#[from] UnknownTask),
    /// The root cannot be read.
    #[error("cannot read the directory `{root}`")]
    Root {
        /// The root.
        root: Root,
        /// What the system said.
        source: std::io::Error,
    },
    /// Commands cannot be run at all.
    #[error("cannot run commands")]
    Exec(#[from] ExecError),
    /// The threads that run commands could not be started.
    #[error("cannot start threads")]
    Threads(#[from] StartError),
    /// The root cannot be watched.
    #[error("cannot watch the directory `{root}`")]
    Watch {
        /// The root.
        root: Root,
        /// What went wrong.
        source: WatchError,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was asked for is up to date.
    Good,
    /// A task failed.
    TaskFailed,
    /// It was told to stop.
    Stopped,
}
