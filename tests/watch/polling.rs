//! What polling must see by itself, where nothing but the next look can tell it.

use std::fs;
use std::time::Duration;

use watchrun::watch::{Backend, WatchHandle, WatchOptions, WatchState};

use crate::support::{Tree, await_all, check_exact};

/// Polls so often that a test need not wait.
fn polled(tree: &Tree) -> WatchHandle {
    let mut options = WatchOptions::new();
    options.backend = Backend::Poll;
    options.poll_interval = Duration::from_millis(20);
    tree.watch_with(options)
}

#[test]
fn a_polled_root_that_vanishes_is_taken_up_again() {
    let tree = Tree::with(&["a", "d/b"]);
    let watch = polled(&tree);
    fs::remove_dir_all(tree.root()).unwrap();
    while watch.status().state != WatchState::Detached {
        std::thread::yield_now();
    }
    // Whatever was still under way when it went is over.
    while watch.next(Duration::from_millis(100)).unwrap().is_some() {}
    tree.write("d/b", "new");
    tree.write("c", "new");
    await_all(&watch, &["+c"]);
    tree.write("d/later", "x");
    await_all(&watch, &["+d/later"]);
    check_exact(&watch);
}

#[test]
fn an_edit_of_the_rules_takes_effect_in_polled_directories() {
    let tree = Tree::with(&["a/x.log", "a/b/y.log", "keep"]);
    tree.write(".gitignore", "nothing\n");
    let watch = polled(&tree);
    tree.write(".gitignore", "*.log\n");
    await_all(&watch, &["-a/x.log", "-a/b/y.log"]);
    fs::remove_file(tree.path(".gitignore")).unwrap();
    await_all(&watch, &["+a/x.log", "+a/b/y.log"]);
    check_exact(&watch);
}

#[test]
fn rules_outside_of_a_polled_tree_are_live() {
    let tree = Tree::with(&["p/q/a.log", "p/q/b", ".git/HEAD", ".git/info/exclude"]);
    let mut options = WatchOptions::new();
    options.backend = Backend::Poll;
    options.poll_interval = Duration::from_millis(20);
    let watch = tree
        .manager
        .create_watch(&tree.path("p/q"), options)
        .unwrap();
    tree.write(".gitignore", "*.log\n");
    await_all(&watch, &["-a.log"]);
    tree.write(".git/info/exclude", "b\n");
    await_all(&watch, &["-b"]);
    tree.write(".gitignore", "");
    await_all(&watch, &["+a.log"]);
}

#[test]
fn the_end_of_gits_lock_is_noticed_by_polling() {
    let tree = Tree::with(&["a"]);
    tree.git(&["init", "-q"]);
    let watch = polled(&tree);
    let lock = tree.path(".git/index.lock");
    for n in 0..3 {
        fs::write(&lock, "").unwrap();
        tree.write("a", &format!("changed {n}"));
        // Long enough for the change to be seen, and held.
        assert_eq!(watch.next(Duration::from_millis(100)).unwrap(), None);
        fs::remove_file(&lock).unwrap();
        await_all(&watch, &["~a"]);
    }
    let warnings = watch.take_warnings();
    assert!(
        warnings.iter().all(|w| w.kind() != "git_lock_held"),
        "{warnings:?}"
    );
}

#[test]
fn a_file_that_git_begins_to_track_counts_under_polling() {
    let tree = Tree::with(&["gen/kept", "gen/not", "a"]);
    tree.git(&["init", "-q"]);
    tree.write(".gitignore", "gen\n");
    let watch = polled(&tree);
    tree.git(&["add", "-f", "gen/kept"]);
    await_all(&watch, &["+gen", "+gen/kept"]);
    tree.git(&["rm", "-qf", "--cached", "gen/kept"]);
    await_all(&watch, &["-gen", "-gen/kept"]);
}
