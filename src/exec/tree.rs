//! The death of one process tree: [`Tree`]. Finds what belongs to it, signals it, reaps it.
//!
//! The leader stays a zombie until the end, so its number, which is also its group's, cannot be
//! another process's meanwhile. Everything it left behind is, or becomes as its own parents die,
//! a child of this process (the subreaper): the tree is gone when the leader has ended and none of
//! our children belongs to it. A child belongs to it by its group, by the mark in its environment,
//! or by holding the tree's output pipe.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::exec::executor::Orphans;
use crate::exec::procfs::{self, Children, Listing, Mark, Stat};
use crate::exec::registry::{Known, Registry};

/// How often an empty environment is read again: a program that is being replaced shows one.
const EMPTY_LOOKS_MAX: usize = 5;

/// How often our children are listed in a row while each time something new is found. A tree that
/// forks all the time must not keep its watcher from the clock.
const LISTINGS_MAX: usize = 4;

/// How many children are examined at once, and for how long until the watcher has to look at its
/// own clock: between many forks each may take milliseconds.
const EXAMINED_MAX: usize = 32;
const EXAMINED_FOR: Duration = Duration::from_millis(10);

/// How long it is not looked again for orphans that have ended, while their trees write.
const ORPHANS_INTERVAL: Duration = Duration::from_millis(100);

/// Reap it if it has ended.
const REAP: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);

/// What is found out about a tree through this process as a whole.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) registry: Registry,
    pub(super) children: Children,
    pub(super) orphans: Orphans,
    // Guards when it is next looked for orphans that have ended while their tree lives. Leaf lock,
    // held for one comparison and change.
    due: Mutex<Instant>,
}

impl Kin {
    pub(super) fn new(registry: Registry, children: Children, orphans: Orphans) -> Self {
        Self {
            registry,
            children,
            orphans,
            due: Mutex::new(Instant::now()),
        }
    }

    /// Whether it is time to look for orphans that have ended.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = now >= *due;
        if is_due {
            *due = now + ORPHANS_INTERVAL;
        }
        is_due
    }
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
    groups: HashSet<(i32, i32)>,
    /// Descendants outside the group that were asked to end before they were our children.
    asked: Vec<Pid>,
    /// Members that may not be killed: they run as another user.
    unreachable: Vec<Pid>,
    /// Children that ended before it was found out whose they were: they may have left children of
    /// this tree to us, once.
    ended_strangers: HashSet<Pid>,
    /// The listed children that are still to be examined, the newest last.
    rest: Vec<Pid>,
    /// Whether something ended since they were listed.
    has_changed: bool,
    /// Whether what was found need not be all.
    is_restless: bool,
    /// How many who lived came to light in the last pass of a kill; `None` before the first. From
    /// then on whatever comes to light is killed.
    killed: Option<usize>,
    /// The other groups that were killed in this pass.
    shot: HashSet<i32>,
    /// The number of this process, and its group.
    own: i32,
    own_group: Option<i32>,
}

