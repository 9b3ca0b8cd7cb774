//! Where events come from, as the processor sees it: [`RawSource`] and [`Hint`].
//!
//! An event is only a hint that a path is worth a look. Tests bring a source of their own.

use std::path::PathBuf;

/// Why a path may be worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HintKind {
    /// It was created.
    Created,
    /// It was removed.
    Removed,
    /// It was renamed away, or is a watched directory that moved.
    MovedFrom,
    /// Something was renamed to it.
    MovedTo,
    /// Its content was written.
    Written,
    /// Someone who could write it has closed it.
    Closed,
    /// Its metadata changed.
    Metadata,
    /// The source does not know.
    Unknown,
}

impl HintKind {
    /// Whether names in the tree may have changed.
    #[must_use]
    pub fn is_structural(self) -> bool {
        match self {
            Self::Created | Self::Removed | Self::MovedFrom | Self::MovedTo | Self::Unknown => true,
            Self::Written | Self::Closed | Self::Metadata => false,
        }
    }
}

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something may have happened to a path.
    Path {
        /// Absolute.
        path: PathBuf,
        /// What.
        kind: HintKind,
    },
    /// Hints were lost: everything must be looked at, with fresh watches.
    Lost,
    /// Something was mounted or unmounted.
    Mounts,
    /// The source itself failed; the text is the system's.
    Failed(String),
}

/// Takes the hints of a source, in its order. Never blocks for long, may be called from any
/// thread.
pub trait HintSink: Send + Sync {
    /// Takes one hint of the shard `shard`.
    fn hint(&self, shard: usize, hint: Hint);
}

/// Why a directory could not be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddProblem {
    /// It is gone, or is no directory any more.
    Gone,
    /// No watches are left.
    WatchLimit,
    /// No watcher instances or descriptors are left.
    InstanceLimit,
    /// It may not be read.
    Denied(String),
    /// Something else.
    Other(String),
}

/// What is to be told of a directory around the tree. Each holds the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// That it is moved or removed, or something in it is.
    Place,
    /// What appears in it.
    Names,
    /// That who wrote a file in it has closed it.
    Files,
}

/// Watches single directories and tells of what happens in them.
///
/// Order: hints about one directory come in the order in which things happened. Watches may be
/// spread over shards; between shards there is no order.
pub trait RawSource: Send {
    /// Watches `dirs` (absolute), each by itself, not what lies below. A directory that is watched
    /// already is watched anew: it may be another one by the same name. Returns those that cannot
    /// be watched.
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Vec<(PathBuf, AddProblem)>;

    /// Watches directories around the tree (absolute), in place of those of the last call, in their
    /// order: what is asked of each is told, and as little else as can be, since others are at
    /// work there. What [`Interest::Place`] tells need not be in order with marks. Returns those
    /// that cannot be watched.
    fn watch_around(&mut self, dirs: Vec<(PathBuf, Interest)>) -> Vec<(PathBuf, AddProblem)> {
        self.watch(dirs.into_iter().map(|(dir, _)| dir).collect())
    }

    /// Ends the watches of `dirs`; those that are not watched are no error.
    fn unwatch(&mut self, dirs: &[PathBuf]);

    /// Watches one directory in every shard that there is, and in every later one: for marks.
    /// Returns how many shards tell of marks; none when nothing can be watched.
    fn watch_in_every_shard(&mut self, dir: &std::path::Path) -> usize;

    /// Whether what happens in `dir` is told, on a file system of which that is not known. Tried
    /// without changing anything there; may block for a moment. `false` if it cannot be tried.
    fn tells_of(&mut self, dir: &std::path::Path) -> bool {
        let _ = dir;
        true
    }

    /// Drops every watch and starts afresh.
    fn restart(&mut self);

    /// How many watches there are, the stale ones counted.
    fn n_watches(&self) -> usize;
}
