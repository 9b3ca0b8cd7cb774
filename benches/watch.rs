//! What a watch of 10,000 directories and 100,000 files costs: ready, memory, idle, a save, a
//! removal, a scan; and the same with 30,000 ignored directories beside them.
//!
//! `cargo bench --bench watch` prints one line a figure. It makes its own tree in the temporary
//! directory, by default 10,000 directories; `WATCHRUN_BENCH_DIRS` changes that. Each part runs in
//! a process of its own, so that memory is that of a watch and nothing else.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use watchrun::path::Root;
use watchrun::watch::{
    Filter, Hint, HintSink, OsWatcher, ScanOptions, WatchHandle, WatchManager, WatchOptions, scan,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "part") {
        return part(&args[at + 1], Path::new(&args[at + 2]));
    }
    let dirs = std::env::var("WATCHRUN_BENCH_DIRS").ok();
    let dirs: usize = dirs.map_or(10_000, |dirs| dirs.parse().expect("a number"));
    let temp = tempfile::tempdir().expect("a temporary directory");
    let plain = temp.path().join("plain");
    let ignored = temp.path().join("ignored");
    make_tree(&plain, dirs);
    make_tree(&ignored, dirs);
    fs::write(ignored.join(".gitignore"), "node_modules\n").expect("written");
    make_tree(&ignored.join("node_modules"), dirs * 3);
    let run = |name: &str, root: &Path| {
        let own = std::env::current_exe().expect("our own path");
        let status = Command::new(own).arg("part").arg(name).arg(root).status();
        assert!(status.expect("started").success(), "{name}");
    };
    for (title, root) in [("plain", &plain), ("with 30,000 ignored", &ignored)] {
        println!("-- {title}");
        for name in ["scan", "ready", "idle", "save"] {
            run(name, root);
        }
    }
    println!("-- plain");
    run("burst", &plain);
    run("stall", &plain);
    run("checkout", &temp.path().join("repository"));
    run("remove", &plain);
}

/// `n` directories of ten files, ten directories in each that has any.
fn make_tree(root: &Path, n: usize) {
    let mut dirs = vec![root.to_path_buf()];
    let mut at = 0;
    while dirs.len() < n {
        for child in 0..10 {
            if dirs.len() < n {
                dirs.push(dirs[at].join(format!("dir{child}")));
            }
        }
        at += 1;
    }
    for dir in &dirs {
        fs::create_dir_all(dir).expect("made");
        for file in 0..10 {
            fs::write(dir.join(format!("file{file:02}.txt")), "x").expect("written");
        }
    }
}

fn part(name: &str, root: &Path) {
    match name {
        "scan" => scans(root),
        "ready" => ready(root),
        "idle" => idle(root),
        "save" => saves(root),
        "burst" => burst(root),
        "stall" => stall(root),
        "checkout" => checkout(root),
        "remove" => remove(root),
        _ => unreachable!("parts are named above"),
    }
}

fn scans(root: &Path) {
    let root = Root::new(&root.canonicalize().expect("there")).expect("absolute");
    let times: Vec<Duration> = (0..7)
        .map(|_| {
            let start = Instant::now();
            let found = scan(&root, &ScanOptions::new()).expect("readable");
            let took = start.elapsed();
            assert!(!found.files.entries().is_empty());
            took
        })
        .collect();
    println!("scan: best {:?}, worst {:?}", best(&times), worst(&times));
}

fn ready(root: &Path) {
    let times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            drop(watch(root));
            start.elapsed()
        })
        .collect();
    println!("ready: best {:?}, worst {:?}", best(&times), worst(&times));
}

fn idle(root: &Path) {
    let handle = watch(root);
    handle.sync(PATIENCE).expect("in step");
    let status = handle.status();
    std::thread::sleep(Duration::from_secs(3));
    let (before, switches_before) = (cpu_ticks(), switches());
    std::thread::sleep(Duration::from_secs(10));
    let (after, switches_after) = (cpu_ticks(), switches());
    println!(
        "idle: RSS {} KiB, peak {} KiB, {} directories, {} files, {} threads; 10 s: {} ms CPU, {} wake-ups",
        proc_status("VmRSS"),
        proc_status("VmHWM"),
        status.watched_dirs,
        status.files,
        proc_status("Threads"),
        (after - before) * 10,
        // One of them is ours, from the sleep.
        (switches_after - switches_before).saturating_sub(1),
    );
}

