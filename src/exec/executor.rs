//! Running commands: [`OsExecutor`]. Sets a command's tree up and puts it to rest; what happens in
//! between is `watch.rs`.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::fs::fstat;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, set_child_subreaper,
};

use crate::exec::cancel::Waker;
use crate::exec::guardian::Guardian;
use crate::exec::posix_spawn::Environment;
use crate::exec::procfs::{Children, Stat};
use crate::exec::registry::{Place, Registry};
use crate::exec::spawn::{self, Ends, GivenUp, Inherited, Leader, Leads};
use crate::exec::terminal::{Loan, owns_terminal};
use crate::exec::tree::{Kin, Tree};
use crate::exec::watch::{Cause, Watch};
use crate::exec::{Cancel, Command, Ended, ExecError, Executor, SpawnError, Terminal};

/// What an [`OsExecutor`] must be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where programs are looked for when a command sets no `PATH`: the inherited `PATH`.
    pub path: OsString,
    /// The inherited value of [`TREE_VARIABLE`](crate::exec::TREE_VARIABLE), if any.
    pub tree: Option<OsString>,
    /// How to start [`guardian::main`](crate::exec::guardian::main) as a process: its program as
    /// an absolute path, and its first arguments. `None`: no guardian, and no command can own the
    /// terminal.
    pub guardian: Option<Vec<OsString>>,
    /// What to do with adopted processes that bear no mark of their tree.
    pub orphans: Orphans,
}

/// What to do with adopted processes that no tree can be named for, because they left their group,
/// emptied their environment and closed their output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// They are killed when the last running command ends. For programs that start no processes
    /// of their own, or only in their own process group.
    All,
    /// They are left alone. For programs that start processes in other groups by themselves.
    Marked,
}

/// What [`OsExecutor::run_observed`] tells while a command runs.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// It has started; the id is that of its first process.
    Started(u32),
    /// It wrote this.
    Output(&'a [u8]),
}

/// Runs commands as processes of this system.
///
/// Making one turns this process into the *subreaper* of its descendants: orphans become its
/// children. Make one and share it. Dropping it ends its guardian.
pub struct OsExecutor {
    kin: Kin,
    inherited: Inherited,
    tree: Option<OsString>,
    helper: Option<Vec<OsString>>,
    /// `/dev/null`, what captured commands read.
    null: OwnedFd,
    /// Whether commands would share a terminal with this process.
    has_terminal: bool,
    guardian: OnceLock<Option<Guardian>>,
    given_up: GivenUp,
}

impl OsExecutor {
    /// Prepares to run commands. The guardian is started with the first of them.
    ///
    /// # Errors
    /// [`ExecError`], when the system lacks what every command needs.
    pub fn new(options: Options) -> Result<Self, ExecError> {
        let Options {
            path,
            tree,
            guardian,
            orphans,
        } = options;
        set_child_subreaper(Some(getpid())).map_err(|error| ExecError::Subreaper(error.into()))?;
        let children = Children::of_main_thread().map_err(ExecError::Proc)?;
        let has_terminal = Stat::own().map_err(ExecError::Proc)?.has_terminal;
        let registry = Registry::new().map_err(ExecError::Descriptor)?;
        let null = File::open("/dev/null").map_err(ExecError::Descriptor)?;
        Ok(Self {
            null: null.into(),
            kin: Kin::new(registry, children, orphans),
            inherited: Inherited {
                path,
                environment: None,
            },
            tree,
            helper: guardian,
            has_terminal,
            guardian: OnceLock::new(),
            given_up: GivenUp::default(),
        })
    }

    /// Lets commands inherit `environment` instead of that of this process. Given the same one,
    /// they start faster: it is not read and copied again for each.
    #[must_use]
    pub fn with_environment(mut self, environment: &[(OsString, OsString)]) -> Self {
        self.inherited.environment = Some(Environment::new(environment));
        self
    }

