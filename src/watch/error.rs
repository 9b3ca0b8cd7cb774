//! What can go wrong with a watch: [`WatchError`], and [`Warning`] for what goes on degraded.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Why a watch could not be made, or can no longer do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The watch could not be made.
    #[error(transparent)]
    Creation(#[from] CreationError),
    /// Events could not be carried to the consumer.
    #[error(transparent)]
    Processing(#[from] ProcessingError),
    /// The system failed us.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Why a watch could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreationError {
    /// The path cannot be watched: not there, not readable.
    #[error("cannot watch `{}`", path.display())]
    Path {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is not a directory. Watch the directory it lies in instead.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// An option has a value that cannot work, alone or beside the others.
    #[error("watch option `{option}` {problem}")]
    Option {
        /// The field of the options.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A thread or the file for marks could not be made.
    #[error("cannot set up {what}")]
    Resource {
        /// What was to be made.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why events could not be carried to the consumer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessingError {
    /// The watch has been closed.
    #[error("the watch is closed")]
    Closed,
    /// The mark did not come back in time.
    #[error("the watch was not in step with the disk after {waited:?}")]
    SyncTimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The thread that processes events is gone.
    #[error("the watch of `{}` has stopped working", path.display())]
    Stopped {
        /// The watched directory.
        path: PathBuf,
    },
}

/// How the system failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// The platform's watcher reported an error.
    #[error("the system's file watcher failed")]
    Platform {
        /// What it said.
        source: io::Error,
    },
    /// The model needs more memory than allowed.
    #[error("{files} files need {needed_bytes} bytes to watch, the limit is {limit_bytes}")]
    Memory {
        /// How many entries were found until the limit.
        files: usize,
        /// What they need.
        needed_bytes: usize,
        /// `WatchOptions::memory_bytes_max`.
        limit_bytes: usize,
    },
}

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorClass {
    /// Trying again may help.
    Transient,
    /// The work goes on, slower or coarser.
    Degraded,
    /// It will not work without a change from outside.
    Fatal,
}

impl WatchError {
    /// How bad it is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Processing(ProcessingError::SyncTimedOut { .. }) => ErrorClass::Transient,
            Self::System(SystemError::Platform { .. }) => ErrorClass::Degraded,
            Self::Creation(_)
            | Self::Processing(ProcessingError::Closed | ProcessingError::Stopped { .. })
            | Self::System(SystemError::Memory { .. }) => ErrorClass::Fatal,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Creation(CreationError::Path { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound => "create the directory, or check the path",
                io::ErrorKind::PermissionDenied => "make the directory readable for this user",
                _ => "check that the directory can be listed",
            },
            Self::Creation(CreationError::NotADirectory { .. }) => {
                "watch the directory that holds it and select the file with a pattern"
            }
            Self::Creation(CreationError::Option { .. }) => "change the option",
            Self::Creation(CreationError::Resource { .. }) => {
                "raise the limits on threads and open files (`ulimit -u`, `ulimit -n`)"
            }
            Self::Processing(ProcessingError::Closed | ProcessingError::Stopped { .. }) => {
                "create the watch anew"
            }
            Self::Processing(ProcessingError::SyncTimedOut { .. }) => "try again, or wait longer",
            Self::System(SystemError::Platform { .. }) => {
                "use the polling backend where the system's watcher does not work"
            }
            Self::System(SystemError::Memory { .. }) => {
                "raise the memory limit, ignore large directories, or select less"
            }
        }
    }
}

/// Why directories are polled instead of watched by the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PollReason {
    /// The options ask for it.
    Asked,
    /// The system gives no more watches.
    WatchLimit,
    /// The system gives no more watcher instances or open files.
    InstanceLimit,
    /// The file system does not report what other machines do to it.
    NetworkFileSystem,
    /// Marks do not come back: the system's watcher does not work here.
    NoEvents,
    /// The system loses events again and again; its watcher is tried again later.
    LosesEvents,
}

/// Something the user should know while the watch goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// The system's limit on watches is reached; what is left over is polled.
    LimitReached {
        /// Directories that the system watches for us.
        watched_dirs: usize,
        /// Directories that are polled.
        polled_dirs: usize,
        /// The limit, if the system tells it.
        limit: Option<u64>,
        /// The setting that raises it.
        sysctl: &'static str,
        /// A value for it that would be enough, other programs' use counted as it is now.
        suggested: u64,
    },
    /// Directories are polled for another reason.
    Polling {
        /// How many.
        polled_dirs: usize,
        /// Why.
        reason: PollReason,
        /// The first of them.
        path: PathBuf,
    },
    /// A directory cannot be read: it is left out and tried again.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// The system lost events; everything was compared with the disk and is exact again.
    OverflowRepaired {
        /// How many paths differed.
        changes: usize,
    },
    /// The watched directory is gone; it is taken up again when it comes back.
    RootDetached {
        /// The watched directory.
        path: PathBuf,
    },
    /// The watched directory is back, what differs has been reported.
    RootAttached {
        /// The watched directory.
        path: PathBuf,
    },
    /// A line of an ignore file is not a pattern; the other lines count.
    IgnoreRule {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line's number where it is known.
        problem: String,
    },
    /// Git has held its lock for so long that changes are reported nevertheless.
    GitLockHeld {
        /// The lock file.
        path: PathBuf,
    },
    /// A handler failed or panicked; the others were still called.
    HandlerFailed {
        /// What it said.
        problem: String,
    },
    /// The model has grown over its memory limit; it is kept complete nevertheless.
    MemoryLimit {
        /// What it holds.
        held_bytes: usize,
        /// `WatchOptions::memory_bytes_max`.
        limit_bytes: usize,
    },
    /// The recording cannot be written; it ends here.
    RecordingStopped {
        /// What the system said.
        problem: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitReached {
                watched_dirs,
                polled_dirs,
                limit,
                sysctl,
                ..
            } => {
                write!(f, "the system's limit on watches is reached: ")?;
                write!(
                    f,
                    "{watched_dirs} directories are watched, {polled_dirs} polled"
                )?;
                match limit {
                    Some(limit) => write!(f, " (`{sysctl}` is {limit})"),
                    None => write!(f, " (`{sysctl}`)"),
                }
            }
            Self::Polling {
                polled_dirs,
                reason,
                path,
            } => {
                let reason = match reason {
                    PollReason::Asked => "as asked",
                    PollReason::WatchLimit => "no watches are left",
                    PollReason::InstanceLimit => "no watcher instances are left",
                    PollReason::NetworkFileSystem => "it is a network file system",
                    PollReason::NoEvents => "the system reports no events",
                    PollReason::LosesEvents => "the system keeps losing events",
                };
                let path = path.display();
                write!(
                    f,
                    "{polled_dirs} directories from `{path}` are polled: {reason}"
                )
            }
            Self::Unreadable { path, problem } => {
                write!(f, "cannot read `{}`, left out: {problem}", path.display())
            }
            Self::OverflowRepaired { changes } => write!(
                f,
                "the system lost events; compared with the disk, {changes} paths differed"
            ),
            Self::RootDetached { path } => {
                write!(f, "the watched directory `{}` is gone", path.display())
            }
            Self::RootAttached { path } => {
                write!(f, "the watched directory `{}` is back", path.display())
            }
            Self::IgnoreRule { path, problem } => {
                write!(f, "bad pattern in `{}`: {problem}", path.display())
            }
            Self::GitLockHeld { path } => {
                write!(f, "git has held `{}` for long, going on", path.display())
            }
            Self::HandlerFailed { problem } => write!(f, "a change handler failed: {problem}"),
            Self::MemoryLimit {
                held_bytes,
                limit_bytes,
            } => write!(
                f,
                "the watch holds {held_bytes} bytes, over its limit of {limit_bytes}"
            ),
            Self::RecordingStopped { problem } => {
                write!(f, "the recording of events has stopped: {problem}")
            }
        }
    }
}

