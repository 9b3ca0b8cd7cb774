//! Tests of the plan, from the text of watchfiles.

use super::*;
use crate::change::{Change, ChangeKind, FileType};
use crate::path::RelPath;
use crate::watchfile::{Inputs, parse};

fn plan(text: &str) -> Plan {
    Plan::new(parse(text)).unwrap_or_else(|rejected| {
        panic!("{}", rejected.errors.render(&rejected.sources, false));
    })
}

fn rejected(text: &str) -> String {
    let rejected = Plan::new(parse(text)).expect_err("it has errors");
    rejected.errors.render(&rejected.sources, false)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn names(plan: &Plan, ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(|&id| plan.name(id).to_string()).collect()
}

fn modified(text: &str) -> Change {
    Change {
        path: path(text),
        kind: ChangeKind::Modified,
        file_type: FileType::File,
    }
}

const CHAIN: &str = r#"
    [tasks.compile]
    run = "cc"
    inputs = ["src/**/*.c", "!src/skip/**"]
    outputs = ["out/a.o"]
    [tasks.link]
    run = "ld"
    inputs = ["out/*.o"]
    outputs = ["out/app"]
    deps = ["compile"]
    [tasks.lint]
    run = "lint"
    [tasks.all]
    deps = ["link", "lint"]
"#;

#[test]
fn selection_is_closed_over_deps_in_watchfile_order() {
    let plan = plan(CHAIN);
    let chosen = plan.select(["all", "link"]).unwrap();
    assert_eq!(
        names(&plan, chosen.ids()),
        ["compile", "link", "lint", "all"]
    );
    let chosen = plan.select(["link"]).unwrap();
    assert_eq!(names(&plan, chosen.ids()), ["compile", "link"]);
    let unknown = plan.select(["lnik"]).unwrap_err();
    assert_eq!(unknown.suggestion, Some(TaskName::new("link")));
}

#[test]
fn the_default_is_what_the_watchfile_says_or_everything() {
    let text = format!("default = ['lint']\n{CHAIN}");
    let with = plan(&text);
    assert_eq!(names(&with, with.select([]).unwrap().ids()), ["lint"]);
    let without = plan(CHAIN);
    assert_eq!(without.select([]).unwrap().ids().len(), 4);
}

/// A changed path, the tasks it affects, and those it hits directly.
#[track_caller]
fn check(changed: &str, affected: &[&str], direct: &[&str]) {
    let plan = plan(CHAIN);
    let selection = plan.select([]).unwrap();
    let found = plan.affected(&selection, &[modified(changed)]);
    assert_eq!(names(&plan, &found.tasks), affected, "{changed}");
    let hit: Vec<TaskId> = found.causes.iter().map(|(id, _)| *id).collect();
    assert_eq!(names(&plan, &hit), direct, "{changed}");
}

#[test]
fn a_change_affects_what_takes_it_and_what_depends_on_that() {
    check(
        "src/a.c",
        &["compile", "link", "lint", "all"],
        &["compile", "lint"],
    );
    check("src/skip/a.c", &["lint", "all"], &["lint"]);
    check("README", &["lint", "all"], &["lint"]);
}

#[test]
fn outputs_trigger_dependents_and_never_their_own_task() {
    check("out/a.o", &["link", "all"], &["link"]);
    check("out/app", &[], &[]);
}

#[test]
fn a_rename_concerns_both_ends_and_a_directory_concerns_nobody() {
    let plan = plan(CHAIN);
    let selection = plan.select([]).unwrap();
    let renamed = Change {
        path: path("doc/a"),
        kind: ChangeKind::Renamed {
            from: path("src/a.c"),
        },
        file_type: FileType::File,
    };
    let found = plan.affected(&selection, &[renamed]);
    assert_eq!(found.causes[0].1, path("src/a.c"));
    let dir = Change {
        file_type: FileType::Dir,
        ..modified("src/x.c")
    };
    assert_eq!(plan.affected(&selection, &[dir]), Affected::default());
}

#[test]
fn only_selected_tasks_are_affected() {
    let plan = plan(CHAIN);
    let selection = plan.select(["lint"]).unwrap();
    let found = plan.affected(&selection, &[modified("src/a.c")]);
    assert_eq!(names(&plan, &found.tasks), ["lint"]);
}

#[test]
fn a_cycle_is_named_as_a_path() {
    let text = "[tasks]\na = { deps = ['b'] }\nb = { after = ['c'] }\nc = { deps = ['a'] }\n";
    let report = rejected(text);
    assert!(report.contains("a -> b -> c -> a"), "{report}");
    let report = rejected("[tasks]\na = { run = 'x', deps = ['a'] }\n");
    assert!(report.contains("`a` depends on itself"), "{report}");
}

#[test]
fn a_diamond_is_no_cycle() {
    let text =
        "[tasks]\na = 'a'\nb = { deps = ['a'] }\nc = { deps = ['a'] }\nd = { deps = ['b', 'c'] }";
    assert_eq!(plan(text).select(["d"]).unwrap().ids().len(), 4);
}

#[test]
fn two_tasks_with_one_output_are_both_named() {
    let two = |first: &str, second: &str| {
        format!(
            "[tasks.a]\nrun = 'a'\noutputs = [{first}]\n[tasks.b]\nrun = 'b'\noutputs = [{second}]\n"
        )
    };
    for (first, second) in [
        ("'x'", "'x'"),
        ("'gen/**'", "'gen/**'"),
        ("'gen/**'", "'gen/x'"),
        ("'gen/x'", "'gen/*'"),
        ("'gen'", "'gen/x'"),
        ("'gen/x/y'", "'gen'"),
        ("'gen/**'", "'gen/sub/**'"),
        ("'gen/*/*.c'", "'gen/**'"),
        ("'gen/**'", "'gen/**/*'"),
        ("'gen'", "'gen/**'"),
        ("'gen/*.{c,h}'", "'gen/*.h'"),
        ("'gen/**/*.c'", "'gen/*/*'"),
        ("'gen/[ab].c'", "'gen/?.c'"),
        ("'**/*.c'", "'gen/a*.c'"),
    ] {
        let report = rejected(&two(first, second));
        assert_eq!(report.matches("both produce").count(), 1, "{report}");
    }
    for (first, second) in [
        ("'gen/**', '!gen/x'", "'gen/x'"),
        ("'gen'", "'genx'"),
        ("'gen/*.c'", "'gen/*.h'"),
        ("'gen/*'", "'gen/sub/**'"),
        ("'gen/**', '!gen/sub/**'", "'gen/sub/**'"),
        ("'gen/**/*.c'", "'gen/**/*.{h,o}'"),
        ("'a/**'", "'b/**'"),
        ("'gen/[!a].c'", "'gen/a.c'"),
    ] {
        plan(&two(first, second));
    }
}

#[test]
fn unknown_names_cycles_and_syntax_are_reported_together() {
    let text = "defualt = []\n[tasks]\na = { run = 'x', deps = ['a'] }\nb = { run = 'x', deps = ['aa'] }\n";
    let report = rejected(text);
    assert_eq!(report.matches("error:").count(), 3, "{report}");
    assert!(report.contains("did you mean `a`?"), "{report}");
}

#[test]
fn a_file_that_another_task_produces_asks_for_a_dep() {
    let text = "[tasks.gen]\nrun = 'g'\noutputs = ['gen/a']\n[tasks.use]\nrun = 'u'\ninputs = ['gen/**']\n";
    let missing = plan(text).missing_deps();
    assert_eq!((missing.len(), missing[0].path.clone()), (1, path("gen/a")));
    let named = text.replace("inputs =", "deps = ['gen']\ninputs =");
    assert!(plan(&named).missing_deps().is_empty());
}

#[test]
fn the_interest_of_a_plan_is_its_inputs_and_its_watchfile() {
    let plan = plan(CHAIN);
    let compile = plan.interest(plan.select(["compile"]).unwrap().ids());
    assert!(compile.matches(&path("src/a.c")) && compile.names(&path("watchfile.toml")));
    assert!(!compile.matches(&path("README")));
    let all = plan.interest(plan.select(["lint"]).unwrap().ids());
    assert!(all.matches(&path("README")) && all.names(&path("watchfile.toml")));
}

#[test]
fn a_service_takes_everything_unless_a_dep_of_it_makes_something() {
    let plan = plan(
        "[tasks.build]\nrun = \"cc\"\ninputs = [\"*.c\"]\noutputs = [\"app\"]\n\
         [tasks.all]\ndeps = [\"build\"]\n\
         [tasks.lint]\nrun = \"lint\"\ninputs = [\"*.c\"]\n\
         [services]\nalone = { run = \"x\" }\nbuilt = { run = \"x\", deps = [\"build\"] }\n\
         grouped = { run = \"x\", deps = [\"all\"] }\nlinted = { run = \"x\", deps = [\"lint\"] }\n\
         served = { run = \"x\", deps = [\"built\"] }\n\
         named = { run = \"x\", deps = [\"build\"], inputs = [\"*.py\"] }\n",
    );
    let takes = |name: &str| {
        let id = plan.id(&TaskName::new(name)).unwrap();
        plan.task(id).inputs == Inputs::Everything
    };
    let everything = ["alone", "linted", "served"];
    for name in everything {
        assert!(takes(name), "{name}");
    }
    for name in ["built", "grouped", "named"] {
        assert!(!takes(name), "{name}");
    }
}
