//! Services in the driver: when one is started, replaced, left alone and stopped.
//!
//! For the schedule, bringing a service up is what running is for a task: it ends when the service
//! is ready, and those that depend on it go on. The process that stays is an [`Instance`] here,
//! which outlives that end. See `docs/design/schedule.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::bring;
use super::event::{RunEvent, ServiceState};
use super::report::{News, Serial};
use super::run::{Driver, Mode};
use super::rush::Endless;
use super::state::{SkipCause, TaskState};
use super::wave::Wave;
use crate::digest::Digest;
use crate::exec::{Cancel, LineSplitter, Service};
use crate::outcome::{ExitStatus, Outcome};
use crate::plan::{Plan, Role, Selection};
use crate::state::{Reason, Verdict};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::TaskKind;

/// One process of a service, from its start to the death of its tree.
#[derive(Debug)]
pub(super) struct Instance {
    /// Which service of the plan it is; `None`: the plan has it no more.
    pub(super) task: Option<TaskId>,
    pub(super) name: TaskName,
    service: Service,
    /// What it was started from.
    pub(super) key: Digest,
    /// What was last told of it.
    pub(super) state: ServiceState,
    /// It was ready, and its process has not ended since.
    pub(super) is_up: bool,
    /// Its definition is another one now.
    outdated: bool,
    pub(super) started: Instant,
    pub(super) lines: LineSplitter,
    /// How it ended the last time, if it did by itself.
    pub(super) status: Option<ExitStatus>,
    /// Why it failed, where more than its status is known.
    pub(super) trouble: Option<String>,
}

impl Instance {
    /// One of `id` that has just been started.
    pub(super) fn new(id: TaskId, name: TaskName, service: Service, key: Digest) -> Self {
        Self {
            task: Some(id),
            name,
            service,
            key,
            state: ServiceState::Starting,
            is_up: false,
            outdated: false,
            started: Instant::now(),
            lines: LineSplitter::new(),
            status: None,
            trouble: None,
        }
    }
}

/// What a service that is being brought up waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bring {
    /// The end of the instance before.
    OldEnds,
    /// A free port.
    Port,
    /// The readiness of this instance.
    Ready(Serial),
    /// The record that this instance is ready.
    Noted(Serial),
}

/// The instances there are.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) instances: BTreeMap<Serial, Instance>,
    /// Those that something stale needs, in a run that does not watch.
    wanted: BTreeSet<TaskId>,
    /// Nothing is to go on: those that nobody needs any more are stopped.
    closing: bool,
}

impl Services {
    fn serial_of(&self, id: TaskId) -> Option<Serial> {
        let mut found = self.instances.iter();
        let (serial, _) = found.find(|(_, instance)| instance.task == Some(id))?;
        Some(*serial)
    }

    /// Whether one of them is on its way out, or has to be.
    pub(super) fn is_settled(&self) -> bool {
        let stops = |instance: &Instance| instance.state == ServiceState::Stopping;
        if self.closing {
            self.instances.is_empty()
        } else {
            !self.instances.values().any(stops)
        }
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn kill(&mut self) {
        self.instances
            .values()
            .for_each(|instance| instance.service.kill());
    }

    /// Sends `signal` to all of them.
    pub(super) fn signal(&self, signal: i32) {
        self.instances
            .values()
            .for_each(|instance| instance.service.reload(signal));
    }
}

impl Driver {
    pub(super) fn is_service(&self, id: TaskId) -> bool {
        self.plan.graph().nodes()[id].role == Role::Service
    }

    /// How a service that was found with this key ends without being brought up, if it does.
    pub(super) fn service_rests(&self, id: TaskId, key: &Digest) -> Option<Outcome> {
        if let Some(serial) = self.services.serial_of(id) {
            let instance = &self.services.instances[&serial];
            let serves = instance.key == *key
                && !instance.outdated
                && instance.state != ServiceState::Stopping;
            return serves.then_some(Outcome::Fresh);
        }
        let settled = self.progress[id].settled;
        if let Some((_, outcome)) = settled.filter(|(settled, _)| settled == key) {
            return Some(outcome);
        }
        let waits = self.options.mode == Mode::Once && !self.services.wanted.contains(&id);
        (waits && self.has_commands_below(id)).then_some(Outcome::Fresh)
    }

