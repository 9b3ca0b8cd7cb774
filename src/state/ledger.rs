//! Small values by key in one file that only grows: [`Ledger`].
//!
//! Notes are added by one write at the end, under a lock, and read by everyone without one: so many
//! successes cost one write and no file of their own. Every note has a checksum.
//! An end that is torn is as if it had not been written, and cut by the next write; anything else
//! that is not as it was written makes the whole file worthless, never a part of it believed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::disk::{Disk, DiskError, FileStat, LockWait};

use super::frame::{self, Kind, Spoiled};
use super::warning::{Warning, Warnings};

/// Bytes that tell one life of the file from another: they enter every checksum.
const NONCE: usize = 16;
/// The file's own header.
const START: usize = frame::HEADER + NONCE;
/// Length, slot, key, checksum of the value, checksum of this.
const NOTE: usize = 4 + 4 + 16 + 16 + 8;
/// A file that is this much larger than what counts in it is written anew.
const SLACK: u64 = 64 * 1024;

/// Notes of as many keys may wait to be written.
const PENDING_MAX: usize = 512;

/// What a value is kept under: 16 bytes of a digest.
pub(super) type Key = [u8; 16];

/// Which of the values of a key, in the order in which they are written: what is torn before the
/// marker leaves it as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Inputs,
    Success,
    Marker,
}

/// One thing to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// This is the value now.
    Set(Slot, Arc<[u8]>),
    /// There is no value any more.
    Clear(Slot),
}

/// The values of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) success: Option<Arc<[u8]>>,
    pub(super) inputs: Option<Arc<[u8]>>,
    pub(super) marker: Option<Arc<[u8]>>,
    /// Where in the file it was written to last.
    written_at: usize,
}

/// The file. See the module.
pub(super) struct Ledger<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    lock_path: PathBuf,
    /// Makes nonces.
    session: String,
    // Guards what was read of the file and what is to be written. Held while the file is read or
    // written: who asks meanwhile would have to do the same.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Known,
    pending: Pending,
}

/// What is not written yet: at most one note for each key and slot.
#[derive(Default)]
struct Pending {
    /// In the order in which they came.
    keys: Vec<Key>,
    /// By slot.
    notes: HashMap<Key, [Option<Note>; 3]>,
}

impl Pending {
    fn add(&mut self, key: Key, note: Note) {
        let notes = self.notes.entry(key).or_insert_with(|| {
            self.keys.push(key);
            Default::default()
        });
        let slot = note.slot() as usize;
        notes[slot] = Some(note);
    }

    fn of(&self, key: &Key) -> impl Iterator<Item = &Note> {
        self.notes.get(key).into_iter().flatten().flatten()
    }

    fn forget(&mut self, key: &Key) {
        self.keys.retain(|of| of != key);
        self.notes.remove(key);
    }

    fn take(&mut self) -> Vec<(Key, Note)> {
        let mut all = Vec::with_capacity(self.keys.len());
        for key in self.keys.drain(..) {
            let notes = self.notes.remove(&key).into_iter().flatten().flatten();
            all.extend(notes.map(|note| (key, note)));
        }
        all
    }
}

/// What was read of the file.
#[derive(Default)]
struct Known {
    /// The file as it was seen; `None`: it is not there, or nobody looked.
    stat: Option<FileStat>,
    /// How many of its bytes are understood. 0: it is of no use.
    end: usize,
    nonce: [u8; NONCE],
    values: HashMap<Key, Values>,
}

impl<'d> Ledger<'d> {
    /// The ledger at `path`; `lock_path` is locked to write to it. Reads nothing yet.
    pub(super) fn new(
        disk: &'d dyn Disk,
        path: PathBuf,
        lock_path: PathBuf,
        session: String,
    ) -> Self {
        Self {
            disk,
            path,
            lock_path,
            session,
            state: Mutex::default(),
        }
    }

