//! What is up to date and what is not: content decides, never time; nothing is recorded before
//! success.

use crate::support::{DEFAULTS, Project};
use crate::watcher::Watcher;

const UP: &str = r#"
[tasks.up]
run     = "tr a-z A-Z < in > out && echo ran >> log"
inputs  = ["in"]
outputs = ["out"]
"#;

/// A project in which `up` has run once on "one".
fn built() -> Project {
    let project = Project::with(UP);
    project.write("in", "one\n");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    assert_eq!(project.read("out"), "ONE\n");
    project
}

/// The next run starts nothing and says `fresh`.
#[track_caller]
fn assert_fresh(project: &Project) {
    let runs = project.lines("log");
    project
        .run_json(["up"])
        .ok()
        .events()
        .assert_outcomes(&[("up", "fresh")]);
    assert_eq!(project.lines("log"), runs);
}

/// The next run is not fresh, and after it the output is right and the state is fresh.
#[track_caller]
fn assert_stale(project: &Project, output: &str) {
    let run = project.run_json(["up"]);
    let outcomes = run.ok().events().outcomes();
    assert!(
        matches!(outcomes["up"].as_str(), "done" | "restored"),
        "{run}"
    );
    assert_eq!(project.read("out"), output);
    assert_fresh(project);
}

#[test]
fn a_second_run_starts_nothing() {
    let project = built();
    assert_fresh(&project);
    assert_fresh(&project);
}

#[test]
fn touching_an_input_is_no_change() {
    let project = built();
    project.shell("touch in && touch -d '2001-01-01' in");
    assert_fresh(&project);
}

#[test]
fn the_same_bytes_in_another_file_are_no_change() {
    let project = built();
    project.save("in", "one\n");
    assert_fresh(&project);
}

#[test]
fn an_older_file_with_other_content_is_a_change() {
    let project = Project::with(UP);
    project
        .write("old", "old\n")
        .shell("touch -d '2001-01-01' old")
        .write("in", "new\n");
    project.run(["run"]).ok();
    project.shell("cp -p old in");
    assert_stale(&project, "OLD\n");
}

#[test]
fn same_size_and_same_time_do_not_hide_a_change() {
    let project = built();
    project.shell("touch -r in stamp && printf 'two\\n' > in && touch -r stamp in");
    assert_stale(&project, "TWO\n");
}

#[test]
fn there_and_back_is_no_change() {
    let project = built();
    project.write("in", "two\n").write("in", "one\n");
    assert_fresh(&project);
}

#[test]
fn there_and_back_with_a_run_between_ends_right() {
    let project = built();
    project.write("in", "two\n");
    assert_stale(&project, "TWO\n");
    project.write("in", "one\n");
    assert_stale(&project, "ONE\n");
}

#[test]
fn comments_order_and_spaces_of_the_watchfile_are_no_change() {
    let project = built();
    project.watchfile(
        r#"
        # The same task, written by somebody else.
        [tasks]
        up = { outputs = ["out"], inputs = ["in"], run = "tr a-z A-Z < in > out && echo ran >> log" } # so
        "#,
    );
    assert_fresh(&project);
}

#[test]
fn a_description_or_another_task_is_no_change() {
    let project = built();
    project.watchfile(&format!(
        "{UP}description = \"shout\"\n[tasks.other]\nrun = \"true\"\n"
    ));
    assert_fresh(&project);
}

#[test]
fn another_command_is_a_change() {
    let project = built();
    project.edit("watchfile.toml", "> out &&", "> out; echo more >> out &&");
    assert_stale(&project, "ONE\nmore\n");
}

#[test]
fn another_environment_is_a_change() {
    let project = Project::with(&format!("{UP}env = {{ LC_ALL = \"C\" }}\n"));
    project.write("in", "one\n").run(["run"]).ok();
    assert_fresh(&project);
    project.edit("watchfile.toml", "\"C\"", "\"POSIX\"");
    assert_stale(&project, "ONE\n");
}

