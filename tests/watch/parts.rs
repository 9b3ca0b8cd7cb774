//! The parts of the watch system, each used by itself, as a program that embeds them would.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use watchrun::watch::{
    AddProblem, ErrorClass, EventProcessor, EventQueue, Filter, HandlerRegistry, Hint, HintKind,
    HintSink, Ignored, Interest, OsWatcher, OverflowPolicy, PollReason, ProcessingError,
    QueueStats, RawSource, Resource, RuleFiles, SystemError, Tree as Model, Warning, WatchError,
    WatchManager, WatchMetrics, WatchOptions,
};

use crate::support::{PATIENCE, Tree, rel, texts};

/// A source that watches nothing: a test is its events.
struct Silent;

impl RawSource for Silent {
    fn watch(&mut self, _: Vec<PathBuf>) -> Vec<(PathBuf, AddProblem)> {
        Vec::new()
    }

    fn unwatch(&mut self, _: &[PathBuf]) {}

    fn watch_in_every_shard(&mut self, _: &std::path::Path) -> usize {
        0
    }

    fn restart(&mut self) {}

    fn n_watches(&self) -> usize {
        0
    }
}

#[test]
fn a_processor_runs_in_a_loop_of_the_programs_own_on_injected_events() {
    let tree = Tree::with(&["a", "b"]);
    let sink: Arc<Mutex<Option<Arc<dyn HintSink>>>> = Arc::default();
    let own = Arc::clone(&sink);
    let source = move |given: Arc<dyn HintSink>| {
        *own.lock().unwrap() = Some(given);
        Box::new(Silent) as _
    };
    let options = WatchOptions::new();
    let mut processor = EventProcessor::new(&tree.root(), &options, &source).unwrap();
    assert_eq!(processor.model().n_files(), 2);
    let sink = sink.lock().unwrap().clone().unwrap();
    let hint = |name: &str, kind| {
        let path = tree.path(name);
        sink.hint(0, Hint::Path { path, kind });
    };
    // What nobody hints at is not noticed, and a hint without a change is nothing.
    tree.write("a", "changed");
    hint("b", HintKind::Metadata);
    assert_eq!(processor.turn(Duration::ZERO), None);
    hint("a", HintKind::Written);
    hint("a", HintKind::Closed);
    assert_eq!(texts(&processor.turn(PATIENCE).unwrap()), ["~a"]);
    // Lost events are made up for, and said.
    tree.write("c", "new");
    sink.hint(0, Hint::Lost);
    let set = processor.turn(PATIENCE).unwrap();
    assert_eq!((texts(&set), set.complete), (vec!["+c".to_owned()], false));
    let warnings = processor.take_warnings();
    assert_eq!(warnings, [Warning::OverflowRepaired { changes: 1 }]);
    assert!(processor.queue_stats().hints >= 4);
}

struct Told(Mutex<mpsc::Sender<Hint>>);

impl HintSink for Told {
    fn hint(&self, _: usize, hint: Hint) {
        self.0.lock().unwrap().send(hint).unwrap();
    }
}

#[test]
fn of_what_surrounds_a_tree_only_what_is_asked_for_is_told() {
    let path = |path: &Path, kind| Hint::Path {
        path: path.to_path_buf(),
        kind,
    };
    let (created, removed) = (HintKind::Created, HintKind::Removed);
    for interest in [Interest::Place, Interest::Names, Interest::Files] {
        let tree = Tree::with(&["log"]);
        let (tx, rx) = mpsc::channel();
        let mut watcher = OsWatcher::new(Arc::new(Told(Mutex::new(tx))));
        assert_eq!(watcher.watch_around(vec![(tree.root(), interest)]), []);
        tree.write("log", "written");
        tree.mkdir("d");
        fs::remove_dir(tree.path("d")).unwrap();
        fs::rename(tree.root(), tree.outside("")).unwrap();
        let expected = match interest {
            Interest::Place => vec![],
            Interest::Names => vec![path(&tree.path("d"), created)],
            Interest::Files => vec![
                path(&tree.path("log"), HintKind::Closed),
                path(&tree.path("d"), created),
            ],
        };
        let last = [
            path(&tree.path("d"), removed),
            path(&tree.root(), HintKind::MovedFrom),
        ];
        for expected in expected.into_iter().chain(last) {
            assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), expected, "{interest:?}");
        }
    }
}

