//! A whole watchfile, checked: the main file, what it includes and the env files they name.
//!
//! Notes *all* errors and goes on, so that one report holds everything that is to be mended.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::disk::{Disk, DiskError};
use crate::path::{RelDir, RelPath, Root};
use crate::task_id::TaskName;

use super::definition::{Scope, lower_task};
use super::env::{Env, lower_env, parse_env_file};
use super::error::Error;
use super::include;
use super::kind::ErrorKind;
use super::place::{Places, lower_path};
use super::raw::{self, Document, Role};
use super::reader::{At, Text};
use super::remote::lower_remote;
use super::settings::lower_settings;
use super::sources::Sources;
use super::task::{NameRef, Span, Task};
use super::{Loaded, Pool, Watchfile};

/// Where the files are that a watchfile speaks of; `None`: they are not looked at.
pub(super) type Files<'a> = Option<(&'a dyn Disk, &'a Root)>;

/// Checks the main watchfile `path` with this `text` and everything it speaks of.
pub(super) fn lower(path: &RelPath, text: &Arc<str>, files: Files<'_>) -> Loaded {
    let mut lowering = Lowering {
        files,
        places: Places::new(files),
        sources: Sources::default(),
        errors: Vec::new(),
        tasks: Vec::new(),
        defined: HashMap::new(),
    };
    let source = lowering.sources.add(path.clone(), Arc::clone(text));
    let table = raw::parse(source, text, &mut lowering.errors);
    let document = raw::read(&table, Role::Main, source, &mut lowering.errors);
    lowering.main(&document, path)
}

/// What has been found so far.
struct Lowering<'a> {
    files: Files<'a>,
    places: Places<'a>,
    sources: Sources,
    errors: Vec<Error>,
    tasks: Vec<Task>,
    /// The tasks there are, and where.
    defined: HashMap<TaskName, Span>,
}

impl Lowering<'_> {
    fn main(mut self, document: &Document<'_>, path: &RelPath) -> Loaded {
        let settings = lower_settings(&document.settings, &mut self.errors);
        let pools = lower_pools(&document.pools, &mut self.errors);
        let indexes = pools
            .iter()
            .enumerate()
            .map(|(idx, pool)| (pool.name.clone(), idx))
            .collect();
        let remote = document.remote.as_ref();
        let remote = remote.and_then(|remote| lower_remote(remote, &mut self.errors));
        let env = self.env(document, &RelDir::ROOT, Env::new());
        let scope = Scope {
            dir: path.parent(),
            prefix: String::new(),
            own: HashSet::new(),
            env: env.clone(),
            pools: &indexes,
        };
        self.tasks(document, &scope);
        self.include(&document.include, path, &env, &indexes);
        let names = |texts: &At<Vec<Text<'_>>>| -> Vec<NameRef> {
            let name = |text: &Text<'_>| NameRef {
                name: TaskName::new(text.value),
                span: text.span,
            };
            texts.value.iter().map(name).collect()
        };
        let default = document.default.as_ref().map(names);
        self.finish(Watchfile {
            tasks: Vec::new(),
            default,
            settings,
            pools,
            remote,
            sources: Sources::default(),
        })
    }

    fn finish(mut self, mut watchfile: Watchfile) -> Loaded {
        if self.tasks.is_empty() && self.errors.is_empty() {
            let start = Span {
                source: 0,
                start: 0,
                end: 0,
            };
            self.errors.push(Error::new(ErrorKind::NoTasks, start));
        }
        drop_misread(&mut self.errors, &self.sources);
        watchfile.tasks = self.tasks;
        watchfile.sources = self.sources;
        Loaded {
            watchfile,
            errors: self.errors,
        }
    }

    fn tasks(&mut self, document: &Document<'_>, scope: &Scope<'_>) {
        self.tasks.reserve(document.tasks.len());
        self.defined.reserve(document.tasks.len());
        for raw in &document.tasks {
            let task = lower_task(raw, scope, &mut self.places, &mut self.errors);
            if let Some(first) = self.defined.get(&task.name) {
                let name = task.name.clone();
                let error = Error::new(ErrorKind::DuplicateName { name }, task.span)
                    .with_label(*first, "first here")
                    .with_hint("tasks and services share their names: rename one of them");
                self.errors.push(error);
                continue;
            }
            self.defined.insert(task.name.clone(), task.span);
            self.tasks.push(task);
        }
    }

    /// The variables of a file: `above`, then its env files in order, then its `[env]`.
    fn env(&mut self, document: &Document<'_>, dir: &RelDir, above: Env) -> Env {
        let mut env = above;
        for text in &document.env_files {
            let Some(path) = lower_path(text, dir, &mut self.errors) else {
                continue;
            };
            if let Some(source) = self.read(path, text) {
                let content = self.sources.text(source);
                parse_env_file(source, &content, &mut env, &mut self.errors);
            }
        }
        lower_env(&document.env, &mut env, &mut self.errors);
        env
    }

    fn include(
        &mut self,
        patterns: &[Text<'_>],
        main: &RelPath,
        env: &Env,
        pools: &HashMap<String, usize>,
    ) {
        let Some(files) = self.files else {
            return;
        };
        let (patterns, included) = include::expand(patterns, main, files, &mut self.errors);
        self.sources.set_include(patterns);
        for file in included {
            if let Some(source) = self.read(file.path.clone(), file.by) {
                self.included(&file.path, source, env, pools);
            }
        }
    }

    fn included(
        &mut self,
        path: &RelPath,
        source: usize,
        env: &Env,
        pools: &HashMap<String, usize>,
    ) {
        let text = self.sources.text(source);
        let table = raw::parse(source, &text, &mut self.errors);
        let document = raw::read(&table, Role::Included, source, &mut self.errors);
        let dir = path.parent();
        let env = self.env(&document, &dir, env.clone());
        let scope = Scope {
            prefix: if dir.is_root() {
                String::new()
            } else {
                format!("{dir}:")
            },
            own: document.tasks.iter().map(|task| task.name.value).collect(),
            dir,
            env,
            pools,
        };
        self.tasks(&document, &scope);
    }

    /// Reads a file that `named` speaks of. `None`: it cannot be read, which is noted, or files
    /// are not looked at.
    fn read(&mut self, path: RelPath, named: &Text<'_>) -> Option<usize> {
        let (disk, root) = self.files?;
        let shown = path.to_string();
        let (kind, hint) = match disk.read(&root.join(&path)) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => return Some(self.sources.add(path, text.into())),
                Err(_) => (ErrorKind::NotUtf8 { path: shown }, "save it as UTF-8"),
            },
            Err(error) => {
                let hint = if error.is_not_found() {
                    "paths are relative to the watchfile's directory"
                } else {
                    "it must be a file that you may read"
                };
                let reason = reason(&error);
                (
                    ErrorKind::CannotRead {
                        path: shown,
                        reason,
                    },
                    hint,
                )
            }
        };
        self.sources.add_missing(path);
        self.errors
            .push(Error::new(kind, named.span).with_hint(hint));
        None
    }
}

