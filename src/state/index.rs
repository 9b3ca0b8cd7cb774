//! Path and stat data to digest: [`Index`], so that what did not change is not read again.
//!
//! One file, read at the first question and written as a whole when something was learnt. Only
//! digests that [`HashTime`](super::clock::HashTime) trusts are in it. Losing it costs hashing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::FileStat;
use crate::path::RelPath;

use super::frame::{self, Kind, Spoiled};

/// An entry that was not used for so many days is dropped when the index is written.
const KEEP_DAYS: u16 = 30;

/// What is known of files, by path.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<RelPath, Entry>,
    is_changed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    stat: FileStat,
    digest: Digest,
    /// When it was last of use, in days since the epoch.
    day: u16,
}

impl Index {
    /// Reads the bytes of an index file.
    ///
    /// # Errors
    /// [`Spoiled`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Spoiled> {
        let rows: Vec<(RelPath, Entry)> = frame::decode(Kind::Index, bytes)?;
        Ok(Self {
            entries: rows.into_iter().collect(),
            is_changed: false,
        })
    }

    /// The bytes of the index file, or `None` when nothing was learnt since it was read.
    pub(super) fn take_changes(&mut self, today: u16) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.entries
            .retain(|_, entry| entry.day.saturating_add(KEEP_DAYS) >= today);
        let mut rows: Vec<(&RelPath, &Entry)> = self.entries.iter().collect();
        rows.sort_unstable_by_key(|(path, _)| *path);
        Some(frame::encode(Kind::Index, &rows))
    }

    /// The digest of the file at `path` if it still is as `stat` says.
    pub(super) fn get(&self, path: &RelPath, stat: &FileStat) -> Option<Digest> {
        let entry = self.entries.get(path)?;
        (entry.stat == *stat).then_some(entry.digest)
    }

    /// Keeps the entry of `path`, which was of use today.
    pub(super) fn keep(&mut self, path: &RelPath, today: u16) {
        if let Some(entry) = self.entries.get_mut(path)
            && entry.day.saturating_add(KEEP_DAYS / 2) < today
        {
            entry.day = today;
            self.is_changed = true;
        }
    }

    /// Notes that the file at `path` with this stat has this digest. The caller has checked that
    /// the stat may stand for the content.
    pub(super) fn learn(&mut self, path: &RelPath, stat: FileStat, digest: Digest, today: u16) {
        let entry = Entry {
            stat,
            digest,
            day: today,
        };
        if self.entries.get(path) != Some(&entry) {
            self.entries.insert(path.clone(), entry);
            self.is_changed = true;
        }
    }

    /// How many files are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
