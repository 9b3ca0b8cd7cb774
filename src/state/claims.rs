//! Who runs what, across processes: [`Claims`].
//!
//! A few hundred lock files serve any number of tasks, so that a first run does not make one for
//! each. Tasks of one engine that share a file share its lock; another process may have to wait
//! for a task that it does not want, now and then, and never runs one that is running.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskError, DiskLock, LockWait};

use super::ledger::Key;

/// The claims of one engine on the tasks of one root.
pub(super) struct Claims<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    // Guards the claims. Leaf lock, held for one look-up or one attempt that does not wait.
    held: Mutex<BTreeMap<u8, Held>>,
    /// A claim was given up.
    released: Condvar,
}

/// A file that is locked by this engine, and for which tasks.
struct Held {
    tasks: BTreeSet<Key>,
    #[expect(dead_code, reason = "held for its drop")]
    file: DiskLock,
}

/// Gives a claim up when it is dropped.
struct Claim {
    shared: Arc<Shared>,
    key: Key,
}

impl<'d> Claims<'d> {
    /// With lock files in `dir`, which has to be there.
    pub(super) fn new(disk: &'d dyn Disk, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            shared: Arc::default(),
        }
    }

    /// Claims the task with this key; `None` when somebody else has it and `wait` says so.
    pub(super) fn claim(&self, key: &Key, wait: LockWait) -> Result<Option<DiskLock>, DiskError> {
        let path = self.dir.join(format!("{:02x}", key[0]));
        loop {
            let mut held = self.shared.held();
            if let Some(own) = held.get_mut(&key[0]) {
                if own.tasks.insert(*key) {
                    return Ok(Some(self.given(key)));
                }
                if wait == LockWait::Try {
                    return Ok(None);
                }
                let released = self.shared.released.wait(held);
                drop(released.unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            if let Some(file) = self.disk.lock(&path, LockWait::Try)? {
                let tasks = BTreeSet::from([*key]);
                held.insert(key[0], Held { tasks, file });
                return Ok(Some(self.given(key)));
            }
            if wait == LockWait::Try {
                return Ok(None);
            }
            drop(held);
            // Whoever gets it first shares it; it is let go of here and taken at the next turn.
            drop(self.disk.lock(&path, LockWait::Block)?);
        }
    }

    fn given(&self, key: &Key) -> DiskLock {
        DiskLock::new(Box::new(Claim {
            shared: Arc::clone(&self.shared),
            key: *key,
        }))
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u8, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        if let Some(own) = held.get_mut(&self.key[0]) {
            own.tasks.remove(&self.key);
            if own.tasks.is_empty() {
                held.remove(&self.key[0]);
            }
        }
        self.shared.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use crate::disk::mem::MemDisk;
    use std::path::Path;

    fn key(first: u8, last: u8) -> Key {
        let mut key = [0; 16];
        (key[0], key[15]) = (first, last);
        key
    }

    #[test]
    fn tasks_of_one_engine_share_a_file_and_others_wait_for_it() {
        let disk = MemDisk::new();
        let (one, two) = (
            Claims::new(&disk, Path::new("/").into()),
            Claims::new(&disk, Path::new("/").into()),
        );
        let take = |claims: &Claims<'_>, key| claims.claim(&key, LockWait::Try).unwrap();
        let first = take(&one, key(1, 1)).unwrap();
        let second = take(&one, key(1, 2)).unwrap();
        assert!(take(&one, key(1, 1)).is_none(), "it is running");
        assert!(take(&two, key(1, 3)).is_none(), "the file is another's");
        assert!(take(&two, key(2, 1)).is_some());
        drop(first);
        assert!(take(&two, key(1, 1)).is_none());
        assert!(take(&one, key(1, 1)).is_some());
        drop(second);
        assert!(take(&two, key(1, 1)).is_some());
    }

    #[test]
    fn whoever_waits_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let claims = || Claims::new(&OsDisk, dir.path().into());
        let (one, two) = (claims(), claims());
        let first = one.claim(&key(1, 1), LockWait::Block).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| one.claim(&key(1, 1), LockWait::Block).unwrap().is_some());
            let outside = scope.spawn(|| two.claim(&key(1, 1), LockWait::Block).unwrap().is_some());
            drop(first);
            assert!(inside.join().unwrap() && outside.join().unwrap());
        });
    }
}
