//! `list` and `graph`: what the watchfile defines.

use std::io::{self, Write};

use serde_json::{Value, json};
use watchrun::plan::Plan;
use watchrun::task_id::TaskId;
use watchrun::watchfile::{Task, TaskKind};

use super::args::Common;
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::Project;
use super::report::Tone;

/// Descriptions begin no further right than this, where names allow it.
const COLUMN_MAX: usize = 32;

/// `watchrun list`.
pub(crate) fn list(common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let Project { plan, .. } = Project::open(common, facts)?;
    let mut out = io::stdout();
    let tasks: Vec<&Task> = plan.tasks().iter().map(|(_, task)| task).collect();
    if common.json {
        let all: Vec<Value> = tasks.iter().map(|task| described(task)).collect();
        writeln!(out, "{}", Value::from(all))?;
        return Ok(Exit::Good);
    }
    let style = facts.style_of_stdout();
    let width_of = |task: &Task| task.name.as_str().chars().count();
    let widths = tasks.iter().map(|task| width_of(task));
    // One very long name must not push every description out of the terminal.
    let width = widths.filter(|width| *width <= COLUMN_MAX).max();
    let width = width.unwrap_or(0);
    for task in tasks {
        let pad = " ".repeat(width.saturating_sub(width_of(task)));
        let name = style.paint(Tone::Strong, &task.name);
        let text = match (&task.description, &task.kind) {
            (Some(text), _) => text.clone(),
            (None, TaskKind::Group) => {
                let deps: Vec<&str> = task.deps.iter().map(|dep| dep.name.as_str()).collect();
                format!("group: {}", deps.join(" "))
            }
            (None, TaskKind::Service(_)) => format!("service: {}", first_line(task)),
            (None, TaskKind::Command(_)) => format!("$ {}", first_line(task)),
        };
        let text = match task.description {
            Some(_) => text,
            None => style.paint(Tone::Faint, text),
        };
        writeln!(out, "{}", format!("{name}{pad}  {text}").trim_end())?;
    }
    Ok(Exit::Good)
}

/// `watchrun graph [TASK...]`.
pub(crate) fn graph(tasks: &[String], common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let Project { plan, .. } = Project::open(common, facts)?;
    let selection = plan.select(tasks.iter().map(String::as_str))?;
    let mut out = io::stdout();
    if common.json {
        let node = |&id: &TaskId| {
            let node = &plan.graph().nodes()[id];
            json!({ "task": plan.name(id), "deps": names(&plan, &node.deps),
                "after": names(&plan, &node.after) })
        };
        let all: Vec<Value> = selection.ids().iter().map(node).collect();
        writeln!(out, "{}", Value::from(all))?;
        return Ok(Exit::Good);
    }
    writeln!(out, "digraph watchrun {{\n  rankdir = LR;")?;
    for &id in selection.ids() {
        let shape = match plan.task(id).kind {
            TaskKind::Group => "plaintext",
            TaskKind::Command(_) => "box",
            TaskKind::Service(_) => "ellipse",
        };
        let name = quoted(plan.name(id).as_str());
        writeln!(out, "  {name} [shape = {shape}];")?;
        let node = &plan.graph().nodes()[id];
        for &dep in &node.deps {
            writeln!(out, "  {} -> {name};", quoted(plan.name(dep).as_str()))?;
        }
        for &before in node.after.iter().filter(|&&before| selection.holds(before)) {
            writeln!(
                out,
                "  {} -> {name} [style = dashed];",
                quoted(plan.name(before).as_str())
            )?;
        }
    }
    writeln!(out, "}}")?;
    Ok(Exit::Good)
}

/// What it runs, to tell it apart by where it has no description.
fn first_line(task: &Task) -> String {
    const CHARS_MAX: usize = 80;
    let command = task.command_text();
    let line = command.lines().next().unwrap_or_default();
    let rest = command.len() > line.len() || line.chars().count() > CHARS_MAX;
    let start: String = line.chars().take(CHARS_MAX).collect();
    if rest { start + " ..." } else { start }
}

fn described(task: &Task) -> Value {
    let kind = match task.kind {
        TaskKind::Group => "group",
        TaskKind::Command(_) => "task",
        TaskKind::Service(_) => "service",
    };
    let deps: Vec<&str> = task.deps.iter().map(|dep| dep.name.as_str()).collect();
    json!({ "name": task.name, "kind": kind, "description": task.description, "deps": deps })
}

fn names(plan: &Plan, ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(|&id| plan.name(id).to_string()).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
