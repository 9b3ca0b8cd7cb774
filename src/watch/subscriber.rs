//! What waits for one handle: [`Subscriber`], change sets and warnings on their way out.
//!
//! The processor puts sets in and never waits; `next` takes them out, and a thread of its own
//! calls the handlers. Where nobody takes them, sets are merged: nothing is lost, and what waits
//! is bounded by the paths that differ.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::change::ChangeSet;
use crate::watch::error::{ErrorClass, ProcessingError};
use crate::watch::handler::{Filter, HandlerId, HandlerRegistry, OnChanges, OnWarning};
use crate::watch::merge::merge;
use crate::watch::metrics::WatchMetrics;
use crate::watch::warning::Warning;

use std::sync::atomic::Ordering::Relaxed;

/// How many sets wait one by one before some are merged.
const SETS_MAX: usize = 64;
/// How many warnings are kept; the oldest go first.
const WARNINGS_MAX: usize = 1_000;

/// One consumer of a watch.
#[derive(Debug)]
pub(crate) struct Subscriber {
    // Guards what waits. Leaf lock, held for one push, one take or one merge; never while a
    // handler runs.
    state: Mutex<State>,
    /// Something for `next`, or for the delivery thread, or it has ended.
    changed: Condvar,
    registry: HandlerRegistry,
    metrics: Arc<WatchMetrics>,
}

#[derive(Debug, Default)]
struct State {
    /// For `next`.
    pulled: Lane,
    /// For handlers.
    pushed: Lane,
    warnings: VecDeque<Warning>,
    pushed_warnings: VecDeque<Warning>,
    /// Once somebody has called `next`, sets are kept for it even if there are handlers.
    pulls: bool,
    has_handlers: bool,
    paused: bool,
    end: Option<End>,
    /// The id of the last set put in, and of the last one that handlers are done with.
    put: u64,
    handled: u64,
    thread: Option<JoinHandle<()>>,
    thread_id: Option<ThreadId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Stopped(ProcessingError),
}

/// Sets in order; neighbours merge when there are too many.
#[derive(Debug, Default)]
struct Lane(VecDeque<Arc<ChangeSet>>);

impl Lane {
    fn push(&mut self, set: &Arc<ChangeSet>) {
        self.0.push_back(Arc::clone(set));
        if self.0.len() <= SETS_MAX {
            return;
        }
        // The smallest neighbours, so that a large set is not copied for each small one.
        let size = |at: usize| self.0[at].changes.len() + self.0[at + 1].changes.len();
        let Some(at) = (0..self.0.len() - 1).min_by_key(|&at| size(at)) else {
            return;
        };
        let merged = merge(&self.0[at], &self.0[at + 1]);
        self.0.remove(at + 1);
        if merged.changes.is_empty() {
            self.0.remove(at);
        } else {
            self.0[at] = Arc::new(merged);
        }
    }

    /// Makes one set of all, for who was paused.
    fn merge_all(&mut self) {
        let mut sets = std::mem::take(&mut self.0).into_iter();
        let Some(first) = sets.next() else {
            return;
        };
        let merged = sets.fold(first, |all, set| Arc::new(merge(&all, &set)));
        if !merged.changes.is_empty() {
            self.0.push_back(merged);
        }
    }
}

