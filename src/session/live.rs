//! Which files there are, for a session that watches: [`LiveFiles`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::change::{ChangeSet, FileType};
use crate::disk::FileStat;
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
    pub(super) handle: WatchHandle,
    // Guards the snapshot and its journal. Leaf lock, held to clone the `Arc`, to copy the paths
    // of some versions, or to apply one change set.
    model: Mutex<Model>,
}

#[derive(Default)]
struct Model {
    files: Arc<Files>,
    /// Versions with the path that changed, ascending.
    journal: VecDeque<(u64, RelPath)>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
}

impl LiveFiles {
    pub(super) fn new(handle: WatchHandle) -> Self {
        let live = Self {
            handle,
            model: Mutex::default(),
        };
        live.refresh();
        live
    }

    /// Takes over what the watch knows now.
    pub(super) fn refresh(&self) {
        let (list, ignored) = (self.handle.all_files(), self.handle.ignored_files());
        let mut model = self.model();
        let version = model.files.version + 1;
        model.files = Arc::new(Files {
            list,
            ignored,
            version,
        });
        model.journal.clear();
        model.forgotten = version;
    }

    /// Brings the snapshot up to `set`. Called on the watch's thread, before anyone else hears
    /// of the set.
    pub(super) fn apply(&self, set: &ChangeSet) {
        let is_file = |stat: &FileStat| stat.file_type() != FileType::Dir;
        let changes = set.changes.iter();
        let news: Vec<_> = changes
            .filter(|change| change.file_type != FileType::Dir)
            .flat_map(|change| change.paths())
            .map(|path| {
                let stat = self.handle.stat(path).filter(is_file);
                (path, stat, self.handle.is_ignored(path))
            })
            .collect();
        let mut model = self.model();
        let model = &mut *model;
        let files = Arc::make_mut(&mut model.files);
        files.version += 1;
        for (path, stat, is_ignored) in news {
            files.list.set(path, stat);
            match (files.ignored.binary_search(path), is_ignored) {
                (Err(at), true) => files.ignored.insert(at, path.clone()),
                (Ok(at), false) => drop(files.ignored.remove(at)),
                (Ok(_), true) | (Err(_), false) => {}
            }
            model.journal.push_back((files.version, path.clone()));
        }
        while model.journal.len() > JOURNAL_MAX {
            if let Some((version, _)) = model.journal.pop_front() {
                model.forgotten = version;
            }
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileView for LiveFiles {
    fn now(&self, _wanted: &PatternSet) -> Arc<Files> {
        Arc::clone(&self.model().files)
    }

    fn changed_since(&self, version: u64) -> Option<Vec<RelPath>> {
        let model = self.model();
        if version < model.forgotten {
            return None;
        }
        let journal = &model.journal;
        let after = journal.partition_point(|(changed, _)| *changed <= version);
        Some(
            journal
                .range(after..)
                .map(|(_, path)| path.clone())
                .collect(),
        )
    }

    fn settle(&self) {
        // A watch that cannot say in time that it is in step will say so with a change set.
        drop(self.handle.sync(SYNC_MAX));
    }
}
