//! The model of what was last seen below a root: [`Tree`].
//!
//! An arena of fixed-size entries and one buffer of names: about 70 bytes an entry. Knows nothing
//! of the disk or of events; the processor keeps it in step. See `docs/design/watch.md`.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::change::FileType;
use crate::disk::FileStat;
use crate::files::{FileEntry, FileList};
use crate::path::{RelDir, RelPath};
use crate::pattern::{Pattern, PatternSet};

/// An entry of a [`Tree`]. Valid until that entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The root directory; always there.
    pub const ROOT: Self = Self(0);

    fn at(self) -> usize {
        self.0 as usize
    }
}

/// Paths below a root with their last seen state. Directories are entries like any other.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    dirs: Vec<Dir>,
    names: Vec<u8>,
    /// Bytes of `names` that no live entry uses.
    garbage: usize,
    devices: Vec<u64>,
    free_nodes: Vec<u32>,
    free_dirs: Vec<u32>,
    n_files: usize,
    n_dirs: usize,
    /// Places in all lists of children, used or not.
    child_slots: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    ino: u64,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    parent: u32,
    name: u32,
    mode: u32,
    /// Index into `dirs`, or `NOT_A_DIR`.
    dir: u32,
    name_len: u16,
    device: u16,
}

#[derive(Debug, Default)]
struct Dir {
    /// Sorted by name.
    children: Vec<NodeId>,
}

const NOT_A_DIR: u32 = u32::MAX;

/// As `NOT_A_DIR`, of an entry that is ignored and only there because it was asked for by name.
const NAMED_FILE: u32 = u32::MAX - 1;

