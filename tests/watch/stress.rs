//! Random operations from several threads, compared with the disk when they are over.
//!
//! `WATCHRUN_STRESS_ROUNDS` sets the number of rounds; every tenth one overflows the system's
//! queue. A failure names its round, which is the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use watchrun::change::ChangeKind;
use watchrun::path::Root;
use watchrun::watch::{
    Backend, Hint, HintSink, OsWatcher, ScanOptions, WatchHandle, WatchOptions, scan,
};

use crate::support::{PATIENCE, Tree, check_exact};

/// A small generator: the same seed gives the same operations.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % n
    }
}

/// Holds up the system's watcher while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap();
        drop(self.changed.wait_while(shut, |shut| *shut).unwrap());
    }
}

struct Gated {
    gate: Arc<Gate>,
    sink: Arc<dyn HintSink>,
}

impl HintSink for Gated {
    fn hint(&self, shard: usize, hint: Hint) {
        self.gate.pass();
        self.sink.hint(shard, hint);
    }
}

fn gated_watch(tree: &Tree, gate: &Arc<Gate>, shard_size: usize) -> WatchHandle {
    let gate = Arc::clone(gate);
    let source = move |sink: Arc<dyn HintSink>| {
        let gate = Arc::clone(&gate);
        let sink = Arc::new(Gated { gate, sink });
        Box::new(OsWatcher::with_shard_size(sink, shard_size)) as _
    };
    let mut options = WatchOptions::new();
    // Held up for long, the system's watcher is not to be taken for one that does not work.
    options.backend = Backend::Native;
    tree.manager
        .create_watch_from(&tree.root(), options, &source)
        .unwrap()
}

/// A random path of up to three components over few names.
fn some_path(random: &mut Random, root: &Path) -> PathBuf {
    let names = ["a", "b", "c", "d", "ign", "f.log", "g"];
    let mut path = root.to_path_buf();
    for _ in 0..=random.below(3) {
        path.push(names[random.below(names.len())]);
    }
    path
}

/// Does one thing to the tree. Most of them may fail: another thread was there first.
fn operate(random: &mut Random, root: &Path, outside: &Path, n: usize) {
    let path = some_path(random, root);
    let other = some_path(random, root);
    let away = outside.join(format!("x{}", random.below(4)));
    let result = match random.below(100) {
        0..=24 => fs::write(&path, format!("{n}")),
        25..=44 => fs::create_dir_all(&path),
        45..=54 => {
            let temp = path.with_extension("tmp");
            fs::write(&temp, format!("{n}!")).and_then(|()| fs::rename(&temp, &path))
        }
        55..=69 => fs::rename(&path, &other),
        70..=74 => fs::rename(&path, &away),
        75..=79 => fs::rename(&away, &path),
        80..=86 => fs::remove_dir_all(&path),
        87..=92 => fs::remove_file(&path),
        93..=95 => symlink("a", &path),
        96 => exchange(&path, &other),
        _ => {
            let rules = [
                "",
                "ign\n",
                "*.log\n",
                "ign\n*.log\n",
                "/a/b\n",
                "!ign\nc\n",
            ];
            fs::write(
                path.with_file_name(".gitignore"),
                rules[random.below(rules.len())],
            )
        }
    };
    drop(result);
}

fn exchange(a: &Path, b: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// What a copy of the tree would have to hold: path, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    Link(PathBuf),
}

fn node(path: &Path) -> Option<Node> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if metadata.is_symlink() {
        return Some(Node::Link(fs::read_link(path).ok()?));
    }
    metadata
        .is_file()
        .then(|| fs::read(path).ok().map(Node::File))?
}

/// Everything that is not ignored, read from the disk by a scan of its own.
fn contents(root: &Path) -> BTreeMap<String, Node> {
    let root = Root::new(root).unwrap();
    let found = scan(&root, &ScanOptions::new()).unwrap();
    let read = |path: &watchrun::path::RelPath| Some((path.to_string(), node(&root.join(path))?));
    found
        .files
        .entries()
        .iter()
        .filter_map(|entry| read(&entry.path))
        .collect()
}

