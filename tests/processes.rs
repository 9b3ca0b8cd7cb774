//! Real process trees: everything that a command starts is dead when it is over, whatever it does.
//!
//! Order comes from pipes and marker files, never from sleeping. `WATCHRUN_TEST_ROUNDS` sets how
//! often the repeated tests repeat.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use watchrun::exec::{
    Cancel, Command, Ended, Executor, Options, Orphans, OsExecutor, Stop, Terminal,
};
use watchrun::outcome::ExitStatus;

#[path = "processes/orphans.rs"]
mod orphans;
#[path = "processes/starts.rs"]
mod starts;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory and an executor with a guardian: this test program with a hidden argument.
struct Bench {
    dir: TempDir,
    executor: OsExecutor,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            executor: OsExecutor::new(options(None)).unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shell(&self, line: &str) -> Command {
        command(self.dir.path(), &["sh", "-c", line])
    }

    fn run(&self, line: &str) -> (Ended, Vec<u8>) {
        let mut output = Vec::new();
        let sink = &mut |bytes: &[u8]| output.extend_from_slice(bytes);
        let ended = self.executor.run(&self.shell(line), &Cancel::new(), sink);
        (ended, output)
    }

    /// Runs `line`, cancels it when it has written `ready` to its output, and gives how it ended.
    fn run_until_ready(&self, command: &Command, stop: impl Fn(&Cancel)) -> Ended {
        let cancel = Cancel::new();
        let mut output = Vec::new();
        self.executor.run(command, &cancel, &mut |bytes| {
            output.extend_from_slice(bytes);
            if output.ends_with(b"ready\n") {
                stop(&cancel);
            }
        })
    }

    /// The processes whose numbers are in `name`, one a line.
    #[track_caller]
    fn assert_all_dead(&self, name: &str, count: usize) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let pids: Vec<i32> = text
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        assert_eq!(pids.len(), count, "{text:?}");
        for pid in pids {
            assert!(
                !Path::new(&format!("/proc/{pid}")).exists(),
                "{pid} of {text:?} lives"
            );
        }
    }
}

fn options(guardian: Option<Vec<OsString>>) -> Options {
    Options {
        path: std::env::var_os("PATH").unwrap(),
        tree: std::env::var_os("WATCHRUN_TREE"),
        guardian,
        orphans: Orphans::Marked,
    }
}

fn command(dir: &Path, words: &[&str]) -> Command {
    Command {
        words: words.iter().map(OsString::from).collect(),
        dir: dir.to_owned(),
        env: Vec::new(),
        stop: Stop {
            signal: 15,
            grace: PATIENCE,
        },
        timeout: None,
        terminal: Terminal::Captured,
    }
}

fn rounds(default: usize) -> usize {
    let text = std::env::var("WATCHRUN_TEST_ROUNDS").ok();
    text.map_or(default, |text| text.parse().unwrap())
}

#[track_caller]
fn assert_exited(ended: &Ended, code: i32) {
    assert!(
        matches!(ended, Ended::Exited(ExitStatus::Code(found)) if *found == code),
        "{ended:?}"
    );
}

#[test]
fn both_outputs_come_in_the_order_written() {
    let bench = Bench::new();
    let (ended, output) = bench.run("echo 1; echo 2 >&2; printf '\\377\\0'; echo 3 >&2; exit 7");
    assert_exited(&ended, 7);
    assert_eq!(output, b"1\n2\n\xff\x003\n");
}

#[test]
fn input_is_empty_and_the_environment_is_set() {
    let bench = Bench::new();
    let mut command = bench.shell("cat; echo $A $B; pwd -L; echo $PWD");
    command.env = vec![
        ("A".into(), "1".into()),
        ("B".into(), "2".into()),
        ("A".into(), "3".into()),
    ];
    let mut output = Vec::new();
    let sink = &mut |bytes: &[u8]| output.extend_from_slice(bytes);
    assert_exited(&bench.executor.run(&command, &Cancel::new(), sink), 0);
    let dir = bench.dir.path().display();
    assert_eq!(
        String::from_utf8(output).unwrap(),
        format!("3 2\n{dir}\n{dir}\n")
    );
}

#[test]
fn death_by_a_signal_is_told_from_an_exit() {
    let bench = Bench::new();
    let (ended, _) = bench.run("kill -USR1 $$");
    assert!(
        matches!(ended, Ended::Exited(ExitStatus::Signal(10))),
        "{ended:?}"
    );
}

