//! What a layout notices, on the real file system: every kind of change, and changes at random.

use std::fs::{File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::SystemTime;

use super::*;
use crate::path::RelDir;
use crate::pattern::{Pattern, PatternSet};
use crate::watch::options::ScanOptions;
use crate::watch::scan::{look, scan};

/// A repository with a root below its top, and a file of global excludes.
struct Tree {
    temp: tempfile::TempDir,
    root: Root,
    options: ScanOptions,
}

impl Tree {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let root = base.join("repo/root");
        fs::create_dir_all(&root).unwrap();
        let options = ScanOptions {
            global_excludes: Some(base.join("global")),
            excluded_names: vec!["state".to_owned()],
            ..ScanOptions::new()
        };
        let tree = Self {
            root: Root::new(&root).unwrap(),
            temp,
            options,
        };
        tree.git(&["init", "-q"]);
        for (path, text) in [
            (".gitignore", "*.o\n"),
            ("top", ""),
            ("root/a", "1"),
            ("root/a.o", ""),
            ("root/kept.o", ""),
            ("root/sub/.gitignore", "out\n"),
            ("root/sub/b", ""),
            ("root/sub/out/c", ""),
            ("root/sub/deep/d", ""),
            ("root/state/s", ""),
        ] {
            tree.write(path, text);
        }
        tree.git(&["add", "-f", "root/kept.o"]);
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join("repo").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        let git = git.args(args).current_dir(self.path(""));
        assert!(git.status().unwrap().success());
    }

    /// Sets every modification time back. So every later change gives another one, also within the
    /// tick in which the tree was made, and a look may take its change times for old.
    fn settle(&self) {
        fn settle(path: &Path) {
            if path.is_dir() {
                for entry in fs::read_dir(path).unwrap() {
                    settle(&entry.unwrap().path());
                }
            }
            let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
            if let Ok(file) = File::open(path) {
                file.set_times(old).unwrap();
            }
        }
        settle(self.temp.path());
    }

    /// A look at the settled tree.
    fn look(&self) -> (FileList, Option<Layout>) {
        self.settle();
        let later = stamp_clock_ns() + 2 * LAG_OF_SECONDS_NS;
        let (scan, layout) = look(&self.root, &self.options, later).unwrap();
        (scan.files, layout)
    }

    fn files(&self) -> FileList {
        scan(&self.root, &self.options).unwrap().files
    }
}

/// Looks at the tree that `make` makes of the usual one, then `change`s it.
#[track_caller]
fn check(what: &str, make: impl FnOnce(&Tree), change: impl FnOnce(&Tree), expected: Expected) {
    let mut tree = Tree::new();
    make(&tree);
    if what.contains("without git") {
        tree.options.gitignore = false;
    }
    let (files, layout) = tree.look();
    let layout = layout.unwrap_or_else(|| panic!("{what}: no layout"));
    assert_eq!(files, tree.files(), "{what}");
    let same = layout.look_again(&files);
    assert!(matches!(same, Some(Cow::Borrowed(_))), "{what}: {same:?}");
    change(&tree);
    let found = layout.look_again(&files);
    let is_expected = match (&found, expected) {
        (None, Expected::NewLook) => true,
        (Some(Cow::Owned(found)), Expected::NewStats) => *found != files && *found == tree.files(),
        (Some(Cow::Borrowed(_)), Expected::Same) => files == tree.files(),
        (_, _) => false,
    };
    assert!(is_expected, "{what}: {found:?}");
}

#[derive(Clone, Copy)]
enum Expected {
    NewLook,
    NewStats,
    Same,
}