impl Tree {
    /// A tree with nothing but its root directory in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: vec![Node {
                ino: 0,
                size: 0,
                mtime_ns: 0,
                ctime_ns: 0,
                parent: 0,
                name: 0,
                mode: 0o040_000,
                dir: 0,
                name_len: 0,
                device: 0,
            }],
            dirs: vec![Dir::default()],
            names: Vec::new(),
            garbage: 0,
            devices: vec![0],
            free_nodes: Vec::new(),
            free_dirs: Vec::new(),
            n_files: 0,
            n_dirs: 1,
            child_slots: 0,
        }
    }

    /// How many entries are not directories.
    #[must_use]
    pub fn n_files(&self) -> usize {
        self.n_files
    }

    /// How many directories there are, the root counted.
    #[must_use]
    pub fn n_dirs(&self) -> usize {
        self.n_dirs
    }

    /// Memory held, in bytes, as far as the tree knows it. O(1).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.dirs.capacity() * size_of::<Dir>()
            + self.names.capacity()
            + self.child_slots * size_of::<NodeId>()
    }

    /// The entry named by `path`, `/`-separated bytes; the root for the empty path.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        let mut at = NodeId::ROOT;
        for name in path.split(|&byte| byte == b'/') {
            if !name.is_empty() {
                at = self.child(at, name)?;
            }
        }
        Some(at)
    }

    /// The entry `name` in the directory `dir`.
    #[must_use]
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        let children = &self.dir(dir)?.children;
        let at = self.search(children, name).ok()?;
        Some(children[at])
    }

    /// What is in `dir`, sorted by name; nothing for what is not a directory.
    #[must_use]
    pub fn children(&self, dir: NodeId) -> &[NodeId] {
        self.dir(dir).map_or(&[], |dir| &dir.children)
    }

    /// The last component of an entry's path; empty for the root.
    #[must_use]
    pub fn name(&self, id: NodeId) -> &[u8] {
        let node = &self.nodes[id.at()];
        &self.names[node.name as usize..node.name as usize + node.name_len as usize]
    }

    /// The last seen state of an entry.
    #[must_use]
    pub fn stat(&self, id: NodeId) -> FileStat {
        let node = &self.nodes[id.at()];
        FileStat {
            dev: self.devices[node.device as usize],
            ino: node.ino,
            size: node.size,
            mtime_ns: node.mtime_ns,
            ctime_ns: node.ctime_ns,
            mode: node.mode,
        }
    }

    /// Whether an entry is a directory.
    #[must_use]
    pub fn is_dir(&self, id: NodeId) -> bool {
        self.nodes[id.at()].dir < NAMED_FILE
    }

    /// Whether an entry that is not a directory is ignored, and only there because it was asked
    /// for by name.
    #[must_use]
    pub fn is_named(&self, id: NodeId) -> bool {
        self.nodes[id.at()].dir == NAMED_FILE
    }

    /// Notes [`Tree::is_named`] of an entry that is not a directory.
    pub fn set_named(&mut self, id: NodeId, named: bool) {
        let node = &mut self.nodes[id.at()];
        if node.dir >= NAMED_FILE {
            node.dir = if named { NAMED_FILE } else { NOT_A_DIR };
        }
    }

    /// The path of an entry; `None` for the root.
    #[must_use]
    pub fn path(&self, id: NodeId) -> Option<RelPath> {
        let mut parts = Vec::new();
        let mut at = id;
        while at != NodeId::ROOT {
            parts.push(self.name(at));
            at = NodeId(self.nodes[at.at()].parent);
        }
        parts.reverse();
        RelPath::new(&parts.join(&b'/'))
    }

    /// Adds or replaces the entry `name` in `dir`. An entry that changes between directory and
    /// something else must be removed first.
    pub fn put(&mut self, dir: NodeId, name: &[u8], stat: &FileStat) -> NodeId {
        let children = &self.dirs[self.nodes[dir.at()].dir as usize].children;
        match self.search(children, name) {
            Ok(at) => {
                let id = children[at];
                self.set_stat(id, stat);
                id
            }
            Err(at) => {
                let id = self.add_node(dir, name, stat);
                let dir = self.nodes[dir.at()].dir as usize;
                let children = &mut self.dirs[dir].children;
                let before = children.capacity();
                children.insert(at, id);
                self.child_slots += children.capacity() - before;
                id
            }
        }
    }

    /// Notes a new state of an entry of the same kind.
    pub fn set_stat(&mut self, id: NodeId, stat: &FileStat) {
        let device = self.device(stat.dev);
        let node = &mut self.nodes[id.at()];
        node.ino = stat.ino;
        node.size = stat.size;
        node.mtime_ns = stat.mtime_ns;
        node.ctime_ns = stat.ctime_ns;
        node.mode = stat.mode;
        node.device = device;
    }

    /// Removes an entry and everything below it, telling `gone` of each: children before their
    /// directory. The root itself stays, its content goes.
    pub fn remove(&mut self, id: NodeId, gone: &mut dyn FnMut(RelPath, FileStat)) {
        let path = self.path(id);
        if id != NodeId::ROOT {
            let parent = NodeId(self.nodes[id.at()].parent);
            let name = self.name(id).to_vec();
            let children = &self.dirs[self.nodes[parent.at()].dir as usize].children;
            if let Ok(at) = self.search(children, &name) {
                let dir = self.nodes[parent.at()].dir as usize;
                self.dirs[dir].children.remove(at);
            }
        }
        self.free(id, path.as_ref(), gone);
        self.compact();
    }

    /// Calls `visit` for every directory at or below `id`, parents first.
    pub fn each_dir(&self, id: NodeId, visit: &mut dyn FnMut(NodeId)) {
        if !self.is_dir(id) {
            return;
        }
        visit(id);
        for &child in self.children(id) {
            self.each_dir(child, visit);
        }
    }

    /// Every entry that is not a directory and that `wanted` holds, ordered by path. Looks only
    /// below the patterns' literal directories.
    #[must_use]
    pub fn files(&self, wanted: &PatternSet) -> FileList {
        let dirs: BTreeSet<&RelDir> = wanted.includes().map(Pattern::prefix).collect();
        let is_outer = |dir: &&&RelDir| {
            let mut above = std::iter::successors(dir.parent(), RelDir::parent);
            above.all(|above| !dirs.contains(&above))
        };
        let mut entries = Vec::new();
        for dir in dirs.iter().filter(is_outer) {
            let id = self.find(dir.as_bytes()).filter(|id| self.is_dir(*id));
            if let Some(id) = id {
                self.collect(id, dir, wanted, &mut entries);
            }
        }
        FileList::new(entries)
    }

    /// The entries of which [`Tree::is_named`] holds, ascending.
    #[must_use]
    pub fn named_files(&self) -> Vec<RelPath> {
        let mut found = Vec::new();
        self.each_dir(NodeId::ROOT, &mut |dir| {
            let named = self.children(dir).iter().filter(|&&id| self.is_named(id));
            found.extend(named.filter_map(|&id| self.path(id)));
        });
        found.sort_unstable();
        found
    }

    fn collect(&self, id: NodeId, dir: &RelDir, wanted: &PatternSet, out: &mut Vec<FileEntry>) {
        let mut children = self.children(id).to_vec();
        children.sort_by(|&a, &b| {
            path_order(
                (self.name(a), self.is_dir(a)),
                (self.name(b), self.is_dir(b)),
            )
        });
        for child in children {
            let Some(path) = dir.join(self.name(child)) else {
                continue;
            };
            if self.is_dir(child) {
                let below = RelDir::from(path);
                if wanted.may_match_below(&below) {
                    self.collect(child, &below, wanted, out);
                }
            } else if wanted.matches(&path) {
                out.push(FileEntry {
                    path,
                    stat: self.stat(child),
                });
            }
        }
    }

    fn dir(&self, id: NodeId) -> Option<&Dir> {
        self.dirs.get(self.nodes[id.at()].dir as usize)
    }

    fn search(&self, children: &[NodeId], name: &[u8]) -> Result<usize, usize> {
        children.binary_search_by(|&child| self.name(child).cmp(name))
    }

    fn add_node(&mut self, parent: NodeId, name: &[u8], stat: &FileStat) -> NodeId {
        let is_dir = stat.file_type() == FileType::Dir;
        let dir = if is_dir { self.add_dir() } else { NOT_A_DIR };
        let device = self.device(stat.dev);
        let offset = u32::try_from(self.names.len()).expect("names stay below 4 GiB");
        self.names.extend_from_slice(name);
        let node = Node {
            ino: stat.ino,
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
            parent: parent.0,
            name: offset,
            mode: stat.mode,
            dir,
            name_len: u16::try_from(name.len()).expect("a name has at most 255 bytes"),
            device,
        };
        if is_dir {
            self.n_dirs += 1;
        } else {
            self.n_files += 1;
        }
        if let Some(free) = self.free_nodes.pop() {
            self.nodes[free as usize] = node;
            return NodeId(free);
        }
        let id = u32::try_from(self.nodes.len()).expect("fewer than 4 billion entries");
        grow_gently(&mut self.nodes);
        self.nodes.push(node);
        NodeId(id)
    }

    fn add_dir(&mut self) -> u32 {
        if let Some(free) = self.free_dirs.pop() {
            return free;
        }
        self.dirs.push(Dir::default());
        u32::try_from(self.dirs.len() - 1).expect("fewer than 4 billion directories")
    }

    fn device(&mut self, dev: u64) -> u16 {
        if let Some(at) = self.devices.iter().position(|&known| known == dev) {
            return u16::try_from(at).expect("checked when it was added");
        }
        self.devices.push(dev);
        u16::try_from(self.devices.len() - 1).expect("fewer than 65536 file systems")
    }

    fn free(
        &mut self,
        id: NodeId,
        path: Option<&RelPath>,
        gone: &mut dyn FnMut(RelPath, FileStat),
    ) {
        let dir = self.nodes[id.at()].dir;
        if dir < NAMED_FILE {
            let children = std::mem::take(&mut self.dirs[dir as usize].children);
            self.child_slots -= children.capacity();
            let here = path.cloned().map_or(RelDir::ROOT, RelDir::from);
            for child in children {
                let path = here.join(self.name(child));
                self.free(child, path.as_ref(), gone);
            }
        }
        if id == NodeId::ROOT {
            return;
        }
        if let Some(path) = path {
            gone(path.clone(), self.stat(id));
        }
        self.garbage += self.nodes[id.at()].name_len as usize;
        self.nodes[id.at()].name_len = 0;
        self.free_nodes.push(id.0);
        if dir >= NAMED_FILE {
            self.n_files -= 1;
        } else {
            self.free_dirs.push(dir);
            self.n_dirs -= 1;
        }
    }

    /// Rewrites the names once half of them are garbage: O(entries), amortised over removals.
    fn compact(&mut self) {
        if self.garbage < 64 * 1024 || self.garbage * 2 < self.names.len() {
            return;
        }
        let mut names = Vec::with_capacity(self.names.len() - self.garbage);
        for node in &mut self.nodes {
            let start = names.len();
            let end = node.name as usize + node.name_len as usize;
            if node.name_len > 0 {
                names.extend_from_slice(&self.names[node.name as usize..end]);
            }
            node.name = u32::try_from(start).expect("shorter than before");
        }
        self.names = names;
        self.garbage = 0;
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes room by a quarter: doubling would waste up to half of the model's memory.
fn grow_gently<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 16);
    }
}

