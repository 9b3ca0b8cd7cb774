//! A task's inputs as a persistent Merkle tree: [`Tree`].
//!
//! A copy costs nothing and shares everything; a change copies the directories on its path and
//! leaves all other digests as they are. So what one changed file costs does not depend on how
//! many there are.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, OnceLock};

use crate::parallel;
use crate::path::RelPath;

use super::input::{Content, InputFile};
use super::reapi::{
    DigestMessage, Directory, DirectoryNode, FileNode, SymlinkNode, digest_of, refer,
};

/// Directories with more children than this are digested on several cores.
const PARALLEL_CHILDREN: usize = 64;

/// One input in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) file: InputFile,
    /// Whether its stat may stand for its content.
    pub(super) is_trusted: bool,
}

/// Files by path. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    root: Arc<Node>,
    untrusted: Arc<BTreeSet<RelPath>>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// In order of path: a directory sorts as its name with a final `/`.
    children: Vec<Child>,
    digest: OnceLock<DigestMessage>,
}

#[derive(Clone, Debug)]
enum Child {
    Leaf(Arc<Leaf>),
    Dir(Arc<[u8]>, Arc<Node>),
}

/// A path that is not the same in two trees.
pub(super) type Difference<'a> = (Option<&'a Leaf>, Option<&'a Leaf>);

impl Tree {
    /// A tree of `leaves`, which are in order of path.
    pub(super) fn new(leaves: &[Arc<Leaf>]) -> Self {
        let untrusted = leaves.iter().filter(|leaf| !leaf.is_trusted);
        Self {
            untrusted: Arc::new(untrusted.map(|leaf| leaf.file.path.clone()).collect()),
            root: Arc::new(Node::new(leaves, 0)),
        }
    }

    /// What its root is called by the Remote Execution API.
    pub(super) fn digest(&self) -> DigestMessage {
        self.root.digest().clone()
    }

    /// Every leaf, in order of path.
    pub(super) fn leaves(&self) -> Vec<&Leaf> {
        let mut leaves = Vec::new();
        self.root.collect(&mut leaves);
        leaves
    }

    /// Every file, in order of path.
    pub(super) fn files(&self) -> impl ExactSizeIterator<Item = &InputFile> {
        self.leaves().into_iter().map(|leaf| &leaf.file)
    }

    /// The leaf at `path`.
    pub(super) fn get(&self, path: &RelPath) -> Option<&Leaf> {
        let mut node = &self.root;
        let mut rest = path.as_bytes();
        while let Some(end) = rest.iter().position(|&byte| byte == b'/') {
            let at = node.position(&rest[..end], true).ok()?;
            let Child::Dir(_, inside) = &node.children[at] else {
                return None;
            };
            (node, rest) = (inside, &rest[end + 1..]);
        }
        match &node.children[node.position(rest, false).ok()?] {
            Child::Leaf(leaf) => Some(leaf),
            Child::Dir(..) => None,
        }
    }

    /// The paths whose stat may not stand for their content.
    pub(super) fn untrusted(&self) -> &BTreeSet<RelPath> {
        &self.untrusted
    }

    /// Puts `leaf` at `path`, or takes away what is there.
    pub(super) fn set(&mut self, path: &RelPath, leaf: Option<Arc<Leaf>>) {
        if leaf.is_some() || self.get(path).is_some() {
            if leaf.as_ref().is_some_and(|leaf| !leaf.is_trusted) {
                Arc::make_mut(&mut self.untrusted).insert(path.clone());
            } else if self.untrusted.contains(path) {
                Arc::make_mut(&mut self.untrusted).remove(path);
            }
            set(&mut self.root, path.as_bytes(), leaf);
        }
    }

    /// What differs in content from `self` to `now`, in order of path. Looks only where they do
    /// not share.
    pub(super) fn differences<'a>(&'a self, now: &'a Self) -> Vec<Difference<'a>> {
        let mut found = Vec::new();
        differences(&self.root, &now.root, &mut found);
        found
    }
}

impl Node {
    /// Of `leaves`, all of which lie in the directory whose path, with its final `/`, is `skip`
    /// bytes long.
    fn new(leaves: &[Arc<Leaf>], skip: usize) -> Self {
        let mut children = Vec::new();
        let mut rest = leaves;
        while let Some(first) = rest.first() {
            let path = first.file.path.as_bytes();
            let Some(len) = path[skip..].iter().position(|&byte| byte == b'/') else {
                children.push(Child::Leaf(Arc::clone(first)));
                rest = &rest[1..];
                continue;
            };
            // In order of bytes, what lies below one directory stands together.
            let prefix = &path[..=skip + len];
            let below = |leaf: &Arc<Leaf>| leaf.file.path.as_bytes().starts_with(prefix);
            let (inside, after) = rest.split_at(rest.partition_point(below));
            let node = Self::new(inside, prefix.len());
            children.push(Child::Dir(path[skip..skip + len].into(), Arc::new(node)));
            rest = after;
        }
        Self {
            children,
            digest: OnceLock::new(),
        }
    }