fn reason(error: &DiskError) -> String {
    if error.is_not_found() {
        "it does not exist".to_owned()
    } else {
        error.source.to_string()
    }
}

fn lower_pools(raw: &[(Text<'_>, At<i64>)], errors: &mut Vec<Error>) -> Vec<Pool> {
    let mut pools = Vec::with_capacity(raw.len());
    for (name, size) in raw {
        let slots = usize::try_from(size.value).ok().and_then(NonZeroUsize::new);
        if slots.is_none() {
            let kind = ErrorKind::OutOfRange {
                key: name.value.to_owned(),
                expected: "1 or more",
                value: size.value.to_string(),
            };
            let hint = "a pool is how many of its tasks may run at once";
            errors.push(Error::new(kind, size.span).with_hint(hint));
        }
        if name.value.is_empty() {
            let key = "a pool's name".to_owned();
            errors.push(Error::new(ErrorKind::Empty { key }, name.span));
        }
        pools.push(Pool {
            name: name.value.to_owned(),
            size: slots.unwrap_or(NonZeroUsize::MIN),
        });
    }
    pools
}

/// Drops errors about lines that are not even TOML: what was read there is a guess.
fn drop_misread(errors: &mut Vec<Error>, sources: &Sources) {
    let broken: HashSet<(usize, usize)> = errors
        .iter()
        .filter(|error| error.is_syntax())
        .map(|error| line_of(error.span, sources))
        .collect();
    if !broken.is_empty() {
        errors.retain(|error| error.is_syntax() || !broken.contains(&line_of(error.span, sources)));
    }
}

/// The file and the first byte of the line that a span begins in.
fn line_of(span: Span, sources: &Sources) -> (usize, usize) {
    let text = sources.get(span.source).map_or("", |source| source.text());
    let before = &text.as_bytes()[..span.start.min(text.len())];
    let start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    (span.source, start)
}
