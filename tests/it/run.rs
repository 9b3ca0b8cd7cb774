//! What a command gets: words or a shell, directory, environment, no input; and what its end means.

use crate::support::{DEFAULTS, Project, finish};

#[test]
fn a_string_is_a_line_for_the_shell() {
    let project = Project::with(
        r#"tasks.up = { run = "tr a-z A-Z < in | sed s/H/J/ > out", inputs = ["in"] }"#,
    );
    project.write("in", "hello\n");
    project.run_json(["up"]).ok().assert_ran(&["up"]);
    assert_eq!(project.read("out"), "JELLO\n");
}

#[test]
fn an_array_is_words_and_no_shell_touches_them() {
    let project = Project::with(
        r#"tasks.say = { run = ["printf", "%s|", "$HOME", "*", "a b", "", "'"], inputs = [] }"#,
    );
    let run = project.run_json(["say"]);
    assert_eq!(run.ok().events().output("say"), ["$HOME|*|a b||'|"]);
}

#[test]
fn a_plain_string_means_the_same_as_in_a_shell() {
    let project = Project::with(
        r#"
        tasks.plain = { run = "echo  two   words", inputs = [] }
        tasks.quoted = { run = "echo 'two   words'", inputs = [] }
        tasks.builtin = { run = "exit 0", inputs = [] }
        "#,
    );
    let events = project.run_json(DEFAULTS).ok().events();
    assert_eq!(events.output("plain"), ["two words"]);
    assert_eq!(events.output("quoted"), ["two   words"]);
}

#[test]
fn a_script_is_told_the_name_that_a_shell_would_tell_it() {
    let project = Project::with(
        r#"
        tasks.here = { run = "./name.sh x", inputs = [] }
        tasks.shell = { run = "./name.sh x;", inputs = [] }
        tasks.below = { run = "./name.sh x", dir = "sub", inputs = [] }
        tasks.up = { run = "../name.sh x", dir = "sub", inputs = [] }
        tasks.bare = { run = "./bare x", inputs = [] }
        tasks.found = { run = "name.sh x", env = { PATH = "sub:/usr/bin:/bin" }, inputs = [] }
        "#,
    );
    for (script, text) in [
        ("name.sh", "#!/bin/sh\necho $0 $1\n"),
        ("sub/name.sh", "#!/bin/sh\necho $0 $1\n"),
        ("bare", "echo $0 $1\n"),
    ] {
        project.write(script, text).chmod(script, 0o755);
    }
    let events = project.run_json(DEFAULTS).ok().events();
    for (task, name) in [
        ("here", "./name.sh"),
        ("shell", "./name.sh"),
        ("below", "./name.sh"),
        ("up", "../name.sh"),
        ("bare", "./bare"),
        ("found", "sub/name.sh"),
    ] {
        assert_eq!(events.output(task), [format!("{name} x")], "{task}");
    }
}

#[test]
fn a_plain_string_that_cannot_start_has_the_exit_code_of_a_shell() {
    let project = Project::with(
        r#"
        tasks.none = { run = "no-such-program x", inputs = [] }
        tasks.gone = { run = "./gone x", inputs = [] }
        tasks.lost = { run = "./lost x", inputs = [] }
        tasks.text = { run = "./text x", inputs = [] }
        tasks.none-shell = { run = "no-such-program x;", inputs = [] }
        tasks.lost-shell = { run = "./lost x;", inputs = [] }
        tasks.text-shell = { run = "./text x;", inputs = [] }
        tasks.words = { run = ["no-such-program", "x"], inputs = [] }
        "#,
    );
    project.write("text", "");
    project.write("lost", "#!/no/such\n").chmod("lost", 0o755);
    let run = project.run_json(["--keep-going"]);
    let events = run.events();
    let finished = |task: &str| {
        let mut ends = events.of("task_finished").into_iter();
        ends.rfind(|event| event["task"] == task).expect("it ended")
    };
    for (task, expected) in [
        ("none", Some(127)),
        ("gone", Some(127)),
        ("lost", Some(127)),
        ("text", Some(126)),
        ("none-shell", Some(127)),
        ("lost-shell", Some(127)),
        ("text-shell", Some(126)),
        ("words", None),
    ] {
        assert_eq!(finished(task)["exit_code"].as_i64(), expected, "{task}");
    }
    let reason = finished("none")["reason"].to_string();
    assert!(reason.contains("not found in PATH"), "{reason}");
}

#[test]
fn the_shorthand_is_a_task() {
    let project = Project::with("[tasks]\nhi = \"echo hi\"\n");
    assert_eq!(project.run_json(["hi"]).ok().events().output("hi"), ["hi"]);
}

#[test]
fn a_command_runs_in_the_directory_of_its_task() {
    let project = Project::with(
        r#"
        tasks.top = { run = "pwd -P > ../top.txt", inputs = [] }
        tasks.sub = { run = "pwd -P > ../sub.txt", dir = "web", inputs = [] }
        "#,
    );
    project.write("web/keep", "");
    project.run(["run"]).ok();
    let root = project.root().display().to_string();
    assert_eq!(project.read("sub.txt"), format!("{root}/web\n"));
    assert_eq!(project.read("../top.txt"), format!("{root}\n"));
}

