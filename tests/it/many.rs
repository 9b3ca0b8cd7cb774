//! Many short tasks: threads go from one to the next by themselves, and nothing else is different.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Events, Project, kill, text};

const TASKS: usize = 200;

/// Tasks `t0`, `t1`, … that do nothing but what `run` says.
fn project(run: impl Fn(usize) -> &'static str) -> Project {
    let mut watchfile = String::new();
    for n in 0..TASKS {
        let run = run(n);
        writeln!(watchfile, "[tasks.t{n}]\nrun = \"{run}\"\ninputs = []").expect("a string");
    }
    Project::with(&watchfile)
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("t{n}")).collect()
}

fn started(events: &Events) -> Vec<String> {
    let started = events.of("task_started");
    started.iter().map(|event| text(event, "task")).collect()
}

#[test]
fn one_at_a_time_each_is_told_before_the_next() {
    let project = project(|_| "true");
    let run = project.run_json(["-j1"]);
    let events = run.ok().events();
    let told: Vec<String> = events
        .every()
        .filter(|event| event["event"] == "task_started" || event["event"] == "task_finished")
        .map(|event| text(event, "task"))
        .collect();
    let expected: Vec<String> = names(TASKS)
        .into_iter()
        .flat_map(|n| [n.clone(), n])
        .collect();
    assert_eq!(told, expected);
    let again = project.run_json(["-j2"]);
    assert_eq!(started(&again.ok().events()), [""; 0]);
}

#[test]
fn after_a_failure_nothing_is_started() {
    for jobs in [1, 2, 4] {
        let project = project(|n| if n == 80 { "false" } else { "true" });
        let run = project.run_json([format!("-j{jobs}")]);
        let events = run.exit(1).events();
        let started = started(&events);
        let is_end = |event: &&Value| event["event"] == "task_finished" && event["task"] == "t80";
        let after = events.every().skip_while(|event| !is_end(event));
        let after = after.filter(|event| event["event"] == "task_started");
        // What the other threads had begun by then is not taken back.
        assert!(after.count() < jobs, "{jobs}: {started:?}");
        if jobs == 1 {
            assert_eq!(started, names(81));
        }
        let outcomes = events.outcomes();
        assert_eq!(outcomes.len(), TASKS);
        let skipped = outcomes.values().filter(|outcome| *outcome == "skipped");
        assert_eq!(skipped.count(), TASKS - started.len());
    }
}

#[test]
fn what_is_told_as_done_is_kept_whenever_the_program_is_killed() {
    for told_before in [1, 2, 5, 20, 60, 150] {
        let project = project(|_| "true");
        let mut command = project.command(["run", "--json", "-j2"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut done = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "task_finished" {
                done.push(text(&event, "task"));
            }
            if done.len() == told_before {
                break;
            }
        }
        kill(&mut child);
        // What was in the pipe was told as well; a line that is torn was not.
        let rest = lines.map_while(Result::ok);
        let rest = rest.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let rest = rest.filter(|event| event["event"] == "task_finished");
        done.extend(rest.map(|event| text(&event, "task")));
        assert!(done.len() >= told_before);
        let again = project.run_json(["-j2"]);
        let started = started(&again.ok().events());
        assert!(
            !done.iter().any(|task| started.contains(task)),
            "{done:?} {started:?}"
        );
    }
}

#[test]
fn programs_that_run_side_by_side_share_the_work() {
    for cache in [&[][..], &["--no-cache"]] {
        let mut watchfile = String::new();
        for n in 0..TASKS {
            let run = format!("echo {n} >> log");
            writeln!(watchfile, "[tasks.t{n}]\nrun = \"{run}\"\ninputs = []").expect("a string");
        }
        let project = Project::with(&watchfile);
        let programs = [(); 3].map(|()| {
            let mut command = project.command(["run", "-q", "-j2"]);
            let quiet = command.args(cache).stdout(Stdio::null());
            quiet.stderr(Stdio::null()).spawn().unwrap()
        });
        for mut program in programs {
            assert!(program.wait().unwrap().success());
        }
        assert_eq!(project.lines("log"), TASKS, "{cache:?}");
    }
}
