//! `fixtures/projects/crate` with the real cargo: once, and on save.

use std::path::PathBuf;

use crate::support::{DEFAULTS, Finished, Project, finish};
use crate::watcher::Watcher;

/// A copy of the fixture, in which cargo finds its toolchain through `[env]`: a project has a home
/// of its own.
fn fixture() -> Project {
    let project = Project::from_fixture("crate");
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let place = |variable: &str, dir: &str| {
        let path = std::env::var_os(variable).map_or_else(|| home.join(dir), PathBuf::from);
        format!("{variable} = {:?}\n", path.display().to_string())
    };
    let toolchain = [
        place("CARGO_HOME", ".cargo"),
        place("RUSTUP_HOME", ".rustup"),
    ]
    .concat();
    let watchfile = project.read("watchfile.toml");
    project.watchfile(&format!("{watchfile}\n[env]\n{toolchain}"));
    project
}

#[track_caller]
fn roman(project: &Project, number: &str) -> Finished {
    finish(
        project
            .hermetic(&project.path("target/debug/roman").display().to_string())
            .arg(number),
    )
}

#[test]
fn a_crate_is_built_and_tested_once_and_then_only_what_changed() {
    let project = fixture();
    let run = project.run_json(DEFAULTS);
    assert_eq!(run.ok().ran(), ["build", "test"]);
    roman(&project, "14").stdout("14 is XIV\n");
    project.run_json(DEFAULTS).ok().assert_ran(&[]);

    project.edit("tests/numbers.rs", "(1, \"I\")", "(2, \"II\")");
    project.run_json(DEFAULTS).ok().assert_ran(&["test"]);

    project.edit("src/main.rs", "{number} is", "{number} reads");
    project
        .run_json(DEFAULTS)
        .ok()
        .assert_ran(&["build", "test"]);
    roman(&project, "14").stdout("14 reads XIV\n");
}

#[test]
fn a_crate_that_does_not_compile_is_not_tested() {
    let project = fixture();
    project.edit("src/lib.rs", "number -= value;", "number -= valeu;");
    let run = project.run_json(DEFAULTS);
    run.exit(1)
        .events()
        .assert_outcomes(&[("build", "failed"), ("test", "skipped")]);
    run.stdout_has("valeu");
}

#[test]
fn while_watching_a_save_builds_and_tests_the_crate() {
    let project = fixture();
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.edit("src/main.rs", "{number} is", "{number}:");
    watcher.expect_runs(&["build", "test"]);
    roman(&project, "9").stdout("9: IX\n");
    project.edit("tests/numbers.rs", "\"MMXXVI\"", "\"MMXXVII\"");
    watcher
        .expect_runs(&["test"])
        .assert_outcome("test", "failed");
    project.edit("tests/numbers.rs", "\"MMXXVII\"", "\"MMXXVI\"");
    watcher.wait_idle();
    let outcomes = watcher.all().outcomes();
    assert_ne!(outcomes["test"], "failed", "{}", watcher.all());
}
