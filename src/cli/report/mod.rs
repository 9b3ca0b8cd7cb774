//! How events reach people and programs: one [`Reporter`] for each way.

mod amount;
mod bars;
mod failures;
mod github;
mod json;
mod live;
mod notices;
mod output;
mod pen;
mod plain;
mod status;
mod style;

use std::io;
use std::time::Duration;

pub(crate) use json::Json;
pub(crate) use notices::Notices;
pub(crate) use plain::Detail;
pub(crate) use style::{Style, Tone};

use watchrun::schedule::RunEvent;
use watchrun::watchfile;

use self::bars::Bars;
use self::live::{Extras, Live};
use self::output::{OutputMode, TaskOutput};
use self::plain::Plain;
use self::status::Status;
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
    let grouped = || {
        if facts.github {
            OutputMode::Github
        } else {
            OutputMode::Grouped
        }
    };
    let auto = || match (facts.github, facts.stderr) {
        (false, Place::Terminal) => OutputMode::Failed,
        (true, _) | (false, Place::Plain) => grouped(),
    };
    match flag {
        Some(Output::Grouped) => grouped(),
        Some(Output::Prefixed) => OutputMode::Prefixed,
        Some(Output::Stream) => OutputMode::Stream,
        Some(Output::Failed) => OutputMode::Failed,
        Some(Output::Auto) | None => match setting {
            watchfile::OutputMode::Grouped => grouped(),
            watchfile::OutputMode::Prefixed => OutputMode::Prefixed,
            watchfile::OutputMode::Stream => OutputMode::Stream,
            watchfile::OutputMode::Failed => OutputMode::Failed,
            watchfile::OutputMode::Auto => auto(),
        },
    }
}

/// What people see, and how to tell them something out of turn.
pub(crate) struct People {
    pub(crate) reporter: Box<dyn Reporter>,
    pub(crate) notices: Notices,
}

/// Lines, with a live status where there is a terminal.
pub(crate) fn for_people(
    mode: OutputMode,
    detail: Detail,
    common: &Common,
    notify: watchfile::Notify,
    facts: &Facts,
) -> People {
    let style = facts.style_of_stderr();
    let spill_dir = facts.temp_dir.clone();
    let output = TaskOutput::new(mode, facts.style_of_stdout(), facts.stdout, spill_dir);
    if facts.stderr == Place::Plain {
        let plain = Plain::new(io::stderr(), io::stdout(), style, detail, output);
        return People {
            reporter: Box::new(plain),
            notices: Notices::Lines,
        };
    }
    // As in `watchrun | tee log`: what `tee` writes would get into the lines.
    let is_calm = facts.stdout_is_read || detail == Detail::Quiet;
    let status = (!is_calm).then(|| Status::new(style, facts.has_keyboard));
    let extras = Extras {
        clear: common.clear,
        notify: notify == watchfile::Notify::On,
        says_that_it_watches: !is_calm,
    };
    let bars = Bars::new(status);
    let reporter: Box<dyn Reporter> = if facts.stdout == Place::Terminal {
        let plain = Plain::new(bars.err(), bars.out(), style, detail, output);
        Box::new(Live::new(plain, bars.clone(), extras))
    } else {
        let plain = Plain::new(bars.err(), io::stdout(), style, detail, output);
        Box::new(Live::new(plain, bars.clone(), extras))
    };
    People {
        reporter,
        notices: Notices::Terminal(bars),
    }
}
