//! Services that end by themselves: who waits for them meanwhile, and what that counts as.

use rustix::process::{Pid, Signal, kill_process};

use crate::fifo::Fifo;
use crate::services::wait_state;
use crate::support::Project;
use crate::watcher::Watcher;

/// A service that is ready in its first life at once and in its second when `gate` lets it, a task
/// that needs it, and one beside it that shows when a change was dealt with.
fn project(extra: &str) -> (Project, Fifo) {
    let project = Project::new();
    let gate = project.fifo("gate");
    project.watchfile(&format!(
        "[services.app]\nrun = '''\n\
         echo x >> ../lives\n\
         test $(wc -l < ../lives) = 1 || {}\n\
         echo up\n\
         exec sleep 1000\n'''\n\
         inputs = [\"conf\"]\nready = {{ log = \"up\" }}\n{extra}\n\
         [tasks.user]\nrun = \"true\"\ninputs = [\"in\"]\ndeps = [\"app\"]\n\
         [tasks.mark]\nrun = \"true\"\ninputs = [\"mark\"]\n",
        gate.pass()
    ));
    for name in ["conf", "in", "mark"] {
        project.write(name, "0\n");
    }
    (project, gate)
}

/// Starts watching, and kills the service once it is up.
fn start_and_kill(project: &Project) -> Watcher {
    let mut watcher = Watcher::launch(project, ["-j4"]);
    let pid = wait_state(&mut watcher, "app", "ready");
    watcher.wait_idle();
    kill(pid);
    watcher
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("not 0");
    kill_process(pid, Signal::KILL).expect("it is alive");
}

/// Changes `name`, and waits until that was seen.
fn change(project: &Project, watcher: &mut Watcher, name: &str) {
    project.save(name, "1\n").save("mark", "1\n");
    watcher.wait_finished("mark", "done");
}

/// How often the service had become ready when `task` was started for the last time.
fn n_ready_before(watcher: &Watcher, task: &str) -> usize {
    let events = watcher.all().0;
    let start = |e: &serde_json::Value| e["event"] == "task_started" && e["task"] == task;
    let last = events.iter().rposition(start).expect("it was started");
    let ready = |e: &&serde_json::Value| e["event"] == "service" && e["state"] == "ready";
    events[..last].iter().filter(ready).count()
}

#[test]
fn a_dependent_waits_for_a_service_that_is_started_again() {
    let (project, gate) = project("");
    let mut watcher = start_and_kill(&project);
    wait_state(&mut watcher, "app", "starting");
    change(&project, &mut watcher, "in");
    gate.open();
    watcher.wait_finished("user", "done");
    assert_eq!(n_ready_before(&watcher, "user"), 2, "{}", watcher.all());
    watcher.stop();
}

#[test]
fn a_service_that_is_started_again_is_ready_with_a_change_only_when_it_says_so() {
    let (project, gate) = project("reload_signal = \"HUP\"");
    let mut watcher = start_and_kill(&project);
    wait_state(&mut watcher, "app", "starting");
    change(&project, &mut watcher, "conf");
    let all = watcher.all();
    let services = all.of("service").into_iter();
    assert_eq!(
        services.filter(|event| event["state"] == "ready").count(),
        1,
        "{all}"
    );
    gate.open();
    gate.open();
    watcher.wait_finished("app", "done");
    assert_eq!(n_ready_before(&watcher, "app"), 1, "{}", watcher.all());
    watcher.stop();
}

#[test]
fn a_service_that_is_not_started_again_and_was_killed_has_failed() {
    let (project, _gate) = project("restart = \"never\"");
    let mut watcher = start_and_kill(&project);
    wait_state(&mut watcher, "app", "failed");
    project.save("in", "1\n");
    watcher.wait_finished("user", "skipped");
    watcher.stop();
}

#[test]
fn a_service_that_serves_on_while_its_build_is_broken_is_stale_in_its_next_life_too() {
    let (project, gate) = project("deps = [\"build\"]");
    let text = project.read("watchfile.toml");
    project.watchfile(&format!(
        "{text}[tasks.build]\nrun = \"! grep broken src\"\ninputs = [\"src\"]\n"
    ));
    project.write("src", "");
    let mut watcher = Watcher::launch(&project, ["-j4"]);
    let pid = wait_state(&mut watcher, "app", "ready");
    watcher.wait_idle();
    project.save("src", "broken\n");
    wait_state(&mut watcher, "app", "stale");
    kill(pid);
    gate.open();
    wait_state(&mut watcher, "app", "starting");
    wait_state(&mut watcher, "app", "ready");
    wait_state(&mut watcher, "app", "stale");
    watcher.stop();
}

#[test]
fn how_a_short_service_ends_is_how_its_run_ends() {
    for (word, code) in [("true", 0), ("false", 1)] {
        let project = Project::with(&format!(
            "services.app = {{ run = [\"{word}\"], restart = \"never\", inputs = [] }}\n\
             tasks.user = {{ run = \"sleep 1000 & wait\", deps = [\"app\"], inputs = [], timeout = \"200ms\", allow_failure = true }}\n"
        ));
        for _ in 0..5 {
            let run = project.run_json(["--force"]);
            run.exit(code);
        }
    }
}
