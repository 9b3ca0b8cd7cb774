//! What can go wrong with a watch: [`WatchError`].

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
    /// Events were lost on their way: everything was compared with the disk, nothing is missing.
    #[error("events were lost; compared with the disk, {changes} paths differed")]
    Queue {
        /// How many paths differed.
        changes: usize,
    },
    /// A handler returned an error or panicked; the others were still called.
    #[error("a change handler failed: {problem}")]
    Handler {
        /// What it said.
        problem: String,
    },
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
    /// Something is not to be had in the amount that is needed.
    #[error("{needed} {resource} are needed to watch{}", limit.map_or(String::new(), |limit| format!(", the limit is {limit}")))]
    Resource {
        /// What there is too little of.
        resource: Resource,
        /// How much would be enough; for memory, what was needed when the limit was passed.
        needed: u64,
        /// How much there may be, where that is known.
        limit: Option<u64>,
        /// What sets the limit: a `sysctl`, or a field of `WatchOptions`.
        setting: &'static str,
    },
}

/// What a watch may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Bytes for the model.
    Memory,
    /// Watches of the system: one a directory.
    Watches,
    /// Watcher instances of the system, or descriptors for them.
    Instances,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "bytes of memory",
            Self::Watches => "watches",
            Self::Instances => "watcher instances",
        })
    }
}

impl SystemError {
    pub(crate) fn memory(needed_bytes: usize, limit_bytes: usize) -> Self {
        Self::Resource {
            resource: Resource::Memory,
            needed: needed_bytes as u64,
            limit: Some(limit_bytes as u64),
            setting: "memory_bytes_max",
        }
    }
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
            Self::Processing(
                ProcessingError::SyncTimedOut { .. } | ProcessingError::Queue { .. },
            ) => ErrorClass::Transient,
            Self::System(
                SystemError::Platform { .. }
                | SystemError::Resource {
                    resource: Resource::Watches | Resource::Instances,
                    ..
                },
            )
            | Self::Processing(ProcessingError::Handler { .. }) => ErrorClass::Degraded,
            Self::Creation(_)
            | Self::Processing(ProcessingError::Closed | ProcessingError::Stopped { .. })
            | Self::System(SystemError::Resource {
                resource: Resource::Memory,
                ..
            }) => ErrorClass::Fatal,
        }
    }

    /// What to do about it: the exact command where there is one.
    #[must_use]
    pub fn advice(&self) -> String {
        if let Self::System(SystemError::Resource {
            resource: Resource::Watches | Resource::Instances,
            needed,
            setting,
            ..
        }) = self
        {
            return sysctl_command(setting, *needed);
        }
        self.general_advice().to_owned()
    }

    fn general_advice(&self) -> &'static str {
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
            Self::Processing(ProcessingError::Queue { .. }) => {
                "nothing: it has been made up for; a larger queue makes it rarer"
            }
            Self::Processing(ProcessingError::Handler { .. }) => {
                "mend the handler; the sets that it failed on are not given to it again"
            }
            Self::System(SystemError::Resource { .. }) => {
                "raise `memory_bytes_max`, ignore large directories, or select less"
            }
        }
    }
}

/// The command that raises a limit of the system.
pub(crate) fn sysctl_command(setting: &str, value: u64) -> String {
    format!("sudo sysctl {setting}={value}")
}
