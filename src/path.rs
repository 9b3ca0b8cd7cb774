//! Paths as values: [`Root`], [`RelPath`] and [`RelDir`].
//!
//! Everything below a root is named by a [`RelPath`]: OS bytes, `/`-separated, lexically
//! normalised. Knows nothing of what is on disk. See design §2 and §5 in `docs/ARCHITECTURE.md`.

use std::borrow::Borrow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An absolute directory that relative paths hang from.
///
/// The caller makes it canonical; nothing here looks at the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Root(Arc<Path>);

impl Root {
    /// Takes `path` as the root, or returns `None` when it is not absolute.
    pub fn new(path: &Path) -> Option<Self> {
        path.is_absolute()
            .then(|| Self(normalise_absolute(path).into()))
    }

    /// The directory as an absolute path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Names `path` (absolute, or relative to the root) from the root, without asking the disk.
    ///
    /// # Errors
    /// [`OutsideRoot`] when the path leaves the root or is the root itself.
    pub fn relativize(&self, path: &Path) -> Result<RelPath, OutsideRoot> {
        let outside = || OutsideRoot {
            path: path.to_path_buf(),
        };
        let inside = if path.is_absolute() {
            normalise_absolute(path)
                .strip_prefix(&self.0)
                .map_err(|_| outside())?
                .to_path_buf()
        } else {
            path.to_path_buf()
        };
        RelPath::new(inside.as_os_str().as_bytes()).ok_or_else(outside)
    }

    /// The absolute path of `path`.
    pub fn join(&self, path: &RelPath) -> PathBuf {
        self.0.join(path.as_path())
    }

