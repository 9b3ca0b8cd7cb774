//! The loop that ties watch, plan and schedule together: [`Session`].
//!
//! One thread owns everything and reads one inbox: change sets, reports of workers, and what the
//! user wants. One-shot runs and watching are the same loop; a one-shot run ends when nothing is
//! left to do. See `docs/ARCHITECTURE.md`.

mod files;
mod inbox;
mod options;
mod watching;

use std::sync::Arc;

use rayon::ThreadPoolBuildError;

pub use inbox::Control;
pub use options::{SessionOptions, Start, WatchSettings};

use files::ScanFiles;
use inbox::{Inbox, Input};

use crate::disk::OsDisk;
use crate::exec::{ExecError, OsExecutor};
use crate::path::{RelPath, Root};
use crate::plan::{Plan, Selection, UnknownTask};
use crate::schedule::{
    Driver, DriverOptions, FileView, Limits, Mode, Ports, RunEvent, Said, Warning,
};
use crate::state::{Engine, EngineOptions, Examined, StateError, Verdict};
use crate::task_id::TaskId;
use crate::watch::WatchError;

/// The file system that every session works on.
static DISK: OsDisk = OsDisk;

/// Why a session could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A task that does not exist was asked for.
    #[error(transparent)]
    UnknownTask(#[from] UnknownTask),
    /// The root cannot be read.
    #[error("cannot read the directory `{root}`")]
    Root {
        /// The root.
        root: Root,
        /// What the system said.
        source: std::io::Error,
    },
    /// Commands cannot be run at all.
    #[error("cannot run commands")]
    Exec(#[from] ExecError),
    /// The threads that run commands could not be started.
    #[error("cannot start threads")]
    Threads(#[from] ThreadPoolBuildError),
    /// The root cannot be watched.
    #[error("cannot watch the directory `{root}`")]
    Watch {
        /// The root.
        root: Root,
        /// What went wrong.
        source: WatchError,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was asked for is up to date.
    Good,
    /// A task failed.
    TaskFailed,
    /// It was told to stop.
    Stopped,
}

/// A task that was looked at and not run.
#[derive(Debug)]
pub struct Inspected {
    /// The task.
    pub id: TaskId,
    /// How it was found; `None` for a group, which is as its deps are.
    pub examined: Option<Result<Examined, StateError>>,
    /// Whether it would run: it is stale, or something it depends on is.
    pub would_run: bool,
}

/// One root, one plan, and what is to be done with them.
pub struct Session {
    root: Root,
    /// The main watchfile.
    file: RelPath,
    plan: Arc<Plan>,
    /// What was asked for by name, to ask the next plan for the same.
    names: Vec<String>,
    selection: Selection,
    options: SessionOptions,
    inbox: Inbox,
}

impl Session {
    /// A session for `names`, or for the watchfile's default if there are none. Does nothing yet.
    ///
    /// # Errors
    /// [`SessionError::UnknownTask`].
    pub fn new(
        root: Root,
        file: RelPath,
        plan: Plan,
        names: Vec<String>,
        options: SessionOptions,
    ) -> Result<Self, SessionError> {
        let selection = plan.select(names.iter().map(String::as_str))?;
        Ok(Self {
            root,
            file,
            plan: Arc::new(plan),
            names,
            selection,
            options,
            inbox: Inbox::new(),
        })
    }

    /// Limits the session to the tasks that `changed` concerns, and what they depend on.
    pub fn limit_to(&mut self, changed: &[RelPath]) {
        let concerned: Vec<TaskId> = changed
            .iter()
            .flat_map(|path| self.plan.triggers().consumers(path))
            .filter(|&id| self.selection.holds(id))
            .collect();
        let hit = self.plan.with_dependents(&self.selection, &concerned);
        self.selection = self.plan.close(&hit);
    }

    /// Steers the session from another thread.
    pub fn control(&self) -> Control {
        self.inbox.control()
    }

    /// Runs what is stale, once. Blocks until every process is gone.
    ///
    /// # Errors
    /// When the work cannot begin: [`SessionError`].
    pub fn run(self, observe: Box<dyn FnMut(RunEvent)>) -> Result<Ended, SessionError> {
        let mut observe = observe;
        let (files, warnings) =
            ScanFiles::new(&self.root, self.scan_options()).map_err(|source| {
                SessionError::Root {
                    root: self.root.clone(),
                    source,
                }
            })?;
        warnings
            .into_iter()
            .for_each(|warning| observe(RunEvent::Warning(warning)));
        let mut driver = self.driver(Arc::new(files), Mode::Once, observe)?;
        driver.open(&self.selection);
        let mut stopped = false;
        while !driver.is_settled() {
            match self.inbox.next(driver.deadline()) {
                Some(Input::Report(report)) => driver.handle(report),
                Some(Input::Stop(how)) => {
                    stopped = true;
                    driver.stop(how);
                }
                Some(Input::Changed(_) | Input::Warned(_) | Input::RetryFailed) => {}
                None => driver.tick(std::time::Instant::now()),
            }
        }
        Ok(match (stopped, driver.has_failures()) {
            (true, _) => Ended::Stopped,
            (false, true) => Ended::TaskFailed,
            (false, false) => Ended::Good,
        })
    }

    /// Looks at every selected task, in an order in which deps come first, and runs nothing.
    ///
    /// # Errors
    /// [`SessionError::Root`] and [`SessionError::Exec`].
    pub fn inspect(&self) -> Result<(Vec<Inspected>, Vec<Warning>), SessionError> {
        let (files, warnings) =
            ScanFiles::new(&self.root, self.scan_options()).map_err(|source| {
                SessionError::Root {
                    root: self.root.clone(),
                    source,
                }
            })?;
        let ports = self.ports(Arc::new(files))?;
        let found =
            crate::schedule::inspect(&self.plan, &ports, &self.selection, self.options.demand);
        let inspected = found.into_iter().map(|(id, examined)| Inspected {
            id,
            would_run: match &examined {
                Some(Ok(examined)) => *examined.verdict() != Verdict::Fresh,
                Some(Err(_)) => true,
                None => false,
            },
            examined,
        });
        Ok((self.spread(inspected.collect()), warnings))
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What depends on a task that would run would be looked at again; a group, with it.
    fn spread(&self, mut inspected: Vec<Inspected>) -> Vec<Inspected> {
        let mut runs = vec![false; self.plan.tasks().len()];
        for one in &mut inspected {
            let deps = &self.plan.graph().nodes()[one.id].deps;
            let below = deps.iter().any(|dep| runs[dep.idx()]);
            one.would_run |= below && one.examined.is_none();
            runs[one.id.idx()] = one.would_run || below;
        }
        inspected
    }

    fn driver(
        &self,
        files: Arc<dyn FileView>,
        mode: Mode,
        observe: Box<dyn FnMut(RunEvent)>,
    ) -> Result<Driver, SessionError> {
        let options = DriverOptions {
            mode,
            limits: Limits {
                jobs: self.options.jobs.get(),
                pools: self.plan.pool_sizes().to_vec(),
                failures_max: self.options.failures_max,
            },
            demand: self.options.demand,
        };
        let ports = Arc::new(self.ports(files)?);
        let plan = Arc::clone(&self.plan);
        Ok(Driver::new(
            plan,
            ports,
            options,
            self.inbox.reports(),
            observe,
        )?)
    }

    fn ports(&self, files: Arc<dyn FileView>) -> Result<Ports, SessionError> {
        let settings = self.plan.settings();
        let engine = Engine::open(
            &DISK,
            &self.root,
            EngineOptions {
                cache_dir: settings.cache_dir.as_ref().map(|dir| self.root.join(dir)),
                cache_size: settings.cache_size_bytes,
                store: self.options.store,
                access: self.options.access,
            },
        );
        Ok(Ports {
            root: self.root.clone(),
            engine,
            executor: Arc::new(OsExecutor::new(self.options.exec.clone())?),
            files,
            environment: self.options.environment.clone(),
            extra_env: Vec::new(),
            spill_dir: self.options.spill_dir.clone(),
            said: Said::default(),
        })
    }
}
