//! A command that stays: [`Service`]. Starts it, finds out when it is ready, starts it again by its
//! rule, stops it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::exec::{
    Cancel, Command, Ended, Holder, LineSplitter, Observed, OsExecutor, ReadyRule, RestartPolicy,
    RestartRule, SpawnError, Verdict, port,
};
use crate::outcome::ExitStatus;

/// How many of its last lines a service that is not ready in time shows.
const TAIL_LINES: usize = 20;

/// How long a port may stay taken before a service is not started for it.
const PORT_PATIENCE: Duration = Duration::from_millis(500);

/// What a service is.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// What to run. Its `timeout` should be `None`.
    pub command: Command,
    /// When it is ready.
    pub ready: ReadyRule,
    /// What to do when it ends by itself.
    pub restart: RestartRule,
    /// Where it listens, as `host:port`, if that is known: it is not started again while somebody
    /// else does.
    pub address: Option<String>,
}

/// What happens to a service.
#[derive(Debug)]
pub enum ServiceEvent {
    /// It has been started; the id is that of its first process.
    Starting(u32),
    /// It wrote this.
    Output(Vec<u8>),
    /// It is ready.
    Ready(u32),
    /// It ended by itself; a start may follow.
    Exited(ExitStatus),
    /// It was not ready in time and has been stopped. Its last lines, the oldest first.
    NotReady(Vec<String>),
    /// It ended and is not started again, for somebody else listens at its address now.
    PortTaken(SocketAddr, Holder),
    /// It could not be started. The last event.
    NotStarted(SpawnError),
    /// It ended and its rule says to leave it. The last event.
    Rested,
    /// It failed, and is not started again: it was not ready in time, its port is taken, or it ends
    /// again and again as soon as it is started. The last event.
    Failed,
    /// It was stopped and its process tree is dead. The last event.
    Stopped,
}

/// Why a service could not be started at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Its thread could not be.
    #[error("cannot start a thread for a service")]
    Thread(#[source] io::Error),
}

/// A service that was started. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    cancel: Cancel,
    pid: Arc<AtomicU32>,
    // Guards the thread's handle, which the first stop takes. Held while it ends, so that every
    // stop returns only when the tree is dead.
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Observe = Arc<dyn Fn(ServiceEvent) + Send + Sync>;

