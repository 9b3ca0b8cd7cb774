//! The checked form of one `[tasks.*]` or `[services.*]` table: [`Task`].
//!
//! Everything here is proven: globs compile, durations are parsed, directories were looked at.
//! Names in `deps` and `after` are not resolved yet; the plan does that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::RelDir;
use crate::pattern::PatternSet;
use crate::task_id::TaskName;

/// What stands in a command for the inputs that changed since the task last succeeded.
pub const FILES: &str = "{files}";

/// A task or service as the watchfile defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its full name.
    pub name: TaskName,
    /// Where the name is written.
    pub span: Span,
    /// Task, group or service.
    pub kind: TaskKind,
    /// What `list` shows.
    pub description: Option<String>,
    /// What triggers it and enters its key.
    pub inputs: Inputs,
    /// What it produces. Empty: nothing is declared.
    pub outputs: PatternSet,
    /// Where each output is written in the watchfile, in the order of `outputs.patterns()`.
    pub output_spans: Vec<Span>,
    /// What must succeed (or be ready) first.
    pub deps: Vec<NameRef>,
    /// What must have ended first, if it runs at all.
    pub after: Vec<NameRef>,
    /// Working directory.
    pub dir: RelDir,
    /// Variables set for the command: the watchfile's own, then the task's.
    pub env: BTreeMap<String, String>,
    /// Inherited variables that enter the key, in order: the last that matches decides.
    pub env_inputs: Vec<EnvPattern>,
    /// Commands whose output enters the key.
    pub tools: Vec<String>,
    /// The words before a shell line.
    pub shell: Vec<String>,
    /// Whether a success is remembered.
    pub caching: Caching,
    /// After this long the command is stopped.
    pub timeout: Option<Duration>,
    /// How many further attempts follow a failure.
    pub retries: u32,
    /// What a change does to it while it runs.
    pub on_busy: OnBusy,
    /// How it is stopped.
    pub stop: StopRule,
    /// The pool it takes a slot of, by its index in the watchfile's pools.
    pub pool: Option<usize>,
    /// What its failure means for the rest.
    pub failure: FailureRule,
    /// Whether it owns the terminal.
    pub terminal: Terminal,
}

impl Task {
    /// What is executed; `None` for a group.
    #[must_use]
    pub fn invocation(&self) -> Option<&Invocation> {
        match &self.kind {
            TaskKind::Group => None,
            TaskKind::Command(invocation) => Some(invocation),
            TaskKind::Service(service) => Some(&service.run),
        }
    }

    /// Whether the command takes the files that changed, see [`FILES`].
    #[must_use]
    pub fn takes_files(&self) -> bool {
        match &self.kind {
            TaskKind::Command(Invocation::Line(line)) => line.contains(FILES),
            TaskKind::Command(Invocation::Words(words)) => words.iter().any(|word| word == FILES),
            TaskKind::Group | TaskKind::Service(_) => false,
        }
    }

    /// What is executed, to be read or pasted into a shell; empty for a group.
    #[must_use]
    pub fn command_text(&self) -> String {
        match self.invocation() {
            None => String::new(),
            Some(Invocation::Line(line)) => line.trim().to_owned(),
            Some(Invocation::Words(words)) => {
                let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
                words.join(" ")
            }
        }
    }

    /// Whether both mean the same, wherever they are written.
    ///
    /// Pools are compared by index, so the watchfiles must have the same pools.
    #[must_use]
    pub fn same_definition(&self, other: &Self) -> bool {
        let Self {
            name,
            span: _,
            kind,
            // It is only shown.
            description: _,
            inputs,
            outputs,
            output_spans: _,
            deps,
            after,
            dir,
            env,
            env_inputs,
            tools,
            shell,
            caching,
            timeout,
            retries,
            on_busy,
            stop,
            pool,
            failure,
            terminal,
        } = self;
        *name == other.name
            && *kind == other.kind
            && *inputs == other.inputs
            && *outputs == other.outputs
            && same_names(deps, &other.deps)
            && same_names(after, &other.after)
            && *dir == other.dir
            && *env == other.env
            && *env_inputs == other.env_inputs
            && *tools == other.tools
            && *shell == other.shell
            && *caching == other.caching
            && *timeout == other.timeout
            && *retries == other.retries
            && *on_busy == other.on_busy
            && *stop == other.stop
            && *pool == other.pool
            && *failure == other.failure
            && *terminal == other.terminal
    }
}

