//! What went wrong, as a person reads it: [`Failure`].

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use clap::CommandFactory;
use watchrun::plan::{Rejected, UnknownTask};
use watchrun::session::SessionError;
use watchrun::suggest::nearest;
use watchrun::watchfile::LoadError;

use super::args::Args;
use super::exit::Exit;
use super::report::{Style, Tone};

/// Why the program could not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The watchfile has errors: the whole report.
    Watchfile { report: String, count: usize },
    /// Anything else: what, the causes, and how to mend it.
    Other {
        exit: Exit,
        message: String,
        causes: Vec<String>,
        hint: Option<String>,
    },
    /// Nobody reads the output any more. Not worth a word.
    Closed,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl fmt::Display, hint: Option<String>) -> Self {
        let message = message.to_string();
        Self::Other {
            exit: Exit::Usage,
            message,
            causes: Vec::new(),
            hint,
        }
    }

    /// The environment does not allow it.
    pub(crate) fn environment(error: &dyn Error, hint: Option<String>) -> Self {
        let message = error.to_string();
        Self::Other {
            exit: Exit::Environment,
            message,
            causes: causes(error),
            hint,
        }
    }

    /// The environment does not allow it: `message`, because of `error`.
    pub(crate) fn environment_at(message: String, error: &dyn Error, hint: &str) -> Self {
        Self::Other {
            exit: Exit::Environment,
            message,
            causes: std::iter::once(error.to_string())
                .chain(causes(error))
                .collect(),
            hint: Some(hint.to_owned()),
        }
    }

    /// Output could not be written. That nobody reads it any more is no error.
    pub(crate) fn unwritten(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let hint = "the run was stopped: free some space, or write elsewhere";
        Self::environment_at("cannot write the output".to_owned(), error, hint)
    }

    pub(crate) fn rejected(rejected: &Rejected, style: Style) -> Self {
        Self::Watchfile {
            report: rejected.errors.render(&rejected.sources, style.color),
            count: rejected.errors.as_slice().len(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Watchfile { .. } => Exit::Usage,
            Self::Other { exit, .. } => *exit,
            Self::Closed => Exit::Good,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::environment(&error, None),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Other {
            exit: Exit::Usage,
            message: error.to_string(),
            causes: causes(&error),
            hint: Some(error.hint().to_owned()),
        }
    }
}

impl From<UnknownTask> for Failure {
    fn from(error: UnknownTask) -> Self {
        let near = error.suggestion.as_ref();
        let near = near.map(|name| format!("did you mean `{name}`?"));
        let command = || {
            let program = Args::command();
            let names = program.get_subcommands().map(clap::Command::get_name);
            let near = nearest(error.name.as_str(), names);
            near.map(|name| format!("did you mean `watchrun {name}`?"))
        };
        let list = || "`watchrun list` shows the tasks there are".to_owned();
        let hint = near.or_else(command).unwrap_or_else(list);
        Self::usage(&error, Some(hint))
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::UnknownTask(error) => error.into(),
            SessionError::Watch { ref source, .. } => {
                let advice = source.advice();
                Self::environment(&error, Some(advice))
            }
            other => Self::environment(&other, None),
        }
    }
}

/// Prints `failure` on stderr.
pub(crate) fn show(failure: &Failure, style: Style) {
    let error = style.paint(Tone::Bad, "error:");
    let text = match failure {
        Failure::Closed => return,
        Failure::Watchfile { report, count: 1 } => report.clone(),
        Failure::Watchfile { report, count } => {
            format!("{report}\n{error} the watchfile has {count} errors\n")
        }
        Failure::Other {
            message,
            causes,
            hint,
            ..
        } => {
            let causes = causes.iter().map(|cause| format!("caused by: {cause}\n"));
            let hint = hint.iter().map(|hint| format!("hint: {hint}\n"));
            let below: String = causes.chain(hint).collect();
            format!("{error} {message}\n{below}")
        }
    };
    // Nobody to tell if this cannot be written.
    drop(io::stderr().write_all(text.as_bytes()));
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}
