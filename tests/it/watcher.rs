//! A watching program: its events as they come, saves and what they lead to, and its end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{DEADLINE, Events, Project, kill};

/// `watchrun --json`, running. Dropping it stops it.
pub(crate) struct Watcher {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
    /// Where the next wait starts to look.
    at: usize,
    /// What it said on stderr so far. Filled by the thread that reads it; held for one append.
    messages: Arc<Mutex<String>>,
    ended: Option<ExitStatus>,
}

impl Watcher {
    /// Starts it and waits until the first run is over and the watch is armed.
    #[track_caller]
    pub(crate) fn start<A: AsRef<OsStr>>(
        project: &Project,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut watcher = Self::launch(project, args);
        watcher.wait_idle();
        let ready = watcher.seen.iter().any(|event| event["event"] == "ready");
        assert!(ready, "idle without ready; {}", watcher.dump());
        watcher
    }

    /// Starts it and waits for nothing.
    pub(crate) fn launch<A: AsRef<OsStr>>(
        project: &Project,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = project.command(["--json"]);
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (tx, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tx.send(line))
        });
        let messages = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("piped");
        let sink = Arc::clone(&messages);
        thread::spawn(move || collect(stderr, &sink));
        Self {
            child,
            lines,
            seen: Vec::new(),
            at: 0,
            messages,
            ended: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on stderr so far.
    pub(crate) fn messages(&self) -> String {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the next event that matches and returns it; the next wait looks behind it.
    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while self.at < self.seen.len() {
                self.at += 1;
                if matches(&self.seen[self.at - 1]) {
                    return self.seen[self.at - 1].clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take(&line),
                Err(err) => panic!("waiting for {what}: {err}; {}", self.dump()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn wait_idle(&mut self) {
        self.wait("idle", |event| event["event"] == "idle");
    }

    /// Waits for an `idle` after which nothing more was said, and at which `holds`.
    #[track_caller]
    pub(crate) fn wait_rest(&mut self, what: &str, holds: impl Fn() -> bool) {
        loop {
            self.wait(what, |event| event["event"] == "idle");
            while let Ok(line) = self.lines.try_recv() {
                self.take(&line);
            }
            if self.at == self.seen.len() && holds() {
                return;
            }
        }
    }

    /// Waits until `task` is started.
    #[track_caller]
    pub(crate) fn wait_started(&mut self, task: &str) {
        let what = format!("`{task}` to start");
        self.wait(&what, |event| {
            event["event"] == "task_started" && event["task"] == task
        });
    }

    /// Waits until `task` has ended in this way.
    #[track_caller]
    pub(crate) fn wait_finished(&mut self, task: &str, outcome: &str) {
        let what = format!("`{task}` to end as {outcome}");
        self.wait(&what, |event| {
            event["event"] == "task_finished"
                && event["task"] == task
                && event["outcome"] == outcome
        });
    }

    /// After a change: waits until each of `tasks` has run, then until everything is quiet, and
    /// requires that nothing else ran, and nothing twice. Returns the events from the change on.
    #[track_caller]
    pub(crate) fn expect_runs(&mut self, tasks: &[&str]) -> Events {
        let from = self.at;
        let mut missing = tasks.to_vec();
        while !missing.is_empty() {
            let what = format!("{missing:?} to end");
            let end = self.wait(&what, |event| {
                let task = event["task"].as_str();
                event["event"] == "task_finished"
                    && matches!(
                        event["outcome"].as_str(),
                        Some("done" | "failed" | "timed_out")
                    )
                    && task.is_some_and(|task| missing.contains(&task))
            });
            missing.retain(|task| end["task"] != *task);
        }
        self.wait_idle();
        let events = Events(self.seen[from..self.at].to_vec());
        let mut ran = events.ran();
        ran.sort_unstable();
        let mut expected = tasks.to_vec();
        expected.sort_unstable();
        assert_eq!(ran, expected, "the tasks that ran; {}", self.dump());
        events
    }

    /// Everything seen so far.
    pub(crate) fn all(&self) -> Events {
        Events(self.seen.clone())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a pid");
        kill_process(pid, signal).expect("our own child");
    }

    /// Waits for its end and returns the exit code; the events are all there then.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.take(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end; {}", self.dump()),
            }
        }
        let status = self.child.wait().expect("our own child");
        self.ended = Some(status);
        status.code()
    }

    /// Ctrl-C, its end, and all its events.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Events {
        self.signal(Signal::INT);
        let code = self.wait_exit();
        assert_eq!(code, Some(130), "{}", self.dump());
        self.all()
    }

    #[track_caller]
    fn take(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(event) => self.seen.push(event),
            Err(err) => panic!("{line:?} is no JSON: {err}; {}", self.dump()),
        }
    }

    fn dump(&self) -> String {
        let at = self.at;
        format!(
            "looked up to event {at} of:\n{}--- stderr\n{}",
            self.all(),
            self.messages()
        )
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.signal(Signal::INT);
        // A test that failed must not hang: what does not stop by itself soon is killed.
        let deadline = Instant::now() + DEADLINE / 4;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => return kill(&mut self.child),
            }
        }
        drop(self.child.wait());
    }
}

fn collect(mut stream: impl Read, sink: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let piece = String::from_utf8_lossy(&buffer[..n]);
        sink.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&piece);
    }
}