    fn digest(&self) -> &DigestMessage {
        self.digest.get_or_init(|| {
            let mut directory = Directory::default();
            // Digests those below first, on all cores; then they are there to be taken.
            let much = self.children.len() > PARALLEL_CHILDREN;
            parallel::map(&self.children, much, |child| match child {
                Child::Dir(_, node) => drop(node.digest()),
                Child::Leaf(_) => {}
            });
            for child in &self.children {
                child.add_to(&mut directory);
            }
            directory
                .directories
                .sort_unstable_by(|a, b| a.name.cmp(&b.name));
            digest_of(&directory).1
        })
    }

    fn collect<'a>(&'a self, leaves: &mut Vec<&'a Leaf>) {
        for child in &self.children {
            match child {
                Child::Leaf(leaf) => leaves.push(leaf),
                Child::Dir(_, node) => node.collect(leaves),
            }
        }
    }

    fn position(&self, name: &[u8], is_dir: bool) -> Result<usize, usize> {
        self.children
            .binary_search_by(|child| order(child.name(), child.is_dir(), name, is_dir))
    }
}

impl Child {
    fn name(&self) -> &[u8] {
        match self {
            Self::Leaf(leaf) => leaf.file.path.file_name(),
            Self::Dir(name, _) => name,
        }
    }

    fn is_dir(&self) -> bool {
        matches!(self, Self::Dir(..))
    }

    fn add_to(&self, directory: &mut Directory) {
        let name = self.name().to_vec();
        let leaf = match self {
            Self::Leaf(leaf) => leaf,
            Self::Dir(_, node) => {
                let digest = Some(node.digest().clone());
                directory.directories.push(DirectoryNode { name, digest });
                return;
            }
        };
        match &leaf.file.content {
            Content::File {
                digest,
                size,
                executable,
            } => directory.files.push(FileNode {
                name,
                digest: Some(refer(digest, *size)),
                is_executable: *executable,
            }),
            Content::Link { target } => directory.symlinks.push(SymlinkNode {
                name,
                target: target.to_vec(),
            }),
            Content::EmptyDir => directory.directories.push(DirectoryNode {
                name,
                digest: Some(digest_of(&Directory::default()).1),
            }),
        }
    }
}

fn set(node: &mut Arc<Node>, path: &[u8], leaf: Option<Arc<Leaf>>) {
    let node = Arc::make_mut(node);
    node.digest = OnceLock::new();
    let Some(end) = path.iter().position(|&byte| byte == b'/') else {
        match (node.position(path, false), leaf) {
            (Ok(at), Some(leaf)) => node.children[at] = Child::Leaf(leaf),
            (Ok(at), None) => drop(node.children.remove(at)),
            (Err(at), Some(leaf)) => node.children.insert(at, Child::Leaf(leaf)),
            (Err(_), None) => {}
        }
        return;
    };
    let (name, rest) = (&path[..end], &path[end + 1..]);
    let at = node.position(name, true).unwrap_or_else(|at| {
        let dir = Child::Dir(name.into(), Arc::default());
        node.children.insert(at, dir);
        at
    });
    if let Child::Dir(_, inside) = &mut node.children[at] {
        set(inside, rest, leaf);
        if inside.children.is_empty() {
            node.children.remove(at);
        }
    }
}

fn differences<'a>(old: &'a Node, now: &'a Node, found: &mut Vec<Difference<'a>>) {
    let (mut old, mut now) = (old.children.as_slice(), now.children.as_slice());
    loop {
        let side = match (old.first(), now.first()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => order(a.name(), a.is_dir(), b.name(), b.is_dir()),
        };
        let gone = (side != Ordering::Greater)
            .then(|| take_first(&mut old))
            .flatten();
        let new = (side != Ordering::Less)
            .then(|| take_first(&mut now))
            .flatten();
        match (gone, new) {
            (Some(Child::Dir(_, a)), Some(Child::Dir(_, b))) => {
                if !Arc::ptr_eq(a, b) && a.digest() != b.digest() {
                    differences(a, b, found);
                }
            }
            (Some(Child::Leaf(a)), Some(Child::Leaf(b))) => {
                if !Arc::ptr_eq(a, b) && a.file.content != b.file.content {
                    found.push((Some(a), Some(b)));
                }
            }
            (gone, new) => {
                found.extend(leaves_of(gone).into_iter().map(|leaf| (Some(leaf), None)));
                found.extend(leaves_of(new).into_iter().map(|leaf| (None, Some(leaf))));
            }
        }
    }
}

