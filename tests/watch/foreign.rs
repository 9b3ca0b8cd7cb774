//! Mounts on which others than this system change files: network and container mounts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use watchrun::watch::{
    AddProblem, Hint, HintKind, HintSink, OsWatcher, PollReason, RawSource, Warning, WatchOptions,
    WatchState,
};

use crate::remote_files::RemoteFiles;
use crate::support::{INSIDE, PATIENCE, Tree, await_all, check_exact, run_inside, seen};

struct Told(Mutex<mpsc::Sender<Hint>>);

impl HintSink for Told {
    fn hint(&self, _: usize, hint: Hint) {
        self.0.lock().unwrap().send(hint).unwrap();
    }
}

/// Why no cookie is written into a mount: it would come back, and prove nothing.
#[test]
fn what_we_do_on_a_foreign_mount_is_told_and_what_others_do_is_not() {
    if std::env::var_os(INSIDE).is_none() {
        let name = "foreign::what_we_do_on_a_foreign_mount_is_told_and_what_others_do_is_not";
        run_inside(name, "true");
        return;
    }
    let tree = Tree::with(&[]);
    tree.mkdir("remote");
    let Some(remote) = RemoteFiles::mount(&tree.path("remote")) else {
        return;
    };
    let (tx, rx) = mpsc::channel();
    let mut watcher = OsWatcher::new(Arc::new(Told(Mutex::new(tx))));
    assert_eq!(watcher.watch(vec![tree.path("remote")]), []);
    let before = std::fs::metadata(tree.path("remote/f")).unwrap().len();
    remote.change();
    let after = std::fs::metadata(tree.path("remote/f")).unwrap().len();
    assert_eq!(after, before + 1);
    tree.mkdir("remote/cookie");
    let told = Hint::Path {
        path: tree.path("remote/cookie"),
        kind: HintKind::Created,
    };
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), told);
}

#[test]
fn a_foreign_mount_is_polled_and_the_rest_is_not() {
    if std::env::var_os(INSIDE).is_none() {
        run_inside(
            "foreign::a_foreign_mount_is_polled_and_the_rest_is_not",
            "true",
        );
        return;
    }
    let tree = Tree::with(&["a", "d/b"]);
    tree.mkdir("remote");
    let Some(remote) = RemoteFiles::mount(&tree.path("remote")) else {
        return;
    };
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(20);
    let watch = tree.watch_with(options);
    let status = watch.status();
    assert_eq!(status.state, WatchState::Degraded);
    assert_eq!((status.watched_dirs, status.polled_dirs), (2, 1));
    let warnings = watch.take_warnings();
    let [
        Warning::Polling {
            polled_dirs,
            reason,
            path,
            ..
        },
    ] = &warnings[..]
    else {
        panic!("{warnings:?}");
    };
    let reason = (*polled_dirs, *reason);
    assert_eq!(reason, (1, PollReason::NetworkFileSystem));
    assert_eq!(path, &tree.path("remote"));
    remote.change();
    await_all(&watch, &["~remote/f"]);
    remote.change();
    assert_eq!(seen(&watch), ["~remote/f"]);
    tree.write("d/b", "changed");
    assert_eq!(seen(&watch), ["~d/b"]);
}

/// The system's watcher, on a system that tells nothing of some file systems.
struct Deaf(OsWatcher);

impl RawSource for Deaf {
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Vec<(PathBuf, AddProblem)> {
        self.0.watch(dirs)
    }

    fn unwatch(&mut self, dirs: &[PathBuf]) {
        self.0.unwatch(dirs);
    }

    fn watch_in_every_shard(&mut self, dir: &Path) -> usize {
        self.0.watch_in_every_shard(dir)
    }

