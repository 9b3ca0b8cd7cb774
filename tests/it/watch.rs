//! From a save to a run: exactly the affected tasks, once; nothing missed, no loops.

use std::os::unix::fs::MetadataExt;

use crate::processes::{NOBODY, commands_in, watched_inodes};
use crate::support::{DEFAULTS, Project};
use crate::watcher::Watcher;

/// Two tasks with inputs of their own, and `sentinel`, whose run shows that everything that
/// happened before was seen.
const TASKS: &str = r#"
[tasks]
sentinel = { run = "true", inputs = ["sentinel"] }

[tasks.up]
run     = "tr a-z A-Z < in > out"
inputs  = ["in"]
outputs = ["out"]

[tasks.last]
run    = "cp out last"
inputs = []
deps   = ["up"]

[tasks.rust]
run    = "cat $(find . -name '*.rs' | sort) > all"
inputs = ["**/*.rs"]
"#;

fn project() -> Project {
    let project = Project::with(TASKS);
    project
        .git_init()
        .write("in", "one\n")
        .write("sentinel", "0\n")
        .write("src/lib.rs", "lib\n");
    project
}

/// Makes the sentinel run, and requires that nothing but it ran since the last wait.
#[track_caller]
fn assert_nothing_ran(project: &Project, watcher: &mut Watcher) {
    let next = format!("{}1\n", project.read("sentinel"));
    project.write("sentinel", next);
    watcher.expect_runs(&["sentinel"]);
}

#[test]
fn a_save_runs_exactly_the_affected_tasks() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("in", "two\n");
    let events = watcher.expect_runs(&["up", "last"]);
    assert_eq!(project.read("last"), "TWO\n");
    assert_eq!(events.ran(), ["up", "last"]);
    let changes = &events.of("change_set")[0]["changes"];
    assert!(
        changes
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["path"] == "in")),
        "{events}"
    );
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn a_save_by_renaming_is_one_run() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    for content in ["two\n", "three\n"] {
        project.save("in", content);
        watcher.expect_runs(&["up", "last"]);
        assert_eq!(project.read("last"), content.to_uppercase());
    }
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn only_the_tasks_asked_for_are_watched() {
    let project = project();
    let mut watcher = Watcher::start(&project, ["up", "sentinel"]);
    project.write("src/lib.rs", "changed\n");
    assert_nothing_ran(&project, &mut watcher);
    project.write("in", "two\n");
    watcher.expect_runs(&["up"]);
}

#[test]
fn what_changed_before_the_start_is_run_at_the_start() {
    let project = project();
    project.run(["run"]).ok();
    project.write("in", "two\n");
    let watcher = Watcher::start(&project, DEFAULTS);
    assert_eq!(watcher.all().ran(), ["up", "last"]);
}

#[test]
fn touching_and_rewriting_the_same_bytes_runs_nothing() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    // In place and without emptying it first: an empty file is another content.
    project
        .shell("touch in")
        .save("in", "one\n")
        .shell("printf 'one\n' | dd of=in conv=notrunc status=none");
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn a_file_in_directories_made_in_the_same_moment_is_seen() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.shell("mkdir -p a/b/c && echo new > a/b/c/x.rs");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "new\nlib\n");
    project.write("a/b/c/x.rs", "newer\n");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "newer\nlib\n");
}

#[test]
fn removing_and_renaming_are_changes() {
    let project = project();
    project
        .write("src/a.rs", "a\n")
        .write("src/deep/b.rs", "b\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.remove("src/a.rs");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "b\nlib\n");
    project.shell("mv src/deep src/zoo");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "lib\nb\n");
    project.write("src/zoo/b.rs", "still seen\n");
    watcher.expect_runs(&["rust"]);
    project.remove("src/zoo");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "lib\n");
}

#[test]
fn a_directory_removed_and_made_again_is_still_watched() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.shell("rm -r src && mkdir src && echo again > src/lib.rs");
    watcher.expect_runs(&["rust"]);
    project.write("src/lib.rs", "once more\n");
    watcher.expect_runs(&["rust"]);
    assert_eq!(project.read("all"), "once more\n");
}

#[test]
fn two_files_of_two_tasks_in_one_burst_run_both() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.shell("echo two > in; echo changed > src/lib.rs");
    watcher.expect_runs(&["up", "last", "rust"]);
}

