//! What tasks print: any bytes, in order, whole; and what is left of it without a terminal.

use crate::support::{Project, finish};

#[test]
fn binary_garbage_passes_and_is_kept_beside_its_lossy_text() {
    let project =
        Project::with(r#"tasks.junk = { run = 'printf "ok\n\377\000\033[31m\n"', inputs = [] }"#);
    let run = project.run_json(["junk"]);
    let events = run.ok().events();
    let lines = events.of("task_output");
    assert_eq!(lines.len(), 2, "{run}");
    assert_eq!(lines[0]["line"], "ok");
    assert!(lines[0].get("bytes").is_none(), "{run}");
    assert_eq!(lines[1]["line"], "\u{fffd}\0\u{1b}[31m");
    assert_eq!(lines[1]["bytes"], "/wAbWzMxbQ==", "base64 of the line");
    project
        .run(["run", "--force", "junk"])
        .ok()
        .stderr_lacks("panicked");
}

#[test]
fn a_last_line_without_an_end_is_a_line() {
    let project = Project::with(r#"tasks.half = { run = "printf 'one\\ntwo'", inputs = [] }"#);
    assert_eq!(
        project.run_json(["half"]).ok().events().output("half"),
        ["one", "two"]
    );
}

#[test]
fn both_streams_come_in_the_order_written() {
    let line = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done";
    let project = Project::with(&format!("[tasks.both]\nrun = \"{line}\"\ninputs = []\n"));
    let found = project.run_json(["both"]).ok().events().output("both");
    let expected: Vec<String> = (1..=9)
        .flat_map(|i| [format!("out {i}"), format!("err {i}")])
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_lot_of_output_is_all_there() {
    let project = Project::with(r#"tasks.lots = { run = "seq 1 50000", inputs = [] }"#);
    let found = project.run_json(["lots"]).ok().events().output("lots");
    assert_eq!(found.len(), 50_000);
    assert!(
        found
            .iter()
            .zip(1..)
            .all(|(line, n)| *line == n.to_string())
    );
}

#[test]
fn very_many_short_lines_are_not_held_in_memory() {
    let project = Project::with(
        "[tasks.short]\nrun = 'yes | head -c 3000000; grep VmHWM /proc/$PPID/status > peak; exit 1'\ninputs = []\n",
    );
    let run = project.run(["run", "--output", "failed"]);
    run.exit(1).stdout(&"y\n".repeat(1_500_000));
    let peak = project.read("peak");
    let kib = peak.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    let kib: u64 = kib.expect("a size in KiB");
    assert!(kib < 80_000, "{peak}");
}

#[test]
fn a_very_long_line_is_no_trouble() {
    let project = Project::with(
        r#"tasks.long = { run = "head -c 3000000 /dev/zero | tr '\\0' x", inputs = [] }"#,
    );
    let found = project.run_json(["long"]).ok().events().output("long");
    assert_eq!(found.concat().len(), 3_000_000);
}

#[test]
fn the_output_of_a_failed_task_is_shown() {
    let project = Project::with(r#"tasks.bad = { run = "echo the reason; exit 1", inputs = [] }"#);
    let run = project.run(["run", "bad"]);
    run.exit(1);
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("the reason"),
        "{run}"
    );
}

#[test]
fn stdout_carries_no_progress() {
    let project = Project::with(r#"tasks.say = { run = "echo said", inputs = [] }"#);
    let run = project.run(["run", "say"]);
    run.stderr_has("say");
    assert!(
        run.ok().stdout.lines().all(|line| line.contains("said")),
        "{run}"
    );
}

#[test]
fn without_a_terminal_there_are_no_control_codes() {
    let project = Project::with("[tasks]\ngood = \"echo x\"\nbad = \"false\"\n");
    let mut command = project.command(["run", "-k"]);
    let run = finish(command.env_remove("NO_COLOR"));
    run.exit(1);
    assert!(
        !run.stderr.contains('\u{1b}') && !run.stdout.contains('\u{1b}'),
        "{run}"
    );
    assert!(!run.stderr.contains('\r'), "{run}");
    run.stderr_has("good").stderr_has("bad");
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let project =
        Project::with(r#"tasks.lots = { run = "seq 1 20000", inputs = [], cache = false }"#);
    let program = env!("CARGO_BIN_EXE_watchrun");
    for args in ["run --json", "run --output stream", "list"] {
        let line = format!("'{program}' {args} 2> ../messages | head -n 1; cat ../messages >&2");
        let mut command = project.hermetic("sh");
        let run = finish(command.args(["-c", &line]));
        assert_eq!(run.stdout.lines().count(), 1, "{run}");
        run.ok().stderr_lacks("panicked").stderr_lacks("roken pipe");
    }
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_hold_up_the_run() {
    let project =
        Project::with(r#"tasks.leaver = { run = "sleep 1000 & echo left", inputs = [] }"#);
    let run = project.run_json(["leaver"]);
    assert_eq!(run.ok().events().output("leaver"), ["left"]);
    assert_eq!(
        crate::processes::commands_in(project.root()),
        crate::processes::NOBODY,
        "nobody survives its task"
    );
}

#[test]
fn a_command_has_three_descriptors_whatever_watchrun_was_started_with() {
    let project = Project::with(
        "[settings]\njobserver = 'off'\n[tasks.fds]\nrun = 'ls /proc/$$/fd; true'\ninputs = []\n",
    );
    let program = env!("CARGO_BIN_EXE_watchrun");
    let line = format!("exec 7<watchfile.toml 9>left; exec {program} run --json");
    let run = finish(project.hermetic("sh").args(["-c", &line]));
    assert_eq!(run.ok().events().output("fds"), ["0", "1", "2"], "{run}");
}

#[test]
fn a_failure_is_told_with_its_command_and_its_output_below() {
    let project = Project::with(r#"tasks.bad = { run = "echo the reason; exit 3", inputs = [] }"#);
    for mode in ["auto", "grouped", "failed"] {
        let run = project.run(["run", "--output", mode]);
        let run = run.exit(1).stdout("the reason\n");
        let lines: Vec<&str> = run.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "said once: {run}");
        assert!(lines[0].starts_with("bad: failed"), "{run}");
        assert!(lines[0].ends_with(": exit code 3"), "{run}");
        assert_eq!(lines[1], "  $ echo the reason; exit 3", "{run}");
        assert!(lines[2].starts_with("1 failed in "), "{run}");
    }
}

#[test]
fn failures_are_repeated_at_the_end_and_what_was_skipped_says_why() {
    let project = Project::with(
        r#"
[tasks]
one   = { run = "seq 1 30; exit 3", inputs = [] }
two   = { run = "kill -9 $$", inputs = [], after = ["one"] }
three = { run = "true", inputs = [], deps = ["one"] }
four  = { run = "seq 1 20", inputs = [], after = ["two"] }
"#,
    );
    let run = project.run(["run", "-k", "-j1", "--output", "stream"]);
    let run = run.exit(1);
    let end = run.stderr.split("\n\n").nth(1).unwrap_or_default();
    let has = |part: &str| assert!(end.contains(part), "{part:?} in {run}");
    has("one: failed");
    has(": exit code 3\n  $ seq 1 30; exit 3\n  | ... 20 lines above\n  | 21\n");
    has("  | 30\ntwo: failed");
    has(": signal 9 (SIGKILL)\n  $ kill -9 $$");
    run.stderr_has("three: skipped: `one` did not succeed\n")
        .stderr_has("1 done, 2 failed, 1 skipped in ");
}

#[test]
fn quiet_normal_and_verbose_differ() {
    let project = Project::with(
        "[tasks]\ngood = { run = \"echo x\", inputs = [] }\nfresh = { run = \"true\", inputs = [] }\n",
    );
    project.run(["run", "fresh"]).ok();
    let said = |flag: &[&str]| {
        let run = project.run([&["run", "--force", "good"], flag].concat());
        run.ok().stderr.clone()
    };
    assert_eq!(said(&["-q"]), "");
    let normal = said(&[]);
    assert!(normal.starts_with("good: done"), "{normal}");
    assert_eq!(normal.lines().count(), 2, "{normal}");
    let verbose = said(&["-v"]);
    assert!(
        verbose.starts_with("good: started: forced\n  $ echo x\ngood: done"),
        "{verbose}"
    );
    project.run(["run"]).ok().stderr_lacks("fresh: fresh");
    project.run(["run", "-v"]).ok().stderr_has("fresh: fresh");
}

#[test]
fn prefixed_output_keeps_to_its_lines_and_colours() {
    // Parts of lines and of codes, a progress display, and a colour that is left switched on.
    let project = Project::with(
        r"tasks.a = { run = '''printf 'one'; printf ' line\n'; printf '\033[3'; printf '1mred\nstill\033[0m\n'; printf '10%%\r100%%\nend'''', inputs = [] }",
    );
    let run = project.run(["run", "--output", "prefixed"]);
    run.ok().stdout(
        "a | one line\na | \u{1b}[31mred\u{1b}[0m\na | \u{1b}[31mstill\u{1b}[0m\na | 100%\na | end\n",
    );
}

#[test]
fn the_colour_of_our_own_words_follows_the_environment() {
    let project = Project::with("tasks.a = { run = \"true\", cache = false }");
    let is_coloured = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = project.command([&["run"], args].concat());
        command
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied());
        finish(&mut command).ok().stderr.contains('\u{1b}')
    };
    assert!(!is_coloured(&[], &[]));
    assert!(is_coloured(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!is_coloured(&[("CLICOLOR_FORCE", "0")], &[]));
    assert!(!is_coloured(
        &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
        &[]
    ));
    assert!(is_coloured(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!is_coloured(
        &[("CLICOLOR_FORCE", "1")],
        &["--color", "never"]
    ));
}

#[test]
fn under_github_output_is_grouped_and_failures_are_annotated() {
    let project = Project::with(
        r#"
[tasks]
good = { run = "echo ::endgroup::", inputs = [] }
bad  = { run = "echo 'src/a.c:3:5: error: no'; exit 1", inputs = [], after = ["good"] }
"#,
    );
    let mut command = project.command(["run", "-k"]);
    let run = finish(command.env("GITHUB_ACTIONS", "true").env("CI", "true"));
    let lines: Vec<&str> = run.exit(1).stdout.lines().collect();
    assert_eq!(lines[0], "::group::good", "{run}");
    let word = lines[1].strip_prefix("::stop-commands::");
    let word = word.unwrap_or_else(|| panic!("{run}"));
    let end = format!("::{word}::");
    assert_eq!(lines[2..5], ["::endgroup::", &end, "::endgroup::"], "{run}");
    assert_eq!(lines[5], "::group::bad", "{run}");
    assert_eq!(
        lines.last(),
        Some(&"::error file=src/a.c,line=3,col=5,title=bad::no"),
        "{run}"
    );
}
