//! What the user should know while a watch goes on: [`Warning`].

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::watch::error::{
    CreationError, ProcessingError, Resource, SystemError, WatchError, sysctl_command,
};

/// Why directories are polled instead of watched by the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// Marks do not come back, or opening a directory is not told: the system's watcher does not
    /// work here.
    NoEvents,
    /// The system loses events again and again; its watcher is tried again later.
    LosesEvents,
}

impl fmt::Display for PollReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "as asked",
            Self::WatchLimit => "no watches are left",
            Self::InstanceLimit => "no watcher instances are left",
            Self::NetworkFileSystem => "it is a network file system",
            Self::NoEvents => "the system reports no events",
            Self::LosesEvents => "the system keeps losing events",
        })
    }
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
        /// What to do about it, if something can be done.
        advice: Option<String>,
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
                ..
            } => {
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
            } => Some(sysctl_command(sysctl, *suggested)),
            Self::Polling { advice, .. } => advice.clone(),
            Self::Unreadable { path, .. } => Some(format!(
                "make it readable, or add it to `.watchrunignore`: {}",
                path.display()
            )),
            Self::GitLockHeld { path } => Some(format!(
                "if no git command is running: rm {}",
                path.display()
            )),
            Self::MemoryLimit { .. } => Some("ignore large directories, or select less".to_owned()),
            Self::OverflowRepaired { .. }
            | Self::RootDetached { .. }
            | Self::RootAttached { .. }
            | Self::IgnoreRule { .. }
            | Self::HandlerFailed { .. }
            | Self::RecordingStopped { .. } => None,
        }
    }

    /// The error that the watch goes on in spite of, with its class and advice; `None` for what is
    /// no error of the watch.
    #[must_use]
    pub fn error(&self) -> Option<WatchError> {
        let at = |path: &PathBuf, source| CreationError::Path {
            path: path.clone(),
            source,
        };
        Some(match self {
            Self::LimitReached {
                limit,
                sysctl,
                suggested,
                ..
            } => SystemError::Resource {
                resource: Resource::Watches,
                needed: *suggested,
                limit: *limit,
                setting: sysctl,
            }
            .into(),
            Self::Polling { .. } => SystemError::Platform {
                source: io::Error::other(self.to_string()),
            }
            .into(),
            Self::Unreadable { path, problem } => {
                at(path, io::Error::other(problem.clone())).into()
            }
            Self::OverflowRepaired { changes } => {
                ProcessingError::Queue { changes: *changes }.into()
            }
            Self::RootDetached { path } => at(path, io::ErrorKind::NotFound.into()).into(),
            Self::HandlerFailed { problem } => ProcessingError::Handler {
                problem: problem.clone(),
            }
            .into(),
            Self::MemoryLimit {
                held_bytes,
                limit_bytes,
            } => SystemError::memory(*held_bytes, *limit_bytes).into(),
            Self::RootAttached { .. }
            | Self::IgnoreRule { .. }
            | Self::GitLockHeld { .. }
            | Self::RecordingStopped { .. } => return None,
        })
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
