//! The command line.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::support::{DEFAULTS, Project};

const TASKS: &str = r#"
[tasks.build]
description = "compile everything"
run         = "cp in out; echo ran >> log"
inputs      = ["in"]
outputs     = ["out"]

[tasks.test]
run    = "test -f out"
inputs = []
deps   = ["build"]
"#;

fn project() -> Project {
    let project = Project::with(TASKS);
    project.write("in", "1\n");
    project
}

#[test]
fn list_prints_names_and_descriptions_in_the_order_of_the_watchfile() {
    let project = project();
    let run = project.run(["list"]);
    run.ok().stdout_has("compile everything");
    let place = |name| {
        run.stdout
            .find(name)
            .unwrap_or_else(|| panic!("no {name} in {run}"))
    };
    assert!(place("build") < place("test"), "{run}");
    assert_eq!(run.stdout.lines().count(), 2, "{run}");
    assert!(
        !project.exists(".watchrun") && !project.exists("out"),
        "list does nothing"
    );
}

#[test]
fn list_stays_in_columns_and_shows_the_command_where_there_is_no_description() {
    let long = "x".repeat(50);
    let project = Project::with(&format!(
        "[tasks]\na = {{ run = \"true\", description = \"first\" }}\nbb = \"make bb\"\n{long} = \"make x\"\n"
    ));
    let expected = format!("a   first\nbb  $ make bb\n{long}  $ make x\n");
    project.run(["list"]).ok().stdout(&expected);
}

#[test]
fn force_runs_what_is_fresh() {
    let project = project();
    project.run(["run"]).ok();
    project
        .run_json(["--force", "build"])
        .ok()
        .assert_ran(&["build"]);
    assert_eq!(project.lines("log"), 2);
    project.run_json(["build"]).ok().assert_ran(&[]);
}

#[test]
fn dry_run_runs_and_writes_nothing_and_names_what_would_run() {
    let project = project();
    let run = project.run(["run", "--dry-run"]);
    run.ok();
    let shown = format!("{}{}", run.stdout, run.stderr);
    assert!(shown.contains("build") && shown.contains("test"), "{run}");
    assert!(
        !project.exists("out") && !project.exists(".watchrun"),
        "it wrote something"
    );
    project
        .run_json(DEFAULTS)
        .ok()
        .assert_ran(&["build", "test"]);
    project.write("in", "2\n").run(["run", "--dry-run"]).ok();
    assert_eq!(project.read("out"), "1\n");
    project.run_json(["build"]).ok().assert_ran(&["build"]);
}

#[test]
fn dir_and_file_choose_the_watchfile() {
    let project = project();
    let root = project.root().display().to_string();
    let mut command = project.command(["-C", &root, "run", "build"]);
    command.current_dir("/");
    crate::support::finish(&mut command).ok();
    assert_eq!(project.read("out"), "1\n");

    project.write(
        "sub/other.toml",
        "[tasks.where]\nrun = \"pwd -P > here\"\ninputs = []\n",
    );
    project
        .run(["run", "--file", "sub/other.toml", "where"])
        .ok();
    assert_eq!(project.read("sub/here"), format!("{root}/sub\n"));
}

#[test]
fn jobs_are_at_least_one() {
    let project = project();
    for jobs in ["0", "-1", "many", ""] {
        project.run(["run", "--jobs", jobs]).exit(2);
    }
    project.run(["run", "--jobs", "3"]).ok();
    project.run(["run", "-j1", "--force"]).ok();
}

#[test]
fn quiet_says_nothing_of_success_and_all_of_failure() {
    let project = project();
    project.run(["run", "-q"]).ok().stderr("");
    project.watchfile("[tasks.bad]\nrun = \"echo the reason; exit 3\"\ninputs = []\n");
    let run = project.run(["run", "-q"]);
    run.exit(1);
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("the reason"),
        "{run}"
    );
}

#[test]
fn colour_is_there_when_asked_for() {
    let project = Project::with("[tasks.a]\nrunn = \"x\"\n");
    let escape = "\u{1b}[";
    project
        .run(["--color", "never", "run"])
        .exit(2)
        .stderr_lacks(escape);
    project.run(["run"]).exit(2).stderr_lacks(escape);
    let mut command = project.command(["--color", "always", "run"]);
    crate::support::finish(command.env_remove("NO_COLOR"))
        .exit(2)
        .stderr_has(escape);
}

