//! Verdicts without runs: [`inspect`].

use std::sync::Arc;

use super::step::{self, Assignment, Ports, Probes};
use crate::digest::Digest;
use crate::plan::{Plan, Selection};
use crate::state::{Demand, Examined, StateError, group_product};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::TaskKind;

/// Examines the tasks of `selection`, deps first, as a run would; `None` for groups. Blocks.
///
/// A task that depends on a stale one is examined against what that one produced last.
pub fn inspect(
    plan: &Arc<Plan>,
    ports: &Ports,
    selection: &Selection,
    demand: Demand,
) -> Vec<(TaskId, Option<Result<Examined, StateError>>)> {
    let probes = Arc::new(Probes::default());
    let mut products: TaskMap<Option<Digest>> = TaskMap::from_fn(plan.tasks().len(), |_| None);
    let mut found = Vec::new();
    let order = plan.graph().deps_first();
    for id in order.into_iter().filter(|&id| selection.holds(id)) {
        let deps = plan.graph().nodes()[id].deps.iter();
        let deps: Vec<(TaskName, Digest)> = deps
            .filter_map(|&dep| Some((plan.name(dep).clone(), products[dep]?)))
            .collect();
        if plan.task(id).kind == TaskKind::Group {
            products[id] = Some(group_product(&deps));
            found.push((id, None));
            continue;
        }
        let (plan, probes) = (Arc::clone(plan), Arc::clone(&probes));
        let look = step::examine(
            ports,
            &Assignment {
                plan,
                id,
                deps: deps.into(),
                demand,
                probes,
                seen: None,
            },
        );
        if let Ok(examined) = &look.result {
            products[id] = Some(examined.last_product().unwrap_or(*examined.key()));
        }
        found.push((id, Some(look.result)));
    }
    found
}