#[test]
fn what_changes_the_paths_is_a_new_look() {
    let gone = |tree: &Tree, path: &str| fs::remove_file(tree.path(path)).unwrap();
    let check = |what, change: &dyn Fn(&Tree)| check(what, |_| {}, change, Expected::NewLook);
    check("a new file", &|tree| tree.write("root/new", ""));
    check("a new file below", &|tree| {
        tree.write("root/sub/deep/new", "");
    });
    check("a new directory", &|tree| {
        fs::create_dir(tree.path("root/new")).unwrap();
    });
    check("a file is gone", &|tree| gone(tree, "root/a"));
    check("a file is another", &|tree| {
        fs::rename(tree.path("root/sub/b"), tree.path("root/a")).unwrap();
    });
    check("a file is a directory", &|tree| {
        gone(tree, "root/a");
        fs::create_dir(tree.path("root/a")).unwrap();
    });
    check("a directory is another", &|tree| {
        fs::rename(tree.path("root/sub/deep"), tree.path("other")).unwrap();
        tree.write("root/sub/deep/d", "");
    });
    check("a directory is a link to itself", &|tree| {
        fs::rename(tree.path("root/sub"), tree.path("sub")).unwrap();
        symlink(tree.path("sub"), tree.path("root/sub")).unwrap();
    });
    check("a directory has another mode", &|tree| {
        let mode = PermissionsExt::from_mode(0o700);
        fs::set_permissions(tree.path("root/sub/deep"), mode).unwrap();
    });
    check("the root is another", &|tree| {
        fs::rename(tree.path("root"), tree.path("old")).unwrap();
        fs::create_dir(tree.path("root")).unwrap();
    });
    check("the root is gone", &|tree| {
        fs::rename(tree.path("root"), tree.path("old")).unwrap();
    });
}

#[test]
fn what_changes_the_rules_is_a_new_look() {
    let check = |what, change: &dyn Fn(&Tree)| check(what, |_| {}, change, Expected::NewLook);
    check("rules are edited", &|tree| {
        tree.write("root/sub/.gitignore", "");
    });
    check("rules above the root are edited", &|tree| {
        tree.write(".gitignore", "*.p\n");
    });
    check("new rules", &|tree| {
        tree.write("root/sub/deep/.ignore", "d\n");
    });
    check("new rules above the root", &|tree| {
        tree.write(".watchrunignore", "b\n");
    });
    check("rules above the root are gone", &|tree| {
        fs::remove_file(tree.path(".gitignore")).unwrap();
    });
    check("the exclude file is edited", &|tree| {
        tree.write(".git/info/exclude", "b\n");
    });
    check("there are global excludes", &|tree| {
        tree.write("../global", "b\n");
    });
    check("a file is tracked", &|tree| {
        tree.git(&["add", "-f", "root/a.o"]);
    });
    check("a file is tracked no more", &|tree| {
        tree.git(&["rm", "-q", "--cached", "root/kept.o"]);
    });
    check("another repository starts at the root", &|tree| {
        fs::create_dir(tree.path("root/.git")).unwrap();
    });
    check("there is no repository", &|tree| {
        fs::rename(tree.path(".git"), tree.path("git")).unwrap();
    });
}

#[test]
fn rules_that_lie_elsewhere_are_known_by_where_they_are() {
    let linked = |tree: &Tree| {
        tree.write("one", "b\n");
        symlink("../one", tree.path("root/link")).unwrap();
        symlink("link", tree.path("root/.ignore")).unwrap();
    };
    let written = |tree: &Tree| tree.write("one", "a\n");
    check("a link's end", linked, written, Expected::NewLook);

    let global = |tree: &Tree| tree.write("../global", "b\n");
    let edited = |tree: &Tree| tree.write("../global", "a\n");
    check("global excludes", global, edited, Expected::NewLook);
    let none = |tree: &Tree| fs::remove_file(tree.path("../global")).unwrap();
    check("global excludes", global, none, Expected::NewLook);

    let no_exclude = |tree: &Tree| fs::remove_file(tree.path(".git/info/exclude")).unwrap();
    let exclude = |tree: &Tree| tree.write(".git/info/exclude", "b\n");
    check("the exclude file", no_exclude, exclude, Expected::NewLook);
}

#[test]
fn a_repository_that_comes_to_be_above_the_root_is_noticed() {
    let hidden = |tree: &Tree| fs::rename(tree.path(".git"), tree.path("git")).unwrap();
    let back = |tree: &Tree| fs::rename(tree.path("git"), tree.path(".git")).unwrap();
    check("a repository", hidden, back, Expected::NewLook);
}

