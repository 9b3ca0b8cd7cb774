//! `[settings]`: how watchrun itself behaves in this root. [`Settings`].

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::path::{RelDir, RelPath};

use super::choice::lower_choice;
use super::duration::{lower_duration, lower_positive};
use super::error::Error;
use super::kind::ErrorKind;
use super::place::lower_path;
use super::raw;
use super::raw::Scalar;
use super::reader::At;
use super::size::lower_size;

/// The settings, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many commands run at once.
    pub jobs: Jobs,
    /// How long nothing may change before a change set is ready.
    pub debounce: Duration,
    /// How long a change set may be held back at most. Not less than `debounce`.
    pub debounce_max: Duration,
    /// Whether git's ignore rules are followed.
    pub gitignore: Gitignore,
    /// Where changes are learned from.
    pub backend: Backend,
    /// How often a polled directory is looked at. More than zero.
    pub poll_interval: Duration,
    /// What a failure means for what has not started.
    pub keep_going: KeepGoing,
    /// How the output of tasks is shown.
    pub output: OutputMode,
    /// Where results are kept; `None`: in `.watchrun/`.
    pub cache_dir: Option<RelPath>,
    /// How many bytes of results are kept.
    pub cache_size_bytes: u64,
    /// Whether the terminal is asked to announce a run that failed, and the next that did not.
    pub notify: Notify,
    /// How children that speak the jobserver protocol share the job slots.
    pub jobserver: Jobserver,
}

impl Settings {
    /// The keys that differ from `other` and have their effect at the start of a session alone:
    /// what waits for changes and what runs commands are set up then.
    #[must_use]
    pub fn differing_at_start(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            jobs,
            debounce: _,
            debounce_max: _,
            gitignore,
            backend,
            poll_interval,
            keep_going,
            output,
            cache_dir,
            cache_size_bytes,
            notify,
            jobserver,
        } = self;
        let keys = [
            ("jobs", *jobs != other.jobs),
            ("gitignore", *gitignore != other.gitignore),
            ("backend", *backend != other.backend),
            ("poll_interval", *poll_interval != other.poll_interval),
            ("keep_going", *keep_going != other.keep_going),
            ("output", *output != other.output),
            ("cache_dir", *cache_dir != other.cache_dir),
            ("cache_size", *cache_size_bytes != other.cache_size_bytes),
            ("notify", *notify != other.notify),
            ("jobserver", *jobserver != other.jobserver),
        ];
        let differing = keys.iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| *key).collect()
    }
}

/// How many commands run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// As many as there are cores.
    Cores,
    /// This many.
    Count(NonZeroUsize),
    /// This part of the cores, in percent.
    Percent(NonZeroU32),
}

impl Jobs {
    /// The number on a machine with this many cores: at least 1.
    #[must_use]
    pub fn resolve(self, cores: NonZeroUsize) -> NonZeroUsize {
        match self {
            Self::Cores => cores,
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let jobs = cores.get().saturating_mul(percent.get() as usize) / 100;
                NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN)
            }
        }
    }

    /// Parses what `--jobs` and the setting take: a number above 0 or a percentage.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: NonZeroU32 = percent.parse().ok()?;
            return (percent.get() <= 10_000).then_some(Self::Percent(percent));
        }
        let count: NonZeroUsize = text.parse().ok()?;
        (count.get() <= JOBS_MAX).then_some(Self::Count(count))
    }
}

const JOBS_MAX: usize = 10_000;

/// Whether git's ignore rules are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gitignore {
    /// What git ignores is ignored.
    Followed,
    /// It is not.
    NotFollowed,
}

/// Where changes are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The system where it can, polling where it cannot.
    Auto,
    /// The system alone.
    Native,
    /// Polling alone.
    Poll,
}

/// What a failure means for what has not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepGoing {
    /// The first failure stops new starts.
    Never,
    /// Nothing stops new starts but an unmet dependency.
    Always,
    /// This many failures stop new starts.
    UntilFailures(NonZeroU32),
}

/// How the output of tasks is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// What suits the place it goes to.
    Auto,
    /// Each task's output in one piece, when it ends.
    Grouped,
    /// Line by line, with the task's name before it.
    Prefixed,
    /// As it comes.
    Stream,
    /// Only that of tasks that failed.
    Failed,
}

/// Whether the end of a run is announced on the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// How children that speak the jobserver protocol share the job slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobserver {
    /// By the style that the installed make understands.
    Auto,
    /// By a named pipe.
    Fifo,
    /// By an inherited pipe.
    Pipe,
    /// Not at all.
    Off,
}

impl Settings {
    /// What holds when nothing is set.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            jobs: Jobs::Cores,
            debounce: Duration::from_millis(10),
            debounce_max: Duration::from_millis(500),
            gitignore: Gitignore::Followed,
            backend: Backend::Auto,
            poll_interval: Duration::from_secs(1),
            keep_going: KeepGoing::Never,
            output: OutputMode::Auto,
            cache_dir: None,
            cache_size_bytes: 5 << 30,
            notify: Notify::Off,
            jobserver: Jobserver::Auto,
        }
    }
}

