//! Which files exist, as a value: [`FileList`], paths with what the system says of them.
//!
//! A walk makes one, a watch keeps one in step with the disk; the engine only reads it.

use std::collections::BTreeSet;

use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::pattern::{Pattern, PatternSet};

/// One file, link or other thing that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is.
    pub path: RelPath,
    /// What the system says of it, links not followed.
    pub stat: FileStat,
}

/// What is known of some files: a list of them, or who can make one when it is needed.
pub trait Listing: Send + Sync {
    /// All of them.
    fn list(&self) -> &FileList;

    /// What is known of one, without a list of all where that can be had.
    fn stat(&self, path: &RelPath) -> Option<FileStat>;
}

impl Listing for FileList {
    fn list(&self) -> &FileList {
        self
    }

    fn stat(&self, path: &RelPath) -> Option<FileStat> {
        self.get(path).copied()
    }
}

/// The files below a root, ordered by path, no path twice. Directories are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    entries: Vec<FileEntry>,
}

impl FileList {
    /// Orders `entries`; of two with one path, one is kept.
    pub fn new(mut entries: Vec<FileEntry>) -> Self {
        if !entries.is_sorted_by(|a, b| a.path < b.path) {
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            entries.dedup_by(|a, b| a.path == b.path);
        }
        Self { entries }
    }

    /// All of them, in order.
    pub fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    /// What is known of `path`.
    pub fn get(&self, path: &RelPath) -> Option<&FileStat> {
        let at = self.find(path).ok()?;
        Some(&self.entries[at].stat)
    }

    /// Those below `dir`, in order. O(log n).
    pub fn below(&self, dir: &RelDir) -> &[FileEntry] {
        if dir.is_root() {
            return &self.entries;
        }
        let prefix = [dir.as_bytes(), b"/"].concat();
        let start = self
            .entries
            .partition_point(|entry| entry.path.as_bytes() < &prefix[..]);
        let rest = &self.entries[start..];
        let len = rest.partition_point(|entry| entry.path.as_bytes().starts_with(&prefix));
        &rest[..len]
    }

    /// Those that `patterns` holds, in order. Looks only below the patterns' literal directories.
    pub fn matching(&self, patterns: &PatternSet) -> Vec<&FileEntry> {
        let dirs: BTreeSet<&RelDir> = patterns.includes().map(Pattern::prefix).collect();
        // A directory within another one adds nothing.
        let is_outer = |dir: &&&RelDir| {
            let mut above = std::iter::successors(dir.parent(), RelDir::parent);
            above.all(|above| !dirs.contains(&above))
        };
        let outer = dirs.iter().filter(is_outer);
        let mut found: Vec<&FileEntry> = outer
            .flat_map(|dir| self.below(dir))
            .filter(|entry| patterns.matches(&entry.path))
            .collect();
        if !found.is_sorted_by(|a, b| a.path < b.path) {
            found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        found
    }

    /// Notes what became of one path: its new stat, or `None` when it is gone.
    pub fn set(&mut self, path: &RelPath, stat: Option<FileStat>) {
        match (self.find(path), stat) {
            (Ok(at), Some(stat)) => self.entries[at].stat = stat,
            (Ok(at), None) => {
                self.entries.remove(at);
            }
            (Err(at), Some(stat)) => {
                self.entries.insert(
                    at,
                    FileEntry {
                        path: path.clone(),
                        stat,
                    },
                );
            }
            (Err(_), None) => {}
        }
    }

    fn find(&self, path: &RelPath) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: FileStat = FileStat {
        dev: 1,
        ino: 1,
        size: 0,
        mtime_ns: 0,
        ctime_ns: 0,
        mode: 0o100_644,
    };

    fn list(paths: &[&str]) -> FileList {
        let entry = |text: &&str| FileEntry {
            path: path(text),
            stat: STAT,
        };
        FileList::new(paths.iter().map(entry).collect())
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn texts<'a>(entries: impl IntoIterator<Item = &'a FileEntry>) -> Vec<String> {
        entries
            .into_iter()
            .map(|entry| entry.path.to_string())
            .collect()
    }

    #[test]
    fn below_is_one_directory_and_not_its_namesakes() {
        let files = list(&["b/x", "b.c", "b-1/x", "b/a/y", "a", "c"]);
        assert_eq!(
            texts(files.below(&RelDir::new(b"b").unwrap())),
            ["b/a/y", "b/x"]
        );
        assert_eq!(files.below(&RelDir::ROOT).len(), 6);
    }

    #[test]
    fn matching_gives_each_file_once_in_order() {
        let files = list(&["src/b.rs", "src/a/c.rs", "doc/x.md", "a.rs"]);
        let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
        let set = |texts: &[&str]| PatternSet::new(texts.iter().map(parse).collect());
        assert_eq!(
            texts(files.matching(&set(&["src/**", "doc/*.md", "src/a/*.rs"]))),
            ["doc/x.md", "src/a/c.rs", "src/b.rs"]
        );
        assert_eq!(
            texts(files.matching(&set(&["**/*.rs", "!src/a/**"]))),
            ["a.rs", "src/b.rs"]
        );
    }

    #[test]
    fn set_adds_replaces_and_removes() {
        let mut files = list(&["a", "c"]);
        files.set(&path("b"), Some(STAT));
        files.set(&path("a"), None);
        files.set(&path("c"), Some(FileStat { size: 7, ..STAT }));
        files.set(&path("gone"), None);
        assert_eq!(texts(files.entries()), ["b", "c"]);
        assert_eq!(files.get(&path("c")).unwrap().size, 7);
    }
}