#[test]
fn background_children_die_with_their_leader() {
    let bench = Bench::new();
    let line = "sleep 1000 & echo $! >> pids; sleep 1000 & echo $! >> pids; echo x";
    let (ended, output) = bench.run(line);
    assert_exited(&ended, 0);
    assert_eq!(output, b"x\n");
    bench.assert_all_dead("pids", 2);
}

#[test]
fn those_in_another_session_die_with_their_leader() {
    let bench = Bench::new();
    bench.gate("gate");
    let line = "setsid sh -c 'echo $$ > pids; echo > gate; exec sleep 1000' & cat gate";
    assert_exited(&bench.run(line).0, 0);
    bench.assert_all_dead("pids", 1);
}

#[test]
fn double_forks_and_stopped_processes_die_with_their_leader() {
    let bench = Bench::new();
    bench.gate("gate");
    let daemon = "setsid sh -c 'echo $$ >> pids; echo > gate; kill -STOP $$; sleep 1000'";
    let line =
        format!("({daemon} >/dev/null 2>&1 &) ; cat gate; sh -c 'kill -STOP $$' & echo $! >> pids");
    assert_exited(&bench.run(&line).0, 0);
    bench.assert_all_dead("pids", 2);
}

#[test]
fn without_a_mark_the_output_pipe_gives_a_process_away() {
    let bench = Bench::new();
    bench.gate("gate");
    let line = "env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > pids; echo > gate; exec sleep 1000' & cat gate";
    assert_exited(&bench.run(line).0, 0);
    bench.assert_all_dead("pids", 1);
}

#[test]
fn a_stop_reaches_the_whole_tree_within_the_grace() {
    // The grace is longer than the test may take: all of them end by the signal alone.
    let bench = Bench::new();
    bench.gate("gate");
    let line = "setsid sh -c 'echo $$ >> pids; echo > gate; exec sleep 1000' & \
                sleep 1000 & echo $! >> pids; echo $$ >> pids; trap 'exit 0' TERM; \
                cat gate; echo ready; wait; wait";
    let ended = bench.run_until_ready(&bench.shell(line), Cancel::cancel);
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    bench.assert_all_dead("pids", 3);
}

#[test]
fn what_ignores_the_signal_is_killed_after_the_grace() {
    let bench = Bench::new();
    let mut command = bench.shell(
        "trap '' TERM; setsid sh -c 'echo $$ >> pids; exec sleep 1000' & sleep 1000 & \
         echo $! >> pids; echo ready; wait",
    );
    command.stop.grace = Duration::from_millis(50);
    let ended = bench.run_until_ready(&command, Cancel::cancel);
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
}

#[test]
fn a_kill_does_not_wait_for_the_grace() {
    let bench = Bench::new();
    let line = "trap '' TERM; sleep 1000 & echo $! >> pids; echo ready; wait";
    let ended = bench.run_until_ready(&bench.shell(line), |cancel| {
        cancel.cancel();
        cancel.kill();
    });
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    bench.assert_all_dead("pids", 1);
}

#[test]
fn a_timeout_stops_the_tree() {
    let bench = Bench::new();
    let mut command = bench.shell("sleep 1000 & echo $! > pids; sleep 1000");
    command.timeout = Some(Duration::from_millis(200));
    let ended = bench.executor.run(&command, &Cancel::new(), &mut |_| {});
    assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
    bench.assert_all_dead("pids", 1);
}

#[test]
fn a_signal_is_passed_on_and_the_command_lives() {
    let bench = Bench::new();
    let line = "trap 'echo got; exit 3' HUP; echo ready; while :; do sleep 0.01; done";
    let ended = bench.run_until_ready(&bench.shell(line), |cancel| cancel.signal(1));
    assert_exited(&ended, 3);
}

#[test]
fn cancelled_before_the_start_means_never_started() {
    let bench = Bench::new();
    let cancel = Cancel::new();
    cancel.cancel();
    let ended = bench
        .executor
        .run(&bench.shell("touch ran"), &cancel, &mut |_| {});
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    assert!(!bench.path("ran").exists());
}

