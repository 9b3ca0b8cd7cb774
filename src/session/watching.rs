//! Watching: the session's loop with a watch that feeds it, [`Session::watch`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::files::{STATE_DIR, told};
use super::inbox::Input;
use super::options::Start;
use super::{DISK, Ended, Session, SessionError};
use crate::change::{ChangeSet, FileType};
use crate::path::RelPath;
use crate::pattern::{Pattern, PatternSet};
use crate::plan::Plan;
use crate::schedule::{
    ChangeRecord, Driver, FileView, Files, Mode, RunEvent, StopAll, Warning,
};
use crate::watch::{
    self, OverflowPolicy, WatchHandle, WatchManager, WatchOptions, WatchUpdate,
};
use crate::watchfile::{self, Backend, Gitignore};

/// How long a step waits for the watch to be in step with the disk. It takes less than a
/// millisecond unless the machine is overloaded.
const SYNC_MAX: Duration = Duration::from_secs(10);

/// The model of the watch as the engine reads it.
struct LiveFiles {
    handle: WatchHandle,
    /// Whether a command has run since the model was last known to be in step.
    dirty: AtomicBool,
    // Guards the snapshot. Leaf lock, held to clone the `Arc` or to apply one change set.
    files: RwLock<Arc<Files>>,
}

impl LiveFiles {
    /// Takes over what the watch knows now.
    fn refresh(&self) {
        let everything = PatternSet::new(vec![Pattern::everything()]);
        let (list, ignored) = self.handle.files(&everything);
        *self.files.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Files { list, ignored });
    }

    /// Brings the snapshot up to `set`. Called on the watch's thread, before anyone else hears
    /// of the set.
    fn apply(&self, set: &ChangeSet) {
        let files = set.changes.iter().filter(|change| change.file_type != FileType::Dir);
        let mut snapshot = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let Files { list, ignored } = Arc::make_mut(&mut *snapshot);
        for path in files.flat_map(|change| change.paths()) {
            let known = self.handle.lookup(path);
            list.set(path, known.as_ref().map(|known| known.stat));
            let is_ignored = known.is_some_and(|known| known.ignored);
            match (ignored.binary_search(path), is_ignored) {
                (Err(at), true) => ignored.insert(at, path.clone()),
                (Ok(at), false) => drop(ignored.remove(at)),
                (Ok(_), true) | (Err(_), false) => {}
            }
        }
    }
}

impl FileView for LiveFiles {
    fn now(&self, _wanted: &PatternSet) -> Arc<Files> {
        if self.dirty.swap(false, Ordering::AcqRel) {
            // A watch that cannot say in time that it is in step will say so with a change set.
            drop(self.handle.sync(SYNC_MAX));
        }
        Arc::clone(&self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn expect_writes(&self) {
        self.dirty.store(true, Ordering::Release);
    }
}
