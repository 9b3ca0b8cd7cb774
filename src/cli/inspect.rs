//! `check`, `why` and `run --dry-run`: verdicts, and nothing is run.

use std::ffi::OsStr;
use std::io::{self, Write};

use serde_json::{Value, json};
use watchrun::plan::Plan;
use watchrun::schedule::describe;
use watchrun::session::{Inspected, Session};
use watchrun::state::{Access, Examined, Verdict};
use watchrun::task_id::{TaskId, TaskName};

use super::args::Common;
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::Project;
use super::run;
use super::why_path;

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
        None => why_path::show(&session, subject, common, facts),
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
        Some(Err(error)) => format!("{name}: stale: {}", describe(error)),
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
            json!({ "task": name, "verdict": "stale", "error": describe(error) })
        }
        None => json!({ "task": name, "verdict": if one.would_run { "stale" } else { "fresh" } }),
    }
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
