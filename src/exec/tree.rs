//! The death of one process tree: [`Tree`]. Finds what belongs to it, signals it, reaps it.
//!
//! The leader stays a zombie until the end, so its number, which is also its group's, cannot be
//! another process's meanwhile. Everything it left behind is, or becomes as its own parents die,
//! a child of this process (the subreaper): the tree is gone when the leader has ended and none of
//! our children belongs to it. A child belongs to it by its group, by the mark in its environment,
//! or by holding the tree's output pipe.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::exec::executor::Orphans;
use crate::exec::procfs::{self, Children, Mark, Stat};
use crate::exec::registry::{Known, Registry};

/// How often an empty environment is read again: a program that is being replaced shows one.
const EMPTY_LOOKS_MAX: usize = 5;

/// What is found out about a tree through this process as a whole.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) registry: Registry,
    pub(super) children: Children,
    pub(super) orphans: Orphans,
}

/// What is left of one tree beside its leader.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    kin: &'a Kin,
    leader: Pid,
    id: &'a str,
    pipe: Option<u64>,
    members: Vec<Member>,
    /// Other groups, with their sessions, that a process with the tree's mark is in.
    groups: Vec<(i32, i32)>,
    /// Descendants outside the group that were asked to end before they were our children.
    asked: Vec<Pid>,
    /// Members that may not be killed: they run as another user.
    unreachable: Vec<Pid>,
}

/// A child of this process that belongs to the tree. Not reaped, so its number is its own.
#[derive(Debug)]
struct Member {
    pid: Pid,
    /// Readable when it has ended.
    pidfd: OwnedFd,
    /// Whether the signals to the group reach it.
    is_in_group: bool,
    was_asked: bool,
}

impl<'a> Tree<'a> {
    /// The tree `id` that `leader` leads; `pipe` is the inode of its output.
    pub(super) fn new(kin: &'a Kin, leader: Pid, id: &'a str, pipe: Option<u64>) -> Self {
        Self {
            kin,
            leader,
            id,
            pipe,
            members: Vec::new(),
            groups: Vec::new(),
            asked: Vec::new(),
            unreachable: Vec::new(),
        }
    }

    /// Looks again at what of it is among our children, and reaps what has ended.
    pub(super) fn refresh(&mut self) {
        loop {
            self.look();
            let before = self.members.len();
            self.members.retain(|member| !reap(member.pid));
            // Race: one that ended after the look left its own children to us.
            if self.members.len() == before {
                return;
            }
        }
    }

    fn look(&mut self) {
        let children = self.kin.children.read();
        self.members.retain(|member| children.contains(&member.pid));
        loop {
            let groups = self.groups.len();
            self.admit(&children);
            // A process without a mark may be in the group of one that has only now been found.
            if self.groups.len() == groups {
                return;
            }
        }
    }

