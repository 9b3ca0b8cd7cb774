//! One task in a root in memory: [`World`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use watchrun::digest::Digest;
use watchrun::disk::Disk;
use watchrun::disk::mem::MemDisk;
use watchrun::files::{FileEntry, FileList};
use watchrun::outcome::ExitStatus;
use watchrun::path::{RelDir, RelPath, Root};
use watchrun::pattern::{Pattern, PatternIndex, PatternSet};
use watchrun::state::{
    Access, Changed, Demand, Engine, EngineOptions, Examined, Finished, Ran, Restored, Start,
    StoreUse, Subject, ToolProbe, Verdict,
};
use watchrun::task_id::TaskName;
use watchrun::watchfile::task::{
    Caching, FailureRule, Inputs, Invocation, OnBusy, Span, StopRule, Task, TaskKind, Terminal,
};

pub(crate) const ROOT: &str = "/p";

pub(crate) const RAN: Ran = Ran {
    duration: Duration::from_millis(100),
    attempts: 1,
};

/// A root with one task, `build`: `src/**` to `out/**`. Its command writes the inputs, one after
/// the other, to `out/all`.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: MemDisk,
    pub(crate) task: Task,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) deps: Vec<(TaskName, Digest)>,
    pub(crate) tools: Vec<ToolProbe>,
    pub(crate) ignored: Vec<RelPath>,
    pub(crate) demand: Demand,
    pub(crate) options: EngineOptions,
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub(crate) fn patterns(texts: &[&str]) -> PatternSet {
    let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
    PatternSet::new(texts.iter().map(parse).collect())
}