#[test]
fn ignored_directories_trigger_nothing_and_are_not_watched() {
    let project = project();
    project
        .write(".gitignore", "/target/\n")
        .write("target/deep/x.rs", "x")
        .write("src/deep/y.rs", "y");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project
        .write("target/deep/x.rs", "changed")
        .write("target/new/z.rs", "z");
    project.shell("echo ref > .git/probe.rs");
    assert_nothing_ran(&project, &mut watcher);

    let inode = |path: &str| project.path(path).metadata().expect("it is there").ino();
    let inodes = watched_inodes(watcher.pid());
    for path in ["src", "src/deep"] {
        assert!(inodes.contains(&inode(path)), "no watch on {path}");
    }
    for path in ["target", "target/deep", "target/new"] {
        assert!(!inodes.contains(&inode(path)), "a watch on {path}");
    }
}

#[test]
fn an_edit_of_gitignore_takes_effect_at_once() {
    let project = project();
    project
        .write(".gitignore", "/gen/\n")
        .write("gen/x.rs", "generated\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    assert_eq!(
        project.read("all"),
        "generated\nlib\n",
        "the command itself ignores nothing"
    );
    project.write(".gitignore", "");
    watcher.expect_runs(&["rust"]);
    project.write("gen/x.rs", "now an input\n");
    watcher.expect_runs(&["rust"]);
    project.write(".gitignore", "/gen/\n");
    // What it made without the file is in the store.
    watcher.wait_finished("rust", "restored");
    project.write("gen/x.rs", "no input any more\n");
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn a_literal_input_triggers_though_it_is_ignored() {
    let project = Project::with(
        r#"
        tasks.show = { run = "cat conf/secret.env", inputs = ["conf/secret.env"] }
        tasks.all  = "true"
        "#,
    );
    project
        .git_init()
        .write(".gitignore", "/conf/\n")
        .write("conf/secret.env", "A=1\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("conf/secret.env", "A=2\n");
    let events = watcher.expect_runs(&["show"]);
    assert_eq!(events.output("show"), ["A=2"]);
    project.save("conf/secret.env", "A=3\n");
    assert_eq!(watcher.expect_runs(&["show"]).output("show"), ["A=3"]);
}

#[test]
fn an_ignored_file_counts_only_for_the_task_that_names_it() {
    let project = Project::with(
        r#"
        tasks.named = { run = "cat secret.env", inputs = ["secret.env"] }
        tasks.wide  = { run = "cat *.env", inputs = ["*.env"] }
        "#,
    );
    project
        .git_init()
        .write(".gitignore", "secret.env\n")
        .write("secret.env", "A=1\n")
        .write("plain.env", "B=1\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("secret.env", "A=2\n");
    watcher.expect_runs(&["named"]);
    project.write("plain.env", "B=2\n");
    watcher.expect_runs(&["wide"]);
    project.write(".gitignore", "");
    watcher.expect_runs(&["wide"]);
    project.write("secret.env", "A=3\n");
    watcher.expect_runs(&["named", "wide"]);
    watcher.stop();
    project.run_json(["wide"]).ok().assert_ran(&[]);
    project
        .write(".gitignore", "secret.env\n")
        .write("secret.env", "A=4\n");
    project
        .run_json(["named", "wide"])
        .ok()
        .assert_ran(&["named"]);
}

#[test]
fn a_tasks_own_outputs_never_trigger_it() {
    let project = Project::with(
        r#"
        tasks.gen = { run = "mkdir -p src/gen && date +%N > src/gen/stamp && cp src/in src/gen/out", inputs = ["src/**"], outputs = ["src/gen/**"] }
        tasks.sentinel = { run = "true", inputs = ["sentinel"] }
        "#,
    );
    project.write("src/in", "1").write("sentinel", "0");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    assert_nothing_ran(&project, &mut watcher);
    project.write("src/in", "2");
    watcher.expect_runs(&["gen"]);
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn a_formatter_of_its_own_inputs_settles() {
    let project = Project::with(
        r#"
        tasks.fmt = { run = "echo ran >> ../runs; tr a-z A-Z < in > ../draft && cmp -s ../draft in || cp ../draft in", inputs = ["in"] }
        tasks.sentinel = { run = "true", inputs = ["sentinel"] }
        "#,
    );
    project.write("in", "one\n").write("sentinel", "0");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    assert_eq!(project.read("in"), "ONE\n");
    // Its own write may be looked at after the first idle.
    project.write("sentinel", "1");
    watcher.wait_finished("sentinel", "done");
    watcher.wait_idle();
    assert!(project.lines("../runs") <= 2, "{}", watcher.all());
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn a_task_that_never_settles_is_stopped_and_named() {
    let project = Project::with(r#"tasks.grow = { run = "echo more >> in", inputs = ["in"] }"#);
    project.write("in", "one\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let warning = watcher
        .all()
        .of("warning")
        .into_iter()
        .find(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.contains("grow") && message.contains("in")
        })
        .cloned();
    let warning =
        warning.unwrap_or_else(|| watcher.wait("a warning", |event| event["event"] == "warning"));
    assert!(
        warning["message"]
            .as_str()
            .is_some_and(|message| message.contains("grow")),
        "{warning}"
    );
    assert!(
        project.lines("in") <= 4,
        "it ran more than 3 times: {}",
        watcher.all()
    );
    let events = watcher.stop();
    let (starts, ends) = (events.of("task_started"), events.of("task_finished"));
    assert_eq!(starts.len(), ends.len(), "one end for each start: {events}");
}

#[test]
fn a_slow_task_that_never_settles_is_stopped_too() {
    // It is still running when its own write is noticed.
    let project =
        Project::with(r#"tasks.grow = { run = "echo more >> in; sleep 0.2", inputs = ["in"] }"#);
    project.write("in", "one\n");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    let warning = watcher.wait("a warning", |event| event["event"] == "warning");
    assert_eq!(warning["kind"], "loop", "{warning}");
    watcher.wait_idle();
    // Two restarts before each of two runs to the end, then one that nothing disturbs.
    assert!(project.lines("in") <= 8, "{}", watcher.all());
}

#[test]
fn a_failing_task_that_changes_its_input_is_stopped_too() {
    let project =
        Project::with(r#"tasks.grow = { run = "echo more >> in; exit 1", inputs = ["in"] }"#);
    project.write("in", "one\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let all = watcher.all();
    assert_eq!(project.lines("in"), 4, "{all}");
    assert_eq!(all.of("warning")[0]["kind"], "loop", "{all}");
    // It still answers to others.
    project.write("in", "two\n");
    watcher.wait_finished("grow", "failed");
    watcher.wait_idle();
    assert!(project.lines("in") <= 4, "{}", watcher.all());
}

#[test]
fn tasks_that_make_each_others_inputs_are_stopped() {
    let project = Project::with(
        r#"
        tasks.a = { run = "cat one; date +%N >> two", inputs = ["one"], outputs = ["two"] }
        tasks.b = { run = "cat two; date +%N >> one", inputs = ["two"], outputs = ["one"] }
        tasks.sentinel = { run = "true", inputs = ["sentinel"] }
        "#,
    );
    project
        .write("one", "1\n")
        .write("two", "2\n")
        .write("sentinel", "0");
    let mut watcher = Watcher::launch(&project, ["-j1"]);
    let warning = watcher.wait("a loop", |event| event["kind"] == "loop");
    let message = warning["message"].as_str().unwrap_or_default();
    assert!(message.contains("outputs of tasks"), "{warning}");
    watcher.wait_idle();
    assert!(project.lines("one") <= 12, "{}", watcher.all());
    assert_nothing_ran(&project, &mut watcher);
}

#[test]
fn what_an_ignored_run_does_to_its_own_input_starts_nothing() {
    let project = Project::with(
        r#"
        tasks.grow = { run = "echo more >> in", inputs = ["in"], on_busy = "ignore" }
        tasks.sentinel = { run = "true", inputs = ["sentinel"] }
        "#,
    );
    project.write("in", "one\n").write("sentinel", "0");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    assert_nothing_ran(&project, &mut watcher);
    assert_eq!(project.lines("in"), 2, "{}", watcher.all());
}

#[test]
fn a_watch_whose_task_restarts_itself_can_be_stopped() {
    let project = Project::with(
        r#"tasks.grow = { run = "echo more >> in; sleep 1000", inputs = ["in"], on_busy = "restart" }"#,
    );
    project.write("in", "one\n");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    watcher.wait_finished("grow", "cancelled");
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_failed_task_waits_for_a_change() {
    let project = Project::with(
        r#"
        tasks.check = { run = "grep -q good in", inputs = ["in"] }
        tasks.sentinel = { run = "true", inputs = ["sentinel"] }
        "#,
    );
    project.write("in", "bad\n").write("sentinel", "0");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    watcher
        .all()
        .assert_outcomes(&[("check", "failed"), ("sentinel", "done")]);
    assert_nothing_ran(&project, &mut watcher);
    project.write("in", "good\n");
    watcher
        .expect_runs(&["check"])
        .assert_outcome("check", "done");
}

#[test]
fn a_failure_skips_dependents_until_it_is_mended() {
    let project = Project::with(
        r#"
        tasks.check = { run = "grep -q good in && cp in out", inputs = ["in"], outputs = ["out"] }
        tasks.use = { run = "cp out used", inputs = [], deps = ["check"] }
        "#,
    );
    project.write("in", "good 1\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("in", "bad\n");
    watcher.wait_finished("check", "failed");
    watcher.wait_idle();
    assert_eq!(project.read("used"), "good 1\n");
    project.write("in", "good 2\n");
    watcher.expect_runs(&["check", "use"]);
    assert_eq!(project.read("used"), "good 2\n");
}

#[test]
fn twenty_saves_while_a_task_runs_end_with_the_last_content() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    let line = format!(
        "cp in out; {}; {}; cp in out",
        here.say("started"),
        go.pass()
    );
    project.watchfile(&format!(
        "[tasks.up]\nrun = \"{line}\"\ninputs = [\"in\"]\noutputs = [\"out\"]\n"
    ));
    project.write("in", "0\n");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    here.hear();
    for n in 1..=20 {
        project.write("in", format!("{n}\n"));
    }
    // More passes than there can be starts.
    (0..30).for_each(|_| go.open());
    watcher.wait_rest("the last content", || project.read("out") == "20\n");
    assert_eq!(commands_in(project.root()), NOBODY);
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_broken_edit_of_the_watchfile_keeps_the_old_plan() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.watchfile("[tasks]\nup = { runn = \"x\" }\n");
    watcher.wait("a warning about the watchfile", |event| {
        event["event"] == "warning" && event.to_string().contains("watchfile")
    });
    project.write("in", "two\n");
    watcher.expect_runs(&["up", "last"]);
    project.watchfile(TASKS);
    let notice = watcher.wait("a notice", |event| event["event"] == "notice");
    let message = notice["message"].as_str().unwrap_or_default();
    assert_eq!(message, "`watchfile.toml` is good again, and in force");
    project.watchfile(&format!("{TASKS}# a comment\n"));
    assert_nothing_ran(&project, &mut watcher);
    assert_eq!(watcher.stop().of("notice").len(), 1, "once is enough");
}

#[test]
fn an_edit_of_settings_that_count_at_the_start_alone_says_so() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let settings = |text: &str| format!("[settings]\n{text}\n{TASKS}");
    project.watchfile(&settings("jobs = 7\nbackend = \"poll\""));
    let warning = watcher.wait("a warning", |event| event["event"] == "warning");
    let message = warning["message"].as_str().unwrap_or_default();
    assert!(message.contains("`jobs`, `backend`"), "{message}");
    watcher.wait_idle();
    project.watchfile(&settings(
        "jobs = 7\nbackend = \"poll\"\ndebounce = \"20ms\"",
    ));
    project.write("in", "two\n");
    watcher.expect_runs(&["up", "last"]);
    project.watchfile(TASKS).write("in", "three\n");
    watcher.expect_runs(&["up", "last"]);
    assert_eq!(watcher.stop().of("warning").len(), 1);
}

#[test]
fn an_edit_of_the_watchfile_runs_only_what_it_redefines() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.edit(
        "watchfile.toml",
        "tr a-z A-Z < in > out",
        "tr a-y A-Y < in > out; echo more >> out",
    );
    watcher.expect_runs(&["up", "last"]);
    assert_eq!(project.read("last"), "ONE\nmore\n");
    project.edit(
        "watchfile.toml",
        "[tasks.rust]",
        "# the Rust files\n[tasks.rust]",
    );
    assert_nothing_ran(&project, &mut watcher);
    project.edit(
        "watchfile.toml",
        "inputs = [\"**/*.rs\"]",
        "inputs = [\"**/*.{rs,rsx}\"]",
    );
    project.write("new.rsx", "x\n");
    watcher.wait_finished("rust", "done");
}

#[test]
fn a_new_task_in_the_watchfile_runs_at_once() {
    let project = project();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.watchfile(&format!(
        "{TASKS}\n[tasks.added]\nrun = \"cp in added\"\ninputs = [\"in\"]\n"
    ));
    watcher.expect_runs(&["added"]);
    project.write("in", "two\n");
    watcher.expect_runs(&["up", "last", "added"]);
}

#[test]
fn an_unaffected_task_that_runs_is_left_alone() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    project.watchfile(&format!(
        "[tasks]\nlong = {{ run = \"{}; {}\", inputs = [\"long\"] }}\nquick = {{ run = \"true\", inputs = [\"quick\"] }}\n[settings]\njobs = 2\n",
        here.say("$$"),
        go.pass(),
    ));
    project.write("long", "").write("quick", "0");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    let pid = here.hear();
    watcher.wait_finished("quick", "done");
    project.write("quick", "1");
    watcher.wait_finished("quick", "done");
    go.open();
    watcher.wait_finished("long", "done");
    watcher.wait_idle();
    let starts = watcher
        .all()
        .of("task_started")
        .iter()
        .filter(|event| event["task"] == "long")
        .count();
    assert_eq!(
        starts,
        1,
        "the task with pid {pid} was started again: {}",
        watcher.all()
    );
}

#[test]
fn a_touch_tells_of_no_run_and_a_failure_that_stays_is_still_allowed() {
    let project = Project::with(
        r#"
        [tasks]
        x = { run = "exit 1", inputs = ["in"], allow_failure = true }
        y = { run = "true", inputs = ["in", "other"] }
        g = { deps = ["x", "y"] }
        "#,
    );
    project.git_init().write("in", "one").write("other", "1");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let told = watcher.all().of("run_started").len();
    project.shell("touch in");
    watcher.wait("the touch", |event| event["event"] == "change_set");
    watcher.wait_idle();
    assert_eq!(watcher.all().of("run_started").len(), told);

    // One change set, held back by git's lock.
    project.write(".git/index.lock", "");
    project.shell("touch in").write("other", "2");
    project.remove(".git/index.lock");
    watcher.wait_finished("y", "done");
    watcher.wait_idle();
    let events = watcher.all();
    let of = |task: &str| {
        let finished = events.of("task_finished").into_iter();
        let mut of = finished.filter(|event| event["task"] == task && event["run"] == told + 1);
        (of.next().expect("it is told of").clone(), of.count())
    };
    let (x, others) = of("x");
    let reason = x["reason"].as_str().unwrap_or_default();
    assert!(others == 0 && reason.starts_with("not run again"), "{x}");
    assert_eq!(x["allowed"], true, "{x}");
    let (g, others) = of("g");
    assert!(others == 0 && g["outcome"] == "done", "{g}");
}

#[test]
fn what_is_written_by_order_of_the_command_line_is_no_input() {
    for (events, record) in [("e", "sub/r"), ("./sub/../sub/e", "r"), ("link", "r")] {
        let project = Project::with(
            "[tasks]\nall = \"true\"\nsentinel = { run = \"true\", inputs = [\"sentinel\"] }\n",
        );
        project.git_init().write("sentinel", "0").write("sub/f", "");
        project.shell("> sub/linked; ln -s sub/linked link");
        let args = ["--events-to", events, "--record", record];
        let mut watcher = Watcher::start(&project, args);
        project.write("sentinel", "1");
        watcher.expect_runs(&["all", "sentinel"]);
        let all = watcher.stop();
        assert_eq!(all.of("change_set").len(), 1, "{all}");
        project.remove(record).write("sentinel", "2");
        let run = project.run_json(["--events-to", events, "-j1"]);
        run.ok().assert_ran(&["all", "sentinel"]);
        let run = project.run_json(["--events-to", events]);
        run.ok().events().assert_outcome("all", "fresh");
    }
}

#[test]
fn a_file_that_the_output_goes_to_is_no_input() {
    let project = Project::with("tasks.all = \"echo noise >&2\"\n");
    let program = env!("CARGO_BIN_EXE_watchrun");
    for outcome in ["done", "fresh"] {
        project.shell(&format!(
            "{program} run --json > out; {program} list 2> err"
        ));
        let out = project.read("out");
        assert!(out.contains(&format!("\"outcome\":\"{outcome}\"")), "{out}");
        project.shell(&format!(
            "{program} run > out 2> err; {program} run > out 2> err"
        ));
        let err = project.read("err");
        assert!(!err.contains("stale") && err.contains("fresh"), "{err}");
        project.remove("err");
    }
}
