//! How events reach people and programs: one [`Reporter`] for each way.

mod bars;
mod json;
mod output;
mod plain;
mod style;

use std::io;
use std::time::Duration;

pub(crate) use json::Json;
pub(crate) use plain::Detail;
pub(crate) use style::{Style, Tone};

use watchrun::schedule::RunEvent;
use watchrun::watchfile;

use self::bars::Bars;
use self::output::{OutputMode, TaskOutput};
use self::plain::Plain;
use super::args::{Common, Output};
use super::facts::{Facts, Place};

/// Takes each event, in order, on one thread.
pub(crate) trait Reporter {
    /// Shows `event`, which happened `at` after the start.
    ///
    /// # Errors
    /// What writing returned; `BrokenPipe` means that nobody reads any more.
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()>;
}

/// Several reporters as one.
pub(crate) struct All(pub(crate) Vec<Box<dyn Reporter>>);

impl Reporter for All {
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|reporter| reporter.event(at, event))
    }
}

/// How the output of tasks is shown: as the flag says, else as the watchfile says, else as suits
/// the place it goes to.
pub(crate) fn output_mode(
    flag: Option<Output>,
    setting: watchfile::OutputMode,
    facts: &Facts,
) -> OutputMode {
    let auto = || match (facts.github, facts.stderr) {
        (true, _) => OutputMode::Github,
        (false, Place::Terminal) => OutputMode::Failed,
        (false, Place::Plain) => OutputMode::Grouped,
    };
    match flag {
        Some(Output::Grouped) => OutputMode::Grouped,
        Some(Output::Prefixed) => OutputMode::Prefixed,
        Some(Output::Stream) => OutputMode::Stream,
        Some(Output::Failed) => OutputMode::Failed,
        Some(Output::Auto) | None => match setting {
            watchfile::OutputMode::Grouped => OutputMode::Grouped,
            watchfile::OutputMode::Prefixed => OutputMode::Prefixed,
            watchfile::OutputMode::Stream => OutputMode::Stream,
            watchfile::OutputMode::Failed => OutputMode::Failed,
            watchfile::OutputMode::Auto => auto(),
        },
    }
}

/// Lines, with a live status where there is a terminal.
pub(crate) fn for_people(
    mode: OutputMode,
    detail: Detail,
    common: &Common,
    facts: &Facts,
) -> Box<dyn Reporter> {
    let style = facts.style_of_stderr();
    let output = TaskOutput::new(mode, facts.style_of_stdout(), facts.temp_dir.clone());
    if facts.stderr == Place::Plain {
        return Box::new(Plain::new(
            io::stderr(),
            io::stdout(),
            style,
            detail,
            output,
        ));
    }
    let clear = common.clear;
    Box::new(Bars::new(
        Plain::new(io::stderr(), io::stdout(), style, detail, output),
        clear,
    ))
}