impl Warning {
    /// What to do about it, if something can be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LimitReached {
                sysctl, suggested, ..
            } => Some(format!("sudo sysctl {sysctl}={suggested}")),
            Self::Polling {
                reason: PollReason::InstanceLimit,
                ..
            } => Some("sudo sysctl fs.inotify.max_user_instances=1024".to_owned()),
            Self::Unreadable { path, .. } => Some(format!(
                "make it readable, or add it to `.watchrunignore`: {}",
                path.display()
            )),
            Self::GitLockHeld { path } => Some(format!(
                "if no git command is running: rm {}",
                path.display()
            )),
            Self::MemoryLimit { .. } => Some("ignore large directories, or select less".to_owned()),
            Self::Polling { .. }
            | Self::OverflowRepaired { .. }
            | Self::RootDetached { .. }
            | Self::RootAttached { .. }
            | Self::IgnoreRule { .. }
            | Self::HandlerFailed { .. }
            | Self::RecordingStopped { .. } => None,
        }
    }

    /// A short stable name of what it is about, for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LimitReached { .. } => "limit_reached",
            Self::Polling { .. } => "polling",
            Self::Unreadable { .. } => "unreadable",
            Self::OverflowRepaired { .. } => "overflow_repaired",
            Self::RootDetached { .. } => "root_detached",
            Self::RootAttached { .. } => "root_attached",
            Self::IgnoreRule { .. } => "ignore_rule",
            Self::GitLockHeld { .. } => "git_lock_held",
            Self::HandlerFailed { .. } => "handler_failed",
            Self::MemoryLimit { .. } => "memory_limit",
            Self::RecordingStopped { .. } => "recording_stopped",
        }
    }
}
