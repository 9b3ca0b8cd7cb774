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
