//! The rules of the house that a compiler does not check: who may import whom, what each crate is
//! used for, sizes, headers, forbidden calls, documents that must match the tree.
//!
//! Reads files, runs nothing. See docs/CONTRIBUTING.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/rust_text.rs"]
mod rust_text;

use rust_text::{blank_literals, is_word, without_tests, words};

#[test]
fn the_tree_keeps_every_rule() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for source in &tree.sources {
        let Source { path, text, code } = source;
        let production = tree.production(source);
        findings.extend(rules::header(path, text));
        findings.extend(rules::file_size(path, text));
        findings.extend(rules::function_size(path, text, code));
        findings.extend(rules::file_name(path));
        findings.extend(rules::open_ends(path, text));
        findings.extend(rules::patience(path, code, &production));
        if path.starts_with("src/") {
            findings.extend(rules::floors(path, &production));
            findings.extend(rules::places(path, &production));
            findings.extend(rules::quiet_library(path, &production));
            findings.extend(rules::clocks(path, &production));
        }
    }
    findings.extend(
        tree.unlisted
            .iter()
            .map(|path| format!("{path} is in no `mod` line")),
    );
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_dependency_has_a_place_and_a_reason() {
    let manifest = read("Cargo.toml");
    let decisions = read("docs/DECISIONS.md");
    let findings = rules::dependencies(&manifest, &decisions);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_module_table_of_the_architecture_is_the_tree() {
    let modules = fs::read_dir(root().join("src"))
        .expect("src/ is there")
        .map(|entry| entry.expect("src/ is readable").file_name())
        .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
        .filter(|name| name != "lib" && name != "cli")
        .collect();
    let findings = rules::module_table(&read("docs/ARCHITECTURE.md"), &modules);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// One Rust file: its path from the package's root, its text, and the text with comments and
/// literals blanked out.
struct Source {
    path: String,
    text: String,
    code: String,
}

struct Tree {
    sources: Vec<Source>,
    /// Files that are compiled for tests only.
    test_only: BTreeSet<String>,
    /// Files that no `mod` line reaches.
    unlisted: Vec<String>,
}

impl Tree {
    fn load() -> Self {
        let mut sources = Vec::new();
        for dir in ["src", "tests", "benches", "examples"] {
            collect(&root().join(dir), &mut sources);
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        let mut reached = BTreeMap::new();
        for source in &sources {
            if is_crate_root(&source.path) {
                reach(
                    &sources,
                    &source.path,
                    !source.path.starts_with("src/"),
                    &mut reached,
                );
            }
        }
        let unlisted = sources
            .iter()
            .filter(|source| !reached.contains_key(&source.path))
            .map(|source| source.path.clone())
            .collect();
        let test_only = reached
            .into_iter()
            .filter(|(_, test)| *test)
            .map(|(path, _)| path)
            .collect();
        Self {
            sources,
            test_only,
            unlisted,
        }
    }

    /// The code of `source` that is part of the product.
    fn production(&self, source: &Source) -> String {
        if self.test_only.contains(&source.path) {
            String::new()
        } else {
            without_tests(&source.code)
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn collect(dir: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the tree is readable").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let path = path
                .strip_prefix(root())
                .expect("it lies below")
                .to_string_lossy();
            let code = blank_literals(&text);
            sources.push(Source {
                path: path.into_owned(),
                text,
                code,
            });
        }
    }
}

fn is_crate_root(path: &str) -> bool {
    matches!(path, "src/lib.rs" | "src/main.rs")
        || (!path.starts_with("src/") && path.matches('/').count() == 1)
        || (!path.starts_with("src/") && path.ends_with("/main.rs"))
}

/// Follows the `mod` lines from `path`; the value tells whether only tests compile the file.
fn reach(sources: &[Source], path: &str, test: bool, reached: &mut BTreeMap<String, bool>) {
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return;
    };
    if reached.insert(path.to_owned(), test).is_some() {
        return;
    }
    for (file, gated) in mod_lines(source) {
        for candidate in [format!("{file}.rs"), format!("{file}/mod.rs"), file.clone()] {
            reach(sources, &candidate, test || gated, reached);
        }
    }
}

/// The files that the `mod name;` lines mean, without `.rs`, and whether `cfg(test)` guards them.
fn mod_lines(source: &Source) -> Vec<(String, bool)> {
    let (dir, name) = source
        .path
        .rsplit_once('/')
        .expect("sources lie in a directory");
    let own = matches!(name, "mod.rs" | "lib.rs" | "main.rs") || is_crate_root(&source.path);
    let base = if own {
        dir.to_owned()
    } else {
        source.path.trim_end_matches(".rs").to_owned()
    };
    let mut found = Vec::new();
    for (at, word) in words(&source.code) {
        let rest = source.code[at..]
            .strip_prefix("mod ")
            .filter(|_| word == "mod");
        let Some(name) = rest
            .and_then(|rest| rest.split_once(';'))
            .map(|(name, _)| name)
        else {
            continue;
        };
        if !name.bytes().all(is_word) {
            continue;
        }
        let attributes_start = source.code[..at]
            .rfind([';', '}', '{'])
            .map_or(0, |end| end + 1);
        let attributes = &source.text[attributes_start..at];
        let file = attributes
            .split_once("#[path = \"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let gated = source.code[attributes_start..at].contains("cfg(test)");
        found.push(match file {
            Some((file, _)) => (format!("{dir}/{file}"), gated),
            None => (format!("{base}/{name}"), gated),
        });
    }
    found
}

#[test]
fn a_file_in_no_mod_line_is_unlisted_and_a_gated_one_is_for_tests() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
        code: blank_literals(text),
    };
    let sources = [
        source(
            "src/lib.rs",
            "pub mod a;\n#[cfg(test)]\nmod fake;\n#[cfg(unix)]\n#[path = \"unix.rs\"]\nmod os;",
        ),
        source("src/a/mod.rs", "mod b;"),
        source("src/a/b.rs", ""),
        source("src/fake.rs", ""),
        source("src/unix.rs", ""),
        source("src/lost.rs", ""),
    ];
    let mut reached = BTreeMap::new();
    reach(&sources, "src/lib.rs", false, &mut reached);
    let found: Vec<_> = reached
        .iter()
        .map(|(path, test)| (path.as_str(), *test))
        .collect();
    let expected = [
        ("src/a/b.rs", false),
        ("src/a/mod.rs", false),
        ("src/fake.rs", true),
        ("src/lib.rs", false),
        ("src/unix.rs", false),
    ];
    assert_eq!(found, expected);
}
