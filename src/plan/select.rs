//! Which tasks a run is about: [`Selection`].

use super::Plan;
use crate::pattern::{Pattern, PatternSet};
use crate::suggest::nearest;
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::{Inputs, TaskKind};

/// A name on the command line that no task has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no task `{name}`")]
pub struct UnknownTask {
    /// The name as it was given.
    pub name: String,
    /// The nearest name there is.
    pub suggestion: Option<TaskName>,
}

/// The tasks that were asked for, with everything that they depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    ids: Vec<TaskId>,
    holds: TaskMap<bool>,
}

impl Selection {
    /// The tasks, in watchfile order.
    pub fn ids(&self) -> &[TaskId] {
        &self.ids
    }

    /// Whether `id` is one of them.
    pub fn holds(&self, id: TaskId) -> bool {
        self.holds[id]
    }
}

impl Plan {
    /// The tasks called `names`, or the watchfile's default if there are none, closed over deps.
    ///
    /// # Errors
    /// [`UnknownTask`] for the first name that no task has.
    pub fn select<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Selection, UnknownTask> {
        let mut asked = Vec::new();
        for name in names {
            let found = self
                .id(&TaskName::new(name))
                .ok_or_else(|| self.unknown(name))?;
            asked.push(found);
        }
        Ok(self.close(if asked.is_empty() {
            &self.default
        } else {
            &asked
        }))
    }

    /// `ids` with everything that they depend on.
    pub fn close(&self, ids: &[TaskId]) -> Selection {
        let mut holds = TaskMap::from_fn(self.tasks.len(), |_| false);
        let mut todo = ids.to_vec();
        while let Some(id) = todo.pop() {
            if !std::mem::replace(&mut holds[id], true) {
                todo.extend(&self.graph.nodes()[id].deps);
            }
        }
        Selection {
            ids: holds.ids().filter(|&id| holds[id]).collect(),
            holds,
        }
    }

    /// Every path that could matter to one of `ids`: their inputs, and the watchfiles. Matches
    /// too much rather than too little.
    pub fn interest(&self, ids: &[TaskId]) -> PatternSet {
        let mut patterns: Vec<Pattern> = self.sources.patterns().collect();
        let mut takes_everything = false;
        for &id in ids {
            let task = &self.tasks[id];
            match &task.inputs {
                _ if task.kind == TaskKind::Group => {}
                Inputs::Everything => takes_everything = true,
                Inputs::Patterns(set) => patterns.extend(set.includes().cloned()),
            }
        }
        if takes_everything {
            // An ignored file counts where it is named: everything does not hold those.
            patterns.retain(|pattern| pattern.as_literal().is_some());
            patterns.push(Pattern::everything());
        }
        PatternSet::new(patterns)
    }

    fn unknown(&self, name: &str) -> UnknownTask {
        let names = self.tasks.iter().map(|(_, task)| task.name.as_str());
        UnknownTask {
            name: name.to_owned(),
            suggestion: nearest(name, names).map(TaskName::new),
        }
    }
}
