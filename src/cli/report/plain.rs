//! Plain lines on stderr, the tasks' output on stdout: [`Plain`].

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::Duration;

use watchrun::outcome::Outcome;
use watchrun::schedule::{
    ChangeRecord, Counts, FileChange, RunEvent, ServiceState, TaskFinished, Warning,
};
use watchrun::state::Reason;
use watchrun::task_id::TaskName;

use super::Reporter;
use super::amount::{count, seconds, sum};
use super::failures::{Failures, Tail, command_line};
use super::output::TaskOutput;
use super::style::{Style, Tone};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Failures and warnings.
    Quiet,
    /// What ran, and sums.
    Normal,
    /// Also what was fresh, what changed and when it starts.
    Verbose,
}

/// So many tasks of a run are named when they are skipped; more are only counted.
const SKIPPED_MAX: usize = 5;

/// So many files of a change are named.
const CHANGES_MAX: usize = 5;

/// What is said of a failure that fails nothing else.
const ALLOWED: &str = " (allowed)";

/// Writes a line for each thing that happened.
pub(crate) struct Plain<E: Write, O: Write> {
    err: E,
    out: O,
    style: Style,
    detail: Detail,
    output: TaskOutput,
    running: HashMap<TaskName, Running>,
    failures: Failures,
    /// The tasks of this run that failed and are allowed to, and how.
    allowed: BTreeMap<TaskName, Outcome>,
    /// How many tasks of this run were skipped.
    skipped: usize,
    /// A service that ended, and the line that says so: held back until it is known that none that
    /// says more follows.
    ended: Option<(TaskName, Detail, String)>,
    /// Whether any run has ended: fresh tasks of later runs are not worth a word.
    later: bool,
    /// What to say once nothing is left to do but to watch.
    watching: Option<String>,
}

/// What the last line of a task needs.
struct Running {
    attempt: u32,
    reason: String,
    /// Whether the reason is worth a word when it is done.
    is_news: bool,
    command: String,
    tail: Tail,
}

impl Running {
    fn new(attempt: u32, reason: &Reason, command: String) -> Self {
        Self {
            attempt,
            reason: match reason {
                // It always runs: that is nothing to say each time.
                Reason::CacheOff => String::new(),
                other => other.to_string(),
            },
            is_news: !matches!(
                reason,
                Reason::NeverSucceeded | Reason::CacheOff | Reason::Forced
            ),
            command,
            tail: Tail::default(),
        }
    }
}

impl<E: Write, O: Write> Plain<E, O> {
    pub(crate) fn new(err: E, out: O, style: Style, detail: Detail, output: TaskOutput) -> Self {
        Self {
            err,
            out,
            style,
            detail,
            output,
            running: HashMap::new(),
            failures: Failures::default(),
            allowed: BTreeMap::new(),
            skipped: 0,
            ended: None,
            later: false,
            watching: None,
        }
    }

    /// The lines for `event`, and its effect on the tasks' output.
    fn show(&mut self, event: &RunEvent) -> io::Result<()> {
        match event {
            RunEvent::Ready {
                watched_dirs,
                polled_dirs,
                files,
            } => {
                let line = watching(*watched_dirs, *polled_dirs, *files);
                if self.detail == Detail::Verbose {
                    return self.say(Detail::Verbose, &line);
                }
                self.watching = Some(line);
                Ok(())
            }
            RunEvent::Idle => match self.watching.take() {
                Some(line) => self.say(Detail::Normal, &line),
                None => Ok(()),
            },
            RunEvent::ChangeSet(set) => self.say(Detail::Verbose, &changes(set)),
            RunEvent::RunStarted { .. } => {
                self.failures = Failures::default();
                self.allowed.clear();
                self.skipped = 0;
                Ok(())
            }
            RunEvent::TaskStarted {
                task,
                attempt,
                reason,
                command,
                ..
            } => {
                let running = Running::new(*attempt, reason, command.clone());
                self.started(task, running)
            }
            RunEvent::TaskOutput { task, line, .. } => {
                if let Some(running) = self.running.get_mut(task) {
                    running.tail.push(line);
                }
                if self.output.line(&mut self.out, task, line)? {
                    self.failures.bury();
                    self.out.flush()?;
                }
                Ok(())
            }
            RunEvent::TaskFinished(finished) => self.finished(finished),
            RunEvent::Service {
                service,
                state,
                pid,
            } => self.service(service, *state, *pid),
            RunEvent::Warning(warning) => self.warning(warning),
            RunEvent::Notice { message } => self.say(Detail::Normal, message),
            RunEvent::RunFinished {
                ok,
                counts,
                duration_ms,
                ..
            } => self.run_finished(*ok, counts, *duration_ms),
        }
    }

