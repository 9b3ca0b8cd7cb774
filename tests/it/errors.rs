//! Bad input: a clear message with the place and a hint, the right exit code, nothing half done.

use std::os::unix::fs::PermissionsExt;

use crate::support::Project;

/// A task that would leave a trace if it ran.
const TRACE: &str = "[tasks.trace]\nrun = \"echo ran > trace\"\ninputs = []\n";

/// `watchfile` together with a sound task is refused: exit 2, each part is in the messages, and
/// the sound task did not run.
#[track_caller]
fn refused(watchfile: impl AsRef<[u8]>, parts: &[&str]) {
    let project = Project::new();
    project.write(
        "watchfile.toml",
        [watchfile.as_ref(), b"\n", TRACE.as_bytes()].concat(),
    );
    project.write("src/lib.rs", "");
    for args in [vec!["run"], vec!["list"]] {
        let run = project.run(args);
        run.exit(2)
            .stdout("")
            .stderr_has("error")
            .stderr_lacks("panicked");
        for part in parts {
            run.stderr_has(part);
        }
    }
    assert!(!project.exists("trace"), "a task ran");
}

#[test]
fn a_missing_watchfile_is_named() {
    let project = Project::new();
    let run = project.run(["run"]);
    run.exit(2).stdout("").stderr_has("watchfile.toml");
    let run = project.run(["run", "--file", "other.toml"]);
    run.exit(2).stdout("").stderr_has("other.toml");
}

#[test]
fn a_watchfile_that_cannot_be_read_is_named() {
    let project = Project::new();
    project.write("watchfile.toml/inside", "");
    project.run(["run"]).exit(2).stderr_has("watchfile.toml");
}

#[test]
fn only_a_regular_file_is_read() {
    let project = Project::with(TRACE);
    project.shell("mkfifo pipe pipe.toml");
    for file in ["pipe", "/dev/zero"] {
        let run = project.run(["run", "--file", file]);
        run.exit(2)
            .stderr_has("not a regular file")
            .stderr_has(file);
    }
    refused_in(&project, &format!("env_files = [\"pipe\"]\n{TRACE}"));
    refused_in(&project, &format!("include = [\"*.toml\"]\n{TRACE}"));
}

#[track_caller]
fn refused_in(project: &Project, watchfile: &str) {
    project.watchfile(watchfile);
    let run = project.run(["run"]);
    run.exit(2)
        .stderr_has("watchfile.toml:1")
        .stderr_has("not a regular file");
}

#[test]
fn a_watchfile_without_permission_is_named() {
    let project = Project::with(TRACE);
    project.chmod("watchfile.toml", 0o000);
    let readable = std::fs::read(project.path("watchfile.toml")).is_ok();
    let run = project.run(["run"]);
    // The administrator reads everything.
    if readable {
        run.ok();
        assert!(project.exists("trace"));
    } else {
        run.exit(2)
            .stderr_has("watchfile.toml")
            .stderr_has("ermission");
    }
}

#[test]
fn a_watchfile_that_is_not_utf8_is_refused_with_its_line() {
    let project = Project::new();
    project.write("watchfile.toml", b"[tasks]\na = \"echo \xff\"\n");
    project
        .run(["run"])
        .exit(2)
        .stderr_has("UTF-8")
        .stderr_has("watchfile.toml")
        .stderr_has("line 2");
}

#[test]
fn an_empty_watchfile_has_nothing_to_run() {
    for text in ["", "\n# nothing yet\n", "[tasks]\n"] {
        let project = Project::with(text);
        project.run(["run"]).exit(2).stderr_has("task");
    }
}

#[test]
fn malformed_toml_is_shown_with_line_and_caret() {
    refused(
        "[tasks.a]\nrun = \"echo\ninputs = []\n",
        &["watchfile.toml:2", "^"],
    );
    refused("[tasks.a\nrun = 1\n", &["watchfile.toml:1", "^"]);
    refused(
        "[tasks.a]\nrun = \"x\"\nrun = \"y\"\n",
        &["watchfile.toml:3", "^"],
    );
}

