//! Changes while something runs: what is touched, what is not, and that it comes to an end.

use crate::fifo::Fifo;
use crate::support::{DEFAULTS, Project};
use crate::watcher::Watcher;

/// A task that says its pid and waits, and one beside it that shows when a change was dealt with.
fn gated(project: &Project, on_busy: &str) -> (Fifo, Fifo) {
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    project.watchfile(&format!(
        "[tasks.up]\nrun = '''\n{}; {}; cp in out\n'''\ninputs = [\"in\"]\noutputs = [\"out\"]\non_busy = \"{on_busy}\"\n\
         [tasks.mark]\nrun = \"true\"\ninputs = [\"mark\"]\n",
        here.say("$$"),
        go.pass()
    ));
    project.write("in", "0\n").write("mark", "0\n");
    (here, go)
}

/// Changes the input, and waits until that was seen: `mark` changes with it, and runs.
#[track_caller]
fn change(project: &Project, watcher: &mut Watcher, n: u32) {
    project
        .save("in", format!("{n}\n"))
        .save("mark", format!("{n}\n"));
    watcher.wait_finished("mark", "done");
}

/// The outcomes of `up`, in order.
fn ends(watcher: &Watcher) -> Vec<String> {
    let events = watcher.all();
    let ends = events.of("task_finished").into_iter();
    ends.filter(|event| event["task"] == "up")
        .filter_map(|event| event["outcome"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn queue_lets_a_run_end_and_runs_again() {
    let project = Project::new();
    let (here, go) = gated(&project, "queue");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    let first = here.hear();
    watcher.wait_finished("mark", "done");
    for n in 1..=3 {
        change(&project, &mut watcher, n);
    }
    go.open();
    assert_ne!(here.hear(), first);
    go.open();
    watcher.wait_idle();
    assert_eq!(ends(&watcher), ["done", "done"], "{}", watcher.all());
    assert_eq!(project.read("out"), "3\n");
}

#[test]
fn ignore_lets_a_run_end() {
    let project = Project::new();
    let (here, go) = gated(&project, "ignore");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    here.hear();
    watcher.wait_finished("mark", "done");
    change(&project, &mut watcher, 1);
    go.open();
    watcher.wait_idle();
    assert_eq!(ends(&watcher), ["done"], "{}", watcher.all());
    // It is not up to date for that: the next change runs it.
    project.write("in", "2\n");
    here.hear();
    go.open();
    watcher.wait_idle();
    assert_eq!(project.read("out"), "2\n");
}

#[test]
fn restart_stops_a_run_as_often_as_it_takes() {
    let project = Project::new();
    let (here, go) = gated(&project, "restart");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    let mut pid = here.hear();
    watcher.wait_finished("mark", "done");
    for n in 1..=4 {
        change(&project, &mut watcher, n);
        let next = here.hear();
        assert_ne!(next, pid);
        pid = next;
    }
    go.open();
    watcher.wait_idle();
    let expected = ["cancelled", "cancelled", "cancelled", "cancelled", "done"];
    assert_eq!(ends(&watcher), expected, "{}", watcher.all());
    assert_eq!(project.read("out"), "4\n");
}

#[test]
fn auto_completes_a_run_in_three_however_often_its_input_changes() {
    let project = Project::new();
    let (here, go) = gated(&project, "auto");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    let mut n = 0;
    watcher.wait_finished("mark", "done");
    for _ in 0..2 {
        for _ in 0..2 {
            here.hear();
            n += 1;
            change(&project, &mut watcher, n);
        }
        // The third run is left to end, whatever changes.
        let pid = here.hear();
        for _ in 0..3 {
            n += 1;
            change(&project, &mut watcher, n);
            assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        }
        go.open();
        watcher.wait_finished("up", "done");
    }
    here.hear();
    go.open();
    watcher.wait_idle();
    let round = ["cancelled", "cancelled", "done"];
    let expected = [&round[..], &round, &["done"]].concat();
    assert_eq!(ends(&watcher), expected, "{}", watcher.all());
    assert_eq!(project.read("out"), format!("{n}\n"));
}

#[test]
fn a_task_that_a_change_does_not_concern_keeps_its_process() {
    let project = Project::new();
    let (here, go) = gated(&project, "restart");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    let pid = here.hear();
    watcher.wait_finished("mark", "done");
    for n in 1..=5 {
        project.save("mark", format!("{n}\n"));
        watcher.wait_finished("mark", "done");
    }
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    go.open();
    watcher.wait_idle();
    assert_eq!(ends(&watcher), ["done"], "{}", watcher.all());
    assert_eq!(watcher.all().of("task_started").len(), 7);
    project.run(["check"]).ok();
}

#[test]
fn a_task_whose_definition_changes_is_stopped_and_others_keep_their_process() {
    let project = Project::new();
    let (here, go) = gated(&project, "restart");
    let other = project.fifo("other");
    let text = project.read("watchfile.toml");
    project.write(
        "watchfile.toml",
        format!(
            "{text}[tasks.other]\nrun = \"{}; sleep 1000\"\ninputs = []\n",
            other.say("1")
        ),
    );
    let mut watcher = Watcher::launch(&project, ["-j3"]);
    let pid = here.hear();
    other.hear();
    project.edit("watchfile.toml", &other.say("1"), &other.say("2"));
    watcher.wait_finished("other", "cancelled");
    assert_eq!(other.hear(), "2");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    go.open();
    watcher.wait_finished("up", "done");
    assert_eq!(ends(&watcher), ["done"], "{}", watcher.all());
    watcher.stop();
}

#[test]
fn auto_does_not_wait_for_a_task_that_never_ends() {
    let project = Project::new();
    let here = project.fifo("here");
    project.write("in", "0\n").watchfile(&format!(
        "tasks.serve = {{ run = '''\n{}; sleep 1000\n''', inputs = [\"in\"] }}\n",
        here.say("$(cat in)")
    ));
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    assert_eq!(here.hear(), "0");
    for n in 1..=6 {
        project.save("in", format!("{n}\n"));
        // The third change waits for an end that does not come, the others do not.
        assert_eq!(here.hear(), n.to_string());
    }
    watcher.stop();
}

#[test]
fn somebody_who_saves_during_every_run_is_no_loop() {
    let project = Project::new();
    let (here, go) = gated(&project, "queue");
    let mut watcher = Watcher::launch(&project, ["up"]);
    for n in 0..6 {
        here.hear();
        project.save("in", format!("during {n}\n"));
        go.open();
        watcher.wait_finished("up", "done");
        // Before that it could be taken for what the run wrote.
        watcher.wait_started("up");
        project.save("in", format!("after {n}\n"));
    }
    while project.read("out") != "after 5\n" {
        here.hear();
        go.open();
        watcher.wait_finished("up", "done");
    }
    let all = watcher.all();
    assert!(all.of("warning").is_empty(), "{all}");
}

#[test]
fn somebody_who_answers_every_start_is_no_loop() {
    let project = Project::with(r#"tasks.up = { run = "cat in > out", inputs = ["in"] }"#);
    project.write("in", "0\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("in", "1\n");
    for n in 2..=12 {
        watcher.wait_started("up");
        project.write("in", format!("{n}\n"));
    }
    watcher.wait_rest("the last content", || project.read("out") == "12\n");
    let all = watcher.stop();
    assert!(all.of("warning").is_empty(), "{all}");
    let (starts, ends) = (all.of("task_started"), all.of("task_finished"));
    assert_eq!(starts.len(), ends.len(), "{all}");
    project.run_json(DEFAULTS).ok().assert_ran(&[]);
}

#[test]
fn a_run_goes_on_and_ends_across_an_edit_of_the_watchfile() {
    let project = Project::new();
    let (here, go) = gated(&project, "restart");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    here.hear();
    // One that still runs when the plan changes is looked at once more, and found fresh.
    watcher.wait_finished("mark", "done");
    let text = project.read("watchfile.toml");
    project.write(
        "watchfile.toml",
        format!("{text}[tasks.new]\nrun = \"true\"\ninputs = []\n"),
    );
    watcher.wait_finished("new", "done");
    go.open();
    watcher.wait_finished("up", "done");
    watcher.wait_idle();
    let all = watcher.all();
    assert_eq!(all.of("run_started").len(), 1, "{all}");
    assert_eq!(all.of("run_finished").len(), 1, "{all}");
    assert_eq!(all.of("run_finished")[0]["counts"]["done"], 3, "{all}");
    watcher.stop();
}

#[test]
fn a_task_or_service_that_comes_back_waits_for_the_death_of_what_it_was() {
    let project = Project::new();
    let (task, service) = (project.fifo("task"), project.fifo("service"));
    let line = |name: &str, here: &str| {
        format!(
            "trap '' TERM; if [ -f ../{name} ] && kill -0 $(cat ../{name}) 2>/dev/null; then \
             echo {name} > ../overlap; fi; echo $$ > ../{name}; {here}; while :; do sleep 1000; done"
        )
    };
    let (first, second) = (line("a", &task.say("1")), line("b", &service.say("1")));
    let text = format!(
        "[tasks.other]\nrun = \"true\"\ninputs = []\n\
         [tasks.a]\nrun = \"\"\"\n{first}\n\"\"\"\ninputs = []\nstop_grace = \"500ms\"\n\
         [services.b]\nrun = \"\"\"\n{second}\n\"\"\"\ninputs = []\nstop_grace = \"500ms\"\n"
    );
    project.watchfile(&text);
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    task.hear();
    service.hear();
    project.watchfile("[tasks.other]\nrun = \"true\"\ninputs = []\n");
    watcher.wait_finished("a", "cancelled");
    project.watchfile(&text);
    task.hear();
    service.hear();
    watcher.stop();
    assert!(
        !project.exists("../overlap"),
        "two ran at once: {}",
        project.read("../overlap")
    );
}

#[test]
fn edits_without_a_pause_end_with_the_last_content() {
    let project = Project::new();
    project
        .watchfile("[tasks.up]\nrun = \"cat in > out\"\ninputs = [\"in\"]\noutputs = [\"out\"]\n");
    project.write("in", "0");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    for n in 1..=200 {
        project.write("in", n.to_string());
    }
    while project.read("out") != "200" {
        watcher.wait_idle();
    }
    watcher.stop();
}

#[test]
fn a_save_of_the_same_bytes_is_silent_also_where_something_had_failed() {
    let project = Project::with(
        r#"
[tasks]
bad      = { run = "false", inputs = ["in"] }
skipped  = { run = "true", inputs = [], deps = ["bad"] }
sentinel = { run = "true", inputs = ["sentinel"] }
"#,
    );
    project.write("in", "same\n").write("sentinel", "0\n");
    let mut watcher = Watcher::start(&project, ["-k"]);
    project.write("in", "same\n");
    watcher.wait("the change is seen", |event| {
        event["event"] == "change_set" && event["changes"][0]["path"] == "in"
    });
    watcher.wait_idle();
    project.write("sentinel", "1\n");
    watcher.wait_finished("sentinel", "done");
    let events = watcher.stop();
    assert_eq!(events.of("run_started").len(), 2, "{events}");
    // What is skipped anew is told of.
    let skipped = events.of("task_finished");
    let skipped = skipped.iter().filter(|event| event["task"] == "skipped");
    assert_eq!(skipped.count(), 1, "{events}");
}

#[test]
fn a_run_that_is_announced_and_not_begun_follows_an_edit_of_the_watchfile() {
    let project = Project::with(r#"tasks.up = { run = "cat in > out", inputs = ["in"] }"#);
    project.write("in", "0\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    for n in 1..=12 {
        project.write("in", format!("{n}\n"));
        watcher.wait_started("up");
    }
    let text = project.read("watchfile.toml");
    project.write("watchfile.toml", text.replace("cat in", "cat in in"));
    watcher.wait_rest("both", || project.read("out") == "12\n12\n");
    let all = watcher.stop();
    let (starts, ends) = (all.of("task_started"), all.of("task_finished"));
    assert_eq!(starts.len(), ends.len(), "{all}");
}

#[test]
fn a_description_is_no_reason_to_stop_anything() {
    let project = Project::new();
    let (here, go) = gated(&project, "restart");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    here.hear();
    watcher.wait_finished("mark", "done");
    let text = project.read("watchfile.toml");
    let text = text.replace("[tasks.up]", "[tasks.up]\ndescription = 'x'");
    project.save("watchfile.toml", text.replace("\"true\"", "\":\""));
    watcher.wait_finished("mark", "done");
    go.open();
    watcher.wait_finished("up", "done");
    watcher.wait_idle();
    assert_eq!(ends(&watcher), ["done"], "{}", watcher.all());
}

#[test]
fn a_dep_that_changes_stops_a_dependent_of_which_nothing_is_heard() {
    let project = Project::new();
    let here = project.fifo("here");
    project.write("in", "0\n").watchfile(&format!(
        "[tasks.dep]\nrun = \"cp in out\"\ninputs = [\"in\"]\noutputs = [\"out\"]\n\
         [tasks.serve]\nrun = '''\n{}; exec sleep 1000\n'''\ninputs = []\ndeps = [\"dep\"]\n",
        here.say("$(cat out)")
    ));
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    for n in 0..3 {
        assert_eq!(here.hear(), n.to_string());
        project.save("in", format!("{}\n", n + 1));
    }
    assert_eq!(here.hear(), "3");
    watcher.stop();
}

#[test]
fn a_postponed_start_runs_what_the_first_change_needs() {
    let project = Project::with(
        "[tasks.dep]\nrun = \"cp a b\"\ninputs = [\"a\"]\noutputs = [\"b\"]\n\
         [tasks.top]\nrun = \"cat b in\"\ninputs = [\"in\"]\ndeps = [\"dep\"]\n\
         [tasks.other]\nrun = \"true\"\ninputs = [\"other\"]\n",
    );
    project.write("a", "1").write("in", "1").write("other", "1");
    let mut watcher = Watcher::launch(&project, ["--postpone"]);
    watcher.wait("ready", |event| event["event"] == "ready");
    project.save("in", "2");
    watcher.expect_runs(&["dep", "top"]);
    project.save("in", "3");
    watcher.expect_runs(&["top"]);
    project.save("other", "2");
    watcher.expect_runs(&["other"]);
    watcher.stop();
}
