//! Ignore files, selection, git.

use std::fs;

use watchrun::pattern::PatternSet;
use watchrun::watch::{IgnoreReason, WatchOptions, WatchUpdate, Watched};

use crate::support::{PATIENCE, Tree, await_all, check_exact, rel, seen, select, texts};

#[test]
fn ignored_directories_are_neither_watched_nor_told() {
    let tree = Tree::with(&["src/a", "target/x/y", ".git/HEAD"]);
    tree.write(".gitignore", "target\n*.log\n");
    let watch = tree.watch();
    assert_eq!(watch.status().watched_dirs, 2);
    tree.write("target/x/y", "changed");
    tree.write("target/new/z", "x");
    tree.write("src/b.log", "x");
    tree.write(".git/index.tmp", "x");
    tree.write("src/b", "x");
    assert_eq!(seen(&watch), ["+src/b"]);
}

#[test]
fn an_edit_of_the_rules_takes_effect_at_once() {
    let tree = Tree::with(&["a/x.log", "a/keep", "out/deep/f"]);
    tree.write(".gitignore", "nothing\n");
    let watch = tree.watch();
    assert_eq!(watch.status().watched_dirs, 4);
    tree.write(".gitignore", "out\n*.log\n");
    assert_eq!(
        seen(&watch),
        [
            "~.gitignore",
            "-a/x.log",
            "-out",
            "-out/deep",
            "-out/deep/f"
        ]
    );
    assert_eq!(watch.status().watched_dirs, 2);
    tree.write("out/deep/f", "unseen");
    assert_eq!(seen(&watch), [""; 0]);
    tree.write("a/.gitignore", "!x.log\n");
    assert_eq!(seen(&watch), ["+a/.gitignore", "+a/x.log"]);
    fs::remove_file(tree.path(".gitignore")).unwrap();
    assert_eq!(
        seen(&watch),
        ["-.gitignore", "+out", "+out/deep", "+out/deep/f"]
    );
    tree.write("out/deep/f", "seen");
    assert_eq!(seen(&watch), ["~out/deep/f"]);
    check_exact(&watch);
}

#[test]
fn explain_names_the_file_and_the_line() {
    let tree = Tree::with(&["a/b/x.o", "src/a", ".git/HEAD"]);
    tree.write("a/.gitignore", "# objects\n*.o\n");
    let watch = tree.watch();
    let explained = watch.explain(&tree.path("a/b/x.o")).unwrap();
    let (path, reason) = explained.ignored.unwrap();
    assert_eq!(path, rel("a/b/x.o"));
    assert_eq!(
        reason,
        IgnoreReason::Rule {
            file: tree.path("a/.gitignore"),
            line: Some(2),
            pattern: "*.o".to_owned()
        }
    );
    assert!(!explained.modelled && explained.watched == Watched::Native);
    let seen = watch.explain(std::path::Path::new("src/a")).unwrap();
    assert!(seen.modelled && seen.ignored.is_none() && seen.selected);
    let git = watch.explain(&tree.path(".git/HEAD")).unwrap();
    assert_eq!(
        git.ignored.unwrap().1,
        IgnoreReason::Name(".git".to_owned())
    );
    assert!(!watch.explain(std::path::Path::new("/etc")).unwrap().inside);
}

#[test]
fn only_what_patterns_can_reach_is_watched() {
    let tree = Tree::with(&[
        "src/a/b.rs",
        "src/c.txt",
        "docs/x/y.md",
        "out/app",
        "out/x/y",
    ]);
    tree.write(".gitignore", "out\n");
    let mut options = WatchOptions::new();
    options.select = select(&["src/**/*.rs", "out/app"]);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().watched_dirs, 4);
    tree.write("src/c.txt", "no");
    tree.write("docs/x/y.md", "no");
    tree.write("out/x/y", "no");
    tree.write("out/app", "yes");
    tree.write("src/new/d.rs", "yes");
    assert_eq!(seen(&watch), ["~out/app", "+src/new", "+src/new/d.rs"]);
    let update = WatchUpdate {
        select: Some(select(&["docs/**"])),
        ..WatchUpdate::default()
    };
    watch.update(update).unwrap();
    // Nothing has happened to what came into view, or went out of it.
    assert_eq!(seen(&watch), [""; 0]);
    assert_eq!(watch.stat(&rel("out/app")), None);
    tree.write("docs/x/y.md", "now yes");
    tree.write("src/a/b.rs", "now no");
    assert_eq!(seen(&watch), ["~docs/x/y.md"]);
    check_exact(&watch);
}