    fn started(&mut self, task: &TaskName, running: Running) -> io::Result<()> {
        let again = nth_attempt(running.attempt);
        let mut line = format!("{task}: started{again}");
        if !running.reason.is_empty() {
            line.push_str(": ");
            line.push_str(&running.reason);
        }
        self.say(Detail::Verbose, &line)?;
        if !running.command.is_empty() {
            self.say_faint(Detail::Verbose, &command_line(&running.command))?;
        }
        self.running.insert(task.clone(), running);
        Ok(())
    }

    fn run_finished(&mut self, ok: bool, counts: &Counts, duration_ms: u64) -> io::Result<()> {
        self.later = true;
        let more = self.skipped.saturating_sub(SKIPPED_MAX);
        if more > 0 && self.detail == Detail::Normal {
            self.say(Detail::Normal, &format!("and {more} more skipped"))?;
        }
        for line in self.failures.take_lines() {
            self.say(Detail::Quiet, &line)?;
        }
        let (tone, detail) = if ok {
            (Tone::Good, Detail::Normal)
        } else {
            (Tone::Bad, Detail::Quiet)
        };
        let text = self.style.paint(tone, sum(counts, &self.allowed()));
        let took = format!("in {}", seconds(duration_ms));
        let took = self.style.paint(Tone::Faint, took);
        self.say(detail, &format!("{text} {took}"))
    }

    /// How many failures of this run are allowed.
    fn allowed(&self) -> Counts {
        let mut allowed = Counts::default();
        for outcome in self.allowed.values() {
            allowed.add(*outcome);
        }
        allowed
    }

    fn finished(&mut self, finished: &TaskFinished) -> io::Result<()> {
        let TaskFinished { task, outcome, .. } = finished;
        let running = self.running.remove(task);
        let line = self.line_of(finished, running.as_ref());
        let (is_failure, detail) = match outcome {
            // That a service is ready has been said.
            Outcome::Done if self.output.has_service(task) => (false, Detail::Verbose),
            Outcome::Done | Outcome::Restored | Outcome::Cancelled => (false, Detail::Normal),
            Outcome::Fresh if self.later => return Ok(()),
            Outcome::Fresh => (false, Detail::Verbose),
            Outcome::Failed | Outcome::TimedOut => (true, Detail::Quiet),
            Outcome::Skipped => {
                self.skipped += 1;
                let is_named = self.skipped <= SKIPPED_MAX;
                (
                    false,
                    if is_named {
                        Detail::Normal
                    } else {
                        Detail::Verbose
                    },
                )
            }
        };
        self.say(detail, &line)?;
        let command = running.as_ref().map_or("", |running| &running.command);
        if is_failure && !command.is_empty() {
            self.say_faint(detail, &command_line(command))?;
        }
        let failure = super::pen::plain_text(&line);
        if self.output.finish(&mut self.out, finished, &failure)? {
            self.failures.bury();
        }
        self.out.flush()?;
        if finished.allowed {
            self.allowed.insert(task.clone(), *outcome);
        } else {
            self.allowed.remove(task);
        }
        if is_failure && !finished.allowed {
            let command = command.to_owned();
            let tail = running.map(|running| running.tail).unwrap_or_default();
            self.failures.push(task.clone(), line, command, tail);
        } else if *outcome == Outcome::Done {
            self.failures.mended(task);
        }
        Ok(())
    }

    /// `build: done in 1.2 s: input src/a.c modified`.
    fn line_of(&self, finished: &TaskFinished, running: Option<&Running>) -> String {
        let tone = match finished.outcome {
            Outcome::Done | Outcome::Restored => Tone::Good,
            Outcome::Fresh => Tone::Faint,
            Outcome::Failed | Outcome::TimedOut if finished.allowed => Tone::Careful,
            Outcome::Failed | Outcome::TimedOut => Tone::Bad,
            Outcome::Cancelled | Outcome::Skipped => Tone::Careful,
        };
        let words = match finished.outcome {
            Outcome::TimedOut => "timed out",
            other => other.name(),
        };
        let allowed = if finished.allowed { ALLOWED } else { "" };
        let words = self.style.paint(tone, format_args!("{words}{allowed}"));
        let mut line = format!("{}: {words}", finished.task);
        let started_for = running.filter(|running| running.is_news);
        let started_for = started_for.map(|running| running.reason.as_str());
        let again = nth_attempt(running.map_or(1, |running| running.attempt));
        let took = match finished.duration_ms {
            0 => again,
            ms => format!(" in {}{again}", seconds(ms)),
        };
        let why = explanation(finished, started_for).map(|why| format!(": {why}"));
        let rest = took + &why.unwrap_or_default();
        if !rest.is_empty() {
            line += &self.style.paint(Tone::Faint, rest);
        }
        line
    }

