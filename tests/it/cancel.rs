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
fn a_killed_watchrun_leaves_nobody_behind_who_hides_below_one_of_its_processes() {
    let project = Project::new();
    let here = project.fifo("here");
    project.write(
        "hidden.sh",
        format!("{}\nexec sleep 1000\n", here.say("here")),
    );
    // It has no mark, is in no group of ours, and its parent lives.
    project.watchfile(
        "[tasks.hider]\nrun = 'env -i PATH=\"$PATH\" setsid sh hidden.sh & sleep 1000'\ninputs = []\n",
    );
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

/// How often the tests of many rounds go through theirs: a few, or as the variable
/// `WATCHRUN_ROUNDS` says.
fn rounds() -> u32 {
    let rounds = std::env::var("WATCHRUN_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// A tree with a member that ignores the signals, one that left the session, one that did both,
/// and one that was stopped; it says when it is all there.
fn stubborn(project: &Project) -> Fifo {
    let here = project.fifo("here");
    project.write(
        "deaf.sh",
        format!(
            "trap '' TERM INT HUP\n{}\nwhile :; do sleep 1000; done\n",
            here.say("deaf")
        ),
    );
    project.write(
        "tree.sh",
        "sh deaf.sh & setsid sh deaf.sh & (setsid sh deaf.sh &)\nsleep 1000 & kill -STOP $!\nwait\n",
    );
    project.watchfile(
        "[tasks.tree]\nrun = \"sh tree.sh\"\ninputs = [\"in\"]\nstop_grace = \"20ms\"\non_busy = \"restart\"\n\
         [services.serve]\nrun = \"sh tree.sh\"\ninputs = []\nstop_grace = \"20ms\"\n",
    );
    project.write("in", "0");
    here
}

#[track_caller]
fn check_stubborn(signal: Signal, code: Option<i32>) {
    for args in [&["run"][..], &[]] {
        for _ in 0..rounds() {
            let project = Project::new();
            let here = stubborn(&project);
            let mut watcher = Watcher::launch(&project, args);
            (0..6).for_each(|_| assert_eq!(here.hear(), "deaf"));
            let tree = commands_in(project.root());
            assert!(tree.len() >= 10, "{tree:?}");
            watcher.signal(signal);
            assert_eq!(watcher.wait_exit(), code, "{}", watcher.messages());
            if code.is_some() {
                assert_eq!(commands_in(project.root()), NOBODY);
            }
            tree.into_iter().for_each(wait_gone);
            // Who was forked since that look has to go as well.
            while let Some(&left) = commands_in(project.root()).first() {
                wait_gone(left);
            }
        }
    }
}

#[test]
fn nobody_survives_ctrl_c() {
    check_stubborn(Signal::INT, Some(130));
}

#[test]
fn nobody_survives_sigterm() {
    check_stubborn(Signal::TERM, Some(143));
}

#[test]
fn nobody_survives_a_terminal_that_hangs_up() {
    check_stubborn(Signal::HUP, Some(129));
}

#[test]
fn nobody_survives_a_kill() {
    check_stubborn(Signal::KILL, None);
}

#[test]
fn nobody_survives_a_restart() {
    let project = Project::new();
    let here = stubborn(&project);
    let mut watcher = Watcher::launch(&project, ["tree"]);
    (0..3).for_each(|_| drop(here.hear()));
    for n in 1..=rounds() * 3 {
        let before = commands_in(project.root());
        project.save("in", n.to_string());
        watcher.wait_finished("tree", "cancelled");
        (0..3).for_each(|_| drop(here.hear()));
        let now = commands_in(project.root());
        assert!(
            before.iter().all(|pid| !now.contains(pid)),
            "{before:?} {now:?}"
        );
    }
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let project = Project::new();
    let (here, told) = (project.fifo("here"), project.fifo("told"));
    let line = format!(
        "trap \"{}\" TERM; {}; while :; do sleep 0.01; done",
        told.say("told").replace('\'', ""),
        here.say("here")
    );
    project.watchfile(&format!(
        "[tasks.deaf]\nrun = '''\n{line}\n'''\ninputs = []\nstop_grace = \"1h\"\n\
         [services.deaf-too]\nrun = '''\n{line}\n'''\ninputs = []\nstop_grace = \"1h\"\n"
    ));
    let mut watcher = Watcher::launch(&project, ["run"]);
    here.hear();
    here.hear();
    watcher.signal(Signal::INT);
    assert_eq!(told.hear(), "told");
    watcher.signal(Signal::INT);
    assert_eq!(watcher.wait_exit(), Some(130), "{}", watcher.messages());
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn the_wait_for_another_watchrun_can_be_stopped() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    project.watchfile(&format!(
        "[tasks.one]\nrun = \"{}; {}\"\ninputs = []\n",
        here.say("here"),
        go.pass()
    ));
    let mut first = Watcher::launch(&project, ["run"]);
    here.hear();
    let mut second = Watcher::launch(&project, ["run"]);
    let mut third = Watcher::launch(&project, ["run"]);
    for watcher in [&mut second, &mut third] {
        watcher.wait("a word about the wait", |event| event["kind"] == "waiting");
    }
    second.signal(Signal::INT);
    assert_eq!(second.wait_exit(), Some(130), "{}", second.messages());
    second.all().assert_outcomes(&[("one", "cancelled")]);
    go.open();
    assert_eq!(first.wait_exit(), Some(0));
    assert_eq!(third.wait_exit(), Some(0));
    third.all().assert_outcomes(&[("one", "fresh")]);
}