    fn admit(&mut self, children: &[Pid]) {
        for &pid in children {
            let known = pid == self.leader || self.unreachable.contains(&pid);
            if known || self.members.iter().any(|member| member.pid == pid) {
                continue;
            }
            let Some(is_in_group) = self.belongs(pid) else {
                continue;
            };
            // It can only fail for want of descriptors; the next look tries again.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                self.members.push(Member {
                    pid,
                    pidfd,
                    is_in_group,
                    was_asked: false,
                });
            }
        }
    }

    /// Whether nothing but the leader is left, as of the last look.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Descriptors that become readable when one of those left has ended.
    pub(super) fn pidfds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().map(|member| member.pidfd.as_fd())
    }

    /// Sends `signal` to the whole tree, those included that left the group, and wakes what is
    /// stopped so that it can act on it.
    pub(super) fn ask(&mut self, signal: Signal) {
        // Looked up first: when the leader dies, its place in the ancestry is lost.
        let escaped = self.escaped();
        let _gone = kill_process_group(self.leader, signal);
        let _gone = kill_process_group(self.leader, Signal::CONT);
        for (pid, pidfd) in escaped {
            let _gone = pidfd_send_signal(&pidfd, signal);
            let _gone = pidfd_send_signal(&pidfd, Signal::CONT);
            self.asked.push(pid);
        }
        self.refresh();
        self.ask_strays(signal);
    }

    /// Sends `signal` to the group, which is to live on.
    pub(super) fn pass_on(&self, signal: Signal) {
        let _gone = kill_process_group(self.leader, signal);
    }

    /// Sends `signal` once to each member outside the group that came to light since.
    pub(super) fn ask_strays(&mut self, signal: Signal) {
        for member in &mut self.members {
            let asked_before = member.was_asked || self.asked.contains(&member.pid);
            if !member.is_in_group && !asked_before {
                let _gone = pidfd_send_signal(&member.pidfd, signal);
                let _gone = pidfd_send_signal(&member.pidfd, Signal::CONT);
            }
            member.was_asked = true;
        }
    }

    /// Kills the group and every member. `false` when the leader may not be killed: it runs as
    /// another user.
    pub(super) fn kill(&mut self) -> bool {
        let leader = kill_process_group(self.leader, Signal::KILL);
        self.refresh();
        let unreachable = &mut self.unreachable;
        self.members.retain(|member| {
            let refused = pidfd_send_signal(&member.pidfd, Signal::KILL) == Err(Errno::PERM);
            if refused {
                unreachable.push(member.pid);
            }
            !refused
        });
        leader != Err(Errno::PERM)
    }

    /// Kills and reaps orphans that no tree can be named for: they left their group, closed their
    /// output and emptied their environment. Only right when no other tree is alive.
    pub(super) fn kill_unclaimed(&self) {
        if self.kin.orphans == Orphans::Marked {
            return;
        }
        loop {
            let mut unclaimed = self.kin.children.read();
            unclaimed.retain(|pid| *pid != self.leader && !self.unreachable.contains(pid));
            unclaimed.retain(|pid| self.is_orphan(*pid) && self.mark_of(*pid) != Mark::Other);
            // A child that cannot be waited for is not one of ours after all.
            unclaimed.retain(|pid| {
                let pidfd = pidfd_open(*pid, PidfdFlags::empty());
                pidfd.is_ok_and(|pidfd| pidfd_send_signal(&pidfd, Signal::KILL).is_ok())
            });
            let wait = |pid: &Pid| waitid(WaitId::Pid(*pid), WaitIdOptions::EXITED).is_ok();
            if !unclaimed.iter().any(wait) {
                return;
            }
        }
    }

    /// Whether our child `pid` belongs to the tree, and if so whether it is in its group.
    fn belongs(&mut self, pid: Pid) -> Option<bool> {
        let stat = Stat::of(pid)?;
        let group = (stat.group, stat.session);
        if stat.group == self.leader.as_raw_pid() {
            return Some(true);
        }
        if self.groups.contains(&group) {
            return Some(false);
        }
        let of_another = Pid::from_raw(stat.group.max(0));
        if of_another.is_some_and(|leader| self.kin.registry.knows(leader) == Known::Yes) {
            return None;
        }
        if stat.is_zombie {
            // Its environment is gone with its memory. Nobody else will ever reap it.
            let is_orphan = self.kin.orphans == Orphans::All && self.is_orphan(pid);
            return (is_orphan || self.asked.contains(&pid)).then_some(false);
        }
        let mark = self.mark_of(pid);
        match mark {
            Mark::Own => {
                if is_outside_own_group(stat) {
                    self.groups.push(group);
                }
                Some(false)
            }
            Mark::Other => None,
            Mark::None | Mark::Empty => self.holds_pipe(pid).then_some(false),
        }
    }

    /// Whether our child `pid`, which has no mark, gives itself away by the tree's pipe.
    fn holds_pipe(&self, pid: Pid) -> bool {
        // Race: a process that is just being started has a copy of all our descriptors, and no
        // mark yet. It is known a moment later.
        for _ in 0..EMPTY_LOOKS_MAX {
            if self.kin.registry.knows(pid) != Known::Perhaps {
                break;
            }
            pause(Duration::from_millis(1));
        }
        let holds = |inode| self.is_orphan(pid) && procfs::holds_pipe(pid, inode);
        self.pipe.is_some_and(holds)
    }

    fn mark_of(&self, pid: Pid) -> Mark {
        let mut mark = Mark::Empty;
        for _ in 0..EMPTY_LOOKS_MAX {
            mark = procfs::mark_of(pid, |element| element == self.id.as_bytes());
            if mark != Mark::Empty || Stat::of(pid).is_none_or(|stat| stat.is_zombie) {
                break;
            }
            pause(Duration::from_millis(1));
        }
        mark
    }

    /// Whether our child `pid` was adopted rather than started by this process. What the program
    /// that we are part of starts by itself is in its own group, unless it says otherwise.
    fn is_orphan(&self, pid: Pid) -> bool {
        self.kin.registry.knows(pid) == Known::No && Stat::of(pid).is_some_and(is_outside_own_group)
    }

    /// The living descendants of the leader that are not in its group.
    fn escaped(&self) -> Vec<(Pid, OwnedFd)> {
        let mut found = Vec::new();
        let mut parents = vec![self.leader];
        while let Some(parent) = parents.pop() {
            for pid in procfs::children_of(parent) {
                parents.push(pid);
                let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                    continue;
                };
                // Looked at after the pidfd was opened: now they speak of one process.
                let Some(stat) = Stat::of(pid) else {
                    continue;
                };
                let is_child = stat.parent == parent.as_raw_pid();
                if is_child && stat.group != self.leader.as_raw_pid() {
                    found.push((pid, pidfd));
                }
            }
        }
        found
    }
}

fn is_outside_own_group(stat: Stat) -> bool {
    Stat::own().is_ok_and(|own| own.group != stat.group)
}

/// Reaps our child `pid` if it has ended; then its number is free.
fn reap(pid: Pid) -> bool {
    let ended = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    );
    !matches!(ended, Ok(None))
}

/// Waits a moment for something that cannot be waited for.
fn pause(time: Duration) {
    let time = Timespec::try_from(time).ok();
    let _interrupted = rustix::event::poll(&mut [], time.as_ref());
}
