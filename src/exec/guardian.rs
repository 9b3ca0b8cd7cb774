//! The process that kills all trees when this one is killed: [`main`] is what it runs.
//!
//! It is this program once more, started with a hidden argument, in a process group of its own, so
//! that neither Ctrl-C nor the stop of a tree reaches it. It holds the reading end of a pipe whose
//! only writing end is here, and sleeps until that end is closed: by a byte first when all is well,
//! without one when this process was killed. Then it reads the table of leaders (shared memory
//! that this process keeps up to date, so a command costs no message), kills their groups, every
//! process whose environment bears the session's mark and what descends from one of these, and
//! looks again until none is left.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use crate::exec::duct::Helper;
use crate::exec::procfs::{self, Mark, Stat};
use crate::exec::registry::Registry;
use crate::exec::terminal;

/// How many looks in a row must find nothing before the guardian rests.
const EMPTY_LOOKS: usize = 3;

/// How long it waits between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why [`main`] could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The arguments are not those that an executor gives to its helper.
    #[error("these arguments are not for use by hand")]
    Arguments,
    /// Waiting for the end of the executor's process failed.
    #[error("cannot watch over the runner")]
    Watch(#[source] io::Error),
    /// Giving the terminal back failed.
    #[error("cannot give the terminal back")]
    Terminal(#[source] io::Error),
}

/// The helper process of an [`OsExecutor`](crate::exec::OsExecutor): what a program must call when
/// it is started with the words of [`Options::guardian`](crate::exec::Options::guardian).
///
/// `arguments` are those after these words; `input` is the standard input. Blocks until its
/// executor is gone, or until the terminal has been taken back. The process must end after it.
///
/// # Errors
/// [`HelperError`], when the arguments are not an executor's or waiting fails.
pub fn main(arguments: &[OsString], input: impl Read + AsFd) -> Result<(), HelperError> {
    let texts: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .collect();
    match texts[..] {
        ["guard", session, login, group, parent] if arguments.len() == 5 => {
            let number = |text: &str| text.parse().map_err(|_| HelperError::Arguments);
            let ward = Ward {
                session,
                login: number(login)?,
                group: number(group)?,
                parent: number(parent)?,
            };
            guard(&ward, input)
        }
        [terminal::TAKE_BACK, group] if arguments.len() == 2 => {
            let group: i32 = group.parse().map_err(|_| HelperError::Arguments)?;
            let group = Pid::from_raw(group.max(0)).ok_or(HelperError::Arguments)?;
            terminal::give(input.as_fd(), group).map_err(HelperError::Terminal)
        }
        _ => Err(HelperError::Arguments),
    }
}

/// The running guardian, as its executor sees it.
#[derive(Debug)]
pub(super) struct Guardian {
    helper: Helper,
    life: OwnedFd,
}

impl Guardian {
    /// Starts `words` as the guardian of the trees in `registry`.
    pub(super) fn start(words: &[OsString], registry: &Registry) -> io::Result<Self> {
        let (input, life) = pipe_with(PipeFlags::CLOEXEC)?;
        let stat = Stat::own()?;
        let ids = [stat.session, stat.group, stat.parent];
        let [login, group, parent] = ids.map(|id| id.to_string());
        let own = ["guard", registry.session(), &login, &group, &parent];
        let words = [words, &own.map(OsString::from)].concat();
        let helper = Helper::start(&words, input, registry.open_table()?, 0)?;
        registry.add_helper(helper.pid());
        Ok(Self { helper, life })
    }

    /// Ends it: all trees are dead.
    pub(super) fn dismiss(self, registry: &Registry) {
        let _dead = rustix::io::write(&self.life, b"q");
        drop(self.life);
        let pid = self.helper.pid();
        self.helper.reap();
        registry.remove_helper(pid);
    }
}

/// A process group and the session it must be in: its number alone may have been used again.
type Group = (i32, i32);

/// A process and when it started: its number alone may have been used again.
type Process = (Pid, u64);

/// Whose processes are to be killed.
struct Ward<'a> {
    /// What the ids of its trees start with.
    session: &'a str,
    /// Its login session, which the groups of its leaders are in too, if not in one of their own.
    login: i32,
    /// Its own process group, which none of them leads.
    group: i32,
    /// Who started it.
    parent: i32,
}

fn guard(ward: &Ward<'_>, mut input: impl Read) -> Result<(), HelperError> {
    let mut farewell = [0];
    loop {
        match input.read(&mut farewell) {
            Ok(0) => break,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HelperError::Watch(error)),
        }
    }
    // The table is this process's standard output, open for reading only. Without it there are
    // still the marks.
    let groups = File::open("/proc/self/fd/1")
        .map(|table| read_groups(&table))
        .unwrap_or_default();
    ward.kill(groups);
    Ok(())
}