    /// The absolute path of `dir`.
    pub fn join_dir(&self, dir: &RelDir) -> PathBuf {
        match &dir.0 {
            Some(path) => self.join(path),
            None => self.0.to_path_buf(),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A path that leaves the root, or names the root where a path below it is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{}` is not below the root", path.display())]
pub struct OutsideRoot {
    /// The path as it was given.
    pub path: PathBuf,
}

/// A path below the root: never empty, never absolute, no `.` or `..`, no doubled or final `/`.
///
/// Keeps the bytes of the OS; `Display` and serialised text are lossy UTF-8. Ordered by its bytes,
/// so that what lies below one directory stands together. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<[u8]>);

impl RelPath {
    /// Normalises `bytes` lexically; `None` when nothing is left or it climbs out of the root.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.first() == Some(&b'/') {
            return None;
        }
        if is_normal(bytes) {
            return Some(Self(bytes.into()));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop()?;
                }
                _ => parts.push(part),
            }
        }
        (!parts.is_empty()).then(|| Self(parts.join(&b'/').into()))
    }

    /// The bytes, `/`-separated.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, as a relative [`Path`].
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        let start = self
            .0
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The directory it lies in.
    pub fn parent(&self) -> RelDir {
        let end = self.0.iter().rposition(|&byte| byte == b'/');
        RelDir(end.map(|end| Self(self.0[..end].into())))
    }

    /// Every directory above it, nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = RelDir> {
        let mut next = Some(self.parent());
        std::iter::from_fn(move || {
            let dir = next.take()?;
            next = dir.0.as_ref().map(RelPath::parent);
            Some(dir)
        })
    }

    /// Whether it lies below `dir`, at any depth.
    pub fn is_below(&self, dir: &RelDir) -> bool {
        match &dir.0 {
            None => true,
            Some(dir) => {
                self.0.len() > dir.0.len() + 1
                    && self.0[dir.0.len()] == b'/'
                    && self.0.starts_with(&dir.0)
            }
        }
    }

    /// The same path with the leading directory `from` replaced by `to`; `None` when it is
    /// neither `from` itself nor below it.
    pub fn rebase(&self, from: &RelPath, to: &RelPath) -> Option<Self> {
        if self == from {
            return Some(to.clone());
        }
        let rest = self.0.strip_prefix(&*from.0)?.strip_prefix(b"/")?;
        Some(Self([&*to.0, b"/", rest].concat().into()))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.into_bytes()
        } else {
            Vec::<u8>::deserialize(deserializer)?
        };
        Self::new(&bytes).ok_or_else(|| serde::de::Error::custom("not a path below the root"))
    }
}

/// A directory: the root itself or one below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelDir(Option<RelPath>);

impl RelDir {
    /// The root itself.
    pub const ROOT: Self = Self(None);

    /// Normalises `bytes` lexically (empty or `.` is the root); `None` when it climbs out.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.first() == Some(&b'/') {
            return None;
        }
        let mut depth = 0_usize;
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1)?,
                _ => depth += 1,
            }
        }
        Some(Self(RelPath::new(bytes)))
    }

    /// The path, or `None` for the root.
    pub fn as_rel_path(&self) -> Option<&RelPath> {
        self.0.as_ref()
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes, empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], RelPath::as_bytes)
    }

    /// The path of `name` (one component, or several separated by `/`) in it; `None` when the
    /// result is the root or leaves it.
    pub fn join(&self, name: &[u8]) -> Option<RelPath> {
        match &self.0 {
            None => RelPath::new(name),
            Some(dir) => RelPath::new(&[dir.as_bytes(), b"/", name].concat()),
        }
    }

    /// The directory above; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.as_ref().map(RelPath::parent)
    }

    /// Whether it is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        self == dir || self.0.as_ref().is_some_and(|path| path.is_below(dir))
    }
}

impl From<RelPath> for RelDir {
    fn from(path: RelPath) -> Self {
        Self(Some(path))
    }
}

impl fmt::Display for RelDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => path.fmt(f),
            None => f.write_str("."),
        }
    }
}

impl fmt::Debug for RelDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

fn is_normal(bytes: &[u8]) -> bool {
    bytes
        .split(|&byte| byte == b'/')
        .all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Resolves `.` and `..` by words alone; `..` at the top stays at the top, as the kernel does.
fn normalise_absolute(path: &Path) -> PathBuf {
    let mut out = Vec::new();
    for part in path.as_os_str().as_bytes().split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    let mut bytes = vec![b'/'];
    bytes.extend(out.join(&b'/'));
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let found = RelPath::new(input.as_bytes()).map(|path| path.to_string());
        assert_eq!(found.as_deref(), expected, "{input:?}");
    }

    #[test]
    fn paths_are_normalised_and_never_leave_the_root() {
        check("a/b", Some("a/b"));
        check("./a//b/", Some("a/b"));
        check("a/../b", Some("b"));
        check("", None);
        check(".", None);
        check("a/..", None);
        check("../a", None);
        check("a/../../b", None);
        check("/a", None);
    }

    #[test]
    fn relativize_accepts_what_lies_below_and_refuses_the_rest() {
        let root = Root::new(Path::new("/p/q")).unwrap();
        assert_eq!(
            root.relativize(Path::new("/p/q/a/./b"))
                .unwrap()
                .to_string(),
            "a/b"
        );
        assert_eq!(root.relativize(Path::new("c")).unwrap().to_string(), "c");
        assert!(root.relativize(Path::new("/p/qq")).is_err());
        assert!(root.relativize(Path::new("/p/q")).is_err());
        assert!(root.relativize(Path::new("../x")).is_err());
    }

    #[test]
    fn below_means_a_whole_component() {
        let dir = RelDir::new(b"a").unwrap();
        assert!(RelPath::new(b"a/x").unwrap().is_below(&dir));
        assert!(!RelPath::new(b"ab/x").unwrap().is_below(&dir));
        assert!(!RelPath::new(b"a").unwrap().is_below(&dir));
        assert!(RelPath::new(b"a").unwrap().is_below(&RelDir::ROOT));
    }

    #[test]
    fn rebase_moves_a_subtree_and_nothing_else() {
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        assert_eq!(
            path("a/b/c").rebase(&path("a/b"), &path("x")),
            Some(path("x/c"))
        );
        assert_eq!(path("a").rebase(&path("a"), &path("x")), Some(path("x")));
        assert_eq!(path("ab").rebase(&path("a"), &path("x")), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let path = RelPath::new(b"a/\xff").unwrap();
        assert_eq!(path.as_bytes(), b"a/\xff");
        assert_eq!(path.to_string(), "a/\u{fffd}");
    }

    #[test]
    fn ancestors_end_at_the_root() {
        let path = RelPath::new(b"a/b/c").unwrap();
        let all: Vec<_> = path.ancestors().map(|dir| dir.to_string()).collect();
        assert_eq!(all, ["a/b", "a", "."]);
    }
}
