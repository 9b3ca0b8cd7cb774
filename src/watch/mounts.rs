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

/// What is mounted around a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    /// Number, and where: the mounts below the root and those it lies on.
    pub(crate) around: BTreeSet<(u64, PathBuf)>,
    /// Two places for one directory, by bind mounts.
    twins: Vec<(PathBuf, PathBuf)>,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: Vec<u8>,
    /// Which directory of the file system is mounted.
    source: PathBuf,
    at: PathBuf,
}

impl Mounts {
    /// The mounts that matter to `root`.
    pub(crate) fn around(root: &Path) -> Self {
        Self::read(&fs::read(TABLE).unwrap_or_default(), root)
    }

    fn read(table: &[u8], root: &Path) -> Self {
        let lines = table.split(|&byte| byte == b'\n').filter_map(parse);
        let is_around = |at: &Path| at.starts_with(root) || root.starts_with(at);
        let mounts: Vec<Mount> = lines.filter(|mount| is_around(&mount.at)).collect();
        let mut twins = Vec::new();
        for mount in &mounts {
            for other in mounts.iter().filter(|other| other.device == mount.device) {
                let inside = mount.source.strip_prefix(&other.source);
                let Some(twin) = inside.ok().map(|inside| other.at.join(inside)) else {
                    continue;
                };
                let is_known = twins.iter().any(|(a, b)| *a == twin && *b == mount.at);
                if twin != mount.at && is_around(&twin) && !is_known {
                    twins.push((mount.at.clone(), twin));
                }
            }
        }
        let around = mounts.into_iter().map(|mount| (mount.id, mount.at));
        Self {
            around: around.collect(),
            twins,
        }
    }

    /// The other names of `path`. The system has one watch for a directory, whatever its names,
    /// and tells by one of them.
    pub(crate) fn twins_of(&self, path: &Path) -> Vec<PathBuf> {
        let other = |from: &Path, to: &Path| Some(to.join(path.strip_prefix(from).ok()?));
        let both = |(a, b): &(PathBuf, PathBuf)| [other(a, b), other(b, a)];
        self.twins.iter().flat_map(both).flatten().collect()
    }
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let path = |field: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescape(field)));
    Some(Mount {
        id: std::str::from_utf8(fields.next()?).ok()?.parse().ok()?,
        device: fields.nth(1)?.to_vec(),
        source: path(fields.next()?),
        at: path(fields.next()?),
    })
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
        let mount = Mount {
            id: 36,
            device: b"98:0".to_vec(),
            source: PathBuf::from("/mnt1"),
            at: PathBuf::from("/mnt/a b"),
        };
        assert_eq!(parse(line), Some(mount));
        assert_eq!(parse(b""), None);
        assert_eq!(unescape(br"a\134b\0"), br"a\b\0");
    }

    #[test]
    fn the_root_of_everything_lies_around_every_path() {
        let mounts = Mounts::around(Path::new("/nonexistent/dir"));
        assert!(mounts.around.iter().any(|(_, at)| at == Path::new("/")));
    }

    #[test]
    fn a_directory_that_is_mounted_a_second_time_has_two_names() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 8:1 /home/r/src /home/r/bound rw - ext4 /dev/a rw\n\
            3 1 8:2 / /home/r/disk rw - ext4 /dev/b rw\n\
            4 1 8:2 /x /home/r/x rw - ext4 /dev/b rw\n\
            5 1 8:1 /elsewhere /home/r/out rw - ext4 /dev/a rw\n";
        let mounts = Mounts::read(table, Path::new("/home/r"));
        let check = |path: &str, expected: &[&str]| {
            let twins = mounts.twins_of(Path::new(path));
            let expected: Vec<&Path> = expected.iter().map(Path::new).collect();
            assert_eq!(twins, expected, "{path}");
        };
        check("/home/r/src/f", &["/home/r/bound/f"]);
        check("/home/r/bound/d/f", &["/home/r/src/d/f"]);
        check("/home/r/disk/x/f", &["/home/r/x/f"]);
        check("/home/r/x", &["/home/r/disk/x"]);
        check("/home/r/disk/y", &[]);
        check("/home/r/out/f", &[]);
        check("/home/r/f", &[]);
        // What the root lies on is mounted again in it, from further up.
        let table = b"1 0 8:1 /home/w /work rw - ext4 /dev/a rw\n\
            2 1 8:1 /home /work/r/x rw - ext4 /dev/a rw\n";
        let mounts = Mounts::read(table, Path::new("/work/r"));
        let twins = mounts.twins_of(Path::new("/work/r/f"));
        assert_eq!(twins, [Path::new("/work/r/x/w/r/f")]);
    }
}
