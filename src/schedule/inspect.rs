//! Verdicts without runs: [`inspect`].

use std::sync::Arc;

use super::step::{self, Assignment, Ports, Probes};
use crate::digest::Digest;
use crate::plan::{Plan, Selection};
use crate::state::{Demand, Examined, StateError, Verdict, group_product};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::{Task, TaskKind};

/// Examines the tasks of `selection`, deps first, as a run would; `None` for groups. Blocks.
///
/// What a stale task without outputs will produce is known: its key. What one with outputs will
/// produce is not, so a task that depends on it counts as stale for that reason.
pub fn inspect(
    plan: &Arc<Plan>,
    ports: &Ports,
    selection: &Selection,
    demand: Demand,
) -> Vec<(TaskId, Option<Result<Examined, StateError>>)> {
    let probes = Arc::new(Probes::default());
    let mut products: TaskMap<Product> =
        TaskMap::from_fn(plan.tasks().len(), |_| Product::default());
    let mut found = Vec::new();
    let order = plan.graph().deps_first();
    for id in order.into_iter().filter(|&id| selection.holds(id)) {
        let deps = &plan.graph().nodes()[id].deps;
        let unknown: Vec<TaskName> = deps
            .iter()
            .filter(|&&dep| products[dep].is_open)
            .map(|&dep| plan.name(dep).clone())
            .collect();
        let deps: Vec<(TaskName, Digest)> = deps
            .iter()
            .filter_map(|&dep| Some((plan.name(dep).clone(), products[dep].digest?)))
            .collect();
        if plan.task(id).kind == TaskKind::Group {
            products[id] = Product {
                digest: Some(group_product(&deps)),
                is_open: !unknown.is_empty(),
            };
            found.push((id, None));
            continue;
        }
        let (assigned, probes) = (Arc::clone(plan), Arc::clone(&probes));
        let look = step::examine(
            ports,
            &Assignment {
                plan: assigned,
                id,
                deps: deps.into(),
                demand,
                probes,
                seen: None,
            },
        );
        let result = look.result.map(|examined| {
            let examined = examined.with_stale_deps(&unknown);
            products[id] = Product::of(&examined, plan.task(id), !unknown.is_empty());
            examined
        });
        found.push((id, Some(result)));
    }
    found
}

/// What dependents would see of a task.
#[derive(Clone, Copy, Debug, Default)]
struct Product {
    digest: Option<Digest>,
    /// Whether it may be another one after a run.
    is_open: bool,
}

impl Product {
    fn of(examined: &Examined, task: &Task, has_open_deps: bool) -> Self {
        let key = *examined.key();
        if task.outputs.is_empty() && !task.takes_files() {
            return Self {
                digest: Some(key),
                is_open: has_open_deps,
            };
        }
        Self {
            digest: Some(examined.last_product().unwrap_or(key)),
            is_open: *examined.verdict() != Verdict::Fresh,
        }
    }
}
