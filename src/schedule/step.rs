//! The steps of one task that take time: [`examine`], [`prepare`], [`execute`], [`finish`].
//!
//! Each runs on a pool thread, borrows the shared [`Ports`], and gives a value that the
//! coordinator turns into the next decision. Knows nothing of other tasks.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::command;
use super::lineage::Lineage;
use super::lines::Lines;
use super::tokens::JobTokens;
use super::view::{FileView, Files};
use crate::digest::Digest;
use crate::disk::DiskLock;
use crate::exec::{Cancel, Command, Ended, Executor, LineSplitter, OsExecutor, Spool};
use crate::outcome::ExitStatus;
use crate::path::{RelPath, Root};
use crate::pattern::{Pattern, PatternSet};
use crate::plan::Plan;
use crate::state::{
    Changed, Demand, Engine, Examined, Finished, Locked, Moved, Ran, Restored, Start, StateError,
    Subject, ToolProbe, Verdict,
};
use crate::task_id::{TaskId, TaskName};
use crate::watchfile::{Inputs, Task, Terminal};

/// Output of one task that is kept in memory; what is longer goes to a file.
const LOG_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// How often a lock that another process holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// What every step works with.
pub struct Ports {
    /// The root of the project.
    pub root: Root,
    /// What is up to date.
    pub engine: Engine<'static>,
    /// What runs commands.
    pub executor: Arc<dyn Executor>,
    /// What services are run by.
    pub processes: Arc<OsExecutor>,
    /// Which files there are.
    pub files: Arc<dyn FileView>,
    /// The variables that commands inherit.
    pub environment: Vec<(OsString, OsString)>,
    /// The tasks that all this runs inside of.
    pub lineage: Lineage,
    /// What commands share their jobs by.
    pub tokens: JobTokens,
    /// Where output that is too long for memory goes.
    pub spill_dir: PathBuf,
    /// What has been warned of.
    pub said: Said,
}

/// Messages that are worth saying once.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashSet<String>>);

impl Said {
    /// Whether `message` is new. It is not, from now on.
    pub fn insert(&self, message: &str) -> bool {
        // Leaf lock, held for one insertion.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(message.to_owned())
    }
}

/// One task, with what its steps need to know.
#[derive(Clone)]
pub(super) struct Assignment {
    pub(super) plan: Arc<Plan>,
    pub(super) id: TaskId,
    /// The products of its direct deps.
    pub(super) deps: Arc<[(TaskName, Digest)]>,
    pub(super) demand: Demand,
    pub(super) probes: Arc<Probes>,
    /// The version of the files that the engine saw when it looked at the task last, if it is
    /// known which that was.
    pub(super) seen: Option<u64>,
}

impl Assignment {
    pub(super) fn task(&self) -> &Task {
        self.plan.task(self.id)
    }

    fn subject<'a>(
        &'a self,
        ports: &'a Ports,
        files: &'a Files,
        tools: &'a [ToolProbe],
        changed: Option<&'a [RelPath]>,
    ) -> Subject<'a> {
        Subject {
            task: self.task(),
            files: &*files.listing,
            ignored: &files.ignored,
            produced: self.plan.triggers().outputs(),
            deps: &self.deps,
            environment: &ports.environment,
            tools,
            changed: changed.map_or(Changed::Unknown, Changed::Only),
            demand: self.demand,
        }
    }

    /// What changed since the engine looked at the task last, as far as that is known.
    fn changed(&self, ports: &Ports) -> Option<Vec<RelPath>> {
        ports.files.changed_since(self.seen?)
    }

    pub(super) fn owns_terminal(&self) -> bool {
        self.task().terminal == Terminal::Owned
    }

    /// Whether its end is recorded so quickly that the thread that ran it may do it by itself.
    pub(super) fn is_light(&self, ports: &Ports) -> bool {
        self.task().outputs.is_empty() && ports.files.is_small()
    }

    /// Whether nothing has to be looked at on disk to examine it but the notes on its last run.
    pub(super) fn reads_no_file(&self) -> bool {
        let task = self.task();
        let has_inputs = match &task.inputs {
            Inputs::Everything => true,
            Inputs::Patterns(set) => !set.is_empty(),
        };
        !has_inputs && task.outputs.is_empty() && task.tools.is_empty()
    }

    fn wanted(&self) -> PatternSet {
        match &self.task().inputs {
            Inputs::Everything => PatternSet::new(vec![Pattern::everything()]),
            Inputs::Patterns(set) => set.clone(),
        }
    }

    fn files_now(&self, ports: &Ports) -> Arc<Files> {
        match &self.task().inputs {
            Inputs::Patterns(set) if set.is_empty() => Arc::new(Files::none()),
            _ => ports.files.now(&self.wanted()),
        }
    }
}