pub(crate) fn task(name: &str) -> Task {
    let span = Span {
        source: 0,
        start: 0,
        end: 0,
    };
    Task {
        name: TaskName::new(name),
        span,
        kind: TaskKind::Command(Invocation::Words(vec![
            "cat".to_owned(),
            "-a".to_owned(),
            "-b".to_owned(),
        ])),
        description: None,
        inputs: Inputs::Patterns(patterns(&["src/**"])),
        outputs: patterns(&["out/**"]),
        output_spans: vec![span],
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

/// Every file of `disk` below the root that could be an input.
pub(crate) fn list(disk: &dyn Disk, root: &Path) -> FileList {
    fn walk(disk: &dyn Disk, root: &Root, dir: &Path, found: &mut Vec<FileEntry>) {
        for name in disk.read_dir(dir).unwrap_or_default() {
            let full = dir.join(name);
            if full.ends_with(".watchrun") {
                continue;
            }
            let Ok(stat) = disk.stat(&full) else { continue };
            if stat.file_type() == watchrun::change::FileType::Dir {
                walk(disk, root, &full, found);
            } else {
                let path = root.relativize(&full).unwrap();
                found.push(FileEntry { path, stat });
            }
        }
    }
    let mut found = Vec::new();
    walk(disk, &Root::new(root).unwrap(), root, &mut found);
    FileList::new(found)
}

impl World {
    /// With `src/a` and `src/b`, a moment ago.
    pub(crate) fn new() -> Self {
        let disk = MemDisk::new();
        disk.edit("/p/src/a", b"A");
        disk.edit("/p/src/b", b"B");
        disk.tick();
        Self {
            disk,
            task: task("build"),
            env: Vec::new(),
            deps: Vec::new(),
            tools: Vec::new(),
            ignored: Vec::new(),
            demand: Demand::IfStale,
            options: EngineOptions {
                cache_dir: None,
                cache_size: 1 << 30,
                store: StoreUse::On,
                access: Access::ReadWrite,
            },
        }
    }

    /// Its task has succeeded once and some time went by.
    pub(crate) fn built() -> Self {
        let world = Self::new();
        world.build();
        world.disk.tick();
        world
    }

    pub(crate) fn engine(&self) -> Engine<'_> {
        let root = Root::new(Path::new(ROOT)).unwrap();
        Engine::open(&self.disk, &root, self.options.clone())
    }

    /// Calls `with` with the subject as things are now.
    pub(crate) fn subject<T>(&self, with: impl FnOnce(&Subject<'_>) -> T) -> T {
        let files = list(&self.disk, Path::new(ROOT));
        let produced = PatternIndex::new(vec![self.task.outputs.clone(), patterns(&["gen/**"])]);
        with(&Subject {
            task: &self.task,
            files: &files,
            ignored: &self.ignored,
            produced: &produced,
            deps: &self.deps,
            environment: &self.env,
            tools: &self.tools,
            changed: Changed::Unknown,
            demand: self.demand,
        })
    }

    pub(crate) fn examine(&self, engine: &Engine<'_>) -> Examined {
        self.subject(|subject| engine.examine(subject)).unwrap()
    }

    /// The verdict of a new engine, as text.
    #[track_caller]
    pub(crate) fn verdict(&self) -> String {
        let engine = self.engine();
        let examined = self.examine(&engine);
        assert_eq!(engine.take_warnings(), []);
        engine.save();
        text(&examined)
    }

    /// What the command does.
    pub(crate) fn command(&self) {
        let all: Vec<u8> = self
            .disk
            .files()
            .into_iter()
            .filter(|(path, _)| path.starts_with("/p/src"))
            .flat_map(|(_, content)| content)
            .collect();
        self.disk.edit("/p/out/all", &all);
    }

    /// Runs the command whatever the verdict, with a new engine.
    pub(crate) fn build(&self) -> Finished {
        self.build_with(Self::command)
    }

    pub(crate) fn build_with(&self, command: impl FnOnce(&Self)) -> Finished {
        let engine = self.engine();
        let examined = self.examine(&engine);
        let finished = self.run(&engine, examined, Start::Anew, command);
        engine.save();
        finished
    }

    pub(crate) fn run(
        &self,
        engine: &Engine<'_>,
        mut examined: Examined,
        start: Start,
        command: impl FnOnce(&Self),
    ) -> Finished {
        engine.begin(&mut examined, start);
        self.disk.tick();
        command(self);
        self.disk.tick();
        let finished = self
            .subject(|after| engine.finish(&examined, after, RAN, &mut &b"printed\n"[..]))
            .unwrap();
        engine.flush();
        finished
    }

    pub(crate) fn fail(&self, code: i32) {
        let engine = self.engine();
        let mut examined = self.examine(&engine);
        engine.begin(&mut examined, Start::Anew);
        engine.failed(&examined, Some(ExitStatus::Code(code)), RAN, None);
        engine.save();
        self.disk.tick();
    }

    pub(crate) fn restore(&self) -> Option<Restored> {
        let engine = self.engine();
        let examined = self.examine(&engine);
        let restored = self
            .subject(|subject| engine.restore(&examined, subject))
            .unwrap();
        engine.save();
        restored
    }

    pub(crate) fn log(&self, restored: &Restored) -> Vec<u8> {
        let mut log = Vec::new();
        let mut reader = self.engine().open_log(&restored.log).unwrap();
        reader.read_to_end(&mut log).unwrap();
        log
    }

    pub(crate) fn edit(&self, path: &str, content: &str) {
        self.disk
            .edit(Path::new(ROOT).join(path), content.as_bytes());
        self.disk.tick();
    }

    pub(crate) fn remove(&self, path: &str) {
        self.disk.remove(&Path::new(ROOT).join(path)).unwrap();
        self.disk.tick();
    }

    pub(crate) fn content(&self, path: &str) -> Option<String> {
        let bytes = self.disk.read(&Path::new(ROOT).join(path)).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Every file below `.watchrun`.
    pub(crate) fn state_files(&self) -> Vec<PathBuf> {
        let files = self.disk.files().into_keys();
        files
            .filter(|path| path.starts_with("/p/.watchrun"))
            .collect()
    }
}

pub(crate) fn text(examined: &Examined) -> String {
    match examined.verdict() {
        Verdict::Fresh => "fresh".to_owned(),
        Verdict::Stale(reason) => reason.to_string(),
    }
}
