//! Which files there are, for a run that does not watch: [`ScanFiles`].

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Session, SessionError};
use crate::files::FileList;
use crate::path::{RelPath, Root};
use crate::pattern::{Effect, Pattern, PatternSet};
use crate::schedule::{FileView, Files, Warning};
use crate::watch::{self, Layout, ScanOptions};
use crate::watchfile::Gitignore;

/// The directory that holds our own state: never an input.
pub(super) const STATE_DIR: &str = ".watchrun";

/// What this program writes into the root beside that: never an input either.
#[derive(Clone, Debug)]
pub(super) struct OwnFiles(Vec<Pattern>);

impl OwnFiles {
    /// Those of `paths` that lie in `root`.
    pub(super) fn new(root: &Root, paths: &[PathBuf]) -> Self {
        let inside = paths.iter().filter_map(|path| root.relativize(path).ok());
        let exclude = |path| Pattern::literal(path).with_effect(Effect::Exclude);
        Self(inside.map(exclude).collect())
    }

    /// `wanted` without them.
    pub(super) fn out_of(&self, wanted: &PatternSet) -> PatternSet {
        if self.0.is_empty() {
            return wanted.clone();
        }
        let patterns = wanted.patterns().iter().chain(&self.0);
        PatternSet::new(patterns.cloned().collect())
    }
}

/// Fewer files than this are looked at by one thread.
pub(super) const SMALL: usize = 500;

/// One look at everything, and further looks once a command has run.
pub(super) struct ScanFiles {
    root: Root,
    options: ScanOptions,
    own: OwnFiles,
    first: Arc<Files>,
    /// How many commands have ended since the first look.
    ended: AtomicU64,
    // Guards the last look after the first. Leaf lock, held to clone or to replace it.
    last: Mutex<Option<Look>>,
}

/// A look at the files that some task may take.
#[derive(Clone)]
struct Look {
    /// How many commands had ended when it began.
    ended: u64,
    wanted: Arc<PatternSet>,
    files: Arc<Files>,
    /// What spares the next one of the same files most of the work.
    layout: Option<Arc<Layout>>,
}

impl Look {
    /// The same files, as they are now, unless that takes a look from the beginning.
    fn again(&self, ended: u64) -> Option<Self> {
        let layout = self.layout.as_ref()?;
        let files = match layout.look_again(self.files.listing.list())? {
            Cow::Borrowed(_) => Arc::clone(&self.files),
            Cow::Owned(listing) => files_of(listing, self.files.ignored.clone()),
        };
        Some(Self {
            ended,
            files,
            ..self.clone()
        })
    }
}

fn files_of(listing: FileList, ignored: Vec<RelPath>) -> Arc<Files> {
    Arc::new(Files {
        listing: Box::new(listing),
        ignored,
        version: 0,
    })
}

impl ScanFiles {
    /// Looks at everything that `options` select, which hold nothing of `own`. Blocks.
    fn new(root: &Root, options: ScanOptions, own: OwnFiles) -> io::Result<(Self, Vec<Warning>)> {
        let scan = watch::scan(root, &options)?;
        let warnings = scan.warnings.iter().map(told).collect();
        Ok((
            Self {
                root: root.clone(),
                options,
                own,
                first: files_of(scan.files, scan.ignored),
                ended: AtomicU64::new(0),
                last: Mutex::default(),
            },
            warnings,
        ))
    }

