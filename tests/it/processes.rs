//! Who is alive, and what the program watches, as `/proc` tells.

use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::support::DEADLINE;

/// What [`commands_in`] finds when all are dead.
pub(crate) const NOBODY: [u32; 0] = [];

/// The processes whose working directory is `dir` or lies below it, the program itself aside.
pub(crate) fn commands_in(dir: &Path) -> Vec<u32> {
    let program = Path::new(env!("CARGO_BIN_EXE_watchrun"));
    let processes = fs::read_dir("/proc").expect("/proc is there");
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
        })
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != program))
        .collect();
    found.sort_unstable();
    found
}

/// Waits until the process `pid` is gone.
#[track_caller]
pub(crate) fn wait_gone(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("not 0");
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let timeout = Timespec {
        tv_sec: DEADLINE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&timeout)).expect("poll works");
    assert!(ready > 0, "process {pid:?} is still alive");
}

/// The inode numbers of the directories that process `pid` watches.
pub(crate) fn watched_inodes(pid: u32) -> Vec<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is alive");
    let mut inodes = Vec::new();
    for entry in descriptors {
        let Ok(text) = fs::read_to_string(entry.expect("fdinfo is readable").path()) else {
            continue;
        };
        let watches = text.lines().filter(|line| line.starts_with("inotify "));
        inodes.extend(watches.filter_map(|line| {
            let field = line
                .split_whitespace()
                .find_map(|field| field.strip_prefix("ino:"))?;
            u64::from_str_radix(field, 16).ok()
        }));
    }
    inodes
}
