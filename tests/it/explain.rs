//! `why`, `check` and `--dry-run` say what a run would do and why, and write nothing; `--since`
//! says what a branch concerns.

use serde_json::{Value, json};

use crate::support::{Finished, Project, finish};

const UP: &str = r#"
[tasks.up]
run        = ["sh", "-c", "cat src/* gen > out", "a", "b"]
inputs     = ["src/**"]
outputs    = ["out"]
deps       = ["gen"]
env        = { MODE = "fast" }
env_inputs = ["LEVEL"]
tools      = ["cat version"]

[tasks.gen]
run     = "cp in gen"
inputs  = ["in"]
outputs = ["gen"]
"#;

fn built() -> Project {
    let project = Project::with(UP);
    project.write("src/a", "a\n").write("src/b", "b\n");
    project.write("in", "1\n").write("version", "1\n");
    project.run(["run"]).ok();
    project
}

fn why(project: &Project, level: Option<&str>) -> Finished {
    let mut command = project.command(["why", "up", "--json"]);
    if let Some(level) = level {
        command.env("LEVEL", level);
    }
    finish(&mut command)
}

/// What `why` gives as the first reason for `up` after `change`, and that it is over after a run.
#[track_caller]
fn check(change: impl FnOnce(&Project), expected: &Value) {
    let project = built();
    change(&project);
    let said = why(&project, None);
    let said: Value = serde_json::from_str(&said.ok().stdout).expect("one object");
    assert_eq!(said["reason"], *expected);
    assert_eq!(said["verdict"], "stale");
    project.run(["check"]).exit(1);
    project.run(["run"]).ok();
    project.run(["check"]).ok().stdout("");
}

fn paths(path: &str) -> Value {
    json!({ "paths": [path], "count": 1 })
}

#[test]
fn every_change_of_an_input_is_named_with_its_path() {
    check(
        |project| {
            project.write("src/a", "other\n");
        },
        &json!({ "field": "input", "modified": paths("src/a") }),
    );
    check(
        |project| {
            project.chmod("src/a", 0o755);
        },
        &json!({ "field": "input", "mode": paths("src/a") }),
    );
    check(
        |project| {
            project.write("src/c", "c\n");
        },
        &json!({ "field": "input", "added": paths("src/c") }),
    );
    check(
        |project| {
            project.remove("src/a");
        },
        &json!({ "field": "input", "removed": paths("src/a") }),
    );
    check(
        |project| {
            project.shell("mv src/a src/z");
        },
        &json!({ "field": "input", "renamed": paths("src/z"), "renamed_from": "src/a" }),
    );
}

