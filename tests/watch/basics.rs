//! What each kind of change is reported as.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{PATIENCE, rel};
use crate::support::{Tree, check_exact, seen, texts};

#[test]
fn each_kind_of_change_has_its_name() {
    let tree = Tree::with(&["keep", "edit", "mode", "gone", "old", "d/f"]);
    let watch = tree.watch();
    tree.write("new", "x");
    tree.write("edit", "longer than before");
    fs::set_permissions(tree.path("mode"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(tree.path("gone")).unwrap();
    tree.rename("old", "young");
    tree.mkdir("e");
    assert_eq!(
        seen(&watch),
        ["+e", "~edit", "-gone", ".mode", "+new", "old>young"]
    );
    assert_eq!(seen(&watch), [""; 0]);
    check_exact(&watch);
}

#[test]
fn a_set_comes_by_itself_after_the_debounce_time() {
    let tree = Tree::with(&["a"]);
    let watch = tree.watch();
    tree.write("a", "changed");
    let set = watch.next(PATIENCE).unwrap().expect("a set");
    assert_eq!(
        (texts(&set), set.id, set.complete),
        (vec!["~a".to_owned()], 1, true)
    );
}

#[test]
fn a_removed_tree_is_told_path_by_path() {
    let tree = Tree::with(&["d/a", "d/e/b", "d/e/f/c", "z"]);
    let watch = tree.watch();
    fs::remove_dir_all(tree.path("d")).unwrap();
    assert_eq!(
        seen(&watch),
        ["-d", "-d/a", "-d/e", "-d/e/b", "-d/e/f", "-d/e/f/c"]
    );
    check_exact(&watch);
}

#[test]
fn what_comes_and_goes_is_not_told_and_what_goes_and_comes_is_modified() {
    let tree = Tree::with(&["a", "b"]);
    let watch = tree.watch();
    tree.write("temp", "x");
    fs::remove_file(tree.path("temp")).unwrap();
    fs::remove_file(tree.path("a")).unwrap();
    tree.write("a", "again");
    tree.write(".b.tmp", "atomic");
    tree.rename(".b.tmp", "b");
    assert_eq!(seen(&watch), ["~a", "~b"]);
}

#[test]
fn the_same_bytes_written_again_are_a_change_and_opening_is_not() {
    let tree = Tree::with(&["a", "b"]);
    let watch = tree.watch();
    tree.write("a", "a");
    drop(
        fs::OpenOptions::new()
            .append(true)
            .open(tree.path("b"))
            .unwrap(),
    );
    drop(fs::read(tree.path("b")).unwrap());
    assert_eq!(fs::read_dir(tree.root()).unwrap().count(), 2);
    assert_eq!(seen(&watch), ["~a"]);
}

#[test]
fn files_and_directories_may_take_each_others_names() {
    let tree = Tree::with(&["x", "d/f"]);
    let watch = tree.watch();
    fs::remove_file(tree.path("x")).unwrap();
    tree.write("x/inside", "1");
    fs::remove_dir_all(tree.path("d")).unwrap();
    tree.write("d", "file");
    assert_eq!(seen(&watch), ["~d", "-d/f", "~x", "+x/inside"]);
    tree.write("x/later", "2");
    assert_eq!(seen(&watch), ["+x/later"]);
    check_exact(&watch);
}

#[test]
fn links_are_reported_and_not_followed() {
    let tree = Tree::with(&["d/f"]);
    symlink("nowhere", tree.path("broken")).unwrap();
    let watch = tree.watch();
    symlink("d", tree.path("link")).unwrap();
    symlink("..", tree.path("d/loop")).unwrap();
    fs::remove_file(tree.path("broken")).unwrap();
    symlink("d", tree.path("broken")).unwrap();
    assert_eq!(seen(&watch), ["~broken", "+d/loop", "+link"]);
    tree.write("d/f", "through the real path only");
    assert_eq!(seen(&watch), ["~d/f"]);
    check_exact(&watch);
}

#[test]
fn odd_names_and_odd_files_are_reported_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::with(&[]);
    let watch = tree.watch();
    for name in [
        b"new\nline".as_slice(),
        b"\xff\xfe",
        b"-rf",
        b"a b'\"",
        b"...",
    ] {
        fs::write(tree.root().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    let made = std::process::Command::new("mkfifo")
        .arg(tree.path("fifo"))
        .status();
    assert!(made.unwrap().success());
    let socket = std::os::unix::net::UnixListener::bind(tree.path("sock")).unwrap();
    watch.sync(PATIENCE).unwrap();
    let set = watch.try_next().unwrap().unwrap();
    let paths: Vec<&[u8]> = set.changes.iter().map(|c| c.path.as_bytes()).collect();
    assert_eq!(
        paths,
        [
            b"-rf".as_slice(),
            b"...",
            b"a b'\"",
            b"fifo",
            b"new\nline",
            b"sock",
            b"\xff\xfe"
        ]
    );
    drop(socket);
    check_exact(&watch);
}

#[test]
fn the_model_answers_for_files() {
    let tree = Tree::with(&["a", "d/b", "d/c.rs"]);
    let watch = tree.watch();
    tree.write("d/new.rs", "12345");
    watch.sync(PATIENCE).unwrap();
    assert_eq!(watch.stat(&rel("d/new.rs")).unwrap().size, 5);
    assert_eq!(watch.stat(&rel("d")), None);
    assert_eq!(watch.stat(&rel("nope")), None);
    let files = watch.files(&crate::support::select(&["**/*.rs"]).unwrap());
    let paths: Vec<_> = files.entries().iter().map(|e| e.path.to_string()).collect();
    assert_eq!(paths, ["d/c.rs", "d/new.rs"]);
    let status = watch.status();
    assert_eq!(
        (status.watched_dirs, status.polled_dirs, status.files),
        (2, 0, 4)
    );
}

#[test]
fn a_file_being_written_waits_until_it_is_closed() {
    use std::io::Write;
    let tree = Tree::with(&["a", "b"]);
    let mut options = watchrun::watch::WatchOptions::new();
    options.debounce_max = PATIENCE * 10;
    let watch = tree.watch_with(options);
    let mut file = fs::File::create(tree.path("a")).unwrap();
    file.write_all(b"half").unwrap();
    file.flush().unwrap();
    // Another file settles meanwhile, and still no set is made.
    tree.write("b", "whole");
    assert_eq!(
        watch.next(std::time::Duration::from_millis(200)).unwrap(),
        None
    );
    file.write_all(b" and half").unwrap();
    drop(file);
    let set = watch.next(PATIENCE).unwrap().expect("a set");
    assert_eq!(texts(&set), ["~a", "~b"]);
}
