//! Order, parallelism and what a failure means for the rest.

use crate::support::Project;

const CHAIN: &str = r#"
tasks.c = { run = "cat b.out > c.out", inputs = [], outputs = ["c.out"], deps = ["b"] }
tasks.b = { run = "cat a.out > b.out", inputs = [], outputs = ["b.out"], deps = ["a"] }
tasks.a = { run = "cat in > a.out", inputs = ["in"], outputs = ["a.out"] }
"#;

#[test]
fn deps_run_first_and_only_what_is_asked_for() {
    let project = Project::with(CHAIN);
    project.write("in", "1\n");
    let run = project.run_json(["b"]);
    assert_eq!(run.ok().ran(), ["a", "b"]);
    assert!(!project.exists("c.out"));
    assert_eq!(project.run_json(["c"]).ok().ran(), ["c"]);
    assert_eq!(project.read("c.out"), "1\n");
}

#[test]
fn a_change_runs_through_the_chain() {
    let project = Project::with(CHAIN);
    project.write("in", "1\n").run(["run"]).ok();
    project.write("in", "2\n");
    assert_eq!(project.run_json(["c"]).ok().ran(), ["a", "b", "c"]);
    assert_eq!(project.read("c.out"), "2\n");
}

#[test]
fn a_shared_dep_runs_once_whatever_the_order_of_names() {
    for names in [["left", "right"], ["right", "left"]] {
        let project = Project::with(
            r#"
            tasks.base = { run = "echo ran >> base.log", inputs = [] }
            tasks.left = { run = "test -f base.log", inputs = [], deps = ["base"] }
            tasks.right = { run = "test -f base.log", inputs = [], deps = ["base"] }
            "#,
        );
        project
            .run_json(names)
            .ok()
            .assert_ran(&["base", "left", "right"]);
        assert_eq!(project.lines("base.log"), 1);
    }
}

#[test]
fn a_failure_skips_what_depends_on_it_at_any_depth() {
    let project = Project::with(
        r#"
        tasks.a = { run = "false", inputs = [] }
        tasks.b = { run = "echo b > ran", inputs = [], deps = ["a"] }
        tasks.c = { run = "echo c > ran", inputs = [], deps = ["b"] }
        "#,
    );
    let run = project.run_json(["c"]);
    let expected = [("a", "failed"), ("b", "skipped"), ("c", "skipped")];
    run.exit(1).events().assert_outcomes(&expected);
    assert!(!project.exists("ran"));
}

const TWO_BRANCHES: &str = r#"
tasks.bad = { run = "false", inputs = [] }
tasks.after_bad = { run = "echo x > after_bad.out", inputs = [], deps = ["bad"] }
tasks.good = { run = "echo x > good.out", inputs = [] }
tasks.after_good = { run = "echo x > after_good.out", inputs = [], deps = ["good"] }
"#;

#[test]
fn after_a_failure_nothing_new_starts() {
    let project = Project::with(TWO_BRANCHES);
    let run = project.run_json(["-j", "1"]);
    run.exit(1).assert_ran(&["bad"]);
    assert!(!project.exists("good.out"));
}

#[test]
fn with_keep_going_the_rest_is_done() {
    let project = Project::with(TWO_BRANCHES);
    let run = project.run_json(["-j", "1", "-k"]);
    run.exit(1).events().assert_outcomes(&[
        ("after_bad", "skipped"),
        ("after_good", "done"),
        ("bad", "failed"),
        ("good", "done"),
    ]);
}

#[test]
fn keep_going_is_a_setting_too() {
    let project = Project::with(&format!("{TWO_BRANCHES}\n[settings]\nkeep_going = true\n"));
    project
        .run_json(["-j", "1"])
        .exit(1)
        .assert_ran(&["after_good", "bad", "good"]);
}

#[test]
fn one_job_runs_tasks_in_the_order_of_the_watchfile() {
    let names = ["m", "z", "a", "k", "b"];
    let tasks: Vec<String> = names
        .iter()
        .map(|name| format!("{name} = {{ run = \"echo {name} >> order\", inputs = [] }}"))
        .collect();
    let project = Project::with(&format!("[tasks]\n{}\n", tasks.join("\n")));
    let run = project.run_json(["-j", "1"]);
    assert_eq!(run.ok().ran(), names);
    assert_eq!(project.read("order"), "m\nz\na\nk\nb\n");
}

#[test]
fn two_jobs_run_at_once() {
    let project = Project::new();
    let (left, right) = (project.fifo("left"), project.fifo("right"));
    // Each tells the other that it runs and ends only when it has heard of the other.
    project.watchfile(&format!(
        "[tasks]\na.run = \"{} && {}\"\na.inputs = []\nb.run = \"{} && {}\"\nb.inputs = []\n",
        left.say("a"),
        right.pass(),
        right.say("b"),
        left.pass(),
    ));
    project.run_json(["-j", "2"]).ok().assert_ran(&["a", "b"]);
}

#[test]
fn one_job_never_runs_two() {
    let lock = "mkdir lock && echo in > lock/in && rm -r lock";
    let tasks: Vec<String> = (0..8)
        .map(|n| format!("t{n} = {{ run = \"{lock}\", inputs = [] }}"))
        .collect();
    let project = Project::with(&format!("[tasks]\n{}\n", tasks.join("\n")));
    assert_eq!(project.run_json(["-j1"]).ok().ran().len(), 8);
}

#[test]
fn a_dep_that_comes_out_the_same_leaves_its_dependents_alone() {
    let project = Project::with(
        r#"
        tasks.strip = { run = "grep -v '^#' in > stripped", inputs = ["in"], outputs = ["stripped"] }
        tasks.count = { run = "wc -l < stripped > count", inputs = [], outputs = ["count"], deps = ["strip"] }
        tasks.show = { run = "cat count", inputs = [], deps = ["count"] }
        "#,
    );
    project.write("in", "# one\na\nb\n").run(["run"]).ok();
    project.write("in", "# two\na\nb\n");
    project.run_json(["show"]).ok().assert_ran(&["strip"]);
    project.write("in", "# two\na\nc\n");
    project
        .run_json(["show"])
        .ok()
        .assert_ran(&["strip", "count"]);
    project.write("in", "a\n");
    project
        .run_json(["show"])
        .ok()
        .assert_ran(&["strip", "count", "show"]);
}

#[test]
fn a_file_that_another_task_makes_without_being_a_dep_is_warned_about() {
    let project = Project::with(
        r#"
        tasks.make = { run = "echo x > made", inputs = [], outputs = ["made"] }
        tasks.take = { run = "cat made || true", inputs = ["made"] }
        "#,
    );
    let run = project.run_json(["-j1"]);
    let events = run.ok().events();
    let warnings = events.of("warning");
    let named = warnings.iter().filter(|event| {
        let message = format!("{} {}", event["message"], event["hint"]);
        message.contains("make") && message.contains("take")
    });
    assert_eq!(named.count(), 1, "{events}");
}
