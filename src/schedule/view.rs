//! Which files there are now: [`FileView`].

use std::sync::Arc;

use crate::files::{FileList, Listing};
use crate::path::RelPath;
use crate::pattern::PatternSet;

/// The files of a root at one moment.
pub struct Files {
    /// Everything that some task may take as input.
    pub listing: Box<dyn Listing>,
    /// Those of `listing` that are ignored, ascending: they are there because a pattern without
    /// wildcards names them.
    pub ignored: Vec<RelPath>,
    /// Counts the changes that went into it, where the view follows changes.
    pub version: u64,
}

impl Files {
    /// No files at all.
    pub fn none() -> Self {
        Self {
            listing: Box::new(FileList::default()),
            ignored: Vec::new(),
            version: 0,
        }
    }
}

/// Knows the files of a root: by walking, or by watching.
pub trait FileView: Send + Sync {
    /// The files as they were when [`Self::settle`] last returned, or later. Holds at least what
    /// `wanted` matches.
    fn now(&self, wanted: &PatternSet) -> Arc<Files>;

    /// The paths that became different after `version`, in any order; perhaps more. `None` when
    /// that is not known.
    fn changed_since(&self, version: u64) -> Option<Vec<RelPath>>;

    /// Whether there are so few files that looking at them is nothing to share among threads.
    fn is_small(&self) -> bool;

    /// Waits until everything that was written before this call is seen. Blocks; not to be called
    /// on a thread of rayon's global pool, which the watch needs to look.
    fn settle(&self);
}