    /// In a run that does not watch, a service is started when something that is stale needs it.
    /// Whether `id`, which is stale, has to wait for one.
    pub(super) fn wants_services(&mut self, id: TaskId) -> bool {
        if self.options.mode == Mode::Watching || !self.plan.graph().has_services() {
            return false;
        }
        let graph = self.plan.graph();
        let mut todo = graph.nodes()[id].deps.clone();
        let (mut between, mut is_missing) = (Vec::new(), false);
        while let Some(dep) = todo.pop() {
            let is_service = self.is_service(dep);
            if is_service || self.plan.task(dep).kind == TaskKind::Group {
                todo.extend(&graph.nodes()[dep].deps);
                between.push(dep);
            }
            if is_service && self.services.wanted.insert(dep) {
                is_missing |= self.services.serial_of(dep).is_none();
            }
        }
        if is_missing {
            self.recall();
            for dep in between {
                self.schedule.ask_again(dep);
            }
        }
        is_missing
    }

    fn has_commands_below(&self, id: TaskId) -> bool {
        let asked = |id: &TaskId| self.schedule.state(*id) != TaskState::Out;
        let runs = |id: &TaskId| matches!(self.plan.task(*id).kind, TaskKind::Command(_));
        let below = self.plan.graph().all_dependents(id);
        below.iter().any(|id| asked(id) && runs(id))
    }

    /// Starts, replaces or reloads the service `id`.
    pub(super) fn bring_up(&mut self, id: TaskId) {
        self.progress[id].cancel = Some(Cancel::new());
        self.announce(&[id]);
        if let Some(wave) = &mut self.wave {
            wave.unneeded.remove(&id);
        }
        let reason = match self.progress[id].examined().verdict() {
            Verdict::Stale(reason) => reason.clone(),
            Verdict::Fresh => Reason::NotRunning,
        };
        let (run, task) = (self.run_number(), self.plan.name(id).clone());
        (self.observe)(RunEvent::TaskStarted {
            run,
            task,
            attempt: 1,
            reason,
            command: self.plan.task(id).command_text(),
            interactive: false,
        });
        if let Some(endless) = self.progress[id].rush.start(Instant::now()) {
            return self.do_not_replace(id, endless);
        }
        let Some(serial) = self.services.serial_of(id) else {
            return self.free_port(id);
        };
        let key = *self.progress[id].examined().key();
        let reload = bring::reload_signal(self.plan.task(id));
        match (self.services.instances.get_mut(&serial), reload) {
            (Some(instance), Some(signal))
                if !instance.outdated
                    && instance.is_up
                    && instance.state != ServiceState::Stopping =>
            {
                instance.service.reload(signal);
                instance.key = key;
                instance.started = Instant::now();
                self.note_ready(id, serial);
            }
            _ => {
                self.progress[id].bring = Some(Bring::OldEnds);
                self.stop_instance(serial);
            }
        }
    }

    /// The service `id` seems to bring its own starts about: the one that is up stays.
    fn do_not_replace(&mut self, id: TaskId, endless: Endless) {
        let reason = self.warn_of_endless_starts(id, endless);
        match self.services.serial_of(id) {
            Some(serial) if self.leave_running(id, serial) => self.note_ready(id, serial),
            _ => self.not_brought_up(id, reason, None, Instant::now()),
        }
    }

    /// Takes the instance `serial` for one of the `id` that there is now, if it is up.
    fn leave_running(&mut self, id: TaskId, serial: Serial) -> bool {
        let key = *self.progress[id].examined().key();
        let Some(instance) = self.services.instances.get_mut(&serial) else {
            return false;
        };
        let is_up = !instance.outdated && instance.state != ServiceState::Stopping;
        if is_up {
            instance.key = key;
        }
        is_up
    }

    /// Stops what brings the service `id` up.
    pub(super) fn stop_bringing(&mut self, id: TaskId) {
        if let Some(Bring::Ready(serial)) = self.progress[id].bring {
            self.stop_instance(serial);
        }
    }