/// What a look finds out about a child of this process.
enum Finding {
    /// It belongs to the tree, and may be in its group.
    Member { is_in_group: bool },
    /// It does not.
    Stranger,
    /// It may, and can be told from others in a moment.
    Doubtful,
    /// It ended, and may have left its own children to us.
    Gone,
    /// It was another tree's, has ended and is reaped.
    Buried,
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
            groups: HashSet::new(),
            asked: Vec::new(),
            unreachable: Vec::new(),
            ended_strangers: HashSet::new(),
            rest: Vec::new(),
            has_changed: false,
            is_restless: false,
            killed: None,
            shot: HashSet::new(),
            own: 0,
            own_group: None,
        }
    }

    /// Looks again at what of it is among our children, and reaps what has ended. Bounded work: of
    /// a tree that changes all the time it is not the whole truth, see [`is_restless`].
    ///
    /// [`is_restless`]: Self::is_restless
    pub(super) fn refresh(&mut self) {
        let start = Instant::now();
        let mut listings = 0;
        // Race: since an earlier look listed them, anybody may have become our child.
        let mut is_old = true;
        loop {
            if self.rest.is_empty() {
                listings += 1;
                is_old = false;
                self.list();
            }
            self.look();
            // Race: one that ended after it was listed left its own children to us.
            self.is_restless = self.has_changed || !self.rest.is_empty() || is_old;
            let is_enough = listings == LISTINGS_MAX && self.rest.is_empty();
            if !self.is_restless || is_enough || start.elapsed() >= EXAMINED_FOR {
                break;
            }
        }
    }

    /// Examines the next of the listed children, the newest first: they are more likely to live.
    fn look(&mut self) {
        if !self.rest.is_empty() {
            let left = self.rest.len().saturating_sub(EXAMINED_MAX);
            let mut part = self.rest.split_off(left);
            part.reverse();
            self.admit(part, left > 0);
        }
        let before = self.members.len();
        self.members.retain(|member| !reap(&member.pidfd));
        self.has_changed |= self.members.len() < before;
    }

    /// Lists the children of this process that need be examined.
    fn list(&mut self) {
        let Listing { pids, is_complete } = self.kin.children.read();
        self.has_changed = !is_complete;
        if is_complete && !self.members.is_empty() {
            let children: HashSet<Pid> = pids.iter().copied().collect();
            self.members.retain(|member| children.contains(&member.pid));
        }
        let known = self.members.iter().map(|member| member.pid);
        let known: HashSet<Pid> = known.chain(self.unreachable.iter().copied()).collect();
        self.rest = pids;
        self.rest
            .retain(|pid| !known.contains(pid) && self.kin.registry.knows(*pid) != Known::Yes);
    }

    /// Takes in what of `children` belongs to the tree; `is_part` when there are others.
    fn admit(&mut self, mut children: Vec<Pid>, is_part: bool) {
        self.know_own();
        for look in 1..=EMPTY_LOOKS_MAX {
            let groups = self.groups.len();
            let mut is_doubtful = false;
            children.retain(|pid| {
                match self.examine(*pid, look == EMPTY_LOOKS_MAX) {
                    Finding::Member { is_in_group } => self.take_in(*pid, is_in_group),
                    Finding::Gone => self.has_changed = true,
                    Finding::Buried => {}
                    Finding::Doubtful => {
                        is_doubtful = true;
                        return true;
                    }
                    Finding::Stranger => return true,
                }
                false
            });
            let has_grown = self.groups.len() > groups;
            self.has_changed |= has_grown && is_part;
            // A process without a mark may be in the group of one that has only now been found.
            if !is_doubtful && !has_grown {
                break;
            }
            if is_doubtful && look < EMPTY_LOOKS_MAX {
                pause(Duration::from_millis(1));
            }
        }
    }

    fn know_own(&mut self) {
        self.own = getpid().as_raw_pid();
        self.own_group = Stat::own().ok().map(|own| own.group);
    }

    fn take_in(&mut self, pid: Pid, is_in_group: bool) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            // It can only fail for want of descriptors; the next look tries again.
            self.has_changed = true;
            return;
        };
        if self.killed.is_some() && pidfd_send_signal(&pidfd, Signal::KILL) == Err(Errno::PERM) {
            self.unreachable.push(pid);
            return;
        }
        self.killed = self.killed.map(|killed| killed + 1);
        self.members.push(Member {
            pid,
            pidfd,
            is_in_group,
            was_asked: false,
        });
    }

    /// Whether nothing but the leader is left, as of the last look.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && !self.is_restless
    }

    /// Whether it has to be looked again at once: it changes all the time.
    pub(super) fn is_restless(&self) -> bool {
        self.is_restless
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
        for (pid, pidfd, _) in escaped {
            let _gone = pidfd_send_signal(&pidfd, signal);
            let _gone = pidfd_send_signal(&pidfd, Signal::CONT);
            self.asked.push(pid);
        }
        self.refresh();
        self.ask_strays(signal);
    }

    /// Reaps orphans of any tree that have ended, if it was not looked for them a moment ago. They
    /// would fill the table of processes while their trees live. Bounded work.
    pub(super) fn reap_orphans(&mut self) {
        if !self.kin.is_due() {
            return;
        }
        let start = Instant::now();
        let mut children = self.kin.children.read().pids;
        children.retain(|pid| self.kin.registry.knows(*pid) != Known::Yes);
        self.know_own();
        for pid in children {
            let child = Stat::of(pid).filter(|stat| stat.parent == self.own);
            if child.is_some_and(|stat| self.is_dead_orphan(pid, stat)) {
                let _reaped = waitid(WaitId::Pid(pid), REAP);
            }
            if start.elapsed() >= EXAMINED_FOR {
                break;
            }
        }
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
        // While there is somebody who lives, the newest are looked at before the rest.
        if self.killed != Some(0) {
            self.rest.clear();
        }
        self.killed = Some(0);
        self.shot.clear();
        let leader = kill_process_group(self.leader, Signal::KILL);
        let unreachable = &mut self.unreachable;
        self.members.retain(|member| {
            let refused = pidfd_send_signal(&member.pidfd, Signal::KILL) == Err(Errno::PERM);
            if refused {
                unreachable.push(member.pid);
            }
            !refused
        });
        let outside = self.members.iter().filter(|member| !member.is_in_group);
        let stats: Vec<Stat> = outside.filter_map(|member| Stat::of(member.pid)).collect();
        for stat in stats {
            self.shoot(stat);
        }
        // Kills what is new, each as soon as it is found: one that forks and ends all the time is
        // gone a moment later.
        self.refresh();
        leader != Err(Errno::PERM)
    }

    /// Kills and reaps orphans that no tree can be named for: they left their group, closed their
    /// output and emptied their environment. Only right when no other tree is alive.
    pub(super) fn kill_unclaimed(&mut self) {
        if self.kin.orphans == Orphans::Marked {
            return;
        }
        loop {
            let mut unclaimed = self.kin.children.read().pids;
            unclaimed.retain(|pid| *pid != self.leader && !self.unreachable.contains(pid));
            if unclaimed.is_empty() {
                return;
            }
            self.know_own();
            let is_orphan = |pid| Stat::of(pid).is_some_and(|stat| self.is_orphan(pid, stat));
            unclaimed.retain(|pid| is_orphan(*pid) && self.mark_of(*pid) != Mark::Other);
            // A child that cannot be waited for is not one of ours after all.
            unclaimed.retain(|pid| {
                let pidfd = pidfd_open(*pid, PidfdFlags::empty());
                pidfd.is_ok_and(|pidfd| pidfd_send_signal(&pidfd, Signal::KILL).is_ok())
            });
            let wait = |pid: &Pid| waitid(WaitId::Pid(*pid), WaitIdOptions::EXITED).is_ok();
            if unclaimed.iter().filter(|pid| wait(pid)).count() == 0 {
                return;
            }
        }
    }

    /// Finds out whether our child `pid` belongs to the tree, and reaps it if it has ended.
    /// `is_last`: it will not be looked at again for a doubt.
    fn examine(&mut self, pid: Pid, is_last: bool) -> Finding {
        // Race: somebody else may have reaped it since it was listed.
        let is_child = |stat: &Stat| stat.parent == self.own;
        let Some(stat) = Stat::of(pid).filter(is_child) else {
            return Finding::Gone;
        };
        let finding = self.kinship(pid, stat, is_last);
        if let Finding::Member { .. } = finding {
            if self.killed.is_some() {
                self.shoot(stat);
            }
            if stat.is_zombie {
                let _reaped = waitid(WaitId::Pid(pid), REAP);
                return Finding::Gone;
            }
        }
        finding
    }

    /// Kills the group of a member that is outside of the tree's own, if the mark says that it is
    /// the tree's. Its number is not free, since the member is our child and not reaped.
    fn shoot(&mut self, stat: Stat) {
        let is_marked = self.groups.contains(&(stat.group, stat.session));
        if is_marked && self.shot.insert(stat.group) {
            let group = Pid::from_raw(stat.group.max(0));
            let _gone = group.map(|group| kill_process_group(group, Signal::KILL));
        }
    }

    fn kinship(&mut self, pid: Pid, stat: Stat, is_last: bool) -> Finding {
        let group = (stat.group, stat.session);
        if stat.group == self.leader.as_raw_pid() {
            return Finding::Member { is_in_group: true };
        }
        let member = Finding::Member { is_in_group: false };
        if self.groups.contains(&group) {
            return member;
        }
        let of_another = Pid::from_raw(stat.group.max(0));
        if of_another.is_some_and(|leader| self.kin.registry.knows(leader) == Known::Yes) {
            let is_reaped =
                self.is_dead_orphan(pid, stat) && waitid(WaitId::Pid(pid), REAP).is_ok();
            return if is_reaped {
                Finding::Buried
            } else {
                Finding::Stranger
            };
        }
        if stat.is_zombie {
            // Its environment is gone with its memory. Nobody else will ever reap it.
            let is_orphan = self.kin.orphans == Orphans::All && self.is_orphan(pid, stat);
            if is_orphan || self.asked.contains(&pid) {
                return member;
            }
            // Race: it may have ended, and left its children to us, since we were listed.
            self.has_changed |= self.ended_strangers.insert(pid);
            return Finding::Stranger;
        }
        match procfs::mark_of(pid, |element| element == self.id.as_bytes()) {
            Mark::Own => {
                if self.is_outside_own_group(stat) {
                    self.groups.insert(group);
                }
                member
            }
            Mark::Other => Finding::Stranger,
            Mark::Empty if !is_last => Finding::Doubtful,
            // Race: a process that is just being started has a copy of all our descriptors, and no
            // mark yet. It is known a moment later.
            Mark::None | Mark::Empty
                if !is_last && self.kin.registry.knows(pid) == Known::Perhaps =>
            {
                Finding::Doubtful
            }
            Mark::None | Mark::Empty => {
                let holds = |inode| self.is_orphan(pid, stat) && procfs::holds_pipe(pid, inode);
                if self.pipe.is_some_and(holds) {
                    member
                } else {
                    Finding::Stranger
                }
            }
        }
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
    fn is_orphan(&self, pid: Pid, stat: Stat) -> bool {
        self.kin.registry.knows(pid) == Known::No && self.is_outside_own_group(stat)
    }

    /// Whether our child `pid` is an orphan that has ended, so that nobody but us will reap it: one
    /// of the group of a tree that lives, or of none.
    fn is_dead_orphan(&self, pid: Pid, stat: Stat) -> bool {
        let leader = Pid::from_raw(stat.group.max(0)).filter(|leader| *leader != pid);
        let is_of_tree = leader.is_some_and(|leader| self.kin.registry.is_alive(leader));
        let is_of_none = || self.kin.orphans == Orphans::All && self.is_orphan(pid, stat);
        stat.is_zombie && (is_of_tree || is_of_none())
    }

    fn is_outside_own_group(&self, stat: Stat) -> bool {
        self.own_group.is_some_and(|own| own != stat.group)
    }

    /// The living descendants of the leader that are not in its group.
    fn escaped(&self) -> Vec<(Pid, OwnedFd, Stat)> {
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
                    found.push((pid, pidfd, stat));
                }
            }
        }
        found
    }
}

/// Reaps our child if it has ended; then its number is free. Also true if somebody else did.
fn reap(pidfd: &OwnedFd) -> bool {
    !matches!(waitid(WaitId::PidFd(pidfd.as_fd()), REAP), Ok(None))
}

/// Waits a moment for something that cannot be waited for.
fn pause(time: Duration) {
    let time = Timespec::try_from(time).ok();
    let _interrupted = rustix::event::poll(&mut [], time.as_ref());
}
