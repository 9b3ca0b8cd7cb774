//! The figures of the incremental engine: no-op over 100,000 inputs, one change, restore, memory.
//!
//! `cargo bench --bench state`. Files are real, in the temporary directory; the stat pass that
//! makes the list of files is measured apart from the engine, which only compares.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for developers"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use watchrun::disk::{Disk, OsDisk};
use watchrun::files::{FileEntry, FileList};
use watchrun::path::{RelDir, RelPath, Root};
use watchrun::pattern::{Pattern, PatternIndex, PatternSet};
use watchrun::state::{
    Access, Changed, Demand, Engine, EngineOptions, Finished, Ran, Start, StoreUse, Subject,
    Verdict,
};
use watchrun::task_id::TaskName;
use watchrun::watchfile::task::{
    Caching, FailureRule, Inputs, Invocation, OnBusy, Span, StopRule, Task, TaskKind, Terminal,
};

/// The argument by which the program measures memory in a process of its own.
const RESIDENT: &str = "--resident";

const RAN: Ran = Ran {
    duration: Duration::from_millis(1),
    attempts: 1,
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, root, tasks, files] = &arguments[..]
        && mode == RESIDENT
    {
        return resident(
            Path::new(root),
            tasks.parse().unwrap(),
            files.parse().unwrap(),
        );
    }
    let only_restore = arguments.iter().any(|argument| argument == "restore");
    if !only_restore {
        no_op(100, 100);
        no_op(1000, 100);
        no_op(1, 100_000);
    }
    restore(2000);
}

/// Makes `tasks` tasks of `files` files each fresh, then measures finding them so.
fn no_op(tasks: usize, files: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let root = Root::new(&scratch.path().canonicalize().unwrap()).unwrap();
    let paths = paths(tasks, files);
    for path in &paths {
        let full = root.join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, path.as_bytes()).unwrap();
    }
    let plan = plan(tasks);
    let produced = PatternIndex::new(plan.iter().map(|task| task.outputs.clone()).collect());
    let (list, stat_pass) = timed(|| stat_all(&root, &paths));
    println!("{tasks} tasks of {files} files");
    println!("  stat pass                    {stat_pass:>10.1?}");

    let (_, first) = timed(|| run_all(&root, &plan, &list, &produced));
    println!("  first run (hash and record)  {first:>10.1?}");
    run_all(&root, &plan, &list, &produced);
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let (ran, took) = timed(|| run_all(&root, &plan, &list, &produced));
        assert_eq!(ran, 0);
        best = best.min(took);
    }
    println!("  no-op, engine alone          {best:>10.1?}");
    let anew = self::plan(tasks);
    let (ran, took) = timed(|| run_all(&root, &anew, &list, &produced));
    assert_eq!(ran, 0);
    println!("  no-op, globs compiled anew   {took:>10.1?}");

    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(RESIDENT)
        .arg(root.as_path())
        .args([tasks.to_string(), files.to_string()])
        .status();
    assert!(status.unwrap().success());
    let engine = Engine::open(&OsDisk, &root, options());
    let (known, warm) = timed(|| engine.warm());
    println!("  index of {known:>6} files        {warm:>10.1?}");
    one_change(&root, &engine, &plan, list, &produced, &paths);
}

/// In a process of its own: finds everything fresh and is ready to watch.
fn resident(root: &Path, tasks: usize, files: usize) {
    let root = Root::new(root).unwrap();
    let plan = plan(tasks);
    let list = stat_all(&root, &paths(tasks, files));
    let produced = PatternIndex::new(plan.iter().map(|task| task.outputs.clone()).collect());
    let engine = Engine::open(&OsDisk, &root, options());
    let examine = |task| engine.examine(&subject(task, &list, &produced)).unwrap();
    drop(plan.par_iter().map(examine).collect::<Vec<_>>());
    println!("  resident, no-op              {:>7} MB", resident_mb());
    for task in &plan {
        engine.prepare(&subject(task, &list, &produced)).unwrap();
    }
    println!("  resident, all prepared       {:>7} MB", resident_mb());
}

fn paths(tasks: usize, files: usize) -> Vec<RelPath> {
    (0..tasks)
        .flat_map(|task| (0..files).map(move |file| (task, file)))
        .map(|(task, file)| format!("module{task}/src/part{}/file{file}.rs", file / 20))
        .map(|path| RelPath::new(path.as_bytes()).unwrap())
        .collect()
}

fn plan(tasks: usize) -> Vec<Task> {
    (0..tasks)
        .map(|n| task(n, &format!("module{n}/src/**/*.rs")))
        .collect()
}

fn one_change(
    root: &Root,
    engine: &Engine<'_>,
    plan: &[Task],
    mut list: FileList,
    produced: &PatternIndex,
    paths: &[RelPath],
) {
    let changed_task = plan.len() - 1;
    let told = [paths[paths.len() - 1].clone()];
    let first = subject(&plan[changed_task], &list, produced);
    let (prepared, took) = timed(|| engine.prepare(&first));
    prepared.unwrap();
    println!("  prepared for watching        {took:>10.1?}");
    let changed = &paths[paths.len() - 1];
    let mut best = Duration::MAX;
    for n in 0..10 {
        fs::write(root.join(changed), format!("{n}")).unwrap();
        list.set(changed, Some(OsDisk.stat(&root.join(changed)).unwrap()));
        let mut subject = subject(&plan[changed_task], &list, produced);
        subject.changed = Changed::Only(&told);
        let (examined, took) = timed(|| engine.examine(&subject).unwrap());
        assert!(matches!(examined.verdict(), Verdict::Stale(_)));
        best = best.min(took);
    }
    println!("  one changed file, examined   {best:>10.1?}");
    let ((), saved) = timed(|| engine.save());
    println!("  saved                        {saved:>10.1?}");
}

