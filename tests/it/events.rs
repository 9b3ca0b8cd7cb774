//! The event stream's contract: which fields, which types, and one end for each start.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Events, Project, text};
use crate::watcher::Watcher;

/// What a field must be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Text,
    Bool,
    List,
    Map,
    Any,
}

use Kind::{Any, Bool, List, Map, Number, Text};

/// The fields of each event. A `?` marks those that need not be there.
const FIELDS: &[(&str, &[(&str, Kind)])] = &[
    (
        "ready",
        &[
            ("watched_dirs", Number),
            ("polled_dirs", Number),
            ("files", Number),
        ],
    ),
    (
        "change_set",
        &[("id", Number), ("changes", List), ("complete", Bool)],
    ),
    ("run_started", &[("run", Number), ("tasks", List)]),
    (
        "task_started",
        &[
            ("run", Number),
            ("task", Text),
            ("attempt", Number),
            ("reason", Any),
        ],
    ),
    (
        "task_output",
        &[
            ("run", Number),
            ("task", Text),
            ("line", Text),
            ("bytes?", Text),
        ],
    ),
    (
        "task_finished",
        &[
            ("run", Number),
            ("task", Text),
            ("outcome", Text),
            ("exit_code?", Number),
            ("signal?", Number),
            ("duration_ms", Number),
            ("reason?", Any),
        ],
    ),
    (
        "service",
        &[("service", Text), ("state", Text), ("pid?", Number)],
    ),
    (
        "warning",
        &[("kind", Text), ("message", Text), ("hint?", Text)],
    ),
    (
        "run_finished",
        &[
            ("run", Number),
            ("ok", Bool),
            ("counts", Map),
            ("duration_ms", Number),
        ],
    ),
    ("idle", &[]),
];

const OUTCOMES: [&str; 7] = [
    "done",
    "fresh",
    "restored",
    "failed",
    "timed_out",
    "cancelled",
    "skipped",
];

fn fits(value: &Value, kind: Kind) -> bool {
    match kind {
        Number => value.is_number(),
        Text => value.is_string(),
        Bool => value.is_boolean(),
        List => value.is_array(),
        Map => value.is_object(),
        Any => !value.is_null(),
    }
}

/// Every event is known and whole, time does not run backwards, and starts and ends pair up.
#[track_caller]
fn check(events: &Events) {
    let mut last = 0.0;
    let mut running: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in &events.0 {
        let kind = text(event, "event");
        let fields = FIELDS.iter().find(|(name, _)| *name == kind);
        let (_, fields) = fields.unwrap_or_else(|| panic!("unknown event {event}"));
        for (field, kind) in *fields {
            let name = field.trim_end_matches('?');
            let fine = event
                .get(name)
                .map_or(*field != name, |value| fits(value, *kind));
            assert!(fine, "`{name}` must be {kind:?} in {event}");
        }
        let t = event["t"]
            .as_f64()
            .unwrap_or_else(|| panic!("no `t` in {event}"));
        assert!(t >= last, "time runs backwards at {event}");
        last = t;
        let key = || (event["run"].to_string(), text(event, "task"));
        match kind.as_str() {
            "task_started" => *running.entry(key()).or_default() += 1,
            "task_finished" => {
                assert!(
                    OUTCOMES.contains(&text(event, "outcome").as_str()),
                    "{event}"
                );
                // What did not run has an end alone, also where it ran before in the same run.
                let is_alone =
                    ["fresh", "restored", "skipped"].contains(&text(event, "outcome").as_str());
                let open = running.get_mut(&key());
                if let Some(open) = open.filter(|open| **open > 0 || !is_alone) {
                    *open = open
                        .checked_sub(1)
                        .unwrap_or_else(|| panic!("a second end: {event}\n{events}"));
                }
            }
            "change_set" => check_changes(event),
            _ => {}
        }
    }
    running.retain(|_, open| *open > 0);
    assert!(running.is_empty(), "{running:?} have no end in\n{events}");
}

