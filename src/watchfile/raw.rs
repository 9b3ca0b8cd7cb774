//! What a watchfile says, table by table: [`Document`] mirrors the TOML, with places.
//!
//! Types and keys are right here; whether the values make sense is [`super::lower`]'s question.
//! Looks at nothing but the text.

use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::keys;
use super::reader::{At, Field, Reader, Shape, Text};
use super::task::Span;

/// One file.
#[derive(Debug, Default)]
pub(super) struct Document<'t> {
    pub(super) default: Option<At<Vec<Text<'t>>>>,
    pub(super) include: Vec<Text<'t>>,
    pub(super) env: Vec<(Text<'t>, Text<'t>)>,
    pub(super) env_files: Vec<Text<'t>>,
    pub(super) pools: Vec<(Text<'t>, At<i64>)>,
    pub(super) settings: Settings<'t>,
    pub(super) remote: Option<Remote<'t>>,
    /// Tasks and services, in file order.
    pub(super) tasks: Vec<Task<'t>>,
}

/// Which table a task stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Tasks,
    Services,
}

/// One task or service. Its keys are read when it is checked, so that only one is held at once.
#[derive(Debug)]
pub(super) struct Task<'t> {
    pub(super) name: Text<'t>,
    pub(super) section: Section,
    entry: Field<'t>,
}

impl<'t> Task<'t> {
    /// Reads its keys.
    pub(super) fn body(&self, errors: &mut Vec<Error>) -> Body<'t> {
        let mut reader = Reader::new(self.name.span.source, errors);
        read_task(&mut reader, &self.entry, self.section)
    }
}

/// Every key of a task or service.
#[derive(Debug, Default)]
pub(super) struct Body<'t> {
    /// Whether it is a table at all.
    pub(super) is_table: bool,
    /// The keys there are, for what a group cannot have.
    pub(super) keys: Vec<Field<'t>>,
    pub(super) run: Option<At<Run<'t>>>,
    pub(super) description: Option<Text<'t>>,
    pub(super) inputs: Option<At<Vec<Text<'t>>>>,
    pub(super) outputs: Vec<Text<'t>>,
    pub(super) deps: Vec<Text<'t>>,
    pub(super) after: Vec<Text<'t>>,
    pub(super) dir: Option<Text<'t>>,
    pub(super) env: Vec<(Text<'t>, Text<'t>)>,
    pub(super) env_inputs: Vec<Text<'t>>,
    pub(super) tools: Vec<Text<'t>>,
    pub(super) shell: Option<At<Vec<Text<'t>>>>,
    pub(super) cache: Option<At<bool>>,
    pub(super) timeout: Option<Text<'t>>,
    pub(super) retries: Option<At<i64>>,
    pub(super) on_busy: Option<Text<'t>>,
    pub(super) stop_signal: Option<At<Scalar<'t>>>,
    pub(super) stop_grace: Option<Text<'t>>,
    pub(super) pool: Option<Text<'t>>,
    pub(super) allow_failure: Option<At<bool>>,
    pub(super) interactive: Option<At<bool>>,
    pub(super) ready: Option<Ready<'t>>,
    pub(super) restart: Option<Text<'t>>,
    pub(super) reload_signal: Option<At<Scalar<'t>>>,
}

/// A command.
#[derive(Debug)]
pub(super) enum Run<'t> {
    Line(&'t str),
    Words(Vec<&'t str>),
}

/// A value that may be written as a word or as a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'t> {
    Text(&'t str),
    Integer(i64),
}

/// `keep_going`.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeepGoing {
    Flag(bool),
    Count(i64),
}

/// A service's `ready`.
#[derive(Debug)]
pub(super) struct Ready<'t> {
    pub(super) span: Span,
    /// Whether it has a key besides `timeout`: a probe, right or wrong.
    pub(super) has_probe: bool,
    /// The probes: key and value.
    pub(super) probes: Vec<(Text<'t>, Text<'t>)>,
    pub(super) timeout: Option<Text<'t>>,
}

/// `[settings]`.
#[derive(Debug, Default)]
pub(super) struct Settings<'t> {
    pub(super) jobs: Option<At<Scalar<'t>>>,
    pub(super) debounce: Option<Text<'t>>,
    pub(super) debounce_max: Option<Text<'t>>,
    pub(super) gitignore: Option<At<bool>>,
    pub(super) backend: Option<Text<'t>>,
    pub(super) poll_interval: Option<Text<'t>>,
    pub(super) keep_going: Option<At<KeepGoing>>,
    pub(super) output: Option<Text<'t>>,
    pub(super) cache_dir: Option<Text<'t>>,
    pub(super) cache_size: Option<At<Scalar<'t>>>,
    pub(super) notify: Option<At<bool>>,
    pub(super) jobserver: Option<Text<'t>>,
}

