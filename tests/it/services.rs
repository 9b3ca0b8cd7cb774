//! Services: readiness, replacement in the right order, failures, and the end.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{NOBODY, commands_in, wait_gone};
use crate::server::Server;
use crate::support::{DEFAULTS, Events, Project, text};
use crate::watcher::Watcher;

/// A build and a server that serves what it made.
fn app(project: &Project, server: &Server, extra: &str) {
    project.write("src", "one\n").watchfile(&format!(
        "[tasks.build]\nrun = \"! grep -q broken src && cp src out\"\ninputs = [\"src\"]\noutputs = [\"out\"]\n\
         [services.app]\n{}deps = [\"build\"]\nready = {{ tcp = \"{}\" }}\n{extra}",
        server.keys(),
        server.addr()
    ));
}

/// Waits until the service is in this state; its pid.
#[track_caller]
pub(crate) fn wait_state(watcher: &mut Watcher, service: &str, state: &str) -> u32 {
    let event = watcher.wait(&format!("`{service}` to be {state}"), |event| {
        is_state(event, service, state)
    });
    let pid = event["pid"].as_u64().unwrap_or_default();
    u32::try_from(pid).expect("a pid")
}

fn is_state(event: &Value, service: &str, state: &str) -> bool {
    event["event"] == "service" && event["service"] == service && event["state"] == state
}

/// The states of each service, as `name state`.
fn states(events: &Events) -> Vec<String> {
    let states = events.of("service").into_iter();
    states
        .map(|event| format!("{} {}", text(event, "service"), text(event, "state")))
        .collect()
}

