//! How the work of a task gets to a thread: on the pool for commands, on the global pool, on a
//! thread of its own, or taken by a thread itself, see [`super::ahead`].

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::ahead::{Called, Job, OFFERS_MAX, Offer, Over};
use super::report::{News, REPORT_DELAY_MAX, Report, Serial, Urgency};
use super::run::{Driver, Mode};
use super::step::{self, Ports, Prepared};
use crate::exec::Cancel;
use crate::outcome::Outcome;
use crate::parallel;
use crate::state::Ran;
use crate::task_id::TaskId;

impl Driver {
    /// What the schedule started.
    pub(super) fn start(&mut self, id: TaskId) {
        if self.is_service(id) {
            return self.bring_up(id);
        }
        if self.options.mode == Mode::Watching
            && let Some(endless) = self.progress[id].rush.start(Instant::now())
        {
            let reason = self.warn_of_endless_starts(id, endless);
            return self.refused(id, reason);
        }
        let (serial, job) = match self.ahead.call(id) {
            Called::Taken(serial) => (serial, None),
            Called::Untaken(offer) => (offer.serial, Some(offer.job)),
            Called::Unknown => {
                let offer = self.offer_of(id);
                (offer.serial, Some(offer.job))
            }
        };
        self.flights.insert(serial, Some(id));
        if let Some(job) = job {
            self.spawn(job);
        }
    }

    /// One thread prepares the task and runs it, unless the store may have its result or another
    /// process has the task.
    fn offer_of(&mut self, id: TaskId) -> Offer {
        let progress = &mut self.progress[id];
        progress.attempt = 1;
        let cancel = progress.cancel.insert(Cancel::new()).clone();
        let start = progress.kind_of_start();
        let examined = progress.examined();
        let is_poised = progress.poise.is_some();
        let assignment = self.assignment(id, self.products_of(id));
        let serial = self.unowned_serial();
        let job = self.job(id, serial, move |ports, report| {
            match step::prepare(ports, &assignment, &examined, start) {
                // The terminal is made ready for a task that owns it by who hears of its start.
                Prepared::Run(errand, lock) if !assignment.owns_terminal() && !is_poised => {
                    report(News::Started(lock));
                    let mut lines = |lines| report(News::Output(lines));
                    let executed = step::execute(ports, &errand.commands, &cancel, &mut lines);
                    if executed.has_succeeded() && assignment.is_light(ports) {
                        let ran = Ran {
                            duration: executed.took,
                            attempts: 1,
                        };
                        let (examined, log) = (&errand.examined, &executed.log);
                        let finished = step::finish(ports, &assignment, examined, ran, log);
                        return News::Finished(ran.duration, finished);
                    }
                    News::Executed(errand, executed)
                }
                prepared => News::Prepared(Box::new(Ok(prepared))),
            }
        });
        Offer { id, serial, job }
    }

    /// Notes what threads have started by themselves.
    pub(super) fn look_who_started(&mut self) {
        let taken = self.ahead.taken();
        self.note_started(taken);
    }

    /// Takes back what threads could start by themselves.
    pub(super) fn recall(&mut self) {
        let taken = self.ahead.recall();
        self.note_started(taken);
    }

    fn note_started(&mut self, taken: Vec<(TaskId, Serial)>) {
        for (id, serial) in taken {
            self.schedule.started_ahead(id);
            self.flights.insert(serial, Some(id));
        }
    }

    /// Offers what comes next to the threads that run commands. Only in a run that nothing changes.
    pub(super) fn look_ahead(&mut self) {
        if self.options.mode == Mode::Watching {
            return;
        }
        let (n_offered, seen) = (self.ahead.len(), self.schedule.n_readied());
        if n_offered > OFFERS_MAX / 2 && seen == self.looked_ahead {
            return;
        }
        self.looked_ahead = seen;
        let (taken, offered) = self.ahead.look();
        self.note_started(taken);
        let next = self.schedule.next_ahead(OFFERS_MAX);
        let Some(more) = next.strip_prefix(&offered[..]) else {
            // Something more urgent has turned up. What it is, is asked again: meanwhile a thread
            // may have taken a task.
            self.recall();
            return self.offer(&self.schedule.next_ahead(OFFERS_MAX));
        };
        // A few at a time: each offer costs as much.
        if offered.is_empty() || more.len() >= OFFERS_MAX / 2 {
            self.offer(more);
        }
    }