/// As a run does: open, examine on all cores, run what is stale, save. How many ran.
fn run_all(root: &Root, plan: &[Task], list: &FileList, produced: &PatternIndex) -> usize {
    let engine = Engine::open(&OsDisk, root, options());
    let ran = plan
        .par_iter()
        .filter(|task| {
            let subject = subject(task, list, produced);
            let mut examined = engine.examine(&subject).unwrap();
            if *examined.verdict() == Verdict::Fresh {
                return false;
            }
            engine.begin(&mut examined, Start::Anew);
            let finished = engine.finish(&examined, &subject, RAN, &mut &b""[..]);
            assert!(matches!(finished.unwrap(), Finished::Recorded(_)));
            true
        })
        .count();
    engine.save();
    assert_eq!(engine.take_warnings(), []);
    ran
}

/// Restores a result of which every file is right already.
fn restore(outputs: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let root = Root::new(&scratch.path().canonicalize().unwrap()).unwrap();
    let mut plan = task(0, "in/**");
    let out = Pattern::parse("out/**", &RelDir::ROOT).unwrap();
    plan.outputs = PatternSet::new(vec![out]);
    let produced = PatternIndex::new(vec![plan.outputs.clone()]);
    let list = FileList::default();
    let subject = subject(&plan, &list, &produced);
    let write_all = |content: u8| {
        for n in 0..outputs {
            let path = root.as_path().join(format!("out/{}/{n}", n / 100));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [content; 8192]).unwrap();
        }
    };
    write_all(1);
    let build = || {
        let engine = Engine::open(&OsDisk, &root, options());
        let mut examined = engine.examine(&subject).unwrap();
        engine.begin(&mut examined, Start::Anew);
        let finished = engine.finish(&examined, &subject, RAN, &mut &b""[..]);
        assert!(matches!(finished.unwrap(), Finished::Recorded(_)));
        engine.save();
    };
    let ((), stored) = timed(build);
    println!("restore of {outputs} outputs of 8 KB");
    println!("  recorded and stored          {stored:>10.1?}");
    let again = || {
        let engine = Engine::open(&OsDisk, &root, options());
        engine.warm();
        // Forgets the success, so that only the store knows the result.
        engine.clean_state_of(&plan.name).unwrap();
        let examined = engine.examine(&subject).unwrap();
        let (restored, took) = timed(|| engine.restore(&examined, &subject).unwrap());
        engine.save();
        (restored.unwrap().written, took)
    };
    again();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (written, took) = again();
        assert_eq!(written, 0);
        best = best.min(took);
    }
    println!("  all of them right            {best:>10.1?}");
    write_all(2);
    let (written, took) = again();
    assert_eq!(written, outputs);
    println!("  all of them wrong            {took:>10.1?}");
}

fn stat_all(root: &Root, paths: &[RelPath]) -> FileList {
    let entry = |path: &RelPath| FileEntry {
        path: path.clone(),
        stat: OsDisk.stat(&root.join(path)).unwrap(),
    };
    FileList::new(paths.par_iter().map(entry).collect())
}

fn subject<'a>(task: &'a Task, list: &'a FileList, produced: &'a PatternIndex) -> Subject<'a> {
    Subject {
        task,
        files: list,
        ignored: &[],
        produced,
        deps: &[],
        environment: &[],
        tools: &[],
        changed: Changed::Unknown,
        demand: Demand::IfStale,
    }
}

fn options() -> EngineOptions {
    EngineOptions {
        cache_dir: None,
        cache_size: 1 << 40,
        store: StoreUse::On,
        access: Access::ReadWrite,
    }
}

fn task(n: usize, inputs: &str) -> Task {
    let span = Span {
        source: 0,
        start: 0,
        end: 0,
    };
    let inputs = Pattern::parse(inputs, &RelDir::ROOT).unwrap();
    Task {
        name: TaskName::new(&format!("task{n}")),
        span,
        kind: TaskKind::Command(Invocation::Line("true".to_owned())),
        description: None,
        inputs: Inputs::Patterns(PatternSet::new(vec![inputs])),
        outputs: PatternSet::default(),
        output_spans: Vec::new(),
        deps: Vec::new(),
        after: Vec::new(),
        dir: RelDir::ROOT,
        env: BTreeMap::new(),
        env_inputs: Vec::new(),
        tools: Vec::new(),
        shell: vec!["sh".to_owned(), "-c".to_owned()],
        caching: Caching::On,
        timeout: None,
        retries: 0,
        on_busy: OnBusy::Auto,
        stop: StopRule {
            signal: 15,
            grace: Duration::from_secs(5),
        },
        pool: None,
        failure: FailureRule::Fails,
        terminal: Terminal::Captured,
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// What the kernel says this process holds in memory.
fn resident_mb() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024
}