    fn tells_of(&mut self, _: &Path) -> bool {
        false
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn n_watches(&self) -> usize {
        self.0.n_watches()
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let status = Command::new("mount").args(arguments).arg(at).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

#[test]
fn a_file_system_of_unknown_type_is_tried_and_polled_where_it_tells_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        let name =
            "foreign::a_file_system_of_unknown_type_is_tried_and_polled_where_it_tells_nothing";
        run_inside(name, "true");
        return;
    }
    let tree = Tree::with(&["a", "d/b"]);
    tree.mkdir("other");
    mount(&["-t", "ramfs", "none"], &tree.path("other"));
    tree.write("other/f", "x");
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(20);
    let watch = tree.watch_with(options.clone());
    assert_eq!(watch.status().state, WatchState::Ready);
    assert_eq!(watch.take_warnings(), []);
    tree.write("other/f", "changed");
    assert_eq!(seen(&watch), ["~other/f"]);
    watch.close();

    let deaf =
        |sink: Arc<dyn HintSink>| -> Box<dyn RawSource> { Box::new(Deaf(OsWatcher::new(sink))) };
    let watch = tree.manager.create_watch_from(&tree.root(), options, &deaf);
    let watch = watch.unwrap();
    let status = watch.status();
    assert_eq!((status.watched_dirs, status.polled_dirs), (2, 1));
    let warnings = watch.take_warnings();
    let [Warning::Polling { reason, path, .. }] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    let at = tree.path("other");
    assert_eq!((*reason, path), (PollReason::NoEvents, &at));
    tree.write("other/f", "changed again");
    await_all(&watch, &["~other/f"]);
    // What is mounted there next is judged anew.
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    await_all(&watch, &["-other/f"]);
    assert_eq!(watch.status().polled_dirs, 0);
    mount(&["-t", "tmpfs", "-o", "mode=755", "none"], &at);
    tree.write("other/g", "x");
    await_all(&watch, &["+other/g"]);
    assert_eq!(watch.status().polled_dirs, 0);
}

#[test]
fn local_mounts_in_the_tree_are_watched_not_polled() {
    if std::env::var_os(INSIDE).is_none() {
        run_inside(
            "foreign::local_mounts_in_the_tree_are_watched_not_polled",
            "true",
        );
        return;
    }
    let tree = Tree::with(&["a", "source/f"]);
    for dir in ["tmpfs", "bind", "overlay"] {
        tree.mkdir(dir);
    }
    // A file system of its own: layers may not lie on an overlay.
    let layers = tree.outside("layers");
    std::fs::create_dir_all(&layers).unwrap();
    mount(&["-t", "tmpfs", "-o", "mode=755", "none"], &layers);
    for dir in ["lower/d", "upper", "work"] {
        std::fs::create_dir_all(layers.join(dir)).unwrap();
    }
    std::fs::write(layers.join("lower/d/low"), "x").unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let layer = |name: &str| format!("{name}dir={}", text(layers.join(name)));
    let layers = ["lower", "upper", "work"].map(layer).join(",");
    mount(
        &["-t", "tmpfs", "-o", "mode=755", "none"],
        &tree.path("tmpfs"),
    );
    let source = text(tree.path("source"));
    mount(&["--bind", &source], &tree.path("bind"));
    mount(
        &["-t", "overlay", "-o", &layers, "none"],
        &tree.path("overlay"),
    );
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_secs(3600);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().polled_dirs, 0);
    assert_eq!(watch.take_warnings(), []);
    tree.write("tmpfs/f", "x");
    assert_eq!(seen(&watch), ["+tmpfs/f"]);
    // By another path than that of the mount.
    tree.write("source/f", "changed");
    await_all(&watch, &["~bind/f", "~source/f"]);
    // A file of the lower layer, which is copied up.
    tree.write("overlay/d/low", "changed");
    tree.write("overlay/d/new", "x");
    await_all(&watch, &["~overlay/d/low", "+overlay/d/new"]);
    tree.write("overlay/d/low", "changed again");
    await_all(&watch, &["~overlay/d/low"]);
    check_exact(&watch);
}
