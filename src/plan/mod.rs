//! Tasks and their graph, made from a watchfile: [`Plan`]. Pure: looks at no disk and no clock.
//!
//! What is wrong with names, cycles and outputs is reported together with what the watchfile's
//! own check found. See design §2 and §5.

mod affected;
mod check;
mod graph;
mod missing;
mod select;

use std::collections::HashMap;

pub use affected::{Affected, Triggers};
pub use graph::{Graph, Node, Role};
pub use missing::MissingDep;
pub use select::{Selection, UnknownTask};

use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::{Errors, Loaded, Settings, Sources, Task, Watchfile};

/// A watchfile that cannot be planned: everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// All errors, sorted by place.
    pub errors: Errors,
    /// The texts they point into.
    pub sources: Sources,
}

/// The tasks of a watchfile as a graph that is known to be sound.
#[derive(Debug)]
pub struct Plan {
    tasks: TaskMap<Task>,
    graph: Graph,
    ids: HashMap<TaskName, TaskId>,
    default: Vec<TaskId>,
    triggers: Triggers,
    settings: Settings,
    pool_sizes: Vec<usize>,
    sources: Sources,
}

impl Plan {
    /// Resolves names, looks for cycles and for outputs that two tasks claim.
    ///
    /// # Errors
    /// [`Rejected`], with every error of the watchfile and of the graph.
    pub fn new(loaded: Loaded) -> Result<Self, Rejected> {
        let Loaded {
            watchfile,
            mut errors,
        } = loaded;
        let Watchfile {
            tasks,
            default,
            settings,
            pools,
            sources,
            ..
        } = watchfile;
        let mut tasks: TaskMap<Task> = tasks.into_iter().collect();
        let ids = tasks
            .iter()
            .map(|(id, task)| (task.name.clone(), id))
            .collect();
        let nodes = check::resolve(&tasks, &check::Names::new(&tasks, &ids), &mut errors);
        check::find_cycles(&tasks, &nodes, &mut errors);
        check::narrow_services(&mut tasks, &nodes);
        let names = check::Names::new(&tasks, &ids);
        let triggers = Triggers::new(&tasks);
        check::find_shared_outputs(&tasks, triggers.outputs(), &mut errors);
        let default = match default {
            Some(refs) => refs
                .iter()
                .filter_map(|name| names.resolve(None, name, &mut errors))
                .collect(),
            None => tasks.ids().collect(),
        };
        if !errors.is_empty() {
            return Err(Rejected {
                errors: Errors::from(errors),
                sources,
            });
        }
        Ok(Self {
            triggers,
            graph: Graph::new(nodes),
            pool_sizes: pools.iter().map(|pool| pool.size.get()).collect(),
            tasks,
            ids,
            default,
            settings,
            sources,
        })
    }

    /// The tasks and services, in watchfile order.
    pub fn tasks(&self) -> &TaskMap<Task> {
        &self.tasks
    }

    /// The definition of `id`.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id]
    }

    /// The name of `id`.
    pub fn name(&self, id: TaskId) -> &TaskName {
        &self.tasks[id].name
    }

    /// The task called `name`.
    pub fn id(&self, name: &TaskName) -> Option<TaskId> {
        self.ids.get(name).copied()
    }

    /// The edges.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the watchfile sets for the whole.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The slots of each pool, by its index in the watchfile.
    pub fn pool_sizes(&self) -> &[usize] {
        &self.pool_sizes
    }

    /// The watchfiles it was made from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What each path means for which task.
    pub fn triggers(&self) -> &Triggers {
        &self.triggers
    }
}

#[cfg(test)]
mod tests;
