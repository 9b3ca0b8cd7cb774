//! What a session must be told: [`SessionOptions`].

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec;
use crate::state::{Access, Demand, StoreUse};

/// How a session works. Facts of the environment come in here; the session looks up none.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Commands at a time.
    pub jobs: NonZeroUsize,
    /// How many failures stop new starts; `None`: none does.
    pub failures_max: Option<usize>,
    /// Whether tasks run that are up to date.
    pub demand: Demand,
    /// Whether results are kept and restored.
    pub store: StoreUse,
    /// Whether state may be written.
    pub access: Access,
    /// The variables that commands inherit.
    pub environment: Vec<(OsString, OsString)>,
    /// How commands are run.
    pub exec: exec::Options,
    /// Where output that is too long for memory goes.
    pub spill_dir: PathBuf,
    /// The user's global excludes file for git, if there is one.
    pub global_excludes: Option<PathBuf>,
    /// Files that this program writes to, by absolute paths without links: never an input, and
    /// never a change.
    pub own_files: Vec<PathBuf>,
    /// How files are watched.
    pub watch: WatchSettings,
}

/// How files are watched, where that differs from the watchfile's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// Instead of the watchfile's `debounce`.
    pub debounce: Option<Duration>,
    /// Whether to wait for the first change before anything runs.
    pub start: Start,
    /// Where to record what the watch sees.
    pub record: Option<PathBuf>,
}

/// What happens when watching begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What is stale runs.
    AtOnce,
    /// Nothing, until the first change (`--postpone`).
    AtFirstChange,
}