/// Brings `copy` in step for every path that the waiting sets mention.
fn apply(watch: &WatchHandle, copy: &mut BTreeMap<String, Node>, root: &Path) -> BTreeSet<String> {
    let mut created = BTreeSet::new();
    while let Some(set) = watch.try_next().unwrap() {
        for change in &set.changes {
            if change.kind == ChangeKind::Removed {
                copy.remove(&change.path.to_string());
                continue;
            }
            if let ChangeKind::Renamed { from } = &change.kind {
                copy.remove(&from.to_string());
            }
            created.insert(change.path.to_string());
            match node(&root.join(change.path.as_path())) {
                Some(node) => copy.insert(change.path.to_string(), node),
                None => copy.remove(&change.path.to_string()),
            };
        }
    }
    created
}

/// The directories that a scan would enter.
fn live_dirs(watch: &WatchHandle, root: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![root.to_path_buf()];
    let mut at = 0;
    while at < dirs.len() {
        let entries: Vec<_> = fs::read_dir(&dirs[at])
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for entry in entries {
            let path = entry.path();
            let is_dir = entry.file_type().unwrap().is_dir();
            if is_dir && watch.explain(&path).unwrap().ignored.is_none() {
                dirs.push(path);
            }
        }
        at += 1;
    }
    dirs
}

fn round(seed: u64, overflow: bool) {
    let tree = Tree::with(&["a/x", "b/c/y", "z"]);
    fs::create_dir_all(tree.outside("")).unwrap();
    let (root, outside) = (tree.root(), tree.outside(""));
    let gate = Arc::new(Gate::default());
    // Directories and what is in them in one shard, or in several.
    let shard_size = if seed.is_multiple_of(2) { 1_000 } else { 3 };
    let watch = gated_watch(&tree, &gate, shard_size);
    let mut copy = contents(&root);
    if overflow {
        gate.set(true);
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let flood = root.join("a");
        for n in 0..=limit / 2 {
            let path = flood.join(format!("flood{}", n % 1_000));
            fs::write(&path, "x").unwrap();
            fs::remove_file(&path).unwrap();
        }
    }
    thread::scope(|scope| {
        if !overflow {
            scope.spawn(|| {
                for _ in 0..20 {
                    watch.sync(PATIENCE).unwrap();
                }
            });
        }
        for worker in 0..3_u64 {
            let (root, outside) = (&root, &outside);
            scope.spawn(move || {
                let mut random = Random((seed << 8 | worker) + 0x9e37_79b9_7f4a_7c15);
                for n in 0..400 {
                    operate(&mut random, root, outside, n);
                }
            });
        }
    });
    gate.set(false);
    watch.sync(PATIENCE).unwrap();
    check_exact(&watch);
    apply(&watch, &mut copy, &root);
    assert_eq!(copy, contents(&root), "round {seed}: the copy");
    check_live(&watch, &mut copy, &root, seed);
    let overflows = tree.manager.report().watches[0].overflows;
    assert_eq!(overflows > 0, overflow, "round {seed}: overflows");
}

/// Requires that a new file in every directory is reported.
fn check_live(watch: &WatchHandle, copy: &mut BTreeMap<String, Node>, root: &Path, seed: u64) {
    let dirs = live_dirs(watch, root);
    let probe = format!("probe-{seed}");
    for dir in &dirs {
        fs::write(dir.join(&probe), "x").unwrap();
    }
    watch.sync(PATIENCE).unwrap();
    let told = apply(watch, copy, root);
    let blind: Vec<_> = dirs
        .iter()
        .map(|dir| dir.strip_prefix(root).unwrap().join(&probe))
        .filter(|path| !told.contains(path.to_str().unwrap()))
        .collect();
    assert!(blind.is_empty(), "round {seed}: blind: {blind:?}");
    assert_eq!(
        *copy,
        contents(root),
        "round {seed}: the copy after the probes"
    );
}

#[test]
fn model_copy_and_disk_agree_after_random_operations() {
    let rounds = std::env::var("WATCHRUN_STRESS_ROUNDS").ok();
    let rounds = rounds.map_or(20, |rounds| rounds.parse().unwrap());
    for seed in 1..=rounds {
        round(seed, seed % 10 == 0);
    }
}
