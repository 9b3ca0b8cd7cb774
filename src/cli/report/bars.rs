//! A live status below the lines, for a terminal: [`Bars`].
//!
//! One row for each running task; the number of rows is bounded by the number of jobs. Nothing is
//! drawn, and no thread wakes, while nothing runs.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use watchrun::schedule::RunEvent;
use watchrun::task_id::TaskName;

use super::Reporter;
use super::plain::Plain;

/// How often a row moves while its task runs.
const TICK: Duration = Duration::from_millis(120);

/// The wipe of `--clear`: screen, scroll-back, and the cursor home.
const WIPE: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H";

/// Lines as [`Plain`] writes them, above a row for each task that runs.
pub(crate) struct Bars<E: Write, O: Write> {
    plain: Plain<E, O>,
    multi: MultiProgress,
    rows: Vec<(TaskName, ProgressBar)>,
    /// Rows that have been used and wait for the next task.
    spare: Vec<ProgressBar>,
    clear: bool,
}

impl<E: Write, O: Write> Bars<E, O> {
    /// `clear`: the terminal is wiped before each run.
    pub(crate) fn new(plain: Plain<E, O>, clear: bool) -> Self {
        Self {
            plain,
            multi: MultiProgress::new(),
            rows: Vec::new(),
            spare: Vec::new(),
            clear,
        }
    }

    fn start(&mut self, task: &TaskName) {
        let fresh = || {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            // Hidden until it has a name: it is drawn as soon as it has a place.
            ProgressBar::hidden().with_style(style)
        };
        let row = self.spare.pop().unwrap_or_else(fresh);
        row.reset();
        row.set_message(task.to_string());
        let row = self.multi.add(row);
        row.enable_steady_tick(TICK);
        self.rows.push((task.clone(), row));
    }

    fn finish(&mut self, task: &TaskName) {
        if let Some(at) = self.rows.iter().position(|(name, _)| name == task) {
            let (_, row) = self.rows.remove(at);
            row.disable_steady_tick();
            self.multi.remove(&row);
            self.spare.push(row);
        }
    }
}

impl<E: Write, O: Write> Reporter for Bars<E, O> {
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()> {
        if let RunEvent::TaskFinished(finished) = event {
            self.finish(&finished.task);
        }
        let (plain, clear) = (&mut self.plain, self.clear);
        self.multi.suspend(|| {
            if clear && matches!(event, RunEvent::RunStarted { .. }) {
                plain.write_raw(WIPE)?;
            }
            plain.event(at, event)
        })?;
        // One that has the terminal draws there itself.
        if let RunEvent::TaskStarted {
            task,
            interactive: false,
            ..
        } = event
        {
            self.start(task);
        }
        Ok(())
    }
}

impl<E: Write, O: Write> Drop for Bars<E, O> {
    fn drop(&mut self) {
        for (_, row) in &self.rows {
            row.finish_and_clear();
        }
        // The terminal may be gone: there is nothing left to tidy then.
        drop(self.multi.clear());
    }
}