impl Subscriber {
    pub(crate) fn new(metrics: Arc<WatchMetrics>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            registry: HandlerRegistry::default(),
            metrics,
        }
    }

    /// Takes a set in. Never waits for anybody.
    pub(crate) fn put(&self, set: &Arc<ChangeSet>) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.put = set.id;
        if state.has_handlers {
            state.pushed.push(set);
        }
        if state.pulls || !state.has_handlers {
            state.pulled.push(set);
        }
        self.changed.notify_all();
    }

    /// Takes a warning in.
    pub(crate) fn put_warning(&self, warning: &Warning) {
        let mut state = self.lock();
        for list in [true, false] {
            if list && !state.has_handlers {
                continue;
            }
            let list = if list {
                &mut state.pushed_warnings
            } else {
                &mut state.warnings
            };
            if list.len() == WARNINGS_MAX {
                list.pop_front();
            }
            list.push_back(warning.clone());
        }
        self.changed.notify_all();
    }

    /// Ends it from the processor's side: `next` fails once what waits has been taken.
    pub(crate) fn stop(&self, error: ProcessingError) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Stopped(error));
        self.changed.notify_all();
    }

    /// The next set, waiting for it up to `timeout`.
    pub(crate) fn next(
        &self,
        timeout: Duration,
    ) -> Result<Option<Arc<ChangeSet>>, ProcessingError> {
        let mut state = self.lock();
        state.pulls = true;
        let waiting =
            |state: &mut State| (state.paused || state.pulled.0.is_empty()) && state.end.is_none();
        let waited = self.changed.wait_timeout_while(state, timeout, waiting);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.end == Some(End::Closed) {
            return Err(ProcessingError::Closed);
        }
        if !state.paused
            && let Some(set) = state.pulled.0.pop_front()
        {
            return Ok(Some(set));
        }
        match &state.end {
            Some(End::Stopped(error)) => Err(error.clone()),
            Some(End::Closed) | None => Ok(None),
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<Warning> {
        self.lock().warnings.drain(..).collect()
    }

    pub(crate) fn on(self: &Arc<Self>, filter: Filter, handler: OnChanges) -> HandlerId {
        let id = self.registry.add(filter, handler);
        self.start_delivery();
        id
    }

    pub(crate) fn on_warning(self: &Arc<Self>, handler: OnWarning) -> HandlerId {
        let id = self.registry.add_warning(handler);
        self.start_delivery();
        id
    }

    pub(crate) fn off(&self, id: HandlerId) -> bool {
        self.registry.remove(id)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        let mut state = self.lock();
        if state.paused && !paused {
            state.pulled.merge_all();
            state.pushed.merge_all();
        }
        state.paused = paused;
        self.changed.notify_all();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Waits until handlers are done with every set up to `id`, or for `timeout`. Returns at once
    /// when called by a handler, or while paused.
    pub(crate) fn wait_handled(&self, id: u64, timeout: Duration) -> bool {
        let state = self.lock();
        let own = state.thread_id == Some(thread::current().id());
        if own || !state.has_handlers || state.paused {
            return true;
        }
        let behind = |state: &mut State| {
            state.handled < id.min(state.put) && state.end.is_none() && !state.paused
        };
        let waited = self.changed.wait_timeout_while(state, timeout, behind);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Ends it from the user's side. No handler runs after this returns, except the one that
    /// called it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.end = Some(End::Closed);
        self.changed.notify_all();
        let own = state.thread_id == Some(thread::current().id());
        let thread = state.thread.take();
        drop(state);
        if !own && let Some(thread) = thread {
            // Its panics have been caught; there is nothing to learn from the result.
            drop(thread.join());
        }
    }

    fn start_delivery(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.has_handlers || state.end.is_some() {
            return;
        }
        state.has_handlers = true;
        // Warnings from before the first handler.
        state.pushed_warnings = state.warnings.iter().cloned().collect();
        if !state.pulls {
            state.pushed = std::mem::take(&mut state.pulled);
        }
        let own = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("watchrun-handlers".to_owned())
            .spawn(move || own.deliver());
        if let Ok(thread) = thread {
            state.thread_id = Some(thread.thread().id());
            state.thread = Some(thread);
        } else {
            state.has_handlers = false;
        }
    }

    /// The delivery thread: one handler at a time, sets in order.
    fn deliver(&self) {
        loop {
            let idle = |state: &mut State| {
                let sets = state.paused || state.pushed.0.is_empty();
                sets && state.pushed_warnings.is_empty() && state.end.is_none()
            };
            let waited = self.changed.wait_while(self.lock(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.end == Some(End::Closed) {
                return;
            }
            let warning = state.pushed_warnings.pop_front();
            let set = match (&warning, state.paused) {
                (None, false) => state.pushed.0.pop_front(),
                _ => None,
            };
            if warning.is_none() && set.is_none() && state.end.is_some() {
                return;
            }
            drop(state);
            if let Some(warning) = warning {
                let failures = self.registry.dispatch_warning(&warning);
                self.count_failures(failures.len());
            }
            if let Some(set) = set {
                let failures = self.registry.dispatch(&set);
                self.count_failures(failures.len());
                for problem in failures {
                    self.put_warning(&Warning::HandlerFailed { problem });
                }
                self.lock().handled = set.id;
                self.changed.notify_all();
            }
        }
    }

    fn count_failures(&self, n: usize) {
        self.metrics.handler_errors.fetch_add(n as u64, Relaxed);
        for _ in 0..n {
            self.metrics.count_error(ErrorClass::Degraded);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
