//! What a command costs beside its own work: against the bare `posix_spawn` of the standard
//! library, from a small and from a large process, and from a stop to the next start.
//!
//! `cargo bench --bench spawn`. `true` is started all over; compare the medians of one run.

use std::ffi::OsString;
use std::hint::black_box;
use std::process::{Command as OsCommand, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use divan::Bencher;
use watchrun::exec::{
    Cancel, Command, Ended, Executor, Observed, Options, Orphans, OsExecutor, Stop, Terminal,
};

static EXECUTOR: LazyLock<OsExecutor> = LazyLock::new(|| {
    let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
    let options = Options {
        path,
        tree: None,
        guardian: None,
        orphans: Orphans::All,
    };
    OsExecutor::new(options).expect("Linux with /proc")
});

fn main() {
    divan::main();
}

fn command(words: &[&str]) -> Command {
    Command {
        words: words.iter().map(OsString::from).collect(),
        dir: "/".into(),
        env: Vec::new(),
        stop: Stop {
            signal: 15,
            grace: Duration::from_secs(5),
        },
        timeout: None,
        terminal: Terminal::Captured,
    }
}

fn run_true() {
    let ended = EXECUTOR.run(&command(&["true"]), &Cancel::new(), &mut |_| {});
    assert!(
        matches!(ended, Ended::Exited(status) if status.is_success()),
        "{ended:?}"
    );
}

/// The least that a start can cost: no group, no pipe, nothing to find.
#[divan::bench(threads = [1, 2], sample_count = 1000, sample_size = 1)]
fn floor() {
    let mut command = OsCommand::new("/bin/true");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(command.status().expect("/bin/true").success());
}

#[divan::bench(threads = [1, 2], sample_count = 1000, sample_size = 1)]
fn executor() {
    run_true();
}

#[divan::bench(sample_count = 300, sample_size = 1)]
fn executor_in_a_process_of_200_mb(bencher: Bencher<'_, '_>) {
    let ballast = vec![1_u8; 200 << 20];
    bencher.bench_local(run_true);
    black_box(&ballast);
}

/// From the stop of a tree that dies at once to the start of the next.
#[divan::bench(sample_count = 300, sample_size = 1)]
fn stop_to_successor(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| {
            let cancel = Cancel::new();
            let own = cancel.clone();
            let (tx, rx) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                let command = command(&["sleep", "1000"]);
                EXECUTOR.run_observed(&command, &own, &mut |observed| {
                    if let Observed::Started(_) = observed {
                        tx.send(()).expect("the bench waits for it");
                    }
                })
            });
            rx.recv().expect("it starts");
            (cancel, thread)
        })
        .bench_local_values(|(cancel, thread)| {
            cancel.cancel();
            thread.join().expect("it does not panic");
            EXECUTOR.run_observed(&command(&["true"]), &Cancel::new(), &mut |_| {})
        });
}