#[test]
fn a_cancel_that_races_with_the_start_always_ends_it() {
    let bench = Arc::new(Bench::new());
    for round in 0..rounds(100) {
        let cancel = Cancel::new();
        let (tx, rx) = mpsc::channel();
        let (other, own) = (Arc::clone(&bench), cancel.clone());
        let thread = thread::spawn(move || {
            tx.send(()).unwrap();
            other
                .executor
                .run(&other.shell("exec sleep 1000"), &own, &mut |_| {})
        });
        rx.recv().unwrap();
        // Spread over what a start takes.
        (0..round * 2_000).for_each(|_| std::hint::spin_loop());
        cancel.cancel();
        let ended = thread.join().unwrap();
        assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    }
}

#[test]
fn closing_its_output_early_does_not_end_a_command() {
    let bench = Bench::new();
    let (ended, output) = bench.run("echo a; exec >&- 2>&-; sleep 0.05; exit 4");
    assert_exited(&ended, 4);
    assert_eq!(output, b"a\n");
}

#[test]
fn a_gigabyte_goes_through_a_bounded_buffer() {
    let bench = Bench::new();
    let bytes = rounds(1) * 100_000_000;
    let command = bench.shell(&format!("head -c {bytes} /dev/zero"));
    let (mut total, mut longest) = (0, 0);
    let ended = bench.executor.run(&command, &Cancel::new(), &mut |bytes| {
        total += bytes.len();
        longest = longest.max(bytes.len());
    });
    assert_exited(&ended, 0);
    assert_eq!(total, bytes);
    assert!(longest <= 1 << 20, "{longest}");
}

#[test]
fn a_fork_storm_dies() {
    let bench = Bench::new();
    let script = "n=$1; [ $n -gt 0 ] || exec sleep 1000\n\
                  sh storm $((n-1)) & setsid sh storm $((n-1)) & echo x >> count; wait\n";
    fs::write(bench.path("storm"), script).unwrap();
    let mut command = bench.shell("sh storm 5 & sleep 1000");
    command.stop.grace = Duration::ZERO;
    let cancel = Cancel::new();
    let (count, own) = (bench.path("count"), cancel.clone());
    let watcher = thread::spawn(move || {
        wait_for(|| fs::read(&count).is_ok_and(|text| text.len() >= 10));
        own.cancel();
    });
    let ended = bench.executor.run(&command, &cancel, &mut |_| {});
    watcher.join().unwrap();
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    assert_eq!(marked_processes(bench.dir.path()), Vec::<i32>::new());
}

#[test]
fn what_forks_and_ends_all_the_time_is_killed_after_the_grace() {
    let bench = Bench::new();
    let script = "[ $1 -gt 0 ] || { echo > outlived; exit; }\nsh hop $(($1-1)) & exit\n";
    fs::write(bench.path("hop"), script).unwrap();
    let line = "trap '' TERM; for i in 1 2 3 4 5; do \
                sh hop 3000 & setsid sh hop 3000 & done; echo ready; sleep 1000; sleep 1000";
    let mut command = bench.shell(line);
    command.stop.grace = Duration::from_millis(50);
    let ended = bench.run_until_ready(&command, Cancel::cancel);
    assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
    assert!(!bench.path("outlived").exists());
    assert_eq!(marked_processes(bench.dir.path()), Vec::<i32>::new());
}

#[test]
fn cancelled_trees_leave_no_survivors() {
    let bench = Bench::new();
    let line = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & \
                (setsid sleep 1000 >/dev/null 2>&1 &); sh -c 'sleep 1000' & echo ready; wait";
    let mut command = bench.shell(line);
    command.stop.grace = Duration::from_millis(1);
    for _ in 0..rounds(20) {
        let ended = bench.run_until_ready(&command, Cancel::cancel);
        assert!(matches!(ended, Ended::Cancelled), "{ended:?}");
        assert_eq!(marked_processes(bench.dir.path()), Vec::<i32>::new());
    }
}

#[test]
fn children_have_three_descriptors() {
    let bench = Bench::new();
    let _open = fs::File::open("/dev/null").unwrap();
    let (ended, output) = bench.run("ls /proc/$$/fd");
    assert_exited(&ended, 0);
    let text = String::from_utf8(output).unwrap();
    let mut found: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    found.sort_unstable();
    // What the test program was itself started with, and told to pass on, is not ours to close.
    found.retain(|fd| *fd <= 2 || !is_inheritable(*fd));
    assert_eq!(found, [0, 1, 2]);
}

fn is_inheritable(fd: i32) -> bool {
    const CLOSE_ON_EXEC: u64 = 0o2_000_000;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| u64::from_str_radix(flags.trim(), 8).unwrap() & CLOSE_ON_EXEC == 0)
}

