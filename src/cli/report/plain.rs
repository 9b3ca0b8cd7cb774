//! Plain lines on stderr, the tasks' output on stdout: [`Plain`].

use std::io::{self, Write};
use std::time::Duration;

use watchrun::outcome::Outcome;
use watchrun::schedule::{ChangeRecord, Counts, RunEvent, ServiceState, TaskFinished, Warning};
use watchrun::state::Reason;
use watchrun::task_id::TaskName;

use super::Reporter;
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

/// Writes a line for each thing that happened.
pub(crate) struct Plain<E: Write, O: Write> {
    err: E,
    out: O,
    style: Style,
    detail: Detail,
    output: TaskOutput,
    /// The reason of each task that runs, for its last line.
    reasons: Vec<(TaskName, String)>,
    /// Whether any run has ended: fresh tasks of later runs are not worth a word.
    later: bool,
}

impl<E: Write, O: Write> Plain<E, O> {
    pub(crate) fn new(err: E, out: O, style: Style, detail: Detail, output: TaskOutput) -> Self {
        Self {
            err,
            out,
            style,
            detail,
            output,
            reasons: Vec::new(),
            later: false,
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
                let polled = match polled_dirs {
                    0 => String::new(),
                    n => format!(", {n} of them polled"),
                };
                let dirs = watched_dirs + polled_dirs;
                let line = format!("watching {files} files in {dirs} directories{polled}");
                self.say(Detail::Verbose, line)
            }
            RunEvent::ChangeSet(set) => self.say(Detail::Verbose, changes(set)),
            RunEvent::TaskStarted {
                task,
                attempt,
                reason,
                ..
            } => self.started(task, *attempt, reason),
            RunEvent::TaskOutput { task, line, .. } => {
                self.output.line(&mut self.out, task, line)?;
                self.out.flush()
            }
            RunEvent::TaskFinished(finished) => self.finished(finished),
            RunEvent::Service {
                service,
                state,
                pid,
            } => self.service(service, *state, *pid),
            RunEvent::Warning(warning) => self.warning(warning),
            RunEvent::RunFinished {
                ok,
                counts,
                duration_ms,
                ..
            } => self.run_finished(*ok, counts, *duration_ms),
            RunEvent::RunStarted { .. } | RunEvent::Idle => Ok(()),
        }
    }

    fn started(&mut self, task: &TaskName, attempt: u32, reason: &Reason) -> io::Result<()> {
        let again = match attempt {
            1 => String::new(),
            n => format!(" (attempt {n})"),
        };
        self.say(Detail::Verbose, format!("{task}: started{again}: {reason}"))?;
        self.reasons.retain(|(other, _)| other != task);
        self.reasons.push((task.clone(), reason.to_string()));
        Ok(())
    }

    fn run_finished(&mut self, ok: bool, counts: &Counts, duration_ms: u64) -> io::Result<()> {
        self.later = true;
        let (tone, detail) = if ok {
            (Tone::Good, Detail::Normal)
        } else {
            (Tone::Bad, Detail::Quiet)
        };
        let text = self.style.paint(tone, sum(counts));
        let took = format!("in {}", seconds(duration_ms));
        let took = self.style.paint(Tone::Faint, took);
        self.say(detail, format!("{text} {took}"))
    }

    fn finished(&mut self, finished: &TaskFinished) -> io::Result<()> {
        let TaskFinished {
            task,
            outcome,
            duration_ms,
            ..
        } = finished;
        self.output.finish(&mut self.out, task, *outcome)?;
        self.out.flush()?;
        let position = self.reasons.iter().position(|(name, _)| name == task);
        let reason = position.map(|at| self.reasons.swap_remove(at).1);
        let (tone, detail) = match outcome {
            Outcome::Done | Outcome::Restored => (Tone::Good, Detail::Normal),
            Outcome::Fresh if self.later => return Ok(()),
            Outcome::Fresh => (Tone::Faint, Detail::Verbose),
            Outcome::Failed | Outcome::TimedOut => (Tone::Bad, Detail::Quiet),
            Outcome::Cancelled | Outcome::Skipped => (Tone::Careful, Detail::Normal),
        };
        let mut line = format!(
            "{task}: {}",
            self.style.paint(tone, outcome_words(*outcome))
        );
        if *duration_ms > 0 {
            line += &self
                .style
                .paint(Tone::Faint, format_args!(" in {}", seconds(*duration_ms)));
        }
        if let Some(why) = explanation(finished, reason) {
            line += &self.style.paint(Tone::Faint, format_args!(": {why}"));
        }
        self.say(detail, line)
    }

    fn service(
        &mut self,
        service: &TaskName,
        state: ServiceState,
        pid: Option<u32>,
    ) -> io::Result<()> {
        self.output.is_service(service);
        let (word, detail) = match state {
            ServiceState::Starting => ("starting", Detail::Verbose),
            ServiceState::Ready => ("ready", Detail::Normal),
            ServiceState::Stale => ("stale", Detail::Normal),
            ServiceState::Stopping => ("stopping", Detail::Verbose),
            ServiceState::Stopped => ("stopped", Detail::Normal),
            ServiceState::Failed => ("failed", Detail::Quiet),
        };
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        self.say(detail, format!("{service}: {word}{pid}"))
    }

    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        let label = self.style.paint(Tone::Careful, "warning:");
        self.say(Detail::Quiet, format!("{label} {}", warning.message))?;
        match &warning.hint {
            Some(hint) => self.say(Detail::Quiet, format!("hint: {hint}")),
            None => Ok(()),
        }
    }

    /// Writes to stderr as it is.
    pub(crate) fn write_raw(&mut self, text: &str) -> io::Result<()> {
        self.err.write_all(text.as_bytes())
    }

    fn say(&mut self, detail: Detail, line: String) -> io::Result<()> {
        if detail > self.detail {
            return Ok(());
        }
        self.err.write_all((line + "\n").as_bytes())
    }
}

