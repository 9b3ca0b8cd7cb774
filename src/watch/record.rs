//! What happened, on file: [`Recorder`] writes it, [`replay`] makes the same change sets of it.
//!
//! A recording holds the raw hints, every stat result that differed and the moments at which sets
//! were made, in nanoseconds since its start. The policy is the same code as in a live watch; the
//! clock is the recording's. Records are length-prefixed postcard behind a magic line; a torn end
//! is dropped.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::change::ChangeSet;
use crate::disk::FileStat;
use crate::path::RelPath;
use crate::watch::debounce::{Debouncer, Observed};

const MAGIC: &[u8] = b"watchrun recording 1\n";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// How the debouncer was set: quiet and longest time.
    Times(Duration, Duration),
    /// A hint was taken from the queue: path and what was hinted.
    Hint(Vec<u8>, String),
    /// A path was found different.
    Observed {
        path: RelPath,
        before: Option<FileStat>,
        after: Option<FileStat>,
        written: bool,
        moved: bool,
    },
    /// A file is, or is no longer, being written.
    Open(RelPath, bool),
    /// Git took or let go of its lock.
    Locked(bool),
    /// Events were lost.
    Gap,
    /// A set was taken because it was ready.
    Ready,
    /// Everything pending was taken: someone waited for it.
    Taken,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read.
    #[error("cannot read the recording `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is not a recording of this version", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: BufWriter<File>,
    start: Instant,
}

impl Recorder {
    pub(crate) fn create(path: &Path, start: Instant) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        Ok(Self { file, start })
    }

    pub(crate) fn write(&mut self, record: &Record, now: Instant) -> io::Result<()> {
        let since = now.saturating_duration_since(self.start);
        let at = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let bytes = postcard::to_stdvec(&(at, record)).map_err(io::Error::other)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes the change sets of a recording again, by the same rules, under its own clock.
///
/// # Errors
/// [`ReplayError`]: it cannot be read, or is not a recording. A torn end is no error.
pub fn replay(path: &Path) -> Result<Vec<ChangeSet>, ReplayError> {
    let bytes = fs::read(path).map_err(|source| ReplayError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let foreign = || ReplayError::Foreign {
        path: path.to_path_buf(),
    };
    let records = bytes.strip_prefix(MAGIC).ok_or_else(foreign)?;
    // Any moment will do: only differences count.
    let start = Instant::now();
    let mut debouncer = Debouncer::new(Duration::ZERO, Duration::ZERO);
    let mut sets = Vec::new();
    for (at, record) in Records(records) {
        let now = start + Duration::from_nanos(at);
        sets.extend(apply(&mut debouncer, record, now));
    }
    Ok(sets)
}

fn apply(debouncer: &mut Debouncer, record: Record, now: Instant) -> Option<ChangeSet> {
    match record {
        Record::Times(quiet, longest) => debouncer.set_times(quiet, longest),
        Record::Hint(..) => {}
        Record::Observed {
            path,
            before,
            after,
            written,
            moved,
        } => debouncer.push(
            Observed {
                path,
                before,
                after,
                written,
                moved,
            },
            now,
        ),
        Record::Open(path, open) => debouncer.set_open(&path, open),
        Record::Locked(locked) => debouncer.set_locked(locked, now),
        Record::Gap => debouncer.mark_gap(),
        Record::Ready => return debouncer.take_ready(now),
        Record::Taken => return debouncer.take_all(),
    }
    None
}

/// The whole records of a recording, in order.
struct Records<'a>(&'a [u8]);

impl Iterator for Records<'_> {
    type Item = (u64, Record);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let record = rest.get(..len)?;
        self.0 = &rest[len..];
        postcard::from_bytes(record).ok()
    }
}