    /// As [`run`](Executor::run), and tells when the command has started.
    pub fn run_observed(
        &self,
        command: &Command,
        cancel: &Cancel,
        observe: &mut dyn FnMut(Observed<'_>),
    ) -> Ended {
        let waker = match self.kin.registry.take_waker() {
            Ok(waker) => waker,
            Err(source) => return Ended::NotStarted(system(command, source)),
        };
        let ended = if cancel.attach(&waker) {
            let ended = self.start(command, cancel, &waker, observe);
            cancel.detach(&waker);
            ended
        } else {
            Ended::Cancelled
        };
        self.kin.registry.return_waker(waker);
        ended
    }

    fn start(
        &self,
        command: &Command,
        cancel: &Cancel,
        waker: &Arc<Waker>,
        observe: &mut dyn FnMut(Observed<'_>),
    ) -> Ended {
        let owns_terminal = command.terminal == Terminal::Owned && owns_terminal();
        if owns_terminal && self.helper.is_none() {
            return Ended::NotStarted(SpawnError::NoHelper);
        }
        self.guardian.get_or_init(|| self.start_guardian());
        self.given_up.reap();
        let place = self.kin.registry.reserve();
        let launched = self.launch(command, &place);
        let (leader, pidfd, output) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                self.kin.registry.dead(&place);
                self.kin.registry.ended(&place);
                return Ended::NotStarted(error);
            }
        };
        let loan = if owns_terminal {
            Loan::to(leader.pid())
        } else {
            None
        };
        observe(Observed::Started(leader.pid().as_raw_pid().unsigned_abs()));
        let pipe = output
            .as_ref()
            .and_then(|pipe| fstat(pipe).ok())
            .map(|stat| stat.st_ino);
        let mut tree = Tree::new(&self.kin, leader.pid(), &place.id, pipe);
        let cause = Watch::new(command, cancel, waker, pidfd, output).run(&mut tree, observe);
        if self.kin.registry.is_alone(&place) {
            tree.kill_unclaimed();
        }
        if let (Some(loan), Some(helper)) = (loan, &self.helper) {
            self.kin.registry.rests(&place, leader.pid());
            loan.take_back(helper);
        }
        self.kin.registry.dead(&place);
        let status = leader.try_reap();
        if status.is_none() {
            self.given_up.add(leader);
        }
        self.kin.registry.ended(&place);
        match (cause, status) {
            (Cause::TimedOut, _) => Ended::TimedOut,
            (Cause::Exited, Some(status)) => Ended::Exited(status),
            (Cause::Exited | Cause::Cancelled, _) => Ended::Cancelled,
        }
    }

    fn launch(
        &self,
        command: &Command,
        place: &Place,
    ) -> Result<(Leader, OwnedFd, Option<OwnedFd>), SpawnError> {
        let (output, input) = match command.terminal {
            Terminal::Captured => {
                let pipe = pipe_with(PipeFlags::CLOEXEC);
                let (read, write) = pipe.map_err(|error| system(command, error.into()))?;
                (Some(read), Some(write))
            }
            Terminal::Owned => (None, None),
        };
        let mut tree = self.tree.clone().unwrap_or_default();
        if !tree.is_empty() {
            tree.push(":");
        }
        tree.push(&place.id);
        let leads = match command.terminal {
            Terminal::Captured if self.has_terminal => Leads::Session,
            Terminal::Captured | Terminal::Owned => Leads::Group,
        };
        let ends = input.as_ref().map(|output| Ends {
            input: &self.null,
            output,
        });
        let leader = spawn::start(command, &tree, &self.inherited, ends, leads)?;
        self.kin.registry.started(place, leader.pid());
        match pidfd_open(leader.pid(), PidfdFlags::empty()) {
            Ok(pidfd) => Ok((leader, pidfd, output)),
            Err(error) => {
                let _gone = kill_process_group(leader.pid(), Signal::KILL);
                leader.reap();
                Err(system(command, error.into()))
            }
        }
    }

    fn start_guardian(&self) -> Option<Guardian> {
        let words = self.helper.as_ref()?;
        Guardian::start(words, &self.kin.registry).ok()
    }
}

impl Executor for OsExecutor {
    fn run(&self, command: &Command, cancel: &Cancel, output: &mut dyn FnMut(&[u8])) -> Ended {
        self.run_observed(command, cancel, &mut |observed| {
            if let Observed::Output(bytes) = observed {
                output(bytes);
            }
        })
    }
}

impl Drop for OsExecutor {
    fn drop(&mut self) {
        if let Some(Some(guardian)) = self.guardian.take() {
            guardian.dismiss(&self.kin.registry);
        }
    }
}

impl fmt::Debug for OsExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsExecutor")
            .field("registry", &self.kin.registry)
            .finish_non_exhaustive()
    }
}

/// An error of the system on the way to a start.
fn system(command: &Command, source: std::io::Error) -> SpawnError {
    let program = command.words.first().map(PathBuf::from).unwrap_or_default();
    SpawnError::System { program, source }
}
