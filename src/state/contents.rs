//! What is in files, without reading what is known already: [`Contents`].
//!
//! Answers from the index where the stat data says so, reads and digests the rest in parallel,
//! and learns. A file that changes while it is read is read again; what keeps changing is
//! answered but not learnt.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::change::FileType;
use crate::digest::Digest;
use crate::disk::{Disk, DiskError, FileStat};
use crate::parallel;
use crate::path::{RelPath, Root};

use super::clock::HashTime;
use super::index::Index;
use super::input::{Content, InputFile};
use super::tree::Leaf;
use super::warning::{Warning, Warnings};

/// How often a file that changes under the reader is read before it is taken as it is.
const READS_MAX: u32 = 3;

/// Whether more is to come after what is learnt so far is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saving {
    /// Yes: it is written if it is much.
    Between,
    /// No.
    AtTheEnd,
}

/// Reads files of one root.
pub(super) struct Contents<'d> {
    disk: &'d dyn Disk,
    root: Root,
    index_path: PathBuf,
    /// Written to read the clock of the file system; `None` when nothing may be written.
    clock_path: Option<PathBuf>,
    // Guards the index. Leaf lock, held for lookups and inserts, never across I/O.
    index: OnceLock<RwLock<Index>>,
}

impl<'d> Contents<'d> {
    pub(super) fn new(
        disk: &'d dyn Disk,
        root: &Root,
        index_path: PathBuf,
        clock_path: Option<PathBuf>,
    ) -> Self {
        Self {
            disk,
            root: root.clone(),
            index_path,
            clock_path,
            index: OnceLock::new(),
        }
    }

