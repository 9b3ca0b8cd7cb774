//! The files a watchfile was read from: [`Sources`].
//!
//! Their text is kept for reports, their paths so that a watch can look out for edits.

use std::sync::Arc;

use crate::path::RelPath;

/// Every file that was read, and those that were looked for and not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<Source>,
    missing: Vec<RelPath>,
}

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    path: RelPath,
    text: Arc<str>,
}

impl Source {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// What was in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Sources {
    /// The file that spans with this `source` speak of. 0 is the main watchfile.
    #[must_use]
    pub fn get(&self, source: usize) -> Option<&Source> {
        self.files.get(source)
    }

    /// The files that were read: the main watchfile, then the others as they were met.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// Every path an edit of which can change the watchfile: files that were read, and files
    /// that were named and are not there. No path twice.
    #[must_use]
    pub fn paths(&self) -> Vec<&RelPath> {
        let mut paths: Vec<&RelPath> = self.files.iter().map(Source::path).collect();
        paths.extend(&self.missing);
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Adds a file and gives its index.
    pub(super) fn add(&mut self, path: RelPath, text: Arc<str>) -> usize {
        self.files.push(Source { path, text });
        self.files.len() - 1
    }

    /// Notes that `path` was looked for.
    pub(super) fn add_missing(&mut self, path: RelPath) {
        self.missing.push(path);
    }

    /// The text of a file, shared.
    pub(super) fn text(&self, source: usize) -> Arc<str> {
        Arc::clone(&self.files[source].text)
    }
}