#[track_caller]
fn check_changes(event: &Value) {
    let changes = event["changes"].as_array().expect("checked before");
    for change in changes {
        assert!(change["path"].is_string(), "{event}");
        let kind = text(change, "kind");
        assert!(
            ["created", "modified", "removed", "renamed"].contains(&kind.as_str()),
            "{event}"
        );
        assert_eq!(kind == "renamed", change.get("from").is_some(), "{event}");
    }
}

const TASKS: &str = r#"
[tasks]
good = { run = "cat in", inputs = ["in"] }
bad = { run = "echo bad >&2; exit 7", inputs = [] }
skipped = { run = "true", inputs = [], deps = ["bad"] }
killed = { run = "kill -TERM $$", inputs = [] }
group = { deps = ["good"] }
"#;

#[test]
fn a_run_with_every_kind_of_end_keeps_the_contract() {
    let project = Project::with(TASKS);
    project.write("in", "text\n");
    let run = project.run_json(["-k", "-j1"]);
    let events = run.exit(1).events();
    check(&events);
    let outcomes = events.outcomes();
    let expected = [
        ("good", "done"),
        ("bad", "failed"),
        ("skipped", "skipped"),
        ("killed", "failed"),
    ];
    for (task, outcome) in expected {
        assert_eq!(outcomes[task], outcome, "{run}");
    }
    assert_eq!(events.of("run_started").len(), 1);
    let tasks = events.of("run_started")[0]["tasks"]
        .as_array()
        .expect("checked")
        .len();
    assert_eq!(tasks, 5, "{run}");
    let end = events.of("run_finished");
    assert_eq!((end.len(), &end[0]["ok"]), (1, &Value::Bool(false)));
    assert_eq!(end[0]["counts"]["failed"], 2, "{run}");
    assert_eq!(end[0]["counts"]["skipped"], 1, "{run}");
    check(&project.run_json(["good"]).ok().events());
}

#[test]
fn a_start_says_why() {
    let project = Project::with(TASKS);
    project.write("in", "one\n");
    let reason = |project: &Project| {
        let events = project.run_json(["good"]).ok().events();
        events.of("task_started")[0]["reason"].to_string()
    };
    let first = reason(&project);
    project.write("in", "two\n");
    let second = reason(&project);
    assert_ne!(first, second);
    assert!(
        second.contains("\"in\"") || second.contains("`in`"),
        "the path is in {second}"
    );
}

#[test]
fn watching_keeps_the_contract() {
    let project = Project::with(TASKS);
    project.write("in", "one\n");
    let mut watcher = Watcher::start(&project, ["good", "group"]);
    project.write("in", "two\n");
    watcher.wait_finished("good", "done");
    watcher.wait_idle();
    project.shell("mv in in.old && cp in.old in");
    project.write("in", "three\n");
    watcher.wait_finished("good", "done");
    watcher.wait_idle();
    let events = watcher.stop();
    check(&events);
    let ids: Vec<_> = events
        .of("change_set")
        .iter()
        .map(|event| event["id"].as_u64())
        .collect();
    assert!(ids.is_sorted() && !ids.is_empty(), "{events}");
    let ready = events.of("ready");
    assert_eq!(ready.len(), 1, "{events}");
    assert!(
        ready[0]["watched_dirs"]
            .as_u64()
            .is_some_and(|dirs| dirs >= 1),
        "{events}"
    );
}

#[test]
fn every_start_has_its_end_when_interrupted() {
    for args in [vec!["run"], vec![]] {
        let project = Project::new();
        let here = project.fifo("here");
        let line = format!("echo out; {}; sleep 1000", here.say("here"));
        project.watchfile(&format!("[tasks.slow]\nrun = \"{line}\"\ninputs = []\n[tasks.next]\nrun = \"true\"\ndeps = [\"slow\"]\n"));
        let mut watcher = Watcher::launch(&project, &args);
        here.hear();
        watcher.signal(Signal::INT);
        assert_eq!(watcher.wait_exit(), Some(130));
        let events = watcher.all();
        check(&events);
        assert_eq!(
            events.outcomes().get("slow").map(String::as_str),
            Some("cancelled"),
            "{events}"
        );
        assert_eq!(
            events.of("run_started").len(),
            events.of("run_finished").len(),
            "{events}"
        );
    }
}
