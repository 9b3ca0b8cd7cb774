//! Which task next: [`Schedule`], a pure state machine over a task graph.
//!
//! No clock, no thread, no I/O. The driver asks what to check, start and stop, and tells what came
//! of it; a change re-opens tasks in the schedule that is running. See `docs/design/schedule.md`.
//!
//! Per task: `Out` (not asked for), `Waiting` (for deps), `Checking` (is it stale?), `Ready` (stale,
//! waiting for a slot), `Running`, `Ended`. Only a re-opening leaves `Ended`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;

use super::slots::{Limits, Slots};
pub use super::task_state::{Busy, Checked, SkipCause, TaskState, Ticket};
use crate::outcome::Outcome;
use crate::plan::{Graph, Role};
use crate::task_id::{TaskId, TaskMap};
use crate::watchfile::{FailureRule, OnBusy};

/// How many restarts in a row `on_busy = "auto"` allows before a run is left to finish.
pub const RESTARTS_MAX: u32 = 2;

/// The state of every task of one plan.
#[derive(Debug)]
pub struct Schedule {
    graph: Graph,
    failures_max: Option<usize>,
    states: TaskMap<TaskState>,
    /// For each task, how many of its deps have not succeeded plus how many of its `after` are
    /// still to end.
    blockers: TaskMap<usize>,
    restarts: TaskMap<u32>,
    /// Which tasks are known not to end by themselves.
    endless: TaskMap<bool>,
    /// The generation of each task's last check, and whether its answer is still to come: a task
    /// is never checked twice at a time.
    generations: TaskMap<u64>,
    in_flight: TaskMap<bool>,
    /// Unblocked tasks that wait to be checked.
    to_check: BTreeSet<Place>,
    /// Tasks that are being checked and do not run.
    checking: BTreeSet<Place>,
    /// Ready tasks.
    ready: BTreeSet<Place>,
    n_readied: u64,
    running: BTreeSet<TaskId>,
    to_stop: BTreeSet<TaskId>,
    skipped: Vec<(TaskId, SkipCause)>,
    queued: Vec<TaskId>,
    /// Services that are up as far as the schedule goes, and have ended for the moment.
    down: TaskMap<bool>,
    slots: Slots,
    failures: usize,
    active: usize,
    halted: bool,
}

impl Schedule {
    /// A schedule in which nothing is asked for yet.
    pub fn new(graph: Graph, limits: &Limits) -> Self {
        let len = graph.nodes().len();
        Self {
            states: TaskMap::from_fn(len, |_| TaskState::Out),
            blockers: TaskMap::from_fn(len, |id| graph.nodes()[id].deps.len()),
            restarts: TaskMap::from_fn(len, |_| 0),
            endless: TaskMap::from_fn(len, |_| false),
            generations: TaskMap::from_fn(len, |_| 0),
            in_flight: TaskMap::from_fn(len, |_| false),
            to_check: BTreeSet::new(),
            checking: BTreeSet::new(),
            ready: BTreeSet::new(),
            n_readied: 0,
            running: BTreeSet::new(),
            to_stop: BTreeSet::new(),
            skipped: Vec::new(),
            queued: Vec::new(),
            down: TaskMap::from_fn(len, |_| false),
            slots: Slots::new(limits),
            failures_max: limits.failures_max,
            failures: 0,
            active: 0,
            halted: false,
            graph,
        }
    }

    /// Where `id` stands.
    pub fn state(&self, id: TaskId) -> TaskState {
        self.states[id]
    }

    /// Whether nothing waits, is checked or runs.
    pub fn is_settled(&self) -> bool {
        self.active == 0
    }

