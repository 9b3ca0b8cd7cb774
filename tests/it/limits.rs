//! What bounds a run: jobs, pools, time, attempts, failures, and the job tokens that commands share.

use std::fs;

use crate::processes::{NOBODY, commands_in};
use crate::support::{DEFAULTS, Events, Project, finish, text};
use crate::watcher::Watcher;

/// A makefile of eight jobs. Each notes how many run at its start, itself among them, in `seen`.
const MAKEFILE: &str = "
all: 1 2 3 4 5 6 7 8
1 2 3 4 5 6 7 8:
\t@: > ../running/$$PPID.$@; ls ../running | wc -l >> ../seen; \
\ti=0; while [ $$i -lt 3000 ]; do i=$$((i+1)); done; rm ../running/$$PPID.$@
";

/// Two directories with that makefile, and a place to count in.
fn makes(project: &Project, settings: &str, run: &str) {
    project.watchfile(&format!(
        "{settings}\n[tasks]\na = {{ run = \"{run}\", dir = \"a\", inputs = [] }}\nb = {{ run = \"{run}\", dir = \"b\", inputs = [] }}\n"
    ));
    project
        .write("a/Makefile", MAKEFILE)
        .write("b/Makefile", MAKEFILE);
    project.shell("mkdir running");
}

/// The largest number of jobs that a job saw.
fn most(project: &Project) -> usize {
    let seen = project.read("seen");
    let counts = seen.lines().filter_map(|line| line.trim().parse().ok());
    counts.max().unwrap_or(0)
}

#[test]
fn makes_share_the_jobs_with_each_other_and_with_us() {
    for (style, run) in [
        ("auto", "make -j8"),
        ("pipe", "make -j8"),
        ("auto", "cd . && make -j8"),
    ] {
        let project = Project::new();
        let settings = format!("[settings]\njobserver = \"{style}\"");
        makes(&project, &settings, run);
        project.run_json(["-j2"]).ok();
        assert_eq!(project.lines("seen"), 16);
        assert_eq!(most(&project), 2, "{style}: {}", project.read("seen"));
    }
}

#[test]
fn without_a_jobserver_each_make_has_jobs_of_its_own() {
    let project = Project::new();
    makes(&project, "[settings]\njobserver = \"off\"", "make -j8");
    project.run_json(["-j2"]).ok();
    assert!(most(&project) > 2, "{}", project.read("seen"));
}

#[test]
fn inside_a_make_its_jobs_are_shared() {
    let project = Project::new();
    makes(&project, "", "make -j8");
    let program = env!("CARGO_BIN_EXE_watchrun");
    project.write("outer.mk", format!("all:\n\t+{program} run -j8\n"));
    project.shell("make -f outer.mk -j2 all");
    assert_eq!(project.lines("seen"), 16);
    assert_eq!(most(&project), 2, "{}", project.read("seen"));
}

#[test]
fn a_jobserver_around_us_that_is_not_open_to_us_is_warned_of_once_and_none_is_no_matter() {
    let project = Project::new();
    makes(&project, "", "make -j8");
    project.write("plain", "");
    let warnings = |flags: &str| {
        let mut command = project.command(["run", "--json", "--force", "-j2"]);
        let run = finish(command.env("MAKEFLAGS", flags));
        let events = run.ok().events();
        let told = events.of("warning").into_iter();
        told.map(|event| (text(event, "message"), text(event, "hint")))
            .collect::<Vec<_>>()
    };
    let plain = format!("fifo:{}", project.path("plain").display());
    for auth in ["fifo:/nonexistent", "77,78", "-2,-2", "garbage", &plain] {
        let auth = format!("--jobserver-auth={auth}");
        let told = warnings(&format!(" -j4 {auth}"));
        let [(message, hint)] = &told[..] else {
            panic!("{auth}: {told:?}");
        };
        assert!(message.contains(&auth) && hint.contains("`+`"), "{told:?}");
        assert_eq!(most(&project), 2, "{auth}: {}", project.read("seen"));
    }
    for flags in ["", "w", " -j4"] {
        assert_eq!(warnings(flags), [], "{flags}");
    }
}