/// `[remote]`.
#[derive(Debug)]
pub(super) struct Remote<'t> {
    pub(super) span: Span,
    pub(super) endpoint: Option<Text<'t>>,
    pub(super) instance: Option<Text<'t>>,
    pub(super) cache: Option<Text<'t>>,
    pub(super) exec: Option<At<bool>>,
    pub(super) token_env: Option<Text<'t>>,
    pub(super) ca: Option<Text<'t>>,
    pub(super) cert: Option<Text<'t>>,
    pub(super) key: Option<Text<'t>>,
    pub(super) timeout: Option<Text<'t>>,
    pub(super) platform: Vec<(Text<'t>, Text<'t>)>,
}

/// Whether a file is the main one or an included one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Included,
}

/// Parses `text` as far as it can be, noting every error.
pub(super) fn parse<'t>(source: usize, text: &'t str, errors: &mut Vec<Error>) -> DeTable<'t> {
    Reader::new(source, errors).parse(text)
}

/// Reads the tables of a parsed file.
pub(super) fn read<'t>(
    table: &'t DeTable<'t>,
    role: Role,
    source: usize,
    errors: &mut Vec<Error>,
) -> Document<'t> {
    let mut reader = Reader::new(source, errors);
    let mut document = Document::default();
    let shape = match role {
        Role::Main => shape("", keys::TOP, &|| "the watchfile".to_owned()),
        Role::Included => Shape {
            misplaced: keys::TOP,
            misplaced_hint: "move it to the main watchfile",
            ..shape("", keys::INCLUDED, &|| "an included watchfile".to_owned())
        },
    };
    for field in reader.fields(table, &shape) {
        read_top(&mut document, &mut reader, &field);
    }
    document
        .tasks
        .sort_unstable_by_key(|task| task.name.span.start);
    document
}

fn read_top<'t>(document: &mut Document<'t>, reader: &mut Reader<'_>, field: &Field<'t>) {
    match field.key {
        "tasks" => read_tasks(document, reader, field, Section::Tasks),
        "services" => read_tasks(document, reader, field, Section::Services),
        "default" => document.default = reader.some_texts(field),
        "include" => document.include = list(reader.texts(field)),
        "env" => document.env = read_pairs(reader, field),
        "env_files" => document.env_files = list(reader.texts(field)),
        "pools" => document.pools = read_pools(reader, field),
        "settings" => document.settings = read_settings(reader, field),
        "remote" => document.remote = read_remote(reader, field),
        key => unreachable!("BUG: the top-level key `{key}` is listed but not read"),
    }
}

fn read_tasks<'t>(
    document: &mut Document<'t>,
    reader: &mut Reader<'_>,
    field: &Field<'t>,
    section: Section,
) {
    let Some(table) = reader.table(field) else {
        return;
    };
    document.tasks.reserve(table.len());
    for entry in reader.entries(table) {
        let name = At {
            value: entry.key,
            span: entry.span,
        };
        document.tasks.push(Task {
            name,
            section,
            entry,
        });
    }
}

fn read_task<'t>(reader: &mut Reader<'_>, entry: &Field<'t>, section: Section) -> Body<'t> {
    let mut body = Body::default();
    let table = match (entry.value.get_ref(), section) {
        (DeValue::Table(table), _) => table,
        (DeValue::String(_) | DeValue::Array(_), Section::Tasks) => {
            let run = Field {
                key: "run",
                ..*entry
            };
            body.run = read_run(reader, &run);
            body.keys.push(Field {
                key: "run",
                ..*entry
            });
            return body;
        }
        (_, Section::Tasks) => {
            reader.wrong_type::<()>(entry, "a table or a command");
            body.keys.push(Field {
                key: "run",
                ..*entry
            });
            return body;
        }
        (_, Section::Services) => {
            reader.wrong_type::<()>(entry, "a table");
            return body;
        }
    };
    let phrase_task = || format!("task `{}`", entry.key);
    let phrase_service = || format!("service `{}`", entry.key);
    let shape = match section {
        Section::Tasks => Shape {
            misplaced: &["ready", "restart", "reload_signal"],
            misplaced_hint: "only a service has it: move the table to `[services]`",
            ..shape("tasks", keys::TASK, &phrase_task)
        },
        Section::Services => Shape {
            misplaced: keys::TASK,
            misplaced_hint: "only a task has it: let a task do this and name it in `deps`",
            ..shape("services", keys::SERVICE, &phrase_service)
        },
    };
    body.is_table = true;
    body.keys = reader.fields(table, &shape);
    for idx in 0..body.keys.len() {
        let field = body.keys[idx];
        read_field(&mut body, reader, &field);
    }
    body
}