fn read_groups(table: &File) -> Vec<i32> {
    let mut groups = Vec::new();
    let mut entry = [0; 4];
    while table
        .read_exact_at(&mut entry, groups.len() as u64 * 4)
        .is_ok()
    {
        groups.push(i32::from_ne_bytes(entry));
    }
    groups
}

impl Ward<'_> {
    /// Kills all that belongs to it, again and again until nothing new comes up.
    fn kill(&self, leaders: Vec<i32>) {
        let mut groups: HashSet<Group> = leaders
            .into_iter()
            .filter(|leader| *leader > 0 && *leader != self.group)
            .flat_map(|leader| [(leader, self.login), (leader, leader)])
            .collect();
        let mut killed = HashSet::new();
        let mut looks_empty = 0;
        while looks_empty < EMPTY_LOOKS {
            looks_empty += 1;
            let own = self.look(&mut groups);
            // Looked at once more: of one that forks and ends all the time, those that were found
            // are gone by now.
            let mut found: Vec<(Pid, Stat, bool)> = self
                .processes()
                .filter(|(pid, stat)| !killed.contains(&(*pid, stat.started)))
                .filter_map(|(pid, stat)| {
                    let is_known = own.get(&pid) == Some(&stat.started) || is_in(&stat, &groups);
                    let is_marked = self.is_marked(pid);
                    (is_known || is_marked).then_some((pid, stat, is_marked))
                })
                .collect();
            // Race: a runner around the one that died kills the same processes, and us. What has a
            // mark tells it of the others, so it goes last.
            found.sort_by_key(|(_, _, is_marked)| *is_marked);
            for (pid, stat, _) in found {
                let process = (pid, stat.started);
                if kill(process) {
                    killed.insert(process);
                    looks_empty = 0;
                }
            }
            let interval = Timespec::try_from(LOOK_INTERVAL).ok();
            let _interrupted = rustix::event::poll(&mut [], interval.as_ref());
        }
    }

    /// The processes that belong to it, by their mark, their group or their descent, and when they
    /// started. To be known before the first is killed: with it goes what tells of the others.
    ///
    /// Adds their groups to `groups`: one may have been too young for the table.
    fn look(&self, groups: &mut HashSet<Group>) -> HashMap<Pid, u64> {
        let mut others: Vec<(Pid, Stat)> = self.processes().collect();
        let mut own = HashMap::new();
        let is_own = |(pid, _): &mut (Pid, Stat)| self.is_marked(*pid);
        let mut found: Vec<(Pid, Stat)> = others.extract_if(.., is_own).collect();
        loop {
            for (pid, stat) in found {
                own.insert(pid, stat.started);
                if stat.group != self.group {
                    groups.insert((stat.group, stat.session));
                }
            }
            let is_own = |(_, stat): &mut (Pid, Stat)| is_in(stat, groups) || is_child(stat, &own);
            found = others.extract_if(.., is_own).collect();
            if found.is_empty() {
                return own;
            }
        }
    }

    /// All that live, but for those that are none of its own whatever they look like.
    fn processes(&self) -> impl Iterator<Item = (Pid, Stat)> {
        let spares =
            |pid: Pid| pid == getpid() || pid == Pid::INIT || pid.as_raw_pid() == self.parent;
        procfs::processes()
            .into_iter()
            .filter(move |pid| !spares(*pid))
            .filter_map(|pid| Some((pid, Stat::of(pid)?)))
            .filter(|(_, stat)| !stat.is_zombie)
    }

    fn is_marked(&self, pid: Pid) -> bool {
        let is_own = |element: &[u8]| {
            let rest = element.strip_prefix(self.session.as_bytes());
            rest.is_some_and(|rest| rest.first() == Some(&b'.'))
        };
        procfs::mark_of(pid, is_own) == Mark::Own
    }
}

fn is_in(stat: &Stat, groups: &HashSet<Group>) -> bool {
    groups.contains(&(stat.group, stat.session))
}

/// Whether it is a child of one of `parents`, which are given with the time of their start.
fn is_child(stat: &Stat, parents: &HashMap<Pid, u64>) -> bool {
    let parent = Pid::from_raw(stat.parent.max(0));
    // Race: its number may have been used again since, and before its child was looked at.
    let is_same = |parent: &Pid| {
        let since = parents.get(parent);
        since.is_some_and(|since| Stat::of(*parent).is_some_and(|now| now.started == *since))
    };
    parent.as_ref().is_some_and(is_same)
}

fn kill((pid, started): Process) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    // Race: the number may have become another process's before it was opened.
    let is_same = Stat::of(pid).is_some_and(|stat| stat.started == started);
    is_same && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}
