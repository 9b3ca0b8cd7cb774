//! Too few watches for all: which directories the system watches, and what becomes of the others.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use watchrun::watch::{
    AddProblem, HintSink, Interest, OsWatcher, RawSource, Warning, WatchHandle, WatchOptions,
    Watched,
};

use crate::support::{PATIENCE, Tree, await_all, check_exact, texts};

/// The system's watcher, on a system that gives few watches for the tree.
struct Scarce {
    watcher: OsWatcher,
    room: usize,
    held: BTreeSet<PathBuf>,
}

impl RawSource for Scarce {
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Vec<(PathBuf, AddProblem)> {
        // The system takes back the watch of a directory that is gone.
        self.held
            .retain(|held| held.is_dir() && !dirs.contains(held));
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for dir in dirs {
            if self.held.len() < self.room {
                self.held.insert(dir.clone());
                taken.push(dir);
            } else {
                refused.push((dir, AddProblem::WatchLimit));
            }
        }
        for (dir, problem) in self.watcher.watch(taken) {
            self.held.remove(&dir);
            refused.push((dir, problem));
        }
        refused
    }

    fn watch_around(&mut self, dirs: Vec<(PathBuf, Interest)>) -> Vec<(PathBuf, AddProblem)> {
        self.watcher.watch_around(dirs)
    }

    fn unwatch(&mut self, dirs: &[PathBuf]) {
        for dir in dirs {
            self.held.remove(dir);
        }
        self.watcher.unwatch(dirs);
    }

    fn watch_in_every_shard(&mut self, dir: &Path) -> usize {
        self.watcher.watch_in_every_shard(dir)
    }

    fn restart(&mut self) {
        self.held.clear();
        self.watcher.restart();
    }

    fn n_watches(&self) -> usize {
        self.watcher.n_watches()
    }
}

/// Watches with `room` for so many directories.
fn watch_scarcely(tree: &Tree, room: usize, poll_interval: Duration) -> WatchHandle {
    let source = move |sink: Arc<dyn HintSink>| -> Box<dyn RawSource> {
        let watcher = OsWatcher::new(sink);
        let held = BTreeSet::new();
        Box::new(Scarce {
            watcher,
            room,
            held,
        })
    };
    let mut options = WatchOptions::new();
    options.poll_interval = poll_interval;
    let manager = &tree.manager;
    manager
        .create_watch_from(&tree.root(), options, &source)
        .unwrap()
}

/// Gives directories, and what is in them, the times of a month ago.
fn age(tree: &Tree, dirs: &[String]) {
    let then = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for dir in dirs {
        for path in [format!("{dir}/f"), dir.clone()] {
            let file = File::open(tree.path(&path)).unwrap();
            file.set_modified(then).unwrap();
        }
    }
}

fn how(watch: &WatchHandle, path: &str) -> Watched {
    watch.explain(Path::new(path)).unwrap().watched
}

/// Thirty old directories with a file each.
fn thirty(tree: &Tree) -> Vec<String> {
    let dirs: Vec<String> = (0..30).map(|n| format!("d{n:02}")).collect();
    for dir in &dirs {
        tree.write(&format!("{dir}/f"), "x");
    }
    age(tree, &dirs);
    dirs
}

#[test]
fn at_the_start_what_changed_lately_is_watched_then_what_is_shallow() {
    let tree = Tree::with(&[]);
    let dirs = thirty(&tree);
    tree.write("z/deep/old/f", "x");
    age(&tree, &["z/deep/old".to_owned()]);
    tree.write("z/deep/new/f", "x");
    let watch = watch_scarcely(&tree, 10, Duration::from_secs(3600));
    let status = watch.status();
    assert_eq!((status.watched_dirs, status.polled_dirs), (10, 25));
    for path in ["any", "z/any", "z/deep/any", "z/deep/new/f"] {
        assert_eq!(how(&watch, path), Watched::Native, "{path}");
    }
    assert_eq!(how(&watch, "z/deep/old/f"), Watched::Polled);
    let is_watched = |dir: &&String| how(&watch, &format!("{dir}/f")) == Watched::Native;
    assert_eq!(dirs.iter().filter(is_watched).count(), 6);
    // No look is due for an hour: the system has told.
    tree.write("z/deep/new/f", "changed");
    await_all(&watch, &["~z/deep/new/f"]);
    check_exact(&watch);
}