impl Service {
    /// Starts it and returns at once. `observe` is called with each event, in order of what
    /// happens, on threads of the service; it must not block for long, nor stop the service.
    ///
    /// # Errors
    /// [`ServiceError`]. That the command cannot be started is an event.
    pub fn start(
        executor: Arc<OsExecutor>,
        options: ServiceOptions,
        observe: impl Fn(ServiceEvent) + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        let (cancel, pid) = (Cancel::new(), Arc::new(AtomicU32::new(0)));
        let keeper = Keeper {
            executor,
            options,
            cancel: cancel.clone(),
            pid: Arc::clone(&pid),
            observe: Arc::new(observe),
        };
        let builder = thread::Builder::new().name("service".to_owned());
        let thread = builder
            .spawn(move || keeper.keep())
            .map_err(ServiceError::Thread)?;
        Ok(Self {
            cancel,
            pid,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits until nobody listens at this `host:port`, as is done before each automatic restart;
    /// where somebody still does after a while, and who. Blocks. `None` also for an address of
    /// another machine. A `cancel` ends the wait.
    pub fn wait_for_port(address: &str, cancel: &Cancel) -> Option<(SocketAddr, Holder)> {
        port::wait_for_host(address, PORT_PATIENCE, cancel)
    }

    /// The id of its first process; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        let pid = self.pid.load(Ordering::Acquire);
        (pid != 0).then_some(pid)
    }

    /// Stops it by its stop signal and grace. Blocks until its process tree is dead.
    pub fn stop(&self) {
        self.cancel.cancel();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic of the thread has been reported where it happened.
            let _panicked = thread.join();
        }
    }

    /// Asks it to stop and returns at once; [`stop`](Self::stop) waits for the end.
    pub fn start_stop(&self) {
        self.cancel.cancel();
    }

    /// Kills it if it has not stopped yet. Returns at once.
    pub fn kill(&self) {
        self.cancel.kill();
    }

    /// Sends `signal` to its process group; it goes on.
    pub fn reload(&self, signal: i32) {
        self.cancel.signal(signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread behind a service.
struct Keeper {
    executor: Arc<OsExecutor>,
    options: ServiceOptions,
    cancel: Cancel,
    pid: Arc<AtomicU32>,
    observe: Observe,
}

/// One life of the service, from a start to its end, as its threads share it.
struct Life {
    /// Set when the question whether it is ready is settled.
    settled: Cancel,
    // Guards what its readiness has come to. Leaf lock, held for one comparison and change.
    state: Mutex<Readiness>,
    // Guards what it wrote. Leaf lock, held while a piece of output is taken, or for one copy.
    text: Mutex<Text>,
}

/// What a service wrote, until it is ready.
#[derive(Default)]
struct Text {
    lines: LineSplitter,
    /// The last lines that have an end, the oldest first.
    tail: VecDeque<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Open,
    Ready,
    Late,
    Ended,
}

impl Keeper {
    fn keep(&self) {
        let mut policy = RestartPolicy::new(self.options.restart);
        let last = loop {
            let life = Life::new();
            let ended = self.live(&life);
            self.pid.store(0, Ordering::Release);
            match ended {
                _ if life.is(Readiness::Late) => {
                    (self.observe)(ServiceEvent::NotReady(life.tail()));
                    break ServiceEvent::Failed;
                }
                Ended::Exited(status) => {
                    (self.observe)(ServiceEvent::Exited(status));
                    match policy.ended(status.is_success(), Instant::now()) {
                        Verdict::Rest => break ServiceEvent::Rested,
                        Verdict::Failing => break ServiceEvent::Failed,
                        Verdict::StartAt(at) => {
                            if let Some(last) = self.wait_to_restart(at) {
                                break last;
                            }
                        }
                    }
                }
                Ended::NotStarted(error) => break ServiceEvent::NotStarted(error),
                Ended::Cancelled | Ended::TimedOut => break ServiceEvent::Stopped,
            }
        };
        (self.observe)(last);
    }

    /// Waits until it may be started again; the last event if it may not.
    fn wait_to_restart(&self, at: Instant) -> Option<ServiceEvent> {
        let delay = at.saturating_duration_since(Instant::now());
        if self.cancel.wait(delay) {
            return Some(ServiceEvent::Stopped);
        }
        let address = self.options.address.as_ref()?;
        let (addr, holder) = Service::wait_for_port(address, &self.cancel)?;
        if self.cancel.is_cancelled() {
            return Some(ServiceEvent::Stopped);
        }
        (self.observe)(ServiceEvent::PortTaken(addr, holder));
        Some(ServiceEvent::Failed)
    }

    /// Runs it once, with a thread beside that finds out when it is ready.
    fn live(&self, life: &Life) -> Ended {
        thread::scope(|scope| {
            let ended =
                self.executor
                    .run_observed(&self.options.command, &self.cancel, &mut |observed| {
                        match observed {
                            Observed::Started(pid) => {
                                self.pid.store(pid, Ordering::Release);
                                (self.observe)(ServiceEvent::Starting(pid));
                                if self.options.ready.is_at_once() {
                                    self.settle(life, Readiness::Ready);
                                } else {
                                    scope.spawn(|| self.probe(life));
                                }
                            }
                            Observed::Output(bytes) => {
                                (self.observe)(ServiceEvent::Output(bytes.to_vec()));
                                self.read(life, bytes);
                            }
                        }
                    });
            self.settle(life, Readiness::Ended);
            ended
        })
    }

    fn probe(&self, life: &Life) {
        let unfinished = || life.unfinished();
        let is_ready = (self.options.ready).wait(&*self.executor, &life.settled, &unfinished);
        self.settle(
            life,
            if is_ready {
                Readiness::Ready
            } else {
                Readiness::Late
            },
        );
    }

    /// Looks for readiness in output. Once it is ready nobody asks for its lines any more.
    fn read(&self, life: &Life, bytes: &[u8]) {
        if life.is(Readiness::Ready) {
            return;
        }
        if life.add(bytes, &self.options.ready) {
            self.settle(life, Readiness::Ready);
        }
    }

    /// The first answer counts.
    fn settle(&self, life: &Life, readiness: Readiness) {
        let is_first = {
            let mut state = life.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = *state == Readiness::Open;
            if is_first {
                *state = readiness;
            }
            is_first
        };
        if !is_first {
            return;
        }
        life.settled.cancel();
        match readiness {
            Readiness::Ready => {
                (self.observe)(ServiceEvent::Ready(self.pid.load(Ordering::Acquire)));
            }
            Readiness::Late => self.cancel.cancel(),
            Readiness::Open | Readiness::Ended => {}
        }
    }
}

impl Life {
    fn new() -> Self {
        Self {
            settled: Cancel::new(),
            state: Mutex::new(Readiness::Open),
            text: Mutex::default(),
        }
    }

    fn is(&self, readiness: Readiness) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == readiness
    }

    /// Takes output; whether a line that it ended makes the service ready.
    fn add(&self, bytes: &[u8], ready: &ReadyRule) -> bool {
        let mut text = self.text();
        let Text { lines, tail } = &mut *text;
        let mut is_match = false;
        lines.push(bytes, |line| {
            let line = String::from_utf8_lossy(line).into_owned();
            is_match = is_match || ready.matches(&line);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        });
        is_match
    }

    /// The line that it is writing.
    fn unfinished(&self) -> String {
        String::from_utf8_lossy(self.text().lines.rest()).into_owned()
    }

    /// Its last lines, also one without an end; the oldest first.
    fn tail(&self) -> Vec<String> {
        let mut tail = self.text().tail.clone();
        let unfinished = self.unfinished();
        if !unfinished.is_empty() {
            tail.push_back(unfinished);
        }
        let surplus = tail.len().saturating_sub(TAIL_LINES);
        tail.drain(..surplus);
        tail.into()
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
