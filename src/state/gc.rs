//! Keeps the store below its cap: [`collect`], least recently used first.
//!
//! Safe beside any other process: what is collected under a restore or a store is missing there,
//! which is a miss, never a wrong result. One process collects at a time.

use std::path::{Path, PathBuf};

use crate::change::FileType;
use crate::disk::{Disk, DiskError, LockWait};

/// What is staged and older than this was left by a crash.
const STAGED_NS: i64 = 24 * 3_600_000_000_000;

/// A store that is used is collected at least this often.
pub(super) const PERIOD_NS: i64 = 24 * 3_600_000_000_000;

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many files were removed.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes are left.
    pub bytes_left: u64,
}

/// Removes what was not of use for longest until `bytes_max` is kept, to nine tenths of it.
/// `None` when another process collects already.
pub(super) fn collect(
    disk: &dyn Disk,
    dir: &Path,
    bytes_max: u64,
) -> Result<Option<Collected>, DiskError> {
    disk.make_dir(dir)?;
    let lock = dir.join("gc.lock");
    let Some(_held) = disk.lock(&lock, 0, LockWait::Try)? else {
        return Ok(None);
    };
    let now_ns = disk.clock(&clock_path(dir))?.ns;
    remove_leftovers(disk, &dir.join("tmp"), now_ns)?;
    let mut entries = Vec::new();
    for kind in ["ac", "cas"] {
        for shard in names(disk, &dir.join(kind))? {
            for path in names(disk, &shard)? {
                if let Ok(stat) = disk.stat(&path) {
                    entries.push((stat.mtime_ns, path, stat.size));
                }
            }
        }
    }
    entries.sort_unstable();
    let mut left: u64 = entries.iter().map(|(.., size)| size).sum();
    let mut collected = Collected::default();
    if left > bytes_max {
        for (mtime_ns, path, size) in entries {
            if left <= bytes_max / 10 * 9 {
                break;
            }
            // Race: it may have been used since it was listed; then it is not the oldest any more.
            if disk.stat(&path).is_ok_and(|stat| stat.mtime_ns == mtime_ns) {
                disk.remove(&path)?;
                collected.files += 1;
                collected.bytes += size;
                left -= size;
            }
        }
    }
    collected.bytes_left = left;
    Ok(Some(collected))
}

/// A file that every collection writes to.
pub(super) fn clock_path(dir: &Path) -> PathBuf {
    dir.join("gc.clock")
}

/// Removes what is in `tmp` for longer than any run takes.
pub(super) fn remove_leftovers(disk: &dyn Disk, tmp: &Path, now_ns: i64) -> Result<(), DiskError> {
    for path in names(disk, tmp)? {
        if disk
            .stat(&path)
            .is_ok_and(|stat| stat.mtime_ns < now_ns - STAGED_NS)
        {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// What is in a directory; nothing if it is not there or is no directory.
fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let is_dir = disk
        .stat(dir)
        .is_ok_and(|stat| stat.file_type() == FileType::Dir);
    if !is_dir {
        return Ok(Vec::new());
    }
    match disk.read_dir(dir) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        names => Ok(names?.iter().map(|name| dir.join(name)).collect()),
    }
}
