//! A project in a temporary directory, one-shot runs of the program in it, and their events.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::fifo::Fifo;

/// How long a test waits for something that must happen. Generous: it is only reached by a bug.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// No names on the command line: the watchfile's defaults.
pub(crate) const DEFAULTS: [&str; 0] = [];

/// A project directory of its own, with a home and a place for temporary files beside it.
///
/// Goes away with the value, unless `WATCHRUN_KEEP=1`.
pub(crate) struct Project {
    root: PathBuf,
    base: PathBuf,
    temp: Option<TempDir>,
}

impl Project {
    pub(crate) fn new() -> Self {
        let temp = tempfile::Builder::new()
            .prefix("watchrun-it-")
            .tempdir()
            .expect("a temp dir");
        let base = temp.path().canonicalize().expect("the temp dir is there");
        for dir in ["root", "home", "tmp", "gates"] {
            fs::create_dir(base.join(dir)).expect("a fresh directory");
        }
        Self {
            root: base.join("root"),
            base,
            temp: Some(temp),
        }
    }

    /// A project with this watchfile.
    pub(crate) fn with(watchfile: &str) -> Self {
        let project = Self::new();
        project.watchfile(watchfile);
        project
    }

    /// A copy of `fixtures/projects/NAME`, without what a build by hand may have left there.
    pub(crate) fn from_fixture(name: &str) -> Self {
        let project = Self::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/projects")
            .join(name);
        copy_tree(&source, &project.root);
        project
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn watchfile(&self, text: &str) -> &Self {
        self.write("watchfile.toml", text)
    }

    /// Writes a file, in place, making its directories.
    pub(crate) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it lies in the root")).expect("directories");
        fs::write(&path, content).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        self
    }

    /// Writes a file as careful editors do: beside it, then renamed over it.
    pub(crate) fn save(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let draft = self.base.join("tmp/draft");
        fs::write(&draft, content).expect("the draft is written");
        fs::rename(&draft, self.path(path)).expect("one file system");
        self
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        let bytes = fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Replaces text in a file; the text must be there.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) -> &Self {
        let text = self.read(path);
        assert!(text.contains(from), "{path} does not contain {from:?}");
        self.write(path, text.replace(from, to))
    }

    pub(crate) fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        self
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) -> &Self {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(path), permissions).expect("the mode is set");
        self
    }

    /// How many lines a file has: tasks that append a line count their runs so. 0 when absent.
    pub(crate) fn lines(&self, path: &str) -> usize {
        if self.exists(path) {
            self.read(path).lines().count()
        } else {
            0
        }
    }

    /// A path outside the root, where files are no inputs.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.base.join("gates").join(name)
    }

    pub(crate) fn fifo(&self, name: &str) -> Fifo {
        Fifo::new(&self.outside(name))
    }

    /// Makes the root a git repository.
    pub(crate) fn git_init(&self) -> &Self {
        self.shell("git init -q .")
    }

    /// Runs a shell line in the root, outside of watchrun.
    #[track_caller]
    pub(crate) fn shell(&self, line: &str) -> &Self {
        let mut command = self.hermetic("sh");
        let output = command.args(["-c", line]).output().expect("sh is there");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{line}: {}\n{stderr}",
            output.status
        );
        self
    }

    /// A command in the root that inherits nothing but what it needs.
    pub(crate) fn hermetic(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env_clear()
            .stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").expect("PATH is set"));
        command
            .env("HOME", self.base.join("home"))
            .env("TMPDIR", self.base.join("tmp"));
        command.env("NO_COLOR", "1").env("COLUMNS", "100");
        command
    }

    /// The program, with these arguments.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.hermetic(env!("CARGO_BIN_EXE_watchrun"));
        command.args(args);
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Finished {
        finish(&mut self.command(args))
    }

    /// `watchrun run --json ARGS`, to its end.
    #[track_caller]
    pub(crate) fn run_json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Finished {
        finish(self.command(["run", "--json"]).args(args))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::env::var_os("WATCHRUN_KEEP").is_some_and(|value| value == "1") {
            let kept = self.temp.take().map(TempDir::keep);
            drop(writeln!(std::io::stderr(), "kept {kept:?}"));
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target is writable");
    for entry in fs::read_dir(from).unwrap_or_else(|err| panic!("{}: {err}", from.display())) {
        let entry = entry.expect("the fixture is readable");
        let name = entry.file_name();
        if [".watchrun", "build", "target", "gen", "site"]
            .iter()
            .any(|left| name == *left)
        {
            continue;
        }
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).expect("the fixture is readable");
        }
    }
}