#[track_caller]
fn check_ready(ready: impl Fn(&Server) -> String) {
    let (project, server) = (Project::new(), Server::new());
    project.watchfile(&format!(
        "[services.app]\n{}inputs = []\nready = {}\n[tasks.user]\nrun = \"true\"\ninputs = []\ndeps = [\"app\"]\n",
        server.keys(),
        ready(&server)
    ));
    let finished = project.run_json(["-j1"]);
    let events = finished.ok().events();
    events.assert_outcomes(&[("app", "done"), ("user", "done")]);
    let expected = ["app starting", "app ready", "app stopping", "app stopped"];
    assert_eq!(states(&events), expected, "{events}");
    let place = |wanted: &dyn Fn(&Value) -> bool| events.0.iter().position(wanted);
    let ready = place(&|event| is_state(event, "app", "ready"));
    let user = place(&|event| event["event"] == "task_started" && event["task"] == "user");
    assert!(ready < user, "{events}");
    assert!(server.ask().is_none());
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_service_is_ready_when_its_port_takes_connections() {
    check_ready(|server| format!("{{ tcp = \"{}\" }}", server.addr()));
}

#[test]
fn a_service_is_ready_when_it_answers_a_request() {
    check_ready(|server| format!("{{ http = \"http://{}/\" }}", server.addr()));
}

#[test]
fn a_service_is_ready_when_it_says_so() {
    check_ready(|_| "{ log = \"^listen\" }".to_owned());
}

#[test]
fn a_service_is_ready_when_a_command_finds_it_so() {
    check_ready(|server| {
        let (host, port) = (server.addr(), server.addr());
        let (host, port) = (host.split(':').next(), port.rsplit(':').next());
        let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
        format!("{{ exec = \"bash -c ': > /dev/tcp/{host}/{port}'\" }}")
    });
}

#[test]
fn a_service_that_is_never_ready_fails_with_its_last_lines() {
    let project = Project::with(
        "[services.app]\nrun = \"echo warming up; sleep 1000\"\nready = { log = \"hot\", timeout = \"200ms\" }\n\
         [tasks.user]\nrun = \"true\"\ninputs = []\ndeps = [\"app\"]\n",
    );
    let finished = project.run_json(DEFAULTS);
    let events = finished.exit(1).events();
    events.assert_outcomes(&[("app", "failed"), ("user", "skipped")]);
    let reason = events
        .of("task_finished")
        .iter()
        .find(|event| event["task"] == "app")
        .map(|event| text(event, "reason"));
    let reason = reason.unwrap_or_default();
    assert!(reason.contains("not ready"), "{reason}");
    assert!(reason.contains("warming up"), "{reason}");
    assert!(
        states(&events).contains(&"app failed".to_owned()),
        "{events}"
    );
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_service_that_ends_before_it_is_ready_fails_the_run() {
    let project = Project::with(
        "[services.app]\nrun = \"exit 3\"\nrestart = \"never\"\nready = { log = \"hot\" }\n",
    );
    let finished = project.run_json(DEFAULTS);
    let events = finished.exit(1).events();
    assert_eq!(events.of("task_finished")[0]["exit_code"], 3, "{events}");
}

#[test]
fn a_run_starts_a_service_only_for_what_is_stale() {
    let (project, server) = (Project::new(), Server::new());
    app(
        &project,
        &server,
        "[tasks.user]\nrun = \"true\"\ninputs = [\"in\"]\ndeps = [\"both\"]\n[tasks.both]\ndeps = [\"app\"]\n",
    );
    project.write("in", "1");
    let first = project.run_json(DEFAULTS);
    assert_eq!(states(&first.ok().events()).len(), 4, "{first}");
    let second = project.run_json(DEFAULTS);
    let events = second.ok().assert_ran(&[]).events();
    assert_eq!(states(&events), [""; 0], "{second}");
    events.assert_outcomes(&[
        ("app", "fresh"),
        ("both", "fresh"),
        ("build", "fresh"),
        ("user", "fresh"),
    ]);
    project.write("in", "2");
    let third = project.run_json(DEFAULTS);
    let events = third.ok().events();
    events
        .assert_outcome("user", "done")
        .assert_outcome("app", "done");
    assert_eq!(events.of("task_started").len(), 2, "{third}");
}

#[test]
fn a_run_of_services_alone_starts_and_stops_them_dependents_first() {
    let project = Project::with(
        "[services.db]\nrun = \"sleep 1000\"\n[services.web]\nrun = \"sleep 1000\"\ndeps = [\"db\"]\n",
    );
    for _ in 0..2 {
        let finished = project.run_json(["web"]);
        let expected = [
            "db starting",
            "db ready",
            "web starting",
            "web ready",
            "web stopping",
            "web stopped",
            "db stopping",
            "db stopped",
        ];
        assert_eq!(states(&finished.ok().events()), expected, "{finished}");
        assert_eq!(commands_in(project.root()), NOBODY);
    }
}

#[test]
fn a_save_replaces_a_service_without_a_clash() {
    let (project, server) = (Project::new(), Server::new());
    app(&project, &server, "");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let mut pid = wait_first(&mut watcher);
    for n in 0..20 {
        let content = format!("content {n}\n");
        project.write("src", &content);
        wait_state(&mut watcher, "app", "stopped");
        let next = wait_state(&mut watcher, "app", "ready");
        assert_ne!(next, pid);
        assert!(!commands_in(project.root()).contains(&pid));
        assert_eq!(server.ask(), Some(content));
        pid = next;
    }
    watcher.wait_idle();
    let events = watcher.stop();
    assert_eq!(
        events.output("app").len(),
        events
            .output("app")
            .iter()
            .filter(|l| !l.contains("cannot"))
            .count()
    );
    assert_eq!(
        events
            .of("service")
            .iter()
            .filter(|e| e["state"] == "starting")
            .count(),
        21
    );
    assert_eq!(commands_in(project.root()), NOBODY);
}

/// The pid of `app` from the events of the start.
#[track_caller]
fn wait_first(watcher: &mut Watcher) -> u32 {
    let events = watcher.all();
    let ready = events
        .of("service")
        .into_iter()
        .find(|event| event["state"] == "ready");
    let pid = ready
        .and_then(|event| event["pid"].as_u64())
        .expect("it was ready");
    u32::try_from(pid).expect("a pid")
}

#[test]
fn a_service_serves_on_while_its_build_is_broken() {
    let (project, server) = (Project::new(), Server::new());
    app(&project, &server, "");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let pid = wait_first(&mut watcher);
    project.write("src", "broken\n");
    assert_eq!(wait_state(&mut watcher, "app", "stale"), pid);
    watcher.wait_idle();
    assert_eq!(server.ask().as_deref(), Some("one\n"));
    // Back to what it was: the same process, not stale any more.
    project.write("src", "one\n");
    assert_eq!(wait_state(&mut watcher, "app", "ready"), pid);
    watcher.wait_idle();
    project.write("src", "broken\n");
    wait_state(&mut watcher, "app", "stale");
    project.write("src", "two\n");
    assert_ne!(wait_state(&mut watcher, "app", "ready"), pid);
    assert_eq!(server.ask().as_deref(), Some("two\n"));
    watcher.wait_idle();
    watcher.stop();
}

#[test]
fn a_service_with_the_same_digest_keeps_its_process() {
    let (project, server) = (Project::new(), Server::new());
    app(&project, &server, "");
    project.edit("watchfile.toml", "cp src out", "sort -u src > out");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("src", "one\none\n");
    watcher.expect_runs(&["build"]);
    // Neither is a comment in the watchfile a change.
    let text = project.read("watchfile.toml");
    project.write("watchfile.toml", format!("# a comment\n{text}"));
    project.write("src", "one\none\none\n");
    watcher.expect_runs(&["build"]);
    let expected = ["app starting", "app ready"];
    assert_eq!(states(&watcher.all()), expected, "{}", watcher.all());
    watcher.stop();
}

#[test]
fn a_service_that_keeps_ending_fails_until_it_changes() {
    let project = Project::with("[services.app]\nrun = \"sh app\"\ninputs = [\"app\"]\n");
    project.write("app", "exit 4\n");
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    wait_state(&mut watcher, "app", "failed");
    watcher.wait_finished("app", "failed");
    watcher.wait_idle();
    let starts = watcher
        .all()
        .of("service")
        .iter()
        .filter(|e| e["state"] == "starting")
        .count();
    assert_eq!(starts, 6, "{}", watcher.all());
    project.write("app", "exec sleep 1000\n");
    wait_state(&mut watcher, "app", "ready");
    watcher.wait_idle();
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_service_that_died_is_started_again() {
    let project = Project::with("[services.app]\nrun = [\"sleep\", \"1000\"]\ninputs = []\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let pid = wait_first(&mut watcher);
    project.shell(&format!("kill -9 {pid}"));
    let next = wait_state(&mut watcher, "app", "ready");
    assert_ne!(next, pid);
    watcher.signal(Signal::KILL);
    watcher.wait_exit();
    wait_gone(next);
}

#[test]
fn a_reload_signal_takes_the_place_of_a_restart() {
    let project = Project::new();
    let told = project.fifo("told");
    project.write("config", "1").watchfile(&format!(
        "[services.app]\nrun = \"trap '{}' HUP; echo up; while :; do sleep 0.01; done\"\n\
         inputs = [\"config\"]\nready = {{ log = \"up\" }}\nreload_signal = \"HUP\"\n",
        told.say("again").replace('\'', "")
    ));
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let pid = wait_first(&mut watcher);
    project.write("config", "2");
    assert_eq!(told.hear(), "again");
    watcher.wait_finished("app", "done");
    watcher.wait_idle();
    assert!(commands_in(project.root()).contains(&pid));
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn who_holds_the_port_is_named() {
    let project = Project::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    project.watchfile(&format!(
        "[services.app]\nrun = \"sleep 1000\"\ninputs = []\nready = {{ tcp = \"{addr}\" }}\n"
    ));
    let finished = project.run_json(DEFAULTS);
    let events = finished.exit(1).events();
    let reason = text(events.of("task_finished")[0], "reason");
    assert!(
        reason.contains(&format!("`{addr}` is taken by")),
        "{reason}"
    );
    assert!(
        reason.contains(&format!("(pid {})", std::process::id())),
        "{reason}"
    );
}

#[test]
fn who_took_the_port_of_a_service_that_died_is_named() {
    let (project, server) = (Project::new(), Server::new());
    let addr = server.addr();
    project.watchfile(&format!(
        "[services.app]\nrun = [\"sleep\", \"1000\"]\ninputs = []\nready = {{ tcp = \"{addr}\" }}\n"
    ));
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    let pid = wait_state(&mut watcher, "app", "starting");
    let _stranger = TcpListener::bind(&addr).expect("it is free");
    wait_state(&mut watcher, "app", "ready");
    watcher.wait_idle();
    project.shell(&format!("kill -9 {pid}"));
    let failed = watcher.wait("`app` to fail", |event| {
        event["event"] == "task_finished" && event["outcome"] == "failed"
    });
    let reason = text(&failed, "reason");
    let holder = format!("`{addr}` is taken by");
    assert!(reason.starts_with(&holder), "{reason}");
    let holder = format!("(pid {})", std::process::id());
    assert!(reason.ends_with(&holder), "{reason}");
    watcher.wait_idle();
    let expected = ["app starting", "app ready", "app failed"];
    assert_eq!(states(&watcher.all()), expected, "{}", watcher.all());
    watcher.stop();
}

#[test]
fn an_edit_of_the_watchfile_touches_only_the_services_it_concerns() {
    let service = |name: &str, arg: &str| {
        format!("[services.{name}]\nrun = [\"sleep\", \"{arg}\"]\ninputs = []\n")
    };
    let project = Project::new();
    project.watchfile(
        &[
            service("a", "1000"),
            service("b", "1000"),
            service("c", "1000"),
        ]
        .concat(),
    );
    let mut watcher = Watcher::start(&project, DEFAULTS);
    let from = watcher.all().0.len();
    project.watchfile(&[service("a", "1000"), service("b", "2000")].concat());
    wait_state(&mut watcher, "b", "ready");
    watcher.wait_idle();
    let after = Events(watcher.all().0[from..].to_vec());
    let mut found = states(&after);
    found.sort();
    let expected = [
        "b ready",
        "b starting",
        "b stopped",
        "b stopping",
        "c stopped",
        "c stopping",
    ];
    assert_eq!(found, expected, "{after}");
    watcher.stop();
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn a_service_whose_readiness_changes_is_replaced() {
    let project = Project::with("[services.a]\nrun = \"echo up; exec sleep 1000\"\ninputs = []\n");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.edit(
        "watchfile.toml",
        "inputs",
        "ready = { log = \"up\" }\ninputs",
    );
    wait_state(&mut watcher, "a", "stopped");
    wait_state(&mut watcher, "a", "ready");
    watcher.wait_idle();
    watcher.stop();
}

#[test]
fn ctrl_c_stops_services_that_are_starting_too() {
    let project = Project::new();
    let here = project.fifo("here");
    project.watchfile(&format!(
        "[services.up]\nrun = \"sleep 1000\"\ninputs = []\n[services.late]\nrun = \"{}; sleep 1000\"\ndeps = [\"up\"]\nready = {{ log = \"never\" }}\n",
        here.say("here")
    ));
    let mut watcher = Watcher::launch(&project, DEFAULTS);
    here.hear();
    let events = watcher.stop();
    events.assert_outcomes(&[("up", "done"), ("late", "cancelled")]);
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn people_are_told_once_that_a_service_failed() {
    let project = Project::with(
        "[services.a]\nrun = \"exit 3\"\ninputs = []\nready = { log = \"up\" }\nrestart = \"never\"\n",
    );
    let run = project.run(["run"]);
    run.exit(1).stderr_lacks("a: stopped");
    assert_eq!(run.stderr.matches("a: failed").count(), 1, "{run}");
    run.stderr_has("it ended with exit code 3 before it was ready");
}