#[test]
fn a_work_tree_is_known_by_what_its_git_file_says() {
    let parted = |tree: &Tree| {
        for name in ["one", "two"] {
            let git = format!("git/{name}");
            tree.write(&format!("{git}/HEAD"), "ref: refs/heads/main\n");
            tree.write(&format!("{git}/info/exclude"), "b\n");
            tree.write(&format!("{git}/config"), "");
        }
        tree.write("root/.git", "gitdir: ../git/one\n");
    };
    let other = |tree: &Tree| tree.write("root/.git", "gitdir: ../git/two\n");
    check("the git file", parted, other, Expected::NewLook);
    let common = |tree: &Tree| tree.write("git/one/commondir", "../two\n");
    check("the common files", parted, common, Expected::NewLook);
    let edited = |tree: &Tree| tree.write("git/one/info/exclude", "a\n");
    check("the exclude file", parted, edited, Expected::NewLook);
}

#[test]
fn a_repository_in_an_ignored_directory_is_not_asked() {
    let make = |tree: &Tree| {
        tree.git(&["add", "-f", "root/sub/out/c"]);
        tree.git(&["init", "-q", "root/sub/out"]);
        let files = tree.files();
        let mut paths = files.entries().iter().map(|entry| &entry.path);
        assert!(paths.any(|path| path.as_bytes() == b"sub/out/c"));
    };
    let add = |tree: &Tree| tree.git(&["-C", "root/sub/out", "add", "c"]);
    check("its index", make, add, Expected::Same);
}

#[test]
fn what_changes_in_files_alone_is_told() {
    let check = |what, change: &dyn Fn(&Tree), expected| check(what, |_| {}, change, expected);
    let write = |tree: &Tree| tree.write("root/a", "2");
    check("a file is written to", &write, Expected::NewStats);
    let mode = |tree: &Tree| {
        let mode = PermissionsExt::from_mode(0o755);
        fs::set_permissions(tree.path("root/sub/b"), mode).unwrap();
    };
    check("a file has another mode", &mode, Expected::NewStats);
    let elsewhere = |tree: &Tree| {
        tree.write("root/sub/out/new", "");
        tree.write("root/state/new", "");
        tree.write("root/a.o", "2");
    };
    check("ignored files", &elsewhere, Expected::Same);
    let rules = |tree: &Tree| tree.write(".git/info/exclude", "b\n");
    check("without git, its rules", &rules, Expected::Same);
}

#[test]
fn where_names_are_looked_for_their_coming_and_going_is_noticed() {
    let mut tree = Tree::new();
    let parse = |text| Pattern::parse(text, &RelDir::ROOT).unwrap();
    let patterns = ["a", "gone", "sub/deep/d", "nowhere/x"].map(parse);
    tree.options.select = Some(PatternSet::new(patterns.to_vec()));
    for path in ["root/gone", "root/sub/deep/.ignore", "root/nowhere/x"] {
        let (files, layout) = tree.look();
        let layout = layout.unwrap();
        assert!(layout.look_again(&files).is_some());
        tree.write(path, "d\n");
        assert_eq!(layout.look_again(&files), None, "{path}");
    }
}

#[test]
fn a_look_that_missed_something_leaves_no_layout() {
    let tree = Tree::new();
    tree.write("root/sub/.git", "gitdir: nowhere\n");
    assert!(tree.look().1.is_none());
    fs::remove_file(tree.path("root/sub/.git")).unwrap();
    assert!(tree.look().1.is_some());
    // A name that no file can have gives another error than that it is not there.
    let long = Pattern::parse(&"x".repeat(300), &RelDir::ROOT).unwrap();
    let tree = Tree {
        options: ScanOptions {
            select: Some(PatternSet::new(vec![long])),
            ..ScanOptions::new()
        },
        ..tree
    };
    assert!(tree.look().1.is_none());
}

