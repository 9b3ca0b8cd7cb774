//! The one door to files: the trait [`Disk`] and the real one, [`OsDisk`].
//!
//! Everything that reads or writes files on behalf of the engine takes a `&dyn Disk`, so that
//! tests can count, fail and replay each access. Knows nothing of tasks or state.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::change::FileType;

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

/// File operations, with the path attached to each error. All block; all may be called from any
/// thread.
pub trait Disk: Sync {
    /// What `path` is, links not followed.
    ///
    /// # Errors
    /// As `lstat`.
    fn stat(&self, path: &Path) -> Result<FileStat, DiskError>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// As `open` and `read`.
    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError>;

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

    /// Removes a file, link or directory tree; one that is not there is no error.
    ///
    /// # Errors
    /// As `unlink` and `rmdir`.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;
}

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn stat(&self, path: &Path) -> Result<FileStat, DiskError> {
        let metadata = fs::symlink_metadata(path).at("look at", path)?;
        Ok(FileStat::from(&metadata))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        fs::read(path).at("read", path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let names = fs::read_dir(path).and_then(|entries| {
            entries
                .map(|entry| Ok(PathBuf::from(entry?.file_name())))
                .collect::<io::Result<_>>()
        });
        let mut names: Vec<_> = names.at("list", path)?;
        names.sort_unstable();
        Ok(names)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).at("make the directory", dir)?;
        let staged = staged_name(path);
        let written = fs::File::create_new(&staged)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&staged, path));
        if written.is_err() {
            // The error that matters is the first one.
            drop(fs::remove_file(&staged));
        }
        written.at("write", path)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("remove", path),
        }
    }
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

/// A name beside `path` that no other writer uses: process and a counter.
fn staged_name(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{n}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_writes_replace_whole_files_and_leave_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        OsDisk.write_atomic(&path, b"one").unwrap();
        OsDisk.write_atomic(&path, b"two").unwrap();
        assert_eq!(OsDisk.read(&path).unwrap(), b"two");
        assert_eq!(
            OsDisk.read_dir(&dir.path().join("a/b")).unwrap(),
            [PathBuf::from("file")]
        );
    }

    #[test]
    fn errors_name_the_path() {
        let error = OsDisk.read(Path::new("/nonexistent/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nonexistent/file`");
        assert!(error.is_not_found());
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        OsDisk.remove(&dir.path().join("gone")).unwrap();
        fs::create_dir_all(dir.path().join("d/e")).unwrap();
        OsDisk.remove(&dir.path().join("d")).unwrap();
        assert!(OsDisk.read_dir(dir.path()).unwrap().is_empty());
    }
}
