//! The rules: text in, findings out. Each has a test that shows it firing.

use std::collections::BTreeSet;

use crate::rust_text::{Function, crate_names, functions, line_of, root_names, words};

/// Modules of the library from the bottom up. A module uses only those before its own.
const FLOORS: &[&[&str]] = &[
    &["path", "task_id", "change", "outcome", "digest", "suggest"],
    &["pattern", "disk", "files", "parallel"],
    &["watch", "watchfile", "exec"],
    &["plan"],
    &["state"],
    &["schedule"],
    &["session"],
];

/// These stand side by side: none may use another.
const STRANGERS: &[&str] = &["watch", "watchfile", "exec"];

/// What a module must not know although it lies below it.
const UNKNOWN_TO: &[(&str, &str)] = &[
    ("watch", "task_id"),
    ("watch", "outcome"),
    ("exec", "task_id"),
];

/// Where in `src/` each third-party crate may be named, by the start of the path.
const PLACES: &[(&str, &[&str])] = &[
    ("annotate-snippets", &["watchfile/error"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("close_fds", &["cli/descriptors.rs"]),
    ("duct", &["exec/"]),
    ("globset", &["pattern"]),
    ("ignore", &["watch/ignored"]),
    ("indicatif", &["cli/report/bars"]),
    ("nix", &["disk/os", "exec/posix_spawn"]),
    ("notify", &["watch/os"]),
    ("postcard", &["state/", "watch/record"]),
    ("process-wrap", &["exec/detach.rs"]),
    ("prost", &["state/"]),
    ("rayon", &["parallel.rs", "schedule/run"]),
    ("regex-lite", &["exec/", "watchfile/"]),
    (
        "rustix",
        &[
            "cli/",
            "disk",
            "exec/",
            "state/",
            "watch/",
            "watchfile/signal",
        ],
    ),
    ("schemars", &["cli/", "schedule/event", "watchfile/"]),
    ("serde", &[""]),
    ("serde_json", &["cli/", "watchfile/schema"]),
    ("sha2", &["digest.rs"]),
    ("signal-hook", &["cli/"]),
    ("strsim", &["suggest.rs"]),
    ("thiserror", &[""]),
    ("toml", &["watchfile/"]),
    ("ureq", &["exec/"]),
];

/// The drivers: only they ask what time it is.
const CLOCKS: &[&str] = &[
    "cli/",
    "exec/",
    "main.rs",
    "schedule/launch",
    "schedule/run",
    "schedule/services",
    "schedule/serving",
    "schedule/settle",
    "schedule/step",
    "schedule/wave",
    "session",
    "watch/handle",
    "watch/setup",
    "watch/os",
    "watch/poll",
    "watch/processor",
    "watch/reconcile",
    "watch/record",
    "watch/surroundings",
];

const FILE_LINES_MAX: usize = 700;
const FACADE_LINES_MAX: usize = 150;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn header(path: &str, text: &str) -> Vec<String> {
    let fine = text
        .lines()
        .next()
        .is_some_and(|line| line.starts_with("//! "));
    found_if(!fine, || {
        format!("{path} does not start with a `//!` line that says what it is")
    })
}

pub(crate) fn file_size(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let max = if path.ends_with("/mod.rs") {
        FACADE_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    found_if(lines > max, || {
        format!("{path} has {lines} lines, more than {max}")
    })
}

pub(crate) fn function_size(path: &str, text: &str, code: &str) -> Vec<String> {
    functions(code)
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .filter(|function| {
            let before = code[..function.start].rfind(['}', ';']).unwrap_or(0);
            !text[before..function.start].contains("clippy::too_many_lines")
        })
        .map(|function| {
            let Function { name, lines, .. } = function;
            format!("{path}: fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}")
        })
        .collect()
}

pub(crate) fn file_name(path: &str) -> Vec<String> {
    let is_banned = |part: &str| {
        ["util", "utils", "helper", "helpers", "common", "misc"]
            .iter()
            .any(|word| part.split('_').any(|piece| piece == *word))
    };
    let banned = path
        .trim_end_matches(".rs")
        .split('/')
        .find(|part| is_banned(part));
    banned
        .map(|part| format!("{path}: `{part}` says nothing of what is inside"))
        .into_iter()
        .collect()
}

/// Work left open must carry a number.
pub(crate) fn open_ends(path: &str, text: &str) -> Vec<String> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
    ];
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, word) in words(line) {
            let numbered = line[at + word.len()..].starts_with("(#");
            if marks.contains(&word) && !(word == marks[0] && numbered) {
                found.push(format!("{path}:{}: `{word}` without a number", number + 1));
            }
        }
    }
    found
}