    fn service(
        &mut self,
        service: &TaskName,
        state: ServiceState,
        pid: Option<u32>,
    ) -> io::Result<()> {
        self.output.note_service(service);
        let (word, tone, detail) = match state {
            ServiceState::Starting => ("starting", Tone::Faint, Detail::Verbose),
            ServiceState::Ready => ("ready", Tone::Good, Detail::Normal),
            ServiceState::Stale => ("stale", Tone::Careful, Detail::Normal),
            ServiceState::Stopping => ("stopping", Tone::Faint, Detail::Verbose),
            ServiceState::Stopped => ("stopped", Tone::Careful, Detail::Normal),
            ServiceState::Failed => ("failed", Tone::Bad, Detail::Quiet),
        };
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let (word, pid) = (
            self.style.paint(tone, word),
            self.style.paint(Tone::Faint, pid),
        );
        let line = format!("{service}: {word}{pid}");
        let is_end = match state {
            ServiceState::Failed => true,
            // It was being brought up: how that ended follows.
            ServiceState::Stopped => self.running.contains_key(service),
            _ => false,
        };
        if is_end {
            self.ended = Some((service.clone(), detail, line));
            return Ok(());
        }
        self.say(detail, &line)
    }

    /// Says that a service ended, unless `event` tells how it failed.
    fn say_ended(&mut self, event: &RunEvent) -> io::Result<()> {
        if matches!(event, RunEvent::RunStarted { .. }) {
            return Ok(());
        }
        let Some((service, detail, line)) = self.ended.take() else {
            return Ok(());
        };
        match event {
            RunEvent::TaskFinished(finished)
                if finished.task == service && finished.outcome.is_failure() =>
            {
                Ok(())
            }
            _ => self.say(detail, &line),
        }
    }

    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        // The report of a broken watchfile says itself that it is one.
        if warning.message.starts_with("error: ") {
            self.say(Detail::Quiet, &warning.message)?;
        } else {
            let label = self.style.paint(Tone::Careful, "warning:");
            self.say(Detail::Quiet, &format!("{label} {}", warning.message))?;
        }
        match &warning.hint {
            Some(hint) => self.say(Detail::Quiet, &format!("hint: {hint}")),
            None => Ok(()),
        }
    }

    fn say_faint(&mut self, detail: Detail, line: &str) -> io::Result<()> {
        let line = self.style.paint(Tone::Faint, line);
        self.say(detail, &line)
    }

    fn say(&mut self, detail: Detail, line: &str) -> io::Result<()> {
        if detail > self.detail {
            return Ok(());
        }
        self.failures.bury();
        let mut text = line.to_owned();
        text.push('\n');
        self.err.write_all(text.as_bytes())
    }
}

impl<E: Write, O: Write> Reporter for Plain<E, O> {
    fn event(&mut self, _at: Duration, event: &RunEvent) -> io::Result<()> {
        self.say_ended(event)?;
        self.show(event)
    }
}

/// `watching 120 files in 12 directories, 2 of them polled`.
fn watching(watched_dirs: usize, polled_dirs: usize, files: usize) -> String {
    let dirs = count(watched_dirs + polled_dirs, "directory", "directories");
    let polled = match polled_dirs {
        0 => String::new(),
        n => format!(", {n} of them polled"),
    };
    format!(
        "watching {} in {dirs}{polled}",
        count(files, "file", "files")
    )
}

/// `change: src/a.c modified, src/b.c removed and 3 more`.
fn changes(set: &ChangeRecord) -> String {
    let one = |change: &FileChange| format!("{} {}", change.path, change.kind);
    let named: Vec<String> = set.changes.iter().take(CHANGES_MAX).map(one).collect();
    let more = match set.changes.len() - named.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("change: {}{more}", named.join(", "))
}

/// ` (attempt 2)`; nothing for the first.
fn nth_attempt(attempt: u32) -> String {
    match attempt {
        1 => String::new(),
        n => format!(" (attempt {n})"),
    }
}

/// Why it ran, or how it failed.
fn explanation(finished: &TaskFinished, started_for: Option<&str>) -> Option<String> {
    let status = finished
        .exit_code
        .map(|code| format!("exit code {code}"))
        .or_else(|| finished.signal.map(signal_name));
    match finished.outcome {
        Outcome::Failed | Outcome::TimedOut => finished.reason.clone().or(status),
        // Why it was started is not why it ended.
        Outcome::Cancelled => finished.reason.clone(),
        _ => finished
            .reason
            .clone()
            .or_else(|| started_for.map(str::to_owned)),
    }
}

/// `signal 9 (SIGKILL)`.
fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}