#[test]
fn a_line_of_a_makefile_that_begins_without_plus_is_told_what_it_lacks() {
    let project = Project::with("[tasks.a]\nrun = \"true\"\ninputs = []\n");
    let program = env!("CARGO_BIN_EXE_watchrun");
    project.write(
        "outer.mk",
        format!("all:\n\techo \"$$MAKEFLAGS\" > flags; {program} run 2> said\n"),
    );
    project.shell("make -f outer.mk -j2 all");
    let said = project.read("said");
    // A make that speaks through a named pipe opens it to every line.
    let is_open = project.read("flags").contains("fifo:");
    assert_eq!(said.contains("begin the line"), !is_open, "{said}");
    project.write(
        "outer.mk",
        format!("all:\n\t+{program} run --force 2> said\n"),
    );
    project.shell("make -f outer.mk -j2 all");
    assert!(!project.read("said").contains("jobserver"), "{said}");
}

#[test]
fn tokens_of_killed_makes_are_given_back() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    let hold = |job: &str| {
        format!(
            "{job}:\n\t@test -f done || {{ {}; {}; }}\n",
            here.say(job),
            go.pass()
        )
    };
    project.write(
        "Makefile",
        format!("all: one two\n{}{}", hold("one"), hold("two")),
    );
    project.watchfile("[tasks.m]\nrun = \"make -j8\"\ninputs = [\"in\"]\non_busy = \"restart\"\n");
    project.write("in", "0");
    let mut watcher = Watcher::launch(&project, ["-j2"]);
    for n in 1..=20 {
        // Both jobs run: the token beside the make's own is there.
        let mut jobs = [here.hear(), here.hear()];
        jobs.sort();
        assert_eq!(jobs, ["one", "two"]);
        project.write("in", n.to_string());
        watcher.wait_finished("m", "cancelled");
    }
    here.hear();
    here.hear();
    go.open();
    go.open();
    watcher.wait_finished("m", "done");
    watcher.wait_idle();
    watcher.stop();
}

#[test]
fn a_task_over_its_time_is_stopped_with_all_it_started() {
    let project = Project::with(
        "[tasks.slow]\nrun = \"sleep 1000 & setsid sleep 1000 & trap '' TERM; sleep 1000; sleep 1000\"\n\
         inputs = []\ntimeout = \"150ms\"\nstop_grace = \"50ms\"\n[tasks.next]\nrun = \"true\"\ninputs = []\ndeps = [\"slow\"]\n",
    );
    let finished = project.run_json(DEFAULTS);
    let events = finished.exit(1).events();
    events.assert_outcomes(&[("slow", "timed_out"), ("next", "skipped")]);
    assert_eq!(commands_in(project.root()), NOBODY);
}

/// The attempts of a task that succeeds in its third.
fn attempts(project: &Project, retries: u32) -> (Events, i32) {
    project.watchfile(&format!(
        "[tasks.flaky]\nrun = \"echo x >> ../tries; test $(wc -l < ../tries) -ge 3\"\ninputs = []\nretries = {retries}\n"
    ));
    let finished = project.run_json(DEFAULTS);
    let code = finished.status.code().unwrap_or(-1);
    (finished.events(), code)
}

#[test]
fn a_failure_is_tried_again_as_often_as_is_allowed() {
    let project = Project::new();
    let (events, code) = attempts(&project, 2);
    assert_eq!(code, 0, "{events}");
    let started = events.of("task_started");
    let numbers: Vec<_> = started
        .iter()
        .map(|event| event["attempt"].as_u64())
        .collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    let outcomes: Vec<String> = events
        .of("task_finished")
        .into_iter()
        .map(|event| text(event, "outcome"))
        .collect();
    assert_eq!(outcomes, ["failed", "failed", "done"]);
    assert_eq!(events.of("run_finished")[0]["counts"]["done"], 1);
    assert_eq!(events.of("run_finished")[0]["counts"]["failed"], 0);
}

#[test]
fn after_the_last_attempt_it_has_failed() {
    let project = Project::new();
    let (events, code) = attempts(&project, 1);
    assert_eq!(code, 1, "{events}");
    assert_eq!(events.of("task_started").len(), 2, "{events}");
}

