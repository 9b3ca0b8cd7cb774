//! Path and stat data to digest: [`Index`], so that what did not change is not read again.
//!
//! One file, read at the first question and written as a whole when something was learnt. Only
//! digests that [`HashTime`](super::clock::HashTime) trusts are in it. Losing it costs hashing.
//! What was read stays as it is, in order of path, and is searched in place: rows of fixed size
//! after a table of where each path ends, then all paths one after the other.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::disk::FileStat;
use crate::path::RelPath;

use super::frame::{self, Kind, Spoiled};

/// An entry that was not used for so many days is dropped when the index is written.
const KEEP_DAYS: u16 = 30;

/// With fewer entries it is written in less than a millisecond.
const SMALL: usize = 2000;

/// Six words of stat data (the mode with the day) and a digest.
const ROW: usize = 6 * 8 + 32;
/// Where a path ends.
const END: usize = 4;

/// What is known of files, by path.
#[derive(Debug, Default)]
pub(super) struct Index {
    base: Base,
    /// What was learnt since; hides what the base says of the same path.
    learnt: HashMap<RelPath, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Self, Spoiled> {
        let header = bytes.len() - frame::open(Kind::Index, &bytes)?.len();
        bytes.drain(..header);
        Ok(Self {
            base: Base::new(bytes).ok_or(Spoiled::Torn)?,
            learnt: HashMap::new(),
        })
    }

    /// The bytes of the index file, or `None` when nothing was learnt since it was read.
    pub(super) fn take_changes(&mut self, today: u16) -> Option<Vec<u8>> {
        if self.learnt.is_empty() {
            return None;
        }
        let learnt = std::mem::take(&mut self.learnt);
        let mut rows: Vec<(&[u8], Entry)> = (0..self.base.len())
            .map(|at| (self.base.path(at), self.base.entry(at)))
            .filter(|(path, _)| !learnt.contains_key(*path))
            .chain(learnt.iter().map(|(path, entry)| (path.as_bytes(), *entry)))
            .filter(|(_, entry)| entry.day.saturating_add(KEEP_DAYS) >= today)
            .collect();
        rows.sort_unstable_by_key(|(path, _)| *path);
        let base = Base::of(&rows);
        let bytes = frame::wrap(Kind::Index, &base.bytes);
        self.base = base;
        Some(bytes)
    }

    /// Whether so much was learnt that it is worth to write all of it again.
    pub(super) fn has_learnt_much(&self) -> bool {
        self.base.len() < SMALL || self.learnt.len() >= self.base.len() / 16
    }

    /// The digest of the file at `path` if it still is as `stat` says.
    pub(super) fn get(&self, path: &RelPath, stat: &FileStat) -> Option<Digest> {
        let entry = self.entry(path)?;
        (entry.stat == *stat).then_some(entry.digest)
    }

    /// Notes that the file at `path` with this stat has this digest. The caller has checked that
    /// the stat may stand for the content.
    pub(super) fn learn(&mut self, path: &RelPath, stat: FileStat, digest: Digest, today: u16) {
        let entry = Entry {
            stat,
            digest,
            day: today,
        };
        self.learnt.insert(path.clone(), entry);
    }

    /// Keeps the entry of `path`, which was of use today.
    pub(super) fn keep(&mut self, path: &RelPath, today: u16) {
        if let Some(mut entry) = self.entry(path)
            && entry.day.saturating_add(KEEP_DAYS / 2) < today
        {
            entry.day = today;
            self.learnt.insert(path.clone(), entry);
        }
    }

    /// How many files are known, those learnt twice counted twice.
    pub(super) fn len(&self) -> usize {
        self.base.len() + self.learnt.len()
    }

    fn entry(&self, path: &RelPath) -> Option<Entry> {
        match self.learnt.get(path) {
            Some(entry) => Some(*entry),
            None => self
                .base
                .find(path.as_bytes())
                .map(|at| self.base.entry(at)),
        }
    }
}

/// Rows in order of path, as they are on disk.
#[derive(Debug, Default)]
struct Base {
    bytes: Vec<u8>,
    len: usize,
}

