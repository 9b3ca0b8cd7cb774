//! From changed paths to tasks: [`Triggers`] and [`Affected`].

use super::{Plan, Selection};
use crate::change::{Change, FileType};
use crate::path::RelPath;
use crate::pattern::{PatternIndex, PatternSet};
use crate::task_id::{TaskId, TaskMap};
use crate::watchfile::{Inputs, Task, TaskKind};

/// What a path means for which task.
#[derive(Debug)]
pub struct Triggers {
    inputs: PatternIndex,
    outputs: PatternIndex,
    /// Tasks without `inputs`: every file that is no task's output.
    everything: Vec<TaskId>,
}

impl Triggers {
    pub(super) fn new(tasks: &TaskMap<Task>) -> Self {
        let inputs = tasks.iter().map(|(_, task)| match &task.inputs {
            Inputs::Patterns(set) => set.clone(),
            Inputs::Everything => PatternSet::default(),
        });
        let takes_all =
            |task: &Task| task.inputs == Inputs::Everything && task.kind != TaskKind::Group;
        Self {
            inputs: PatternIndex::new(inputs.collect()),
            outputs: PatternIndex::new(tasks.iter().map(|(_, t)| t.outputs.clone()).collect()),
            everything: tasks
                .iter()
                .filter(|(_, t)| takes_all(t))
                .map(|(id, _)| id)
                .collect(),
        }
    }

    /// The tasks that have `path` as an input, in plan order. A task's own output is none.
    pub fn consumers(&self, path: &RelPath) -> Vec<TaskId> {
        let producers = self.outputs.matching(path);
        let mut found = self.inputs.matching(path);
        if producers.is_empty() {
            found.extend(self.everything.iter().map(|id| id.idx()));
            found.sort_unstable();
        }
        found
            .into_iter()
            .filter(|idx| !producers.contains(idx))
            .map(TaskId::new)
            .collect()
    }

    /// The outputs of all tasks.
    pub fn outputs(&self) -> &PatternIndex {
        &self.outputs
    }

    fn is_output(&self, path: &RelPath) -> bool {
        !self.outputs.matching(path).is_empty()
    }

    /// The tasks that have `path` as an output, in plan order.
    pub fn producers(&self, path: &RelPath) -> Vec<TaskId> {
        self.outputs
            .matching(path)
            .into_iter()
            .map(TaskId::new)
            .collect()
    }
}

/// The tasks that some changes concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Each task that a change hits directly, with the first path that did, in plan order.
    pub causes: Vec<(TaskId, RelPath)>,
    /// Those and everything that depends on them, in plan order.
    pub tasks: Vec<TaskId>,
    /// Whether one of the paths that concern a task is no task's output.
    pub from_outside: bool,
}

impl Plan {
    /// The tasks of `selection` whose inputs `changes` touch, with all in it that depends on them.
    ///
    /// Pure. Directories do not count: what lies in them is listed by itself.
    pub fn affected(&self, selection: &Selection, changes: &[Change]) -> Affected {
        let mut causes: TaskMap<Option<RelPath>> = TaskMap::from_fn(self.tasks.len(), |_| None);
        let mut from_outside = false;
        for change in changes
            .iter()
            .filter(|change| change.file_type != FileType::Dir)
        {
            for path in change.paths() {
                for id in self.triggers.consumers(path) {
                    if selection.holds(id) {
                        causes[id].get_or_insert_with(|| path.clone());
                        from_outside = from_outside || !self.triggers.is_output(path);
                    }
                }
            }
        }
        let causes: Vec<(TaskId, RelPath)> = causes
            .iter()
            .filter_map(|(id, path)| Some((id, path.clone()?)))
            .collect();
        let direct: Vec<TaskId> = causes.iter().map(|(id, _)| *id).collect();
        Affected {
            tasks: self.with_dependents(selection, &direct),
            causes,
            from_outside,
        }
    }

    /// `ids` and everything in `selection` that depends on them, in plan order.
    pub fn with_dependents(&self, selection: &Selection, ids: &[TaskId]) -> Vec<TaskId> {
        let mut hit = TaskMap::from_fn(self.tasks.len(), |_| false);
        let mut todo = ids.to_vec();
        while let Some(id) = todo.pop() {
            if selection.holds(id) && !std::mem::replace(&mut hit[id], true) {
                todo.extend(self.graph.dependents(id));
            }
        }
        hit.ids().filter(|&id| hit[id]).collect()
    }
}