#[test]
fn a_queue_and_its_figures_are_usable_alone() {
    let root = PathBuf::from("/r");
    let queue: EventQueue<&str> = EventQueue::new(&root, 2, OverflowPolicy::Collapse);
    for name in ["d/a", "d/b", "d/c"] {
        let path = root.join(name);
        let kind = HintKind::Written;
        queue.hint(0, Hint::Path { path, kind });
    }
    queue.send("a command").unwrap();
    let batch = queue.take(None, 10);
    assert!(batch.gap && batch.commands == ["a command"]);
    let QueueStats {
        overflows,
        collapsed,
        ..
    } = queue.stats();
    assert_eq!((overflows, collapsed), (1, 2));
    queue.close();
    assert_eq!(queue.send("late"), Err("late"));
}

#[test]
fn handlers_rules_models_and_metrics_are_usable_alone() {
    let registry = HandlerRegistry::default();
    let id = registry.add(Filter::everything(), Box::new(|_| Err("no".into())));
    let tree = Tree::with(&["a.o", "a.c"]);
    tree.write(".gitignore", "*.o\n");
    let watch = tree.watch();
    tree.write("a.c", "changed");
    let set = Arc::new(watch.next(PATIENCE).unwrap().unwrap());
    assert_eq!(registry.dispatch(&set), ["no"]);
    assert!(registry.remove(id));

    let ignored = Ignored::load(&tree.root(), true, &[], None);
    let rules = ignored.enter(ignored.outer(), &tree.root(), RuleFiles::of(&tree.root()));
    assert!(ignored.is_ignored(&rules, &tree.path("a.o"), b"a.o", false));

    let mut model = Model::new();
    let stat = watch.stat(&rel("a.c")).unwrap();
    let id = model.put(watchrun::watch::NodeId::ROOT, b"a.c", &stat);
    assert_eq!(model.stat(id), stat);

    let metrics = WatchMetrics::new();
    metrics.count_error(ErrorClass::Transient);
    let report = metrics.report(
        "/r".to_owned(),
        Duration::from_secs(1),
        QueueStats::default(),
    );
    assert_eq!((report.errors.transient, report.errors.fatal), (1, 0));
}

#[test]
fn what_is_survived_is_a_typed_error_with_class_and_numbers() {
    let limit = Warning::LimitReached {
        watched_dirs: 50,
        polled_dirs: 151,
        limit: Some(50),
        sysctl: "user.max_inotify_watches",
        suggested: 65_536,
    };
    let error = limit.error().unwrap();
    assert!(matches!(
        error,
        WatchError::System(SystemError::Resource {
            resource: Resource::Watches,
            limit: Some(50),
            ..
        })
    ));
    assert_eq!(error.class(), ErrorClass::Degraded);
    let command = "sudo sysctl user.max_inotify_watches=65536";
    assert_eq!(error.advice(), command);
    assert_eq!(limit.hint().as_deref(), Some(command));
    let lost = Warning::OverflowRepaired { changes: 3 }.error().unwrap();
    assert!(matches!(
        lost,
        WatchError::Processing(ProcessingError::Queue { changes: 3 })
    ));
    assert_eq!(lost.class(), ErrorClass::Transient);
    let handler = Warning::HandlerFailed {
        problem: "panicked".to_owned(),
    };
    assert!(matches!(
        handler.error(),
        Some(WatchError::Processing(ProcessingError::Handler { .. }))
    ));
    let polling = Warning::Polling {
        polled_dirs: 1,
        reason: PollReason::NoEvents,
        path: PathBuf::from("/r"),
        advice: None,
    };
    assert!(matches!(
        polling.error(),
        Some(WatchError::System(SystemError::Platform { .. }))
    ));
}

#[test]
fn errors_are_counted_by_class() {
    let tree = Tree::with(&["a"]);
    let manager = WatchManager::new();
    let watch = manager
        .create_watch(&tree.root(), WatchOptions::new())
        .unwrap();
    watch.on(Filter::everything(), |_| Err("no luck".into()));
    tree.write("a", "changed");
    watch.sync(PATIENCE).unwrap();
    let report = manager.report();
    let errors = report.watches[0].errors;
    assert_eq!((errors.handler, errors.degraded, errors.fatal), (1, 1, 0));
}
