//! `watchrun why PATH`: whose input and output it is, and how it is watched.

use std::ffi::OsStr;
use std::io::{self, Write};

use serde_json::json;
use watchrun::path::RelPath;
use watchrun::plan::Plan;
use watchrun::session::Session;
use watchrun::suggest::nearest;
use watchrun::task_id::TaskId;
use watchrun::watch::{Explanation, IgnoreReason, WatchError, WatchManager, Watched};
use watchrun::watchfile::Inputs;

use super::args::Common;
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::working_dir;

/// Says what is known of the path `subject`, which is no task.
pub(crate) fn show(
    session: &Session,
    subject: &OsStr,
    common: &Common,
    facts: &Facts,
) -> Result<Exit, Failure> {
    let plan = session.plan();
    let path = session
        .root()
        .relativize(&working_dir(facts)?.join(subject))
        .map_err(|error| {
            let hint = "it is neither a task nor a path below the root".to_owned();
            Failure::usage(error, Some(hint))
        })?;
    let found = look(session, &path)?;
    let (consumers, producers) = (
        plan.triggers().consumers(&path),
        plan.triggers().producers(&path),
    );
    let is_meant = |id: &TaskId| speaks_of(plan, *id, &path);
    if found.explanation.on_disk.is_none()
        && producers.is_empty()
        && !consumers.iter().any(is_meant)
    {
        return Err(unknown(plan, subject));
    }
    let names = |ids: Vec<TaskId>| -> Vec<String> {
        ids.into_iter()
            .map(|id| plan.name(id).to_string())
            .collect()
    };
    let counts = |id: &TaskId| found.counts_for_all || is_named(plan, *id, &path);
    let inputs = names(consumers.into_iter().filter(counts).collect());
    let outputs = names(producers);
    if common.json {
        let ignored = found.explanation.ignored.as_ref();
        let ignored = ignored.map(|(at, reason)| ignored_by(at, reason));
        let watched = found.explanation.watched;
        let all = json!({ "path": path, "input_of": inputs, "output_of": outputs,
            "watched": watched, "ignored": ignored });
        writeln!(io::stdout(), "{all}")?;
    } else {
        print(&path, &found, &inputs, &outputs)?;
    }
    Ok(Exit::Good)
}

fn print(path: &RelPath, found: &Found, inputs: &[String], outputs: &[String]) -> io::Result<()> {
    let list = |names: &[String]| {
        if names.is_empty() {
            "no task".to_owned()
        } else {
            names.join(", ")
        }
    };
    let mut out = io::stdout();
    let (inputs, outputs) = (list(inputs), list(outputs));
    writeln!(out, "{path}: input of {inputs}, output of {outputs}")?;
    let explanation = &found.explanation;
    let watched = match explanation.watched {
        Watched::Native => "its directory is watched",
        Watched::Polled => "its directory is polled",
        Watched::Unreadable => "its directory cannot be read",
        Watched::No => "its directory is not watched",
    };
    writeln!(out, "  {watched}")?;
    if let Some((at, reason)) = &explanation.ignored {
        let spared = match (explanation.spared, found.counts_for_all) {
            (_, true) => ", but git tracks it, so it counts",
            (true, false) => ", but named, so it counts there",
            (false, false) => "",
        };
        writeln!(out, "  ignored by {}{spared}", ignored_by(at, reason))?;
    }
    if explanation.on_disk.is_none() {
        writeln!(out, "  it is not there")?;
    }
    Ok(())
}

/// What the watch knows of a path.
struct Found {
    explanation: Explanation,
    /// Whether every pattern that matches it means it: it is not ignored, or git tracks it.
    counts_for_all: bool,
}

fn look(session: &Session, path: &RelPath) -> Result<Found, Failure> {
    let manager = WatchManager::new();
    let failed = |error: WatchError| {
        let advice = error.advice();
        Failure::environment(&error, Some(advice))
    };
    let handle = manager
        .create_watch(session.root().as_path(), session.watch_options())
        .map_err(failed)?;
    let explanation = handle.explain(&session.root().join(path)).map_err(failed)?;
    let is_tracked = explanation.spared && !handle.is_ignored(path);
    handle.close();
    Ok(Found {
        counts_for_all: explanation.ignored.is_none() || is_tracked,
        explanation,
    })
}

/// Whether the task names the path without wildcards: then it counts, ignored or not.
fn is_named(plan: &Plan, id: TaskId, path: &RelPath) -> bool {
    match &plan.task(id).inputs {
        Inputs::Everything => false,
        Inputs::Patterns(set) => set.names(path),
    }
}

/// Whether the task says something of the path that it does not say of everything.
fn speaks_of(plan: &Plan, id: TaskId, path: &RelPath) -> bool {
    let Inputs::Patterns(set) = &plan.task(id).inputs else {
        return false;
    };
    let deciding = set.deciding(path).map(ToString::to_string);
    deciding.is_some_and(|pattern| !pattern.chars().all(|c| matches!(c, '*' | '/')))
}

fn unknown(plan: &Plan, subject: &OsStr) -> Failure {
    let name = subject.to_string_lossy();
    let tasks = plan.tasks().iter().map(|(_, task)| task.name.as_str());
    let hint = match nearest(&name, tasks) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`watchrun list` shows the tasks".to_owned(),
    };
    Failure::usage(
        format!("`{name}` is neither a task nor a file, and no task speaks of it"),
        Some(hint),
    )
}

/// The rule that ignores a path, with its place. `at` is the path that the rule speaks of.
fn ignored_by(at: &RelPath, reason: &IgnoreReason) -> String {
    match reason {
        IgnoreReason::Name(name) => format!("the name `{name}` ({at})"),
        IgnoreReason::Rule {
            file,
            line,
            pattern,
        } => {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            format!("{}{line}: `{pattern}` ({at})", file.display())
        }
    }
}
