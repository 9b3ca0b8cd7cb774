//! Signals and stale runs: everything is stopped, nobody survives, every start has its end.

use rustix::process::Signal;

use crate::fifo::Fifo;
use crate::processes::{NOBODY, commands_in, wait_gone};
use crate::support::{DEFAULTS, Project};
use crate::watcher::Watcher;

/// A task with children, grandchildren and a dependent. It says when it is all there. With a file
/// `quick`, which is no input, it ends at once.
fn slow(project: &Project, extra: &str) -> Fifo {
    let here = project.fifo("here");
    let tree = format!(
        "test -f quick && exit; sleep 1000 & (sleep 1000; true) & {}; sleep 1000",
        here.say("here")
    );
    project.watchfile(&format!(
        "[tasks.slow]\nrun = \"{tree}\"\ninputs = [\"in\"]\n{extra}\n[tasks.next]\nrun = \"true\"\ninputs = []\ndeps = [\"slow\"]\n"
    ));
    project.write("in", "1");
    here
}

#[track_caller]
fn check_signal(args: &[&str], extra: &str, signal: Signal, code: i32) {
    let project = Project::new();
    let here = slow(&project, extra);
    let mut watcher = Watcher::launch(&project, args);
    here.hear();
    let tree = commands_in(project.root());
    assert!(tree.len() >= 3, "{tree:?}");
    watcher.signal(signal);
    assert_eq!(watcher.wait_exit(), Some(code), "{}", watcher.messages());
    assert_eq!(commands_in(project.root()), NOBODY);
    let outcomes = watcher.all().outcomes();
    assert_eq!(
        outcomes.get("slow").map(String::as_str),
        Some("cancelled"),
        "{}",
        watcher.all()
    );
    assert_ne!(outcomes.get("next").map(String::as_str), Some("done"));
    // What was stopped is not remembered as done.
    project.write("quick", "");
    project.run_json(["slow"]).ok().assert_ran(&["slow"]);
}

#[test]
fn ctrl_c_stops_a_run_and_everything_in_it() {
    check_signal(&["run"], "", Signal::INT, 130);
}

#[test]
fn sigterm_stops_a_run_and_everything_in_it() {
    check_signal(&["run"], "", Signal::TERM, 143);
}

#[test]
fn ctrl_c_stops_a_watch_and_everything_in_it() {
    check_signal(&[], "", Signal::INT, 130);
}

#[test]
fn sigterm_stops_a_watch_and_everything_in_it() {
    check_signal(&[], "", Signal::TERM, 143);
}

#[test]
fn ctrl_c_while_idle_ends_a_watch() {
    let project = Project::with("[tasks]\na = \"true\"\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    watcher.stop();
}

#[test]
fn a_task_that_ignores_the_signal_is_killed_after_its_grace() {
    let project = Project::new();
    let here = project.fifo("here");
    let line = format!(
        "trap '' TERM INT; {}; sleep 1000; sleep 1000",
        here.say("here")
    );
    project.watchfile(&format!(
        "[tasks.deaf]\nrun = \"{line}\"\ninputs = []\nstop_grace = \"50ms\"\n"
    ));
    let mut watcher = Watcher::launch(&project, ["run"]);
    here.hear();
    watcher.signal(Signal::INT);
    assert_eq!(watcher.wait_exit(), Some(130));
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_task_is_stopped_with_the_signal_it_asks_for() {
    let project = Project::new();
    let here = project.fifo("here");
    let line = format!(
        "trap 'echo bye > bye; exit' USR1; {}; while :; do sleep 0.01; done",
        here.say("here")
    );
    project.watchfile(&format!(
        "[tasks.polite]\nrun = \"{line}\"\ninputs = []\nstop_signal = \"USR1\"\n"
    ));
    let mut watcher = Watcher::launch(&project, ["run"]);
    here.hear();
    watcher.stop();
    assert_eq!(project.read("bye"), "bye\n");
}

#[test]
fn a_killed_watchrun_leaves_nobody_behind() {
    let project = Project::new();
    let here = slow(&project, "");
    let mut watcher = Watcher::launch(&project, ["run"]);
    here.hear();
    let tree = commands_in(project.root());
    watcher.signal(Signal::KILL);
    assert_eq!(watcher.wait_exit(), None);
    tree.into_iter().for_each(wait_gone);
}

#[test]
fn a_change_stops_a_stale_run_and_its_successor_starts_after_its_death() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    // A shell that finds its predecessor alive says so.
    let line = format!(
        "if [ -f ../pid ] && kill -0 $(cat ../pid) 2>/dev/null; then echo alive > ../overlap; fi; \
         echo $$ > ../pid; {}; {}; cp in out",
        here.say("$$"),
        go.pass()
    );
    project.watchfile(&format!(
        "[tasks.up]\nrun = '''\n{line}\n'''\ninputs = [\"in\"]\noutputs = [\"out\"]\non_busy = \"restart\"\n"
    ));
    project.write("in", "0\n");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    let mut pid = here.hear();
    for n in 1..=5 {
        project.write("in", format!("{n}\n"));
        watcher.wait_finished("up", "cancelled");
        let next = here.hear();
        assert_ne!(next, pid);
        pid = next;
    }
    go.open();
    watcher.wait_finished("up", "done");
    watcher.wait_idle();
    assert_eq!(project.read("out"), "5\n");
    assert!(!project.exists("../overlap"), "two ran at once");
    assert_eq!(commands_in(project.root()), NOBODY);
}
