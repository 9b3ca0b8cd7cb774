//! The watchfile from the outside: the corpus in `fixtures/watchfiles/`, the documentation, the
//! example and the JSON Schema.
//!
//! `ok/*.toml` load without errors; `err/*.toml` give exactly the report in the `*.stderr` beside
//! them. `UPDATE=1 cargo test --test watchfile` rewrites the reports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use watchrun::disk::OsDisk;
use watchrun::path::{RelPath, Root};
use watchrun::watchfile::{
    self, Caching, ErrorKind, Errors, Inputs, LoadError, Loaded, OnBusy, Restart, Settings,
    TaskKind, Watchfile, keys,
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn load(path: &Path) -> Loaded {
    let root = Root::new(path.parent().unwrap()).unwrap();
    let name = RelPath::new(path.file_name().unwrap().as_encoded_bytes()).unwrap();
    watchfile::load(&OsDisk, &root, &name).unwrap()
}

fn report(loaded: &Loaded) -> String {
    Errors::from(loaded.errors.clone()).render(&loaded.watchfile.sources, false)
}

/// The watchfiles of one directory of the corpus, sorted.
fn corpus(kind: &str) -> Vec<PathBuf> {
    let dir = repository().join("fixtures/watchfiles").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_watchfiles_load_without_errors() {
    for path in corpus("ok") {
        let loaded = load(&path);
        assert!(loaded.errors.is_empty(), "{}", report(&loaded));
        assert!(!loaded.watchfile.tasks.is_empty(), "{}", path.display());
    }
}

#[test]
fn bad_watchfiles_give_exactly_their_report() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in corpus("err") {
        let found = report(&load(&path));
        let expected = path.with_extension("stderr");
        if update {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", path.display()));
        }
        assert!(!found.is_empty(), "{} has no errors", path.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a missing or unusable main file is reported as.
#[track_caller]
fn check_unreadable(name: &str, content: Option<&[u8]>, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    if let Some(content) = content {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let file = RelPath::new(name.as_bytes()).unwrap();
    let error = watchfile::load(&OsDisk, &root, &file).unwrap_err();
    let found = error.to_string().replace(&root.to_string(), "[ROOT]");
    assert_eq!(found, message);
    assert!(!error.hint().is_empty());
}

#[test]
fn a_missing_or_unusable_file_says_so() {
    check_unreadable("w.toml", None, "there is no watchfile `[ROOT]/w.toml`");
    check_unreadable(
        "w.toml",
        Some(b"[tasks]\na = \"\xff\"\n"),
        "the watchfile `[ROOT]/w.toml` is not UTF-8: byte 13 (line 2)",
    );
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("w.toml")).unwrap();
    let root = Root::new(dir.path()).unwrap();
    let file = RelPath::new(b"w.toml").unwrap();
    let error = watchfile::load(&OsDisk, &root, &file).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error:?}");
}

fn parse(text: &str) -> Watchfile {
    let loaded = watchfile::parse(text);
    assert!(loaded.errors.is_empty(), "{text}\n{}", report(&loaded));
    loaded.watchfile
}

fn toml_blocks(markdown: &str) -> Vec<String> {
    let blocks = markdown.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_block_of_the_documentation_is_a_watchfile() {
    let text = fs::read_to_string(repository().join("docs/WATCHFILE.md")).unwrap();
    let blocks = toml_blocks(&text);
    assert!(blocks.len() >= 7);
    for block in blocks {
        parse(&block);
    }
}

#[test]
fn the_documentation_has_a_row_for_every_key() {
    let text = fs::read_to_string(repository().join("docs/WATCHFILE.md")).unwrap();
    let shared = keys::SERVICE.iter().filter(|key| !keys::TASK.contains(key));
    for key in keys::TOP
        .iter()
        .chain(keys::TASK)
        .chain(keys::SETTINGS)
        .chain(shared)
    {
        assert!(text.contains(&format!("\n| `{key}` |")), "{key}");
    }
    for key in keys::READY {
        assert!(text.contains(&format!("`{key}")), "{key}");
    }
}

#[test]
fn the_example_is_a_watchfile_and_so_is_each_of_its_switched_off_blocks() {
    let text = fs::read_to_string(repository().join("watchfile.example.toml")).unwrap();
    assert!(parse(&text).tasks.len() >= 5);
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("#:") {
            Some(line) => {
                let block = blocks.last_mut().unwrap();
                block.push_str(line.strip_prefix(' ').unwrap_or(line));
                block.push('\n');
            }
            None if blocks.last().unwrap().is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    assert!(blocks.len() >= 8);
    for block in &blocks {
        assert!(!parse(block).tasks.is_empty(), "{block}");
    }
    // Together they show every key.
    let shown = format!("{text}\n{}", blocks.concat());
    for key in keys::TASK
        .iter()
        .chain(keys::SERVICE)
        .chain(keys::READY)
        .chain(keys::SETTINGS)
    {
        let is_written = shown
            .lines()
            .any(|line| line.contains(&format!("{key} = ")));
        let refused = keys::NOT_SUPPORTED
            .iter()
            .any(|(_, refused)| refused == key);
        assert!(is_written || refused, "{key}");
    }
}

/// The keys that take a list of strings.
const LISTS: [&str; 9] = [
    "default",
    "include",
    "env_files",
    "inputs",
    "outputs",
    "deps",
    "after",
    "env_inputs",
    "tools",
];

/// A value that fits the key.
fn value_of(table: &str, key: &str) -> &'static str {
    match (table, key) {
        (_, "tasks" | "services" | "settings") => "{}",
        (_, "pools") => "{ p = 1 }",
        (_, "env" | "platform") => "{ A = \"1\" }",
        (_, list) if LISTS.contains(&list) => "[\"x\"]",
        (_, "gitignore" | "notify" | "allow_failure" | "interactive") | ("tasks", "cache") => {
            "true"
        }
        ("remote", "exec") => "false",
        ("remote", "cache") => "\"read\"",
        ("remote", "endpoint") => "\"grpc://a:1\"",
        (_, "ready") => "{ tcp = \"a:1\" }",
        (_, "shell") => "[\"bash\", \"-c\"]",
        (_, "tcp") => "\"a:1\"",
        (_, "http") => "\"http://a\"",
        (_, "retries" | "jobs" | "keep_going" | "cache_size") => "1",
        (_, "on_busy" | "backend" | "output" | "jobserver") => "\"auto\"",
        (_, "restart") => "\"never\"",
        (_, "stop_signal" | "reload_signal") => "\"TERM\"",
        (_, "pool") => "\"p\"",
        (_, "timeout" | "stop_grace" | "debounce" | "debounce_max" | "poll_interval") => "\"1s\"",
        _ => "\"x\"",
    }
}

#[test]
fn every_key_is_read_and_none_of_its_right_values_refused() {
    for (table, keys, around) in [
        ("", keys::TOP, "@\n[tasks.a]\nrun = \"x\"\n"),
        (
            "tasks",
            keys::TASK,
            "[pools]\np = 1\n[tasks.a]\nrun = \"x\"\n@\n",
        ),
        ("services", keys::SERVICE, "[services.a]\nrun = \"x\"\n@\n"),
        (
            "ready",
            keys::READY,
            "[services.a]\nrun = \"x\"\n[services.a.ready]\n@\n",
        ),
        (
            "settings",
            keys::SETTINGS,
            "[tasks.a]\nrun = \"x\"\n[settings]\n@\n",
        ),
        (
            "remote",
            keys::REMOTE,
            "[tasks.a]\nrun = \"x\"\n[remote]\nendpoint = \"http://a\"\n@\n",
        ),
    ] {
        for key in keys {
            let mut text = around.replace('@', &format!("{key} = {}", value_of(table, key)));
            let given_around = [
                ("", "tasks"),
                ("tasks", "run"),
                ("services", "run"),
                ("remote", "endpoint"),
            ];
            if given_around.contains(&(table, key)) {
                text = around.replace('@', "");
            } else if (table, *key) == ("ready", "timeout") {
                text.push_str("tcp = \"a:1\"\n");
            } else if (table, *key) == ("", "remote") {
                text = format!(
                    "remote = {{ endpoint = \"http://a\" }}\n{}",
                    around.replace('@', "")
                );
            }
            let loaded = watchfile::parse(&text);
            let refusals =
                |error: &&watchfile::Error| !matches!(error.kind, ErrorKind::NotSupported { .. });
            let errors: Vec<_> = loaded.errors.iter().filter(refusals).collect();
            assert!(errors.is_empty(), "{text}\n{}", report(&loaded));
            let is_refused = keys::NOT_SUPPORTED.contains(&(table, key));
            assert!(!is_refused || !loaded.errors.is_empty(), "{table} {key}");
        }
    }
}

#[test]
fn keys_of_other_tables_are_refused() {
    let refused = |text: &str| !watchfile::parse(text).errors.is_empty();
    for key in keys::TASK.iter().filter(|key| !keys::SERVICE.contains(key)) {
        let value = value_of("tasks", key);
        assert!(
            refused(&format!("[services.a]\nrun = \"x\"\n{key} = {value}\n")),
            "{key}"
        );
    }
    for key in keys::SERVICE.iter().filter(|key| !keys::TASK.contains(key)) {
        let value = value_of("services", key);
        assert!(
            refused(&format!("[tasks.a]\nrun = \"x\"\n{key} = {value}\n")),
            "{key}"
        );
    }
}

#[test]
fn comments_order_and_white_space_are_not_changes() {
    let one = parse(
        "[tasks.a]\nrun = \"x\"\ninputs = [\"i/*\"]\noutputs = [\"o\"]\ndeps = [\"b\"]\n[tasks]\nb = \"y\"\n",
    );
    let two = parse(
        "# more\n\n[tasks]\nb = 'y' # why\na = { deps = ['b'], outputs=['o'], inputs = [\n'i/*'], run = \"\"\"x\"\"\" }\n",
    );
    assert_eq!(one.tasks[1].name, two.tasks[0].name);
    assert!(one.tasks[0].same_definition(&two.tasks[1]));
    assert!(one.tasks[1].same_definition(&two.tasks[0]));
    assert_ne!(one.tasks[0], two.tasks[1]);
}

#[test]
fn a_change_of_any_key_is_a_change_but_of_the_description() {
    let text = |extra: &str| format!("[pools]\np = 1\n[tasks.a]\nrun = \"y\"\n{extra}\n");
    let plain = parse(&text(""));
    for key in keys::TASK.iter().filter(|key| **key != "run") {
        // Values that are not the default.
        let value = match *key {
            "cache" => "false",
            "on_busy" => "\"queue\"",
            "stop_signal" => "\"INT\"",
            key => value_of("tasks", key),
        };
        let changed = parse(&text(&format!("{key} = {value}")));
        let is_same = plain.tasks[0].same_definition(&changed.tasks[0]);
        assert_eq!(is_same, *key == "description", "{key}");
    }
    let changed = parse(&text("").replace("\"y\"", "\"z\""));
    assert!(!plain.tasks[0].same_definition(&changed.tasks[0]));
}

#[test]
fn included_tasks_have_full_names_and_paths_from_their_own_directory() {
    let loaded = load(&repository().join("fixtures/watchfiles/ok/every_key.toml"));
    let task = |name: &str| {
        let found = loaded
            .watchfile
            .tasks
            .iter()
            .find(|task| task.name.as_str() == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let bundle = task("apps/web:bundle");
    let deps: Vec<&str> = bundle.deps.iter().map(|dep| dep.name.as_str()).collect();
    assert_eq!(deps, ["apps/web:install", "apps/api:schema"]);
    assert_eq!(bundle.dir.to_string(), "apps/web");
    assert_eq!(bundle.outputs.patterns()[0].to_string(), "apps/web/dist/**");
    assert_eq!(bundle.env["NODE_ENV"], "production");
    assert_eq!(bundle.env["RUST_BACKTRACE"], "1");
    assert_eq!(bundle.env["B"], "two words");
    assert!(task("apps/api:schema").dir.is_root());
    let names: Vec<&str> = loaded
        .watchfile
        .tasks
        .iter()
        .map(|task| task.name.as_str())
        .collect();
    let expected = [
        "codegen",
        "build",
        "web",
        "app",
        "apps/api:schema",
        "apps/api:server",
        "apps/web:bundle",
        "apps/web:install",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_file_that_was_read_or_missed_can_be_watched() {
    let loaded = load(&repository().join("fixtures/watchfiles/err/pools_and_env.toml"));
    let sources = loaded.watchfile.sources;
    let concern = |path: &str| sources.concern([RelPath::new(path.as_bytes()).unwrap()].iter());
    for path in [
        "apps",
        "bad.env",
        "latin1.env",
        "none.env",
        "pools_and_env.toml",
    ] {
        assert!(concern(path), "{path}");
        let path = RelPath::new(path.as_bytes()).unwrap();
        assert!(sources.patterns().any(|pattern| pattern.matches(&path)));
    }
    assert!(!concern("other.env"));
}

#[test]
fn a_file_that_include_would_take_concerns_the_watchfile() {
    let loaded = load(&repository().join("fixtures/watchfiles/err/include.toml"));
    let sources = loaded.watchfile.sources;
    let concern = |path: &str| sources.concern([RelPath::new(path.as_bytes()).unwrap()].iter());
    assert!(concern("nothing/new.toml") && concern("inc/new.toml"));
    assert!(!concern("nothing/new.txt") && !concern("nothing/deep/new.toml"));
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let watchfile = parse("[tasks]\na = \"x\"\n[services.s]\nrun = \"y\"\n");
    let [task, service] = &watchfile.tasks[..] else {
        panic!("{watchfile:?}")
    };
    assert_eq!(task.inputs, Inputs::Everything);
    assert_eq!(task.shell, ["sh", "-c"]);
    assert_eq!(task.stop.signal, 15);
    assert_eq!(task.stop.grace, Duration::from_secs(5));
    assert_eq!(task.on_busy, OnBusy::Auto);
    assert_eq!(task.caching, Caching::On);
    let TaskKind::Service(service) = &service.kind else {
        panic!("{service:?}")
    };
    assert_eq!(service.restart, Restart::OnFailure);
    assert_eq!(service.ready.timeout, Duration::from_secs(30));
    assert_eq!(watchfile.settings, Settings::defaults());
    assert_eq!(watchfile.default, None);
}
