//! `check`, `why` and `run --dry-run`: verdicts, and nothing is run.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, Write};

use serde_json::{Value, json};
use watchrun::path::RelPath;
use watchrun::plan::Plan;
use watchrun::session::{Inspected, Session};
use watchrun::state::{Access, Examined, Verdict};
use watchrun::task_id::{TaskId, TaskName};
use watchrun::watch::{IgnoreReason, WatchManager, Watched};

use super::args::Common;
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::{Project, working_dir};
use super::run;

/// `watchrun check`.
pub(crate) fn check(tasks: &[String], common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let session = open(tasks.to_vec(), common, facts)?;
    let stale = print_stale(&session, common)?;
    Ok(if stale { Exit::TaskFailed } else { Exit::Good })
}

/// `watchrun run --dry-run`.
pub(crate) fn dry_run(session: &Session, common: &Common) -> Result<Exit, Failure> {
    let stale = print_stale(session, common)?;
    if !stale && !common.json && !common.quiet {
        writeln!(io::stderr(), "nothing would run: everything is fresh")?;
    }
    Ok(Exit::Good)
}

/// `watchrun why TASK|PATH`.
pub(crate) fn why(subject: &OsStr, common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let session = open(Vec::new(), common, facts)?;
    let named = subject
        .to_str()
        .and_then(|name| Some((name, session.plan().id(&TaskName::new(name))?)));
    match named {
        Some((name, id)) => why_task(&open(vec![name.to_owned()], common, facts)?, id, common),
        None => why_path(&session, subject, common, facts),
    }
}

fn why_task(session: &Session, id: TaskId, common: &Common) -> Result<Exit, Failure> {
    let (inspected, _) = session.inspect()?;
    let one = inspected
        .iter()
        .find(|one| one.id == id)
        .expect("it was selected by name");
    let mut out = io::stdout();
    if common.json {
        writeln!(out, "{}", described(session.plan(), one))?;
        return Ok(Exit::Good);
    }
    writeln!(out, "{}", line_of(session.plan(), one))?;
    match &one.examined {
        Some(Ok(examined)) => {
            for reason in examined.further_reasons() {
                writeln!(out, "  also: {reason}")?;
            }
            writeln!(out, "  {}", compared(examined))?;
        }
        Some(Err(_)) => {}
        None => {
            for other in inspected
                .iter()
                .filter(|other| other.would_run && other.id != id)
            {
                writeln!(out, "  {}", line_of(session.plan(), other))?;
            }
        }
    }
    Ok(Exit::Good)
}