/// Checks `[settings]`. What is wrong keeps its default.
pub(super) fn lower_settings(raw: &raw::Settings<'_>, errors: &mut Vec<Error>) -> Settings {
    let mut settings = Settings::defaults();
    lower_times(raw, &mut settings, errors);
    if let Some(jobs) = raw.jobs.and_then(|jobs| lower_jobs(jobs, errors)) {
        settings.jobs = jobs;
    }
    if let Some(gitignore) = &raw.gitignore {
        settings.gitignore = if gitignore.value {
            Gitignore::Followed
        } else {
            Gitignore::NotFollowed
        };
    }
    if let Some(text) = &raw.backend {
        let choices = [
            ("auto", Backend::Auto),
            ("native", Backend::Native),
            ("poll", Backend::Poll),
        ];
        settings.backend =
            lower_choice("backend", text, &choices, errors).unwrap_or(settings.backend);
    }
    if let Some(keep_going) = raw
        .keep_going
        .and_then(|value| lower_keep_going(value, errors))
    {
        settings.keep_going = keep_going;
    }
    if let Some(text) = &raw.output {
        let choices = [
            ("auto", OutputMode::Auto),
            ("grouped", OutputMode::Grouped),
            ("prefixed", OutputMode::Prefixed),
            ("stream", OutputMode::Stream),
            ("failed", OutputMode::Failed),
        ];
        settings.output = lower_choice("output", text, &choices, errors).unwrap_or(settings.output);
    }
    if let Some(text) = &raw.cache_dir {
        settings.cache_dir = lower_path(text, &RelDir::ROOT, errors);
    }
    if let Some(bytes) = raw.cache_size.and_then(|size| lower_size(size, errors)) {
        settings.cache_size_bytes = bytes;
    }
    if let Some(notify) = &raw.notify {
        settings.notify = if notify.value {
            Notify::On
        } else {
            Notify::Off
        };
    }
    if let Some(text) = &raw.jobserver {
        let choices = [
            ("auto", Jobserver::Auto),
            ("fifo", Jobserver::Fifo),
            ("pipe", Jobserver::Pipe),
            ("off", Jobserver::Off),
        ];
        settings.jobserver =
            lower_choice("jobserver", text, &choices, errors).unwrap_or(settings.jobserver);
    }
    settings
}

fn lower_times(raw: &raw::Settings<'_>, settings: &mut Settings, errors: &mut Vec<Error>) {
    if let Some(text) = &raw.debounce
        && let Some(debounce) = lower_duration(text, errors)
    {
        settings.debounce = debounce;
        settings.debounce_max = settings.debounce_max.max(debounce);
    }
    if let Some(text) = &raw.debounce_max
        && let Some(longest) = lower_duration(text, errors)
    {
        if longest < settings.debounce {
            let kind = ErrorKind::OutOfRange {
                key: "debounce_max".to_owned(),
                expected: "at least `debounce`",
                value: text.value.to_owned(),
            };
            let hint = format!("`debounce` is {:?}", settings.debounce);
            errors.push(Error::new(kind, text.span).with_hint(hint));
        }
        settings.debounce_max = longest.max(settings.debounce);
    }
    if let Some(text) = &raw.poll_interval
        && let Some(interval) = lower_positive("poll_interval", text, errors)
    {
        settings.poll_interval = interval;
    }
}

fn lower_jobs(value: At<Scalar<'_>>, errors: &mut Vec<Error>) -> Option<Jobs> {
    let written = match value.value {
        Scalar::Integer(count) => count.to_string(),
        Scalar::Text(text) => text.to_owned(),
    };
    let jobs = Jobs::parse(&written);
    if jobs.is_none() {
        let kind = ErrorKind::OutOfRange {
            key: "jobs".to_owned(),
            expected: "a number from 1 to 10000 or a percentage",
            value: format!("`{written}`"),
        };
        let hint = "leave it out for one job a core, or write a part of the cores, as in `\"75%\"`";
        errors.push(Error::new(kind, value.span).with_hint(hint));
    }
    jobs
}

fn lower_keep_going(value: At<raw::KeepGoing>, errors: &mut Vec<Error>) -> Option<KeepGoing> {
    let count = match value.value {
        raw::KeepGoing::Flag(false) => return Some(KeepGoing::Never),
        raw::KeepGoing::Flag(true) => return Some(KeepGoing::Always),
        raw::KeepGoing::Count(count) => count,
    };
    if let Some(failures) = u32::try_from(count).ok().and_then(NonZeroU32::new) {
        return Some(KeepGoing::UntilFailures(failures));
    }
    let kind = ErrorKind::OutOfRange {
        key: "keep_going".to_owned(),
        expected: "`true`, `false` or a number of failures from 1",
        value: count.to_string(),
    };
    let hint = "`true` keeps going after any number of failures";
    errors.push(Error::new(kind, value.span).with_hint(hint));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_of_the_cores_is_at_least_one_job() {
        let cores = NonZeroUsize::new(8).unwrap();
        let jobs = |text| Jobs::parse(text).unwrap().resolve(cores).get();
        assert_eq!(jobs("75%"), 6);
        assert_eq!(jobs("1%"), 1);
        assert_eq!(jobs("3"), 3);
        assert_eq!(Jobs::Cores.resolve(cores).get(), 8);
    }

    #[test]
    fn no_jobs_and_other_words_are_refused() {
        for text in ["", "0", "0%", "-1", "%", "many", "1.5", "99999"] {
            assert_eq!(Jobs::parse(text), None, "{text}");
        }
    }
}