    /// Asks for `ids`, or asks again: what has ended is checked anew, what runs is re-checked
    /// without being touched. Tasks that a halt left out are asked for again as well.
    ///
    /// The caller closes `ids` over deps (first run) or over dependents (a change).
    pub fn open(&mut self, ids: &[TaskId]) {
        if self.halted {
            return;
        }
        self.failures = 0;
        let halted = |(id, state): (TaskId, &TaskState)| {
            (*state == TaskState::Skipped(SkipCause::Halted)).then_some(id)
        };
        let mut all: BTreeSet<TaskId> = self.states.iter().filter_map(halted).collect();
        all.extend(ids);
        for &id in &all {
            self.reopen(id);
        }
        for id in all {
            let nodes = self.graph.nodes();
            let failed = nodes[id]
                .deps
                .iter()
                .copied()
                .find(|&dep| self.has_failed(dep));
            if let (Some(dep), TaskState::Waiting) = (failed, self.states[id]) {
                self.skip(id, SkipCause::Dep(dep));
            }
        }
    }

    /// `ids` and what they depend on that was never asked for, sorted.
    pub fn with_new_deps(&self, ids: &[TaskId]) -> Vec<TaskId> {
        let mut all: BTreeSet<TaskId> = ids.iter().copied().collect();
        let mut todo = ids.to_vec();
        while let Some(id) = todo.pop() {
            let deps = self.graph.nodes()[id].deps.iter().copied();
            let new = deps.filter(|dep| self.states[*dep] == TaskState::Out);
            todo.extend(new.filter(|dep| all.insert(*dep)));
        }
        all.into_iter().collect()
    }

    /// The next task to check for staleness, if any; it is now being checked.
    pub fn next_check(&mut self) -> Option<Ticket> {
        let (_, id) = self.to_check.pop_first()?;
        let next = match self.states[id] {
            TaskState::Running(_) => TaskState::Running(Busy::Rechecking),
            _ => TaskState::Checking,
        };
        self.set(id, next);
        self.in_flight[id] = true;
        self.generations[id] += 1;
        Some(Ticket {
            task: id,
            generation: self.generations[id],
        })
    }

    /// Takes the answer to a check. Returns whether it counted: one that was overtaken by a
    /// re-opening or by the task's end does not.
    pub fn checked(&mut self, ticket: Ticket, found: Checked) -> bool {
        let id = ticket.task;
        if ticket.generation != self.generations[id] {
            return false;
        }
        self.in_flight[id] = false;
        match (self.states[id], found) {
            (TaskState::Checking, Checked::Ends(outcome)) => self.end(id, outcome),
            (TaskState::Checking, Checked::Stale | Checked::Unmoved) => {
                self.set(id, TaskState::Ready);
            }
            (TaskState::Running(Busy::Rechecking), Checked::Stale) => self.disturb(id),
            (TaskState::Running(Busy::Rechecking), Checked::Ends(_) | Checked::Unmoved) => {
                self.set(id, TaskState::Running(Busy::Undisturbed));
            }
            (_, _) => {
                // It was overtaken; what overtook it asks again.
                self.queue_check(id);
                return false;
            }
        }
        true
    }

    /// The next task to start, if a slot is free; it is now running.
    ///
    /// Most urgent first: none takes the slot of a more urgent one that is still being checked. A
    /// task whose dependent still runs is held back, and the dependent is
    /// told to stop if its `on_busy` allows that.
    pub fn next_start(&mut self) -> Option<TaskId> {
        let mut from = Bound::Unbounded;
        loop {
            let full = self.slots.is_full() && !self.graph.has_services();
            if full || self.ready.is_empty() {
                return None;
            }
            let mut ready = self.ready.range((from, Bound::Unbounded));
            let key = *ready.find(|&&(_, id)| self.slots.has_for(&self.graph.nodes()[id]))?;
            if self.is_overtaking(key) {
                return None;
            }
            if !self.is_held_back(key.1) {
                self.set(key.1, TaskState::Running(Busy::Undisturbed));
                return Some(key.1);
            }
            from = Bound::Excluded(key);
        }
    }

