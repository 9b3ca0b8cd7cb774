//! Which files there are, for a run that does not watch: [`ScanFiles`].

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Session, SessionError};
use crate::path::{RelPath, Root};
use crate::pattern::PatternSet;
use crate::schedule::{FileView, Files, Warning};
use crate::watch::{self, Scan, ScanOptions};
use crate::watchfile::Gitignore;

/// The directory that holds our own state: never an input.
pub(super) const STATE_DIR: &str = ".watchrun";

/// Fewer files than this are looked at by one thread.
pub(super) const SMALL: usize = 500;

/// One look at everything, and further looks once a command has run.
pub(super) struct ScanFiles {
    root: Root,
    options: ScanOptions,
    first: Arc<Files>,
    /// How many commands have ended since the first look.
    ended: AtomicU64,
    // Guards the last look after the first. Leaf lock, held to clone or to replace it.
    last: Mutex<Option<Look>>,
}

/// A look at the files that some task may take.
struct Look {
    /// How many commands had ended when it began.
    ended: u64,
    wanted: PatternSet,
    files: Arc<Files>,
}

impl ScanFiles {
    /// Looks at everything that `options` select. Blocks.
    fn new(root: &Root, options: ScanOptions) -> io::Result<(Self, Vec<Warning>)> {
        let Scan {
            files,
            ignored,
            warnings,
        } = watch::scan(root, &options)?;
        let first = Arc::new(Files {
            listing: Box::new(files),
            ignored,
            version: 0,
        });
        let warnings = warnings.iter().map(told).collect();
        Ok((
            Self {
                root: root.clone(),
                options,
                first,
                ended: AtomicU64::new(0),
                last: Mutex::default(),
            },
            warnings,
        ))
    }
}

impl ScanFiles {
    fn look(&self, wanted: &PatternSet) -> Arc<Files> {
        let options = ScanOptions {
            select: Some(wanted.clone()),
            ..self.options.clone()
        };
        // What cannot be read was warned of at the first look. A root that is gone has no files.
        let scan = watch::scan(&self.root, &options);
        scan.map_or_else(
            |_| Arc::new(Files::none()),
            |Scan {
                 files,
                 ignored,
                 warnings: _,
             }| {
                Arc::new(Files {
                    listing: Box::new(files),
                    ignored,
                    version: 0,
                })
            },
        )
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
        // What commands that still run may write is not asked for before they end.
        if let Some(last) = &*self.last()
            && last.ended == ended
            && last.wanted == *wanted
        {
            return Arc::clone(&last.files);
        }
        let files = self.look(wanted);
        *self.last() = Some(Look {
            ended,
            wanted: wanted.clone(),
            files: Arc::clone(&files),
        });
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
        ScanFiles::new(&self.root, self.scan_options()).map_err(failed)
    }

    /// What a scan for this session takes in.
    fn scan_options(&self) -> ScanOptions {
        ScanOptions {
            gitignore: self.plan.settings().gitignore == Gitignore::Followed,
            global_excludes: self.options.global_excludes.clone(),
            excluded_names: vec![STATE_DIR.to_owned()],
            select: Some(self.plan.interest(self.selection.ids())),
        }
    }
}
