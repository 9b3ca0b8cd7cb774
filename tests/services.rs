//! Real services and shared job tokens: readiness, restarts, stops, and never more jobs than tokens.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use watchrun::exec::{
    Cancel, Command, Ended, Executor, Jobserver, JobserverStyle, Options, Orphans, OsExecutor,
    ReadyProbe, ReadyRule, RestartRule, Service, ServiceEvent, ServiceOptions, Stop, Terminal,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    dir: TempDir,
    executor: Arc<OsExecutor>,
}

impl Bench {
    fn new() -> Self {
        let options = Options {
            path: std::env::var_os("PATH").unwrap(),
            tree: None,
            guardian: None,
            orphans: Orphans::Marked,
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            executor: Arc::new(OsExecutor::new(options).unwrap()),
        }
    }

    fn shell(&self, line: &str) -> Command {
        Command {
            words: ["sh", "-c", line].map(OsString::from).to_vec(),
            dir: self.dir.path().to_owned(),
            env: Vec::new(),
            stop: Stop {
                signal: 15,
                grace: PATIENCE,
            },
            timeout: None,
            terminal: Terminal::Captured,
        }
    }

    fn start(
        &self,
        line: &str,
        probe: ReadyProbe,
        timeout: Duration,
        restart: RestartRule,
    ) -> (Service, mpsc::Receiver<ServiceEvent>) {
        let (tx, rx) = mpsc::channel();
        let options = ServiceOptions {
            command: self.shell(line),
            ready: ReadyRule::new(probe, timeout).unwrap(),
            restart,
            address: None,
        };
        let executor = Arc::clone(&self.executor);
        let service = Service::start(executor, options, move |event| {
            // The test may have seen enough.
            let _ended = tx.send(event);
        });
        (service.unwrap(), rx)
    }
}

/// The names of the events up to the one that starts with `last`, without output.
#[track_caller]
fn events_until(rx: &mpsc::Receiver<ServiceEvent>, last: &str) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let event = rx
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no {last} in {names:?}"));
        let name = match event {
            ServiceEvent::Output(_) => continue,
            ServiceEvent::Starting(_) => "starting".to_owned(),
            ServiceEvent::Ready(_) => "ready".to_owned(),
            event => format!("{event:?}").to_lowercase(),
        };
        names.push(name);
        if names.last().is_some_and(|name| name.starts_with(last)) {
            return names;
        }
    }
}

/// Where nobody listens.
fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_service_without_a_probe_is_ready_when_it_has_started() {
    let bench = Bench::new();
    let (service, rx) = bench.start(
        "sleep 1000",
        ReadyProbe::Spawned,
        PATIENCE,
        RestartRule::Never,
    );
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
    let pid = service.pid().unwrap();
    service.stop();
    assert!(!is_alive(pid));
    assert_eq!(events_until(&rx, "stopped"), ["stopped"]);
    assert_eq!(service.pid(), None);
}

#[test]
fn a_line_of_the_log_makes_it_ready() {
    let bench = Bench::new();
    let probe = ReadyProbe::Log("^listening on [0-9]+$".to_owned());
    let line = "echo not listening on 1; printf 'listen'; echo ing on 80; sleep 1000";
    let (_service, rx) = bench.start(line, probe, PATIENCE, RestartRule::Never);
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
}

#[test]
fn a_line_of_the_log_without_an_end_makes_it_ready() {
    let bench = Bench::new();
    for prompt in ["server ready> ", r"loading\rready>\r"] {
        let probe = ReadyProbe::Log("ready> ?$".to_owned());
        let line = format!("printf '{prompt}'; sleep 1000");
        let (_service, rx) = bench.start(&line, probe, PATIENCE, RestartRule::Never);
        assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
    }
}

#[test]
fn a_port_that_accepts_makes_it_ready() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = ReadyProbe::Tcp(listener.local_addr().unwrap().to_string());
    let (_service, rx) = bench.start("sleep 1000", probe, PATIENCE, RestartRule::Never);
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
}

