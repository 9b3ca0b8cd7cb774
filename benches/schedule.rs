//! What a task costs beside its command: `cargo bench --bench schedule`.
//!
//! 10,000 tasks that do nothing, through the state machine alone and through the driver with an
//! executor that starts no process; the goal is 0.1 ms a task. State and log are real files.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc;

use watchrun::disk::OsDisk;
use watchrun::exec::{Cancel, Command, Ended, Executor, OsExecutor};
use watchrun::outcome::{ExitStatus, Outcome};
use watchrun::path::{RelPath, Root};
use watchrun::pattern::PatternSet;
use watchrun::plan::Plan;
use watchrun::schedule::state::{Checked, Schedule};
use watchrun::schedule::{
    Driver, DriverOptions, FileView, Files, JobTokens, Limits, Lineage, Mode, Ports, Said,
};
use watchrun::state::{Access, Demand, Engine, EngineOptions, StoreUse};
use watchrun::watchfile;

fn main() {
    divan::main();
}

const N_TASKS: usize = 10_000;

static DISK: OsDisk = OsDisk;

/// No dependencies, or layers of 100 in which each task depends on three of the layer before.
fn plan(layered: bool) -> Plan {
    let mut text = String::new();
    for n in 0..N_TASKS {
        writeln!(text, "[tasks.task{n}]\nrun = \"true\"\ninputs = []").expect("a string");
        if layered && n >= 100 {
            let dep = |k: usize| (n / 100 - 1) * 100 + (n * 7 + k * 31) % 100;
            let (a, b, c) = (dep(0), dep(1), dep(2));
            writeln!(text, "deps = [\"task{a}\", \"task{b}\", \"task{c}\"]").expect("a string");
        }
    }
    Plan::new(watchfile::parse(&text)).expect("the text is right")
}

fn limits() -> Limits {
    Limits {
        jobs: 2,
        pools: Vec::new(),
        failures_max: None,
    }
}

#[divan::bench(args = [false, true])]
fn schedule_alone(bencher: divan::Bencher<'_, '_>, layered: bool) {
    let plan = plan(layered);
    let selection = plan.select([]).expect("everything");
    bencher.bench_local(|| {
        let mut schedule = Schedule::new(plan.graph().clone(), &limits());
        schedule.open(selection.ids());
        let mut n_done = 0;
        while !schedule.is_settled() {
            while let Some(ticket) = schedule.next_check() {
                schedule.checked(ticket, Checked::Stale);
            }
            while let Some(id) = schedule.next_start() {
                schedule.ended(id, Outcome::Done, false);
                n_done += 1;
            }
        }
        assert_eq!(n_done, N_TASKS);
    });
}

struct Nothing;

impl Executor for Nothing {
    fn run(&self, _: &Command, _: &Cancel, _: &mut dyn FnMut(&[u8])) -> Ended {
        Ended::Exited(ExitStatus::Code(0))
    }
}

struct NoFiles;

impl FileView for NoFiles {
    fn now(&self, _wanted: &PatternSet) -> Arc<Files> {
        Arc::new(Files::none())
    }

    fn changed_since(&self, _version: u64) -> Option<Vec<RelPath>> {
        None
    }

    fn is_small(&self) -> bool {
        true
    }

    fn settle(&self) {}
}

#[divan::bench(args = [false, true], sample_count = 5, sample_size = 1)]
fn driver_and_state(bencher: divan::Bencher<'_, '_>, layered: bool) {
    let plan = Arc::new(plan(layered));
    bencher
        .with_inputs(|| tempfile::tempdir().expect("a directory for state"))
        .bench_local_values(|dir| {
            run(&plan, dir.path());
            dir
        });
}

/// For services, of which there are none.
fn processes() -> watchrun::exec::Options {
    watchrun::exec::Options {
        path: std::ffi::OsString::new(),
        tree: None,
        guardian: None,
        orphans: watchrun::exec::Orphans::Marked,
    }
}

/// Runs everything to the end, in a root without state.
fn run(plan: &Arc<Plan>, root: &std::path::Path) {
    let root = Root::new(root).expect("it is absolute");
    let options = EngineOptions {
        cache_dir: None,
        cache_size: 1 << 30,
        store: StoreUse::On,
        access: Access::ReadWrite,
    };
    let ports = Arc::new(Ports {
        engine: Engine::open(&DISK, &root, options),
        executor: Arc::new(Nothing),
        processes: Arc::new(OsExecutor::new(processes()).expect("processes can be watched")),
        files: Arc::new(NoFiles),
        environment: Vec::new(),
        lineage: Lineage::unnamed(),
        tokens: JobTokens::new(
            watchrun::watchfile::Jobserver::Off,
            2,
            &[],
            root.as_path().into(),
        ),
        spill_dir: root.as_path().to_path_buf(),
        said: Said::default(),
        root,
    });
    let options = DriverOptions {
        mode: Mode::Once,
        limits: limits(),
        demand: Demand::IfStale,
    };
    let (tx, rx) = mpsc::sync_channel(1024);
    let send: watchrun::schedule::Send = Arc::new(move |report| drop(tx.send(report)));
    let observe = Box::new(drop);
    let mut driver = Driver::new(Arc::clone(plan), ports, options, send, observe)
        .expect("threads can be started");
    driver.open(&plan.select([]).expect("everything"));
    while !driver.is_settled() {
        driver.handle(rx.recv().expect("the driver holds a sender"));
    }
    assert!(!driver.has_failures());
    driver.ports().engine.save();
}