/// Runs a command to its end, with the deadline.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Finished {
    let shown = format!("{command:?}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(DEADLINE), stderr.recv_timeout(DEADLINE))
    else {
        kill(&mut child);
        panic!("{shown}: its output is still open after {DEADLINE:?}");
    };
    let status = child.wait().expect("our own child");
    Finished {
        shown,
        status,
        stdout,
        stderr,
    }
}

/// Reads a stream to its end on a thread of its own.
fn drain(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        drop(tx.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    rx
}

/// Ends our own child, the last resort.
pub(crate) fn kill(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// A run of the program that has ended.
pub(crate) struct Finished {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    #[track_caller]
    pub(crate) fn exit(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "the exit status of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.exit(0)
    }

    #[track_caller]
    pub(crate) fn stdout(&self, expected: &str) -> &Self {
        assert_eq!(self.stdout, expected, "the output of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(&self, part: &str) -> &Self {
        assert!(
            self.stdout.contains(part),
            "no {part:?} in the output of {self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn stderr(&self, expected: &str) -> &Self {
        assert_eq!(self.stderr, expected, "the messages of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(&self, part: &str) -> &Self {
        assert!(
            self.stderr.contains(part),
            "no {part:?} in the messages of {self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn stderr_lacks(&self, part: &str) -> &Self {
        assert!(
            !self.stderr.contains(part),
            "{part:?} in the messages of {self}"
        );
        self
    }

    /// The events of a run with `--json`: every line of stdout must be one.
    #[track_caller]
    pub(crate) fn events(&self) -> Events {
        let parse = |line| {
            serde_json::from_str(line)
                .unwrap_or_else(|err| panic!("{line:?} is no JSON: {err}; {self}"))
        };
        Events(self.stdout.lines().map(parse).collect())
    }

    /// The tasks that ran, in the order in which they ended.
    #[track_caller]
    pub(crate) fn ran(&self) -> Vec<String> {
        self.events().ran()
    }

    #[track_caller]
    pub(crate) fn assert_ran(&self, expected: &[&str]) -> &Self {
        let mut ran = self.ran();
        let mut expected = expected.to_vec();
        ran.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ran, expected, "the tasks that ran in {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            shown,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{shown} ({status})\n--- stdout\n{stdout}--- stderr\n{stderr}---"
        )
    }
}

/// A stretch of the event stream.
#[derive(Clone, Debug)]
pub(crate) struct Events(pub(crate) Vec<Value>);

impl Events {
    /// Those of one kind, in order.
    pub(crate) fn every(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.0
            .iter()
            .filter(|event| event["event"] == kind)
            .collect()
    }

    /// The tasks whose command ran to an end of its own, in the order of their ends. A task that
    /// ran twice is in it twice.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.of("task_finished")
            .into_iter()
            .filter(|event| {
                matches!(
                    event["outcome"].as_str(),
                    Some("done" | "failed" | "timed_out")
                )
            })
            .map(|event| text(event, "task"))
            .collect()
    }

    /// The last outcome of each task.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, String> {
        let finished = self.of("task_finished");
        finished
            .into_iter()
            .map(|event| (text(event, "task"), text(event, "outcome")))
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_outcomes(&self, expected: &[(&str, &str)]) -> &Self {
        let expected = expected
            .iter()
            .map(|&(task, outcome)| (task.to_owned(), outcome.to_owned()));
        assert_eq!(
            self.outcomes(),
            expected.collect(),
            "the outcomes in {self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_outcome(&self, task: &str, outcome: &str) -> &Self {
        let outcomes = self.outcomes();
        assert_eq!(
            outcomes.get(task).map(String::as_str),
            Some(outcome),
            "`{task}` in {self}"
        );
        self
    }

    /// What a task printed, line by line.
    pub(crate) fn output(&self, task: &str) -> Vec<String> {
        let lines = self.of("task_output");
        lines
            .into_iter()
            .filter(|event| event["task"] == task)
            .map(|event| text(event, "line"))
            .collect()
    }
}

impl std::fmt::Display for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// A text field of an event.
#[track_caller]
pub(crate) fn text(event: &Value, field: &str) -> String {
    event[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{field}` in {event}"))
        .to_owned()
}
