//! What happens, as values: [`RunEvent`]. Serialised, these are the lines of `--json`.
//!
//! Names and fields are a contract (`docs/EVENTS.md`): additions are allowed, changes are not.

use std::time::Duration;

use serde::Serialize;

use crate::change::{Change, ChangeKind, ChangeSet, FileType};
use crate::outcome::{ExitStatus, Outcome};
use crate::path::RelPath;
use crate::state::Reason;
use crate::task_id::TaskName;

/// One thing that happened. In the order of the stream, each `TaskStarted` is followed by exactly
/// one `TaskFinished` of the same task, and each `RunStarted` by one `RunFinished`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The watch is armed and in step with the disk.
    Ready {
        /// Directories with a watch of the system.
        watched_dirs: usize,
        /// Directories that are polled instead.
        polled_dirs: usize,
        /// Files in the model.
        files: usize,
    },
    /// The disk changed.
    ChangeSet(ChangeRecord),
    /// Tasks are about to be looked at.
    RunStarted {
        /// Counts up from 1.
        run: u64,
        /// The tasks, in watchfile order.
        tasks: Vec<TaskName>,
        /// How long each of `tasks` takes as a rule, in the same order; `None`: never measured.
        /// 0 for groups and services. For estimates alone; no part of the serialised event.
        #[serde(skip)]
        expected: Vec<Option<Duration>>,
    },
    /// A command is being started.
    TaskStarted {
        /// The run it belongs to.
        run: u64,
        /// The task.
        task: TaskName,
        /// 1, and one more for each retry.
        attempt: u32,
        /// Why it has to run.
        reason: Reason,
        /// What is run, as the watchfile writes it; words are joined for a shell.
        #[serde(skip_serializing_if = "String::is_empty")]
        command: String,
        /// Whether it has the terminal. Left out where not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        interactive: bool,
    },
    /// A task wrote a line, to either stream.
    TaskOutput {
        /// The run it belongs to.
        run: u64,
        /// The task.
        task: TaskName,
        /// The line.
        #[serde(flatten)]
        line: OutputLine,
    },
    /// A task ended, or was found not to have to run.
    TaskFinished(TaskFinished),
    /// A service changed its state.
    Service {
        /// The service.
        service: TaskName,
        /// What it is now.
        state: ServiceState,
        /// Its first process, while there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// Something works less well than it should, or looks like a mistake.
    Warning(Warning),
    /// Something that a person waits to hear, and no more.
    Notice {
        /// What.
        message: String,
    },
    /// Nothing of the run is left to do.
    RunFinished {
        /// The run.
        run: u64,
        /// Whether nothing failed.
        ok: bool,
        /// How many tasks ended how.
        counts: Counts,
        /// Since it started, in milliseconds.
        duration_ms: u64,
    },
    /// Watching, nothing runs, every change seen so far is dealt with.
    Idle,
}

/// A change set, as far as files are concerned.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeRecord {
    /// Counts up from 1.
    pub id: u64,
    /// The files, by path.
    pub changes: Vec<FileChange>,
    /// False after a gap that was repaired by comparing with the disk.
    pub complete: bool,
}

/// One file of a change set.
#[derive(Clone, Debug, Serialize)]
pub struct FileChange {
    /// Where it is; for one that was removed, where it was.
    pub path: RelPath,
    /// `created`, `modified`, `removed` or `renamed`.
    pub kind: &'static str,
    /// Where a renamed file was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RelPath>,
}

impl ChangeRecord {
    /// The files of `set`; directories are left out.
    pub fn new(set: &ChangeSet) -> Self {
        let files = set
            .changes
            .iter()
            .filter(|change| change.file_type != FileType::Dir);
        Self {
            id: set.id,
            changes: files.map(FileChange::new).collect(),
            complete: set.complete,
        }
    }
}

impl FileChange {
    fn new(change: &Change) -> Self {
        let (kind, from) = match &change.kind {
            ChangeKind::Created => ("created", None),
            ChangeKind::Modified | ChangeKind::Metadata => ("modified", None),
            ChangeKind::Removed => ("removed", None),
            ChangeKind::Renamed { from } => ("renamed", Some(from.clone())),
        };
        Self {
            path: change.path.clone(),
            kind,
            from,
        }
    }
}