/// What tools printed, each asked once in a run.
#[derive(Debug, Default)]
pub(super) struct Probes {
    // Guards which tools were asked. Leaf lock, held for one look-up or one insertion, never while
    // a tool runs.
    known: Mutex<Vec<(Command, Answer)>>,
    /// Stops those that run.
    pub(super) cancel: Cancel,
}

/// What one tool printed, or will have when whoever asked first has the answer.
type Answer = Arc<OnceLock<Printed>>;

/// What a tool printed and how it ended.
#[derive(Clone, Debug)]
struct Printed {
    digest: Digest,
    failure: Option<String>,
}

impl Probes {
    /// The answers of the tools of one task. Blocks while they run.
    fn of(&self, ports: &Ports, assignment: &Assignment) -> Vec<ToolProbe> {
        let task = assignment.task();
        let probe = |line: &String| {
            let command = command::probe(task, &ports.root, line);
            let answer = self.answer(&command);
            let printed = answer.get_or_init(|| ask(ports, &command, &self.cancel));
            ToolProbe {
                command: line.clone(),
                output: printed.digest,
                failure: printed.failure.clone(),
            }
        };
        task.tools.iter().map(probe).collect()
    }

    fn answer(&self, command: &Command) -> Answer {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = known.iter().find(|(asked, _)| asked == command) {
            return Arc::clone(answer);
        }
        let answer = Answer::default();
        known.push((command.clone(), Arc::clone(&answer)));
        answer
    }
}

fn ask(ports: &Ports, command: &Command, cancel: &Cancel) -> Printed {
    let mut printed = Vec::new();
    let ended = ports.executor.run(command, cancel, &mut |bytes| {
        printed.extend_from_slice(bytes);
    });
    // How it ended counts too: a tool that is gone is not one that prints nothing.
    printed.extend_from_slice(format!("\0{ended:?}").as_bytes());
    let failure = match ended {
        Ended::Exited(status) if status.is_success() => None,
        Ended::Exited(status) => Some(format!("failed: {status}")),
        Ended::TimedOut => Some("timed out".to_owned()),
        Ended::Cancelled => Some("was cancelled".to_owned()),
        Ended::NotStarted(error) => Some(format!("cannot be asked: {error}")),
    };
    Printed {
        digest: Digest::of(&printed),
        failure,
    }
}

/// Is it stale?
pub(super) fn examine(ports: &Ports, assignment: &Assignment) -> Look {
    let files = assignment.files_now(ports);
    let tools = assignment.probes.of(ports, assignment);
    let changed = assignment.changed(ports);
    let subject = assignment.subject(ports, &files, &tools, changed.as_deref());
    Look {
        version: files.version,
        result: ports.engine.examine(&subject),
    }
}

/// Reads the inputs of a task that has many into memory, for later changes; `examined` is how it
/// was found last.
pub(super) fn prepare_inputs(ports: &Ports, assignment: &Assignment, examined: &Examined) {
    let files = assignment.files_now(ports);
    let tools = examined.tools();
    let subject = assignment.subject(ports, &files, &tools, None);
    // What cannot be read now is looked at, and told of, when the task is.
    drop(ports.engine.prepare_if_large(&subject));
}

/// What a look at a task gave.
pub(super) struct Look {
    /// The version of the files that was looked at.
    pub(super) version: u64,
    pub(super) result: Result<Examined, StateError>,
}

