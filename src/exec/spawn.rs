//! Starting the first process of a command: finds the program, sets up its group, environment and
//! descriptors, explains failures.
//!
//! Without `pre_exec` where there is no terminal to part it from: the standard library then uses
//! `posix_spawn`, whose cost does not grow with the size of this process. Not through duct, which
//! copies the environment twice more for each start: with 35 variables a third of all that this
//! process does for a command (`docs/DECISIONS.md`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::exec::detach::detach;
use crate::exec::{Command, SpawnError, TREE_VARIABLE};
use crate::outcome::ExitStatus;

/// A started process that is not reaped yet, so that its number cannot go to another one.
#[derive(Debug)]
pub(super) struct Leader {
    child: Child,
    pid: Pid,
}

impl Leader {
    fn start(os: &mut process::Command) -> io::Result<Self> {
        let child = os.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { child, pid })
    }

    /// Its process id, and that of its group.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end and reaps it.
    pub(super) fn reap(mut self) {
        let _lost = self.child.wait();
    }

    /// Reaps it if it has ended. From then on its number is free.
    pub(super) fn try_reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok()??;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
        })
    }
}

/// First processes of commands that were given up: they run as another user and may not be killed.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    // Guards those that may still run. Leaf lock, held for one look at each.
    leaders: Mutex<Vec<Leader>>,
}

impl GivenUp {
    pub(super) fn add(&self, leader: Leader) {
        self.lock().push(leader);
    }

    /// Reaps those that have ended.
    pub(super) fn reap(&self) {
        self.lock().retain_mut(|leader| leader.try_reap().is_none());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Leader>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the first process of a command is the leader of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// A process group of its own, in our session.
    Group,
    /// A session, and thereby a group, of its own: it has no terminal.
    Session,
}

/// What a command that is captured reads from and writes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    /// Is empty.
    pub(super) input: &'a OwnedFd,
    /// The writing end of a pipe.
    pub(super) output: &'a OwnedFd,
}

/// Starts `command` as the leader of a process group of its own. `tree` is the value of the tree
/// variable, `path` where to look when the command's own environment has no `PATH`. Both outputs
/// go to a pipe and the input is empty; without `ends` it has those of this process.
pub(super) fn start(
    command: &Command,
    tree: OsString,
    path: &OsStr,
    ends: Option<Ends<'_>>,
    leads: Leads,
) -> Result<Leader, SpawnError> {
    let Some((name, arguments)) = command.words.split_first() else {
        return Err(SpawnError::Empty);
    };
    let program = find(name, command, path)?;
    let launch = Launch {
        command,
        tree,
        ends,
        leads,
    };
    match launch.start(&program, name, arguments) {
        // A script without a `#!` line: a shell reads it, as it would from a command line.
        Err(error) if is(&error, Errno::NOEXEC) => {
            let script = [&[program.clone().into()], arguments].concat();
            launch.start(Path::new("/bin/sh"), OsStr::new("sh"), &script)
        }
        result => result,
    }
    .map_err(|error| explain(error, program, command))
}

struct Launch<'a> {
    command: &'a Command,
    tree: OsString,
    ends: Option<Ends<'a>>,
    leads: Leads,
}

impl Launch<'_> {
    fn start(&self, program: &Path, name: &OsStr, words: &[OsString]) -> io::Result<Leader> {
        let Command { dir, env, .. } = self.command;
        let mut os = process::Command::new(program);
        os.arg0(name).args(words).current_dir(dir);
        os.env("PWD", dir)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env(TREE_VARIABLE, &self.tree);
        match self.leads {
            Leads::Group => {
                os.process_group(0);
            }
            Leads::Session => detach(&mut os)?,
        }
        if let Some(Ends { input, output }) = self.ends {
            os.stdin(input.try_clone()?)
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?);
        }
        Leader::start(&mut os)
    }
}

/// The file to execute. Looked for here and not by the kernel interface's own search: that one
/// cannot say where it looked, and keeps the standard library from using `posix_spawn`.
fn find(name: &OsStr, command: &Command, inherited: &OsStr) -> Result<PathBuf, SpawnError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(command.dir.join(name));
    }
    let own = command.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = own.map_or(inherited, |(_, value)| value);
    let mut unusable = None;
    for dir in path.as_bytes().split(|byte| *byte == b':') {
        let file = command.dir.join(OsStr::from_bytes(dir)).join(name);
        match access(&file, Access::EXEC_OK) {
            Ok(()) if file.is_file() => return Ok(file),
            Err(Errno::ACCESS) if file.is_file() => unusable = unusable.or(Some(file)),
            Ok(()) | Err(_) => {}
        }
    }
    Err(match unusable {
        Some(file) => SpawnError::NotExecutable(file),
        None => SpawnError::NotFound {
            program: name.to_owned(),
            path: path.to_owned(),
        },
    })
}

/// Finds out what an error of the system means here. The system does not say which of the
/// directory, the program and its interpreter is missing.
fn explain(error: io::Error, program: PathBuf, command: &Command) -> SpawnError {
    let dir = || command.dir.clone();
    match std::fs::metadata(&command.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return SpawnError::DirMissing(dir());
        }
        Err(source) => return SpawnError::DirUnusable { dir: dir(), source },
        Ok(found) if !found.is_dir() || access(&command.dir, Access::EXEC_OK).is_err() => {
            return SpawnError::DirUnusable {
                dir: dir(),
                source: error,
            };
        }
        Ok(_) => {}
    }
    if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) {
        return if program.exists() {
            SpawnError::InterpreterMissing(program)
        } else {
            SpawnError::Missing(program)
        };
    }
    if is(&error, Errno::ACCESS) {
        return SpawnError::NotExecutable(program);
    }
    if is(&error, Errno::TOOBIG) {
        return SpawnError::TooLong(program);
    }
    if error.kind() == io::ErrorKind::InvalidInput {
        return SpawnError::NulByte(program);
    }
    SpawnError::System {
        program,
        source: error,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn who_was_given_up_is_reaped_when_it_has_ended() {
        let mut os = process::Command::new("cat");
        os.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut leader = Leader::start(&mut os).unwrap();
        let (pid, input) = (leader.pid(), leader.child.stdin.take());
        let given_up = GivenUp::default();
        given_up.add(leader);
        given_up.reap();
        assert_eq!(given_up.lock().len(), 1);
        drop(input);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), ended).unwrap();
        given_up.reap();
        assert_eq!(given_up.lock().len(), 0);
        assert!(waitid(WaitId::Pid(pid), ended).is_err());
    }
}