    pub(super) fn free_port(&mut self, id: TaskId) {
        self.progress[id].bring = Some(Bring::Port);
        let cancel = self.progress[id].cancel.clone().unwrap_or_default();
        let examined = self.progress[id].examined();
        let plan = Arc::clone(&self.plan);
        self.launch(id, move |ports| {
            News::Brought(bring::begin(ports, plan.task(id), &examined, &cancel))
        });
    }

    pub(super) fn stop_instance(&mut self, serial: Serial) {
        let Some(instance) = self.services.instances.get(&serial) else {
            return;
        };
        instance.service.start_stop();
        self.turn(serial, ServiceState::Stopping, None);
    }

    /// Stops the services that nothing needs any more which still runs, if all is to end.
    pub(super) fn close_services(&mut self) {
        if !self.services.closing || self.services.instances.is_empty() {
            return;
        }
        let alive = self.services.instances.values().filter_map(|i| i.task);
        let users: Vec<TaskId> = alive.chain(self.schedule.running()).collect();
        let graph = self.plan.graph();
        let needed = |id: TaskId| users.iter().any(|&user| graph.depends_on(user, id));
        let done: Vec<Serial> = self
            .services
            .instances
            .iter()
            .filter(|(_, instance)| !instance.task.is_some_and(needed))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in done {
            self.stop_instance(serial);
        }
    }

    /// Something that the service `id` needs is red: what there is of it serves on.
    pub(super) fn service_skipped(&mut self, id: TaskId, cause: SkipCause) {
        if let (SkipCause::Dep(_), Some(serial)) = (cause, self.services.serial_of(id)) {
            self.turn(serial, ServiceState::Stale, None);
        }
    }

    /// The service `id` serves what it should, or nothing needs it so far.
    pub(super) fn service_is_fresh(&mut self, id: TaskId) {
        let Some(serial) = self.services.serial_of(id) else {
            let wave = self.wave.get_or_insert_with(Wave::new);
            wave.unneeded.insert(id);
            return;
        };
        self.finished_again(id, Outcome::Fresh);
        if self.services.instances[&serial].state == ServiceState::Stale {
            self.turn(serial, ServiceState::Ready, None);
        }
    }

    /// Takes the instances over into another plan: what it does not have is stopped.
    pub(super) fn replan_services(
        &mut self,
        moved_to: &TaskMap<Option<TaskId>>,
        old: &Plan,
        selection: &Selection,
    ) {
        let mut removed = Vec::new();
        for (&serial, instance) in &mut self.services.instances {
            let Some(before) = instance.task else {
                // It is still on its way out: should the plan have it again, then after that.
                instance.task = self.plan.id(&instance.name);
                instance.outdated = true;
                continue;
            };
            let rests = |id: &TaskId| self.progress[*id].bring.is_none();
            instance.task = moved_to[before].filter(|id| selection.holds(*id) || !rests(id));
            match instance.task {
                Some(id) => {
                    let same = old.task(before).same_definition(self.plan.task(id));
                    instance.outdated |= !same;
                }
                None => removed.push(serial),
            }
        }
        for serial in removed {
            self.stop_instance(serial);
        }
        for instance in self.services.instances.values() {
            if let Some(id) = instance.task {
                self.schedule.set_down(id, !instance.is_up);
            }
        }
    }

    /// Notes what an instance is now, and tells it if that is new.
    pub(super) fn turn(&mut self, serial: Serial, state: ServiceState, pid: Option<u32>) {
        let Some(instance) = self.services.instances.get_mut(&serial) else {
            return;
        };
        let is_told = match instance.state {
            ServiceState::Stopping => true,
            ServiceState::Starting if state == ServiceState::Stale => true,
            now => now == state && state != ServiceState::Starting,
        };
        if is_told {
            return;
        }
        instance.state = state;
        let (name, pid) = (instance.name.clone(), pid.or(instance.service.pid()));
        self.tell_service(name, state, pid);
    }

    pub(super) fn tell_service(
        &mut self,
        service: TaskName,
        state: ServiceState,
        pid: Option<u32>,
    ) {
        (self.observe)(RunEvent::Service {
            service,
            state,
            pid,
        });
    }
}
