//! Sharing, handlers, closing, bad input.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use watchrun::watch::{
    ErrorClass, Filter, Kinds, ProcessingError, WatchError, WatchHandle, WatchManager, WatchOptions,
};

use crate::support::{PATIENCE, Tree, check_exact, select, texts};

#[test]
fn watches_of_one_path_share_their_work_and_have_their_own_sets() {
    let tree = Tree::with(&["a", "b.rs"]);
    let first = tree.watch();
    let second = tree.watch();
    assert_eq!(tree.manager.report().watches.len(), 1);
    tree.write("a", "changed");
    first.sync(PATIENCE).unwrap();
    assert_eq!(texts(&first.try_next().unwrap().unwrap()), ["~a"]);
    assert!(tree.manager.remove_watch(first));
    assert_eq!(texts(&second.try_next().unwrap().unwrap()), ["~a"]);
    tree.write("a", "changed again");
    assert!(second.next(PATIENCE).unwrap().is_some());
    assert!(tree.manager.remove_watch(second));
    assert!(tree.manager.report().watches.is_empty());
}

#[test]
fn watches_with_other_options_are_their_own() {
    let tree = Tree::with(&["a", "b"]);
    let all = tree.watch();
    let mut options = WatchOptions::new();
    options.select = select(&["b"]);
    let one = tree.watch_with(options);
    assert_eq!(tree.manager.report().watches.len(), 2);
    tree.write("a", "changed");
    all.sync(PATIENCE).unwrap();
    one.sync(PATIENCE).unwrap();
    assert!(all.try_next().unwrap().is_some());
    assert_eq!(one.try_next().unwrap(), None);
}

#[test]
fn a_handler_that_blocks_holds_up_nobody_else_and_misses_nothing() {
    let tree = Tree::with(&["a", "b"]);
    let slow = tree.watch();
    let quick = tree.watch();
    let (entered_tx, entered) = mpsc::channel();
    let (gate, gate_rx) = mpsc::channel::<()>();
    let (seen_tx, seen) = mpsc::channel();
    slow.on(Filter::everything(), move |set| {
        entered_tx.send(())?;
        assert!(gate_rx.recv().is_err(), "the gate opens by being dropped");
        for change in &set.changes {
            seen_tx.send(change.path.to_string())?;
        }
        Ok(())
    });
    tree.write("a", "1");
    entered.recv_timeout(PATIENCE).unwrap();
    // The handler is in there now, and stays.
    for n in 0..200 {
        tree.write(&format!("new{n}"), "x");
        quick.sync(PATIENCE).unwrap();
    }
    let timed_out = slow.sync(Duration::from_millis(50)).unwrap_err();
    assert_eq!(timed_out.class(), ErrorClass::Transient);
    drop(gate);
    slow.sync(PATIENCE).unwrap();
    let mut seen: Vec<String> = seen.try_iter().collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 201);
}

#[test]
fn handlers_see_their_part_and_warnings_and_no_handler_runs_after_close() {
    let tree = Tree::with(&["a.rs", "b.md"]);
    let watch = tree.watch();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let filter = Filter {
        patterns: select(&["*.rs"]),
        kinds: Kinds::MODIFIED,
        priority: 0,
    };
    let id = watch.on(filter, move |set| {
        note.lock().unwrap().extend(texts(set));
        Ok(())
    });
    let warned = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&warned);
    watch.on_warning(move |warning| {
        note.lock().unwrap().push(warning.kind());
        Ok(())
    });
    watch.on(Filter::everything(), |_| panic!("always"));
    tree.write("a.rs", "1");
    tree.write("b.md", "1");
    tree.write("new.rs", "1");
    watch.sync(PATIENCE).unwrap();
    assert_eq!(*seen.lock().unwrap(), ["~a.rs"]);
    assert!(watch.off(id) && !watch.off(id));
    tree.write("a.rs", "2");
    watch.sync(PATIENCE).unwrap();
    watch.close();
    tree.write("a.rs", "3");
    assert_eq!(*seen.lock().unwrap(), ["~a.rs"]);
    assert!(warned.lock().unwrap().contains(&"handler_failed"));
    let errors = tree.manager.report();
    assert!(errors.watches.is_empty());
}

#[test]
fn a_handle_may_be_closed_and_dropped_by_its_own_handler() {
    let tree = Tree::with(&["a"]);
    let slot: Arc<Mutex<Option<WatchHandle>>> = Arc::default();
    let watch = tree.watch();
    let inner = Arc::clone(&slot);
    let (done_tx, done) = mpsc::channel();
    watch.on(Filter::everything(), move |_| {
        let watch = inner.lock().unwrap().take().unwrap();
        watch.sync(PATIENCE)?;
        watch.close();
        drop(watch);
        Ok(done_tx.send(())?)
    });
    let mut held = slot.lock().unwrap();
    *held = Some(watch);
    drop(held);
    tree.write("a", "changed");
    done.recv_timeout(PATIENCE).unwrap();
    assert!(tree.manager.report().watches.is_empty());
}