    fn offer(&mut self, ids: &[TaskId]) {
        if ids.is_empty() || !self.schedule.is_just_full() {
            return;
        }
        for &id in ids {
            let offer = self.offer_of(id);
            self.ahead.offer(offer);
        }
        self.listen();
    }

    /// Reports may come now that nobody is woken for.
    pub(super) fn listen(&mut self) {
        self.listening = Some(Instant::now() + REPORT_DELAY_MAX);
    }

    /// Another process runs `id`: goes on when that is over.
    pub(super) fn wait_for_other(&mut self, id: TaskId) {
        let message = format!("task `{}` waits for another watchrun", self.plan.name(id));
        self.warn("waiting", message, None);
        let start = self.progress[id].kind_of_start();
        let cancel = self.progress[id].cancel.clone().unwrap_or_default();
        let assignment = self.assignment(id, self.products_of(id));
        let serial = self.next_serial(id);
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        // Not on a pool: a thread there that waits for long is missed by others.
        let wait = move || {
            let prepared = step::prepare_after_wait(&ports, &assignment, start, &cancel);
            let news = News::Prepared(Box::new(prepared));
            send(Report::new(serial, news, Urgency::Urgent));
        };
        let thread = thread::Builder::new().name("lock".to_owned());
        // Detached: its report is waited for, and it ends with that.
        if let Err(error) = thread.spawn(wait).map(drop) {
            self.flights.remove(&serial);
            self.finished_with(id, Outcome::Failed, error.to_string());
            self.ended(id, Outcome::Failed, false);
        }
    }

    /// Runs `step` on the global pool and sends what it gives.
    pub(super) fn launch(
        &mut self,
        id: TaskId,
        step: impl FnOnce(&Ports) -> News + std::marker::Send + 'static,
    ) {
        let serial = self.next_serial(id);
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        parallel::spawn(move || {
            send(Report::new(serial, step(&ports), Urgency::Urgent));
        });
    }

    /// Runs `step` on the pool for commands and sends what it reports on its way, and what it
    /// gives. Only for a running task: its slot stands for a thread, which is free or about to be.
    pub(super) fn launch_job(
        &mut self,
        id: TaskId,
        step: impl FnOnce(&Ports, &dyn Fn(News)) -> News + std::marker::Send + 'static,
    ) {
        let serial = self.next_serial(id);
        let job = self.job(id, serial, step);
        self.spawn(job);
    }

    fn job(
        &self,
        id: TaskId,
        serial: Serial,
        step: impl FnOnce(&Ports, &dyn Fn(News)) -> News + std::marker::Send + 'static,
    ) -> Job {
        let (ports, send) = (Arc::clone(&self.ports), Arc::clone(&self.send));
        let is_awaited = self.plan.graph().is_awaited(id);
        Job::new(move |ahead| {
            let report = |news: News| {
                let urgency = match news {
                    News::Started(_) => Urgency::CanWait,
                    _ => Urgency::Urgent,
                };
                send(Report::new(serial, news, urgency));
            };
            let news = step(&ports, &report);
            let over = match news.is_good() {
                false => Over::Badly,
                true if is_awaited => Over::Awaited,
                true => Over::Well,
            };
            let next = ahead.next(over);
            let urgency = match next {
                Some(_) => Urgency::CanWait,
                None => Urgency::Urgent,
            };
            send(Report::new(serial, news, urgency));
            next
        })
    }

    fn spawn(&mut self, job: Job) {
        let ahead = Arc::clone(&self.ahead);
        self.pool.spawn(move || job.run(&ahead));
        self.listen();
    }

    pub(super) fn next_serial(&mut self, id: TaskId) -> Serial {
        let serial = self.unowned_serial();
        self.flights.insert(serial, Some(id));
        serial
    }

    /// A serial of what is not in flight, but stays.
    pub(super) fn unowned_serial(&mut self) -> Serial {
        self.last_serial += 1;
        Serial(self.last_serial)
    }
}