/// Tests are never skipped and never wait for time to pass.
pub(crate) fn patience(path: &str, code: &str, production: &str) -> Vec<String> {
    let ignored = code.contains("#[ignore");
    let in_tests =
        code.matches("thread::sleep").count() > production.matches("thread::sleep").count();
    let mut found = found_if(ignored, || format!("{path} has an ignored test"));
    // Measurements and examples may wait for time to pass: nothing is concluded from it.
    let in_tests = in_tests && !path.starts_with("benches/") && !path.starts_with("examples/");
    found.extend(found_if(in_tests, || format!("{path} sleeps in a test")));
    found
}

pub(crate) fn floors(path: &str, code: &str) -> Vec<String> {
    let order: Vec<&str> = FLOORS.concat();
    let module = module_of(path);
    let rank = |name: &str| order.iter().position(|other| *other == name);
    let mut found = Vec::new();
    if matches!(module, "main" | "cli") {
        for used in crate_names(path, code)
            .into_iter()
            .filter(|used| rank(used).is_some())
        {
            found.push(format!(
                "{path} imports crate::{used}: the program uses watchrun::{used}"
            ));
        }
        return found;
    }
    if module == "lib" {
        return found;
    }
    let Some(own) = rank(module) else {
        return vec![format!("{path} belongs to no floor of tests/tidy.rs")];
    };
    for used in crate_names(path, code)
        .into_iter()
        .filter(|used| used != module)
    {
        let strangers = STRANGERS.contains(&module) && STRANGERS.contains(&used.as_str());
        if strangers || UNKNOWN_TO.contains(&(module, used.as_str())) {
            found.push(format!(
                "{path} imports crate::{used}, which it must not know"
            ));
        } else if used == "cli" || rank(&used).is_some_and(|used| used > own) {
            found.push(format!("{path} imports crate::{used}, which is above it"));
        }
    }
    found
}

pub(crate) fn places(path: &str, code: &str) -> Vec<String> {
    let place = path.trim_start_matches("src/");
    let used = root_names(code);
    PLACES
        .iter()
        .filter(|(_, allowed)| !allowed.iter().any(|start| place.starts_with(start)))
        .filter(|(name, _)| used.contains(name.replace('-', "_").as_str()))
        .map(|(name, allowed)| {
            format!(
                "{path} uses `{name}`, whose place is {}",
                allowed.join(", ")
            )
        })
        .collect()
}

/// The library never prints, ends the process or looks at its surroundings.
pub(crate) fn quiet_library(path: &str, code: &str) -> Vec<String> {
    if matches!(module_of(path), "main" | "cli") {
        return Vec::new();
    }
    let surroundings = [
        "args",
        "args_os",
        "current_dir",
        "current_exe",
        "home_dir",
        "remove_var",
        "set_current_dir",
        "set_var",
        "temp_dir",
        "var",
        "var_os",
        "vars",
        "vars_os",
    ];
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let rest = &code[at + word.len()..];
        let asks = rest.strip_prefix("::").and_then(|rest| words(rest).next());
        let bad = match word {
            "println" | "eprintln" | "print" | "eprint" | "dbg" => rest.starts_with('!'),
            "process" => matches!(asks, Some((0, "exit" | "abort"))),
            "env" if code[..at].ends_with("std::") => {
                !matches!(asks, Some((0, "consts" | "join_paths" | "split_paths")))
            }
            "env" => asks.is_some_and(|(at, name)| at == 0 && surroundings.contains(&name)),
            _ => false,
        };
        if bad {
            found.push(format!(
                "{path}:{}: `{word}` is for the program alone",
                line_of(code, at)
            ));
        }
    }
    found
}