/// Orders two names of one directory as their paths, and what lies below them, are ordered.
pub(crate) fn path_order(a: (&[u8], bool), b: (&[u8], bool)) -> Ordering {
    let slash = |is_dir: bool| -> &[u8] { if is_dir { b"/" } else { b"" } };
    let a = a.0.iter().chain(slash(a.1));
    let b = b.0.iter().chain(slash(b.1));
    a.cmp(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(ino: u64, mode: u32) -> FileStat {
        FileStat {
            dev: 7,
            ino,
            size: 1,
            mtime_ns: 2,
            ctime_ns: 3,
            mode,
        }
    }

    /// Adds every path of `text`; one that ends in `/` is a directory.
    fn tree(text: &str) -> Tree {
        let mut tree = Tree::new();
        for (ino, path) in (1..).zip(text.split_whitespace()) {
            let (path, mode) = match path.strip_suffix('/') {
                Some(path) => (path, 0o040_755),
                None => (path, 0o100_644),
            };
            let path = RelPath::new(path.as_bytes()).unwrap();
            let parent = tree.find(path.parent().as_bytes()).unwrap();
            tree.put(parent, path.file_name(), &stat(ino, mode));
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let files = tree.files(&PatternSet::new(vec![Pattern::everything()]));
        files.entries().iter().map(|e| e.path.to_string()).collect()
    }

    #[test]
    fn files_come_in_path_order_even_beside_directories_with_a_common_prefix() {
        let tree = tree("b/ b/x b.c b-1/ b-1/y a");
        assert_eq!(paths(&tree), ["a", "b-1/y", "b.c", "b/x"]);
        assert_eq!((tree.n_files(), tree.n_dirs()), (4, 3));
    }

    #[test]
    fn removing_a_directory_tells_of_everything_in_it_and_frees_the_places() {
        let mut tree = tree("d/ d/e/ d/e/f d/g z");
        let mut gone = Vec::new();
        let id = tree.find(b"d").unwrap();
        tree.remove(id, &mut |path, stat| {
            gone.push((path.to_string(), stat.ino));
        });
        let expected = [("d/e/f", 3), ("d/e", 2), ("d/g", 4), ("d", 1)];
        assert_eq!(gone, expected.map(|(path, ino)| (path.to_owned(), ino)));
        assert_eq!(paths(&tree), ["z"]);
        let before = tree.nodes.len();
        tree.put(NodeId::ROOT, b"new", &stat(9, 0o100_644));
        assert_eq!(tree.nodes.len(), before);
        assert_eq!(paths(&tree), ["new", "z"]);
    }

    #[test]
    fn names_survive_compaction() {
        let mut tree = Tree::new();
        for n in 0..20_000 {
            let name = format!("file-{n:06}");
            tree.put(NodeId::ROOT, name.as_bytes(), &stat(n, 0o100_644));
        }
        for n in 0..15_000 {
            let id = tree.find(format!("file-{n:06}").as_bytes()).unwrap();
            tree.remove(id, &mut |_, _| {});
        }
        assert!(tree.names.len() < 20_000 * 11);
        assert_eq!(paths(&tree).len(), 5_000);
        assert_eq!(tree.stat(tree.find(b"file-019999").unwrap()).ino, 19_999);
    }

    #[test]
    fn an_entry_costs_less_than_a_hundred_bytes() {
        let mut tree = Tree::new();
        for d in 0..1_000_u64 {
            let dir = tree.put(
                NodeId::ROOT,
                format!("dir{d}").as_bytes(),
                &stat(d, 0o040_755),
            );
            for f in 0..10 {
                tree.put(dir, format!("file{f}.txt").as_bytes(), &stat(f, 0o100_644));
            }
        }
        assert!(
            tree.memory_bytes() / 11_000 <= 100,
            "{}",
            tree.memory_bytes()
        );
    }
}