#[test]
fn help_and_version_are_no_errors_and_unknown_flags_are() {
    let project = Project::new();
    project
        .run(["--help"])
        .ok()
        .stdout_has("run")
        .stdout_has("list")
        .stdout_has("--json");
    project.run(["run", "--help"]).ok().stdout_has("--force");
    project
        .run(["--version"])
        .ok()
        .stdout_has(env!("CARGO_PKG_VERSION"));
    project
        .run(["run", "--no-such-flag"])
        .exit(2)
        .stderr_has("--no-such-flag");
}

#[test]
fn what_contradicts_or_has_no_effect_is_refused() {
    let project = project();
    for words in [
        &["--postpone", "run"][..],
        &["--record", "log", "check"],
        &["build", "list"],
        &["run", "-q", "-v"],
    ] {
        project.run(words.iter()).exit(2).stdout("");
    }
    assert!(!project.exists("out") && !project.exists("log"));
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let project = project();
    for args in [&["run", "--force"][..], &["run", "--json"], &["list"]] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("it is there");
        let mut command = project.command(args.iter());
        let full = command.stdout(full).stderr(Stdio::piped()).output();
        let full = full.expect("it starts");
        let said = String::from_utf8_lossy(&full.stderr).into_owned();
        // Without `--json` a task that prints nothing leaves stdout alone.
        let is_silent = args == ["run", "--force"];
        assert_eq!(
            full.status.code(),
            Some(if is_silent { 0 } else { 3 }),
            "{said}"
        );
        assert_eq!(
            said.contains("No space left"),
            !is_silent,
            "{args:?} {said}"
        );

        let mut command = project.command(args.iter());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let closed = command.stdout(writer).stderr(Stdio::piped()).output();
        let closed = closed.expect("it starts");
        assert_eq!(closed.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_directory_that_is_none_is_named() {
    let project = project();
    for command in ["run", "init"] {
        let run = project.run(["-C", "none", command]);
        run.exit(3).stderr_has("none`");
        let run = project.run(["-C", "in", command]);
        run.exit(3).stderr_has("in`");
    }
}

#[test]
fn names_select_with_everything_they_need() {
    let project = project();
    project.run_json(["build"]).ok().assert_ran(&["build"]);
    project.run_json(["test"]).ok().assert_ran(&["test"]);
    project
        .run_json(["test", "build", "test"])
        .ok()
        .assert_ran(&[]);
}

#[test]
fn the_manual_lists_every_flag_and_no_other() {
    let manual = include_str!("../../docs/CLI.md");
    let project = Project::new();
    let mut flags = std::collections::BTreeSet::new();
    let commands = [
        "run", "check", "why", "list", "graph", "init", "clean", "stats", "replay",
    ];
    for command in commands
        .iter()
        .map(|name| vec![*name, "--help"])
        .chain([vec!["--help"]])
    {
        let help = project.run(command);
        for word in help
            .ok()
            .stdout
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        {
            if word.len() > 2 && word.starts_with("--") {
                flags.insert(word.to_owned());
            }
        }
    }
    let told = |flag: &String| {
        manual.contains(&format!("{flag}`"))
            || manual.contains(&format!("{flag} "))
            || manual.contains(&format!("{flag}["))
    };
    let untold: Vec<_> = flags.iter().filter(|flag| !told(flag)).collect();
    assert!(untold.is_empty(), "docs/CLI.md does not list {untold:?}");
    let words = manual.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    for word in words.filter(|word| word.starts_with("--") && !word.ends_with('-')) {
        assert!(
            flags.contains(word),
            "docs/CLI.md lists `{word}`, which does not exist"
        );
    }
}

#[test]
fn why_takes_a_path_whose_name_is_no_text() {
    let project = Project::with("[tasks]\nrust = { run = \"true\", inputs = [\"src/*.rs\"] }\n");
    let path = OsStr::from_bytes(b"src/\xff.rs");
    project.write(path, "");
    let run = project.run([OsStr::new("why"), path]);
    run.ok().stdout_has("input of rust");
    let link = project.outside("link");
    symlink(project.root(), &link).expect("a fresh link");
    let words = ["-C".as_ref(), link.as_os_str(), "why".as_ref(), path];
    project.run(words).ok().stdout_has("input of rust");
}

#[test]
fn the_manual_page_is_complete_in_itself() {
    let page = Project::new().run(["man"]);
    page.ok()
        .stdout_has(r"watchrun run [OPTIONS] [TASK]...")
        .stdout_has(r"\-\-since <REF>")
        .stdout_has(r"\-\-keep\-going");
    assert!(!page.stdout.contains("(1)\n"), "{page}");
}

#[test]
fn the_manual_lists_every_command() {
    let manual = include_str!("../../docs/CLI.md");
    let help = Project::new().run(["--help"]);
    let listed = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(
            name == "help" || manual.contains(&format!("watchrun {name}")),
            "{name}"
        );
    }
}