fn read_field<'t>(body: &mut Body<'t>, reader: &mut Reader<'_>, field: &Field<'t>) {
    match field.key {
        "run" => body.run = read_run(reader, field),
        "description" => body.description = reader.text(field),
        "inputs" => body.inputs = reader.texts(field),
        "outputs" => body.outputs = list(reader.texts(field)),
        "deps" => body.deps = list(reader.texts(field)),
        "after" => body.after = list(reader.texts(field)),
        "dir" => body.dir = reader.some_text(field),
        "env" => body.env = read_pairs(reader, field),
        "env_inputs" => body.env_inputs = list(reader.texts(field)),
        "tools" => body.tools = list(reader.texts(field)),
        "shell" => body.shell = reader.some_texts(field),
        "cache" => body.cache = reader.bool(field),
        "timeout" => body.timeout = read_duration(reader, field),
        "retries" => body.retries = reader.integer(field),
        "on_busy" => body.on_busy = reader.text(field),
        "stop_signal" => body.stop_signal = read_signal(reader, field),
        "stop_grace" => body.stop_grace = read_duration(reader, field),
        "pool" => body.pool = reader.some_text(field),
        "allow_failure" => body.allow_failure = reader.bool(field),
        "interactive" => body.interactive = reader.bool(field),
        "ready" => body.ready = read_ready(reader, field),
        "restart" => body.restart = reader.text(field),
        "reload_signal" => body.reload_signal = read_signal(reader, field),
        key => unreachable!("BUG: the task key `{key}` is listed but not read"),
    }
}

fn read_run<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Option<At<Run<'t>>> {
    match field.value.get_ref() {
        DeValue::String(_) => {
            let At { value, span } = reader.some_text(field)?;
            Some(At {
                value: Run::Line(value),
                span,
            })
        }
        DeValue::Array(_) => {
            let At { value, span } = reader.words(field)?;
            Some(At {
                value: Run::Words(value.into_iter().map(|word| word.value).collect()),
                span,
            })
        }
        _ => reader.wrong_type(field, "a string or a list of strings"),
    }
}

fn read_ready<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Option<Ready<'t>> {
    let table = reader.table(field)?;
    let shape = shape("ready", keys::READY, &|| "`ready`".to_owned());
    let mut ready = Ready {
        span: reader.span(&field.value.span()),
        has_probe: table.iter().any(|(key, _)| key.get_ref() != "timeout"),
        probes: Vec::new(),
        timeout: None,
    };
    for field in reader.fields(table, &shape) {
        if field.key == "timeout" {
            ready.timeout = read_duration(reader, &field);
        } else {
            let key = At {
                value: field.key,
                span: field.span,
            };
            let value = reader.text(&field);
            ready.probes.extend(value.map(|value| (key, value)));
        }
    }
    ready.probes.sort_unstable_by_key(|(key, _)| key.span);
    Some(ready)
}

const JOBS: &str = "an integer or a string like `\"75%\"`";
const SIZE: &str = "an integer or a string like `\"5GiB\"`";

fn read_settings<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Settings<'t> {
    let mut settings = Settings::default();
    let Some(table) = reader.table(field) else {
        return settings;
    };
    let shape = shape("settings", keys::SETTINGS, &|| "`[settings]`".to_owned());
    for field in reader.fields(table, &shape) {
        let field = &field;
        match field.key {
            "jobs" => settings.jobs = read_scalar(reader, field, JOBS),
            "debounce" => settings.debounce = read_duration(reader, field),
            "debounce_max" => settings.debounce_max = read_duration(reader, field),
            "gitignore" => settings.gitignore = reader.bool(field),
            "backend" => settings.backend = reader.text(field),
            "poll_interval" => settings.poll_interval = read_duration(reader, field),
            "keep_going" => settings.keep_going = read_keep_going(reader, field),
            "output" => settings.output = reader.text(field),
            "cache_dir" => settings.cache_dir = reader.some_text(field),
            "cache_size" => settings.cache_size = read_scalar(reader, field, SIZE),
            "notify" => settings.notify = reader.bool(field),
            "jobserver" => settings.jobserver = reader.text(field),
            key => unreachable!("BUG: the setting `{key}` is listed but not read"),
        }
    }
    settings
}

