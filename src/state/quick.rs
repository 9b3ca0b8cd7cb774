//! One digest over the paths and stats of a task's inputs: equal means that nothing happened.
//!
//! It is kept with a success only when every stat in it may stand for its content, so a task that
//! is up to date is found so by looking at stat data alone.

use crate::digest::Digest;
use crate::disk::FileStat;
use crate::parallel;
use crate::path::RelPath;

/// So many files are digested in one go.
const CHUNK: usize = 1024;

/// Something with a path and a stat.
pub(super) trait Statted: Sync {
    fn path(&self) -> &RelPath;
    fn stat(&self) -> &FileStat;
}

impl Statted for &crate::files::FileEntry {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn stat(&self) -> &FileStat {
        &self.stat
    }
}

impl Statted for &super::input::InputFile {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn stat(&self) -> &FileStat {
        &self.stat
    }
}

/// The digest of `files` in the order they are in.
pub(super) fn digest<T: Statted>(files: &[T]) -> Digest {
    let chunks: Vec<&[T]> = files.chunks(CHUNK).collect();
    let digests = parallel::map(&chunks, files.len() > 4 * CHUNK, |chunk| {
        chunk_digest(chunk)
    });
    if let [digest] = digests[..] {
        return digest;
    }
    let bytes: Vec<u8> = digests
        .iter()
        .flat_map(|digest| *digest.as_bytes())
        .collect();
    Digest::of(&bytes)
}

fn chunk_digest<T: Statted>(files: &[T]) -> Digest {
    let mut bytes = Vec::with_capacity(files.len() * 96);
    for file in files {
        let (path, stat) = (file.path().as_bytes(), file.stat());
        let FileStat {
            dev,
            ino,
            size,
            mtime_ns,
            ctime_ns,
            mode,
        } = *stat;
        bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
        bytes.extend_from_slice(path);
        for word in [
            dev,
            ino,
            size,
            mtime_ns.cast_unsigned(),
            ctime_ns.cast_unsigned(),
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&mode.to_le_bytes());
    }
    Digest::of(&bytes)
}
