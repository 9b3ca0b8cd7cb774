//! Results of the past by key: [`Store`], plain files by digest.
//!
//! `cas/` holds contents, `ac/` what a key produced. Everything is written aside and renamed into
//! place, read without a lock and verified when it is read, so that any number of processes may
//! share one store and a crash at any point leaves at worst an entry that is not there.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{Disk, DiskError};
use crate::path::RelPath;

use super::frame::{self, Kind};
use super::input::Content;
use super::ledger::{self, Ledger, Note, Slot};
use super::warning::{Warning, Warnings};

/// An entry is touched at most this often when it is used.
pub(super) const TOUCH_NS: i64 = 3_600_000_000_000;

/// Some ten thousand results that consist of a success alone.
const BARE_BYTES_MAX: u64 = 2 << 20;

/// What a key produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredResult {
    /// What it is the result of: a file under another name is not believed.
    pub(super) key: Digest,
    pub(super) outputs: Vec<StoredOutput>,
    /// Of stdout and stderr in the order written.
    pub(super) log: Digest,
    pub(super) duration_ms: u64,
}

/// One output of a stored result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredOutput {
    pub(super) path: RelPath,
    pub(super) content: Content,
    /// Permission bits of a file.
    pub(super) mode: u32,
}

/// The store in one directory.
pub(super) struct Store<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
    /// Makes names in `tmp/` that no other process uses.
    session: String,
    counter: AtomicU64,
    /// Set by the first failure to write: nothing more is stored then.
    is_broken: AtomicBool,
    added_bytes: AtomicU64,
    /// Results without outputs of commands that printed nothing: not worth a file each.
    bare: Ledger<'d>,
}

