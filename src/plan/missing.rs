//! Dependencies that the watchfile forgot to name: [`MissingDep`].

use super::Plan;
use crate::path::RelPath;
use crate::task_id::TaskId;

/// A dependency that the watchfile forgot to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingDep {
    /// The task that takes the file as input.
    pub task: TaskId,
    /// The task that produces it and is not among the former's deps.
    pub producer: TaskId,
    /// The file.
    pub path: RelPath,
}

impl Plan {
    /// Files that are named as an output of one task and are an input of another that does not
    /// depend on it, as far as names tell: one for each pair of tasks, in plan order.
    pub fn missing_deps(&self) -> Vec<MissingDep> {
        let literals = self.tasks.iter().flat_map(|(id, task)| {
            task.outputs
                .includes()
                .filter_map(move |p| Some((id, p.as_literal()?.clone())))
        });
        self.missing_deps_of(literals)
    }

    /// As [`Self::missing_deps`], for files that were seen to come from a task.
    pub fn missing_deps_of(
        &self,
        produced: impl IntoIterator<Item = (TaskId, RelPath)>,
    ) -> Vec<MissingDep> {
        let mut missing: Vec<MissingDep> = Vec::new();
        for (producer, path) in produced {
            for task in self.triggers.consumers(&path) {
                let known = |m: &MissingDep| m.task == task && m.producer == producer;
                if task == producer
                    || missing.iter().any(known)
                    || self.graph.depends_on(task, producer)
                {
                    continue;
                }
                missing.push(MissingDep {
                    task,
                    producer,
                    path: path.clone(),
                });
            }
        }
        missing.sort_by_key(|m| (m.task, m.producer));
        missing
    }
}