#[test]
fn a_variable_that_the_caller_happens_to_have_is_no_change() {
    let project = built();
    let mut command = project.command(["run", "--json", "up"]);
    let run = crate::support::finish(command.env("EDITOR", "ed"));
    run.ok().assert_ran(&[]);
}

#[test]
fn another_mode_of_an_input_is_a_change() {
    let project = built();
    project.chmod("in", 0o755);
    let before = project.lines("log");
    assert_stale(&project, "ONE\n");
    assert_eq!(project.lines("log"), before + 1);
}

#[test]
fn a_missing_output_is_made_again() {
    let project = built();
    project.remove("out");
    assert_stale(&project, "ONE\n");
}

#[test]
fn an_edited_output_is_made_again() {
    let project = built();
    project.write("out", "by hand\n");
    assert_stale(&project, "ONE\n");
}

#[test]
fn a_failed_task_is_tried_again_until_it_succeeds() {
    let project = Project::with(UP);
    project.run_json(["up"]).exit(1).assert_ran(&["up"]);
    project.run_json(["up"]).exit(1).assert_ran(&["up"]);
    project.write("in", "one\n");
    assert_stale(&project, "ONE\n");
}

#[test]
fn a_failure_after_a_success_is_not_fresh_when_the_input_comes_back() {
    let project = Project::with(
        r#"tasks.up = { run = "cp in out && grep -q good in", inputs = ["in"], outputs = ["out"] }"#,
    );
    project.write("in", "good\n").run(["run"]).ok();
    project.write("in", "bad\n").run(["run"]).exit(1);
    assert_eq!(project.read("out"), "bad\n");
    project.write("in", "good\n").run(["run"]).ok();
    assert_eq!(project.read("out"), "good\n");
}

const GLOBS: &str = r#"
[tasks.up]
run     = "cat $(find src -type f | sort) > out; echo ran >> log"
inputs  = ["src/**", "!src/**/*.tmp", "src/keep.tmp"]
outputs = ["out"]
"#;

#[test]
fn files_that_come_go_and_move_are_changes_and_excluded_ones_are_not() {
    let project = Project::with(GLOBS);
    project.write("src/a", "a\n").run(["run"]).ok();
    project.write("src/deep/b", "b\n");
    assert_stale(&project, "a\nb\n");
    project.write("src/x.tmp", "");
    assert_fresh(&project);
    project.write("src/keep.tmp", "k\n");
    assert_stale(&project, "a\nb\nk\n");
    project.shell("mv src/a src/z");
    assert_stale(&project, "b\nk\na\n");
    project.remove("src/deep");
    assert_stale(&project, "k\na\n");
    project.shell("mkdir src/empty");
    assert_fresh(&project);
}

#[test]
fn names_with_any_bytes_are_inputs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let project = Project::with(
        GLOBS
            .replace("cat $(find src -type f | sort)", "find src -type f")
            .as_str(),
    );
    let names: [&[u8]; 5] = [b"sp ace", b"new\nline", b"-dash", b"[x]*?", b"\xff\xfe"];
    for name in names {
        project.write(
            std::path::Path::new("src").join(OsStr::from_bytes(name)),
            "1",
        );
    }
    project.run(["run"]).ok();
    for (n, name) in names.into_iter().enumerate() {
        project.run_json(["up"]).ok().assert_ran(&[]);
        project.write(
            std::path::Path::new("src").join(OsStr::from_bytes(name)),
            "2",
        );
        project.run_json(["up"]).ok().assert_ran(&["up"]);
        assert_eq!(project.lines("log"), n + 2);
    }
}