pub(crate) fn clocks(path: &str, code: &str) -> Vec<String> {
    let place = path.trim_start_matches("src/");
    let asks = code.contains("Instant::now");
    let driver = CLOCKS.iter().any(|start| place.starts_with(start));
    found_if(asks && !driver, || {
        format!("{path} asks for the time; it must be an argument")
    })
}

/// Each dependency has a row in `PLACES` and is named in the decisions.
pub(crate) fn dependencies(manifest: &str, decisions: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        if !matches!(section, "[dependencies]" | "[dev-dependencies]")
            || line.starts_with(['#', ' '])
        {
            continue;
        }
        if section == "[dependencies]" && !PLACES.iter().any(|(known, _)| *known == name) {
            found.push(format!("`{name}` has no place in tests/tidy.rs"));
        }
        if !decisions.contains(&format!("`{name}`")) {
            found.push(format!("`{name}` has no reason in docs/DECISIONS.md"));
        }
    }
    found
}

/// The first column of the module table names each entry of `src/` once, and nothing else.
pub(crate) fn module_table(text: &str, modules: &BTreeSet<String>) -> Vec<String> {
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/"))
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name.trim_end_matches('/').trim_end_matches(".rs"))
        .collect();
    let listed: BTreeSet<String> = rows.iter().map(|&name| name.to_owned()).collect();
    let mut found = found_if(listed.len() < rows.len(), || {
        "docs/ARCHITECTURE.md lists a module twice".to_owned()
    });
    found.extend(
        modules
            .difference(&listed)
            .map(|name| format!("docs/ARCHITECTURE.md does not list `src/{name}`")),
    );
    found.extend(
        listed
            .difference(modules)
            .map(|name| format!("docs/ARCHITECTURE.md lists `src/{name}`, which is not there")),
    );
    found
}

fn found_if(condition: bool, finding: impl FnOnce() -> String) -> Vec<String> {
    condition.then(finding).into_iter().collect()
}

