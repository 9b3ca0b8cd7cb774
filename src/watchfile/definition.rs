//! One `[tasks.*]` or `[services.*]` table, checked: makes a [`Task`].
//!
//! Whatever is wrong is noted and replaced by its default, so that the task is still there for
//! others to refer to.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::path::RelDir;
use crate::pattern::{Pattern, PatternError, PatternSet};
use crate::suggest::nearest;
use crate::task_id::TaskName;

use super::choice::lower_choice;
use super::duration::{lower_duration, lower_positive};
use super::env::{Env, lower_env, lower_env_inputs};
use super::error::{Error, did_you_mean};
use super::keys;
use super::kind::ErrorKind;
use super::place::Places;
use super::raw::{self, Run, Section};
use super::reader::{At, Text};
use super::ready::lower_ready;
use super::signal::{self, lower_signal};
use super::task::{
    Caching, FILES, FailureRule, Inputs, Invocation, NameRef, OnBusy, Restart, Service, Span,
    StopRule, Task, TaskKind, Terminal,
};

/// What one file gives its tasks.
pub(super) struct Scope<'a> {
    /// Where the file lies.
    pub(super) dir: RelDir,
    /// What comes before its tasks' names: `apps/web:`, or nothing.
    pub(super) prefix: String,
    /// The names of its tasks, without the prefix.
    pub(super) own: HashSet<&'a str>,
    /// The variables of every task in it.
    pub(super) env: Env,
    /// The pools, by name.
    pub(super) pools: &'a HashMap<String, usize>,
}

impl Scope<'_> {
    /// The full name of a task of this file.
    pub(super) fn full_name(&self, name: &str) -> TaskName {
        if self.prefix.is_empty() {
            TaskName::new(name)
        } else {
            TaskName::new(&format!("{}{name}", self.prefix))
        }
    }

    /// What `text` refers to: a task of this file, else a full name.
    fn reference(&self, text: &Text<'_>) -> NameRef {
        let name = if self.own.contains(text.value) {
            self.full_name(text.value)
        } else {
            TaskName::new(text.value)
        };
        NameRef {
            name,
            span: text.span,
        }
    }

    fn references(&self, texts: &[Text<'_>]) -> Vec<NameRef> {
        texts.iter().map(|text| self.reference(text)).collect()
    }
}

/// Checks one task or service.
pub(super) fn lower_task(
    raw: &raw::Task<'_>,
    scope: &Scope<'_>,
    places: &mut Places<'_>,
    errors: &mut Vec<Error>,
) -> Task {
    check_name(&raw.name, errors);
    let body = &raw.body(errors);
    let dir = match &body.dir {
        Some(text) => places.lower_dir(text, &scope.dir, errors),
        None => None,
    };
    let dir = dir.unwrap_or_else(|| scope.dir.clone());
    let mut env = scope.env.clone();
    lower_env(&body.env, &mut env, errors);
    let (outputs, output_spans) = lower_outputs(&body.outputs, &dir, errors);
    Task {
        name: scope.full_name(raw.name.value),
        span: raw.name.span,
        kind: lower_kind(raw, body, errors),
        description: body.description.as_ref().map(|text| text.value.to_owned()),
        inputs: lower_inputs(body.inputs.as_ref(), &dir, errors),
        outputs,
        output_spans,
        deps: scope.references(&body.deps),
        after: scope.references(&body.after),
        env,
        env_inputs: lower_env_inputs(&body.env_inputs, errors),
        tools: strings(&body.tools),
        shell: match &body.shell {
            Some(words) => strings(&words.value),
            None => vec!["sh".to_owned(), "-c".to_owned()],
        },
        caching: match &body.cache {
            Some(At { value: false, .. }) => Caching::Off,
            _ => Caching::On,
        },
        timeout: body
            .timeout
            .as_ref()
            .and_then(|text| lower_positive("timeout", text, errors)),
        retries: body
            .retries
            .as_ref()
            .map_or(0, |n| lower_retries(n, errors)),
        on_busy: lower_on_busy(body.on_busy.as_ref(), errors),
        stop: lower_stop(body, errors),
        pool: body
            .pool
            .as_ref()
            .and_then(|text| lower_pool(text, scope.pools, errors)),
        failure: match &body.allow_failure {
            Some(At { value: true, .. }) => FailureRule::Allowed,
            _ => FailureRule::Fails,
        },
        terminal: match &body.interactive {
            Some(At { value: true, .. }) => Terminal::Owned,
            _ => Terminal::Captured,
        },
        dir,
    }
}