#[test]
fn an_http_answer_makes_it_ready_and_an_error_does_not() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = ReadyProbe::Http(format!("http://{}/up", listener.local_addr().unwrap()));
    let server = thread::spawn(move || {
        for status in ["503 Busy", "404 Not Found", "200 OK"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (_service, rx) = bench.start("sleep 1000", probe, PATIENCE, RestartRule::Never);
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
    server.join().unwrap();
}

#[test]
fn a_server_that_is_slow_is_heard_also_after_an_answer_that_never_comes() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = ReadyProbe::Http(format!("http://{}/", listener.local_addr().unwrap()));
    let server = thread::spawn(move || {
        // The first who asks has to give up.
        let (mut hung, _) = listener.accept().unwrap();
        while hung.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {}
        for mut stream in listener.incoming().flatten() {
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream
                .set_read_timeout(Some(Duration::from_millis(1500)))
                .unwrap();
            let gone = stream.read(&mut [0]).map_err(|error| error.kind());
            if gone == Err(ErrorKind::WouldBlock) {
                return stream.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").unwrap();
            }
        }
    });
    let (_service, rx) = bench.start("sleep 1000", probe, PATIENCE, RestartRule::Never);
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
    server.join().unwrap();
}

#[test]
fn a_command_that_succeeds_makes_it_ready() {
    let bench = Bench::new();
    let probe = ReadyProbe::Exec(bench.shell("echo try >> tries; [ $(wc -l < tries) -ge 3 ]"));
    let (_service, rx) = bench.start("sleep 1000", probe, PATIENCE, RestartRule::Never);
    assert_eq!(events_until(&rx, "ready"), ["starting", "ready"]);
}

#[test]
fn a_service_that_is_never_ready_shows_its_last_lines_and_is_dead() {
    let bench = Bench::new();
    let probe = ReadyProbe::Log("never".to_owned());
    let line = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do echo $i; done; \
                printf 22; sleep 1000";
    let (service, rx) = bench.start(line, probe, Duration::from_millis(500), RestartRule::Always);
    let events = events_until(&rx, "failed");
    assert_eq!(events[0], "starting");
    assert!(
        events[1].starts_with("notready([\"3\", \"4\","),
        "{events:?}"
    );
    assert!(events[1].ends_with("\"21\", \"22\"])"), "{events:?}");
    assert_eq!(events.len(), 3);
    assert_eq!(service.pid(), None);
}

#[test]
fn a_service_that_keeps_failing_is_given_up() {
    let bench = Bench::new();
    let (_service, rx) = bench.start(
        "exit 3",
        ReadyProbe::Spawned,
        PATIENCE,
        RestartRule::OnFailure,
    );
    let events = events_until(&rx, "failed");
    assert_eq!(
        events.iter().filter(|event| *event == "starting").count(),
        6
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| *event == "exited(code(3))")
            .count(),
        6
    );
}