/// What to do about a stale task that has its turn.
pub(super) enum Prepared {
    /// Nothing: somebody else has done it while this waited for them.
    Fresh(Box<Examined>),
    /// Nothing: the store had its result.
    Restored(Restored),
    /// This, under this lock.
    Run(Errand, Option<DiskLock>),
    /// Nothing yet: the store may have its result, see [`restore_or_run`].
    Stored(Option<DiskLock>),
    /// Nothing yet: another process has done it since it was looked at, see [`look_again`].
    Overtaken(Option<DiskLock>),
    /// Nothing yet: another process runs the same task.
    Busy,
    /// Nothing: it was stopped while it waited for that process.
    Cancelled,
    /// Nothing: it must not run, for this reason.
    Refused(String),
}

/// What a run of a task consists of. It goes with whoever carries it out.
pub(super) struct Errand {
    /// What it is recorded against.
    pub(super) examined: Arc<Examined>,
    pub(super) commands: Vec<Command>,
}

/// Says what to run. Does not wait for another process that runs the same task, and reads no more
/// than notes, so that the thread of a job can do it.
pub(super) fn prepare(
    ports: &Ports,
    assignment: &Assignment,
    examined: &Examined,
    start: Start,
) -> Prepared {
    let task = assignment.task();
    if let Some(reason) = ports.lineage.objection(&task.name) {
        return Prepared::Refused(reason);
    }
    let lock = match ports.engine.try_lock(&task.name) {
        Locked::Held(lock) => Some(lock),
        Locked::Impossible => None,
        Locked::Busy => return Prepared::Busy,
    };
    if ports.engine.is_overtaken(examined) {
        return Prepared::Overtaken(lock);
    }
    if ports.engine.is_stored(examined, task, assignment.demand) {
        return Prepared::Stored(lock);
    }
    errand(ports, assignment, examined, start, lock)
}

/// As [`prepare`], after a wait for the other process. Blocks until that has ended or `cancel` is
/// set; on a thread of its own.
pub(super) fn prepare_after_wait(
    ports: &Ports,
    assignment: &Assignment,
    start: Start,
    cancel: &Cancel,
) -> Result<Prepared, StateError> {
    let lock = loop {
        match ports.engine.try_lock(&assignment.task().name) {
            Locked::Held(lock) => break Some(lock),
            Locked::Impossible => break None,
            Locked::Busy if cancel.wait(LOCK_INTERVAL) => return Ok(Prepared::Cancelled),
            Locked::Busy => {}
        }
    };
    look_again(ports, assignment, start, lock)
}

/// Examines the task once more, and says what to do. The caller holds `lock`.
pub(super) fn look_again(
    ports: &Ports,
    assignment: &Assignment,
    start: Start,
    lock: Option<DiskLock>,
) -> Result<Prepared, StateError> {
    ports.files.settle();
    let examined = examine(ports, assignment).result?;
    if *examined.verdict() == Verdict::Fresh {
        return Ok(Prepared::Fresh(Box::new(examined)));
    }
    restore_or_run(ports, assignment, &examined, start, lock)
}

/// Takes the result from the store, or says what to run. The caller holds `lock`.
pub(super) fn restore_or_run(
    ports: &Ports,
    assignment: &Assignment,
    examined: &Examined,
    start: Start,
    lock: Option<DiskLock>,
) -> Result<Prepared, StateError> {
    let nothing = Files::none();
    let tools = assignment.probes.of(ports, assignment);
    let subject = assignment.subject(ports, &nothing, &tools, None);
    if let Some(restored) = ports.engine.restore(examined, &subject)? {
        return Ok(Prepared::Restored(restored));
    }
    Ok(errand(ports, assignment, examined, start, lock))
}

fn errand(
    ports: &Ports,
    assignment: &Assignment,
    examined: &Examined,
    start: Start,
    lock: Option<DiskLock>,
) -> Prepared {
    let task = assignment.task();
    let files = if task.takes_files() {
        ports.engine.changed_files(examined)
    } else {
        Vec::new()
    };
    let mut begun = examined.clone();
    ports.engine.begin(&mut begun, start);
    let (root, inherited) = (&ports.root, &ports.environment);
    let mut commands = command::commands(task, root, &files, inherited, &ports.lineage);
    ports
        .tokens
        .share(&*ports.executor, &ports.root, &mut commands);
    let errand = Errand {
        examined: Arc::new(begun),
        commands,
    };
    Prepared::Run(errand, lock)
}

