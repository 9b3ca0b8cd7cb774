//! What `/proc` says of processes: who our children are, and to which tree a process belongs.
//!
//! Everything read here may be out of date when it is used, except of a child that was not reaped:
//! its number cannot be given to another process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::process::Pid;

use crate::exec::TREE_VARIABLE;

/// How often the list of our children is read until two readings agree.
const READINGS_MAX: usize = 8;

/// What `/proc/PID/stat` says, as far as we need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Whether it ended and waits to be reaped.
    pub(super) is_zombie: bool,
    /// Its parent; 0 for one outside our pid namespace.
    pub(super) parent: i32,
    /// Its process group; 0 for one outside our pid namespace.
    pub(super) group: i32,
    /// Its session; 0 for one outside our pid namespace.
    pub(super) session: i32,
    /// Whether its session has a terminal.
    pub(super) has_terminal: bool,
    /// When it started, in ticks of the system's clock. With its number it names a process that no
    /// later one is mistaken for.
    pub(super) started: u64,
}

impl Stat {
    /// Of this process.
    ///
    /// The only way to its group and session here: in a container whose first process inherited
    /// both from outside they are 0, for which the calls of `rustix` have no value.
    ///
    /// # Errors
    /// `/proc` is not there, or is that of another pid namespace: its numbers are not ours.
    pub(super) fn own() -> io::Result<Self> {
        let text = fs::read("/proc/self/stat")?;
        let own = rustix::process::getpid().to_string();
        let is_own = text
            .strip_prefix(own.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b' '));
        let stat = if is_own { Self::parse(&text) } else { None };
        stat.ok_or_else(|| io::Error::other("it is not the one of this pid namespace"))
    }

    /// `None` when there is no such process.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        // It takes far less; one reading of a file of this kind gives all of it.
        let mut text = [0; 2048];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let len = file.read(&mut text).ok()?;
        Self::parse(text.get(..len)?)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name, in parentheses, may hold blanks and parentheses itself.
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(text.get(name_end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        Some(Self {
            is_zombie: matches!(state, "Z" | "X" | "x"),
            parent: number()?,
            group: number()?,
            session: number()?,
            has_terminal: number()? != 0,
            // Fourteen more stand between the two.
            started: fields.nth(14)?.parse().ok()?,
        })
    }
}

/// Which signals this process ignores: bit `n - 1` for signal `n`.
///
/// # Errors
/// `/proc` is not there, or says it in another way.
pub(super) fn ignored_signals() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.ok_or_else(|| io::Error::other("it does not say which signals are ignored"))
}

/// What the environment of a process says of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It belongs to the tree that was asked for.
    Own,
    /// It belongs to other trees.
    Other,
    /// The variable is not in it.
    None,
    /// It is empty or unreadable. Also seen for a moment while a program replaces another.
    Empty,
}

/// Whether the environment that `pid` was started with has an element of the tree list for which
/// `is_own` holds.
pub(super) fn mark_of(pid: Pid, is_own: impl Fn(&[u8]) -> bool) -> Mark {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if environ.is_empty() {
        return Mark::Empty;
    }
    let own = |variable: &[u8]| {
        let list = variable
            .strip_prefix(TREE_VARIABLE.as_bytes())?
            .strip_prefix(b"=")?;
        Some(list.split(|byte| *byte == b':').any(&is_own))
    };
    match environ.split(|byte| *byte == 0).find_map(own) {
        Some(true) => Mark::Own,
        Some(false) => Mark::Other,
        None => Mark::None,
    }
}

/// Whether `pid` has the pipe with this inode open.
pub(super) fn holds_pipe(pid: Pid, inode: u64) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let name = format!("pipe:[{inode}]");
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.as_os_str() == OsStr::new(&name))
}

/// All processes that there are, in no order.
pub(super) fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| parse_pid(entry.file_name().as_bytes()))
        .collect()
}

/// The children of all threads of `pid`, in no order.
pub(super) fn children_of(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read(thread.path().join("children")).ok())
        .flat_map(|list| parse_pids(&list))
        .collect()
}

