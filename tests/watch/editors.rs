//! How editors save: each save is one change of the file, whatever they do around it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use crate::support::{PATIENCE, Tree, check_exact, seen, texts};

/// One save by `save` is told as one change of `f`, if it is taken in as a whole.
#[track_caller]
fn check(save: fn(&Tree)) {
    let tree = Tree::with(&["f", "other"]);
    let mut options = watchrun::watch::WatchOptions::new();
    // As long as no machine needs between two steps of a save: `sync` is what delivers.
    options.debounce = PATIENCE;
    options.debounce_max = PATIENCE;
    let watch = tree.watch_with(options);
    for _ in 0..3 {
        save(&tree);
        assert_eq!(seen(&watch), ["~f"]);
    }
    check_exact(&watch);
}

#[test]
fn vim_tries_a_name_renames_to_a_backup_and_writes_anew() {
    check(|tree| {
        tree.write("4913", "");
        fs::remove_file(tree.path("4913")).unwrap();
        tree.write(".f.swp", "swap");
        tree.rename("f", "f~");
        tree.write("f", "saved");
        fs::remove_file(tree.path("f~")).unwrap();
        fs::remove_file(tree.path(".f.swp")).unwrap();
    });
}

#[test]
fn vim_with_backupcopy_writes_in_place() {
    check(|tree| {
        fs::copy(tree.path("f"), tree.path("f~")).unwrap();
        tree.write("f", "saved");
        fs::remove_file(tree.path("f~")).unwrap();
    });
}

#[test]
fn emacs_locks_with_a_link_and_keeps_an_autosave() {
    check(|tree| {
        symlink("user@host.1:2", tree.path(".#f")).unwrap();
        tree.write("#f#", "autosaved");
        tree.write("f", "saved");
        fs::remove_file(tree.path("#f#")).unwrap();
        fs::remove_file(tree.path(".#f")).unwrap();
    });
}

#[test]
fn jetbrains_writes_aside_and_swaps() {
    check(|tree| {
        tree.write("f___jb_tmp___", "saved");
        tree.rename("f", "f___jb_old___");
        tree.rename("f___jb_tmp___", "f");
        fs::remove_file(tree.path("f___jb_old___")).unwrap();
    });
}

#[test]
fn others_write_aside_sync_and_rename_over() {
    check(|tree| {
        let aside = tree.path(".goutputstream-XYZ");
        let mut file = fs::File::create(&aside).unwrap();
        file.write_all(b"saved").unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(aside, tree.path("f")).unwrap();
    });
    check(|tree| {
        let command = format!("sed -i s/$/x/ {}", tree.path("f").display());
        let mut sed = std::process::Command::new("sh");
        assert!(sed.args(["-c", &command]).status().unwrap().success());
    });
}

#[test]
fn many_saves_at_once_are_one_set() {
    let tree = Tree::with(&[]);
    for n in 0..30 {
        tree.write(&format!("d/f{n}"), "x");
    }
    let mut options = watchrun::watch::WatchOptions::new();
    options.debounce = std::time::Duration::from_millis(300);
    options.debounce_max = PATIENCE;
    let watch = tree.watch_with(options);
    for n in 0..30 {
        tree.write(&format!("d/f{n}"), "saved");
    }
    let set = watch.next(PATIENCE).unwrap().expect("a set");
    assert_eq!(texts(&set).len(), 30);
    assert_eq!(seen(&watch), [""; 0]);
}