/// `src/watch/os.rs` is part of `watch`.
fn module_of(path: &str) -> &str {
    let inside = path.trim_start_matches("src/");
    inside
        .split('/')
        .next()
        .expect("a path has a first part")
        .trim_end_matches(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_text::without_tests;

    #[track_caller]
    fn check(found: impl AsRef<[String]>, expected: &[&str]) {
        assert_eq!(found.as_ref(), expected);
    }

    #[test]
    fn an_import_from_a_higher_floor_is_found_however_it_is_written() {
        let above = "src/watch/debounce.rs imports crate::plan, which is above it";
        check(
            floors("src/watch/debounce.rs", "use crate::plan::Plan;"),
            &[above],
        );
        check(
            floors("src/watch/debounce.rs", "fn f(_: crate::plan::Plan) {}"),
            &[above],
        );
        check(
            floors(
                "src/watch/debounce.rs",
                "use crate::{path::{RelDir, RelPath}, plan};",
            ),
            &[above],
        );
        check(
            floors("src/watch/debounce.rs", "use super::super::plan::Plan;"),
            &[above],
        );
        check(
            floors(
                "src/watch/debounce.rs",
                "use crate::path::RelPath; use super::Tree;",
            ),
            &[],
        );
        check(
            floors("src/path.rs", "use crate::change::Change;"),
            &["src/path.rs imports crate::change, which is above it"],
        );
        check(
            floors(
                "src/change.rs",
                "use super::path::RelPath; pub(crate) struct S;",
            ),
            &[],
        );
        check(
            floors("src/exec/spawn.rs", "use crate::watch::Tree;"),
            &["src/exec/spawn.rs imports crate::watch, which it must not know"],
        );
        check(
            floors(
                "src/cli/list.rs",
                "use crate::plan::Plan; use crate::cli::report;",
            ),
            &["src/cli/list.rs imports crate::plan: the program uses watchrun::plan"],
        );
        check(
            floors("src/extra.rs", ""),
            &["src/extra.rs belongs to no floor of tests/tidy.rs"],
        );
    }

    #[test]
    fn a_crate_away_from_its_place_is_found_and_a_module_of_that_name_is_not() {
        check(
            places("src/plan/mod.rs", "use toml::Value;"),
            &["src/plan/mod.rs uses `toml`, whose place is watchfile/"],
        );
        check(
            places("src/plan/mod.rs", "let x = ::toml::Value;"),
            &["src/plan/mod.rs uses `toml`, whose place is watchfile/"],
        );
        check(places("src/watchfile/raw.rs", "use toml::Value;"), &[]);
        check(
            places(
                "src/plan/mod.rs",
                "self::toml::f(); my_toml::f(); let toml = 1;",
            ),
            &[],
        );
    }

    #[test]
    fn printing_ending_and_asking_are_found_in_the_library_and_allowed_in_the_program() {
        let code = "fn f() { println!(); std::process::exit(1); std::env::var_os(x); }";
        check(
            quiet_library("src/plan/mod.rs", code),
            &[
                "src/plan/mod.rs:1: `println` is for the program alone",
                "src/plan/mod.rs:1: `process` is for the program alone",
                "src/plan/mod.rs:1: `env` is for the program alone",
            ],
        );
        check(quiet_library("src/cli/mod.rs", code), &[]);
        check(
            quiet_library(
                "src/plan/mod.rs",
                "std::env::consts::OS; std::env::split_paths(x); task.env; process::Command",
            ),
            &[],
        );
    }

    #[test]
    fn the_time_is_for_drivers() {
        let finding = "src/watch/debounce.rs asks for the time; it must be an argument";
        check(
            clocks("src/watch/debounce.rs", "Instant::now()"),
            &[finding],
        );
        check(clocks("src/watch/os.rs", "Instant::now()"), &[]);
    }

    #[test]
    fn sizes_names_and_headers_are_found() {
        let long = format!("fn f() {{\n{}}}", "x();\n".repeat(80));
        check(
            function_size("a.rs", &long, &long),
            &["a.rs: fn f has 82 lines, more than 70"],
        );
        let excused = format!("#[expect(clippy::too_many_lines, reason = \"flat\")]\n{long}");
        check(function_size("a.rs", &excused, &excused), &[]);
        check(
            file_size("a.rs", &"\n".repeat(701)),
            &["a.rs has 701 lines, more than 700"],
        );
        check(
            file_size("a/mod.rs", &"\n".repeat(151)),
            &["a/mod.rs has 151 lines, more than 150"],
        );
        check(
            file_name("src/string_utils.rs"),
            &["src/string_utils.rs: `string_utils` says nothing of what is inside"],
        );
        check(file_name("src/path.rs"), &[]);
        check(
            header("a.rs", "use std::fs;"),
            &["a.rs does not start with a `//!` line that says what it is"],
        );
        check(header("a.rs", "//! What it is."), &[]);
    }

    #[test]
    fn open_ends_sleeps_and_ignored_tests_are_found() {
        let mark = concat!("TO", "DO");
        check(
            open_ends("a.rs", &format!("// {mark}: later")),
            &[&format!("a.rs:1: `{mark}` without a number")],
        );
        check(open_ends("a.rs", &format!("// {mark}(#12): later")), &[]);
        let code =
            "fn f() { thread::sleep(d); } #[cfg(test)] mod tests { fn g() { thread::sleep(d); } }";
        check(
            patience("a.rs", code, &without_tests(code)),
            &["a.rs sleeps in a test"],
        );
        check(
            patience("a.rs", "#[ignore] fn f() {}", ""),
            &["a.rs has an ignored test"],
        );
        check(
            patience("a.rs", "thread::sleep(d);", "thread::sleep(d);"),
            &[],
        );
    }

    #[test]
    fn a_dependency_without_place_or_reason_and_a_wrong_module_table_are_found() {
        let manifest =
            "[dependencies]\ntoml = \"1\"\nnew = \"2\"\n[dev-dependencies]\nprobe = \"1\"\n";
        check(
            dependencies(manifest, "`toml` and `new`"),
            &[
                "`new` has no place in tests/tidy.rs",
                "`probe` has no reason in docs/DECISIONS.md",
            ],
        );
        let modules = ["plan", "watch"].map(str::to_owned).into_iter().collect();
        check(
            module_table("| `src/watch/` | x |\n| `src/gone.rs` | y |\n", &modules),
            &[
                "docs/ARCHITECTURE.md does not list `src/plan`",
                "docs/ARCHITECTURE.md lists `src/gone`, which is not there",
            ],
        );
    }
}