impl Base {
    fn of(rows: &[(&[u8], Entry)]) -> Self {
        let paths: usize = rows.iter().map(|(path, _)| path.len()).sum();
        let mut bytes = Vec::with_capacity(8 + rows.len() * (END + ROW) + paths);
        bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
        let mut end = 0_u32;
        for (path, _) in rows {
            // Paths of more than 4 GB in all are cut off by `new`: the index is lost then.
            end = end.saturating_add(u32::try_from(path.len()).unwrap_or(u32::MAX));
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for (_, entry) in rows {
            let FileStat {
                dev,
                ino,
                size,
                mtime_ns,
                ctime_ns,
                mode,
            } = entry.stat;
            let mode_and_day = u64::from(mode) << 16 | u64::from(entry.day);
            let times = [mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned()];
            for word in [dev, ino, size, times[0], times[1], mode_and_day] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(entry.digest.as_bytes());
        }
        for (path, _) in rows {
            bytes.extend_from_slice(path);
        }
        Self {
            bytes,
            len: rows.len(),
        }
    }

    /// Takes bytes as they were written; `None` when they do not fit together.
    fn new(bytes: Vec<u8>) -> Option<Self> {
        let len = u64::from_le_bytes(*bytes.first_chunk()?);
        let len = usize::try_from(len).ok()?;
        let fixed = len.checked_mul(END + ROW)?.checked_add(8)?;
        if bytes.len() < fixed {
            return None;
        }
        let base = Self { bytes, len };
        let mut last = 0;
        for at in 0..len {
            let end = base.end(at);
            if end < last {
                return None;
            }
            last = end;
        }
        (base.bytes.len() - fixed == last).then_some(base)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.path(middle).cmp(path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn path(&self, at: usize) -> &[u8] {
        let heap = 8 + self.len * (END + ROW);
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        &self.bytes[heap + start..heap + self.end(at)]
    }

    fn end(&self, at: usize) -> usize {
        let place = 8 + at * END;
        u32::from_le_bytes(self.chunk(place)) as usize
    }

    fn entry(&self, at: usize) -> Entry {
        let place = 8 + self.len * END + at * ROW;
        let word = |n: usize| u64::from_le_bytes(self.chunk(place + n * 8));
        let mode_and_day = word(5);
        let narrow = "the mode was written from 32 bits, the day from 16";
        Entry {
            stat: FileStat {
                dev: word(0),
                ino: word(1),
                size: word(2),
                mtime_ns: word(3).cast_signed(),
                ctime_ns: word(4).cast_signed(),
                mode: u32::try_from(mode_and_day >> 16 & 0xffff_ffff).expect(narrow),
            },
            digest: Digest::from_bytes(self.chunk(place + 48)),
            day: u16::try_from(mode_and_day & 0xffff).expect(narrow),
        }
    }

    fn chunk<const N: usize>(&self, place: usize) -> [u8; N] {
        *self.bytes[place..]
            .first_chunk()
            .expect("`new` and `of` made the rows complete")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: u64) -> RelPath {
        RelPath::new(format!("dir{}/file{n}", n % 3).as_bytes()).unwrap()
    }

    fn stat(n: u64) -> FileStat {
        FileStat {
            dev: n,
            ino: u64::MAX - n,
            size: n * 3,
            mtime_ns: -1,
            ctime_ns: i64::MAX,
            mode: 0o100_644,
        }
    }

    fn digest(n: u64) -> Digest {
        Digest::of(&n.to_le_bytes())
    }

    #[test]
    fn what_was_learnt_is_known_after_writing_and_reading() {
        let mut index = Index::default();
        for n in 0..50 {
            index.learn(&path(n), stat(n), digest(n), 20_000);
        }
        let bytes = index.take_changes(20_000).unwrap();
        assert_eq!(index.take_changes(20_000), None, "nothing is new");
        let mut read = Index::decode(bytes).unwrap();
        read.learn(&path(7), stat(8), digest(9), 20_000);
        let bytes = read.take_changes(20_000).unwrap();
        let read = Index::decode(bytes).unwrap();
        for n in (0..50).filter(|&n| n != 7) {
            assert_eq!(read.get(&path(n), &stat(n)), Some(digest(n)));
            assert_eq!(read.get(&path(n), &stat(n + 1)), None);
        }
        assert_eq!(read.get(&path(7), &stat(8)), Some(digest(9)));
        assert_eq!((read.len(), read.get(&path(99), &stat(99))), (50, None));
    }

    #[test]
    fn what_is_of_no_use_is_dropped_after_a_while() {
        let mut index = Index::default();
        index.learn(&path(1), stat(1), digest(1), 100);
        index.learn(&path(2), stat(2), digest(2), 100);
        index.take_changes(100).unwrap();
        index.keep(&path(2), 120);
        index.take_changes(131).unwrap();
        assert_eq!(index.get(&path(1), &stat(1)), None);
        assert_eq!(index.get(&path(2), &stat(2)), Some(digest(2)));
    }

    #[test]
    fn rows_that_do_not_fit_together_are_refused() {
        let whole = Base::of(&[(b"a", entry()), (b"b", entry())]).bytes;
        for len in 0..whole.len() {
            assert!(Base::new(whole[..len].to_vec()).is_none(), "{len}");
        }
        let mut huge = whole.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Base::new(huge).is_none());
    }

    fn entry() -> Entry {
        Entry {
            stat: stat(1),
            digest: digest(1),
            day: 1,
        }
    }
}
