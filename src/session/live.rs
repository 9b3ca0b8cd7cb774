//! Which files there are, for a session that watches: [`LiveFiles`].
//!
//! The watch's model is the only copy. A list is made from it for as long as a task with unknown
//! history is compared; a task that the engine remembers asks for single files.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::files::SMALL;
use crate::change::{Change, ChangeSet, FileType};
use crate::disk::FileStat;
use crate::files::{FileList, Listing};
use crate::path::RelPath;
use crate::pattern::PatternSet;
use crate::schedule::{FileView, Files};
use crate::watch::WatchHandle;

/// How long a step waits for the watch to be in step with the disk. It takes less than a
/// millisecond unless the machine is overloaded.
pub(super) const SYNC_MAX: Duration = Duration::from_secs(10);

/// How many changed paths are remembered. A task that was not looked at for longer is compared
/// with all its inputs.
const JOURNAL_MAX: usize = 10_000;

/// The model of the watch as the engine reads it.
pub(super) struct LiveFiles {
    pub(super) handle: Arc<WatchHandle>,
    // Guards the journal. Leaf lock, held to copy the paths of some versions or to note those of
    // one change set.
    journal: Mutex<Journal>,
}

/// What changed when.
#[derive(Default)]
struct Journal {
    /// Counts change sets.
    version: u64,
    /// Versions with the path that changed, ascending.
    changes: VecDeque<(u64, RelPath)>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    /// The ignored files that the model holds because they are named, ascending.
    ignored: Vec<RelPath>,
}

impl LiveFiles {
    pub(super) fn new(handle: WatchHandle) -> Self {
        let live = Self {
            handle: Arc::new(handle),
            journal: Mutex::default(),
        };
        live.forget();
        live
    }

    /// What is selected is another now: nothing is known of what changed before.
    pub(super) fn forget(&self) {
        let ignored = self.handle.ignored_files();
        let mut journal = self.journal();
        journal.version += 1;
        journal.changes.clear();
        journal.forgotten = journal.version;
        journal.ignored = ignored;
    }

    /// Notes what `set` changed. Called on the watch's thread, before anyone else hears of the
    /// set.
    pub(super) fn note(&self, set: &ChangeSet) {
        let changes = set.changes.iter();
        let paths: Vec<(&RelPath, bool)> = changes
            .filter(|change| change.file_type != FileType::Dir)
            .flat_map(Change::paths)
            .map(|path| (path, self.handle.is_ignored(path)))
            .collect();
        let mut journal = self.journal();
        journal.version += 1;
        let version = journal.version;
        for (path, is_ignored) in paths {
            match (journal.ignored.binary_search(path), is_ignored) {
                (Err(at), true) => journal.ignored.insert(at, path.clone()),
                (Ok(at), false) => drop(journal.ignored.remove(at)),
                (Ok(_), true) | (Err(_), false) => {}
            }
            journal.changes.push_back((version, path.clone()));
        }
        while journal.changes.len() > JOURNAL_MAX {
            if let Some((version, _)) = journal.changes.pop_front() {
                journal.forgotten = version;
            }
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileView for LiveFiles {
    fn now(&self, wanted: &PatternSet) -> Arc<Files> {
        let journal = self.journal();
        Arc::new(Files {
            ignored: journal.ignored.clone(),
            version: journal.version,
            listing: Box::new(LiveListing {
                handle: Arc::clone(&self.handle),
                wanted: wanted.clone(),
                list: OnceLock::new(),
            }),
        })
    }

    fn changed_since(&self, version: u64) -> Option<Vec<RelPath>> {
        let journal = self.journal();
        if version < journal.forgotten {
            return None;
        }
        let changes = &journal.changes;
        let after = changes.partition_point(|(changed, _)| *changed <= version);
        let paths = changes.range(after..).map(|(_, path)| path.clone());
        Some(paths.collect())
    }

    fn is_small(&self) -> bool {
        self.handle.status().files < SMALL
    }

    fn settle(&self) {
        // A watch that cannot say in time that it is in step will say so with a change set.
        drop(self.handle.sync(SYNC_MAX));
    }
}

/// What the watch knows of the files that one task may take.
///
/// It may know of a later moment than that at which this was made: what changed since then is in
/// a later version, so that the task is looked at again.
struct LiveListing {
    handle: Arc<WatchHandle>,
    wanted: PatternSet,
    list: OnceLock<FileList>,
}

impl Listing for LiveListing {
    fn list(&self) -> &FileList {
        self.list.get_or_init(|| self.handle.files(&self.wanted))
    }

    fn stat(&self, path: &RelPath) -> Option<FileStat> {
        match self.list.get() {
            Some(list) => list.stat(path),
            None => self.handle.stat(path),
        }
    }
}
