//! Starting one process through duct: finds the program, sets up its group, environment and
//! descriptors, explains failures. The only file that names duct.
//!
//! duct's own `kill` reaches the direct child alone, and its capture threads wait as long as any
//! grandchild holds the pipe. So nothing is captured through it, and ending the tree is
//! `tree.rs`'s work. What it starts is a command of our own making, without `pre_exec` where there
//! is no terminal to part it from: the standard library then uses `posix_spawn`, whose cost does
//! not grow with the size of this process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::exec::detach::detach;
use crate::exec::{Command, SpawnError, TREE_VARIABLE};
use crate::outcome::ExitStatus;

/// A started process that is not reaped yet, so that its number cannot go to another one.
#[derive(Debug)]
pub(super) struct Leader {
    handle: duct::Handle,
    pid: Pid,
}

impl Leader {
    fn new(handle: duct::Handle) -> io::Result<Self> {
        let pid = handle
            .pids()
            .first()
            .and_then(|pid| i32::try_from(*pid).ok());
        let pid = pid.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { handle, pid })
    }

    /// Its process id, and that of its group.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end and reaps it.
    pub(super) fn reap(&self) {
        let _lost = self.handle.wait();
    }

    /// Reaps it if it has ended. From then on its number is free.
    pub(super) fn try_reap(&self) -> Option<ExitStatus> {
        let status = self.handle.try_wait().ok()??.status;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
        })
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

/// Starts a helper of our own: `words[0]` is executed as it is, with these for its
/// standard input and output and no error output, in the group `group` (0: one of its own).
pub(super) fn start_helper(
    words: &[OsString],
    input: OwnedFd,
    output: impl Into<OwnedFd>,
    group: i32,
) -> io::Result<Leader> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut os = process::Command::new(program);
    os.args(arguments)
        .process_group(group)
        .stdin(input)
        .stdout(output.into())
        .stderr(Stdio::null());
    spawn(os)
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
        spawn(os)
    }
}

/// Lets duct start `os` as it is. The command that duct would make holds the whole environment
/// as values of its own, which the standard library then copies once more; one that changes a few
/// variables of what it inherits is started in less time (`docs/design/performance.md`).
fn spawn(os: process::Command) -> io::Result<Leader> {
    let program = os.get_program().to_owned();
    // duct's hook may be called more than once by its type; there is one command to start.
    let once = Mutex::new(Some(os));
    let nothing: [&OsStr; 0] = [];
    let expression = duct::cmd(program, nothing)
        .full_env([] as [(&OsStr, &OsStr); 0])
        .unchecked()
        .before_spawn(move |made| {
            let os = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            *made = os.ok_or(io::ErrorKind::AlreadyExists)?;
            Ok(())
        });
    Leader::new(expression.start()?)
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
