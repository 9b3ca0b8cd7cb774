//! Starting the first process of a command: finds the program, sets up its group, environment and
//! descriptors, explains failures.
//!
//! Where it is to run in the directory that this process is in, which most do, one `posix_spawn`
//! does it; else, and where there is a terminal to part it from, the standard library. Not duct,
//! which starts our helpers: it copies the environment twice more for each start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Access, access, stat};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::exec::detach::detach;
use crate::exec::posix_spawn::{self, Environment};
use crate::exec::{Command, SpawnError, TREE_VARIABLE};
use crate::outcome::ExitStatus;

/// A started process that is not reaped yet, so that its number cannot go to another one.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
}

impl Leader {
    /// Its process id, and that of its group.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end and reaps it.
    pub(super) fn reap(self) {
        while waitpid(Some(self.pid), WaitOptions::empty()).is_err_and(|e| e == Errno::INTR) {}
    }

    /// Reaps it if it has ended. From then on its number is free.
    pub(super) fn try_reap(&self) -> Option<ExitStatus> {
        let (_, status) = waitpid(Some(self.pid), WaitOptions::NOHANG).ok()??;
        Some(match status.exit_status() {
            Some(code) => ExitStatus::Code(code),
            None => ExitStatus::Signal(status.terminating_signal().unwrap_or_default()),
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
        // Who looks for orphans may have reaped one already.
        let lives =
            |leader: &Leader| matches!(waitpid(Some(leader.pid), WaitOptions::NOHANG), Ok(None));
        self.lock().retain(lives);
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

/// What commands inherit.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Where programs are looked for when a command's own environment has no `PATH`.
    pub(super) path: OsString,
    /// Their environment; `None`: that of this process.
    pub(super) environment: Option<Environment>,
}

/// Starts `command` as the leader of a process group of its own. `tree` is the value of the tree
/// variable. Both outputs go to a pipe and the input is empty; without `ends` it has those of this
/// process.
pub(super) fn start(
    command: &Command,
    tree: &OsStr,
    inherited: &Inherited,
    ends: Option<Ends<'_>>,
    leads: Leads,
) -> Result<Leader, SpawnError> {
    let Some((name, arguments)) = command.words.split_first() else {
        return Err(SpawnError::Empty);
    };
    let program = find(name, command, &inherited.path)?;
    let launch = Launch {
        command,
        tree,
        environment: inherited.environment.as_ref(),
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
    .map_err(|error| explain(error, command.dir.join(program), command))
}

struct Launch<'a> {
    command: &'a Command,
    tree: &'a OsStr,
    environment: Option<&'a Environment>,
    ends: Option<Ends<'a>>,
    leads: Leads,
}

impl Launch<'_> {
    fn start(&self, program: &Path, name: &OsStr, words: &[OsString]) -> io::Result<Leader> {
        let pid = match (self.environment, self.ends) {
            (Some(environment), Some(ends)) if is_here(&self.command.dir) => {
                let own = self.own();
                posix_spawn::start(program, name, words, environment, &own, ends, self.leads)?
            }
            _ => self.start_elsewhere(program, name, words)?,
        };
        Ok(Leader { pid })
    }

    fn start_elsewhere(&self, program: &Path, name: &OsStr, words: &[OsString]) -> io::Result<Pid> {
        let mut os = process::Command::new(program);
        os.arg0(name).args(words).current_dir(&self.command.dir);
        if let Some(environment) = self.environment {
            os.env_clear().envs(environment.variables());
        }
        os.envs(self.own());
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
        let pid = i32::try_from(os.spawn()?.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The variables that it does not inherit. The last of one name counts.
    fn own(&self) -> Vec<(&OsStr, &OsStr)> {
        let command = self.command.env.iter();
        let command = command.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let pwd = (OsStr::new("PWD"), self.command.dir.as_os_str());
        let tree = (OsStr::new(TREE_VARIABLE), self.tree);
        [pwd].into_iter().chain(command).chain([tree]).collect()
    }
}

/// Whether `dir` is the directory that this process is in, by whatever name.
fn is_here(dir: &Path) -> bool {
    let is_same =
        |a: rustix::fs::Stat, b: rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    stat(dir).is_ok_and(|there| stat(".").is_ok_and(|here| is_same(here, there)))
}

/// The file to execute, as it is seen from the command's directory: a script is told the name that
/// it is executed by. Looked for here and not by the kernel interface's own search: that one
/// cannot say where it looked, and keeps the standard library from using `posix_spawn`.
fn find(name: &OsStr, command: &Command, inherited: &OsStr) -> Result<PathBuf, SpawnError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let own = command.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = own.map_or(inherited, |(_, value)| value);
    let mut unusable = None;
    for dir in path.as_bytes().split(|byte| *byte == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let found = Path::new(OsStr::from_bytes(dir)).join(name);
        let file = command.dir.join(&found);
        match access(&file, Access::EXEC_OK) {
            Ok(()) if file.is_file() => return Ok(found),
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
    #[expect(clippy::zombie_processes, reason = "to reap it is what is tested")]
    fn who_was_given_up_is_reaped_when_it_has_ended() {
        let mut os = process::Command::new("cat");
        let mut cat = os
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(cat.id().cast_signed()).unwrap();
        let given_up = GivenUp::default();
        given_up.add(Leader { pid });
        given_up.reap();
        assert_eq!(given_up.lock().len(), 1);
        drop(cat.stdin.take());
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), ended).unwrap();
        given_up.reap();
        assert_eq!(given_up.lock().len(), 0);
        assert!(waitid(WaitId::Pid(pid), ended).is_err());
    }
}