#[test]
fn what_cannot_start_says_why() {
    let bench = Bench::new();
    let run = |words: &[&str], change: &dyn Fn(&mut Command)| {
        let mut command = command(bench.dir.path(), words);
        change(&mut command);
        match bench.executor.run(&command, &Cancel::new(), &mut |_| {}) {
            Ended::NotStarted(error) => error.to_string(),
            ended => panic!("{ended:?}"),
        }
    };
    let dir = bench.dir.path().display();
    fs::write(bench.path("plain"), "").unwrap();
    fs::write(bench.path("script"), "#!/no/such\n").unwrap();
    make_executable(&bench.path("script"));
    let path = |command: &mut Command| command.env = vec![("PATH".into(), "/x:/y".into())];
    assert_eq!(
        run(&["nope"], &path),
        "command `nope` not found in PATH `/x:/y`"
    );
    assert_eq!(
        run(&["./nope"], &|_| {}),
        format!("command `{dir}/./nope` does not exist")
    );
    assert_eq!(
        run(&["./plain"], &|_| {}),
        format!("`{dir}/./plain` is not executable")
    );
    assert_eq!(
        run(&["./script"], &|_| {}),
        format!("the interpreter of `{dir}/./script` does not exist")
    );
    assert_eq!(run(&[], &|_| {}), "the command is empty");
    let gone = bench.path("gone");
    let away = |command: &mut Command| command.dir.clone_from(&gone);
    assert_eq!(
        run(&["true"], &away),
        format!("working directory `{dir}/gone` does not exist")
    );
}

#[test]
fn a_script_without_an_interpreter_line_is_read_by_a_shell() {
    let bench = Bench::new();
    fs::write(bench.path("script"), "echo $1 $0\n").unwrap();
    make_executable(&bench.path("script"));
    let mut output = Vec::new();
    let sink = &mut |bytes: &[u8]| output.extend_from_slice(bytes);
    let command = command(bench.dir.path(), &["./script", "a b"]);
    assert_exited(&bench.executor.run(&command, &Cancel::new(), sink), 0);
    assert!(output.starts_with(b"a b "));
}

/// Where a helper process of these tests begins; does nothing in an ordinary run.
#[test]
fn helper_process() {
    let mut arguments = std::env::args_os().skip_while(|argument| argument != "--helper");
    if arguments.next().is_none() {
        return;
    }
    let arguments: Vec<OsString> = arguments.collect();
    match arguments[0].to_str() {
        Some("host") => host(Path::new(&arguments[1])),
        Some("adopter") => adopter(Path::new(&arguments[1])),
        Some("lender") => lender(Path::new(&arguments[1])),
        _ => watchrun::exec::guardian::main(&arguments, std::io::stdin()).unwrap(),
    }
}

/// The words that start this program as a helper.
fn helper_words() -> Vec<OsString> {
    let program = std::env::current_exe().unwrap().into_os_string();
    let arguments = ["helper_process", "--exact", "--nocapture", "--", "--helper"];
    [vec![program], arguments.map(OsString::from).to_vec()].concat()
}

/// A process that runs the tree which `killed_with_its_runner` expects to die with it.
fn host(dir: &Path) {
    let executor = OsExecutor::new(options(Some(helper_words()))).unwrap();
    let line = "trap '' TERM HUP INT; setsid sh -c 'echo $$ >> pids; exec sleep 1000' & \
                env -i sleep 1000 & echo $! >> pids; echo $$ >> pids; echo > gate; wait";
    executor.run(
        &command(dir, &["sh", "-c", line]),
        &Cancel::new(),
        &mut |_| {},
    );
}

/// A process whose command leaves behind one that cannot be told from any other.
fn adopter(dir: &Path) {
    let options = Options {
        orphans: Orphans::All,
        ..options(Some(helper_words()))
    };
    let executor = OsExecutor::new(options).unwrap();
    let line = "env -i setsid sh -c 'echo > gate; exec sleep 1000' >/dev/null 2>&1 & cat gate";
    let ended = executor.run(
        &command(dir, &["sh", "-c", line]),
        &Cancel::new(),
        &mut |_| {},
    );
    assert_exited(&ended, 0);
    assert_eq!(marked_processes(dir), Vec::<i32>::new());
    fs::write(dir.join("done"), "").unwrap();
}