#[test]
fn what_happens_while_the_selection_changes_is_told_and_nothing_else() {
    let tree = Tree::with(&["a/1", "a/2", "b/1", "build/named", "c/keep"]);
    tree.write(".gitignore", "build/\n");
    let narrow = select(&["a/**", "c/keep"]);
    let wide = select(&["**/*", "build/named"]);
    let mut options = WatchOptions::new();
    options.select.clone_from(&narrow);
    options.debounce = PATIENCE;
    options.debounce_max = PATIENCE;
    let watch = tree.watch_with(options);
    let update = |select: &Option<PatternSet>| {
        let update = WatchUpdate {
            select: Some(select.clone()),
            ..WatchUpdate::default()
        };
        watch.update(update).unwrap();
    };
    for _ in 0..2 {
        fs::remove_file(tree.path("a/1")).unwrap();
        tree.write("a/3", "new");
        tree.write("b/2", "new, but not in view before");
        update(&wide);
        assert_eq!(seen(&watch), ["-a/1", "+a/3"]);
        assert!(watch.is_ignored(&rel("build/named")));
        // What is pending when it goes out of view and comes back is told as it is.
        fs::remove_file(tree.path("b/1")).unwrap();
        tree.write("a/1", "again");
        fs::remove_file(tree.path("a/3")).unwrap();
        update(&narrow);
        tree.write("b/1", "again");
        assert_eq!(watch.stat(&rel("b/1")), None);
        update(&wide);
        let told = seen(&watch);
        assert!(
            told.contains(&"+a/1".to_owned()) && told.contains(&"-a/3".to_owned()),
            "{told:?}"
        );
        assert!(!told.contains(&"-b/1".to_owned()), "{told:?}");
        fs::remove_file(tree.path("b/2")).unwrap();
        assert_eq!(seen(&watch), ["-b/2"]);
        update(&narrow);
        assert_eq!(seen(&watch), [""; 0]);
        check_exact(&watch);
    }
}

#[test]
fn tracked_files_count_though_ignored_from_the_moment_git_tracks_them() {
    let tree = Tree::with(&["gen/kept", "gen/not", "a"]);
    tree.git(&["init", "-q"]);
    tree.write(".gitignore", "gen\n");
    let watch = tree.watch();
    assert_eq!(watch.stat(&rel("gen/kept")), None);
    tree.git(&["add", "-f", "gen/kept"]);
    assert_eq!(seen(&watch), ["+gen", "+gen/kept"]);
    tree.write("gen/kept", "changed");
    tree.write("gen/not", "changed");
    assert_eq!(seen(&watch), ["~gen/kept"]);
    tree.git(&["rm", "-qf", "--cached", "gen/kept"]);
    assert_eq!(seen(&watch), ["-gen", "-gen/kept"]);
    check_exact(&watch);
}

#[test]
fn a_repository_in_an_ignored_directory_spares_nothing_whatever_the_rules_were_before() {
    let tree = Tree::with(&["vendor/a.c", "vendor/b.c", "a"]);
    tree.git(&["init", "-q"]);
    tree.git(&["init", "-q", "vendor"]);
    tree.git(&["-C", "vendor", "add", "a.c", "b.c"]);
    tree.write(".gitignore", "vendor\n");
    let mut options = WatchOptions::new();
    options.select = select(&["**", "vendor/a.c"]);
    let watch = tree.watch_with(options);
    let check_ignored = || {
        assert_eq!(watch.ignored_files(), [rel("vendor/a.c")]);
        assert_eq!(watch.stat(&rel("vendor/b.c")), None);
        let explained = watch.explain(&tree.path("vendor/a.c")).unwrap();
        assert!(explained.spared && explained.ignored.unwrap().0 == rel("vendor"));
        let explained = watch.explain(&tree.path("vendor/b.c")).unwrap();
        assert!(!explained.modelled && explained.ignored.is_some());
        check_exact(&watch);
    };
    check_ignored();
    for _ in 0..2 {
        tree.write("vendor/b.c", "changed");
        tree.write("vendor/new.c", "");
        tree.git(&["-C", "vendor", "add", "new.c"]);
        assert_eq!(seen(&watch), [""; 0]);
        tree.write(".gitignore", "nothing\n");
        await_all(&watch, &["+vendor/b.c", "+vendor/new.c"]);
        assert_eq!(watch.ignored_files(), []);
        tree.write(".gitignore", "vendor\n");
        await_all(&watch, &["-vendor/b.c", "-vendor/new.c"]);
        seen(&watch);
        check_ignored();
        fs::rename(tree.path("vendor/.git"), tree.path("vendor/git")).unwrap();
        fs::rename(tree.path("vendor/git"), tree.path("vendor/.git")).unwrap();
        assert_eq!(seen(&watch), [""; 0]);
        check_ignored();
    }
}

#[test]
fn a_checkout_is_one_set() {
    let tree = Tree::with(&[]);
    tree.git(&["init", "-q", "-b", "one"]);
    for n in 0..1_500 {
        tree.write(&format!("d{}/f{n}", n % 40), "one");
    }
    tree.git(&["add", "."]);
    tree.git(&["commit", "-qm", "one"]);
    tree.git(&["checkout", "-qb", "two"]);
    for n in 0..1_500 {
        tree.write(&format!("d{}/f{n}", n % 40), "the other");
    }
    tree.git(&["commit", "-qam", "two"]);
    let watch = tree.watch();
    tree.git(&["checkout", "-q", "one"]);
    let set = watch.next(PATIENCE).unwrap().unwrap();
    assert_eq!(set.changes.len(), 1_500);
    assert_eq!(seen(&watch), [""; 0]);
    tree.git(&["status"]);
    assert_eq!(seen(&watch), [""; 0]);
}