#[test]
fn every_change_of_the_definition_is_named() {
    let edit = |from: &'static str, to: &'static str| {
        move |project: &Project| {
            project.edit("watchfile.toml", from, to);
        }
    };
    check(edit("> out", "> out;"), &json!({ "field": "command" }));
    check(
        edit(r#""a", "b""#, r#""b", "a""#),
        &json!({ "field": "argument_order" }),
    );
    check(
        edit("fast", "slow"),
        &json!({ "field": "env", "name": "MODE", "change": "changed" }),
    );
    check(
        |project| {
            project.write("version", "2\n");
        },
        &json!({ "field": "tool", "command": "cat version" }),
    );
    let project = built();
    for (level, change) in [(Some(""), "emptied"), (Some("3"), "set")] {
        let said: Value = serde_json::from_str(&why(&project, level).stdout).expect("one object");
        assert_eq!(
            said["reason"],
            json!({ "field": "env", "name": "LEVEL", "change": change }),
        );
    }
    let said: Value = serde_json::from_str(&why(&project, None).stdout).expect("one object");
    assert_eq!(said["verdict"], "fresh");
}

#[test]
fn what_became_of_outputs_and_attempts_is_named() {
    check(
        |project| {
            project.remove("out");
        },
        &json!({ "field": "output_missing", "paths": paths("out") }),
    );
    check(
        |project| {
            project.write("out", "by hand\n");
        },
        &json!({ "field": "output_edited", "paths": paths("out") }),
    );
    check(
        |project| {
            project.remove(".watchrun");
        },
        &json!({ "field": "never_succeeded" }),
    );
    check(
        |project| {
            project.remove("in").run(["run"]).exit(1);
            project.write("in", "1\n").run(["run", "gen"]).ok();
            project.edit("watchfile.toml", "cat src/* gen", "exit 3; cat src/* gen");
            project.run(["run"]).exit(1);
            project.edit("watchfile.toml", "exit 3; ", "");
        },
        &json!({ "field": "previous_failed", "exit_code": 3, "signal": null }),
    );
}

#[test]
fn what_a_dep_produced_is_named_as_a_run_finds_it() {
    let project = built();
    project.write("in", "2\n");
    let run = project.run_json(["up"]);
    let events = run.ok().events();
    let started = events.of("task_started");
    let up = started.iter().find(|event| event["task"] == "up");
    assert_eq!(
        up.map(|event| &event["reason"]),
        Some(&json!({ "field": "dep", "name": "gen" }))
    );
}

#[test]
fn before_a_run_what_depends_on_a_stale_task_is_stale_for_that_reason() {
    let project = built();
    project.write("in", "2\n");
    project
        .run(["run", "--dry-run"])
        .ok()
        .stdout("gen: stale: input in modified\nup: stale: dep gen is stale\n");
    project
        .run(["why", "up"])
        .ok()
        .stdout_has("up: stale: dep gen is stale\n");
    project.run_json(["up"]).ok().assert_ran(&["gen", "up"]);
}

#[test]
fn looking_writes_nothing() {
    let project = built();
    project.write("in", "2\n").write("src/a", "other\n");
    let list = "find . -printf '%p %s %T@ %C@\\n' | sort";
    project.shell(&format!("{list} > ../tmp/before"));
    for looking in [
        &["run", "--dry-run"][..],
        &["check"],
        &["why", "up"],
        &["why", "src/a"],
    ] {
        project.run(looking);
    }
    project.shell(&format!("{list} | diff - ../tmp/before"));
    let fresh = Project::with(UP);
    fresh.run(["run", "--dry-run"]).ok();
    assert!(!fresh.exists(".watchrun"));
}

#[test]
fn a_tool_is_asked_once_a_run_and_one_that_fails_is_told_of() {
    let project = Project::with(
        r#"
        [tasks]
        a = { run = "true", inputs = [], tools = ["echo asked >> ../tmp/asked", "no-such-tool"] }
        b = { run = "true", inputs = [], tools = ["echo asked >> ../tmp/asked"] }
        "#,
    );
    for runs in 1..3 {
        let run = project.run_json(["a", "b"]);
        let warnings = run.ok().events();
        let warnings = warnings.of("warning");
        assert_eq!(warnings[0]["kind"], "tool_failed", "{run}");
        assert_eq!(project.lines("../tmp/asked"), runs);
    }
}

const SINCE: &str = r#"
[tasks]
a  = { run = "true", inputs = ["a"] }
b  = { run = "true", inputs = ["b"] }
c  = { run = "true", inputs = ["c"] }
d  = { run = "true", inputs = ["d/**"] }
e  = { run = "cp e eo", inputs = ["e"], outputs = ["eo"] }
of = { run = "true", inputs = ["eo"], deps = ["e"] }
"#;

/// A branch on which `a` was committed, while `b` was on `main`.
fn branch() -> Project {
    let project = Project::with(SINCE);
    project.git_init().write(".gitignore", "eo\n");
    for file in ["a", "b", "c", "d/x", "e"] {
        project.write(file, "1\n");
    }
    commit(&project, "first");
    project.shell("git branch -m main && git checkout -q -b topic");
    project.write("a", "2\n");
    commit(&project, "on topic");
    project.shell("git checkout -q main");
    project.write("b", "2\n");
    commit(&project, "on main");
    project.shell("git checkout -q topic");
    project
}

fn commit(project: &Project, message: &str) {
    project.shell(&format!(
        "git add -A && git -c user.name=a -c user.email=a@b commit -q -m '{message}'"
    ));
}

#[test]
fn since_a_reference_is_what_differs_from_the_merge_base() {
    let project = branch();
    let since = |project: &Project| project.run_json(["--since", "main", "--no-cache"]);
    since(&project).ok().assert_ran(&["a"]);
    project.write("c", "2\n").shell("git add c");
    project.write("c", "1\n");
    since(&project).ok().assert_ran(&["c"]);
    project.write("d/new", "1\n").write("e", "2\n");
    since(&project).ok().assert_ran(&["d", "e", "of"]);
    project.run(["run", "--since", "nowhere"]).exit(2);
}

#[test]
fn another_watchfile_concerns_every_task() {
    let project = branch();
    project.edit(
        "watchfile.toml",
        r#"b  = { run = "true""#,
        r#"b  = { run = "test 1""#,
    );
    let run = project.run_json(["--since", "main"]);
    run.ok().assert_ran(&["a", "b", "c", "d", "e", "of"]);
}

#[test]
fn a_clone_without_the_merge_base_is_refused() {
    let project = branch();
    project.shell(
        "git clone -q --depth 1 --no-single-branch file://$PWD ../tmp/clone && \
         cd ../tmp/clone && git checkout -q topic",
    );
    project
        .run(["-C", "../tmp/clone", "run", "--since", "origin/main"])
        .exit(2)
        .stderr_has("too shallow");
}

#[test]
fn why_knows_a_slip_from_a_path() {
    let project = built();
    let slip = project.run(["why", "gne"]);
    slip.exit(2)
        .stdout("")
        .stderr_has("`gne` is neither a task nor a file")
        .stderr_has("did you mean `gen`?");
    // Where some task takes everything, any word would be its input.
    project.watchfile(&format!(
        "{UP}[tasks.all]\nrun = \"true\"\n[tasks.glob]\nrun = \"true\"\ninputs = [\"**\"]\n"
    ));
    project
        .run(["why", "gn"])
        .exit(2)
        .stderr_has("did you mean `gen`?");
    // A file that is gone, and an output that was not made yet, are known.
    let gone = project.run(["why", "src/gone"]);
    gone.ok().stdout_has("src/gone: input of up, all, glob");
    project.remove("out").run(["why", "out"]).ok();
}

#[test]
fn why_names_an_ignored_file_as_input_where_it_counts() {
    let project = Project::with(
        "[tasks]\nall = \"true\"\nglob = { run = \"true\", inputs = [\"ig/*\"] }\nnamed = { run = \"true\", inputs = [\"ig/a\"] }\n",
    );
    project.git_init().write(".gitignore", "ig\n");
    project.write("ig/a", "").write("ig/b", "");
    let input_of = |path: &str| -> Value {
        let run = project.run(["why", "--json", path]);
        let said: Value = serde_json::from_str(&run.ok().stdout).expect("one object");
        said["input_of"].clone()
    };
    assert_eq!(input_of("ig/a"), json!(["named"]));
    assert_eq!(input_of("ig/b"), json!([]));
    let named = project.run(["why", "ig/a"]);
    named.ok().stdout_has("but named, so it counts there");
    project.shell("git add -f ig/b");
    assert_eq!(input_of("ig/b"), json!(["all", "glob"]));
}
