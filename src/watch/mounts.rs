//! Tells when something is mounted or unmounted: [`MountWatcher`].
//!
//! A mount over a watched directory makes no file event; the kernel tells it only to who waits on
//! the table of mounts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::watch::source::{Hint, HintSink};

const TABLE: &str = "/proc/self/mountinfo";

/// A thread that waits for changes of the table of mounts. Ends when dropped.
#[derive(Debug)]
pub(crate) struct MountWatcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl MountWatcher {
    /// Tells `sink` of every change of the table from now on.
    pub(crate) fn start(sink: Arc<dyn HintSink>) -> io::Result<Self> {
        let table = File::open(TABLE)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let own = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("watchrun-mounts".to_owned())
            .spawn(move || wait(&table, &own, &*sink))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for MountWatcher {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if told.is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It ends by itself and has nothing to say.
            drop(thread.join());
        }
    }
}

fn wait(table: &File, stop: &OwnedFd, sink: &dyn HintSink) {
    loop {
        let mut fds = [
            PollFd::new(table, PollFlags::PRI | PollFlags::ERR),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        sink.hint(0, Hint::Mounts);
    }
}

/// The mounts that matter to `root`: number, and where; those below it and those it lies on.
pub(crate) fn mounts_around(root: &Path) -> BTreeSet<(u64, PathBuf)> {
    let table = fs::read(TABLE).unwrap_or_default();
    let lines = table.split(|&byte| byte == b'\n').filter_map(parse);
    lines
        .filter(|(_, at)| at.starts_with(root) || root.starts_with(at))
        .collect()
}

fn parse(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let at = fields.nth(3)?;
    Some((
        id,
        PathBuf::from(std::ffi::OsString::from_vec(unescape(at))),
    ))
}

/// Blanks, tabs, newlines and backslashes stand as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 4).filter(|_| text[at] == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(text[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read_with_their_escapes() {
        let line = br"36 35 98:0 /mnt1 /mnt/a\040b rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(parse(line), Some((36, PathBuf::from("/mnt/a b"))));
        assert_eq!(parse(b""), None);
        assert_eq!(unescape(br"a\134b\0"), br"a\b\0");
    }

    #[test]
    fn the_root_of_everything_lies_around_every_path() {
        let around = mounts_around(Path::new("/nonexistent/dir"));
        assert!(around.iter().any(|(_, at)| at == Path::new("/")));
    }
}