    /// What is at each of `paths`, whose stats are believed. Those that are gone are left out.
    ///
    /// # Errors
    /// When something is there and cannot be read.
    pub(super) fn read<'a>(
        &self,
        paths: impl ExactSizeIterator<Item = (&'a RelPath, &'a FileStat)>,
        warnings: &Warnings,
    ) -> Result<Vec<Arc<Leaf>>, DiskError> {
        let asked: Vec<_> = paths.collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let known: Vec<Option<Digest>> = {
            let index = self.index(warnings).read();
            let index = index.unwrap_or_else(PoisonError::into_inner);
            asked
                .iter()
                .map(|(path, stat)| index.get(path, stat))
                .collect()
        };
        let unknown = known.iter().filter(|digest| digest.is_none()).count();
        let time = if unknown > 0 {
            self.hash_time()
        } else {
            HashTime(None)
        };
        let indexes: Vec<usize> = (0..asked.len()).collect();
        let found = parallel::map(&indexes, unknown > 1, |&at| {
            let (path, stat) = asked[at];
            let leaf = match known[at] {
                Some(digest) => Some(known_leaf(path, *stat, digest)),
                None => self.read_one(path)?.map(|(file, is_still)| Leaf {
                    is_trusted: is_still && time.trusts(&file.stat),
                    file,
                }),
            };
            Ok(leaf.map(Arc::new))
        });
        let mut leaves = Vec::with_capacity(asked.len());
        for found in found {
            leaves.extend(found?);
        }
        if unknown > 0 {
            self.learn(&leaves, &asked, &known, time, warnings);
        }
        Ok(leaves)
    }

    /// The bytes of the index file if it has to be written; `when` it is worth it.
    pub(super) fn take_changes(&self, when: Saving) -> Option<Vec<u8>> {
        let index = self.index.get()?;
        let today = day(self.hash_time());
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        if when == Saving::Between && !index.has_learnt_much() {
            return None;
        }
        index.take_changes(today)
    }

    /// Reads the index file now rather than at the first question; how many files it knows.
    pub(super) fn warm(&self, warnings: &Warnings) -> usize {
        let index = self.index(warnings).read();
        index.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A moment that lies before everything that is read after this call.
    pub(super) fn hash_time(&self) -> HashTime {
        let path = self.clock_path.as_ref();
        HashTime(path.and_then(|path| self.disk.clock(path).ok()))
    }

    fn index(&self, warnings: &Warnings) -> &RwLock<Index> {
        self.index.get_or_init(|| {
            let index = match self.disk.read(&self.index_path) {
                Ok(bytes) => Index::decode(bytes).unwrap_or_else(|spoiled| {
                    warnings.push(Warning::StateDiscarded {
                        path: self.index_path.clone(),
                        reason: spoiled.to_string(),
                    });
                    Index::default()
                }),
                Err(error) => {
                    if !error.is_not_found() {
                        warnings.push(Warning::StateDiscarded {
                            path: self.index_path.clone(),
                            reason: error.source.to_string(),
                        });
                    }
                    Index::default()
                }
            };
            RwLock::new(index)
        })
    }

    fn learn(
        &self,
        leaves: &[Arc<Leaf>],
        asked: &[(&RelPath, &FileStat)],
        known: &[Option<Digest>],
        time: HashTime,
        warnings: &Warnings,
    ) {
        let today = day(time);
        let index = self.index(warnings).write();
        let mut index = index.unwrap_or_else(PoisonError::into_inner);
        let mut known = asked.iter().zip(known);
        for leaf in leaves {
            let Leaf { file, is_trusted } = &**leaf;
            // Both lists are in the same order; what was gone has no leaf.
            let was_known = known
                .find(|((path, _), _)| **path == file.path)
                .is_some_and(|(_, digest)| digest.is_some());
            match &file.content {
                _ if was_known => index.keep(&file.path, today),
                Content::File { digest, .. } if *is_trusted => {
                    index.learn(&file.path, file.stat, *digest, today);
                }
                _ => {}
            }
        }
    }

    /// Reads what is at `path` until it holds still; `None` when it is gone or has no content.
    fn read_one(&self, path: &RelPath) -> Result<Option<(InputFile, bool)>, DiskError> {
        let full = self.root.join(path);
        let mut last = None;
        for _ in 0..READS_MAX {
            let Some(stat) = gone_is_none(self.disk.stat(&full))? else {
                return Ok(None);
            };
            let content = match stat.file_type() {
                FileType::File => self.read_file(&full, &stat),
                FileType::Symlink => self.disk.read_link(&full).map(|target| Content::Link {
                    target: target.as_os_str().as_bytes().into(),
                }),
                FileType::Dir | FileType::Other => return Ok(None),
            };
            let content = match content {
                // Race: it became something else or went away after the stat; look again.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => continue,
                content => content,
            };
            let Some(content) = gone_is_none(content)? else {
                continue;
            };
            let is_still = gone_is_none(self.disk.stat(&full))? == Some(stat);
            let file = InputFile {
                path: path.clone(),
                stat,
                content,
            };
            if is_still {
                return Ok(Some((file, true)));
            }
            last = Some((file, false));
        }
        Ok(last)
    }

    fn read_file(&self, full: &std::path::Path, stat: &FileStat) -> Result<Content, DiskError> {
        let mut reader = self.disk.open(full)?;
        let digested = Digest::of_reader(&mut *reader);
        let (digest, size) = digested.map_err(|source| DiskError {
            action: "read",
            path: full.to_path_buf(),
            source,
        })?;
        Ok(Content::File {
            digest,
            size,
            executable: stat.is_executable(),
        })
    }
}

fn known_leaf(path: &RelPath, stat: FileStat, digest: Digest) -> Leaf {
    let content = Content::File {
        digest,
        size: stat.size,
        executable: stat.is_executable(),
    };
    Leaf {
        file: InputFile {
            path: path.clone(),
            stat,
            content,
        },
        is_trusted: true,
    }
}

fn gone_is_none<T>(result: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Days since the epoch.
fn day(time: HashTime) -> u16 {
    const DAY_NS: i64 = 86_400_000_000_000;
    let ns = time.0.map_or(0, |time| time.ns);
    u16::try_from(ns / DAY_NS).unwrap_or(0)
}