impl<E: Write, O: Write> Reporter for Plain<E, O> {
    fn event(&mut self, _at: Duration, event: &RunEvent) -> io::Result<()> {
        self.show(event)
    }
}

/// `src/a.c modified and 3 more`.
fn changes(set: &ChangeRecord) -> String {
    let first = set.changes.first();
    let first = first.map(|change| format!("{} {}", change.path, change.kind));
    let more = match set.changes.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    format!("change: {}{more}", first.unwrap_or_default())
}

fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::TimedOut => "timed out",
        other => other.name(),
    }
}

/// Why it ran, or how it failed.
fn explanation(finished: &TaskFinished, started_for: Option<String>) -> Option<String> {
    let status = finished
        .exit_code
        .map(|code| format!("exit code {code}"))
        .or_else(|| finished.signal.map(|signal| format!("signal {signal}")));
    match finished.outcome {
        Outcome::Failed | Outcome::TimedOut => finished.reason.clone().or(status),
        _ => finished.reason.clone().or(started_for),
    }
}

/// `2 done, 1 failed, 3 fresh`, without what there is none of.
pub(crate) fn sum(counts: &Counts) -> String {
    let Counts {
        done,
        fresh,
        restored,
        failed,
        timed_out,
        cancelled,
        skipped,
    } = *counts;
    let parts: Vec<String> = [
        (done, "done"),
        (restored, "restored"),
        (failed, "failed"),
        (timed_out, "timed out"),
        (cancelled, "cancelled"),
        (skipped, "skipped"),
        (fresh, "fresh"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}"))
    .collect();
    if parts.is_empty() {
        "nothing to do".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `12 ms`, `1.2 s`, `2 min 5 s`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms / 100 % 10),
        _ => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(0), "0 ms");
        assert_eq!(seconds(999), "999 ms");
        assert_eq!(seconds(1_250), "1.2 s");
        assert_eq!(seconds(125_000), "2 min 5 s");
    }

    #[test]
    fn sums_leave_out_what_there_is_none_of() {
        assert_eq!(sum(&Counts::default()), "nothing to do");
        assert_eq!(
            sum(&Counts {
                done: 2,
                fresh: 1,
                ..Counts::default()
            }),
            "2 done, 1 fresh"
        );
    }
}