/// Hands on what a restored task printed when it ran, piece by piece. Blocks while `lines` does.
pub(super) fn replay(ports: &Ports, restored: &Restored, lines: &mut dyn FnMut(Lines)) {
    let Some(mut log) = ports.engine.open_log(&restored.log) else {
        return;
    };
    let mut splitter = LineSplitter::new();
    let mut buffer = [0; 8192];
    // A log that ends early is shown as far as it goes.
    while let Ok(n @ 1..) = log.read(&mut buffer) {
        pass_on(&mut splitter, &buffer[..n], lines);
    }
    if let Some(rest) = splitter.take_rest() {
        lines(Lines::from_iter([&rest[..]]));
    }
}

/// Hands on the lines that `bytes` complete.
fn pass_on(splitter: &mut LineSplitter, bytes: &[u8], lines: &mut dyn FnMut(Lines)) {
    let mut whole = Lines::default();
    splitter.push(bytes, |line| whole.push(line));
    if !whole.is_empty() {
        lines(whole);
    }
}

/// How the commands of a task ended.
pub(super) struct Executed {
    pub(super) ended: Ended,
    pub(super) took: Duration,
    /// What they printed.
    pub(super) log: Spool,
}

impl Executed {
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(&self.ended, Ended::Exited(status) if status.is_success())
    }
}

/// Runs `commands` one after the other until one does not succeed. Blocks; on a thread of the
/// pool that only does this.
pub(super) fn execute(
    ports: &Ports,
    commands: &[Command],
    cancel: &Cancel,
    lines: &mut dyn FnMut(Lines),
) -> Executed {
    let mut log = Spool::new(&ports.spill_dir, LOG_MEMORY_BYTES_MAX);
    let _token = match ports.tokens.acquire(cancel) {
        Ok(token) => token,
        Err(ended) => {
            let took = Duration::ZERO;
            return Executed { ended, took, log };
        }
    };
    let started = Instant::now();
    let mut splitter = LineSplitter::new();
    let mut ended = Ended::Exited(ExitStatus::Code(0));
    for command in commands {
        ended = ports.executor.run(command, cancel, &mut |bytes| {
            log.push(bytes);
            pass_on(&mut splitter, bytes, lines);
        });
        if !matches!(&ended, Ended::Exited(status) if status.is_success()) {
            break;
        }
    }
    if let Some(rest) = splitter.take_rest() {
        lines(Lines::from_iter([&rest[..]]));
    }
    ports.files.settle();
    Executed {
        ended,
        took: started.elapsed(),
        log,
    }
}

/// Records a success, if the inputs are still what they were.
pub(super) fn finish(
    ports: &Ports,
    assignment: &Assignment,
    examined: &Examined,
    ran: Ran,
    log: &Spool,
) -> Result<Finished, StateError> {
    let files = assignment.files_now(ports);
    let tools = assignment.probes.of(ports, assignment);
    let changed = assignment.changed(ports);
    let after = assignment.subject(ports, &files, &tools, changed.as_deref());
    ports
        .engine
        .finish(examined, &after, ran, &mut log.reader())
}

/// Notes a failure, unless the inputs are not what they were. Those that cannot be read are told
/// of when the task is looked at next.
pub(super) fn fail(
    ports: &Ports,
    assignment: &Assignment,
    examined: &Examined,
    status: Option<ExitStatus>,
    ran: Ran,
) -> Option<Moved> {
    let files = assignment.files_now(ports);
    let tools = examined.tools();
    let changed = assignment.changed(ports);
    let after = assignment.subject(ports, &files, &tools, changed.as_deref());
    let moved = ports.engine.moved_in_failure(examined, &after);
    let moved = moved.ok().flatten();
    ports.engine.failed(examined, status, ran, moved.as_ref());
    moved
}