    /// The tasks that start next as slots become free, most urgent first and at most `n`: as far as
    /// that is certain, because they take nothing else and none is more urgent. None while a slot
    /// is free.
    pub fn next_ahead(&self, n: usize) -> Vec<TaskId> {
        let is_blocked = |id: &TaskId| self.blockers[*id] > 0;
        if self.slots.free() > 0 || self.running.iter().any(is_blocked) {
            return Vec::new();
        }
        let is_certain = |place: &&Place| {
            self.graph.nodes()[place.1].takes_a_job_alone()
                && self.checking.first().is_none_or(|first| *place < first)
        };
        let certain = self.ready.iter().take_while(is_certain);
        certain.map(|(_, id)| *id).take(n).collect()
    }

    /// How often a task became ready.
    pub fn n_readied(&self) -> u64 {
        self.n_readied
    }

    /// Whether as many commands run as may, and no more.
    pub fn is_just_full(&self) -> bool {
        self.slots.is_just_full()
    }

    /// A task of [`Self::next_ahead`] has been started.
    pub fn started_ahead(&mut self, id: TaskId) {
        let state = self.states[id];
        if state != TaskState::Ready {
            unreachable!("BUG: task {id:?} was started ahead of its turn: {state:?}");
        }
        self.set(id, TaskState::Running(Busy::Undisturbed));
    }

    /// The next running task to stop, if any. It still has to be reported as ended.
    pub fn next_stop(&mut self) -> Option<TaskId> {
        self.to_stop.pop_first()
    }