    /// Looks at what `wanted` matches. `is_repeated` says that it was looked at before this, and
    /// so is probably looked at once more.
    fn look(&self, ended: u64, wanted: &PatternSet, is_repeated: bool) -> Look {
        let options = ScanOptions {
            select: Some(self.own.out_of(wanted)),
            ..self.options.clone()
        };
        let found = if is_repeated {
            watch::look(&self.root, &options, watch::stamp_clock_ns())
        } else {
            watch::scan(&self.root, &options).map(|scan| (scan, None))
        };
        // What cannot be read was warned of at the first look. A root that is gone has no files.
        let (files, layout) = found.map_or_else(
            |_| (Arc::new(Files::none()), None),
            |(scan, layout)| (files_of(scan.files, scan.ignored), layout),
        );
        Look {
            ended,
            wanted: Arc::new(wanted.clone()),
            files,
            layout: layout.map(Arc::new),
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Look>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileView for ScanFiles {
    fn now(&self, wanted: &PatternSet) -> Arc<Files> {
        let ended = self.ended.load(Ordering::Acquire);
        if ended == 0 {
            return Arc::clone(&self.first);
        }
        let last = self.last().clone();
        let last = last.filter(|last| *last.wanted == *wanted);
        let look = match &last {
            // What commands that still run may write is not asked for before they end.
            Some(last) if last.ended == ended => return Arc::clone(&last.files),
            Some(last) => last.again(ended),
            None => None,
        };
        let look = look.unwrap_or_else(|| self.look(ended, wanted, last.is_some()));
        let files = Arc::clone(&look.files);
        *self.last() = Some(look);
        files
    }

    fn changed_since(&self, _version: u64) -> Option<Vec<RelPath>> {
        None
    }

    fn is_small(&self) -> bool {
        self.first.listing.list().entries().len() < SMALL
    }

    fn settle(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// A warning of the watch system as an event.
pub(super) fn told(warning: &watch::Warning) -> Warning {
    Warning {
        kind: warning.kind(),
        message: warning.to_string(),
        hint: warning.hint(),
    }
}

impl Session {
    /// One look at everything that this session is about. Blocks.
    pub(super) fn scan(&self) -> Result<(ScanFiles, Vec<Warning>), SessionError> {
        let failed = |source| SessionError::Root {
            root: self.root.clone(),
            source,
        };
        ScanFiles::new(&self.root, self.scan_options(), self.own_files()).map_err(failed)
    }

    /// What a scan for this session takes in.
    fn scan_options(&self) -> ScanOptions {
        ScanOptions {
            gitignore: self.plan.settings().gitignore == Gitignore::Followed,
            global_excludes: self.options.global_excludes.clone(),
            excluded_names: vec![STATE_DIR.to_owned()],
            select: Some(self.interest()),
        }
    }

    /// Every path that could matter to what was asked for.
    pub(super) fn interest(&self) -> PatternSet {
        let wanted = self.plan.interest(self.selection.ids());
        self.own_files().out_of(&wanted)
    }

    fn own_files(&self) -> OwnFiles {
        OwnFiles::new(&self.root, &self.options.own_files)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::path::RelDir;

    fn patterns(texts: &[&str]) -> PatternSet {
        let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
        PatternSet::new(texts.iter().map(parse).collect())
    }

    fn paths(files: &Files) -> Vec<String> {
        let entries = files.listing.list().entries().iter();
        entries.map(|entry| entry.path.to_string()).collect()
    }

    /// The files after one more command.
    fn after_one_more(files: &ScanFiles, wanted: &PatternSet) -> Arc<Files> {
        files.settle();
        files.now(wanted)
    }

    #[test]
    fn a_command_that_changes_nothing_leaves_the_files_as_they_were_and_any_other_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        for name in ["a.c", "b.h", "ignored"] {
            fs::write(path(name), "").unwrap();
        }
        fs::write(path(".ignore"), "ignored\n").unwrap();
        let root = Root::new(&temp.path().canonicalize().unwrap()).unwrap();
        let none = OwnFiles::new(&root, &[]);
        let (files, _) = ScanFiles::new(&root, ScanOptions::new(), none).unwrap();
        let (c, h) = (patterns(&["*.c", "ignored"]), patterns(&["*.h"]));
        // Until the directory is old enough to be known by its times.
        let mut last = after_one_more(&files, &c);
        let same = loop {
            let again = after_one_more(&files, &c);
            if Arc::ptr_eq(&last, &again) {
                break again;
            }
            last = again;
        };
        assert_eq!(paths(&same), ["a.c", "ignored"]);
        assert_eq!(same.ignored.len(), 1);

        fs::write(path("a.c"), "written").unwrap();
        let written = after_one_more(&files, &c);
        assert_eq!(paths(&written), ["a.c", "ignored"]);
        assert_eq!(written.listing.list().entries()[0].stat.size, 7);
        assert_eq!(written.ignored, same.ignored);

        // Who asks for something else gets it, and is no reason to believe in what was before.
        assert_eq!(paths(&after_one_more(&files, &h)), ["b.h"]);
        fs::write(path("new.c"), "").unwrap();
        assert_eq!(
            paths(&after_one_more(&files, &c)),
            ["a.c", "ignored", "new.c"]
        );
        fs::remove_file(path("new.c")).unwrap();
        assert_eq!(paths(&after_one_more(&files, &c)), ["a.c", "ignored"]);
        fs::remove_dir_all(temp.path()).unwrap();
        assert!(paths(&after_one_more(&files, &c)).is_empty());
    }
}
