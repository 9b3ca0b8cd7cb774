//! The same engine on a real file system, where paths can be followed and files shared.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;

use watchrun::disk::{Disk, OsDisk};
use watchrun::files::FileList;
use watchrun::path::Root;
use watchrun::pattern::PatternIndex;
use watchrun::state::{
    Access, Changed, Demand, Engine, EngineOptions, Finished, Restored, Start, StoreUse, Subject,
    Verdict,
};
use watchrun::watchfile::task::Task;

use crate::world::{RAN, list, task, text};

struct Project {
    dir: tempfile::TempDir,
    root: Root,
    task: Task,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(&dir.path().canonicalize().unwrap()).unwrap();
        let project = Self {
            dir,
            root,
            task: task("build"),
        };
        project.write("src/a", "A");
        project
    }

    fn write(&self, path: &str, content: &str) {
        let full = self.dir.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, content).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(path)).ok()
    }

    fn engine(&self) -> Engine<'static> {
        let options = EngineOptions {
            cache_dir: None,
            cache_size: 1 << 30,
            store: StoreUse::On,
            access: Access::ReadWrite,
        };
        Engine::open(&OsDisk, &self.root, options)
    }

    fn subject<T>(&self, with: impl FnOnce(&Subject<'_>) -> T) -> T {
        let files: FileList = list(&OsDisk, self.root.as_path());
        let produced = PatternIndex::new(vec![self.task.outputs.clone()]);
        with(&Subject {
            task: &self.task,
            files: &files,
            ignored: &[],
            produced: &produced,
            deps: &[],
            environment: &[],
            tools: &[],
            changed: Changed::Unknown,
            demand: Demand::IfStale,
        })
    }

    fn build(&self, engine: &Engine<'_>) -> Finished {
        let mut examined = self.subject(|subject| engine.examine(subject)).unwrap();
        engine.begin(&mut examined, Start::Anew);
        self.write("out/all", &self.read("src/a").unwrap());
        self.subject(|after| engine.finish(&examined, after, RAN, &mut &b"log"[..]))
            .unwrap()
    }

    fn restore(&self) -> Option<Restored> {
        let engine = self.engine();
        let examined = self.subject(|subject| engine.examine(subject)).unwrap();
        self.subject(|subject| engine.restore(&examined, subject))
            .unwrap()
    }

    fn verdict(&self) -> String {
        let engine = self.engine();
        text(&self.subject(|subject| engine.examine(subject)).unwrap())
    }
}

#[test]
fn the_state_ignores_itself_and_the_store_is_read_only_files() {
    let project = Project::new();
    let engine = project.engine();
    assert!(matches!(project.build(&engine), Finished::Recorded(_)));
    engine.save();
    assert_eq!(project.read(".watchrun/.gitignore").unwrap(), "*\n");
    assert_eq!(project.verdict(), "fresh");
    assert_eq!(engine.take_warnings(), []);
}

#[test]
fn a_restored_output_shares_nothing_with_the_store() {
    let project = Project::new();
    project.build(&project.engine());
    fs::remove_dir_all(project.dir.path().join("out")).unwrap();
    project.restore().unwrap();
    let restored = project.dir.path().join("out/all");
    assert_eq!(fs::metadata(&restored).unwrap().nlink(), 1);
    fs::write(&restored, "edited in place").unwrap();
    fs::remove_file(&restored).unwrap();
    project.restore().unwrap();
    assert_eq!(project.read("out/all").unwrap(), "A");
}

