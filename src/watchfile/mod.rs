//! Text to checked watchfile: what a person wrote, proven to be usable.
//!
//! Knows the file format of design §2 and nothing of graphs, processes or what is up to date.
//! Two steps: `raw` mirrors the TOML with its places, `lower` proves it. Both note every error
//! and go on, so that one report holds them all.

mod choice;
mod definition;
mod duration;
mod env;
mod error;
mod include;
pub mod keys;
mod kind;
mod lower;
mod place;
mod raw;
mod reader;
mod ready;
mod remote;
#[cfg(feature = "cli")]
pub mod schema;
mod settings;
mod signal;
mod size;
mod sources;
pub mod task;

use std::num::NonZeroUsize;
use std::str;

use crate::disk::Disk;
use crate::path::{RelPath, Root};

pub use duration::parse_duration;
pub use error::{Error, Errors, Label, LoadError};
pub use kind::ErrorKind;
pub use remote::{Remote, RemoteCache, RemoteExec};
pub use settings::{Backend, Gitignore, Jobs, Jobserver, KeepGoing, Notify, OutputMode, Settings};
pub use sources::{Source, Sources};
pub use task::{
    Caching, EnvPattern, FILES, FailureRule, Inputs, Invocation, NameRef, OnBusy, Ready,
    ReadyProbe, Restart, Service, Span, StopRule, Task, TaskKind, Terminal,
};

/// A checked watchfile: the main file with everything it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchfile {
    /// Tasks and services in file order: the main file's, then those of each included file, by
    /// path. No name twice.
    pub tasks: Vec<Task>,
    /// What is meant when no task is named; `None`: everything.
    pub default: Option<Vec<NameRef>>,
    /// How watchrun behaves.
    pub settings: Settings,
    /// The pools, in file order. [`Task::pool`] is an index into them.
    pub pools: Vec<Pool>,
    /// The shared cache and executor.
    pub remote: Option<Remote>,
    /// Every file that was read.
    pub sources: Sources,
}

/// At most `size` of the tasks of a pool run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many slots it has.
    pub size: NonZeroUsize,
}

/// What could be made of a watchfile, and everything that is wrong with it.
///
/// With errors, the watchfile has defaults where something was wrong. It must not be run then;
/// it is there so that its names and outputs can still be checked for the same report.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The watchfile.
    pub watchfile: Watchfile,
    /// What is wrong, in no order. [`Errors`] sorts and shows them.
    pub errors: Vec<Error>,
}

/// Reads and checks the watchfile `file`, the files it includes and the env files they name.
///
/// Blocks on the disk. What is wrong *in* the files is in [`Loaded::errors`].
///
/// # Errors
/// [`LoadError`]: the main file is missing, unreadable or not UTF-8.
pub fn load(disk: &dyn Disk, root: &Root, file: &RelPath) -> Result<Loaded, LoadError> {
    let path = root.join(file);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Err(LoadError::Missing { path }),
        Err(source) => return Err(LoadError::Unreadable { source }),
    };
    let text = str::from_utf8(&bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let line = bytes[..offset].split(|&byte| byte == b'\n').count();
        LoadError::NotUtf8 { path, offset, line }
    })?;
    Ok(lower::lower(file, &text.into(), Some((disk, root))))
}

/// Checks `text` alone, as a main watchfile called `watchfile.toml`. Pure: directories, env files
/// and included files that it names are not looked at.
#[must_use]
pub fn parse(text: &str) -> Loaded {
    let file = RelPath::new(b"watchfile.toml").expect("it is a normal path");
    lower::lower(&file, &text.into(), None)
}
