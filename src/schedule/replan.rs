//! Another plan in the middle of a run.

use std::sync::Arc;

use super::event::{RunEvent, TaskFinished};
use super::progress::Progress;
use super::report::Serial;
use super::run::Driver;
use super::state::{Schedule, TaskState};
use crate::disk::DiskLock;
use crate::outcome::Outcome;
use crate::plan::{Plan, Selection};
use crate::task_id::{TaskId, TaskMap};

/// A task that the plan no longer has. If it comes back while its command is still dying, it finds
/// the lock taken.
pub(super) struct Leaving {
    /// What of it is in flight.
    pub(super) flights: Vec<Serial>,
    _lock: DiskLock,
}

impl Driver {
    /// Goes on with another plan. Tasks with the same definition keep their process and their
    /// result; one whose definition changed is stopped first. Returns the tasks that are new or
    /// changed, closed over dependents in `selection`: they are asked for.
    pub fn replan(&mut self, plan: Arc<Plan>, selection: &Selection) -> Vec<TaskId> {
        let poised: Vec<TaskId> = self.poised.keys().copied().collect();
        for id in poised {
            self.put_off(id);
        }
        self.lingering.clear();
        let mut limits = self.options.limits.clone();
        limits.pools = plan.pool_sizes().to_vec();
        let old = std::mem::replace(&mut self.plan, plan);
        let mut schedule = Schedule::new(self.plan.graph().clone(), &limits);
        self.options.limits = limits;
        std::mem::swap(&mut schedule, &mut self.schedule);
        let mut progress = TaskMap::from_fn(self.plan.tasks().len(), |_| Progress::default());
        std::mem::swap(&mut progress, &mut self.progress);
        self.probes = Arc::default();
        self.epoch += 1;
        let mut changed = Vec::new();
        let mut moved_to: TaskMap<Option<TaskId>> = TaskMap::from_fn(old.tasks().len(), |_| None);
        for id in self.plan.tasks().ids() {
            let task = self.plan.task(id);
            let before = old.id(&task.name);
            let same = before.is_some_and(|before| old.task(before).same_definition(task));
            if let Some(before) = before {
                moved_to[before] = Some(id);
                self.progress[id] = std::mem::take(&mut progress[before]);
                self.schedule.set_endless(id, schedule.is_endless(before));
                self.schedule.adopt(id, schedule.state(before), same);
            }
            if !same && selection.holds(id) {
                changed.push(id);
            }
        }
        self.wave = self.wave.take().map(|wave| wave.moved(&moved_to));
        for id in old.tasks().ids() {
            let left = &mut progress[id];
            if let Some(lock) = left.lock.take() {
                let own =
                    |(serial, of): (&Serial, &Option<TaskId>)| (*of == Some(id)).then_some(*serial);
                let flights = self.flights.iter().filter_map(own).collect();
                self.leaving.push(Leaving {
                    flights,
                    _lock: lock,
                });
            }
            if let Some(cancel) = &left.cancel {
                cancel.cancel();
                let run = self.runs;
                let gone = &old.task(id).name;
                let finished = TaskFinished::without_process(run, gone, Outcome::Cancelled);
                (self.observe)(RunEvent::TaskFinished(finished));
            }
        }
        self.replan_services(&moved_to, &old, selection);
        for flight in self.flights.values_mut() {
            *flight = flight.and_then(|id| moved_to[id]);
        }
        self.rank();
        self.warn_of_missing_deps(&self.plan.missing_deps());
        let settled = |id: &TaskId| self.schedule.state(*id) == TaskState::Out;
        changed.extend(selection.ids().iter().filter(|id| settled(id)));
        let hit = self.plan.with_dependents(selection, &changed);
        self.comes_from_outside();
        self.change(&hit);
        hit
    }
}
