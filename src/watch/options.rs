//! How a watch behaves: [`WatchOptions`], a plain struct.

use std::path::PathBuf;
use std::time::Duration;

use crate::pattern::PatternSet;
use crate::watch::error::CreationError;

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The system's watcher; polling, directory by directory, where that is impossible.
    Auto,
    /// The system's watcher, and polling only where its limits leave no choice.
    Native,
    /// Polling everywhere.
    Poll,
}

/// What a full queue of events does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// Paths become their directories, directories become the root: looked at again as a whole.
    Collapse,
    /// The system's watcher waits until there is room.
    Block,
    /// The events are dropped and counted; the gap is marked, and closed by one comparison with
    /// the disk once the queue is empty.
    Drop,
}

/// How a watch behaves. Two watches of one path with equal options share their work.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// A change set is ready this long after its last change, once every written file is closed.
    pub debounce: Duration,
    /// At the latest this long after its first change. Not less than `debounce`.
    pub debounce_max: Duration,
    /// Whether git's rules count: `.gitignore`, `.git/info/exclude`, global excludes.
    pub gitignore: bool,
    /// The user's global excludes file, if there is one. The library does not look for it.
    pub global_excludes: Option<PathBuf>,
    /// Names that are ignored wherever they stand, besides `.git`.
    pub excluded_names: Vec<String>,
    /// What is of interest. Only directories that a pattern may match below are watched; `None`
    /// is everything.
    pub select: Option<PatternSet>,
    /// Where events come from.
    pub backend: Backend,
    /// How often a polled directory is looked at, the recently changed ones more often.
    pub poll_interval: Duration,
    /// How many paths may wait to be looked at. Not zero.
    pub queue_capacity: usize,
    /// What happens when there are more.
    pub overflow: OverflowPolicy,
    /// How many paths are looked at in one go. Not zero.
    pub batch_size: usize,
    /// For how long at most the paths of a burst gather before they are looked at. A burst is
    /// eight of them at once: a single save does not wait, nor does `sync`.
    pub batch_time: Duration,
    /// What the model of the tree may hold, in bytes.
    pub memory_bytes_max: usize,
    /// Where the directory for marks is made, outside the tree: `/dev/shm` or `/tmp` if `None`.
    pub cookie_dir: Option<PathBuf>,
    /// Where to record hints, stat results and times, if anywhere.
    pub record: Option<PathBuf>,
}

impl WatchOptions {
    /// 10 ms debounce and at most 500 ms; git's rules; everything selected; the system's watcher
    /// with polling every second where needed; 10,000 paths queued, collapsing; batches of 100 or
    /// 100 ms; 1 GiB for the model; nothing recorded.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "options are spelled out where they matter"
    )]
    pub fn new() -> Self {
        Self {
            debounce: Duration::from_millis(10),
            debounce_max: Duration::from_millis(500),
            gitignore: true,
            global_excludes: None,
            excluded_names: Vec::new(),
            select: None,
            backend: Backend::Auto,
            poll_interval: Duration::from_secs(1),
            queue_capacity: 10_000,
            overflow: OverflowPolicy::Collapse,
            batch_size: 100,
            batch_time: Duration::from_millis(100),
            memory_bytes_max: 1 << 30,
            cookie_dir: None,
            record: None,
        }
    }

    /// Checks that the values can work together.
    pub(crate) fn check(&self) -> Result<(), CreationError> {
        let problem = |option, problem| Err(CreationError::Option { option, problem });
        if self.debounce > self.debounce_max {
            return problem("debounce", "is longer than `debounce_max`");
        }
        if self.poll_interval.is_zero() {
            return problem("poll_interval", "is zero");
        }
        if self.queue_capacity == 0 {
            return problem("queue_capacity", "is zero");
        }
        if self.batch_size == 0 {
            return problem("batch_size", "is zero");
        }
        let slash = |name: &String| name.is_empty() || name.contains('/');
        if self.excluded_names.iter().any(slash) {
            return problem("excluded_names", "holds an empty name or one with a `/`");
        }
        Ok(())
    }
}

/// What can change while a watch runs; `None` leaves a value as it is.
///
/// Applies to every handle that shares the watch.
#[derive(Clone, Debug, Default)]
pub struct WatchUpdate {
    /// A new [`WatchOptions::select`]. What comes into view by it, or goes out of view, has not
    /// changed, and is in no change set: [`WatchHandle::files`](crate::watch::WatchHandle::files)
    /// tells what there is now.
    pub select: Option<Option<PatternSet>>,
    /// A new [`WatchOptions::debounce`].
    pub debounce: Option<Duration>,
    /// A new [`WatchOptions::debounce_max`].
    pub debounce_max: Option<Duration>,
}

/// What a one-shot [`scan`](crate::watch::scan) takes in: the fields of [`WatchOptions`] of the
/// same names.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// As [`WatchOptions::gitignore`].
    pub gitignore: bool,
    /// As [`WatchOptions::global_excludes`].
    pub global_excludes: Option<PathBuf>,
    /// As [`WatchOptions::excluded_names`].
    pub excluded_names: Vec<String>,
    /// As [`WatchOptions::select`].
    pub select: Option<PatternSet>,
}

impl ScanOptions {
    /// Git's rules, everything selected.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "options are spelled out where they matter"
    )]
    pub fn new() -> Self {
        Self {
            gitignore: true,
            global_excludes: None,
            excluded_names: Vec::new(),
            select: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_options_are_refused_by_name() {
        let check = |change: fn(&mut WatchOptions), expected: &str| {
            let mut options = WatchOptions::new();
            change(&mut options);
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|o| o.debounce = Duration::from_secs(9), "`debounce`");
        check(|o| o.poll_interval = Duration::ZERO, "`poll_interval`");
        check(|o| o.queue_capacity = 0, "`queue_capacity`");
        check(|o| o.batch_size = 0, "`batch_size`");
        check(
            |o| o.excluded_names = vec!["a/b".into()],
            "`excluded_names`",
        );
        assert!(WatchOptions::new().check().is_ok());
    }
}