fn why_path(
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
    let names = |ids: Vec<TaskId>| -> Vec<String> {
        ids.into_iter()
            .map(|id| plan.name(id).to_string())
            .collect()
    };
    let (inputs, outputs) = (
        names(plan.triggers().consumers(&path)),
        names(plan.triggers().producers(&path)),
    );
    let explanation = explain(session, &path)?;
    let mut out = io::stdout();
    if common.json {
        let ignored = explanation
            .ignored
            .as_ref()
            .map(|(at, reason)| ignored_by(at, reason));
        let watched = explanation.watched;
        let all = json!({ "path": path, "input_of": inputs, "output_of": outputs,
            "watched": watched, "ignored": ignored });
        writeln!(out, "{all}")?;
        return Ok(Exit::Good);
    }
    let list = |names: &[String]| {
        if names.is_empty() {
            "no task".to_owned()
        } else {
            names.join(", ")
        }
    };
    writeln!(
        out,
        "{path}: input of {}, output of {}",
        list(&inputs),
        list(&outputs)
    )?;
    let watched = match explanation.watched {
        Watched::Native => "its directory is watched",
        Watched::Polled => "its directory is polled",
        Watched::Unreadable => "its directory cannot be read",
        Watched::No => "its directory is not watched",
    };
    writeln!(out, "  {watched}")?;
    if let Some((at, reason)) = &explanation.ignored {
        let spared = if explanation.spared {
            ", but named or tracked, so it counts"
        } else {
            ""
        };
        writeln!(out, "  ignored by {}{spared}", ignored_by(at, reason))?;
    }
    Ok(Exit::Good)
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

fn explain(session: &Session, path: &RelPath) -> Result<watchrun::watch::Explanation, Failure> {
    let manager = WatchManager::new();
    let failed = |error: watchrun::watch::WatchError| {
        let advice = error.advice();
        Failure::environment(&error, Some(advice))
    };
    let handle = manager
        .create_watch(session.root().as_path(), session.watch_options())
        .map_err(failed)?;
    let explanation = handle.explain(&session.root().join(path)).map_err(failed)?;
    handle.close();
    Ok(explanation)
}

fn open(names: Vec<String>, common: &Common, facts: &Facts) -> Result<Session, Failure> {
    let Project { root, file, plan } = Project::open(common, facts)?;
    let mut options = run::options(common, facts, plan.settings())?;
    options.access = Access::ReadOnly;
    Ok(Session::new(root, Some(file), plan, names, options)?)
}

/// Prints what would run and why; whether there is anything.
fn print_stale(session: &Session, common: &Common) -> Result<bool, Failure> {
    let (inspected, _) = session.inspect()?;
    let mut out = io::stdout();
    for one in &inspected {
        if common.json {
            writeln!(out, "{}", described(session.plan(), one))?;
        } else if one.would_run && one.examined.is_some() {
            writeln!(out, "{}", line_of(session.plan(), one))?;
        }
    }
    Ok(inspected.iter().any(|one| one.would_run))
}

fn line_of(plan: &Plan, one: &Inspected) -> String {
    let name = plan.name(one.id);
    match &one.examined {
        Some(Ok(examined)) => match examined.verdict() {
            Verdict::Fresh => format!("{name}: fresh"),
            Verdict::Stale(reason) => format!("{name}: stale: {reason}"),
        },
        Some(Err(error)) => format!("{name}: stale: {}", with_causes(error)),
        None if one.would_run => format!("{name}: stale: a task it depends on is"),
        None => format!("{name}: fresh"),
    }
}

fn described(plan: &Plan, one: &Inspected) -> Value {
    let name = plan.name(one.id);
    match &one.examined {
        Some(Ok(examined)) => {
            let reason = match examined.verdict() {
                Verdict::Fresh => Value::Null,
                Verdict::Stale(reason) => json!(reason),
            };
            let verdict = if reason.is_null() { "fresh" } else { "stale" };
            json!({ "task": name, "verdict": verdict, "reason": reason,
                "also": examined.further_reasons(), "key": examined.key().to_string() })
        }
        Some(Err(error)) => {
            json!({ "task": name, "verdict": "stale", "error": with_causes(error) })
        }
        None => json!({ "task": name, "verdict": if one.would_run { "stale" } else { "fresh" } }),
    }
}

/// An error with everything that led to it.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

/// What a verdict was made from.
fn compared(examined: &Examined) -> String {
    match (examined.inputs().len(), examined.last_outputs().len()) {
        (0, outputs) => format!("compared by stat data: the inputs, and {outputs} outputs"),
        (inputs, outputs) => format!("compared by content: {inputs} inputs, {outputs} outputs"),
    }
}

/// Prints a JSON value as indented lines.
pub(crate) fn print_tree(out: &mut dyn Write, value: &Value, depth: usize) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list.iter().map(|value| ("-".to_owned(), value)).collect(),
        scalar => return writeln!(out, "{indent}{scalar}"),
    };
    for (key, value) in entries {
        if value.is_object() || value.is_array() {
            writeln!(out, "{indent}{key}")?;
            print_tree(out, value, depth + 1)?;
        } else {
            writeln!(
                out,
                "{indent}{key}: {}",
                value.to_string().trim_matches('"')
            )?;
        }
    }
    Ok(())
}