    /// The running tasks that since the last call were found stale and are left to end.
    pub fn take_queued(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.queued)
    }

    /// The tasks that were skipped since the last call, in the order that was decided.
    pub fn take_skipped(&mut self) -> Vec<(TaskId, SkipCause)> {
        std::mem::take(&mut self.skipped)
    }

    /// The command of a running task has ended; what is left to do takes no slot.
    pub fn command_ended(&mut self, id: TaskId) {
        self.slots.give_back_early(id, &self.graph.nodes()[id]);
    }

    /// Takes the end of a running task. `again`: its result does not count, it is looked at once
    /// more (its inputs moved while it ran).
    pub fn ended(&mut self, id: TaskId, outcome: Outcome, again: bool) {
        let TaskState::Running(busy) = self.states[id] else {
            unreachable!(
                "BUG: task {id:?} ended without running: {:?}",
                self.states[id]
            );
        };
        self.to_stop.remove(&id);
        match busy {
            _ if self.halted => self.end(id, outcome),
            Busy::Stopping => {
                self.restarts[id] += 1;
                self.reconsider(id);
            }
            Busy::Suspect | Busy::Rechecking | Busy::Queued => {
                self.restarts[id] = 0;
                self.reconsider(id);
            }
            Busy::Undisturbed if again => {
                self.reconsider(id);
            }
            Busy::Undisturbed => {
                self.restarts[id] = 0;
                self.end(id, outcome);
            }
        }
    }

    /// Stops everything for good: nothing starts any more, whatever is asked for or changes, and
    /// what runs is told to stop.
    pub fn halt(&mut self) {
        self.halted = true;
        self.halt_waiting();
        let ids: Vec<TaskId> = self.states.ids().collect();
        for id in ids {
            match self.states[id] {
                TaskState::Checking => self.skip(id, SkipCause::Halted),
                TaskState::Running(_) => {
                    self.set(id, TaskState::Running(Busy::Undisturbed));
                    self.to_stop.insert(id);
                }
                _ => {}
            }
        }
    }

    /// A service that had been brought up has failed for good. Whether that was news: only what had
    /// succeeded can be lost. What depends on it and has not started is skipped.
    pub fn lost(&mut self, id: TaskId) -> bool {
        let TaskState::Ended(outcome) = self.states[id] else {
            return false;
        };
        let was_up = outcome.is_success();
        if was_up {
            self.end(id, Outcome::Failed);
        }
        was_up
    }

    /// Notes whether a service that was brought up is down for the moment: what depends on it and
    /// has not started waits until it is up again.
    pub fn set_down(&mut self, id: TaskId, down: bool) {
        let was = self.lets_pass(id, self.states[id]);
        self.down[id] = down;
        let is = self.lets_pass(id, self.states[id]);
        if was.dep != is.dep {
            for dependent in self.graph.dependents(id).to_vec() {
                self.shift_blockers(dependent, is.dep);
            }
        }
    }

    /// Asks for one task again, whatever depends on it: nothing else is affected but that it has
    /// to wait.
    pub fn ask_again(&mut self, id: TaskId) {
        self.reopen(id);
    }

    /// What runs, in plan order.
    pub fn running(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.running.iter().copied()
    }

    /// Whether a task's failure counts: it failed and that is not allowed.
    pub fn has_failed(&self, id: TaskId) -> bool {
        match self.states[id] {
            TaskState::Ended(outcome) => !self.clears(id, outcome),
            TaskState::Skipped(_) => true,
            TaskState::Out
            | TaskState::Waiting
            | TaskState::Checking
            | TaskState::Ready
            | TaskState::Running(_) => false,
        }
    }

    /// The run of a task that starts now is left to end whatever changes, if `on_busy` is `auto`:
    /// nothing did change while it waited for its start.
    pub fn let_finish(&mut self, id: TaskId) {
        self.restarts[id] = RESTARTS_MAX;
    }

    /// Whether `id` is known not to end by itself.
    pub fn is_endless(&self, id: TaskId) -> bool {
        self.endless[id]
    }

    /// Notes whether `id` does not end by itself: `auto` does not wait for its end then.
    pub fn set_endless(&mut self, id: TaskId, endless: bool) {
        self.endless[id] = endless;
    }

    /// A task that was left to end, and is to run again after that, is stopped after all.
    pub fn stop_waiting_for(&mut self, id: TaskId) {
        if self.states[id] == TaskState::Running(Busy::Queued) {
            self.to_stop.insert(id);
            self.set(id, TaskState::Running(Busy::Stopping));
        }
    }

    /// Takes back the start of a task that runs nothing yet: it is looked at anew. For `auto` that
    /// is a restart.
    pub fn put_off(&mut self, id: TaskId) {
        self.restarts[id] = 1;
        self.reconsider(id);
    }

    /// Takes over where a task stood in the schedule of an earlier plan. `same`: its definition is
    /// what it was; a running task with another one is stopped, and then starts over.
    ///
    /// Only before anything was asked of this schedule. What was being checked is checked anew.
    pub fn adopt(&mut self, id: TaskId, state: TaskState, same: bool) {
        let next = match state {
            TaskState::Running(_) if !same => {
                self.to_stop.insert(id);
                TaskState::Running(Busy::Stopping)
            }
            TaskState::Running(Busy::Stopping | Busy::Queued)
            | TaskState::Skipped(SkipCause::Halted) => state,
            TaskState::Running(_) => TaskState::Running(Busy::Suspect),
            TaskState::Ended(_) if same => state,
            TaskState::Out
            | TaskState::Waiting
            | TaskState::Checking
            | TaskState::Ready
            | TaskState::Ended(_)
            | TaskState::Skipped(SkipCause::Dep(_)) => return,
        };
        self.set(id, next);
    }

    /// Replaces the urgencies: longest remaining path, in any one unit.
    pub fn set_urgency(&mut self, urgency: TaskMap<u64>) {
        self.graph.set_urgency(urgency);
        let graph = &self.graph;
        for places in [&mut self.to_check, &mut self.checking, &mut self.ready] {
            let ids = std::mem::take(places).into_iter().map(|(_, id)| id);
            *places = ids.map(|id| place(graph, id)).collect();
        }
    }

    fn reopen(&mut self, id: TaskId) {
        if !matches!(self.states[id], TaskState::Running(_)) {
            // It comes from outside, not from a run of the task itself.
            self.restarts[id] = 0;
        }
        let next = match self.states[id] {
            TaskState::Out
            | TaskState::Ended(_)
            | TaskState::Skipped(_)
            | TaskState::Ready
            | TaskState::Checking => TaskState::Waiting,
            TaskState::Running(Busy::Undisturbed | Busy::Suspect | Busy::Rechecking) => {
                TaskState::Running(Busy::Suspect)
            }
            TaskState::Waiting | TaskState::Running(Busy::Queued | Busy::Stopping) => return,
        };
        self.set(id, next);
    }

    /// A running task depends on something that moved.
    fn disturb(&mut self, id: TaskId) {
        let node = &self.graph.nodes()[id];
        let stops = match node.on_busy {
            _ if node.role == Role::Service => true,
            OnBusy::Restart => true,
            OnBusy::Auto => self.restarts[id] < RESTARTS_MAX || self.endless[id],
            OnBusy::Queue | OnBusy::Ignore => false,
        };
        let queues = node.on_busy != OnBusy::Ignore;
        if stops {
            self.to_stop.insert(id);
            self.set(id, TaskState::Running(Busy::Stopping));
        } else if queues {
            self.queued.push(id);
            self.set(id, TaskState::Running(Busy::Queued));
        } else {
            self.set(id, TaskState::Running(Busy::Undisturbed));
        }
    }

    /// A task that ran goes back to the start: its deps may have changed meanwhile.
    fn reconsider(&mut self, id: TaskId) {
        self.set(id, TaskState::Waiting);
        let failed = self.graph.nodes()[id]
            .deps
            .iter()
            .copied()
            .find(|&dep| self.has_failed(dep));
        if let Some(dep) = failed {
            self.skip(id, SkipCause::Dep(dep));
        }
    }

    fn end(&mut self, id: TaskId, outcome: Outcome) {
        self.set(id, TaskState::Ended(outcome));
        if !self.clears(id, outcome) {
            self.skip_dependents(id);
            if outcome != Outcome::Cancelled {
                self.failures += 1;
                if self.failures_max == Some(self.failures) {
                    self.halt_waiting();
                }
            }
        }
    }

    fn skip(&mut self, id: TaskId, cause: SkipCause) {
        self.set(id, TaskState::Skipped(cause));
        self.skipped.push((id, cause));
        if matches!(cause, SkipCause::Dep(_)) {
            self.skip_dependents(id);
        }
    }

    fn skip_dependents(&mut self, id: TaskId) {
        let mut below = vec![id];
        while let Some(cause) = below.pop() {
            for dependent in self.graph.dependents(cause).to_vec() {
                if self.states[dependent] == TaskState::Waiting {
                    let cause = SkipCause::Dep(cause);
                    self.set(dependent, TaskState::Skipped(cause));
                    self.skipped.push((dependent, cause));
                    below.push(dependent);
                }
            }
        }
    }

    fn halt_waiting(&mut self) {
        let ids: Vec<TaskId> = self.states.ids().collect();
        for id in ids {
            if matches!(self.states[id], TaskState::Waiting | TaskState::Ready) {
                self.skip(id, SkipCause::Halted);
            }
        }
    }

    /// The only place where a state changes: keeps blockers, queues and slots in step.
    fn set(&mut self, id: TaskId, next: TaskState) {
        let before = std::mem::replace(&mut self.states[id], next);
        self.leave(id, before);
        self.enter(id, next);
        if !matches!(next, TaskState::Running(_)) {
            self.slots.rest(id);
        }
        let unblocks = |state| self.lets_pass(id, state);
        let (was, is) = (unblocks(before), unblocks(next));
        if was.dep != is.dep {
            for dependent in self.graph.dependents(id).to_vec() {
                self.shift_blockers(dependent, is.dep);
            }
        }
        if was.order != is.order {
            for follower in self.graph.followers(id).to_vec() {
                self.shift_blockers(follower, is.order);
            }
        }
    }

    fn leave(&mut self, id: TaskId, state: TaskState) {
        match state {
            TaskState::Out | TaskState::Ended(_) | TaskState::Skipped(_) => {}
            TaskState::Waiting => {
                self.active -= 1;
                self.to_check.remove(&place(&self.graph, id));
            }
            TaskState::Checking => {
                self.active -= 1;
                self.checking.remove(&place(&self.graph, id));
            }
            TaskState::Ready => {
                self.active -= 1;
                self.ready.remove(&place(&self.graph, id));
            }
            TaskState::Running(_) => {
                self.active -= 1;
                self.to_check.remove(&place(&self.graph, id));
                self.running.remove(&id);
                self.slots.give_back(id, &self.graph.nodes()[id]);
            }
        }
    }

    fn enter(&mut self, id: TaskId, state: TaskState) {
        match state {
            TaskState::Out | TaskState::Ended(_) | TaskState::Skipped(_) => return,
            TaskState::Ready => {
                self.ready.insert(place(&self.graph, id));
                self.n_readied += 1;
            }
            TaskState::Running(_) => {
                self.running.insert(id);
                self.slots.take(id, &self.graph.nodes()[id]);
            }
            TaskState::Checking => {
                self.checking.insert(place(&self.graph, id));
            }
            TaskState::Waiting => {}
        }
        self.active += 1;
        self.queue_check(id);
    }

    /// A blocker of `id` went (`freed`) or came.
    fn shift_blockers(&mut self, id: TaskId, freed: bool) {
        if freed {
            self.blockers[id] -= 1;
            self.queue_check(id);
            return;
        }
        self.blockers[id] += 1;
        self.to_check.remove(&place(&self.graph, id));
        // What it was found to be, or is being checked for, no longer holds.
        if matches!(self.states[id], TaskState::Ready | TaskState::Checking) {
            self.set(id, TaskState::Waiting);
        }
    }

    fn queue_check(&mut self, id: TaskId) {
        let wants = matches!(
            self.states[id],
            TaskState::Waiting | TaskState::Running(Busy::Suspect)
        );
        if wants && self.blockers[id] == 0 && !self.in_flight[id] {
            self.to_check.insert(place(&self.graph, id));
        }
    }

    fn lets_pass(&self, id: TaskId, state: TaskState) -> Pass {
        let (dep, order) = match state {
            TaskState::Ended(outcome) => (self.clears(id, outcome) && !self.down[id], true),
            TaskState::Out | TaskState::Skipped(_) => (false, true),
            TaskState::Waiting | TaskState::Checking | TaskState::Ready | TaskState::Running(_) => {
                (false, false)
            }
        };
        Pass { dep, order }
    }

    fn clears(&self, id: TaskId, outcome: Outcome) -> bool {
        let allowed = self.graph.nodes()[id].failure == FailureRule::Allowed;
        outcome.is_success() || (allowed && outcome.is_failure())
    }

    /// Whether a dependent of `id` runs; one that may be stopped is told to.
    ///
    /// Only a task that was re-opened under a running dependent can be held back, and then
    /// something blocks that dependent: without such a one there is nothing to look for.
    fn is_held_back(&mut self, id: TaskId) -> bool {
        let blocked = |id: &TaskId| self.blockers[*id] > 0;
        let suspects: Vec<TaskId> = self.running.iter().copied().filter(blocked).collect();
        if suspects.is_empty() {
            return false;
        }
        let below = self.graph.all_dependents(id);
        let held: Vec<TaskId> = suspects
            .into_iter()
            .filter(|suspect| self.graph.nodes()[*suspect].role == Role::Command)
            .filter(|suspect| below.contains(suspect))
            .collect();
        for &dependent in &held {
            match self.states[dependent] {
                TaskState::Running(Busy::Queued | Busy::Stopping) => {}
                _ => self.disturb(dependent),
            }
        }
        !held.is_empty()
    }

    /// Whether a start of the task at `place` could take the slot of a more urgent one that is
    /// still being checked.
    fn is_overtaking(&self, place: Place) -> bool {
        let free = self.slots.free().max(1);
        self.checking.range(..place).take(free).count() >= free
    }
}

/// Where a task stands among others: the most urgent first, then in watchfile order.
type Place = (Reverse<u64>, TaskId);

fn place(graph: &Graph, id: TaskId) -> Place {
    (Reverse(graph.urgency(id)), id)
}

/// What a task in some state lets happen.
struct Pass {
    /// Those that depend on it may go on.
    dep: bool,
    /// Those that come after it may go on.
    order: bool,
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_world_tests.rs"]
mod world_tests;