fn read_remote<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Option<Remote<'t>> {
    let table = reader.table(field)?;
    let mut remote = Remote {
        span: field.span,
        endpoint: None,
        instance: None,
        cache: None,
        exec: None,
        token_env: None,
        ca: None,
        cert: None,
        key: None,
        timeout: None,
        platform: Vec::new(),
    };
    let shape = shape("remote", keys::REMOTE, &|| "`[remote]`".to_owned());
    for field in reader.fields(table, &shape) {
        let field = &field;
        match field.key {
            "endpoint" => remote.endpoint = reader.some_text(field),
            "instance" => remote.instance = reader.text(field),
            "cache" => remote.cache = reader.text(field),
            "exec" => remote.exec = reader.bool(field),
            "token_env" => remote.token_env = reader.some_text(field),
            "ca" => remote.ca = reader.some_text(field),
            "cert" => remote.cert = reader.some_text(field),
            "key" => remote.key = reader.some_text(field),
            "timeout" => remote.timeout = read_duration(reader, field),
            "platform" => remote.platform = read_pairs(reader, field),
            key => unreachable!("BUG: the `[remote]` key `{key}` is listed but not read"),
        }
    }
    Some(remote)
}

fn read_pools<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Vec<(Text<'t>, At<i64>)> {
    let Some(table) = reader.table(field) else {
        return Vec::new();
    };
    let mut pools = Vec::new();
    for entry in reader.entries(table) {
        let name = At {
            value: entry.key,
            span: entry.span,
        };
        pools.extend(reader.integer(&entry).map(|size| (name, size)));
    }
    pools
}

fn read_pairs<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Vec<(Text<'t>, Text<'t>)> {
    let Some(table) = reader.table(field) else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for entry in reader.entries(table) {
        let name = At {
            value: entry.key,
            span: entry.span,
        };
        pairs.extend(reader.text(&entry).map(|value| (name, value)));
    }
    pairs
}

fn read_duration<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Option<Text<'t>> {
    match field.value.get_ref() {
        DeValue::String(_) => reader.some_text(field),
        DeValue::Integer(number) if number.as_str() == "0" => Some(At {
            value: "0",
            span: reader.span(&field.value.span()),
        }),
        _ => reader.wrong_type(field, "a duration in a string"),
    }
}

fn read_signal<'t>(reader: &mut Reader<'_>, field: &Field<'t>) -> Option<At<Scalar<'t>>> {
    read_scalar(reader, field, "a signal's name or number")
}

fn read_scalar<'t>(
    reader: &mut Reader<'_>,
    field: &Field<'t>,
    expected: &'static str,
) -> Option<At<Scalar<'t>>> {
    let (value, span) = match field.value.get_ref() {
        DeValue::String(_) => {
            let text = reader.some_text(field)?;
            (Scalar::Text(text.value), text.span)
        }
        DeValue::Integer(_) => {
            let number = reader.integer(field)?;
            (Scalar::Integer(number.value), number.span)
        }
        _ => return reader.wrong_type(field, expected),
    };
    Some(At { value, span })
}

fn read_keep_going(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<At<KeepGoing>> {
    match field.value.get_ref() {
        DeValue::Boolean(value) => Some(At {
            value: KeepGoing::Flag(*value),
            span: reader.span(&field.value.span()),
        }),
        DeValue::Integer(_) => {
            let At { value, span } = reader.integer(field)?;
            Some(At {
                value: KeepGoing::Count(value),
                span,
            })
        }
        _ => reader.wrong_type(field, "a boolean or an integer"),
    }
}

fn shape<'a>(table: &'a str, keys: &'a [&'a str], phrase: &'a dyn Fn() -> String) -> Shape<'a> {
    Shape {
        table,
        phrase,
        keys,
        misplaced: &[],
        misplaced_hint: "",
    }
}

fn list(texts: Option<At<Vec<Text<'_>>>>) -> Vec<Text<'_>> {
    texts.map(|texts| texts.value).unwrap_or_default()
}
