//! Two hundred watches made and closed leave no thread, descriptor, watch or file behind.
//!
//! A program of its own: it counts what its process holds.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use watchrun::path::Root;
use watchrun::watch::{Filter, ScanOptions, WatchManager, WatchOptions, scan};

fn count(dir: &str) -> usize {
    fs::read_dir(dir).expect("readable").count()
}

/// Waits for the threads of the system's watchers, which end a moment after they are told to.
fn settled(baseline: (usize, usize)) -> (usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = (count("/proc/self/task"), count("/proc/self/fd"));
        if now == baseline || Instant::now() > deadline {
            return now;
        }
        std::thread::yield_now();
    }
}

#[test]
fn two_hundred_watches_leave_nothing_behind() {
    let tree = tempfile::tempdir().unwrap();
    let marks = tempfile::tempdir().unwrap();
    for dir in 0..30 {
        let dir = tree.path().join(format!("d{dir}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("f"), "x").unwrap();
    }
    // Starts rayon's threads, which stay.
    let root = Root::new(&tree.path().canonicalize().unwrap()).unwrap();
    assert_eq!(
        scan(&root, &ScanOptions::new())
            .unwrap()
            .files
            .entries()
            .len(),
        30
    );
    let baseline = (count("/proc/self/task"), count("/proc/self/fd"));
    let manager = WatchManager::new();
    for n in 0..200 {
        let mut options = WatchOptions::new();
        options.cookie_dir = Some(marks.path().to_path_buf());
        let watch = manager.create_watch(tree.path(), options).unwrap();
        watch.on(Filter::everything(), |_| Ok(()));
        fs::write(tree.path().join("d3/f"), format!("{n}")).unwrap();
        watch.sync(Duration::from_secs(30)).unwrap();
        assert!(manager.remove_watch(watch));
    }
    assert_eq!(settled(baseline), baseline);
    assert_eq!(count(marks.path().to_str().unwrap()), 0);
    let watches = fs::read_dir("/proc/self/fdinfo").unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        fs::read_to_string(Path::new(&path))
            .unwrap_or_default()
            .contains("inotify wd:")
    });
    assert_eq!(watches.count(), 0);
}
