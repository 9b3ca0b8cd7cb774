//! The loop that ties watch, plan and schedule together: [`Session`].
//!
//! One thread owns everything and reads one inbox: change sets, reports of workers, and what the
//! user wants. One-shot runs and watching are the same loop; a one-shot run ends when nothing is
//! left to do. See `docs/ARCHITECTURE.md`.

mod error;
mod files;
mod inbox;
mod inspect;
mod live;
mod options;
mod ports;
mod watching;

use std::sync::Arc;
use std::time::Instant;

pub use error::{Ended, SessionError};
pub use inbox::Control;
pub use inspect::Inspected;
pub use options::{SessionOptions, Start, WatchSettings};

use inbox::{Inbox, Input};

use crate::disk::OsDisk;
use crate::path::{RelPath, Root};
use crate::plan::{Plan, Selection};
use crate::schedule::{Mode, RunEvent};
use crate::task_id::TaskId;
use crate::watchfile::Settings;

/// The file system that every session works on.
static DISK: OsDisk = OsDisk;

/// One root, one plan, and what is to be done with them.
pub struct Session {
    root: Root,
    /// The main watchfile; `None`: the plan is from none, and stays as it is.
    file: Option<RelPath>,
    plan: Arc<Plan>,
    /// The settings it began with.
    settings: Settings,
    /// What was asked for by name, to ask the next plan for the same.
    names: Vec<String>,
    selection: Selection,
    standing: Standing,
    options: SessionOptions,
    inbox: Inbox,
}

/// Whether the watchfile is what the plan was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is.
    Good,
    /// It was edited and has errors: the plan is from before.
    Broken,
}

impl Session {
    /// A session for `names`, or for the watchfile's default if there are none. Does nothing yet.
    ///
    /// `file` is the main watchfile that `plan` was made from, to be read again when it changes.
    ///
    /// # Errors
    /// [`SessionError::UnknownTask`].
    pub fn new(
        root: Root,
        file: Option<RelPath>,
        plan: Plan,
        names: Vec<String>,
        options: SessionOptions,
    ) -> Result<Self, SessionError> {
        let selection = plan.select(names.iter().map(String::as_str))?;
        Ok(Self {
            root,
            file,
            settings: plan.settings().clone(),
            plan: Arc::new(plan),
            names,
            selection,
            standing: Standing::Good,
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
        let (files, warnings) = self.scan()?;
        for warning in warnings {
            observe(RunEvent::Warning(warning));
        }
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
                Some(Input::Signal(signal, done)) => {
                    driver.signal(signal);
                    // Who asked may have gone on.
                    let _gone = done.try_send(());
                }
                Some(Input::Changed(_) | Input::Warned(_) | Input::RetryFailed) => {}
                None => driver.tick(Instant::now()),
            }
        }
        Ok(match (stopped, driver.has_failures()) {
            (true, _) => Ended::Stopped,
            (false, true) => Ended::TaskFailed,
            (false, false) => Ended::Good,
        })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
