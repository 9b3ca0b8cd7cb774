//! Events on a terminal: [`Live`].

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use watchrun::schedule::RunEvent;
use watchrun::task_id::TaskName;

use super::Reporter;
use super::bars::{Bars, Lane, WIPE};
use super::plain::Plain;

/// What is done beside showing events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extras {
    /// The terminal is wiped before each run.
    pub(crate) clear: bool,
    /// The terminal is asked to show a message when a run fails, and when all is well again.
    pub(crate) notify: bool,
    /// The lines below the text say that nothing is left to do but to watch.
    pub(crate) says_that_it_watches: bool,
}

/// Lines as [`Plain`] writes them, above what runs.
pub(crate) struct Live<O: Write> {
    plain: Plain<Lane, O>,
    bars: Bars,
    extras: Extras,
    /// The task that has the terminal.
    lent_to: Option<TaskName>,
    is_watching: bool,
    was_ok: bool,
    painter: Option<thread::JoinHandle<()>>,
}

impl<O: Write> Live<O> {
    /// `plain` writes through lanes of `bars`.
    pub(crate) fn new(plain: Plain<Lane, O>, bars: Bars, extras: Extras) -> Self {
        let own = bars.clone();
        let painter = thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || own.paint_on());
        Self {
            plain,
            bars,
            extras,
            lent_to: None,
            is_watching: false,
            was_ok: true,
            // Without the thread, text is written when a run ends.
            painter: painter.ok(),
        }
    }

    fn before(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Ready { .. } => self.is_watching = true,
            RunEvent::RunStarted { .. } if self.extras.clear => {
                self.bars.put(WIPE);
            }
            RunEvent::TaskFinished(finished) if self.lent_to.as_ref() == Some(&finished.task) => {
                self.lent_to = None;
                self.bars.show();
            }
            _ => {}
        }
    }

    fn after(&mut self, event: &RunEvent) {
        match event {
            RunEvent::TaskStarted {
                task,
                interactive: true,
                ..
            } => {
                self.lent_to = Some(task.clone());
                self.bars.hide();
            }
            RunEvent::RunFinished { ok, .. } => {
                if self.extras.notify && self.is_watching && (!*ok || !self.was_ok) {
                    let text = if *ok {
                        "all is well again"
                    } else {
                        "a task failed"
                    };
                    let code = format!("\x1b]9;watchrun: {text}\x07");
                    self.bars.put(&code);
                }
                self.was_ok = *ok;
                self.bars.paint();
            }
            RunEvent::Idle => self.bars.paint(),
            _ => {}
        }
    }
}

impl<O: Write> Reporter for Live<O> {
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()> {
        self.before(event);
        let is_said_below = self.extras.says_that_it_watches && matches!(event, RunEvent::Idle);
        if !is_said_below {
            self.plain.event(at, event)?;
        }
        self.bars.note(at, event)?;
        self.after(event);
        Ok(())
    }
}

impl<O: Write> Drop for Live<O> {
    fn drop(&mut self) {
        self.bars.end();
        if let Some(painter) = self.painter.take() {
            // What it panicked of is of no use now.
            drop(painter.join());
        }
    }
}
