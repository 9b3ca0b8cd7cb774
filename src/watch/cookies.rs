//! Marks that come back through the system's event queues: [`Cookies`].
//!
//! A mark is a file made in a directory outside the tree that every shard watches. Once every
//! shard has reported it, every earlier event has been reported, too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Marks under way, each with what to do once it is back.
#[derive(Debug)]
pub(crate) struct Cookies<P> {
    dir: PathBuf,
    next: u64,
    waiting: BTreeMap<u64, Waiting<P>>,
}

#[derive(Debug)]
struct Waiting<P> {
    path: PathBuf,
    /// Which shards have reported it, a bit each.
    back: u64,
    expected: u64,
    purpose: P,
    /// When to give up on it, if ever.
    until: Option<Instant>,
}

impl<P> Cookies<P> {
    /// Makes a private directory for marks in `base`, or in the first of the usual places that
    /// takes one.
    pub(crate) fn new(base: Option<&Path>) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("watchrun-marks-{}-{n}", std::process::id());
        let usual = [
            Path::new("/dev/shm"),
            Path::new("/tmp"),
            Path::new("/var/tmp"),
        ];
        let bases = base.map_or(usual.to_vec(), |base| vec![base]);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for base in bases {
            let dir = base.join(&name);
            // A leftover of a killed process with our number.
            drop(fs::remove_dir_all(&dir));
            let made = fs::DirBuilder::new().mode(0o700).create(&dir);
            match made.and_then(|()| fs::canonicalize(&dir)) {
                Ok(dir) => {
                    return Ok(Self {
                        dir,
                        next: 0,
                        waiting: BTreeMap::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sends a mark through `n_shards` shards. Without a shard, or when the file cannot be made,
    /// `purpose` is given back: there is nothing to wait for.
    pub(crate) fn send(
        &mut self,
        purpose: P,
        n_shards: usize,
        until: Option<Instant>,
    ) -> Result<(), P> {
        self.next += 1;
        let path = self.dir.join(self.next.to_string());
        if n_shards == 0 || fs::File::create_new(&path).is_err() {
            return Err(purpose);
        }
        self.waiting.insert(
            self.next,
            Waiting {
                path,
                back: 0,
                expected: (1 << n_shards) - 1,
                purpose,
                until,
            },
        );
        Ok(())
    }

    /// Notes that `shard` has reported the mark `path`; returns its purpose once all have.
    pub(crate) fn back(&mut self, shard: usize, path: &Path) -> Option<P> {
        let number: u64 = path.file_name()?.to_str()?.parse().ok()?;
        let waiting = self.waiting.get_mut(&number)?;
        waiting.back |= 1 << shard;
        if waiting.back & waiting.expected != waiting.expected {
            return None;
        }
        let waiting = self.waiting.remove(&number)?;
        drop(fs::remove_file(&waiting.path));
        Some(waiting.purpose)
    }

    /// Takes the purposes of all marks under way: the shards they went through are gone.
    pub(crate) fn take_all(&mut self) -> Vec<(P, Option<Instant>)> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        let take = |waiting: Waiting<P>| {
            drop(fs::remove_file(&waiting.path));
            (waiting.purpose, waiting.until)
        };
        waiting.map(take).collect()
    }

    /// The earliest moment at which a mark is to be given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting
            .values()
            .filter_map(|waiting| waiting.until)
            .min()
    }

    /// Takes the purposes of marks that did not come back in time.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<P> {
        let late = |waiting: &Waiting<P>| waiting.until.is_some_and(|until| until <= now);
        let numbers: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| late(waiting))
            .map(|(number, _)| *number)
            .collect();
        let take = |number| {
            let waiting = self.waiting.remove(&number)?;
            drop(fs::remove_file(&waiting.path));
            Some(waiting.purpose)
        };
        numbers.into_iter().filter_map(take).collect()
    }
}

impl<P> Drop for Cookies<P> {
    fn drop(&mut self) {
        // Nothing depends on it: the directory is private and holds empty files.
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_back_when_every_shard_has_reported_it() {
        let temp = tempfile::tempdir().unwrap();
        let mut cookies = Cookies::new(Some(temp.path())).unwrap();
        cookies.send("sync", 2, None).unwrap();
        let path = cookies.dir().join("1");
        assert!(path.exists());
        assert_eq!(cookies.back(1, &path), None);
        assert_eq!(cookies.back(1, &path), None);
        assert_eq!(cookies.back(0, &path), Some("sync"));
        assert!(!path.exists());
        assert_eq!(cookies.back(0, &path), None);
        assert_eq!(cookies.send("none", 0, None), Err("none"));
        drop(cookies);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_waits_for_each_of_many_shards() {
        let temp = tempfile::tempdir().unwrap();
        let mut cookies = Cookies::new(Some(temp.path())).unwrap();
        cookies.send("sync", 32, None).unwrap();
        let path = cookies.dir().join("1");
        for shard in 0..31 {
            assert_eq!(cookies.back(shard, &path), None);
        }
        assert_eq!(cookies.back(31, &path), Some("sync"));
    }

    #[test]
    fn late_marks_are_given_up() {
        let temp = tempfile::tempdir().unwrap();
        let mut cookies = Cookies::new(Some(temp.path())).unwrap();
        let now = Instant::now();
        cookies.send("probe", 1, Some(now)).unwrap();
        cookies.send("sync", 1, None).unwrap();
        assert_eq!(cookies.deadline(), Some(now));
        assert_eq!(cookies.take_late(now), ["probe"]);
        assert_eq!(cookies.take_all(), [("sync", None)]);
    }
}
