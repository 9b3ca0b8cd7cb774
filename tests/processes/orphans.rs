//! Orphans that end while their command runs: they are reaped before it ends.

use std::fs;
use std::path::Path;
use std::thread;

use watchrun::exec::{Cancel, Ended, Executor};

use super::{Bench, PATIENCE, assert_exited, wait_for};

/// Leaves twenty orphans that end at once and whose numbers are in `pids`.
const LEAVE: &str = "i=0; while [ $i -lt 20 ]; do (sh -c 'echo $$ >> pids' &); i=$((i+1)); done";

fn are_reaped(bench: &Bench) -> bool {
    let text = fs::read_to_string(bench.path("pids")).unwrap_or_default();
    let is_there = |pid: &str| Path::new(&format!("/proc/{pid}")).exists();
    text.lines().count() == 20 && !text.lines().any(is_there)
}

#[test]
fn orphans_that_ended_are_reaped_while_their_command_writes() {
    let bench = Bench::new();
    let line = format!("{LEAVE}; while [ $i -lt 1000 ]; do echo; sleep 0.01; i=$((i+1)); done");
    let cancel = Cancel::new();
    let ended = bench.executor.run(&bench.shell(&line), &cancel, &mut |_| {
        if are_reaped(&bench) {
            cancel.kill();
        }
    });
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
}

#[test]
fn orphans_that_ended_are_reaped_when_another_command_ends() {
    let bench = Bench::new();
    let cancel = Cancel::new();
    let mut silent = bench.shell(&format!("{LEAVE}; sleep 1000"));
    silent.timeout = Some(PATIENCE);
    thread::scope(|scope| {
        let silent = scope.spawn(|| bench.executor.run(&silent, &cancel, &mut |_| {}));
        wait_for(|| {
            assert_exited(&bench.run("exit 0").0, 0);
            are_reaped(&bench)
        });
        cancel.kill();
        assert!(matches!(silent.join().unwrap(), Ended::Cancelled));
    });
}
