//! `fixtures/projects/c` with the real compiler: once, and on save.

use std::process::Command;

use crate::processes::{NOBODY, commands_in};
use crate::support::{DEFAULTS, Project, finish};
use crate::watcher::Watcher;

const COMPILES: [&str; 4] = ["main", "report", "table", "words"];
const ALL: [&str; 5] = ["main", "report", "table", "words", "link"];

/// What the built program prints for `text`.
#[track_caller]
fn wordcount(project: &Project, text: &str) -> String {
    let line = format!("printf '%s' '{text}' | build/wordcount 2");
    let mut command = project.hermetic("sh");
    finish(command.args(["-c", &line])).ok().stdout.clone()
}

#[track_caller]
fn built() -> Project {
    let project = Project::from_fixture("c");
    project.run_json(DEFAULTS).ok().assert_ran(&ALL);
    project
}

#[test]
fn the_first_run_builds_in_order_and_the_second_starts_nothing() {
    let project = Project::from_fixture("c");
    let run = project.run_json(DEFAULTS);
    run.ok().assert_ran(&ALL);
    assert_eq!(run.ran().last().map(String::as_str), Some("link"));
    assert_eq!(wordcount(&project, "b a b"), "2 b\n1 a\n");
    project.run_json(DEFAULTS).ok().assert_ran(&[]);
}

#[test]
fn an_edited_source_runs_its_compile_and_the_link() {
    let project = built();
    project.edit("src/report.c", "%zu %s", "%s: %zu").edit(
        "src/report.c",
        "table->entries[i].count, table->entries[i].word",
        "table->entries[i].word, table->entries[i].count",
    );
    let run = project.run_json(DEFAULTS);
    assert_eq!(run.ok().ran(), ["report", "link"]);
    assert_eq!(wordcount(&project, "b a b"), "b: 2\na: 1\n");
}

#[test]
fn an_edited_header_runs_what_includes_it() {
    let project = built();
    project.edit("include/report.h", "size_t limit", "size_t max");
    project
        .run_json(DEFAULTS)
        .ok()
        .assert_ran(&["main", "report"]);
    project.edit(
        "include/table.h",
        "    size_t capacity;",
        "    size_t capacity;\n    int spare;",
    );
    let run = project.run_json(DEFAULTS);
    let ran = run.ok().ran();
    for task in COMPILES {
        assert!(ran.iter().any(|ran| ran == task), "no {task} in {run}");
    }
}

#[test]
fn a_comment_is_compiled_and_not_linked() {
    let project = built();
    project.edit(
        "src/words.c",
        "#include \"words.h\"",
        "#include \"words.h\" /* and more */",
    );
    project.run_json(DEFAULTS).ok().assert_ran(&["words"]);
}

#[test]
fn a_failing_compile_gives_exit_1_and_skips_the_link() {
    let project = built();
    project.edit("src/table.c", "return 0;", "return oops;");
    let run = project.run_json(DEFAULTS);
    let events = run.exit(1).events();
    assert_eq!(events.outcomes()["table"], "failed");
    assert_eq!(events.outcomes()["link"], "skipped");
    assert!(
        events
            .output("table")
            .iter()
            .any(|line| line.contains("oops")),
        "{run}"
    );
    assert_eq!(
        wordcount(&project, "a"),
        "1 a\n",
        "the old program is still there"
    );
    project.run_json(DEFAULTS).exit(1).assert_ran(&["table"]);
    project.edit("src/table.c", "return oops;", "return 0;");
    let mended = project.run_json(DEFAULTS).ok().events().outcomes();
    assert_ne!(mended["link"], "skipped");
}

#[test]
fn the_program_is_checked_when_asked() {
    let project = built();
    assert_eq!(project.run_json(["check"]).ok().ran(), ["check"]);
    project.write("data/expected.txt", "1 wrong\n");
    project.run_json(["check"]).exit(1).assert_ran(&["check"]);
}

#[test]
fn a_removed_object_is_made_again() {
    let project = built();
    project.remove("build/main.o");
    project.run(["run"]).ok();
    assert!(project.exists("build/main.o"));
    project.remove("build");
    project.run(["run"]).ok();
    assert_eq!(wordcount(&project, "a"), "1 a\n");
}

#[test]
fn while_watching_a_save_gives_a_rebuilt_program() {
    let project = Project::from_fixture("c");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    assert_eq!(wordcount(&project, "a"), "1 a\n");
    project.edit("src/report.c", "%zu %s", "%zu times %s");
    watcher.expect_runs(&["report", "link"]);
    assert_eq!(wordcount(&project, "a"), "1 times a\n");
    project.edit("src/report.c", "times", "oops\" bad \"");
    watcher.wait_finished("report", "failed");
    watcher.wait_idle();
    project.edit("src/report.c", "oops\" bad \"", "x");
    watcher.wait_finished("link", "done");
    assert_eq!(wordcount(&project, "a"), "1 x a\n");
}

#[test]
fn twenty_saves_during_builds_end_with_the_last_content() {
    let project = Project::from_fixture("c");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let source = project.read("src/report.c");
    for n in 1..=20 {
        project.write(
            "src/report.c",
            source.replace("%zu %s", &format!("{n}: %zu %s")),
        );
        if n % 5 == 1 {
            // The rest of these saves come while this one is being built.
            watcher.wait_started("report");
        }
    }
    let program = project.path("build/wordcount");
    watcher.wait_rest("the last content to be built", || {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("echo a | {}", program.display()))
            .output();
        output.is_ok_and(|output| output.stdout == b"20: 1 a\n")
    });
    assert_eq!(commands_in(project.root()), NOBODY);
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
    project.run_json(DEFAULTS).ok().assert_ran(&[]);
}

#[test]
fn the_watchfile_that_init_writes_for_make_builds_once_and_rests() {
    let project = Project::new();
    project
        .write("a.c", "int main(void) { return 0; }\n")
        .write("Makefile", "a: a.o\n\tcc -o a a.o\ntest: a\n\t./a\n");
    project.run(["init"]).ok().stderr_has("watchfile.toml");
    project
        .run_json(DEFAULTS)
        .ok()
        .assert_ran(&["make", "test"]);
    // The objects lie beside the sources, and are no inputs.
    project.run_json(DEFAULTS).ok().assert_ran(&[]);
    project.write("a.c", "int main(void) { return 1; }\n");
    let run = project.run_json(DEFAULTS);
    run.exit(1)
        .events()
        .assert_outcomes(&[("make", "done"), ("test", "failed")]);
    // What a person wrote is left alone.
    project.run(["init"]).exit(2).stderr_has("is there already");
}
