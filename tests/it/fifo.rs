//! A FIFO between a test and a command: the command waits until the test lets it go on, or the
//! test waits until the command says that it is there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::DEADLINE;

/// A FIFO outside the project. Both ends are held open, so that neither side waits for the other
/// to open it; a line written stays in it until it is read.
pub(crate) struct Fifo {
    path: PathBuf,
    file: File,
}

impl Fifo {
    pub(crate) fn new(path: &Path) -> Self {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO can be made");
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self {
            path: path.to_owned(),
            file: file.expect("the FIFO opens"),
        }
    }

    /// The shell command that waits here.
    pub(crate) fn pass(&self) -> String {
        format!("read _ < '{}'", self.path.display())
    }

    /// The shell command that says `word` here.
    pub(crate) fn say(&self, word: &str) -> String {
        format!("echo {word} > '{}'", self.path.display())
    }

    /// Lets one waiting command go on, now or when it comes.
    pub(crate) fn open(&self) {
        (&self.file)
            .write_all(b"go\n")
            .expect("the FIFO takes a line");
    }

    /// Waits for what a command says.
    #[track_caller]
    pub(crate) fn hear(&self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let timeout = Timespec {
                tv_sec: DEADLINE.as_secs().cast_signed(),
                tv_nsec: 0,
            };
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&timeout)).expect("poll works");
            assert!(
                ready > 0,
                "no command spoke at {} in time",
                self.path.display()
            );
            let mut byte = [0];
            (&self.file).read_exact(&mut byte).expect("a byte is there");
            line.push(byte[0]);
        }
        String::from_utf8(line)
            .expect("commands speak ASCII")
            .trim_end()
            .to_owned()
    }
}
