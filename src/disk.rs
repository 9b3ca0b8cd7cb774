//! The one door to files: the trait [`Disk`], the real one, [`OsDisk`], and [`mem::MemDisk`].
//!
//! Everything that reads or writes files on behalf of the engine takes a `&dyn Disk`, so that
//! tests can count, fail and replay each access. Knows nothing of tasks or state.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::change::FileType;

pub mod mem;
mod os;

pub use os::OsDisk;

/// An access that failed, with the path it was for.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct DiskError {
    /// What was tried: `read`, `write`, ...
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// What kind of failure the system reported.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether the path, or a directory on the way to it, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    }
}

/// What the system says of a path, links not followed. Times are nanoseconds since the epoch by
/// the file system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last modification of the content.
    pub mtime_ns: i64,
    /// Last change of content or metadata; cannot be set by programs.
    pub ctime_ns: i64,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
}

impl FileStat {
    /// What the path names.
    pub fn file_type(&self) -> FileType {
        match self.mode & 0o170_000 {
            0o100_000 => FileType::File,
            0o040_000 => FileType::Dir,
            0o120_000 => FileType::Symlink,
            _ => FileType::Other,
        }
    }

    /// Whether it is a regular file whose owner may execute it.
    pub fn is_executable(&self) -> bool {
        self.file_type() == FileType::File && self.mode & 0o100 != 0
    }
}

impl From<&fs::Metadata> for FileStat {
    fn from(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        }
    }
}

/// What a file system's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTime {
    /// The file system it is the clock of, by its device number.
    pub dev: u64,
    /// Nanoseconds since the epoch, as a file written at that moment is stamped.
    pub ns: i64,
}

/// Keeps a lock held; dropping it, or the end of the process, gives it up.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl DiskLock {
    /// Wraps whatever unlocks when it is dropped.
    #[must_use]
    pub fn new(held: Box<dyn Send + Sync>) -> Self {
        Self(held)
    }
}

impl std::fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskLock")
    }
}

/// What to do when another process holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Wait until it is free.
    Block,
    /// Give up at once.
    Try,
}

/// File operations, with the path attached to each error. All block; all may be called from any
/// thread.
pub trait Disk: Send + Sync {
    /// What `path` is, links not followed.
    ///
    /// # Errors
    /// As `lstat`.
    fn stat(&self, path: &Path) -> Result<FileStat, DiskError>;

    /// The whole content of a file; links are followed, anything but a regular file is refused.
    ///
    /// # Errors
    /// As `open` and `read`.
    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError>;

    /// The content of a regular file as a stream. Links are not followed, and a fifo or device
    /// that took the file's place does not block.
    ///
    /// # Errors
    /// As `open`; `InvalidInput` when it is not a regular file.
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, DiskError>;

    /// What a link points to, as it is written in it.
    ///
    /// # Errors
    /// As `readlink`.
    fn read_link(&self, path: &Path) -> Result<PathBuf, DiskError>;

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// As `opendir`.
    fn read_dir(&self, path: &Path) -> Result<Vec<PathBuf>, DiskError>;

    /// Replaces `path` by a file with these bytes: written beside it, then renamed over it, so
    /// that a reader sees the old content or the new, never a part. Makes missing directories.
    ///
    /// # Errors
    /// As `mkdir`, `open`, `write` and `rename`; nothing is left behind then.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError>;

    /// Writes a new file with everything `content` gives; the number of bytes. The directory must
    /// be there. What was written before an error stays.
    ///
    /// # Errors
    /// As `open` with `O_EXCL` and `write`; what `content` returns.
    fn write_new(&self, path: &Path, content: &mut dyn Read) -> Result<u64, DiskError>;

    /// What is in a regular file from `offset` on, with its stat from before that was read. A link
    /// is not followed.
    ///
    /// # Errors
    /// As `open` and `read`; `InvalidInput` when it is not a regular file.
    fn read_from(&self, path: &Path, offset: u64) -> Result<(FileStat, Vec<u8>), DiskError>;

    /// Adds `bytes` at the end of a file that is there, in one write; its stat after that. First
    /// cuts the file to `keep` bytes, if that is given and it is longer.
    ///
    /// # Errors
    /// As `open` and `write`; the file is cut back to what it was then, if the system lets it.
    fn append(&self, path: &Path, keep: Option<u64>, bytes: &[u8]) -> Result<FileStat, DiskError>;

    /// Copies the content of `from` to a new file `to`: by sharing its blocks where the file
    /// system can, else byte by byte; never as a hard link. Not atomic.
    ///
    /// # Errors
    /// As `open` with `O_EXCL`, `read` and `write`.
    fn copy(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Makes a symbolic link at `path` whose text is `target`.
    ///
    /// # Errors
    /// As `symlink`.
    fn make_link(&self, target: &Path, path: &Path) -> Result<(), DiskError>;

    /// Makes a directory and those above it, where missing.
    ///
    /// # Errors
    /// As `mkdir`.
    fn make_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Moves `from` over `to` in one step.
    ///
    /// # Errors
    /// As `rename`.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Sets the permission bits of a file.
    ///
    /// # Errors
    /// As `chmod`.
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError>;

    /// Sets the modification time of a file to now.
    ///
    /// # Errors
    /// As `utimensat`.
    fn touch(&self, path: &Path) -> Result<(), DiskError>;

    /// Removes a file, link or directory tree; one that is not there is no error.
    ///
    /// # Errors
    /// As `unlink` and `rmdir`.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Removes a directory if nothing is in it; `false` when it is not empty.
    ///
    /// # Errors
    /// As `rmdir`.
    fn remove_empty_dir(&self, path: &Path) -> Result<bool, DiskError>;

    /// The clock of the file system that `path` lies on, read by writing to the file `path`.
    ///
    /// # Errors
    /// As `open`, `write` and `fstat`.
    fn clock(&self, path: &Path) -> Result<DiskTime, DiskError>;

    /// Locks one place of the file `path` against every other process and thread, making the file
    /// where missing: one file holds as many locks as are needed. `place` is below 2^62; the file
    /// need not be as long. `None` when somebody else holds it and `wait` is [`LockWait::Try`].
    ///
    /// # Errors
    /// As `open` and `fcntl`; `Unsupported` where the file system cannot lock.
    fn lock(&self, path: &Path, place: u64, wait: LockWait) -> Result<Option<DiskLock>, DiskError>;
}

/// Attaches the path where the call is made.
trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError {
            action,
            path: path.to_path_buf(),
            source,
        })
    }
}
