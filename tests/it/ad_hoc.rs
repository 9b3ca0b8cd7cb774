//! A command without a watchfile: `watchrun [-w PATH]... [-g GLOB]... [-e EXT]... -- CMD...`.

use std::os::unix::fs::symlink;

use crate::support::{Events, Project};
use crate::watcher::Watcher;

fn project() -> Project {
    let project = Project::new();
    for file in [
        "src/a.rs",
        "src/deep/b.rs",
        "src/c.txt",
        "lib/d.rs",
        "we[i]rd/e",
        "top",
    ] {
        project.write(file, "1\n");
    }
    project
}

/// The files that count with these `options` are `expected`.
#[track_caller]
fn check(project: &Project, options: &[&str], expected: &[&str]) {
    let words = options.iter().copied().chain(["--", "echo", "{files}"]);
    let mut watcher = Watcher::start(project, words);
    let events = watcher.stop();
    let line = events.of("task_output")[0]["line"].clone();
    assert_eq!(line, expected.join(" "), "{options:?}");
}

#[test]
fn paths_globs_and_extensions_say_which_files_count() {
    let project = project();
    check(
        &project,
        &["-w", "src", "-e", "rs"],
        &["src/a.rs", "src/deep/b.rs"],
    );
    check(
        &project,
        &["-w", "./lib/", "-w", "top"],
        &["lib/d.rs", "top"],
    );
    check(&project, &["-g", "*.rs", "-w", "src"], &["src/a.rs"]);
    check(
        &project,
        &["-e", "rs", "-g", "!src/deep/**"],
        &["lib/d.rs", "src/a.rs"],
    );
    check(&project, &["-e", ".txt,none"], &["src/c.txt"]);
}

#[test]
fn a_glob_that_excludes_alone_excludes_from_everything() {
    let project = project();
    check(&project, &["-w", "src", "-g", "!**/*.rs"], &["src/c.txt"]);
}

#[test]
fn the_characters_of_a_path_are_its_own() {
    check(&project(), &["-w", "we[i]rd"], &["we[i]rd/e"]);
}

#[test]
fn what_lies_beside_the_working_directory_can_be_watched() {
    let project = project();
    let lib = project.path("lib").display().to_string();
    symlink(project.path("lib"), project.path("src/link")).expect("a fresh link");
    for path in ["../lib", &lib, "link"] {
        let words = ["-C", "src", "-w", path, "--", "pwd", "-P"];
        let mut watcher = Watcher::start(&project, words);
        project.write("lib/d.rs", format!("{path}\n"));
        let events = watcher.expect_runs(&["command"]);
        let here = project.path("src").display().to_string();
        assert_eq!(events.of("task_output")[0]["line"], here);
        watcher.stop();
    }
    assert!(!project.exists(".watchrun") && !project.exists("src/.watchrun"));
}

#[test]
fn a_watchfile_that_comes_to_be_is_a_file_like_any_other() {
    let project = project();
    let mut watcher = Watcher::start(&project, ["--", "true"]);
    project.write("watchfile.toml", "[tasks]\nother = \"touch gotcha\"\n");
    watcher.expect_runs(&["command"]);
    project.write("top", "2\n");
    watcher.expect_runs(&["command"]);
    watcher.stop();
    assert!(!project.exists("gotcha"));
}

#[test]
fn what_cannot_be_watched_or_means_nothing_is_refused() {
    let project = project();
    project
        .run(["-w", "none", "--", "true"])
        .exit(3)
        .stderr_has("cannot watch `none`");
    project
        .run(["-g", "[bad", "--", "true"])
        .exit(2)
        .stderr_has("`[bad`")
        .stderr_lacks("watchfile");
    project
        .run(["task", "--", "true"])
        .exit(2)
        .stderr_has("`task`");
    project
        .run(["--file", "x.toml", "--", "true"])
        .exit(2)
        .stderr_has("--file");
    project.run(["-w", "src"]).exit(2);
    project
        .run(["--postpone", "list"])
        .exit(2)
        .stderr_has("--postpone");
}

#[test]
fn a_run_after_a_change_is_started_by_that_change() {
    let project = project();
    let mut watcher = Watcher::start(&project, ["-w", "src", "--", "true"]);
    let reason = |events: &Events| events.of("task_started")[0]["reason"].clone();
    assert_eq!(reason(&watcher.all())["field"], "cache_off");
    project.write("src/a.rs", "2\n");
    let events = watcher.expect_runs(&["command"]);
    assert_eq!(reason(&events)["field"], "input");
    assert_eq!(
        reason(&events)["modified"]["paths"],
        serde_json::json!(["src/a.rs"])
    );
    project.write("src/new", "1\n");
    let events = watcher.expect_runs(&["command"]);
    assert_eq!(
        reason(&events)["added"]["paths"],
        serde_json::json!(["src/new"])
    );
}
