//! The watchfile's format as a JSON Schema, for editors: [`json_schema`].
//!
//! The types here only describe; `raw` is what reads. A test holds the two together.

#![expect(
    dead_code,
    reason = "the types describe the format, none is ever built"
)]

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::keys::NOT_SUPPORTED;

/// The JSON Schema (draft 2020-12) of a main watchfile, without the keys that are not supported.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = schema_for!(Watchfile).to_value();
    for (table, key) in NOT_SUPPORTED {
        let properties = match *table {
            "" => "/properties".to_owned(),
            table => format!("/$defs/{}/properties", definition(table)),
        };
        if let Some(Value::Object(properties)) = schema.pointer_mut(&properties) {
            properties.remove(*key);
        }
    }
    schema
}

/// The type that describes a table of [`NOT_SUPPORTED`].
fn definition(table: &str) -> &'static str {
    match table {
        "tasks" => "Task",
        "services" => "Service",
        "ready" => "Ready",
        "remote" => "Remote",
        _ => "Settings",
    }
}

/// What watchrun runs when files change: `watchfile.toml`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "watchfile.toml")]
struct Watchfile {
    /// The tasks, by name. A name holds no `:` and no blanks.
    tasks: Option<BTreeMap<String, TaskEntry>>,
    /// The services, by name: commands that stay.
    services: Option<BTreeMap<String, Service>>,
    /// What is meant when no task is named. Default: all tasks and services.
    default: Option<Vec<String>>,
    /// Globs of other watchfiles. Their tasks are named `dir:task`.
    include: Option<Vec<String>>,
    /// Variables of every task. They enter the keys.
    env: Option<BTreeMap<String, String>>,
    /// Files of `NAME=value` lines, under `env`.
    env_files: Option<Vec<String>>,
    /// How many tasks of each pool may run at once.
    pools: Option<BTreeMap<String, PoolSize>>,
    /// How watchrun behaves in this root.
    settings: Option<Settings>,
    /// A Remote Execution API server.
    remote: Option<Remote>,
}

/// A number from 1.
#[derive(JsonSchema)]
struct PoolSize(#[schemars(range(min = 1))] u32);

/// A task, or just its command.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum TaskEntry {
    /// A shell line.
    Line(String),
    /// The words of one command.
    Words(Vec<String>),
    /// A table of keys.
    Task(Box<Task>),
}

/// A string goes to the shell; an array is one command's words, without a shell.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Run {
    /// A shell line.
    Line(#[schemars(length(min = 1))] String),
    /// The words of one command.
    Words(#[schemars(length(min = 1))] Vec<String>),
}

/// A duration: `10ms`, `5s`, `1m30s`, `2h`, `0`.
#[derive(JsonSchema)]
struct Duration(#[schemars(regex(pattern = r"^(0|([0-9]+(h|m|s|ms|us|ns) *)+)$"))] String);

/// A signal by name, with or without `SIG`, or by number.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Signal {
    /// `TERM`, `SIGINT`.
    Name(String),
    /// From 1 to 64.
    Number(#[schemars(range(min = 1, max = 64))] u32),
}

/// A task: a command with what it needs and what it makes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Task {
    /// The command. Absent: a group, done when its deps are.
    run: Option<Run>,
    /// Shown by `watchrun list`.
    description: Option<String>,
    /// Globs of what triggers the task and enters its key. Default: everything that is not
    /// ignored and no task's output.
    inputs: Option<Vec<String>>,
    /// Globs of what it produces.
    outputs: Option<Vec<String>>,
    /// Tasks that must succeed first, services that must be ready first.
    deps: Option<Vec<String>>,
    /// Tasks that run before it, if both run.
    after: Option<Vec<String>>,
    /// Working directory. Default: the watchfile's.
    dir: Option<String>,
    /// Variables set for the command.
    env: Option<BTreeMap<String, String>>,
    /// Names of inherited variables that enter the key; `*` and `!` are allowed.
    env_inputs: Option<Vec<String>>,
    /// Commands whose output enters the key, as `rustc -V`.
    tools: Option<Vec<String>>,
    /// What runs a string `run`. Default: `["sh", "-c"]`.
    shell: Option<Vec<String>>,
    /// `false`: always runs when asked, is never restored. Default: true.
    cache: Option<bool>,
    /// After this long the command is stopped. Default: never.
    timeout: Option<Duration>,
    /// Further attempts after a failure. Default: 0.
    retries: Option<u32>,
    /// What a change does to the task while it runs. Default: auto.
    on_busy: Option<OnBusy>,
    /// How it is asked to stop. Default: TERM.
    stop_signal: Option<Signal>,
    /// How long it may take to stop. Default: 5s.
    stop_grace: Option<Duration>,
    /// The pool it takes a slot of.
    pool: Option<String>,
    /// Its failure is reported, and fails nothing else. Default: false.
    allow_failure: Option<bool>,
    /// It owns the terminal alone while it runs. Default: false.
    interactive: Option<bool>,
}

/// What a change does to a task while it runs.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum OnBusy {
    /// Restart it, but never more than twice in a row.
    Auto,
    /// Stop it and start over.
    Restart,
    /// Let it finish, then run it again.
    Queue,
    /// Let it finish.
    Ignore,
}