#[test]
fn a_service_whose_port_was_taken_meanwhile_is_not_started_again() {
    let bench = Bench::new();
    let addr = free_addr();
    let (tx, rx) = mpsc::channel();
    let options = ServiceOptions {
        command: bench.shell("exec sleep 1000"),
        ready: ReadyRule::new(ReadyProbe::Spawned, PATIENCE).unwrap(),
        restart: RestartRule::Always,
        address: Some(addr.to_string()),
    };
    let service = Service::start(Arc::clone(&bench.executor), options, move |event| {
        // The test may have seen enough.
        let _ended = tx.send(event);
    })
    .unwrap();
    events_until(&rx, "ready");
    service.reload(9);
    // While it is free, it is.
    let again = ["exited(signal(9))", "starting", "ready"];
    assert_eq!(events_until(&rx, "ready"), again);
    let _stranger = TcpListener::bind(addr).unwrap();
    service.reload(9);
    let events = events_until(&rx, "failed");
    assert_eq!(events[0], "exited(signal(9))");
    let holder = format!("pid: some({})", std::process::id());
    assert!(
        events[1].starts_with("porttaken") && events[1].contains(&holder),
        "{events:?}"
    );
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn a_service_that_ends_well_rests() {
    let bench = Bench::new();
    let (_service, rx) = bench.start(
        "true",
        ReadyProbe::Spawned,
        PATIENCE,
        RestartRule::OnFailure,
    );
    assert_eq!(
        events_until(&rx, "rested"),
        ["starting", "ready", "exited(code(0))", "rested"]
    );
}

#[test]
fn a_service_that_cannot_start_says_so() {
    let bench = Bench::new();
    let (tx, rx) = mpsc::channel();
    let mut command = bench.shell("true");
    command.words = vec!["no-such-program".into()];
    let ready = ReadyRule::new(ReadyProbe::Spawned, PATIENCE).unwrap();
    let options = ServiceOptions {
        command,
        ready,
        restart: RestartRule::Always,
        address: None,
    };
    let _service = Service::start(Arc::clone(&bench.executor), options, move |event| {
        tx.send(event).unwrap();
    })
    .unwrap();
    assert!(events_until(&rx, "notstarted")[0].contains("no-such-program"));
}

#[test]
fn a_reload_signal_keeps_the_process() {
    let bench = Bench::new();
    let line = "trap 'echo reloaded' HUP; echo up; while :; do sleep 0.01; done";
    let probe = ReadyProbe::Log("up".to_owned());
    let (service, rx) = bench.start(line, probe, PATIENCE, RestartRule::Never);
    events_until(&rx, "ready");
    let pid = service.pid();
    service.reload(1);
    let mut text = Vec::new();
    while !text.ends_with(b"reloaded\n") {
        if let ServiceEvent::Output(bytes) = rx.recv_timeout(PATIENCE).unwrap() {
            text.extend(bytes);
        }
    }
    assert_eq!(service.pid(), pid);
}

#[test]
fn a_stop_ends_the_wait_for_readiness_and_for_a_restart() {
    let bench = Bench::new();
    let probe = ReadyProbe::Tcp("127.0.0.1:1".to_owned());
    let (service, rx) = bench.start("sleep 1000", probe, PATIENCE, RestartRule::Always);
    events_until(&rx, "starting");
    service.stop();
    assert_eq!(events_until(&rx, "stopped"), ["stopped"]);
}

#[test]
fn a_bad_regular_expression_is_refused() {
    assert!(ReadyRule::new(ReadyProbe::Log("(".to_owned()), PATIENCE).is_err());
}

#[test]
fn two_makes_never_run_more_jobs_than_there_are_tokens() {
    // Each recipe counts itself in and out under a lock and notes how many there are.
    let bench = Bench::new();
    let makefile = "all: a b c d e f\na b c d e f:\n\t@sh ./step\n.PHONY: all a b c d e f\n";
    let step = "(flock 9; n=$(($(cat n)+1)); echo $n > n; echo $n >> seen) 9>lock; sleep 0.02; \
                (flock 9; echo $(($(cat n)-1)) > n) 9>lock";
    for (name, text) in [("Makefile", makefile), ("step", step), ("n", "0\n")] {
        fs::write(bench.dir.path().join(name), text).unwrap();
    }
    let server = Jobserver::new(JobserverStyle::Pipe, 2, bench.dir.path()).unwrap();
    let server = Arc::new(server);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _token = server.acquire(&Cancel::new()).unwrap();
                let mut command = bench.shell("");
                let words = ["make", "-j8", "all"].map(OsString::from);
                command.words = server.without_own_jobs(&words);
                command.env = server.env("");
                let mut output = Vec::new();
                let sink = &mut |bytes: &[u8]| output.extend_from_slice(bytes);
                let ended = bench.executor.run(&command, &Cancel::new(), sink);
                let text = String::from_utf8_lossy(&output);
                assert!(
                    matches!(ended, Ended::Exited(status) if status.is_success()),
                    "{text}"
                );
                assert_eq!(text, "");
            });
        }
    });
    let seen = fs::read_to_string(bench.dir.path().join("seen")).unwrap();
    let counts: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counts.len(), 12);
    assert_eq!(counts.iter().max(), Some(&2), "{counts:?}");
}