/// `word` as a shell reads it as one word.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-+=./:,@%{}".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn same_names(a: &[NameRef], b: &[NameRef]) -> bool {
    a.iter().map(|r| &r.name).eq(b.iter().map(|r| &r.name))
}

/// What a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// No command: done when its deps are.
    Group,
    /// A command that ends.
    Command(Invocation),
    /// A command that stays.
    Service(Service),
}

/// A command as the watchfile writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// A string: one line for the task's shell.
    Line(String),
    /// An array: the words of one command, no shell.
    Words(Vec<String>),
}

/// What enters the key and triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// No `inputs` key: everything in the root that is not ignored and no task's output.
    Everything,
    /// What these match. An empty set: nothing.
    Patterns(PatternSet),
}

/// A reference to another task by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRef {
    /// The full name it refers to.
    pub name: TaskName,
    /// Where it is written.
    pub span: Span,
}

/// A stretch of one watchfile's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Index of the file in the watchfile's sources: 0 is the main one.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One element of `env_inputs`: a name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvPattern {
    /// The name, possibly with `*`.
    pub name: String,
    /// Whether it takes away (`!NAME`) rather than adds.
    pub excludes: bool,
}

impl EnvPattern {
    /// Whether it speaks of the variable `name`.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        fn glob(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
                Some((byte, rest)) => name.first() == Some(byte) && glob(rest, &name[1..]),
            }
        }
        glob(self.name.as_bytes(), name)
    }
}

/// Whether a success is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It is, and its outputs are kept for later.
    On,
    /// `cache = false`: the task runs whenever it is asked for.
    Off,
}

/// What a change does to a task while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBusy {
    /// Restart, but never more than twice in a row.
    Auto,
    /// Stop it and start over.
    Restart,
    /// Let it finish, then run it again.
    Queue,
    /// Let it finish.
    Ignore,
}

/// How a command is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRule {
    /// The signal sent first, by number.
    pub signal: i32,
    /// How long it may take before it is killed.
    pub grace: Duration,
}

/// What the failure of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureRule {
    /// Its dependents are skipped and the run fails.
    Fails,
    /// `allow_failure`: it is reported and nothing else.
    Allowed,
}

/// Whether a task owns the terminal while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Its output is captured, it has no input.
    Captured,
    /// `interactive`: it has the terminal alone.
    Owned,
}

/// A command that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What is executed.
    pub run: Invocation,
    /// When it counts as ready.
    pub ready: Ready,
    /// What follows when it ends by itself.
    pub restart: Restart,
    /// A signal, by number, that is sent on a change instead of a restart.
    pub reload_signal: Option<i32>,
}

/// When a service is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What is tried.
    pub probe: ReadyProbe,
    /// For how long.
    pub timeout: Duration,
}

/// How readiness is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyProbe {
    /// As soon as it is spawned.
    Spawned,
    /// When a connection to `host:port` is accepted.
    Tcp(String),
    /// When a GET of this URL answers with a status below 400.
    Http(String),
    /// When a line of its output matches this regular expression.
    Log(String),
    /// When this shell line succeeds.
    Exec(String),
}

/// What follows when a service ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again.
    Always,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It is not.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_an_environment_name_stands_for_any_characters() {
        let pattern = |name: &str| EnvPattern {
            name: name.to_owned(),
            excludes: false,
        };
        assert!(pattern("FOO_*").matches(b"FOO_BAR"));
        assert!(pattern("*").matches(b"X"));
        assert!(pattern("A*Z").matches(b"ABZ"));
        assert!(!pattern("FOO_*").matches(b"FOO"));
        assert!(!pattern("FOO").matches(b"FOO_BAR"));
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_word("src/a-b.c"), "src/a-b.c");
        assert_eq!(shell_word("{files}"), "{files}");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$x"), "'$x'");
    }
}
