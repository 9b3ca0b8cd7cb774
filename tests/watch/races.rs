//! New directories, renames, replaced roots, lost events.

use std::fs;
use std::time::Instant;

use watchrun::watch::{Warning, WatchHandle, WatchOptions, WatchState};

use crate::support::{PATIENCE, Tree, check_exact, seen};

#[test]
fn what_is_made_in_a_new_directory_at_once_is_seen_once() {
    let tree = Tree::with(&[]);
    let watch = tree.watch();
    for n in 0..50 {
        tree.write(&format!("n{n}/a/b/c/x"), "1");
        let expected: Vec<String> = ["", "/a", "/a/b", "/a/b/c", "/a/b/c/x"]
            .iter()
            .map(|rest| format!("+n{n}{rest}"))
            .collect();
        assert_eq!(seen(&watch), expected);
        tree.write(&format!("n{n}/a/b/c/x"), "22");
        assert_eq!(seen(&watch), [format!("~n{n}/a/b/c/x")]);
    }
}

#[test]
fn a_directory_that_is_removed_and_made_again_stays_seen() {
    let tree = Tree::with(&["d/e/f"]);
    let watch = tree.watch();
    for n in 0..100 {
        fs::remove_dir_all(tree.path("d")).unwrap();
        tree.write("d/e/f", "x");
        if n % 3 == 0 {
            watch.sync(PATIENCE).unwrap();
        }
    }
    seen(&watch);
    tree.write("d/e/f", "again");
    tree.write("d/g", "new");
    assert_eq!(seen(&watch), ["~d/e/f", "+d/g"]);
    check_exact(&watch);
}

#[test]
fn a_directory_somebody_holds_open_does_not_blind_its_successor() {
    let tree = Tree::with(&["d/f"]);
    let watch = tree.watch();
    let held = fs::File::open(tree.path("d")).unwrap();
    fs::remove_dir_all(tree.path("d")).unwrap();
    tree.mkdir("d");
    seen(&watch);
    tree.write("d/new", "x");
    assert_eq!(seen(&watch), ["+d/new"]);
    drop(held);
    tree.write("d/newer", "x");
    assert_eq!(seen(&watch), ["+d/newer"]);
}

#[test]
fn a_renamed_directory_takes_its_files_along_and_stays_seen() {
    let tree = Tree::with(&["a/b/c/f", "a/g"]);
    let watch = tree.watch();
    tree.rename("a", "z");
    assert_eq!(
        seen(&watch),
        [
            "a>z",
            "a/b>z/b",
            "a/b/c>z/b/c",
            "a/b/c/f>z/b/c/f",
            "a/g>z/g"
        ]
    );
    tree.write("z/b/c/f", "changed");
    assert_eq!(seen(&watch), ["~z/b/c/f"]);
    // The old name is free for another directory.
    tree.write("a/b/c/f", "new");
    assert_eq!(seen(&watch), ["+a", "+a/b", "+a/b/c", "+a/b/c/f"]);
    tree.write("a/b/c/f", "new and changed");
    assert_eq!(seen(&watch), ["~a/b/c/f"]);
    check_exact(&watch);
}

#[test]
fn chains_and_exchanges_of_renames_are_told_by_their_result() {
    let tree = Tree::with(&["a", "p/x", "q/x", "q/y"]);
    let watch = tree.watch();
    tree.rename("a", "b");
    tree.rename("b", "c");
    assert_eq!(seen(&watch), ["a>c"]);
    tree.rename("p", "t");
    tree.rename("q", "p");
    tree.rename("t", "q");
    assert_eq!(seen(&watch), ["~p/x", "q/y>p/y", "~q/x"]);
    tree.rename("c", "q/x");
    assert_eq!(seen(&watch), ["-c", "~q/x"]);
    tree.write("q/x", "1");
    tree.write("p/y", "2");
    assert_eq!(seen(&watch), ["~p/y", "~q/x"]);
    check_exact(&watch);
}

#[test]
fn exchanged_paths_are_told_by_what_differs_and_stay_seen() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let tree = Tree::with(&["a", "b", "p/x", "p/only", "q/x", "q/deep/y"]);
    let watch = tree.watch();
    let exchange = |one: &str, two: &str| {
        let (one, two) = (tree.path(one), tree.path(two));
        renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
    };
    exchange("a", "b");
    assert_eq!(seen(&watch), ["~a", "~b"]);
    exchange("p", "q");
    let told = seen(&watch);
    for expected in ["q/deep/y>p/deep/y", "~p/x", "p/only>q/only", "~q/x"] {
        assert!(told.contains(&expected.to_owned()), "{told:?}");
    }
    tree.write("p/deep/y", "changed");
    tree.write("q/only", "changed");
    assert_eq!(seen(&watch), ["~p/deep/y", "~q/only"]);
    exchange("a", "q");
    let told = seen(&watch);
    assert!(told.contains(&"q/x>a/x".to_owned()), "{told:?}");
    tree.write("a/x", "changed");
    assert_eq!(seen(&watch), ["~a/x"]);
    check_exact(&watch);
}

