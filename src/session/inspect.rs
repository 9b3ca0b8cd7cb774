//! Verdicts without runs: [`Session::inspect`].

use std::sync::Arc;

use super::{Session, SessionError};
use crate::schedule::{self, Warning};
use crate::state::{Examined, StateError, Verdict};
use crate::task_id::TaskId;

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

impl Session {
    /// Looks at every selected task, in an order in which deps come first, and runs nothing.
    ///
    /// # Errors
    /// [`SessionError::Root`] and [`SessionError::Exec`].
    pub fn inspect(&self) -> Result<(Vec<Inspected>, Vec<Warning>), SessionError> {
        let (files, warnings) = self.scan()?;
        let ports = self.ports(Arc::new(files))?;
        let found = schedule::inspect(&self.plan, &ports, &self.selection, self.options.demand);
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
}
