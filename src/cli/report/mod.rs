//! How events reach people and programs: one [`Reporter`] for each way.

mod bars;
mod json;
mod output;
mod plain;
mod style;

use std::io;
use std::time::Duration;

pub(crate) use bars::Bars;
pub(crate) use json::Json;
pub(crate) use output::OutputMode;
pub(crate) use plain::Plain;
pub(crate) use style::Style;

use watchrun::schedule::RunEvent;

/// Takes each event, in order, on one thread.
pub(crate) trait Reporter {
    /// Shows `event`, which happened `at` after the start.
    ///
    /// # Errors
    /// What writing returned; `BrokenPipe` means that nobody reads any more.
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()>;

    /// Leaves the terminal as it was found. Called once, at the end.
    fn close(&mut self) {}
}

/// Several reporters as one.
pub(crate) struct All(pub(crate) Vec<Box<dyn Reporter>>);

impl Reporter for All {
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|reporter| reporter.event(at, event))
    }

    fn close(&mut self) {
        self.0.iter_mut().for_each(|reporter| reporter.close());
    }
}