/// A service: a command that stays.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Service {
    /// The command.
    run: Run,
    /// Shown by `watchrun list`.
    description: Option<String>,
    /// Globs of what restarts it.
    inputs: Option<Vec<String>>,
    /// Tasks that must succeed first, services that must be ready first.
    deps: Option<Vec<String>>,
    /// Tasks that run before it starts, if both run.
    after: Option<Vec<String>>,
    /// Working directory. Default: the watchfile's.
    dir: Option<String>,
    /// Variables set for the command.
    env: Option<BTreeMap<String, String>>,
    /// Names of inherited variables that enter the key; `*` and `!` are allowed.
    env_inputs: Option<Vec<String>>,
    /// What runs a string `run`. Default: `["sh", "-c"]`.
    shell: Option<Vec<String>>,
    /// How it is asked to stop. Default: TERM.
    stop_signal: Option<Signal>,
    /// How long it may take to stop. Default: 5s.
    stop_grace: Option<Duration>,
    /// When it counts as ready. Default: when it is spawned.
    ready: Option<Ready>,
    /// What follows when it ends by itself. Default: on-failure.
    restart: Option<Restart>,
    /// Sent on a change instead of a restart.
    reload_signal: Option<Signal>,
}

/// When a service counts as ready: one of `tcp`, `http`, `log`, `exec`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Ready {
    /// `host:port` accepts a connection.
    tcp: Option<String>,
    /// A GET of this http URL answers with a status below 400.
    http: Option<String>,
    /// A line of its output matches this regular expression.
    log: Option<String>,
    /// This shell line succeeds.
    exec: Option<String>,
    /// How long the probe is tried. Default: 30s.
    timeout: Option<Duration>,
}

/// What follows when a service ends by itself.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Restart {
    /// It is started again.
    Always,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It is not.
    Never,
}

/// How watchrun behaves in this root.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Settings {
    /// How many commands run at once: a number or a part of the cores. Default: the cores.
    jobs: Option<Jobs>,
    /// How long nothing may change before a run. Default: 10ms.
    debounce: Option<Duration>,
    /// How long a change may be held back at most. Default: 500ms.
    debounce_max: Option<Duration>,
    /// Whether what git ignores is ignored. Default: true.
    gitignore: Option<bool>,
    /// Where changes are learned from. Default: auto.
    backend: Option<Backend>,
    /// How often a polled directory is looked at. Default: 1s.
    poll_interval: Option<Duration>,
    /// Whether failures stop new starts, or how many do. Default: false.
    keep_going: Option<KeepGoing>,
    /// How the output of tasks is shown. Default: auto.
    output: Option<Output>,
    /// Where results are kept. Default: in `.watchrun/`.
    cache_dir: Option<String>,
    /// How many bytes of results are kept. Default: 5GiB.
    cache_size: Option<Size>,
    /// Whether the end of a run is announced on the desktop. Default: false.
    notify: Option<bool>,
    /// How children share the job slots. Default: auto.
    jobserver: Option<Jobserver>,
}