/// A line of output, without its line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputLine {
    /// The text; what is not UTF-8 is replaced.
    #[serde(rename = "line")]
    pub text: String,
    /// The exact bytes, where `text` is not exact. Base64 when serialised.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "base64")]
    pub bytes: Option<Vec<u8>>,
}

impl OutputLine {
    /// Takes a line of any bytes.
    pub fn new(line: &[u8]) -> Self {
        match std::str::from_utf8(line) {
            Ok(text) => Self {
                text: text.to_owned(),
                bytes: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(line).into_owned(),
                bytes: Some(line.to_vec()),
            },
        }
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// How a task ended.
#[derive(Clone, Debug, Serialize)]
pub struct TaskFinished {
    /// The run it belongs to.
    pub run: u64,
    /// The task.
    pub task: TaskName,
    /// How.
    pub outcome: Outcome,
    /// The exit code, if it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// From its start, in milliseconds; 0 if it did not run.
    pub duration_ms: u64,
    /// What a person should know beside the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it failed, and is allowed to: that fails neither dependents nor the run. Left out
    /// where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
}

impl TaskFinished {
    /// An end without a process.
    pub fn without_process(run: u64, task: &TaskName, outcome: Outcome) -> Self {
        Self {
            run,
            task: task.clone(),
            outcome,
            exit_code: None,
            signal: None,
            duration_ms: 0,
            reason: None,
            allowed: false,
        }
    }

    /// Notes how the process ended.
    pub fn set_status(&mut self, status: ExitStatus) {
        match status {
            ExitStatus::Code(code) => self.exit_code = Some(code),
            ExitStatus::Signal(signal) => self.signal = Some(signal),
        }
    }
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Spawned, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Serving what was built before; something it depends on is red.
    Stale,
    /// Told to stop.
    Stopping,
    /// Its process tree is gone.
    Stopped,
    /// It did not become ready, or keeps ending.
    Failed,
}

/// Something to tell a person once. The run goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A word for machines: `limit`, `polling`, `missing_dep`, `inputs_moved`, `loop`, `state`, ...
    pub kind: &'static str,
    /// What it is.
    pub message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How many tasks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each field counts the outcome of its name")]
pub struct Counts {
    pub done: usize,
    pub fresh: usize,
    pub restored: usize,
    pub failed: usize,
    pub timed_out: usize,
    pub cancelled: usize,
    pub skipped: usize,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Fresh => &mut self.fresh,
            Outcome::Restored => &mut self.restored,
            Outcome::Failed => &mut self.failed,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Skipped => &mut self.skipped,
        } += 1;
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn base64<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.as_deref().unwrap_or_default().chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |acc, byte| acc << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &RunEvent, expected: &str) {
        assert_eq!(serde_json::to_string(event).unwrap(), expected);
    }

    #[test]
    fn events_have_the_fields_of_the_contract() {
        let task = TaskName::new("a");
        check(&RunEvent::Idle, r#"{"event":"idle"}"#);
        check(
            &RunEvent::TaskFinished(TaskFinished::without_process(1, &task, Outcome::TimedOut)),
            r#"{"event":"task_finished","run":1,"task":"a","outcome":"timed_out","duration_ms":0}"#,
        );
        check(
            &RunEvent::TaskOutput {
                run: 1,
                task,
                line: OutputLine::new(b"hi"),
            },
            r#"{"event":"task_output","run":1,"task":"a","line":"hi"}"#,
        );
    }

    #[test]
    fn lines_that_are_not_utf8_keep_their_bytes() {
        #[track_caller]
        fn check(bytes: &[u8], base64: &str) {
            let json = serde_json::to_value(OutputLine::new(bytes)).unwrap();
            assert_eq!(json["bytes"], base64);
        }
        check(b"\xff", "/w==");
        check(b"a\xfe", "Yf4=");
        check(b"ab\x80", "YWKA");
        check(b"\xffabc", "/2FiYw==");
    }
}