#[test]
fn the_watchfile_is_found_from_a_directory_below() {
    let project = Project::with(r#"tasks.here = { run = "pwd -P > here.txt", inputs = [] }"#);
    project.write("a/b/keep", "");
    let mut command = project.command(["run", "here"]);
    command.current_dir(project.path("a/b"));
    crate::support::finish(&mut command).ok();
    assert_eq!(
        project.read("here.txt").trim_end(),
        project.root().display().to_string()
    );
}

#[test]
fn variables_come_from_the_watchfile_the_task_and_the_caller() {
    let project = Project::with(
        r#"
        env = { WHO = "file", WHERE = "file" }
        tasks.show = { run = 'echo "$WHO $WHERE $CALLER"', env = { WHO = "task" }, inputs = [] }
        "#,
    );
    let mut command = project.command(["run", "--json", "show"]);
    command.env("CALLER", "caller").env("WHERE", "caller");
    let run = crate::support::finish(&mut command);
    assert_eq!(run.ok().events().output("show"), ["task file caller"]);
}

#[test]
fn the_shell_can_be_another() {
    let project = Project::with(
        r#"tasks.strict = { run = "echo $NO_SUCH_VARIABLE", shell = ["sh", "-uc"], inputs = [] }"#,
    );
    project.run_json(["strict"]).exit(1).assert_ran(&["strict"]);
}

#[test]
fn a_command_has_no_input() {
    let project = Project::with(r#"tasks.cat = { run = "cat && echo end", inputs = [] }"#);
    assert_eq!(
        project.run_json(["cat"]).ok().events().output("cat"),
        ["end"]
    );
}

#[test]
fn a_failing_command_gives_exit_1_and_its_own_code() {
    let project = Project::with(r#"tasks.bad = { run = "exit 42", inputs = [] }"#);
    let run = project.run_json(["bad"]);
    let events = run.exit(1).events();
    assert_eq!(events.of("task_finished")[0]["exit_code"], 42);
    assert_eq!(events.of("run_finished")[0]["ok"], false);
}

#[test]
fn a_command_ended_by_a_signal_is_a_failure_with_that_signal() {
    let project = Project::with(r#"tasks.bad = { run = "kill -KILL $$", inputs = [] }"#);
    let run = project.run_json(["bad"]);
    let events = run.exit(1).events();
    let end = events.of("task_finished")[0];
    assert_eq!(
        (&end["outcome"], &end["signal"]),
        (&"failed".into(), &9.into()),
        "{run}"
    );
}

#[test]
fn a_command_ignores_the_signals_that_the_program_was_started_to_ignore() {
    let project = Project::with(
        r#"
        tasks.here = { run = ["grep", "SigIgn", "/proc/self/status"], inputs = [] }
        tasks.there = { run = ["grep", "SigIgn", "/proc/self/status"], inputs = [], dir = "sub" }
        "#,
    );
    project.write("sub/f", "");
    let mut shell = project.hermetic("sh");
    let line = "trap '' QUIT USR1 PIPE; exec \"$0\" run --json";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_watchrun")]);
    let events = finish(&mut shell).ok().events();
    for task in ["here", "there"] {
        let [line] = &events.output(task)[..] else {
            panic!("not one line of {task}");
        };
        let mask = line.rsplit('\t').next().expect("has a last part");
        let mask = u64::from_str_radix(mask, 16).expect("is a mask");
        // Of the signals that have a name, in the order of their numbers: 3 and 10. Not 13, which
        // Rust programs ignore whatever they were started with.
        let named: Vec<u32> = (1..32)
            .filter(|signal| mask >> (signal - 1) & 1 == 1)
            .collect();
        assert_eq!(named, [3, 10], "{task}");
    }
}

#[test]
fn a_task_without_a_command_is_done_when_its_deps_are() {
    let project = Project::with(
        r#"
        tasks.all = { deps = ["a", "b"] }
        tasks.a = { run = "echo a", inputs = [] }
        tasks.b = { run = "echo b", inputs = [] }
        "#,
    );
    let run = project.run_json(["all"]);
    let events = run.ok().events();
    assert_eq!(events.output("a"), ["a"]);
    assert_eq!(events.output("b"), ["b"]);
}

#[test]
fn without_names_the_defaults_run() {
    let project = Project::with(
        r#"
        default = ["b"]
        tasks.a = { run = "echo a", inputs = [] }
        tasks.b = { run = "echo b", inputs = [] }
        "#,
    );
    project.run_json(DEFAULTS).ok().assert_ran(&["b"]);
    project.run_json(["a"]).ok().assert_ran(&["a"]);
}

#[test]
fn without_defaults_every_task_runs() {
    let project = Project::with("[tasks]\na = \"true\"\nb = \"true\"\n");
    project.run_json(DEFAULTS).ok().assert_ran(&["a", "b"]);
}

#[test]
fn an_output_directory_that_does_not_exist_is_no_obstacle() {
    let project = Project::with(
        r#"tasks.gen = { run = "mkdir -p gen/deep && echo x > gen/deep/file", inputs = [], outputs = ["gen/**"] }"#,
    );
    project.run_json(["gen"]).ok().assert_ran(&["gen"]);
    project.run_json(["gen"]).ok().assert_ran(&[]);
}