#[test]
fn an_orphan_without_any_mark_dies_with_the_last_command() {
    let bench = Bench::new();
    bench.gate("gate");
    let words = helper_words();
    let status = std::process::Command::new(&words[0])
        .args(&words[1..])
        .arg("adopter")
        .arg(bench.dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(bench.path("done").exists());
}

/// A process that lends its terminal to a command and notes what becomes of it.
fn lender(dir: &Path) {
    let executor = OsExecutor::new(options(Some(helper_words()))).unwrap();
    let line = "read x < /dev/tty; stty -echo; sleep 1000 & echo got $x > out";
    let mut command = command(dir, &["sh", "-c", line]);
    command.terminal = Terminal::Owned;
    let modes = || {
        rustix::termios::tcgetattr(std::io::stdin())
            .unwrap()
            .local_modes
    };
    let before = modes();
    let ended = executor.run(&command, &Cancel::new(), &mut |_| {});
    let owner = rustix::termios::tcgetpgrp(std::io::stdin()).unwrap();
    let is_back = owner == rustix::process::getpgrp() && modes() == before;
    fs::write(dir.join("lent"), format!("{ended:?} {is_back}")).unwrap();
}

#[test]
fn the_terminal_is_lent_and_taken_back() {
    let bench = Bench::new();
    let mut words: Vec<String> = helper_words()
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect();
    words.extend(["lender".to_owned(), bench.dir.path().display().to_string()]);
    // `script` runs it on a terminal of its own.
    let mut script = std::process::Command::new("script")
        .args(["-qec", &words.join(" "), "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(script.stdin.as_mut().unwrap(), b"hello\n").unwrap();
    wait_for(|| {
        bench.path("lent").exists() && fs::read(bench.path("lent")).unwrap().ends_with(b"e")
    });
    script.wait().unwrap();
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    assert_eq!(read("out"), "got hello\n");
    assert_eq!(read("lent"), "Exited(Code(0)) true");
}

#[test]
fn the_guardian_kills_all_when_the_runner_is_killed() {
    for _ in 0..rounds(3) {
        let bench = Bench::new();
        bench.gate("gate");
        let words = helper_words();
        let mut host = std::process::Command::new(&words[0])
            .args(&words[1..])
            .arg("host")
            .arg(bench.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        fs::read(bench.path("gate")).unwrap();
        host.kill().unwrap();
        host.wait().unwrap();
        wait_for(|| marked_processes(bench.dir.path()).is_empty());
    }
}

#[test]
fn a_runner_in_a_command_dies_with_all_its_trees() {
    for _ in 0..rounds(3) {
        let bench = Bench::new();
        bench.gate("gate");
        let mut inner = bench.shell("");
        inner.words = helper_words();
        inner.words.extend(["host".into(), bench.dir.path().into()]);
        let cancel = Cancel::new();
        thread::scope(|scope| {
            let outer = scope.spawn(|| bench.executor.run(&inner, &cancel, &mut |_| {}));
            fs::read(bench.path("gate")).unwrap();
            cancel.kill();
            assert!(matches!(outer.join().unwrap(), Ended::Cancelled));
        });
        assert_eq!(marked_processes(bench.dir.path()), Vec::<i32>::new());
    }
}

#[test]
fn the_guardian_ends_with_its_executor() {
    let bench = Bench::new();
    let executor = OsExecutor::new(options(Some(helper_words()))).unwrap();
    let guardians = || {
        let own = std::process::id();
        let children = fs::read_dir(format!("/proc/{own}/task")).unwrap().flatten();
        let lists = children.map(|task| fs::read_to_string(task.path().join("children")));
        let pids: Vec<String> = lists
            .flatten()
            .flat_map(|list| {
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        let of = format!("{own}-");
        let is_guardian = |pid: &String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&of)
        };
        pids.into_iter().filter(is_guardian).count()
    };
    assert_exited(
        &executor.run(&bench.shell("true"), &Cancel::new(), &mut |_| {}),
        0,
    );
    assert_eq!(guardians(), 1);
    drop(executor);
    assert_eq!(guardians(), 0);
}

impl Bench {
    /// Makes a FIFO: who opens one end waits for the other.
    fn gate(&self, name: &str) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            self.path(name),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
    }
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The living processes that work in `dir`: the tests' own, whatever became of their parents.
fn marked_processes(dir: &Path) -> Vec<i32> {
    let dir = dir.canonicalize().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let works_there =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir);
    pids.filter(works_there).collect()
}

/// Looks until `is_there`, and fails when patience ends.
#[track_caller]
fn wait_for(is_there: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < end, "it never came");
        thread::yield_now();
    }
}