    /// The values of `key`, with everything that was noted or written before this call.
    pub(super) fn get(&self, key: &Key, warnings: &Warnings) -> Values {
        let mut state = self.lock();
        self.refresh(&mut state.known, warnings);
        let mut values = state.known.values.get(key).cloned().unwrap_or_default();
        for note in state.pending.of(key) {
            values.apply(note);
        }
        values
    }

    /// Notes this for `key`, for the next [`Self::flush`] to write down.
    pub(super) fn note(
        &self,
        key: &Key,
        notes: impl IntoIterator<Item = Note>,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let mut state = self.lock();
        for note in notes {
            state.pending.add(*key, note);
        }
        if state.pending.keys.len() < PENDING_MAX {
            return Ok(());
        }
        self.write(&mut state, warnings)
    }

    /// Writes down what was noted, key by key as they came and each in the order of its slots, in
    /// one write: a crash leaves none, all or the first of it. An error loses all of it.
    pub(super) fn flush(&self, warnings: &Warnings) -> Result<(), DiskError> {
        self.write(&mut self.lock(), warnings)
    }

    /// [`Self::note`] and [`Self::flush`] in one.
    pub(super) fn put(
        &self,
        key: &Key,
        notes: impl IntoIterator<Item = Note>,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        self.note(key, notes, warnings)?;
        self.flush(warnings)
    }

    fn write(&self, state: &mut State, warnings: &Warnings) -> Result<(), DiskError> {
        if state.pending.keys.is_empty() {
            return Ok(());
        }
        let notes = state.pending.take();
        let known = &mut state.known;
        // Where nothing can be locked, two writers may spoil the file: then it is dropped.
        let held = self.disk.lock(&self.lock_path, 0, LockWait::Block).ok();
        self.refresh(known, warnings);
        if known.end == 0 {
            let mut fresh = Known::default();
            let bytes = self.start(&mut fresh, notes.iter().map(|(key, note)| (*key, note)));
            return self.replace(known, fresh, &bytes);
        }
        let mut bytes = Vec::new();
        for (key, note) in &notes {
            write_note(&mut bytes, &known.nonce, key, note);
        }
        let keep = held.is_some().then_some(known.end as u64);
        match self.disk.append(&self.path, keep, &bytes) {
            Ok(stat) => {
                for (key, note) in &notes {
                    known.apply(*key, note);
                }
                known.end += bytes.len();
                // Without a lock others may have written in between.
                known.stat = (stat.size == known.end as u64).then_some(stat);
                Ok(())
            }
            Err(error) => {
                known.stat = None;
                Err(error)
            }
        }
    }

    /// Forgets what was written longest ago if the file is larger than `bytes_max`, until half of
    /// that is left.
    pub(super) fn shrink(&self, bytes_max: u64, warnings: &Warnings) -> Result<(), DiskError> {
        let known = &mut self.lock().known;
        // What was never looked at has not grown.
        if known.end as u64 <= bytes_max {
            return Ok(());
        }
        let Ok(Some(_held)) = self.disk.lock(&self.lock_path, 0, LockWait::Try) else {
            return Ok(());
        };
        self.refresh(known, warnings);
        let keep = usize::try_from(bytes_max / 2).unwrap_or(usize::MAX);
        let from = known.end.saturating_sub(keep);
        known.values.retain(|_, values| values.written_at >= from);
        self.rewrite(known)
    }

    /// Makes sure that `key` has no value, even where nothing can be added: if it has to be by
    /// forgetting everything.
    pub(super) fn forget_at_any_price(
        &self,
        key: &Key,
        warnings: &Warnings,
    ) -> Result<(), DiskError> {
        let mut state = self.lock();
        state.pending.forget(key);
        let known = &mut state.known;
        let held = self.disk.lock(&self.lock_path, 0, LockWait::Block);
        self.refresh(known, warnings);
        if known.values.remove(key).is_none() {
            return Ok(());
        }
        let written = self.rewrite(known);
        drop(held);
        written.or_else(|_| {
            *known = Known::default();
            self.disk.remove(&self.path)
        })
    }