#[test]
fn unknown_keys_are_shown_with_the_nearest_one() {
    refused(
        "[tasks.a]\nrunn = \"x\"\n",
        &["watchfile.toml:2", "`runn`", "^^^^", "did you mean `run`?"],
    );
    refused(
        "[task.a]\nrun = \"x\"\n",
        &["watchfile.toml:1", "`task`", "did you mean `tasks`?"],
    );
    refused(
        "[settings]\njob = 2\n",
        &["watchfile.toml:2", "`job`", "did you mean `jobs`?"],
    );
}

#[test]
fn wrong_types_and_values_are_shown() {
    refused("[tasks.a]\nrun = 3\n", &["watchfile.toml:2", "^"]);
    refused(
        "[tasks.a]\nrun = \"x\"\ninputs = \"src\"\n",
        &["watchfile.toml:3", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\nstop_grace = \"soon\"\n",
        &["watchfile.toml:3", "soon", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\non_busy = \"restrat\"\n",
        &["watchfile.toml:3", "did you mean `restart`?"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\nstop_signal = \"TREM\"\n",
        &["watchfile.toml:3", "TREM", "^"],
    );
    refused("[tasks.a]\nrun = []\n", &["watchfile.toml:2", "^"]);
    refused("[settings]\njobs = 0\n", &["watchfile.toml:2", "^"]);
}

#[test]
fn globs_that_do_not_compile_or_leave_the_root_are_shown() {
    refused(
        "[tasks.a]\nrun = \"x\"\ninputs = [\"src/[\"]\n",
        &["watchfile.toml:3", "`src/[`", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\ninputs = [\"../x\"]\n",
        &["watchfile.toml:3", "`../x`", "root", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\noutputs = [\"a\", \"b/../../c\"]\n",
        &["watchfile.toml:3", "`b/../../c`", "^"],
    );
}

#[test]
fn unknown_deps_are_shown_with_the_nearest_task() {
    refused(
        "[tasks.build]\nrun = \"x\"\n[tasks.docs]\nrun = \"x\"\ndeps = [\"biuld\"]\n",
        &[
            "watchfile.toml:5",
            "`docs`",
            "`biuld`",
            "^",
            "did you mean `build`?",
        ],
    );
    refused(
        "default = [\"tarce\"]\n",
        &["watchfile.toml:1", "`tarce`", "did you mean `trace`?"],
    );
}

#[test]
fn an_unknown_name_on_the_command_line_is_a_usage_error_with_the_nearest() {
    let project = Project::with(TRACE);
    let run = project.run(["run", "trcae"]);
    run.exit(2)
        .stdout("")
        .stderr_has("`trcae`")
        .stderr_has("did you mean `trace`?");
    project
        .run(["run", "trace", "nothing-like-it"])
        .exit(2)
        .stderr_has("`nothing-like-it`");
    project
        .run(["lst"])
        .exit(2)
        .stderr_has("did you mean `watchrun list`?");
    assert!(!project.exists("trace"));
}

#[test]
fn a_cycle_is_shown_as_a_path() {
    refused(
        "[tasks.a]\nrun = \"x\"\ndeps = [\"b\"]\n[tasks.b]\nrun = \"x\"\ndeps = [\"c\"]\n[tasks.c]\nrun = \"x\"\ndeps = [\"a\"]\n",
        &["cycle", "watchfile.toml:", "^"],
    );
    let project = Project::with(
        "[tasks.a]\nrun = \"x\"\ndeps = [\"b\"]\n[tasks.b]\nrun = \"x\"\ndeps = [\"c\"]\n[tasks.c]\nrun = \"x\"\ndeps = [\"a\"]\n",
    );
    let run = project.run(["run"]);
    let paths = ["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"];
    let plain = run.stderr.replace('`', "").replace('→', "->");
    assert!(paths.iter().any(|path| plain.contains(path)), "{run}");
    refused(
        "[tasks.me]\nrun = \"x\"\ndeps = [\"me\"]\n",
        &["watchfile.toml:3", "`me`", "^"],
    );
}

#[test]
fn two_tasks_with_one_output_are_both_named() {
    refused(
        "[tasks.one]\nrun = \"x\"\noutputs = [\"bin/app\"]\n[tasks.two]\nrun = \"x\"\noutputs = [\"bin/app\"]\n",
        &["`one`", "`two`", "bin/app", "watchfile.toml:", "^"],
    );
}

#[test]
fn a_dir_that_does_not_exist_is_shown() {
    refused(
        "[tasks.a]\nrun = \"x\"\ndir = \"wbe\"\n",
        &["watchfile.toml:3", "`wbe`", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\ndir = \"src/lib.rs\"\n",
        &["watchfile.toml:3", "src/lib.rs", "^"],
    );
    refused(
        "[tasks.a]\nrun = \"x\"\ndir = \"/etc\"\n",
        &["watchfile.toml:3", "^"],
    );
}

#[test]
fn five_mistakes_are_five_errors_in_the_order_of_their_lines() {
    let project = Project::with(
        r#"[tasks.build]
run    = "cc main.c"
inptus = ["main.c"]

[tasks.docs]
run  = "make docs"
deps = ["biuld"]

[tasks.lint]
run    = "lint"
inputs = ["src/["]

[tasks.web]
run = "npm test"
dir = "wbe"

[tasks.test]
run     = "test"
on_busy = "restrat"
"#,
    );
    let run = project.run(["run"]);
    run.exit(2).stdout("");
    let place = |line: u32| {
        let place = format!("watchfile.toml:{line}:");
        run.stderr
            .find(&place)
            .unwrap_or_else(|| panic!("no {place} in {run}"))
    };
    let places = [3, 7, 11, 15, 19].map(place);
    assert!(places.is_sorted(), "{run}");
    let carets = run.stderr.lines().filter(|line| line.contains('^')).count();
    assert!(carets >= 5, "{carets} carets in {run}");
    for hint in [
        "did you mean `inputs`?",
        "did you mean `build`?",
        "did you mean `restart`?",
    ] {
        run.stderr_has(hint);
    }
    for wrong in ["inptus", "biuld", "src/[", "wbe", "restrat"] {
        run.stderr_has(wrong);
    }
}

#[test]
fn a_command_that_does_not_exist_fails_its_task_and_names_where_it_looked() {
    let project =
        Project::with("[tasks.a]\nrun = [\"no-such-program-here\", \"x\"]\ninputs = []\n");
    let mut command = project.command(["run", "a"]);
    let run = crate::support::finish(command.env("PATH", "/usr/bin:/bin"));
    let shown = format!("{}{}", run.stdout, run.stderr);
    run.exit(1);
    assert!(
        shown.contains("no-such-program-here") && shown.contains("/usr/bin:/bin"),
        "{run}"
    );
    project
        .run_json(["a"])
        .exit(1)
        .events()
        .assert_outcomes(&[("a", "failed")]);
}

#[test]
fn a_file_that_is_no_program_fails_its_task() {
    let project = Project::with("[tasks.a]\nrun = [\"./data\"]\ninputs = []\n");
    project.write("data", "not executable");
    project
        .run_json(["a"])
        .exit(1)
        .events()
        .assert_outcomes(&[("a", "failed")]);
}

#[test]
fn a_root_that_does_not_exist_is_an_error_of_the_environment() {
    let project = Project::with(TRACE);
    let run = project.run(["-C", "no/such/dir", "run"]);
    assert!(matches!(run.status.code(), Some(2 | 3)), "{run}");
    run.stderr_has("no/such/dir");
}

#[test]
fn state_that_cannot_be_written_is_no_reason_to_do_nothing() {
    let project = Project::with(TRACE);
    project.write(".watchrun", "a file where a directory should be");
    let run = project.run(["run"]);
    assert!(matches!(run.status.code(), Some(0 | 3)), "{run}");
    run.stderr_has(".watchrun").stderr_lacks("panicked");
    let mode = project
        .path(".watchrun")
        .metadata()
        .map(|found| found.permissions().mode());
    assert!(mode.is_ok(), "what is not ours stays");
}