#[test]
fn an_allowed_failure_fails_nothing_else() {
    let project = Project::with(
        "[tasks.bad]\nrun = \"exit 3\"\ninputs = []\nallow_failure = true\n\
         [tasks.next]\nrun = \"true\"\ninputs = []\ndeps = [\"bad\"]\n",
    );
    let finished = project.run_json(DEFAULTS);
    let events = finished.ok().events();
    events.assert_outcomes(&[("bad", "failed"), ("next", "done")]);
    assert_eq!(events.of("run_finished")[0]["ok"], true);
    let finished = events.of("task_finished");
    assert_eq!(finished[0]["allowed"], true, "{events}");
    assert!(finished[1].get("allowed").is_none(), "{events}");
    let run = project.run(["run", "--force"]);
    run.ok().stderr_has("bad: failed (allowed)");
    run.stderr_has("1 done, 1 failed (allowed) in ");
}

/// How many of four tasks run at once: each waits until it was heard, so that none ends before.
#[track_caller]
fn check_at_once(args: &[&str], extra: &str, key: &str, expected: usize) {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    let task = |name: &str| {
        format!(
            "[tasks.{name}]\nrun = \"{}; {}\"\ninputs = []\n{key}\n",
            here.say(name),
            go.pass()
        )
    };
    let tasks: String = ["a", "b", "c", "d"].into_iter().map(task).collect();
    project.watchfile(&format!("{extra}\n{tasks}"));
    let mut watcher = Watcher::launch(&project, ["run"].iter().chain(args));
    (0..expected).for_each(|_| drop(here.hear()));
    let all = |watcher: &Watcher| watcher.all().of("task_started").len();
    (expected..4).for_each(|_| {
        go.open();
        here.hear();
    });
    (0..expected).for_each(|_| go.open());
    assert_eq!(watcher.wait_exit(), Some(0), "{}", watcher.messages());
    assert_eq!(all(&watcher), 4);
    let mut running = 0_usize;
    let mut most = 0;
    for event in &watcher.all().0 {
        match event["event"].as_str() {
            Some("task_started") => running += 1,
            Some("task_finished") => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    assert_eq!(most, expected, "{}", watcher.all());
}

#[test]
fn jobs_are_a_number_or_a_part_of_the_cores() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    check_at_once(&["-j3"], "", "", 3);
    check_at_once(&["-j", "1%"], "", "", 1);
    check_at_once(&["--jobs=100%"], "", "", cores.min(4));
    check_at_once(&[], "[settings]\njobs = 2", "", 2);
}

#[test]
fn a_pool_bounds_its_tasks_below_the_jobs() {
    check_at_once(&["-j4"], "[pools]\nfew = 2", "pool = \"few\"", 2);
}

#[test]
fn after_orders_what_runs_and_asks_for_nothing() {
    let project = Project::with(
        "[tasks]\nlate = { run = \"echo late >> log\", inputs = [], after = [\"early\"] }\n\
         early = { run = \"echo early >> log; exit 1\", inputs = [] }\n",
    );
    project
        .run_json(["-j2", "-k"])
        .exit(1)
        .assert_ran(&["early", "late"]);
    assert_eq!(project.read("log"), "early\nlate\n");
    project.remove("log").remove(".watchrun");
    project.run_json(["late"]).ok().assert_ran(&["late"]);
    assert_eq!(project.read("log"), "late\n");
}

#[test]
fn so_many_failures_stop_new_starts() {
    let project = Project::with(
        "[settings]\nkeep_going = 2\n[tasks]\na = \"exit 1\"\nb = \"true\"\nc = \"exit 1\"\nd = \"true\"\n",
    );
    let finished = project.run_json(["-j1"]);
    finished.exit(1).assert_ran(&["a", "b", "c"]);
    finished.events().assert_outcome("d", "skipped");
}

#[test]
fn without_threads_for_the_pool_files_are_looked_at_all_the_same() {
    // Only root can become a user of whom nothing else runs.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let project = Project::with("[tasks]\na = \"true\"\nb = \"true\"\n");
    for n in 0..40 {
        project.write(format!("{n}/in"), "");
    }
    let program = project.outside("watchrun");
    fs::copy(env!("CARGO_BIN_EXE_watchrun"), &program).unwrap();
    project.shell("chmod -R a+rwX ..");
    let mut check = project.hermetic("setpriv");
    check.args(["--reuid=65123", "--regid=65123", "--clear-groups"]);
    check.args(["prlimit", "--nproc=1"]);
    check.arg(program).arg("check");
    finish(&mut check).exit(1).stdout_has("a: stale");
}
