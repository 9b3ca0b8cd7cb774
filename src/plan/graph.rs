//! Tasks and their edges, as scheduling needs them: [`Graph`].

use std::collections::BTreeSet;

use crate::task_id::{TaskId, TaskMap};
use crate::watchfile::{FailureRule, OnBusy, Terminal};

/// What kind of work a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A command that takes a job slot.
    Command,
    /// A command that stays; it takes no slot, and has ended for the schedule when it is ready.
    Service,
}

/// One task, as far as scheduling goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What must succeed first.
    pub deps: Vec<TaskId>,
    /// What must have ended first, if it is asked for at all.
    pub after: Vec<TaskId>,
    /// Command or service.
    pub role: Role,
    /// The pool it takes a slot of.
    pub pool: Option<usize>,
    /// What a change does to it while it runs.
    pub on_busy: OnBusy,
    /// Whether its failure counts.
    pub failure: FailureRule,
    /// Whether it runs alone.
    pub terminal: Terminal,
}

impl Node {
    /// Whether a slot of the jobs is all that it takes.
    pub fn takes_a_job_alone(&self) -> bool {
        self.role == Role::Command && self.pool.is_none() && self.terminal == Terminal::Captured
    }
}

/// Tasks and their edges, in both directions. Acyclic.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: TaskMap<Node>,
    dependents: TaskMap<Vec<TaskId>>,
    followers: TaskMap<Vec<TaskId>>,
    urgency: TaskMap<u64>,
    has_services: bool,
}

impl Graph {
    /// Turns the edges round. The caller has made sure that there is no cycle.
    pub fn new(nodes: TaskMap<Node>) -> Self {
        let mut dependents = TaskMap::from_fn(nodes.len(), |_| Vec::new());
        let mut followers = TaskMap::from_fn(nodes.len(), |_| Vec::new());
        for (id, node) in nodes.iter() {
            for &dep in &node.deps {
                dependents[dep].push(id);
            }
            for &before in &node.after {
                followers[before].push(id);
            }
        }
        let urgency = TaskMap::from_fn(nodes.len(), |_| 0);
        let has_services = nodes.iter().any(|(_, node)| node.role == Role::Service);
        Self {
            nodes,
            dependents,
            followers,
            urgency,
            has_services,
        }
    }

    /// The tasks.
    pub fn nodes(&self) -> &TaskMap<Node> {
        &self.nodes
    }

    /// Whether any task is a service.
    pub fn has_services(&self) -> bool {
        self.has_services
    }

    /// What depends on `id` directly, in watchfile order.
    pub fn dependents(&self, id: TaskId) -> &[TaskId] {
        &self.dependents[id]
    }

    /// What comes after `id`, in watchfile order.
    pub fn followers(&self, id: TaskId) -> &[TaskId] {
        &self.followers[id]
    }

    /// Whether anything depends on `id` or comes after it.
    pub fn is_awaited(&self, id: TaskId) -> bool {
        !self.dependents[id].is_empty() || !self.followers[id].is_empty()
    }

    /// What depends on `id`, directly or not; each once.
    pub fn all_dependents(&self, id: TaskId) -> Vec<TaskId> {
        let mut seen = TaskMap::from_fn(self.nodes.len(), |_| false);
        let mut found = Vec::new();
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for &dependent in &self.dependents[next] {
                if !std::mem::replace(&mut seen[dependent], true) {
                    found.push(dependent);
                    todo.push(dependent);
                }
            }
        }
        found
    }

    /// Whether `id` depends on `other`, directly or not.
    pub fn depends_on(&self, id: TaskId, other: TaskId) -> bool {
        let mut seen = TaskMap::from_fn(self.nodes.len(), |_| false);
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for &dep in &self.nodes[next].deps {
                if dep == other {
                    return true;
                }
                if !std::mem::replace(&mut seen[dep], true) {
                    todo.push(dep);
                }
            }
        }
        false
    }

    /// How urgent `id` is: larger starts first.
    pub fn urgency(&self, id: TaskId) -> u64 {
        self.urgency[id]
    }

    /// Replaces the urgencies.
    pub fn set_urgency(&mut self, urgency: TaskMap<u64>) {
        self.urgency = urgency;
    }

    /// All tasks, each after its deps; else in watchfile order as far as that goes.
    pub fn deps_first(&self) -> Vec<TaskId> {
        let mut open = TaskMap::from_fn(self.nodes.len(), |id| self.nodes[id].deps.len());
        let mut ready: BTreeSet<TaskId> = open
            .iter()
            .filter(|(_, n)| **n == 0)
            .map(|(id, _)| id)
            .collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for &dependent in &self.dependents[id] {
                open[dependent] -= 1;
                if open[dependent] == 0 {
                    ready.insert(dependent);
                }
            }
        }
        order
    }

    /// For each task its own duration plus that of the longest chain of tasks that wait for it,
    /// in the unit of `durations`. The critical-path priority of list scheduling.
    pub fn longest_paths(&self, durations: &TaskMap<u64>) -> TaskMap<u64> {
        let mut paths = TaskMap::from_fn(self.nodes.len(), |_| 0);
        let mut open = TaskMap::from_fn(self.nodes.len(), |id| self.dependents[id].len());
        let mut done: Vec<TaskId> = open
            .iter()
            .filter(|(_, n)| **n == 0)
            .map(|(id, _)| id)
            .collect();
        while let Some(id) = done.pop() {
            let longest: u64 = self.dependents[id]
                .iter()
                .map(|&next| paths[next])
                .max()
                .unwrap_or(0);
            paths[id] = longest.saturating_add(durations[id]);
            for &dep in &self.nodes[id].deps {
                open[dep] -= 1;
                if open[dep] == 0 {
                    done.push(dep);
                }
            }
        }
        paths
    }
}