    /// Writes the file anew if most of it does not count any more.
    pub(super) fn compact(&self, warnings: &Warnings) -> Result<(), DiskError> {
        let known = &mut self.lock().known;
        if (known.end as u64) < known.live_bytes() * 2 + SLACK {
            return Ok(());
        }
        let Ok(Some(_held)) = self.disk.lock(&self.lock_path, 0, LockWait::Try) else {
            return Ok(());
        };
        self.refresh(known, warnings);
        if known.end == 0 {
            return Ok(());
        }
        self.rewrite(known)
    }

    fn rewrite(&self, known: &mut Known) -> Result<(), DiskError> {
        let values = std::mem::take(&mut known.values);
        let mut fresh = Known::default();
        let mut values: Vec<(Key, Values)> = values.into_iter().collect();
        // In the order in which they were written: what is old stays old.
        values.sort_unstable_by_key(|(key, values)| (values.written_at, *key));
        let notes: Vec<(Key, Note)> = values
            .iter()
            .flat_map(|(key, values)| values.notes().map(|note| (*key, note)))
            .collect();
        let bytes = self.start(&mut fresh, notes.iter().map(|(key, note)| (*key, note)));
        self.replace(known, fresh, &bytes)
    }

    /// The bytes of a new file that says `notes`, and what is known of it then.
    fn start<'n>(
        &self,
        fresh: &mut Known,
        notes: impl Iterator<Item = (Key, &'n Note)>,
    ) -> Vec<u8> {
        fresh.nonce = self.new_nonce();
        let mut bytes = frame::wrap(Kind::Ledger, &fresh.nonce);
        for (key, note) in notes {
            write_note(&mut bytes, &fresh.nonce, &key, note);
            fresh.end = bytes.len();
            fresh.apply(key, note);
        }
        fresh.end = bytes.len();
        bytes
    }

    fn replace(&self, known: &mut Known, fresh: Known, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.disk.write_atomic(&self.path, bytes);
        *known = match &written {
            Ok(()) => Known {
                stat: self.disk.stat(&self.path).ok(),
                ..fresh
            },
            Err(_) => Known::default(),
        };
        written
    }

