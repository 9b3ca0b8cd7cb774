//! What becomes of a service that is being brought up, and of one that is up.
//!
//! The second half of [`super::services`]: what its instances and the steps around them report.

use std::sync::Arc;
use std::time::Instant;

use super::bring::{self, Brought};
use super::event::{ServiceState, TaskFinished};
use super::lines::Lines;
use super::report::{News, Report, Serial, Urgency};
use super::run::{Driver, Mode};
use super::services::{Bring, Instance};
use super::state::TaskState;
use super::tell::describe;
use crate::exec::{Cancel, ServiceEvent};
use crate::outcome::{ExitStatus, Outcome};
use crate::state::{Examined, Ran};
use crate::task_id::TaskId;

impl Driver {
    /// What came of the steps around a start.
    pub(super) fn brought(&mut self, id: TaskId, brought: Brought) {
        match (self.progress[id].bring, brought) {
            (Some(Bring::Port), Brought::Begun(examined)) => self.begun(id, *examined),
            (Some(Bring::Port), Brought::Refused(examined, reason)) => {
                self.progress[id].examined = Some(Arc::new(*examined));
                let name = self.plan.name(id).clone();
                self.tell_service(name, ServiceState::Failed, None);
                self.not_brought_up(id, reason, None, Instant::now());
            }
            (Some(Bring::Noted(serial)), Brought::Noted) => self.up(id, serial),
            (_, _) => {}
        }
    }

    fn begun(&mut self, id: TaskId, examined: Examined) {
        let key = *examined.key();
        let started = Instant::now();
        self.progress[id].examined = Some(Arc::new(examined));
        if self.is_cancelled(id) {
            return self.bringing_cancelled(id, started);
        }
        let serial = self.unowned_serial();
        let send = Arc::clone(&self.send);
        let observe = move |event| {
            send(Report::new(serial, News::Service(event), Urgency::Urgent));
        };
        match bring::start(&self.ports, self.plan.task(id), observe) {
            Ok(service) => {
                let name = self.plan.name(id).clone();
                let instance = Instance::new(id, name, service, key);
                self.services.instances.insert(serial, instance);
                self.progress[id].bring = Some(Bring::Ready(serial));
            }
            Err(reason) => self.not_brought_up(id, reason, None, started),
        }
    }

    /// Takes what happened to an instance.
    pub(super) fn service_event(&mut self, serial: Serial, event: ServiceEvent) {
        let Some(instance) = self.services.instances.get_mut(&serial) else {
            return;
        };
        match event {
            ServiceEvent::Starting(pid) => self.turn(serial, ServiceState::Starting, Some(pid)),
            ServiceEvent::Output(bytes) => {
                let mut lines = Lines::default();
                instance.lines.push(&bytes, |line| lines.push(line));
                let name = instance.name.clone();
                self.say_lines(&name, &lines);
            }
            ServiceEvent::Ready(pid) => {
                instance.is_up = true;
                self.turn(serial, ServiceState::Ready, Some(pid));
                self.became_ready(serial);
            }
            ServiceEvent::Exited(status) => self.exited(serial, status),
            ServiceEvent::NotReady(tail) => instance.trouble = Some(bring::not_ready(&tail)),
            ServiceEvent::PortTaken(addr, holder) => {
                instance.trouble = Some(bring::port_taken(addr, &holder));
            }
            ServiceEvent::NotStarted(error) => {
                let hint = error.hint().map(|hint| format!(" (hint: {hint})"));
                let trouble = format!("{}{}", describe(&error), hint.unwrap_or_default());
                instance.trouble = Some(trouble);
                self.gone(serial, ServiceState::Failed);
            }
            ServiceEvent::Failed => self.gone(serial, ServiceState::Failed),
            ServiceEvent::Rested => {
                let succeeded = instance.status.is_none_or(ExitStatus::is_success);
                let end = if succeeded {
                    ServiceState::Stopped
                } else {
                    ServiceState::Failed
                };
                self.gone(serial, end);
            }
            ServiceEvent::Stopped => self.gone(serial, ServiceState::Stopped),
        }
    }

    /// The process of an instance ended by itself; another start may follow.
    fn exited(&mut self, serial: Serial, status: ExitStatus) {
        let Some(instance) = self.services.instances.get_mut(&serial) else {
            return;
        };
        instance.status = Some(status);
        let was_up = std::mem::take(&mut instance.is_up);
        let serves = matches!(instance.state, ServiceState::Ready | ServiceState::Stale);
        let message = format!("service `{}` ended with {status}", instance.name);
        if let Some(id) = instance.task.filter(|_| was_up) {
            self.recall();
            self.schedule.set_down(id, true);
        }
        if serves {
            self.warn("service", message, None);
        }
    }

    fn became_ready(&mut self, serial: Serial) {
        let Some(id) = self.services.instances[&serial].task else {
            return;
        };
        self.schedule.set_down(id, false);
        if self.progress[id].bring == Some(Bring::Ready(serial)) {
            self.note_ready(id, serial);
        } else if let TaskState::Skipped(cause) = self.schedule.state(id) {
            self.service_skipped(id, cause);
        }
    }