/// The children of this process's main thread: those it started itself, and every orphan that the
/// process adopted. Kept open, so that the usual answer (none) costs one system call.
#[derive(Debug)]
pub(super) enum Children {
    /// The kernel lists them.
    Listed(File),
    /// It does not (`CONFIG_PROC_CHILDREN` is off): every process is asked for its parent.
    Searched(Pid),
}

impl Children {
    pub(super) fn of_main_thread() -> io::Result<Self> {
        let own = rustix::process::getpid();
        Stat::own()?;
        Ok(
            match File::open(format!("/proc/{own}/task/{own}/children")) {
                Ok(file) => Self::Listed(file),
                Err(_) => Self::Searched(own),
            },
        )
    }

    /// Reads them.
    pub(super) fn read(&self) -> Listing {
        match self {
            Self::Listed(file) => {
                // Race: the kernel may leave some out when others end while it writes the list.
                // It never says "none" when there is one, and two equal lists in a row mean that
                // none ended meanwhile.
                let mut pids = read_list(file);
                let mut is_complete = pids.is_empty();
                for _ in 1..READINGS_MAX {
                    if is_complete {
                        break;
                    }
                    let again = read_list(file);
                    is_complete = again == pids;
                    pids = again;
                }
                Listing { pids, is_complete }
            }
            Self::Searched(own) => {
                let own = own.as_raw_pid();
                let is_child = |pid: &Pid| Stat::of(*pid).is_some_and(|stat| stat.parent == own);
                Listing {
                    pids: processes().into_iter().filter(is_child).collect(),
                    is_complete: true,
                }
            }
        }
    }
}

/// The children of this process.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) pids: Vec<Pid>,
    /// Whether an orphan that was there throughout is in it. Not while others keep coming and
    /// going.
    pub(super) is_complete: bool,
}

fn read_list(file: &File) -> Vec<Pid> {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = file.read_at(&mut buffer, text.len() as u64) {
        text.extend_from_slice(&buffer[..len]);
    }
    parse_pids(&text).collect()
}

fn parse_pids(list: &[u8]) -> impl Iterator<Item = Pid> + use<> {
    let pids: Vec<Pid> = list
        .split(u8::is_ascii_whitespace)
        .filter_map(parse_pid)
        .collect();
    pids.into_iter()
}

fn parse_pid(text: &[u8]) -> Option<Pid> {
    let number: i32 = str::from_utf8(text).ok()?.parse().ok()?;
    if number > 0 {
        Pid::from_raw(number)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let stat = |text: &str| Stat::parse(text.as_bytes());
        let expected = Stat {
            is_zombie: false,
            parent: 7,
            group: 8,
            session: 9,
            has_terminal: false,
            started: 77,
        };
        let rest = "-1 4194560 101 0 0 0 1 2 3 4 20 0 1 0 77 9 8";
        let with = |start: &str| stat(&format!("{start} {rest}"));
        assert_eq!(with("12 (sh) S 7 8 9 0"), Some(expected));
        assert_eq!(with("12 (a) S 1 (b) S 7 8 9 0"), Some(expected));
        assert!(with("12 (sh) Z 7 8 9 0").unwrap().is_zombie);
        assert!(with("12 (sh) S 7 8 9 34816").unwrap().has_terminal);
        assert_eq!(stat("12 (sh) S 7 8 9 0 -1"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn lists_of_pids_are_read() {
        const NONE: [i32; 0] = [];
        let pids =
            |text: &str| -> Vec<i32> { parse_pids(text.as_bytes()).map(Pid::as_raw_pid).collect() };
        assert_eq!(pids("12 345 "), [12, 345]);
        assert_eq!(pids(""), NONE);
        assert_eq!(pids("0 -3 x"), NONE);
    }

    #[test]
    fn this_process_has_a_stat_and_no_mark_of_an_unknown_tree() {
        let own = rustix::process::getpid();
        assert!(!Stat::of(own).unwrap().is_zombie);
        assert_ne!(
            mark_of(own, |element| element == b"no-such-tree"),
            Mark::Own
        );
        assert!(processes().contains(&own));
    }
}