/// A number from 1 or a percentage of the cores.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Jobs {
    /// A number.
    Count(#[schemars(range(min = 1, max = 10_000))] u32),
    /// `75%`.
    Text(#[schemars(regex(pattern = r"^[0-9]+%?$"))] String),
}

/// `true`, `false` or a number of failures from 1.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum KeepGoing {
    /// Whether failures stop new starts.
    Flag(bool),
    /// How many do.
    Failures(#[schemars(range(min = 1))] u32),
}

/// A number of bytes, as `5GiB` or `500MB`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Size {
    /// Bytes.
    Bytes(u64),
    /// With a unit.
    Text(#[schemars(regex(pattern = r"^[0-9]+ *([KMGT]i?)?B?$"))] String),
}

/// Where changes are learned from.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Backend {
    /// The system where it can, polling where it cannot.
    Auto,
    /// The system alone.
    Native,
    /// Polling alone.
    Poll,
}

/// How the output of tasks is shown.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Output {
    /// What suits the place it goes to.
    Auto,
    /// Each task's in one piece, when it ends.
    Grouped,
    /// Line by line, with the task's name before it.
    Prefixed,
    /// As it comes.
    Stream,
    /// Only that of tasks that failed.
    Failed,
}

/// How children that speak the jobserver protocol share the job slots.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Jobserver {
    /// As the installed make understands.
    Auto,
    /// By a named pipe.
    Fifo,
    /// By an inherited pipe.
    Pipe,
    /// Not at all.
    Off,
}

/// A Remote Execution API server and how it is used.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Remote {
    /// Its URL.
    endpoint: String,
    /// The instance name. Default: empty.
    instance: Option<String>,
    /// Whether results are read from it, and written to it. Default: read.
    cache: Option<RemoteCache>,
    /// Whether commands run on it. Default: false.
    exec: Option<bool>,
    /// The variable that holds the token.
    token_env: Option<String>,
    /// A file of certificates to trust.
    ca: Option<String>,
    /// A file with our own certificate.
    cert: Option<String>,
    /// A file with the key to it.
    key: Option<String>,
    /// How long one request may take. Default: 30s.
    timeout: Option<Duration>,
    /// What an executor must offer.
    platform: Option<BTreeMap<String, String>>,
}

/// What the remote cache is used for.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum RemoteCache {
    /// Nothing.
    Off,
    /// Results are taken from it.
    Read,
    /// And given to it.
    ReadWrite,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::watchfile::keys;

    use super::*;

    fn described(schema: &Value, pointer: &str) -> BTreeSet<String> {
        let properties = schema.pointer(pointer).and_then(Value::as_object);
        let properties = properties.unwrap_or_else(|| panic!("no {pointer} in {schema:#}"));
        properties.keys().cloned().collect()
    }

    fn accepted(table: &str, keys: &[&str]) -> BTreeSet<String> {
        let is_supported = |key: &&&str| !NOT_SUPPORTED.contains(&(table, **key));
        let supported = keys.iter().filter(is_supported);
        supported.map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_the_parser_accepts() {
        let schema = json_schema();
        for (table, pointer, keys) in [
            ("", "/properties", keys::TOP),
            ("tasks", "/$defs/Task/properties", keys::TASK),
            ("services", "/$defs/Service/properties", keys::SERVICE),
            ("ready", "/$defs/Ready/properties", keys::READY),
            ("settings", "/$defs/Settings/properties", keys::SETTINGS),
            ("remote", "/$defs/Remote/properties", keys::REMOTE),
        ] {
            assert_eq!(
                described(&schema, pointer),
                accepted(table, keys),
                "{table}"
            );
        }
    }

    #[test]
    fn it_is_a_schema_of_the_2020_draft_that_refuses_other_keys() {
        let schema = json_schema();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Task"]["additionalProperties"], false);
        assert_eq!(
            schema["$defs"]["Service"]["required"],
            serde_json::json!(["run"])
        );
    }
}
