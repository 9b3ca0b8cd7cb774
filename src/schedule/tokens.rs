//! The job tokens that commands share with the schedule: [`JobTokens`].
//!
//! Made with the first command that runs, so that a run without one does not pay for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::tell::describe;
use crate::exec::{
    Cancel, Command, Ended, Executor, Jobserver, JobserverError, JobserverStyle, Stop, Terminal,
    Token,
};
use crate::path::Root;
use crate::watchfile::Jobserver as Setting;

/// How long `make --version` may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do where there are no tokens.
const NOT_MADE: &str =
    "commands do not share their jobs; `jobserver = \"off\"` in `[settings]` accepts that";

/// What to do where there are only our own: make opens its jobserver to makes and to lines with `+`.
const NOT_INHERITED: &str = "jobs are not shared with the make around this: begin the line in the makefile that starts it with `+`";

/// SIGTERM, for a probe that hangs.
const TERMINATE: i32 = 15;

/// As many tokens as jobs; a running command holds one, and may take more.
#[derive(Debug)]
pub struct JobTokens {
    setting: Setting,
    jobs: usize,
    /// The inherited variable, empty without one.
    makeflags: String,
    /// Where a named pipe is made.
    dir: PathBuf,
    shared: OnceLock<Option<Shared>>,
    // Guards what went wrong when they were made. Leaf lock, held for one change.
    troubles: Mutex<Vec<Trouble>>,
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) message: String,
    /// How to mend it.
    pub(super) hint: &'static str,
}

/// What commands share.
#[derive(Debug)]
struct Shared {
    server: Arc<Jobserver>,
    /// The variables that tell them of it.
    env: Vec<(OsString, OsString)>,
}

impl JobTokens {
    /// Tokens for `jobs` jobs, or those that `environment` names: then this program is one of
    /// several that share them. Makes nothing yet.
    pub fn new(
        setting: Setting,
        jobs: usize,
        environment: &[(OsString, OsString)],
        dir: PathBuf,
    ) -> Self {
        let inherited = environment.iter().find(|(name, _)| name == "MAKEFLAGS");
        let makeflags = inherited.map(|(_, flags)| flags.to_string_lossy().into_owned());
        Self {
            setting,
            jobs,
            makeflags: makeflags.unwrap_or_default(),
            dir,
            shared: OnceLock::new(),
            troubles: Mutex::default(),
        }
    }

    /// Lets `commands` share the tokens. Blocks for the first of them, while make is asked for its
    /// version.
    pub(super) fn share(&self, executor: &dyn Executor, root: &Root, commands: &mut [Command]) {
        let shared = self.shared.get_or_init(|| {
            let server = self.make(executor, root)?;
            let env = server.env(&self.makeflags);
            Some(Shared { server, env })
        });
        let Some(Shared { server, env }) = shared else {
            return;
        };
        for command in commands {
            command.words = server.without_own_jobs(&command.words);
            // What the task sets itself comes later, and counts.
            command.env = env.iter().cloned().chain(command.env.drain(..)).collect();
        }
    }

    /// A token for one command. Blocks until there is one; `Err` when `cancel` is set first.
    pub(super) fn acquire(&self, cancel: &Cancel) -> Result<Option<Token>, Ended> {
        match self.shared.get() {
            Some(Some(shared)) => shared
                .server
                .acquire(cancel)
                .map(Some)
                .ok_or(Ended::Cancelled),
            Some(None) | None => Ok(None),
        }
    }

    /// What went wrong since the last time.
    pub(super) fn take_troubles(&self) -> Vec<Trouble> {
        std::mem::take(&mut *self.troubles())
    }

    fn note(&self, error: &JobserverError, hint: &'static str) {
        let message = describe(error);
        self.troubles().push(Trouble { message, hint });
    }

    fn troubles(&self) -> MutexGuard<'_, Vec<Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, executor: &dyn Executor, root: &Root) -> Option<Arc<Jobserver>> {
        let style = match self.setting {
            Setting::Off => return None,
            Setting::Fifo => Some(JobserverStyle::Fifo),
            Setting::Pipe => Some(JobserverStyle::Pipe),
            Setting::Auto => None,
        };
        match Jobserver::inherited(&self.makeflags) {
            Ok(Some(inherited)) => return Some(Arc::new(inherited)),
            Ok(None) => {}
            Err(error) => self.note(&error, NOT_INHERITED),
        }
        let style = style.unwrap_or_else(|| {
            let version = make_version(executor, root);
            JobserverStyle::for_make(version.as_deref())
        });
        match Jobserver::new(style, self.jobs, &self.dir) {
            Ok(server) => Some(Arc::new(server)),
            Err(error) => {
                self.note(&error, NOT_MADE);
                None
            }
        }
    }
}

/// What `make --version` prints; `None` where there is no make.
fn make_version(executor: &dyn Executor, root: &Root) -> Option<String> {
    let command = Command {
        words: vec!["make".into(), "--version".into()],
        dir: root.as_path().to_owned(),
        env: Vec::new(),
        stop: Stop {
            signal: TERMINATE,
            grace: Duration::ZERO,
        },
        timeout: Some(PROBE_TIMEOUT),
        terminal: Terminal::Captured,
    };
    let mut printed = Vec::new();
    let mut keep = |bytes: &[u8]| printed.extend_from_slice(bytes);
    match executor.run(&command, &Cancel::new(), &mut keep) {
        Ended::Exited(_) => Some(String::from_utf8_lossy(&printed).into_owned()),
        Ended::NotStarted(_) | Ended::TimedOut | Ended::Cancelled => None,
    }
}
