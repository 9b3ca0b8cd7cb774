//! The output of tasks on its way to stdout: [`TaskOutput`].
//!
//! Lines are shown at once, or kept until the task ends. What is kept is bounded in memory.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use watchrun::exec::Spool;
use watchrun::schedule::{OutputLine, TaskFinished};
use watchrun::task_id::TaskName;

use super::github::Github;
use super::pen::Pen;
use super::style::{Style, Tone};
use crate::cli::facts::Place;

/// Output of one task that is kept in memory; what is longer goes to a file.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// When and how the output of a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// In one piece, when it ends.
    Grouped,
    /// In one piece between the markers of GitHub's log viewer.
    Github,
    /// Line by line, with the task's name before it.
    Prefixed,
    /// As it comes.
    Stream,
    /// Only that of tasks that failed, when they end.
    Failed,
}

/// Keeps or passes on what tasks write.
pub(crate) struct TaskOutput {
    mode: OutputMode,
    style: Style,
    /// Where it goes.
    place: Place,
    /// Where long output is spilled.
    spill_dir: PathBuf,
    github: Github,
    tasks: HashMap<TaskName, Task>,
    /// Memory for the line at hand.
    line: Vec<u8>,
}

/// What is known of one task that writes.
struct Task {
    pen: Pen,
    kept: Option<Spool>,
    label: usize,
    /// It stays: its lines are shown as they come, since it has no end to wait for.
    is_service: bool,
}

impl TaskOutput {
    pub(crate) fn new(mode: OutputMode, style: Style, place: Place, spill_dir: PathBuf) -> Self {
        Self {
            mode,
            style,
            place,
            spill_dir,
            github: Github::new(),
            tasks: HashMap::new(),
            line: Vec::new(),
        }
    }

    /// From now on `task` is known to be a service.
    pub(crate) fn note_service(&mut self, task: &TaskName) {
        known(&mut self.tasks, task).is_service = true;
    }

    /// Whether `task` is known to be one.
    pub(crate) fn has_service(&self, task: &TaskName) -> bool {
        self.tasks.get(task).is_some_and(|of| of.is_service)
    }

    /// Takes one line. Whether it is shown at once.
    pub(crate) fn line(
        &mut self,
        out: &mut dyn Write,
        task: &TaskName,
        line: &OutputLine,
    ) -> io::Result<bool> {
        let (mode, style, place) = (self.mode, self.style, self.place);
        let of = known(&mut self.tasks, task);
        let mut text = std::mem::take(&mut self.line);
        text.clear();
        let is_prefixed =
            mode == OutputMode::Prefixed || of.is_service && mode != OutputMode::Stream;
        if is_prefixed {
            let label = style.paint(Tone::Label(of.label), format_args!("{task} |"));
            text.extend_from_slice(label.as_bytes());
            text.push(b' ');
        }
        if is_prefixed || place == Place::Terminal {
            of.pen.write(line.as_bytes(), &mut text);
        } else {
            text.extend_from_slice(line.as_bytes());
        }
        text.push(b'\n');
        let is_shown = is_prefixed || mode == OutputMode::Stream;
        if is_shown {
            out.write_all(&text)?;
        } else {
            let spill_dir = &self.spill_dir;
            let spool = || Spool::new(spill_dir, KEPT_BYTES_MAX);
            of.kept.get_or_insert_with(spool).push(&text);
        }
        self.line = text;
        Ok(is_shown)
    }

    /// Shows what was kept of a task, if its outcome asks for that. `failure`: how it failed. Whether
    /// anything was shown.
    pub(crate) fn finish(
        &mut self,
        out: &mut dyn Write,
        finished: &TaskFinished,
        failure: &str,
    ) -> io::Result<bool> {
        let (task, failed) = (&finished.task, finished.outcome.is_failure());
        let kept = match self.tasks.get_mut(task) {
            Some(of) => {
                of.pen = Pen::default();
                of.kept.take()
            }
            None => None,
        };
        let is_shown = self.mode != OutputMode::Failed || failed;
        let shown = kept.as_ref().filter(|_| is_shown);
        let mut print = |out: &mut dyn Write| {
            let Some(spool) = shown else { return Ok(()) };
            io::copy(&mut spool.reader(), out)?;
            if spool.bytes_lost() > 0 {
                writeln!(out, "... {} bytes could not be kept", spool.bytes_lost())?;
            }
            Ok(())
        };
        if self.mode == OutputMode::Github {
            if shown.is_some() {
                self.github.group(out, task.as_str(), &mut print)?;
            }
            if failed {
                let none = Spool::new(&self.spill_dir, 0);
                let mut output = BufReader::new(kept.as_ref().unwrap_or(&none).reader());
                let level = if finished.allowed { "warning" } else { "error" };
                self.github
                    .annotate(out, level, task.as_str(), failure, &mut output)?;
            }
        } else {
            print(out)?;
        }
        Ok(shown.is_some())
    }
}

fn known<'a>(tasks: &'a mut HashMap<TaskName, Task>, task: &TaskName) -> &'a mut Task {
    let label = tasks.len();
    tasks.entry(task.clone()).or_insert_with(|| Task {
        pen: Pen::default(),
        kept: None,
        label,
        is_service: false,
    })
}
