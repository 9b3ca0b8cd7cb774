//! The files a watchfile was read from: [`Sources`].
//!
//! Their text is kept for reports, their paths so that a watch can look out for edits.

use std::collections::HashSet;
use std::sync::Arc;

use crate::path::RelPath;
use crate::pattern::{Pattern, PatternSet};

/// What the files that `include` finds by a glob end with.
pub(super) const EXTENSION: &[u8] = b".toml";

/// Every file that was read, and those that were looked for and not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<Source>,
    missing: Vec<RelPath>,
    /// What `include` asks for: a file that comes to be can belong to the watchfile too.
    include: PatternSet,
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

    /// Whether a change of one of `paths` can change the watchfile: a file that was read, one
    /// that was named and is not there, or one that `include` would take.
    pub fn concern<'a>(&self, paths: impl Iterator<Item = &'a RelPath>) -> bool {
        let known: HashSet<&RelPath> = self.paths().collect();
        let mut paths = paths;
        paths.any(|path| {
            let included = || path.as_bytes().ends_with(EXTENSION) && self.include.matches(path);
            known.contains(path) || included()
        })
    }

    /// Patterns for all of what [`Sources::concern`] knows, and for more.
    pub fn patterns(&self) -> impl Iterator<Item = Pattern> {
        let named = self.paths().cloned().map(Pattern::literal);
        named.chain(self.include.includes().cloned())
    }

    /// The files that were read or looked for; one may come twice.
    fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.files.iter().map(Source::path).chain(&self.missing)
    }

    /// Notes the patterns of `include`.
    pub(super) fn set_include(&mut self, patterns: PatternSet) {
        self.include = patterns;
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