#[test]
fn info_exclude_and_rules_above_the_root_are_live() {
    let tree = Tree::with(&["p/q/a.log", "p/q/b", ".git/HEAD", ".git/info/exclude"]);
    let options = WatchOptions::new();
    let watch = tree
        .manager
        .create_watch(&tree.path("p/q"), options)
        .unwrap();
    assert_eq!(watch.status().files, 2);
    for _ in 0..5 {
        tree.write(".gitignore", "*.log\n");
        await_all(&watch, &["-a.log"]);
        tree.write(".git/info/exclude", "b\n");
        await_all(&watch, &["-b"]);
        tree.write(".git/info/exclude", "\n");
        await_all(&watch, &["+b"]);
        tree.write(".gitignore", "");
        await_all(&watch, &["+a.log"]);
    }
}

#[test]
fn the_lock_of_a_repository_that_was_moved_in_is_known() {
    let tree = Tree::with(&["a", "repo/f"]);
    tree.git(&["init", "-q", "repo"]);
    fs::create_dir_all(tree.outside("")).unwrap();
    fs::rename(tree.path("repo"), tree.outside("repo")).unwrap();
    let watch = tree.watch();
    fs::rename(tree.outside("repo"), tree.path("repo")).unwrap();
    assert_eq!(seen(&watch), ["+repo", "+repo/f"]);
    // Twice: the second lock is only held back if the end of the first was noticed.
    for n in 0..2 {
        fs::write(tree.path("repo/.git/index.lock"), "").unwrap();
        tree.write("repo/f", &format!("changed {n}"));
        let held = watch.next(std::time::Duration::from_millis(100)).unwrap();
        assert_eq!(held, None);
        fs::remove_file(tree.path("repo/.git/index.lock")).unwrap();
        let set = watch.next(PATIENCE).unwrap().unwrap();
        assert_eq!(texts(&set), ["~repo/f"]);
    }
    let warnings = watch.take_warnings();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_locks_of_a_submodule_and_of_an_inner_work_tree_are_known() {
    let tree = Tree::with(&[
        ".git/HEAD",
        ".git/modules/sub/HEAD",
        ".git/worktrees/other/HEAD",
        "sub/f",
        "other/f",
    ]);
    tree.write("sub/.git", "gitdir: ../.git/modules/sub\n");
    tree.write("other/.git", "gitdir: ../.git/worktrees/other\n");
    tree.write(".git/worktrees/other/commondir", "../..\n");
    let watch = tree.watch();
    // Twice: a second lock is only held back if the end of the first was noticed.
    for n in 0..2 {
        for (dir, git) in [("sub", "modules/sub"), ("other", "worktrees/other")] {
            let lock = format!(".git/{git}/index.lock");
            tree.write(&lock, "");
            tree.write(&format!("{dir}/f"), &format!("changed {n}"));
            let held = watch.next(std::time::Duration::from_millis(100)).unwrap();
            assert_eq!(held, None, "{lock}");
            fs::remove_file(tree.path(&lock)).unwrap();
            let set = watch.next(PATIENCE).unwrap().unwrap();
            assert_eq!(texts(&set), [format!("~{dir}/f")]);
        }
    }
}

#[test]
fn every_kind_of_rule_file_is_live_and_has_its_rank() {
    let tree = Tree::with(&["a.log", "b.log", "d/c.log"]);
    tree.git(&["init", "-q"]);
    fs::create_dir_all(tree.outside("")).unwrap();
    let global = tree.outside("excludes");
    fs::write(&global, "").unwrap();
    let mut options = WatchOptions::new();
    options.global_excludes = Some(global.clone());
    let watch = tree.watch_with(options);
    // A rule file may be seen while it is still empty: the rest then follows.
    fs::write(&global, "a.log\n").unwrap();
    await_all(&watch, &["-a.log"]);
    tree.write(".gitignore", "!a.log\nb.log\n");
    await_all(&watch, &["+.gitignore", "+a.log", "-b.log"]);
    tree.write(".ignore", "!b.log\n*/c.log\n");
    await_all(&watch, &["+.ignore", "+b.log", "-d/c.log"]);
    tree.write(".watchrunignore", "!c.log\nd/x\n.ignore\n");
    await_all(&watch, &["-.ignore", "+.watchrunignore", "+d/c.log"]);
    seen(&watch);
    // Replaced by rename, as editors do.
    tree.write("new", "b.log\n");
    tree.rename("new", ".watchrunignore");
    assert_eq!(
        seen(&watch),
        ["+.ignore", "~.watchrunignore", "-b.log", "-d/c.log"]
    );
    fs::remove_file(tree.path(".watchrunignore")).unwrap();
    fs::remove_file(&global).unwrap();
    assert_eq!(seen(&watch), ["-.watchrunignore", "+b.log"]);
    check_exact(&watch);
}