#[test]
fn a_polled_directory_that_changes_gets_the_watch_of_a_quiet_one() {
    let tree = Tree::with(&[]);
    let dirs = thirty(&tree);
    let watch = watch_scarcely(&tree, 10, Duration::from_millis(20));
    for dir in dirs.iter().rev().take(5) {
        let file = format!("{dir}/f");
        assert_eq!(how(&watch, &file), Watched::Polled);
        tree.write(&file, "changed");
        await_all(&watch, &[&format!("~{file}")]);
        while how(&watch, &file) != Watched::Native {
            std::thread::yield_now();
        }
        let status = watch.status();
        assert_eq!((status.watched_dirs, status.polled_dirs), (10, 21));
    }
    // They keep it, whoever comes after them; and the root never loses its own.
    for dir in dirs.iter().take(20) {
        tree.write(&format!("{dir}/f"), "changed");
        await_all(&watch, &[&format!("~{dir}/f")]);
    }
    for path in ["any", "d29/f", "d28/f", "d27/f", "d26/f", "d25/f"] {
        assert_eq!(how(&watch, path), Watched::Native, "{path}");
    }
    check_exact(&watch);
    let kinds: Vec<_> = watch.take_warnings().iter().map(Warning::kind).collect();
    assert_eq!(kinds, ["limit_reached"], "no word of what changes hands");
}

#[test]
fn a_watch_that_becomes_free_is_taken_before_anybody_loses_one() {
    let tree = Tree::with(&[]);
    thirty(&tree);
    let watch = watch_scarcely(&tree, 10, Duration::from_millis(20));
    assert_eq!(how(&watch, "d00/f"), Watched::Native);
    std::fs::remove_dir_all(tree.path("d00")).unwrap();
    await_all(&watch, &["-d00"]);
    tree.write("d29/f", "changed");
    await_all(&watch, &["~d29/f"]);
    while how(&watch, "d29/f") != Watched::Native {
        std::thread::yield_now();
    }
    let status = watch.status();
    assert_eq!((status.watched_dirs, status.polled_dirs), (10, 20));
    for n in 1..9 {
        assert_eq!(how(&watch, &format!("d{n:02}/f")), Watched::Native);
    }
    check_exact(&watch);
}

#[test]
fn nothing_is_lost_while_watches_change_hands() {
    let tree = Tree::with(&[]);
    let dirs = thirty(&tree);
    let watch = watch_scarcely(&tree, 5, Duration::from_millis(5));
    std::thread::scope(|scope| {
        for part in dirs.chunks(10) {
            let tree = &tree;
            scope.spawn(move || {
                for round in 0..8 {
                    for dir in part {
                        tree.write(&format!("{dir}/f"), &"x".repeat(round + 2));
                        tree.write(&format!("{dir}/sub{round}/f"), "x");
                    }
                }
            });
        }
    });
    watch.sync(PATIENCE).unwrap();
    let mut told: BTreeSet<String> = BTreeSet::new();
    while let Some(set) = watch.try_next().unwrap() {
        told.extend(texts(&set));
    }
    for dir in &dirs {
        assert!(told.contains(&format!("~{dir}/f")), "{dir}");
        for round in 0..8 {
            assert!(
                told.contains(&format!("+{dir}/sub{round}/f")),
                "{dir} {round}"
            );
        }
    }
    check_exact(&watch);
    // All are alive, with a watch or without.
    let files = dirs.iter().map(|dir| format!("{dir}/sub7/f"));
    let files: Vec<String> = files.collect();
    for file in &files {
        tree.write(file, "changed");
    }
    let expected: Vec<String> = files.iter().map(|file| format!("~{file}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    await_all(&watch, &expected);
    assert!(watch.status().watched_dirs <= 5);
}

#[test]
fn lost_events_leave_the_watches_with_what_is_alive() {
    let tree = Tree::with(&[]);
    thirty(&tree);
    let sink: Arc<std::sync::Mutex<Option<Arc<dyn HintSink>>>> = Arc::default();
    let own = Arc::clone(&sink);
    let source = move |given: Arc<dyn HintSink>| -> Box<dyn RawSource> {
        *own.lock().unwrap() = Some(Arc::clone(&given));
        Box::new(Scarce {
            watcher: OsWatcher::new(given),
            room: 10,
            held: BTreeSet::new(),
        })
    };
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(20);
    let manager = &tree.manager;
    let watch = manager.create_watch_from(&tree.root(), options, &source);
    let watch = watch.unwrap();
    tree.write("d29/f", "changed");
    await_all(&watch, &["~d29/f"]);
    while how(&watch, "d29/f") != Watched::Native {
        std::thread::yield_now();
    }
    let sink = sink.lock().unwrap().clone().unwrap();
    sink.hint(0, watchrun::watch::Hint::Lost);
    watch.sync(PATIENCE).unwrap();
    assert_eq!(how(&watch, "d29/f"), Watched::Native);
    let status = watch.status();
    assert_eq!((status.watched_dirs, status.polled_dirs), (10, 21));
    check_exact(&watch);
}