impl<'d> Store<'d> {
    pub(super) fn new(disk: &'d dyn Disk, dir: &Path, session: String) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
            counter: AtomicU64::new(0),
            bare: Ledger::new(
                disk,
                dir.join("bare"),
                dir.join("bare.lock"),
                session.clone(),
            ),
            session,
            is_broken: AtomicBool::new(false),
            added_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many bytes were stored since it was opened.
    pub(super) fn added_bytes(&self) -> u64 {
        self.added_bytes.load(Ordering::Relaxed)
    }

    /// Runs `write` unless writing failed before; a failure is reported once and ends storing.
    pub(super) fn attempt(
        &self,
        warnings: &Warnings,
        write: impl FnOnce() -> Result<(), DiskError>,
    ) -> bool {
        if self.is_broken.load(Ordering::Relaxed) {
            return false;
        }
        let Err(error) = write() else {
            return true;
        };
        self.is_broken.store(true, Ordering::Relaxed);
        warnings.push(Warning::StoreUnwritable {
            path: error.path.clone(),
            reason: error.source.to_string(),
        });
        false
    }

    /// Keeps the file at `from`, whose content has this digest. `false` when its content is
    /// another one by now.
    pub(super) fn put_file(&self, digest: &Digest, from: &Path) -> Result<bool, DiskError> {
        let place = self.blob_path(digest);
        if self.disk.stat(&place).is_ok() {
            self.disk.touch(&place)?;
            return Ok(true);
        }
        let staged = self.staged()?;
        let copied = self
            .disk
            .copy(from, &staged)
            .and_then(|()| self.digest_of(&staged));
        self.place(copied, digest, &staged, &place)
    }

    /// Keeps everything that `content` gives. Nothing at all needs no file.
    pub(super) fn put_stream(&self, content: &mut dyn Read) -> Result<Digest, DiskError> {
        let mut content = content;
        let mut first = Vec::new();
        let n = Read::take(&mut content, 1).read_to_end(&mut first);
        n.map_err(|source| failed_read(&self.dir, source))?;
        if first.is_empty() {
            return Ok(Digest::OF_NOTHING);
        }
        let staged = self.staged()?;
        let written = self
            .disk
            .write_new(&staged, &mut first.as_slice().chain(content));
        let copied = written.and_then(|_| self.digest_of(&staged));
        let digest = copied
            .as_ref()
            .map_or(Digest::OF_NOTHING, |(digest, _)| *digest);
        self.place(copied, &digest, &staged, &self.blob_path(&digest))?;
        Ok(digest)
    }

    /// Keeps what `key` produced. Its contents are in the store already.
    pub(super) fn put_result(
        &self,
        key: &Digest,
        result: &StoredResult,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let bytes = frame::encode(Kind::Result, result);
        if result.outputs.is_empty() && result.log == Digest::OF_NOTHING {
            let note = Note::Set(Slot::Success, bytes.into());
            return self.bare.note(&short(key), [note], warnings);
        }
        self.added_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.disk.write_atomic(&self.result_path(key), &bytes)
    }

    /// Writes down what was kept beside the files.
    pub(super) fn flush(&self, warnings: &Warnings) {
        self.attempt(warnings, || self.bare.flush(warnings));
    }

    /// Whether there is an entry for `key`.
    pub(super) fn has(&self, key: &Digest, warnings: &Warnings) -> bool {
        self.bare.get(&short(key), warnings).success.is_some()
            || self.disk.stat(&self.result_path(key)).is_ok()
    }

    /// What `key` produced, if that is known. A damaged entry is dropped.
    pub(super) fn result(&self, key: &Digest, warnings: &Warnings) -> Option<StoredResult> {
        let path = self.result_path(key);
        let bare = self.bare.get(&short(key), warnings).success;
        let bytes = match bare {
            Some(bytes) => bytes.to_vec(),
            None => self.disk.read(&path).ok()?,
        };
        let reason = match frame::decode::<StoredResult>(Kind::Result, &bytes) {
            Ok(result) if result.key == *key => return Some(result),
            Ok(_) => "the result of another key".to_owned(),
            Err(spoiled) => spoiled.to_string(),
        };
        self.refuse(key, &reason, warnings);
        None
    }

    /// Drops the entry of `key`, with a warning.
    pub(super) fn refuse(&self, key: &Digest, reason: &str, warnings: &Warnings) {
        let path = self.result_path(key);
        // What cannot be removed is refused again next time.
        drop(self.disk.remove(&path));
        drop(self.bare.forget_at_any_price(&short(key), warnings));
        warnings.push(Warning::StoreEntryRefused {
            path,
            reason: reason.to_owned(),
        });
    }

    /// Bounds what is kept beside the files.
    pub(super) fn shrink(&self, warnings: &Warnings) -> Result<(), DiskError> {
        self.bare.shrink(BARE_BYTES_MAX, warnings)
    }

    /// Drops the entry of `key`: a part of it was collected.
    pub(super) fn forget(&self, key: &Digest) {
        // What cannot be removed is missed again next time.
        drop(self.disk.remove(&self.result_path(key)));
    }

    /// Copies content to the new file `to` and verifies the copy. `false` when the store does not
    /// have it; a damaged one is dropped.
    pub(super) fn take(
        &self,
        digest: &Digest,
        to: &Path,
        warnings: &Warnings,
    ) -> Result<bool, DiskError> {
        let place = self.blob_path(digest);
        match self.disk.stat(&place) {
            Err(error) if error.is_not_found() => return Ok(false),
            stat => drop(stat?),
        }
        match self.disk.copy(&place, to) {
            // It is no file, or may not be read: not worth more than one that is not there.
            Err(error) if error.path == place => return Ok(false),
            copied => copied?,
        }
        let (found, _) = self.digest_of(to)?;
        if found == *digest {
            return Ok(true);
        }
        self.disk.remove(&place)?;
        warnings.push(Warning::StoreEntryRefused {
            path: place,
            reason: "damaged".to_owned(),
        });
        Ok(false)
    }

    /// Whether a kept content is there and right. A damaged one is dropped.
    pub(super) fn verify(&self, digest: &Digest, warnings: &Warnings) -> bool {
        if *digest == Digest::OF_NOTHING {
            return true;
        }
        let place = self.blob_path(digest);
        let Ok((found, _)) = self.digest_of(&place) else {
            return false;
        };
        if found != *digest {
            // What cannot be removed is refused again next time.
            drop(self.disk.remove(&place));
            warnings.push(Warning::StoreEntryRefused {
                path: place,
                reason: "damaged".to_owned(),
            });
        }
        found == *digest
    }

    /// A kept content as a stream, not verified.
    pub(super) fn open(&self, digest: &Digest) -> Option<Box<dyn Read + Send>> {
        if *digest == Digest::OF_NOTHING {
            return Some(Box::new(io::empty()));
        }
        self.disk.open(&self.blob_path(digest)).ok()
    }

    /// Notes that the entry of `key` was of use, so that it is collected late. `now_ns` is by the
    /// clock of the store's file system.
    pub(super) fn touch(&self, key: &Digest, result: &StoredResult, now_ns: i64) {
        let path = self.result_path(key);
        let is_recent = |stat: crate::disk::FileStat| stat.mtime_ns > now_ns - TOUCH_NS;
        if self.disk.stat(&path).map_or(true, is_recent) {
            return;
        }
        let files = result
            .outputs
            .iter()
            .filter_map(|output| match &output.content {
                Content::File { digest, .. } => Some(digest),
                Content::Link { .. } | Content::EmptyDir => None,
            });
        for digest in files.chain([&result.log]) {
            // An entry that cannot be touched is collected earlier, that is all.
            drop(self.disk.touch(&self.blob_path(digest)));
        }
        drop(self.disk.touch(&path));
    }

    /// A new name in `tmp/`.
    pub(super) fn staged(&self) -> Result<PathBuf, DiskError> {
        let dir = self.dir.join("tmp");
        self.disk.make_dir(&dir)?;
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        Ok(dir.join(format!("{}-{n}", self.session)))
    }

    fn place(
        &self,
        copied: Result<(Digest, u64), DiskError>,
        digest: &Digest,
        staged: &Path,
        place: &Path,
    ) -> Result<bool, DiskError> {
        let placed = copied.and_then(|(found, size)| {
            if found != *digest {
                return Ok(false);
            }
            self.disk.set_mode(staged, 0o444)?;
            self.disk.make_dir(place.parent().unwrap_or(&self.dir))?;
            self.disk.rename(staged, place)?;
            self.added_bytes.fetch_add(size, Ordering::Relaxed);
            Ok(true)
        });
        if !matches!(placed, Ok(true)) {
            // The error that matters is the first one; what is left is collected later.
            drop(self.disk.remove(staged));
        }
        placed
    }

    fn digest_of(&self, path: &Path) -> Result<(Digest, u64), DiskError> {
        let mut reader = self.disk.open(path)?;
        Digest::of_reader(&mut *reader).map_err(|source| failed_read(path, source))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.sharded("cas", digest)
    }

    fn result_path(&self, key: &Digest) -> PathBuf {
        self.sharded("ac", key)
    }

    /// `kind/ab/abcd...`
    fn sharded(&self, kind: &str, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        [
            &self.dir,
            Path::new(kind),
            Path::new(&hex[..2]),
            Path::new(&hex),
        ]
        .iter()
        .collect()
    }
}

fn failed_read(path: &Path, source: io::Error) -> DiskError {
    DiskError {
        action: "read",
        path: path.to_path_buf(),
        source,
    }
}

fn short(key: &Digest) -> ledger::Key {
    let short = key.as_bytes().first_chunk();
    *short.expect("a digest is longer")
}