#[test]
fn only_times_that_a_later_change_must_surpass_are_trusted() {
    #[track_caller]
    fn check(ctime_ns: i64, before_ns: i64, expected: bool) {
        let stat = FileStat {
            dev: 1,
            ino: 1,
            size: 0,
            // Anyone can set it.
            mtime_ns: i64::MAX,
            ctime_ns,
            mode: 0o040_755,
        };
        assert_eq!(is_settled(&stat, ctime_ns + before_ns), expected);
    }
    let second = 1_000_000_000;
    check(second / 2, LAG_NS + 1, true);
    check(second / 2, LAG_NS, false);
    check(second / 2, 0, false);
    check(second / 2, -second, false);
    // Cut to whole seconds, perhaps to two of them.
    check(5 * second, LAG_NS + 1, false);
    check(5 * second, 2 * second + LAG_NS, false);
    check(5 * second, LAG_OF_SECONDS_NS + 1, true);
    assert!(!is_settled(
        &FileStat {
            dev: 1,
            ino: 1,
            size: 0,
            mtime_ns: 0,
            ctime_ns: i64::MIN + 1,
            mode: 0,
        },
        i64::MIN
    ));
}

#[test]
fn a_tree_that_was_just_made_leaves_no_layout_and_an_old_one_does() {
    let begun_ns = stamp_clock_ns();
    let tree = Tree::new();
    let (_, layout) = look(&tree.root, &tree.options, begun_ns).unwrap();
    assert!(layout.is_none());
    settled_look(&tree);
}

/// Looks, by the real clock, until there is a layout.
fn settled_look(tree: &Tree) -> (FileList, Layout) {
    loop {
        let (scan, layout) = look(&tree.root, &tree.options, stamp_clock_ns()).unwrap();
        if let Some(layout) = layout {
            return (scan.files, layout);
        }
        std::thread::yield_now();
    }
}

#[test]
fn whatever_happens_right_after_a_look_is_seen_by_the_next() {
    let tree = Tree::new();
    let changes: [&dyn Fn(usize); 8] = [
        &|n| tree.write(&format!("root/new{n}"), ""),
        &|n| tree.write("root/a", &n.to_string()),
        &|n| tree.write(&format!("root/sub/deep/more{n}/f"), ""),
        &|n| tree.write("root/sub/.gitignore", &format!("b\n#{n}\n")),
        &|n| tree.write(".gitignore", &format!("new*\n#{n}\n")),
        &|_| tree.git(&["add", "-f", "root/a.o"]),
        &|_| fs::rename(tree.path("root/sub/deep"), tree.path("root/sub/down")).unwrap(),
        &|n| tree.write("root/sub/.gitignore", &format!("#{n}\n")),
    ];
    for (n, change) in changes.iter().enumerate() {
        let (files, layout) = settled_look(&tree);
        change(n);
        match layout.look_again(&files) {
            Some(found) => {
                assert_eq!(*found, tree.files(), "{n}");
                assert_eq!(n, 1, "only a written file leaves all else as it was");
            }
            None => assert_ne!(n, 1, "a written file is no reason for a new look"),
        }
    }
}

#[test]
fn of_two_changes_in_one_tick_the_second_is_seen_as_well() {
    let tree = Tree::new();
    for n in 0..200 {
        tree.write(&format!("root/first{n}"), "");
        let (scan, layout) = look(&tree.root, &tree.options, stamp_clock_ns()).unwrap();
        tree.write(&format!("root/second{n}"), "");
        let again = layout.and_then(|layout| {
            let again = layout.look_again(&scan.files)?;
            Some(again.into_owned())
        });
        let found = again.unwrap_or_else(|| tree.files());
        assert_eq!(found, tree.files(), "{n}");
    }
}

#[test]
fn the_clock_is_the_one_that_files_are_stamped_by() {
    let temp = tempfile::tempdir().unwrap();
    let before_ns = stamp_clock_ns();
    fs::write(temp.path().join("f"), "").unwrap();
    let stamp_ns = stat(&temp.path().join("f")).unwrap().ctime_ns;
    // A stamp may be finer than the clock, and ahead of it by a tick.
    let after_ns = stamp_clock_ns() + LAG_NS;
    assert!((before_ns..after_ns).contains(&stamp_ns));
}

#[test]
fn a_file_system_that_is_not_known_to_be_stamped_here_leaves_no_layout() {
    let Some(root) = Root::new(Path::new("/dev/pts")).filter(|root| root.as_path().is_dir()) else {
        return;
    };
    let later = stamp_clock_ns() + 2 * LAG_OF_SECONDS_NS;
    let (_, layout) = look(&root, &ScanOptions::new(), later).unwrap();
    assert!(layout.is_none());
}