#[test]
fn a_directory_moved_away_and_back_is_nothing_and_stays_seen() {
    let tree = Tree::with(&["d/e/f"]);
    fs::create_dir_all(tree.outside("")).unwrap();
    let watch = tree.watch();
    for _ in 0..20 {
        fs::rename(tree.path("d"), tree.outside("d")).unwrap();
        fs::rename(tree.outside("d"), tree.path("d")).unwrap();
    }
    seen(&watch);
    tree.write("d/e/f", "changed");
    assert_eq!(seen(&watch), ["~d/e/f"]);
    fs::rename(tree.path("d"), tree.outside("d")).unwrap();
    assert_eq!(seen(&watch), ["-d", "-d/e", "-d/e/f"]);
    fs::write(tree.outside("d/e/f"), "outside").unwrap();
    assert_eq!(seen(&watch), [""; 0]);
    fs::rename(tree.outside("d"), tree.path("d")).unwrap();
    assert_eq!(seen(&watch), ["+d", "+d/e", "+d/e/f"]);
}

#[test]
fn a_thousand_renames_are_all_paired() {
    let tree = Tree::with(&[]);
    for n in 0..1_000 {
        tree.write(&format!("from/{n}"), "x");
    }
    tree.mkdir("to");
    let watch = tree.watch();
    for n in 0..1_000 {
        tree.rename(&format!("from/{n}"), &format!("to/{n}"));
    }
    let seen = seen(&watch);
    assert_eq!(seen.len(), 1_000);
    assert!(seen.iter().all(|text| text.contains('>')), "{seen:?}");
}

#[test]
fn a_root_that_vanishes_is_taken_up_again_with_what_differs() {
    let tree = Tree::with(&["a", "d/b"]);
    let watch = tree.watch();
    fs::remove_dir_all(tree.root()).unwrap();
    watch.sync(PATIENCE).unwrap();
    assert_eq!(watch.status().state, WatchState::Detached);
    tree.write("d/b", "new");
    tree.write("c", "new");
    // The directory above tells that it is back.
    while watch.status().state == WatchState::Detached {
        watch.sync(PATIENCE).unwrap();
        std::thread::yield_now();
    }
    check_exact(&watch);
    tree.write("d/later", "x");
    let seen = seen(&watch);
    assert!(seen.contains(&"+d/later".to_owned()), "{seen:?}");
    let kinds: Vec<_> = watch.take_warnings().iter().map(Warning::kind).collect();
    assert_eq!(kinds, ["root_detached", "root_attached"]);
}

#[test]
fn a_root_replaced_by_rename_is_followed_by_name() {
    let tree = Tree::with(&["same", "gone", "d/f"]);
    let watch = tree.watch();
    fs::create_dir_all(tree.outside("next/e")).unwrap();
    fs::write(tree.outside("next/new"), "x").unwrap();
    fs::rename(tree.root(), tree.outside("old")).unwrap();
    fs::rename(tree.outside("next"), tree.root()).unwrap();
    assert_eq!(seen(&watch), ["-d", "-d/f", "+e", "-gone", "+new", "-same"]);
    fs::write(tree.outside("old/d/f"), "not ours any more").unwrap();
    tree.write("e/inside", "x");
    assert_eq!(seen(&watch), ["+e/inside"]);
    check_exact(&watch);
}

#[test]
fn an_empty_root_that_is_removed_while_somebody_holds_it_open_is_lost_and_found() {
    let tree = Tree::with(&[]);
    let watch = tree.watch();
    let holder = fs::File::open(tree.root()).unwrap();
    fs::remove_dir(tree.root()).unwrap();
    // Nothing is asked of the watch, and nothing in the root can tell.
    await_state(&watch, WatchState::Detached);
    tree.write("a", "x");
    await_state(&watch, WatchState::Ready);
    drop(holder);
    assert_eq!(seen(&watch), ["+a"]);
}

#[track_caller]
fn await_state(watch: &WatchHandle, state: WatchState) {
    let until = Instant::now() + PATIENCE;
    while watch.status().state != state {
        assert!(Instant::now() < until, "{:?}", watch.status());
        std::thread::yield_now();
    }
}

#[test]
fn writes_beside_the_root_and_above_it_wake_nobody() {
    let tree = Tree::with(&["p/root/a", "p/log", "log"]);
    let options = WatchOptions::new();
    let root = tree.path("p/root");
    let watch = tree.manager.create_watch(&root, options).unwrap();
    watch.sync(PATIENCE).unwrap();
    let before = watch.status().queue.hints;
    for n in 0..200 {
        tree.write("p/log", &n.to_string());
        tree.write("log", &n.to_string());
        tree.write(&format!("p/{n}"), "");
    }
    watch.sync(PATIENCE).unwrap();
    // The marks of the two syncs alone.
    let hints = watch.status().queue.hints - before;
    assert!(hints < 50, "{hints}");
}

#[test]
fn a_root_whose_parent_moves_is_lost_and_found() {
    let tree = Tree::with(&["p/q/f"]);
    let root = tree.path("p/q");
    let options = watchrun::watch::WatchOptions::new();
    let watch = tree.manager.create_watch(&root, options).unwrap();
    tree.rename("p", "elsewhere");
    watch.sync(PATIENCE).unwrap();
    assert_eq!(watch.status().state, WatchState::Detached);
    tree.rename("elsewhere", "p");
    while watch.status().state == WatchState::Detached {
        watch.sync(PATIENCE).unwrap();
        std::thread::yield_now();
    }
    tree.write("p/q/f", "changed");
    assert_eq!(seen(&watch), ["~f"]);
    check_exact(&watch);
}
