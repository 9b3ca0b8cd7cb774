//! Tasks whose commands start watchrun.

use crate::support::{DEFAULTS, Finished, Project, finish};
use crate::watcher::Watcher;

const WATCHRUN: &str = env!("CARGO_BIN_EXE_watchrun");

/// A project whose tasks run watchrun, here written `W`.
fn nested(watchfile: &str) -> Project {
    Project::with(&watchfile.replace("W ", &format!("{WATCHRUN} ")))
}

#[track_caller]
fn assert_runs_itself(run: &Finished, task: &str) {
    let told = format!("{task}: failed: task `{task}` runs itself: ");
    run.exit(1).stdout_has(&told);
}

#[test]
fn a_task_that_runs_itself_fails_at_once() {
    let project = nested("[tasks]\na = \"W run a\"\n");
    assert_runs_itself(&project.run(["run", "a"]), "a");
    assert_runs_itself(&project.run(["run", "--force", "--no-cache", "a"]), "a");
}

#[test]
fn a_task_that_runs_itself_through_another_fails_at_once() {
    let project = nested("[tasks]\na = \"W run b\"\nb = \"W run a\"\nc = { deps = [\"a\"] }\n");
    assert_runs_itself(&project.run(["run", "a"]), "a");
    project.watchfile(&project.read("watchfile.toml").replace("run a", "run c"));
    assert_runs_itself(&project.run(["run", "a"]), "a");
}

#[test]
fn a_service_that_brings_itself_up_fails_at_once() {
    let project = nested(
        "[services]\na = { run = \"W run a\", restart = \"never\", ready = { log = \"never\" } }\n",
    );
    project.run(["run", "a"]).stdout_has("`a` runs itself");
}

#[test]
fn a_task_that_runs_another_is_as_any() {
    let project = nested(
        "[tasks]\na = { run = \"W run b\", inputs = [] }\nb = { run = \"echo made > b\", inputs = [] }\n",
    );
    project.run_json(["a"]).ok().assert_ran(&["a"]);
    assert_eq!(project.read("b"), "made\n");
}

#[test]
fn a_task_of_the_same_name_in_another_root_is_another_task() {
    let project = nested("[tasks]\na = { run = \"W -C sub run a\", inputs = [] }\n");
    project.write("sub/watchfile.toml", "[tasks]\na = \"echo made > a\"\n");
    project.run(["run", "a"]).ok();
    assert_eq!(project.read("sub/a"), "made\n");
}

#[test]
fn a_command_without_a_watchfile_may_run_a_task_that_bears_its_name() {
    let project = Project::with("[tasks]\ncommand = { run = \"echo made > made\", inputs = [] }\n");
    let words = ["--", "sh", "-c", &format!("{WATCHRUN} run command")];
    Watcher::start(&project, words).stop();
    assert_eq!(project.read("made"), "made\n");
}

#[test]
fn being_run_from_within_a_task_makes_no_other_key() {
    let project = nested(
        "[tasks]\na = { run = \"W run b\", inputs = [] }\nb = { run = \"true\", inputs = [], env_inputs = [\"WATCHRUN_*\"] }\n",
    );
    project.run(["run", "a"]).ok();
    project.run_json(["b"]).ok().assert_ran(&[]);
    let mut other = project.command(["run", "--json"]);
    finish(other.args(DEFAULTS).env("WATCHRUN_RUNNING", "anything")).assert_ran(&[]);
}