#[test]
fn a_read_only_output_is_replaced_by_a_read_only_one() {
    let project = Project::new();
    let engine = project.engine();
    project.build(&engine);
    let output = project.dir.path().join("out/all");
    fs::remove_file(&output).unwrap();
    let mut examined = project.subject(|subject| engine.examine(subject)).unwrap();
    engine.begin(&mut examined, Start::Anew);
    project.write("out/all", "A");
    fs::set_permissions(&output, fs::Permissions::from_mode(0o444)).unwrap();
    project
        .subject(|after| engine.finish(&examined, after, RAN, &mut &b""[..]))
        .unwrap();
    project.write("src/a", "B");
    fs::remove_file(&output).unwrap();
    project.build(&engine);
    fs::set_permissions(&output, fs::Permissions::from_mode(0o444)).unwrap();
    project.write("src/a", "A");
    project.restore().unwrap();
    assert_eq!(project.read("out/all").unwrap(), "A");
    assert_eq!(
        fs::metadata(&output).unwrap().permissions().mode() & 0o777,
        0o444
    );
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let project = Project::new();
    project.build(&project.engine());
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(project.dir.path().join("out")).unwrap();
    symlink(outside.path(), project.dir.path().join("out")).unwrap();
    assert_eq!(project.restore(), None);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    fs::remove_file(project.dir.path().join("out")).unwrap();
    fs::create_dir(project.dir.path().join("out")).unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "mine").unwrap();
    symlink(&target, project.dir.path().join("out/all")).unwrap();
    assert!(project.restore().is_some());
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    assert_eq!(project.read("out/all").unwrap(), "A");
}

#[test]
fn a_socket_or_fifo_among_inputs_and_outputs_is_no_content() {
    let project = Project::new();
    let engine = project.engine();
    let socket = |path: &str| {
        let full = project.dir.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::os::unix::net::UnixListener::bind(full).unwrap()
    };
    let _input = socket("src/socket");
    let _output = socket("out/socket");
    assert!(matches!(project.build(&engine), Finished::Recorded(_)));
    assert_eq!(
        engine
            .take_warnings()
            .iter()
            .map(watchrun::state::Warning::kind)
            .collect::<Vec<_>>(),
        ["output_not_kept"]
    );
}

#[test]
fn names_of_any_bytes_are_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new();
    project.build(&project.engine());
    let names: [&[u8]; 5] = [b"\xff", b"\xfe", b"a\nb", b"-rf", b"[x]*?"];
    let mut keys = std::collections::BTreeSet::new();
    for name in names {
        let full = project.dir.path().join("src").join(OsStr::from_bytes(name));
        fs::write(&full, "same").unwrap();
        let engine = project.engine();
        let examined = project.subject(|subject| engine.examine(subject)).unwrap();
        assert!(keys.insert(*examined.key()));
        fs::remove_file(&full).unwrap();
    }
}

#[test]
fn an_unreadable_input_is_an_error_that_names_it() {
    let project = Project::new();
    project.write("src/secret", "x");
    let secret = project.dir.path().join("src/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&secret).is_ok() {
        // The superuser reads everything.
        return;
    }
    let engine = project.engine();
    let error = project
        .subject(|subject| engine.examine(subject))
        .unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("src/secret")
    );
}

#[test]
fn a_vanished_input_is_one_that_is_gone() {
    let project = Project::new();
    project.write("src/b", "B");
    let engine = project.engine();
    let (with, without) = project.subject(|subject| {
        fs::remove_file(project.dir.path().join("src/b")).unwrap();
        let with = engine.examine(subject).unwrap();
        (with, project.subject(|now| engine.examine(now)).unwrap())
    });
    assert_eq!(with.key(), without.key());
}

/// Two engines work on one directory from two threads, each round from the same start.
#[test]
fn two_engines_at_once_agree_for_two_hundred_rounds() {
    let project = Project::new();
    let barrier = Barrier::new(2);
    let round = |n: usize| {
        for round in 0..200 {
            barrier.wait();
            if n == 0 {
                project.write("src/a", &format!("{}", round % 7));
            }
            barrier.wait();
            let engine = project.engine();
            let _held = engine.lock(&project.task.name, &mut || {}).unwrap();
            let examined = project.subject(|subject| engine.examine(subject)).unwrap();
            if *examined.verdict() != Verdict::Fresh {
                let restored = project.subject(|subject| engine.restore(&examined, subject));
                if restored.unwrap().is_none() {
                    assert!(matches!(project.build(&engine), Finished::Recorded(_)));
                }
            }
            assert_eq!(
                project.read("out/all"),
                project.read("src/a"),
                "round {round}"
            );
            engine.save();
            assert_eq!(engine.take_warnings(), []);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| round(0));
        scope.spawn(|| round(1));
    });
    assert!(OsDisk.stat(Path::new(project.root.as_path())).is_ok());
}
