//! Why a command could not be started: [`SpawnError`]; why nothing can be run: [`ExecError`].

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The command has no words.
    #[error("the command is empty")]
    Empty,
    /// No directory of `PATH` has such a program.
    #[error("command `{}` not found in PATH `{}`", program.display(), path.display())]
    NotFound {
        /// The name that was looked for.
        program: OsString,
        /// The `PATH` that was looked in.
        path: OsString,
    },
    /// The program is named by a path, and nothing is there.
    #[error("command `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// The file is there and cannot be executed.
    #[error("`{}` is not executable", .0.display())]
    NotExecutable(PathBuf),
    /// The working directory is not there.
    #[error("working directory `{}` does not exist", .0.display())]
    DirMissing(PathBuf),
    /// The working directory is there and cannot be entered.
    #[error("cannot enter working directory `{}`", dir.display())]
    DirUnusable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program is a script, and the program that is to read it is missing.
    #[error("the interpreter of `{}` does not exist", .0.display())]
    InterpreterMissing(PathBuf),
    /// The words and the environment are more than the system passes on.
    #[error("the arguments and environment of `{}` are too long", .0.display())]
    TooLong(PathBuf),
    /// A word, a variable or the directory holds a NUL byte.
    #[error("`{}` or its environment holds a NUL byte", .0.display())]
    NulByte(PathBuf),
    /// The terminal is to be handed over, and the helper to take it back is not there.
    #[error("cannot hand over the terminal without a helper program")]
    NoHelper,
    /// Anything else: too many processes or open files, no memory.
    #[error("cannot start `{}`", program.display())]
    System {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpawnError {
    /// The exit code of a shell that is given the command as a line; `None` where it could not be
    /// started itself.
    #[must_use]
    pub fn shell_code(&self) -> Option<i32> {
        match self {
            Self::NotFound { .. } | Self::Missing(_) | Self::InterpreterMissing(_) => Some(127),
            Self::NotExecutable(_) | Self::TooLong(_) => Some(126),
            Self::Empty
            | Self::DirMissing(_)
            | Self::DirUnusable { .. }
            | Self::NulByte(_)
            | Self::NoHelper
            | Self::System { .. } => None,
        }
    }

    /// What to do about it, as one sentence fragment; `None` where there is nothing to add.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("give `run` at least one word"),
            Self::NotFound { .. } => Some("install it, or correct its name or `PATH`"),
            Self::Missing(_) => Some("a relative path is relative to the task's `dir`"),
            Self::NotExecutable(_) => Some("run `chmod +x` on it, or name its interpreter"),
            Self::DirMissing(_) => Some("create it, or correct `dir`"),
            Self::DirUnusable { .. } => Some("check that it is a directory and its permissions"),
            Self::InterpreterMissing(_) => Some("correct its first line, `#!...`"),
            Self::TooLong(_) => Some("pass fewer files at once"),
            Self::NulByte(_) | Self::NoHelper => None,
            Self::System { source, .. } => match source.raw_os_error() {
                Some(code) if code == rustix::io::Errno::AGAIN.raw_os_error() => {
                    Some("too many processes: see `ulimit -u`")
                }
                Some(code) if code == rustix::io::Errno::MFILE.raw_os_error() => {
                    Some("too many open files: see `ulimit -n`")
                }
                _ => None,
            },
        }
    }
}

/// Why nothing can be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// This process cannot adopt the orphans of its commands.
    #[error("cannot become the subreaper of child processes")]
    Subreaper(#[source] io::Error),
    /// `/proc` cannot be read.
    #[error("cannot read this process's own entry in /proc")]
    Proc(#[source] io::Error),
    /// A descriptor that every command needs could not be made.
    #[error("cannot create a descriptor for running commands")]
    Descriptor(#[source] io::Error),
}