fn check_name(name: &Text<'_>, errors: &mut Vec<Error>) {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    let (problem, hint) = match name.value {
        "" => ("is empty", "give it a name, as in `[tasks.build]`"),
        text if text.contains(':') => (
            "holds a `:`",
            "`:` stands between the directory and the name of an included task",
        ),
        text if text.contains(bad) => ("holds a blank or a control character", "use `-` or `_`"),
        text if text.starts_with('-') => (
            "begins with `-`",
            "the command line would take it for an option",
        ),
        _ => return,
    };
    let name_text = name.value.to_owned();
    let kind = ErrorKind::BadName {
        name: name_text,
        problem,
    };
    errors.push(Error::new(kind, name.span).with_hint(hint));
}

fn lower_kind(raw: &raw::Task<'_>, body: &raw::Body<'_>, errors: &mut Vec<Error>) -> TaskKind {
    let run = body.run.as_ref().map(|run| match &run.value {
        Run::Line(line) => Invocation::Line((*line).to_owned()),
        Run::Words(words) => {
            Invocation::Words(words.iter().map(|word| (*word).to_owned()).collect())
        }
    });
    if let Some(run) = &body.run {
        check_files(run, errors);
    }
    let has_key = |key: &str| body.keys.iter().any(|present| present.key == key);
    match (raw.section, run) {
        (Section::Tasks, Some(run)) => TaskKind::Command(run),
        (Section::Tasks, None) => {
            if !has_key("run") {
                check_group(raw.name, body, errors);
            }
            TaskKind::Group
        }
        (Section::Services, run) => {
            if run.is_none() && body.is_table && !has_key("run") {
                let kind = ErrorKind::MissingKey {
                    key: "`run`",
                    table: format!("service `{}`", raw.name.value),
                };
                let error = Error::new(kind, raw.name.span);
                errors.push(
                    error.with_hint("`run` is the command that stays, as in `run = \"./server\"`"),
                );
            }
            TaskKind::Service(Service {
                run: run.unwrap_or(Invocation::Words(Vec::new())),
                ready: lower_ready(body.ready.as_ref(), errors),
                restart: lower_restart(body.restart.as_ref(), errors),
                reload_signal: body
                    .reload_signal
                    .and_then(|value| lower_signal(value, errors)),
            })
        }
    }
}

/// Files are passed as whole words, so in a list of words they stand alone.
fn check_files(run: &At<Run<'_>>, errors: &mut Vec<Error>) {
    let Run::Words(words) = &run.value else {
        return;
    };
    for word in words {
        if word.contains(FILES) && *word != FILES {
            let word = (*word).to_owned();
            errors.push(Error::new(ErrorKind::FilesInWord { word }, run.span));
        }
    }
}

/// A task without a command has something to wait for, and nothing that only a command has.
fn check_group(name: Text<'_>, body: &raw::Body<'_>, errors: &mut Vec<Error>) {
    let hint = "without `run` it only groups its `deps`: add `run`";
    let mut useless = body
        .keys
        .iter()
        .filter(|key| !keys::GROUP.contains(&key.key))
        .peekable();
    if body.deps.is_empty()
        && useless.peek().is_none()
        && !body.keys.iter().any(|key| key.key == "deps")
    {
        let kind = ErrorKind::MissingKey {
            key: "`run` and no `deps`",
            table: format!("task `{}`", name.value),
        };
        errors.push(
            Error::new(kind, name.span)
                .with_hint("`run` is its command, as in `run = \"cargo build\"`"),
        );
    }
    for key in useless {
        let kind = ErrorKind::MisplacedKey {
            key: key.key.to_owned(),
            table: format!("task `{}`, which has no command,", name.value),
        };
        errors.push(Error::new(kind, key.span).with_hint(hint));
    }
}

fn lower_inputs(
    texts: Option<&At<Vec<Text<'_>>>>,
    dir: &RelDir,
    errors: &mut Vec<Error>,
) -> Inputs {
    let Some(texts) = texts else {
        return Inputs::Everything;
    };
    check_includes("inputs", &texts.value, errors);
    let patterns = texts
        .value
        .iter()
        .filter_map(|text| lower_pattern(text, dir, errors));
    Inputs::Patterns(PatternSet::new(patterns.collect()))
}

