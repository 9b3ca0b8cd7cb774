//! The watchfile from the outside: the corpus in `fixtures/watchfiles/`, the documentation, the
//! example and the JSON Schema.
//!
//! `ok/*.toml` load without errors; `err/*.toml` give exactly the report in the `*.stderr` beside
//! them. `UPDATE=1 cargo test --test watchfile` rewrites the reports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use watchrun::disk::OsDisk;
use watchrun::path::{RelPath, Root};
use watchrun::watchfile::{self, Errors, Loaded};

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