fn saves(root: &Path) {
    let handle = watch(root);
    let (tx, rx) = mpsc::channel();
    handle.on(Filter::everything(), move |_| Ok(tx.send(Instant::now())?));
    let mut times = Vec::new();
    for n in 0..100 {
        let start = Instant::now();
        fs::write(
            root.join(format!("dir{}/file03.txt", n % 10)),
            format!("{n}"),
        )
        .expect("written");
        times.push(rx.recv_timeout(PATIENCE).expect("told") - start);
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    println!(
        "save to handler: p50 {:?}, p99 {:?} (debounce 10 ms)",
        times[50], times[98]
    );
}

fn burst(root: &Path) {
    let handle = watch(root);
    let cpu = cpu_ticks();
    let start = Instant::now();
    for n in 0..20_000 {
        let path = root.join(format!("dir{}/burst{n}", n % 10));
        fs::write(path, "x").expect("written");
    }
    let wrote = start.elapsed();
    handle.sync(PATIENCE).expect("in step");
    println!(
        "20,000 new files: written in {wrote:?}, in step {:?} after, {} ms CPU with the writing",
        start.elapsed().saturating_sub(wrote),
        (cpu_ticks() - cpu) * 10
    );
}

/// Holds up the system's watcher while its lock is held.
struct Gate {
    gate: Arc<Mutex<()>>,
    sink: Arc<dyn HintSink>,
}

impl HintSink for Gate {
    fn hint(&self, shard: usize, hint: Hint) {
        drop(self.gate.lock());
        self.sink.hint(shard, hint);
    }
}

fn stall(root: &Path) {
    let gate = Arc::new(Mutex::new(()));
    let own = Arc::clone(&gate);
    let source = move |sink| {
        let gate = Arc::clone(&own);
        Box::new(OsWatcher::new(Arc::new(Gate { gate, sink }))) as _
    };
    let manager = WatchManager::new();
    let handle = manager
        .create_watch_from(root, WatchOptions::new(), &source)
        .expect("watchable");
    let held = gate.lock();
    for n in 0..20_000 {
        fs::write(root.join(format!("dir0/stall{n}")), "x").expect("written");
    }
    fs::remove_dir_all(root.join("dir1")).expect("removed");
    fs::create_dir_all(root.join("dir1/again")).expect("made");
    drop(held);
    let start = Instant::now();
    handle.sync(PATIENCE).expect("in step");
    let took = start.elapsed();
    let report = manager.report();
    let exact = handle.audit().expect("readable").is_exact();
    println!(
        "stalled for 20,000 new files and a replaced directory: exact again {took:?} after: {exact}, overflows {}",
        report.watches[0].overflows
    );
}

fn checkout(root: &Path) {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=b", "-c", "user.email=b@example.org"]);
        let status = command.args(args).current_dir(root).status();
        assert!(status.expect("started").success());
    };
    let fill = |text: &str| {
        for n in 0..5_000 {
            let path = root.join(format!("d{}/f{n}", n % 100));
            fs::create_dir_all(path.parent().expect("in a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
    };
    fs::create_dir_all(root).expect("made");
    git(&["init", "-q", "-b", "one"]);
    fill("one");
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["checkout", "-qb", "two"]);
    fill("the other");
    git(&["commit", "-qam", "two"]);
    let handle = watch(root);
    let (tx, rx) = mpsc::channel();
    handle.on(Filter::everything(), move |set| {
        Ok(tx.send((Instant::now(), set.changes.len()))?)
    });
    for branch in ["one", "two", "one", "two", "one", "two"] {
        git(&["checkout", "-q", branch]);
        let done = Instant::now();
        let (told, n) = rx.recv_timeout(PATIENCE).expect("told");
        handle.sync(PATIENCE).expect("in step");
        let more = rx.try_iter().count();
        let after = told.saturating_duration_since(done);
        println!("checkout: {n} changes {after:?} after git ended, {more} further sets");
        // Within one second git cannot tell its own files apart and reads them all.
        std::thread::sleep(Duration::from_millis(1_100));
    }
}

fn remove(root: &Path) {
    let handle = watch(root);
    let before = cpu_ticks();
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("rm -rf {}/*", root.display()))
        .status();
    assert!(status.expect("started").success());
    let start = Instant::now();
    handle.sync(PATIENCE).expect("in step");
    println!(
        "rm -rf of everything: in step {:?} after, {} ms CPU, RSS {} KiB, overflows {}",
        start.elapsed(),
        (cpu_ticks() - before) * 10,
        proc_status("VmRSS"),
        handle.status().queue.overflows,
    );
}

fn watch(root: &Path) -> WatchHandle {
    let manager = WatchManager::new();
    manager
        .create_watch(root, WatchOptions::new())
        .expect("watchable")
}

fn best(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

fn worst(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}

/// User and system time of this process, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("readable");
    let after = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after.split_whitespace().collect();
    [fields[11], fields[12]]
        .iter()
        .map(|n| n.parse::<u64>().expect("a number"))
        .sum()
}

fn proc_status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with(field));
    let line = line.expect("a known field");
    line.split_whitespace().nth(1).expect("a value").to_owned()
}

/// How often all threads gave up the processor of their own will: each is woken again.
fn switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("readable");
    let of = |path: PathBuf| -> u64 {
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    tasks.map(|task| of(task.expect("readable").path())).sum()
}