    /// Takes in what was written since the last look.
    fn refresh(&self, known: &mut Known, warnings: &Warnings) {
        let stat = match self.disk.stat(&self.path) {
            Ok(stat) => stat,
            Err(error) => {
                if !error.is_not_found() {
                    self.warn(&error.source.to_string(), warnings);
                }
                *known = Known::default();
                return;
            }
        };
        if known.stat == Some(stat) {
            return;
        }
        let is_longer = known.end > 0 && stat.size >= known.end as u64;
        if is_longer
            && let Ok((stat, bytes)) = self.disk.read_from(&self.path, known.end as u64)
            && known.take_in(&bytes).is_ok()
        {
            known.stat = Some(stat);
            return;
        }
        // It is another file by now, or the first look.
        *known = Known::default();
        match self.disk.read_from(&self.path, 0) {
            Ok((stat, bytes)) => {
                if let Err(spoiled) = known.open(&bytes) {
                    *known = Known::default();
                    self.warn(&spoiled.to_string(), warnings);
                }
                known.stat = Some(stat);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => self.warn(&error.source.to_string(), warnings),
        }
    }

    fn warn(&self, reason: &str, warnings: &Warnings) {
        warnings.push(Warning::StateDiscarded {
            path: self.path.clone(),
            reason: reason.to_owned(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_nonce(&self) -> [u8; NONCE] {
        // Another process, engine or moment gives another session; a moment is a life of the file.
        let stat = self.disk.stat(self.path.parent().unwrap_or(Path::new("/")));
        let changed_ns = stat.map_or(0, |stat| stat.ctime_ns);
        let digest = Digest::of(format!("{} {changed_ns}", self.session).as_bytes());
        cut(digest.as_bytes())
    }
}

impl Known {
    fn open(&mut self, bytes: &[u8]) -> Result<(), Spoiled> {
        let start = &bytes[..bytes.len().min(START)];
        self.nonce = cut(frame::open(Kind::Ledger, start)?);
        self.end = START;
        self.take_in(&bytes[START..])
    }

    /// Takes in the notes that begin where the understood part ends, up to a torn one.
    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Spoiled> {
        while let Some((header, rest)) = bytes.split_at_checked(NOTE) {
            let (said, check) = header.split_at(NOTE - 8);
            if check[..] != salted(&self.nonce, said)[..8] {
                return Err(Spoiled::Torn);
            }
            let len = u32::from_le_bytes(cut(said)) as usize;
            let Some((value, rest)) = rest.split_at_checked(len) else {
                return Ok(());
            };
            let key: Key = cut(&said[8..]);
            if said[24..40] != salted(&self.nonce, value)[..16] {
                return Err(Spoiled::Torn);
            }
            let note = Note::parse(said[4], value).ok_or(Spoiled::Foreign)?;
            self.apply(key, &note);
            self.end += NOTE + len;
            bytes = rest;
        }
        Ok(())
    }

    fn apply(&mut self, key: Key, note: &Note) {
        let values = self.values.entry(key).or_default();
        values.written_at = self.end;
        values.apply(note);
    }

    fn live_bytes(&self) -> u64 {
        let values = self.values.values();
        let all = values.flat_map(|values| [&values.success, &values.inputs, &values.marker]);
        all.flatten().map(|value| (NOTE + value.len()) as u64).sum()
    }
}

impl Values {
    fn apply(&mut self, note: &Note) {
        match note {
            Note::Set(slot, value) => *self.slot(*slot) = Some(Arc::clone(value)),
            Note::Clear(slot) => *self.slot(*slot) = None,
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Option<Arc<[u8]>> {
        match slot {
            Slot::Success => &mut self.success,
            Slot::Inputs => &mut self.inputs,
            Slot::Marker => &mut self.marker,
        }
    }

    fn notes(&self) -> impl Iterator<Item = Note> {
        [
            (Slot::Inputs, &self.inputs),
            (Slot::Success, &self.success),
            (Slot::Marker, &self.marker),
        ]
        .into_iter()
        .filter_map(|(slot, value)| Some(Note::Set(slot, Arc::clone(value.as_ref()?))))
    }
}

impl Note {
    fn slot(&self) -> Slot {
        match self {
            Self::Set(slot, _) | Self::Clear(slot) => *slot,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Set(Slot::Success, _) => 1,
            Self::Set(Slot::Inputs, _) => 2,
            Self::Set(Slot::Marker, _) => 3,
            Self::Clear(Slot::Success) => 4,
            Self::Clear(Slot::Inputs) => 5,
            Self::Clear(Slot::Marker) => 6,
        }
    }

    fn parse(tag: u8, value: &[u8]) -> Option<Self> {
        Some(match tag {
            1 => Self::Set(Slot::Success, value.into()),
            2 => Self::Set(Slot::Inputs, value.into()),
            3 => Self::Set(Slot::Marker, value.into()),
            4 => Self::Clear(Slot::Success),
            5 => Self::Clear(Slot::Inputs),
            6 => Self::Clear(Slot::Marker),
            _ => return None,
        })
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::Set(_, value) => value,
            Self::Clear(_) => &[],
        }
    }
}

fn write_note(bytes: &mut Vec<u8>, nonce: &[u8; NONCE], key: &Key, note: &Note) {
    let value = note.value();
    let len = u32::try_from(value.len()).expect("a note is small");
    let start = bytes.len();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&[note.tag(), 0, 0, 0]);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&salted(nonce, value)[..16]);
    let check = salted(nonce, &bytes[start..]);
    bytes.extend_from_slice(&check[..8]);
    bytes.extend_from_slice(value);
}

fn salted(nonce: &[u8; NONCE], bytes: &[u8]) -> [u8; 32] {
    *Digest::of_parts(&[nonce, bytes]).as_bytes()
}

/// The first `N` of `bytes`, of which there are enough.
fn cut<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let cut = bytes.first_chunk();
    *cut.expect("the slice was checked to be long enough")
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
