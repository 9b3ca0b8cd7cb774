//! The output of one task, in order and in bounded memory: [`Spool`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

/// Bytes in the order they were written, kept in memory up to a bound and in an unnamed file
/// beyond it.
///
/// The file is gone with the spool, also when the process is killed. Where it cannot be written
/// (the disk is full), the spool keeps what it has and counts what follows:
/// [`bytes_lost`](Self::bytes_lost).
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    memory_bytes_max: usize,
    file: Option<File>,
    file_bytes: u64,
    /// What follows the file's bytes.
    memory: Vec<u8>,
    bytes_lost: u64,
}

impl Spool {
    /// What is worth keeping in memory: more than most tasks write.
    pub const MEMORY_BYTES: usize = 256 * 1024;

    /// An empty one, whose file, once there is one, lies in `dir`. Touches nothing yet.
    pub fn new(dir: &Path, memory_bytes_max: usize) -> Self {
        Self {
            dir: dir.to_owned(),
            memory_bytes_max,
            file: None,
            file_bytes: 0,
            memory: Vec::new(),
            bytes_lost: 0,
        }
    }

    /// Adds `bytes` at the end. Writes to the file when memory is full.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.bytes_lost == 0 && self.memory.len() + bytes.len() > self.memory_bytes_max {
            self.spill();
        }
        // What follows a loss is lost too: it must not take the place of what is missing.
        let room = self.memory_bytes_max - self.memory.len().min(self.memory_bytes_max);
        if self.bytes_lost == 0 && bytes.len() <= room {
            self.memory.extend_from_slice(bytes);
        } else if self.bytes_lost == 0 && self.memory.is_empty() {
            self.bytes_lost += (bytes.len() - self.write(bytes)) as u64;
        } else {
            self.bytes_lost += bytes.len() as u64;
        }
    }

    /// How many bytes are in it.
    pub fn len(&self) -> u64 {
        self.file_bytes + self.memory.len() as u64
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes at the end could not be kept.
    pub fn bytes_lost(&self) -> u64 {
        self.bytes_lost
    }

    /// Reads it from the start, in order. Reading fails only where its file cannot be read.
    pub fn reader(&self) -> SpoolReader<'_> {
        SpoolReader { spool: self, at: 0 }
    }

    /// Moves the memory into the file, or as much of it as fits there.
    fn spill(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let written = self.write(&memory);
        self.memory = memory;
        self.memory.drain(..written);
    }

    /// Writes at the end of the file; how many bytes it took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.file.is_none() {
            self.file = unnamed_file(&self.dir).ok();
        }
        let Some(file) = &self.file else {
            return 0;
        };
        let mut written = 0;
        while written < bytes.len() {
            match file.write_at(&bytes[written..], self.file_bytes) {
                Ok(len @ 1..) => {
                    written += len;
                    self.file_bytes += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        written
    }
}

/// Reads a [`Spool`] from its start.
#[derive(Debug)]
pub struct SpoolReader<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let in_file = self.spool.file_bytes.saturating_sub(self.at);
        let len = match &self.spool.file {
            Some(file) if in_file > 0 => {
                let len = usize::try_from(in_file)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                file.read_at(&mut buffer[..len], self.at)?
            }
            Some(_) | None => {
                let past = usize::try_from(self.at - self.spool.file_bytes).unwrap_or(usize::MAX);
                let rest = self.spool.memory.get(past..).unwrap_or_default();
                let len = rest.len().min(buffer.len());
                buffer[..len].copy_from_slice(&rest[..len]);
                len
            }
        };
        self.at += len as u64;
        Ok(len)
    }
}

/// Numbers the files of this process that had a name for a moment.
static FILES: AtomicU64 = AtomicU64::new(0);

/// A file in `dir` that has no name and ends with its descriptor.
fn unnamed_file(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // Not every file system can make a file without a name.
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".output-{}-{number}", rustix::process::getpid()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(spool: &Spool) -> Vec<u8> {
        let mut bytes = Vec::new();
        spool.reader().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn any_pieces_come_back_in_order_and_memory_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for (bound, pieces) in [(0, 5), (1, 3), (10, 4), (10, 25), (100, 3), (7, 7)] {
            let mut spool = Spool::new(dir.path(), bound);
            let mut expected = Vec::new();
            for round in 0..20_u8 {
                let piece = vec![round; pieces * usize::from(round % 3)];
                spool.push(&piece);
                expected.extend(piece);
                assert!(spool.memory.len() <= bound);
            }
            assert_eq!(text(&spool), expected);
            assert_eq!(
                (spool.len(), spool.bytes_lost()),
                (expected.len() as u64, 0)
            );
        }
    }

    #[test]
    fn little_output_makes_no_file_and_much_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path(), 4);
        assert!(spool.is_empty());
        spool.push(b"abcd");
        assert!(spool.file.is_none());
        spool.push(b"e");
        assert!(spool.file.is_some());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_file_the_start_is_kept_and_the_rest_counted() {
        let mut spool = Spool::new(Path::new("/nowhere/at/all"), 4);
        spool.push(b"abc");
        spool.push(b"defg");
        spool.push(b"h");
        assert_eq!(text(&spool), b"abc");
        assert_eq!(spool.bytes_lost(), 5);
    }
}