fn take_first<'a>(children: &mut &'a [Child]) -> Option<&'a Child> {
    let (first, rest) = mem::take(children).split_first()?;
    *children = rest;
    Some(first)
}

fn leaves_of(child: Option<&Child>) -> Vec<&Leaf> {
    let mut leaves = Vec::new();
    match child {
        None => {}
        Some(Child::Leaf(leaf)) => leaves.push(&**leaf),
        Some(Child::Dir(_, node)) => node.collect(&mut leaves),
    }
    leaves
}

/// The order of paths, in which a directory's name ends with `/`.
fn order(a: &[u8], a_is_dir: bool, b: &[u8], b_is_dir: bool) -> Ordering {
    let slash = |is_dir: bool| if is_dir { &b"/"[..] } else { b"" };
    let (a, b) = (
        a.iter().chain(slash(a_is_dir)),
        b.iter().chain(slash(b_is_dir)),
    );
    a.cmp(b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::digest::Digest;
    use crate::disk::FileStat;

    use super::*;

    fn leaf(path: &str, content: u8) -> Leaf {
        Leaf {
            file: InputFile {
                path: RelPath::new(path.as_bytes()).unwrap(),
                stat: FileStat {
                    dev: 1,
                    ino: 1,
                    size: 1,
                    mtime_ns: 1,
                    ctime_ns: 1,
                    mode: 0o100_644,
                },
                content: Content::File {
                    digest: Digest::of(&[content]),
                    size: 1,
                    executable: false,
                },
            },
            is_trusted: true,
        }
    }

    /// By path, in its order, which is that of bytes.
    type Model = BTreeMap<RelPath, u8>;

    fn tree(model: &Model) -> Tree {
        let leaves = model
            .iter()
            .map(|(path, content)| Arc::new(leaf(&path.to_string(), *content)));
        Tree::new(&leaves.collect::<Vec<_>>())
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.files().map(|file| file.path.to_string()).collect()
    }

    const PATH: &str = "[ab][.-]?[ab]?(/[ab]{1,2}[.-]?){0,2}f";

    proptest! {
        /// However a tree came about: the same files are the same tree, and only these.
        #[test]
        fn a_tree_is_what_is_in_it(
            start in prop::collection::btree_map(PATH, 0_u8..3, 0..12),
            edits in prop::collection::vec((PATH, prop::option::of(0_u8..3)), 0..12),
        ) {
            let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
            let before: Model = start.iter().map(|(text, content)| (path(text), *content)).collect();
            let mut model = before.clone();
            let first = tree(&before);
            prop_assert_eq!(first.digest(), tree(&before).digest());
            let mut edited = first.clone();
            for (text, content) in &edits {
                match content {
                    Some(content) => drop(model.insert(path(text), *content)),
                    None => drop(model.remove(&path(text))),
                }
                edited.set(&path(text), content.map(|content| leaf(text, content).into()));
            }
            let rebuilt = tree(&model);
            prop_assert_eq!(edited.digest(), rebuilt.digest());
            prop_assert_eq!(paths(&edited), paths(&rebuilt));
            prop_assert_eq!(before == model, first.digest() == edited.digest());
            for (path, content) in &model {
                prop_assert_eq!(edited.get(path), Some(&leaf(&path.to_string(), *content)));
            }

            let found: Vec<String> = first
                .differences(&edited)
                .into_iter()
                .filter_map(|(old, new)| old.or(new))
                .map(|leaf| leaf.file.path.to_string())
                .collect();
            let mut expected: Vec<&RelPath> = before.keys().chain(model.keys()).collect();
            expected.sort_unstable();
            expected.dedup();
            expected.retain(|path| before.get(*path) != model.get(*path));
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_copy_is_not_changed_with_its_original() {
        let mut one = tree(&Model::from([(RelPath::new(b"d/a").unwrap(), 1)]));
        let copy = one.clone();
        one.set(&RelPath::new(b"d/a").unwrap(), None);
        assert_eq!(paths(&one), Vec::<String>::new());
        assert_eq!(paths(&copy), ["d/a"]);
    }
}
