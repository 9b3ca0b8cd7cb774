//! The output of tasks on its way to stdout: [`TaskOutput`].
//!
//! Lines are shown at once, or kept until the task ends. What is kept is bounded in memory.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::PathBuf;

use watchrun::exec::Spool;
use watchrun::outcome::Outcome;
use watchrun::schedule::OutputLine;
use watchrun::task_id::TaskName;

use super::style::{Style, Tone};

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
    /// Where long output is spilled.
    spill_dir: PathBuf,
    kept: HashMap<TaskName, Spool>,
    /// What stays: its lines are shown as they come, since it has no end to wait for.
    services: HashSet<TaskName>,
}

impl TaskOutput {
    pub(crate) fn new(mode: OutputMode, style: Style, spill_dir: PathBuf) -> Self {
        Self {
            mode,
            style,
            spill_dir,
            kept: HashMap::new(),
            services: HashSet::new(),
        }
    }

    /// From now on `task` is known to be a service.
    pub(crate) fn is_service(&mut self, task: &TaskName) {
        if !self.services.contains(task) {
            self.services.insert(task.clone());
        }
    }

    /// Takes one line.
    pub(crate) fn line(
        &mut self,
        out: &mut dyn Write,
        task: &TaskName,
        line: &OutputLine,
    ) -> io::Result<()> {
        let mode = match self.mode {
            OutputMode::Stream => OutputMode::Stream,
            _ if self.services.contains(task) => OutputMode::Prefixed,
            mode => mode,
        };
        match mode {
            OutputMode::Stream => {
                out.write_all(line.as_bytes())?;
                out.write_all(b"\n")
            }
            OutputMode::Prefixed => {
                let prefix = self.style.paint(Tone::Faint, format_args!("{task} | "));
                out.write_all(prefix.as_bytes())?;
                out.write_all(line.as_bytes())?;
                out.write_all(b"\n")
            }
            OutputMode::Grouped | OutputMode::Github | OutputMode::Failed => {
                let dir = &self.spill_dir;
                let spool = || Spool::new(dir, KEPT_BYTES_MAX);
                let spool = self.kept.entry(task.clone()).or_insert_with(spool);
                spool.push(line.as_bytes());
                spool.push(b"\n");
                Ok(())
            }
        }
    }

    /// Shows what was kept of `task`, if its outcome asks for that.
    pub(crate) fn finish(
        &mut self,
        out: &mut dyn Write,
        task: &TaskName,
        outcome: Outcome,
    ) -> io::Result<()> {
        let Some(spool) = self.kept.remove(task) else {
            return Ok(());
        };
        let failed = matches!(outcome, Outcome::Failed | Outcome::TimedOut);
        if self.mode == OutputMode::Failed && !failed {
            return Ok(());
        }
        let github = self.mode == OutputMode::Github;
        if github {
            // What a task prints must not be taken for a marker of ours.
            writeln!(out, "::group::{task}\n::stop-commands::{GITHUB_PAUSE}")?;
        }
        io::copy(&mut spool.reader(), out)?;
        if spool.bytes_lost() > 0 {
            writeln!(out, "... {} bytes could not be kept", spool.bytes_lost())?;
        }
        if github {
            writeln!(out, "::{GITHUB_PAUSE}::\n::endgroup::")?;
        }
        Ok(())
    }
}

/// The word that ends a stretch in which GitHub's log viewer obeys no marker.
const GITHUB_PAUSE: &str = "watchrun-output-ends";