/// Globs that only exclude match nothing, which nobody means.
fn check_includes(key: &str, texts: &[Text<'_>], errors: &mut Vec<Error>) {
    let [first, ..] = texts else {
        return;
    };
    if texts.iter().all(|text| text.value.starts_with('!')) {
        let key = key.to_owned();
        errors.push(Error::new(ErrorKind::OnlyExcludes { key }, first.span));
    }
}

fn lower_outputs(
    texts: &[Text<'_>],
    dir: &RelDir,
    errors: &mut Vec<Error>,
) -> (PatternSet, Vec<Span>) {
    check_includes("outputs", texts, errors);
    let (mut patterns, mut spans) = (
        Vec::with_capacity(texts.len()),
        Vec::with_capacity(texts.len()),
    );
    for text in texts {
        let Some(pattern) = lower_pattern(text, dir, errors) else {
            continue;
        };
        if pattern == Pattern::everything() {
            let kind = ErrorKind::Malformed {
                value: text.value.to_owned(),
                expected: "an output: it covers the whole root",
            };
            let hint = "name the files or the directory that the command writes";
            errors.push(Error::new(kind, text.span).with_hint(hint));
            continue;
        }
        patterns.push(pattern);
        spans.push(text.span);
    }
    (PatternSet::new(patterns), spans)
}

fn lower_pattern(text: &Text<'_>, dir: &RelDir, errors: &mut Vec<Error>) -> Option<Pattern> {
    match Pattern::parse(text.value, dir) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let hint = pattern_hint(&error);
            errors.push(Error::new(error.into(), text.span).with_hint(hint));
            None
        }
    }
}

/// How to mend a glob.
pub(super) fn pattern_hint(error: &PatternError) -> &'static str {
    match error {
        PatternError::Empty => "write a path or a glob, as in `src/**/*.rs`",
        PatternError::LeavesRoot { .. } => {
            "the root is the directory of the main watchfile: nothing outside it can be matched"
        }
        PatternError::DotDotAfterWildcard { .. } => "put `..` before the first wildcard",
        PatternError::Syntax { .. } => {
            "put a backslash before `[`, `{`, `*` or `?` to mean the character itself"
        }
    }
}

fn lower_retries(number: &At<i64>, errors: &mut Vec<Error>) -> u32 {
    u32::try_from(number.value).unwrap_or_else(|_| {
        let kind = ErrorKind::OutOfRange {
            key: "retries".to_owned(),
            expected: if number.value < 0 {
                "0 or more"
            } else {
                "at most 4294967295"
            },
            value: number.value.to_string(),
        };
        errors.push(
            Error::new(kind, number.span)
                .with_hint("it counts the further attempts after a failure"),
        );
        0
    })
}

fn lower_on_busy(text: Option<&Text<'_>>, errors: &mut Vec<Error>) -> OnBusy {
    let choices = [
        ("auto", OnBusy::Auto),
        ("restart", OnBusy::Restart),
        ("queue", OnBusy::Queue),
        ("ignore", OnBusy::Ignore),
    ];
    text.and_then(|text| lower_choice("on_busy", text, &choices, errors))
        .unwrap_or(OnBusy::Auto)
}

fn lower_restart(text: Option<&Text<'_>>, errors: &mut Vec<Error>) -> Restart {
    let choices = [
        ("always", Restart::Always),
        ("on-failure", Restart::OnFailure),
        ("never", Restart::Never),
    ];
    text.and_then(|text| lower_choice("restart", text, &choices, errors))
        .unwrap_or(Restart::OnFailure)
}

fn lower_stop(body: &raw::Body<'_>, errors: &mut Vec<Error>) -> StopRule {
    let signal = body
        .stop_signal
        .and_then(|value| lower_signal(value, errors));
    let grace = body
        .stop_grace
        .as_ref()
        .and_then(|text| lower_duration(text, errors));
    StopRule {
        signal: signal.unwrap_or(signal::DEFAULT),
        grace: grace.unwrap_or(Duration::from_secs(5)),
    }
}

fn lower_pool(
    text: &Text<'_>,
    pools: &HashMap<String, usize>,
    errors: &mut Vec<Error>,
) -> Option<usize> {
    let found = pools.get(text.value).copied();
    if found.is_none() {
        let mut names: Vec<&str> = pools.keys().map(String::as_str).collect();
        names.sort_unstable();
        let hint = match nearest(text.value, names) {
            Some(name) => did_you_mean(name),
            None => format!(
                "define it in the main watchfile: `[pools]`, `{} = 1`",
                text.value
            ),
        };
        let name = text.value.to_owned();
        errors.push(Error::new(ErrorKind::UnknownPool { name }, text.span).with_hint(hint));
    }
    found
}

fn strings(texts: &[Text<'_>]) -> Vec<String> {
    texts.iter().map(|text| text.value.to_owned()).collect()
}