#[test]
fn without_inputs_everything_that_is_not_ignored_counts() {
    let project =
        Project::with(r#"tasks.up = { run = "tr a-z A-Z < in > out", outputs = ["out"] }"#);
    project
        .git_init()
        .write(".gitignore", "ignored\n")
        .write("in", "a\n")
        .write("other", "1");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    project.run_json(["up"]).ok().assert_ran(&[]);
    project.write("ignored", "x");
    project.run_json(["up"]).ok().assert_ran(&[]);
    project.write("other", "2");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
}

#[test]
fn a_link_counts_by_where_it_points() {
    let project = Project::with(r#"tasks.up = { run = "echo ran >> log", inputs = ["link"] }"#);
    project.shell("ln -s nowhere link").run(["run"]).ok();
    project.run_json(["up"]).ok().assert_ran(&[]);
    project.shell("ln -sfn elsewhere link");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
}

#[test]
fn a_result_of_inputs_that_moved_meanwhile_is_not_recorded() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    let line = format!("cp in out; {}; {}", here.say("read"), go.pass());
    project.watchfile(&format!(
        "[tasks.up]\nrun = \"{line}\"\ninputs = [\"in\"]\noutputs = [\"out\"]\n"
    ));
    project.write("in", "one\n");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| project.run_json(["up"]));
        here.hear();
        project.write("in", "two\n");
        go.open();
        run.join().expect("the run ends").ok().assert_ran(&["up"]);
    });
    assert_eq!(project.read("out"), "one\n");
    go.open();
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    assert_eq!(project.read("out"), "two\n");
    project.run_json(["up"]).ok().assert_ran(&[]);
}

#[test]
fn lost_state_costs_time_and_nothing_else() {
    let project = built();
    project.remove(".watchrun").run_json(["up"]).ok();
    assert_eq!(project.read("out"), "ONE\n");
    assert_fresh(&project);
}

#[test]
fn state_that_is_removed_while_watching_is_made_anew() {
    let project = built();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.remove(".watchrun").write("in", "two\n");
    watcher.expect_runs(&["up"]);
    assert_eq!(project.read("out"), "TWO\n");
    assert_eq!(project.read(".watchrun/.gitignore"), "*\n");
    let warnings = watcher.all();
    let kinds: Vec<_> = warnings
        .of("warning")
        .into_iter()
        .map(|w| &w["kind"])
        .collect();
    assert_eq!(kinds, ["state_discarded"]);
    watcher.stop();
    assert_fresh(&project);
}

#[test]
fn garbage_for_state_is_a_cold_start() {
    let project = built();
    project.write("in", "two\n");
    project.shell(
        "find .watchrun -type f ! -name .gitignore -exec sh -c 'echo garbage > \"$1\"' _ {} ';'",
    );
    let run = project.run_json(["up"]);
    run.ok().assert_ran(&["up"]).stderr_lacks("panicked");
    assert_eq!(project.read("out"), "TWO\n");
    assert_fresh(&project);
}

#[test]
fn truncated_state_is_never_a_false_fresh() {
    let project = built();
    project.write("in", "two\n");
    project.shell("find .watchrun -type f ! -name .gitignore -exec truncate -s -3 {} ';'");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    assert_eq!(project.read("out"), "TWO\n");
}

#[test]
fn the_state_ignores_itself_in_git() {
    let project = built();
    project.git_init();
    project.shell(
        "git status --porcelain --untracked-files=all > ../status && ! grep watchrun/ ../status",
    );
}

#[test]
fn a_task_that_is_not_cached_always_runs() {
    let project =
        Project::with(r#"tasks.up = { run = "echo ran >> log", inputs = [], cache = false }"#);
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    assert_eq!(project.lines("log"), 2);
}

#[test]
fn the_inputs_of_a_task_are_the_same_whatever_runs_beside_it() {
    let project = Project::with(
        r#"
        [tasks]
        first = { run = "true", inputs = [] }
        lit   = { run = "true", inputs = ["vendor/a.c"] }
        all   = { run = "true", after = ["first"] }
        "#,
    );
    project.write("vendor/a.c", "1").write("vendor/b.c", "2");
    project.git_init();
    project.shell("git init -q vendor && git -C vendor add -A");
    project.write(".gitignore", "vendor\n");
    let none: [&str; 0] = [];
    let run = project.run_json(none);
    assert!(run.ok().events().of("warning").is_empty(), "{run}");
    for tasks in [&["all"][..], &[]] {
        let run = project.run_json(tasks);
        run.ok().events().assert_outcome("all", "fresh");
    }
}
