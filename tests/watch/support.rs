//! A watched temporary directory: [`Tree`].

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use watchrun::change::{Change, ChangeKind, ChangeSet};
use watchrun::path::{RelDir, RelPath};
use watchrun::pattern::{Pattern, PatternSet};
use watchrun::watch::{WatchHandle, WatchManager, WatchOptions};

/// Long enough for any machine: a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A temporary directory, and a watch of it once [`Tree::watch`] was called.
pub(crate) struct Tree {
    temp: tempfile::TempDir,
    pub(crate) manager: WatchManager,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
            manager: WatchManager::new(),
        }
    }

    /// With the given files in `root`, each holding its own name.
    pub(crate) fn with(files: &[&str]) -> Self {
        let tree = Self::new();
        fs::create_dir(tree.root()).unwrap();
        for file in files {
            tree.write(file, file);
        }
        tree
    }

    /// What is watched: a directory in one of ours, so that the root can be replaced.
    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join("root")
    }

    /// A path outside the root, on the same file system.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.temp
            .path()
            .canonicalize()
            .unwrap()
            .join("outside")
            .join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn git(&self, args: &[&str]) {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .current_dir(self.root())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn watch(&self) -> WatchHandle {
        self.watch_with(WatchOptions::new())
    }

    pub(crate) fn watch_with(&self, options: WatchOptions) -> WatchHandle {
        self.manager.create_watch(&self.root(), options).unwrap()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the options take it")]
pub(crate) fn select(texts: &[&str]) -> Option<PatternSet> {
    let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
    Some(PatternSet::new(texts.iter().map(parse).collect()))
}

pub(crate) fn rel(path: &str) -> RelPath {
    RelPath::new(path.as_bytes()).unwrap()
}

/// One change as text: `+a` created, `~a` modified, `.a` metadata, `-a` removed, `a>b` renamed.
pub(crate) fn text(change: &Change) -> String {
    let path = &change.path;
    match &change.kind {
        ChangeKind::Created => format!("+{path}"),
        ChangeKind::Modified => format!("~{path}"),
        ChangeKind::Metadata => format!(".{path}"),
        ChangeKind::Removed => format!("-{path}"),
        ChangeKind::Renamed { from } => format!("{from}>{path}"),
    }
}

pub(crate) fn texts(set: &ChangeSet) -> Vec<String> {
    set.changes.iter().map(text).collect()
}

/// Everything that was reported of what happened before this call, sets put together.
pub(crate) fn seen(watch: &WatchHandle) -> Vec<String> {
    watch.sync(PATIENCE).unwrap();
    let mut all = Vec::new();
    while let Some(set) = watch.try_next().unwrap() {
        assert!(!set.changes.is_empty());
        all.push(set);
    }
    match all.split_first() {
        None => Vec::new(),
        Some((first, rest)) => {
            let merge = |one: ChangeSet, two: &ChangeSet| watchrun::watch::merge(&one, two);
            texts(&rest.iter().fold(first.clone(), merge))
        }
    }
}

/// Requires that the model is what is on disk.
#[track_caller]
pub(crate) fn check_exact(watch: &WatchHandle) {
    watch.sync(PATIENCE).unwrap();
    let report = watch.audit().unwrap();
    assert!(report.is_exact(), "{report:?}");
}

/// Waits for sets until all of `expected` has been told.
#[track_caller]
pub(crate) fn await_all(watch: &WatchHandle, expected: &[&str]) {
    let mut told = Vec::new();
    while !expected.iter().all(|text| told.iter().any(|t| t == text)) {
        match watch.next(PATIENCE).unwrap() {
            Some(set) => told.extend(texts(&set)),
            None => panic!("waited for {expected:?}, told {told:?}"),
        }
    }
}

/// Set in a process that [`run_inside`] has started.
pub(crate) const INSIDE: &str = "WATCHRUN_TEST_INSIDE";

/// Runs one test of this binary in a user namespace of its own, after `setup`. `false` when the
/// system does not allow namespaces.
pub(crate) fn run_inside(test: &str, setup: &str) -> bool {
    run_inside_as(&["--map-root-user", "--mount"], test, setup)
}

/// As [`run_inside`], with other arguments for the namespace.
pub(crate) fn run_inside_as(arguments: &[&str], test: &str, setup: &str) -> bool {
    let own = std::env::current_exe().unwrap();
    let command = format!("{setup} || exit 77; exec \"$0\" --exact {test} --nocapture");
    let output = Command::new("unshare")
        .arg("--user")
        .args(arguments)
        .args(["sh", "-c", &command])
        .arg(own)
        .env(INSIDE, "1")
        .output();
    let Ok(output) = output else { return false };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if printed.contains("Operation not permitted") || output.status.code() == Some(77) {
        return false;
    }
    assert!(output.status.success(), "{printed}");
    true
}
