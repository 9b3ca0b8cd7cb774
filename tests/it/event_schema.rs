//! `docs/events.schema.json` describes what is really written.

use serde_json::Value;

use crate::support::{Events, Project};
use crate::watcher::Watcher;

fn schema() -> Value {
    let text = include_str!("../../docs/events.schema.json");
    serde_json::from_str(text).expect("the schema is JSON")
}

/// Whether `value` is what `schema` describes: as much of JSON Schema as that schema uses.
fn fits(value: &Value, schema: &Value) -> bool {
    let kind = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some(other) => panic!("the schema uses the type `{other}`"),
    };
    let constant = schema.get("const").is_none_or(|expected| value == expected);
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|all| all.contains(value));
    let least = schema["minimum"]
        .as_i64()
        .is_none_or(|least| value.as_i64() >= Some(least));
    let required = schema["required"].as_array().into_iter().flatten();
    let has_all = required
        .filter_map(Value::as_str)
        .all(|key| value.get(key).is_some());
    let properties = schema["properties"].as_object();
    let known = |(key, value): (&String, &Value)| {
        properties.is_none_or(|all| all.get(key).is_none_or(|schema| fits(value, schema)))
    };
    let fields = value.as_object().into_iter().flatten().all(known);
    let items = schema.get("items").is_none_or(|schema| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .all(|item| fits(item, schema))
    });
    kind && constant && listed && least && has_all && fields && items
}

#[track_caller]
fn check(events: &Events) {
    let schema = schema();
    let kinds = schema["oneOf"].as_array().expect("one for each event");
    for event in events.every() {
        let n = kinds.iter().filter(|kind| fits(event, kind)).count();
        assert_eq!(n, 1, "{event} fits {n} events of the schema");
        let own = kinds
            .iter()
            .find(|kind| fits(event, kind))
            .expect("one fits");
        for key in event.as_object().expect("an object").keys() {
            assert!(
                own["properties"].get(key).is_some(),
                "`{key}` of {event} is not described"
            );
        }
    }
}

#[test]
fn every_event_of_a_run_is_described() {
    let project = Project::with(
        r#"
        [tasks]
        say  = { run = 'printf "a\377\n"; echo b', inputs = [] }
        bad  = { run = "exit 3", inputs = [], retries = 1 }
        next = { run = "true", inputs = [], deps = ["bad"] }
        sig  = { run = "kill -9 $$", inputs = [] }
        use  = { run = "true", inputs = ["made"] }
        make = { run = "echo x > made", inputs = [], outputs = ["made"] }
        "#,
    );
    let run = project.run_json(["-k"]);
    check(&run.exit(1).events());
}

#[test]
fn every_event_of_a_watch_is_described() {
    let project = Project::with(r#"tasks.up = { run = "cat in", inputs = ["in"] }"#);
    project.write("in", "1\n");
    let mut watcher = Watcher::start(&project, [] as [&str; 0]);
    project.write("in", "2\n");
    watcher.expect_runs(&["up"]);
    project.shell("mv in other; mv other in");
    project.write("in", "3\n");
    watcher.expect_runs(&["up"]);
    watcher.stop();
    check(&watcher.all());
}

#[test]
fn the_checker_finds_what_does_not_fit() {
    let event: Value = serde_json::from_str(r#"{"t":1,"event":"ready","files":"3"}"#).unwrap();
    let schema = schema();
    assert!(
        !schema["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .any(|kind| fits(&event, kind))
    );
}
