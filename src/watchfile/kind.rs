//! Every kind of mistake a watchfile can hold: [`ErrorKind`].
//!
//! Messages and the hints that fit each kind; where the mistake is and how it is shown is
//! [`super::Error`]'s and [`super::Errors`]' business.

use std::fmt;

use crate::pattern::PatternError;
use crate::task_id::TaskName;

/// What is wrong. The `Display` form is the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is not TOML.
    #[error("{message}")]
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// There is not one task or service.
    #[error("the watchfile has no tasks")]
    NoTasks,
    /// A key that does not exist.
    #[error("unknown key `{key}` in {table}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The table it stands in, as a phrase.
        table: String,
    },
    /// A key that exists elsewhere and means nothing here.
    #[error("{table} cannot have the key `{key}`")]
    MisplacedKey {
        /// The key.
        key: String,
        /// The table it stands in, as a phrase.
        table: String,
    },
    /// A key whose effect is not built.
    #[error("`{key}` is not supported yet")]
    NotSupported {
        /// The key.
        key: String,
    },
    /// A key that must be there.
    #[error("{table} has no {key}")]
    MissingKey {
        /// The key or keys, as a phrase.
        key: &'static str,
        /// The table that lacks it, as a phrase.
        table: String,
    },
    /// A value of another type.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What it takes, as a phrase.
        expected: &'static str,
        /// What is there, as a phrase.
        found: &'static str,
    },
    /// Nothing where something must be.
    #[error("`{key}` is empty")]
    Empty {
        /// The key.
        key: String,
    },
    /// A list of globs that takes away from nothing.
    #[error("`{key}` only excludes")]
    OnlyExcludes {
        /// The key.
        key: String,
    },
    /// Nothing in a list of somethings.
    #[error("`{key}` holds an empty string")]
    EmptyElement {
        /// The key.
        key: String,
    },
    /// A NUL byte, which no command line, path or variable can hold.
    #[error("`{key}` holds a NUL character")]
    Nul {
        /// The key.
        key: String,
    },
    /// `{files}` within a longer word of a command that is given as words.
    #[error("`{{files}}` is not a word of its own in `{word}`")]
    FilesInWord {
        /// The word.
        word: String,
    },
    /// A number that is too small or too large.
    #[error("`{key}` must be {expected}, not {value}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The range, as a phrase.
        expected: &'static str,
        /// What is written.
        value: String,
    },
    /// A word that is none of the words it may be.
    #[error("`{value}` is not a value of `{key}`")]
    UnknownChoice {
        /// The key.
        key: String,
        /// What is written.
        value: String,
    },
    /// Text that is not of the form it must have.
    #[error("`{value}` is not {expected}")]
    Malformed {
        /// What is written.
        value: String,
        /// What it must be, as a phrase.
        expected: &'static str,
    },
    /// A regular expression that does not compile.
    #[error("`{value}` is not a regular expression: {reason}")]
    BadRegex {
        /// What is written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A glob that cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A task or service name that cannot be used.
    #[error("{name:?} cannot be a task's name: it {problem}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two tasks or services with one name.
    #[error("`{name}` is defined twice")]
    DuplicateName {
        /// The name.
        name: TaskName,
    },
    /// A path outside the root.
    #[error("the path `{path}` leaves the root")]
    LeavesRoot {
        /// The path as it is written.
        path: String,
    },
    /// A directory that is not there.
    #[error("the directory `{dir}` does not exist")]
    DirMissing {
        /// The directory, from the root.
        dir: String,
    },
    /// A path that must be a directory and is something else.
    #[error("`{dir}` is not a directory")]
    NotADirectory {
        /// The path, from the root.
        dir: String,
    },
    /// A file that the watchfile names and that cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    CannotRead {
        /// The file, from the root.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A file that the watchfile names and that is not text.
    #[error("`{path}` is not UTF-8")]
    NotUtf8 {
        /// The file, from the root.
        path: String,
    },
    /// An `include` pattern without a file.
    #[error("`{pattern}` matches no watchfile")]
    NothingIncluded {
        /// The pattern as it is written.
        pattern: String,
    },
    /// A line of an env file that is no assignment.
    #[error("{problem}")]
    EnvFile {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A pool that `[pools]` does not have.
    #[error("unknown pool `{name}`")]
    UnknownPool {
        /// The name.
        name: String,
    },
    /// A name that no task or service has.
    #[error("{} unknown task `{name}`", Referrer(task.as_ref()))]
    UnknownName {
        /// The task that refers to it; `None`: the key `default`.
        task: Option<TaskName>,
        /// The name.
        name: TaskName,
    },
    /// Tasks that wait for each other.
    #[error("{}", Circle(path))]
    Cycle {
        /// The tasks, each depending on the next; the first is also the last.
        path: Vec<TaskName>,
    },
    /// Two tasks that produce the same file.
    #[error("tasks `{first}` and `{second}` both produce `{output}`")]
    DuplicateOutput {
        /// The task that comes first in the watchfile.
        first: TaskName,
        /// The other one.
        second: TaskName,
        /// The path or pattern.
        output: String,
    },
}

impl ErrorKind {
    /// How such an error is mended when nothing is known of the case at hand.
    pub(super) fn usual_hint(&self) -> &'static str {
        match self {
            Self::Syntax { message } => syntax_hint(message),
            Self::NoTasks => {
                "write one, as in `test = \"cargo test\"` under `[tasks]`, or let `watchrun init` \
                 write a watchfile"
            }
            Self::NotSupported { .. } => "remove it: it would have no effect",
            Self::Empty { .. } => "give it a value, or leave the key out",
            Self::OnlyExcludes { .. } => {
                "name first what it excludes from, as in `[\"src/**\", \"!src/tmp/**\"]`"
            }
            Self::EmptyElement { .. } => "remove the element",
            Self::Nul { .. } => "remove it: commands, paths and variables cannot hold one",
            Self::FilesInWord { .. } => {
                "each file becomes one word: write `\"{files}\"`, or the command as a string"
            }
            _ => "`watchrun schema` describes every key and its values",
        }
    }
}

fn syntax_hint(message: &str) -> &'static str {
    if message.starts_with("duplicate key") {
        "a key or table is given once: remove or rename one of them"
    } else if message.contains("string") {
        "a string stands on one line in quotes, or on several in triple quotes"
    } else if message.contains("table") {
        "a table begins with its name in brackets, as in `[tasks.build]`"
    } else if message.contains("array") {
        "a list is `[\"one\", \"two\"]`"
    } else {
        "the file must be TOML: `key = \"value\"` lines under `[table]` headers"
    }
}

struct Referrer<'a>(Option<&'a TaskName>);

impl fmt::Display for Referrer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(task) => write!(f, "task `{task}` depends on"),
            None => f.write_str("`default` names"),
        }
    }
}

struct Circle<'a>(&'a [TaskName]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [task, again] = self.0
            && task == again
        {
            return write!(f, "task `{task}` depends on itself");
        }
        f.write_str("tasks depend on each other in a cycle: ")?;
        for (n, task) in self.0.iter().enumerate() {
            let arrow = if n == 0 { "" } else { " -> " };
            write!(f, "{arrow}{task}")?;
        }
        Ok(())
    }
}
