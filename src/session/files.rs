//! Which files there are, for a run that does not watch: [`ScanFiles`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Session, SessionError};
use crate::path::{RelPath, Root};
use crate::pattern::PatternSet;
use crate::schedule::{FileView, Files, Warning};
use crate::watch::{self, Scan, ScanOptions};
use crate::watchfile::Gitignore;

/// The directory that holds our own state: never an input.
pub(super) const STATE_DIR: &str = ".watchrun";

/// One look at everything, and further looks once a command has run.
pub(super) struct ScanFiles {
    root: Root,
    options: ScanOptions,
    first: Arc<Files>,
    /// Whether a command has run since the first look.
    dirty: AtomicBool,
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
        let dirty = AtomicBool::new(false);
        let warnings = warnings.iter().map(told).collect();
        Ok((
            Self {
                root: root.clone(),
                options,
                first,
                dirty,
            },
            warnings,
        ))
    }
}

impl FileView for ScanFiles {
    fn now(&self, wanted: &PatternSet) -> Arc<Files> {
        if !self.dirty.load(Ordering::Acquire) {
            return Arc::clone(&self.first);
        }
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

    fn changed_since(&self, _version: u64) -> Option<Vec<RelPath>> {
        None
    }

    fn settle(&self) {
        self.dirty.store(true, Ordering::Release);
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