#[test]
fn a_consumer_that_never_reads_costs_little_and_still_gets_the_truth() {
    let tree = Tree::with(&["a"]);
    let lazy = tree.watch();
    for n in 0..300 {
        tree.write("a", &format!("{n}"));
        tree.write(&format!("temp{n}"), "x");
        lazy.sync(PATIENCE).unwrap();
        std::fs::remove_file(tree.path(&format!("temp{n}"))).unwrap();
    }
    assert_eq!(crate::support::seen(&lazy), ["~a"]);
}

#[test]
fn pausing_defers_and_merges() {
    let tree = Tree::with(&["a", "b"]);
    let watch = tree.watch();
    watch.pause();
    tree.write("a", "1");
    watch.sync(PATIENCE).unwrap();
    tree.write("b", "1");
    watch.sync(PATIENCE).unwrap();
    assert_eq!(watch.try_next().unwrap(), None);
    assert!(watch.status().paused);
    watch.resume();
    assert_eq!(texts(&watch.try_next().unwrap().unwrap()), ["~a", "~b"]);
    assert_eq!(watch.try_next().unwrap(), None);
}

#[test]
fn bad_paths_and_options_are_typed_errors_with_advice() {
    let tree = Tree::with(&["file"]);
    let manager = WatchManager::new();
    let error = |path: &Path| manager.create_watch(path, WatchOptions::new()).unwrap_err();
    let missing = error(&tree.path("missing"));
    assert!(matches!(missing, WatchError::Creation(_)));
    assert_eq!(missing.class(), ErrorClass::Fatal);
    assert!(missing.to_string().contains("missing"));
    assert!(missing.advice().contains("create the directory"));
    assert!(
        error(&tree.path("file"))
            .to_string()
            .contains("not a directory")
    );
    assert!(error(Path::new("")).to_string().contains("cannot watch"));
    let mut options = WatchOptions::new();
    options.batch_size = 0;
    let error = manager.create_watch(&tree.root(), options).unwrap_err();
    assert!(error.to_string().contains("batch_size"));
    let mut options = WatchOptions::new();
    options.memory_bytes_max = 10;
    let error = manager.create_watch(&tree.root(), options).unwrap_err();
    assert!(error.to_string().contains("limit is 10"), "{error}");
    assert!(manager.report().watches.is_empty());
}

#[test]
fn a_closed_handle_says_so() {
    let tree = Tree::with(&["a"]);
    let watch = tree.watch();
    watch.close();
    watch.close();
    let closed = |error: WatchError| {
        matches!(
            error,
            WatchError::Processing(ProcessingError::Closed | ProcessingError::Stopped { .. })
        )
    };
    assert!(closed(watch.try_next().unwrap_err()));
    assert!(closed(watch.sync(PATIENCE).unwrap_err()));
    assert!(closed(watch.audit().unwrap_err()));
}

#[test]
fn the_report_counts_and_is_json() {
    let tree = Tree::with(&["a", "d/b"]);
    let watch = tree.watch();
    tree.write("a", "1");
    watch.sync(PATIENCE).unwrap();
    check_exact(&watch);
    let report = tree.manager.report();
    let report = &report.watches[0];
    assert_eq!(
        (report.watched_dirs, report.files, report.changes),
        (2, 2, 1)
    );
    assert_eq!(report.syncs, 2);
    let json = serde_json::to_value(report).unwrap();
    assert_eq!(json["latency_us"]["count"], 1);
}

#[test]
fn a_recording_replays_to_the_same_sets() {
    let tree = Tree::with(&["a", "d/b"]);
    std::fs::create_dir_all(tree.outside("")).unwrap();
    let file = tree.outside("recording");
    let mut options = WatchOptions::new();
    options.record = Some(file.clone());
    let watch = tree.watch_with(options);
    let mut sets = Vec::new();
    for n in 0..10 {
        tree.write("a", &format!("{n}"));
        tree.write(&format!("new{n}/x"), "x");
        if n % 2 == 0 {
            watch.sync(PATIENCE).unwrap();
            sets.extend(watch.try_next().unwrap());
        } else {
            sets.extend(watch.next(PATIENCE).unwrap());
        }
        tree.rename(&format!("new{n}"), &format!("old{n}"));
    }
    watch.sync(PATIENCE).unwrap();
    while let Some(set) = watch.try_next().unwrap() {
        sets.push(set);
    }
    watch.close();
    assert_eq!(watchrun::watch::replay(&file).unwrap(), sets);
    // A torn end costs what is torn, nothing else.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let torn = watchrun::watch::replay(&file).unwrap();
    assert!(sets.starts_with(&torn));
    std::fs::write(&file, "something else").unwrap();
    assert!(watchrun::watch::replay(&file).is_err());
}