    pub(super) fn note_ready(&mut self, id: TaskId, serial: Serial) {
        self.progress[id].bring = Some(Bring::Noted(serial));
        let examined = self.progress[id].examined();
        let assignment = self.assignment(id, self.products_of(id));
        let duration = self.services.instances[&serial].started.elapsed();
        let ran = Ran {
            duration,
            attempts: 1,
        };
        self.launch(id, move |ports| {
            bring::note(ports, &assignment, &examined, ran);
            News::Brought(Brought::Noted)
        });
    }

    /// The service `id` is ready, and that is recorded.
    fn up(&mut self, id: TaskId, serial: Serial) {
        self.progress[id].bring = None;
        let took = self
            .services
            .instances
            .get(&serial)
            .map(|instance| instance.started.elapsed());
        if self.is_cancelled(id) {
            return self.bringing_cancelled(id, Instant::now());
        }
        let is_up = |instance: &Instance| instance.is_up;
        if self.services.instances.get(&serial).is_some_and(is_up) {
            self.turn(serial, ServiceState::Ready, None);
        }
        let key = *self.progress[id].examined().key();
        self.progress[id].product = Some(key);
        self.progress[id].rests();
        let done = self.finish_of(id, Outcome::Done, took.unwrap_or_default());
        self.finished(id, done);
        self.ended(id, Outcome::Done, false);
    }

    /// The tree of an instance is dead.
    fn gone(&mut self, serial: Serial, end: ServiceState) {
        let Some(mut instance) = self.services.instances.remove(&serial) else {
            return;
        };
        let rest = instance.lines.take_rest();
        let name = instance.name.clone();
        self.say_lines(&name, &rest.iter().map(Vec::as_slice).collect());
        let was_told = instance.state == ServiceState::Stopping;
        self.tell_service(name, end, None);
        let Some(id) = instance.task else { return };
        let status = instance.status;
        let trouble = instance.trouble.take();
        let started = instance.started;
        self.schedule.set_down(id, false);
        match self.progress[id].bring {
            Some(Bring::OldEnds) if self.is_cancelled(id) => self.bringing_cancelled(id, started),
            Some(Bring::OldEnds) => self.free_port(id),
            Some(Bring::Ready(own)) if own == serial => {
                if was_told || self.is_cancelled(id) {
                    return self.bringing_cancelled(id, started);
                }
                let reason = trouble.unwrap_or_else(|| bring::ended_early(status));
                self.not_brought_up(id, reason, status, started);
            }
            // It was up, and that is still being recorded.
            Some(Bring::Noted(own)) if own == serial && end == ServiceState::Failed => {
                let reason = trouble.unwrap_or_else(|| self.why_ended(id, status));
                self.not_brought_up(id, reason, status, started);
            }
            Some(Bring::Noted(own)) if own == serial => {
                self.up(id, serial);
                self.ended_by_itself(id, &instance, end, trouble);
            }
            Some(_) => {}
            // Told to stop, but it had failed by then.
            None if was_told && end != ServiceState::Failed => {}
            None => self.ended_by_itself(id, &instance, end, trouble),
        }
    }

    /// A service that was up is not any more, and is not started again by itself.
    fn ended_by_itself(
        &mut self,
        id: TaskId,
        instance: &Instance,
        end: ServiceState,
        trouble: Option<String>,
    ) {
        let outcome = if end == ServiceState::Failed {
            Outcome::Failed
        } else {
            Outcome::Done
        };
        if self.options.mode == Mode::Watching {
            self.progress[id].settled = Some((instance.key, outcome));
        }
        if outcome == Outcome::Failed && self.schedule.lost(id) {
            self.announce(&[id]);
            let reason = trouble.unwrap_or_else(|| self.why_ended(id, instance.status));
            let mut failed = TaskFinished::without_process(0, &instance.name, outcome);
            failed.reason = Some(reason);
            self.finished(id, failed);
        }
    }

    fn why_ended(&self, id: TaskId, status: Option<ExitStatus>) -> String {
        bring::ended_for_good(self.plan.task(id), status)
    }

    pub(super) fn not_brought_up(
        &mut self,
        id: TaskId,
        reason: String,
        status: Option<ExitStatus>,
        started: Instant,
    ) {
        let took = started.elapsed();
        let examined = self.progress[id].examined();
        let ran = Ran {
            duration: took,
            attempts: 1,
        };
        self.ports.engine.failed(&examined, status, ran, None);
        let progress = &mut self.progress[id];
        progress.bring = None;
        progress.product = Some(*examined.key());
        if self.options.mode == Mode::Watching {
            progress.settled = Some((*examined.key(), Outcome::Failed));
        }
        let mut failed = self.finish_of(id, Outcome::Failed, took);
        if let Some(status) = status {
            failed.set_status(status);
        }
        failed.reason = Some(reason);
        self.finished(id, failed);
        self.ended(id, Outcome::Failed, false);
    }

    fn bringing_cancelled(&mut self, id: TaskId, started: Instant) {
        self.progress[id].bring = None;
        let finished = self.finish_of(id, Outcome::Cancelled, started.elapsed());
        self.finished(id, finished);
        self.ended(id, Outcome::Cancelled, false);
    }

    fn is_cancelled(&self, id: TaskId) -> bool {
        let cancel = self.progress[id].cancel.as_ref();
        cancel.is_some_and(Cancel::is_cancelled)
    }
}
