//! A file system in memory, for tests: [`MemDisk`].
//!
//! Time is an integer that only moves when told, every access is logged, and any write-like step
//! can be made to fail or to be the last one before a crash. Links are never followed, not even
//! on the way to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{At, Disk, DiskError, DiskLock, DiskTime, FileStat, LockWait};

/// A file system in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MemDisk {
    // Guards everything. Leaf lock, held for one operation, never across a caller's code.
    inner: Arc<Mutex<Inner>>,
}

/// What goes wrong, and when. Steps are counted from 0 over everything that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This one step fails; those after it work.
    FailAt(u64, io::ErrorKind),
    /// This step and all after it fail, as on a full or read-only disk. Removing still works.
    FailFrom(u64, io::ErrorKind),
    /// The machine stops in this step: a file that is being written is cut in the middle, and
    /// nothing works until [`MemDisk::revive`].
    KillAt(u64),
}

#[derive(Debug)]
struct Inner {
    nodes: BTreeMap<PathBuf, Node>,
    now: i64,
    next_ino: u64,
    steps: u64,
    fault: Option<Fault>,
    dead: bool,
    locks: BTreeSet<(PathBuf, u64)>,
    log: Vec<String>,
}

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    ino: u64,
    mode: u32,
    mtime: i64,
    ctime: i64,
}

#[derive(Clone, Debug)]
enum Content {
    File(Arc<[u8]>),
    Dir,
    Link(PathBuf),
}

/// What a step may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    /// All of it.
    On,
    /// Half of the bytes, then the machine stops.
    Half,
}

const DEV: u64 = 1;

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemDisk {
    /// An empty one, with the directory `/` alone, at time 1000.
    #[must_use]
    pub fn new() -> Self {
        let mut inner = Inner {
            nodes: BTreeMap::new(),
            now: 1000,
            next_ino: 1,
            steps: 0,
            fault: None,
            dead: false,
            locks: BTreeSet::new(),
            log: Vec::new(),
        };
        inner.put(Path::new("/"), Content::Dir, 0o040_755);
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Moves time by one.
    pub fn tick(&self) {
        self.inner().now += 1;
    }

    /// Arms a fault, counting write-like steps from here; `None` disarms.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut inner = self.inner();
        inner.fault = fault;
        inner.steps = 0;
    }

    /// How many write-like steps were taken since the last [`Self::set_fault`].
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// Starts the machine again after [`Fault::KillAt`]: what is on disk is there, locks are not.
    pub fn revive(&self) {
        let mut inner = self.inner();
        inner.dead = false;
        inner.fault = None;
        inner.locks.clear();
    }

    /// Everything that was accessed since the last call, as `verb path`.
    #[must_use]
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().log)
    }

    /// A disk with the same content that shares nothing with this one.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let inner = self.inner();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                nodes: inner.nodes.clone(),
                now: inner.now,
                next_ino: inner.next_ino,
                steps: 0,
                fault: None,
                dead: false,
                locks: BTreeSet::new(),
                log: Vec::new(),
            })),
        }
    }

    /// Every file and link with its content or target, by path. Directories are left out.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let inner = self.inner();
        let content = |node: &Node| match &node.content {
            Content::File(bytes) => Some(bytes.to_vec()),
            Content::Link(target) => Some(target.as_os_str().as_encoded_bytes().to_vec()),
            Content::Dir => None,
        };
        inner
            .nodes
            .iter()
            .filter_map(|(path, node)| Some((path.clone(), content(node)?)))
            .collect()
    }

    /// Writes a file in place, as an editor or a command would: no step is counted, no fault
    /// applies. Makes missing directories; keeps inode and mode of a file that is there.
    pub fn edit(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        let mut inner = self.inner();
        inner.make_parents(path);
        let now = inner.now;
        if let Some(node) = inner.nodes.get_mut(path) {
            node.content = Content::File(bytes.into());
            (node.mtime, node.ctime) = (now, now);
        } else {
            inner.put(path, Content::File(bytes.into()), 0o100_644);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(
        &self,
        verb: &'static str,
        path: &Path,
        access: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let mut inner = self.inner();
        inner.log.push(format!("{verb} {}", path.display()));
        if inner.dead {
            return Err(io::Error::other("the machine is off")).at(verb, path);
        }
        access(&mut inner).at(verb, path)
    }

    fn step<T>(
        &self,
        verb: &'static str,
        path: &Path,
        access: impl FnOnce(&mut Inner, Go) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        self.look(verb, path, |inner| {
            let go = inner.next_step(verb)?;
            let done = access(inner, go);
            if go == Go::Half {
                inner.dead = true;
                return Err(io::Error::other("the machine stopped"));
            }
            done
        })
    }
}

impl Inner {
    fn next_step(&mut self, verb: &str) -> io::Result<Go> {
        let step = self.steps;
        self.steps += 1;
        match self.fault {
            Some(Fault::FailAt(at, kind)) if at == step => Err(kind.into()),
            Some(Fault::FailFrom(at, kind)) if at <= step && verb != "remove" => Err(kind.into()),
            Some(Fault::KillAt(at)) if at == step => Ok(Go::Half),
            _ => Ok(Go::On),
        }
    }

    fn put(&mut self, path: &Path, content: Content, mode: u32) {
        let node = Node {
            content,
            ino: self.next_ino,
            mode,
            mtime: self.now,
            ctime: self.now,
        };
        self.next_ino += 1;
        self.nodes.insert(path.to_path_buf(), node);
    }

    fn make_parents(&mut self, path: &Path) {
        let missing: Vec<_> = path
            .ancestors()
            .skip(1)
            .filter(|dir| !self.nodes.contains_key(*dir))
            .map(Path::to_path_buf)
            .collect();
        for dir in missing {
            self.put(&dir, Content::Dir, 0o040_755);
        }
    }

    fn node(&self, path: &Path) -> io::Result<&Node> {
        self.nodes
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn node_mut(&mut self, path: &Path) -> io::Result<&mut Node> {
        self.nodes
            .get_mut(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        match &self.node(path)?.content {
            Content::File(bytes) => Ok(Arc::clone(bytes)),
            Content::Dir | Content::Link(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn need_dir_above(&self, path: &Path) -> io::Result<()> {
        let above = path.parent().unwrap_or(Path::new("/"));
        match self.node(above)?.content {
            Content::Dir => Ok(()),
            Content::File(_) | Content::Link(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn create(&mut self, path: &Path, bytes: &[u8], go: Go) -> io::Result<()> {
        self.need_dir_above(path)?;
        if self.nodes.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let len = if go == Go::Half {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        self.put(path, Content::File(bytes[..len].into()), 0o100_644);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.need_dir_above(to)?;
        let is_dir = |node: &Node| matches!(node.content, Content::Dir);
        let moves_dir = is_dir(self.node(from)?);
        if self
            .nodes
            .get(to)
            .is_some_and(|node| is_dir(node) && !moves_dir)
        {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let below: Vec<_> = self.below(from);
        for path in below {
            let rest = path
                .strip_prefix(from)
                .map_err(io::Error::other)?
                .to_path_buf();
            if let Some(node) = self.nodes.remove(&path) {
                self.nodes.insert(to.join(rest), node);
            }
        }
        if let Some(mut node) = self.nodes.remove(from) {
            node.ctime = self.now;
            self.nodes.insert(to.to_path_buf(), node);
        }
        Ok(())
    }

    fn below(&self, path: &Path) -> Vec<PathBuf> {
        let is_below = |known: &&PathBuf| known.starts_with(path) && known.as_path() != path;
        self.nodes.keys().filter(is_below).cloned().collect()
    }
}

impl Disk for MemDisk {
    fn stat(&self, path: &Path) -> Result<FileStat, DiskError> {
        self.look("stat", path, |inner| {
            let node = inner.node(path)?;
            let size = match &node.content {
                Content::File(bytes) => bytes.len(),
                Content::Link(target) => target.as_os_str().len(),
                Content::Dir => 0,
            };
            Ok(FileStat {
                dev: DEV,
                ino: node.ino,
                size: size as u64,
                mtime_ns: node.mtime,
                ctime_ns: node.ctime,
                mode: node.mode,
            })
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        self.look("read", path, |inner| Ok(inner.bytes(path)?.to_vec()))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, DiskError> {
        self.look("open", path, |inner| {
            let bytes = inner.bytes(path)?;
            Ok(Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>)
        })
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, DiskError> {
        self.look("readlink", path, |inner| match &inner.node(path)?.content {
            Content::Link(target) => Ok(target.clone()),
            Content::File(_) | Content::Dir => Err(io::ErrorKind::InvalidInput.into()),
        })
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<PathBuf>, DiskError> {
        self.look("list", path, |inner| match inner.node(path)?.content {
            Content::Dir => Ok(inner
                .nodes
                .keys()
                .filter(|known| known.parent() == Some(path))
                .filter_map(|known| known.file_name().map(PathBuf::from))
                .collect()),
            Content::File(_) | Content::Link(_) => Err(io::ErrorKind::NotADirectory.into()),
        })
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let mut staged = path.as_os_str().to_os_string();
        staged.push(".staged.tmp");
        let staged = PathBuf::from(staged);
        let written = self
            .make_dir(path.parent().unwrap_or(Path::new("/")))
            .and_then(|()| {
                self.step("write", &staged, |inner, go| {
                    inner.nodes.remove(&staged);
                    inner.create(&staged, bytes, go)
                })
            })
            .and_then(|()| {
                self.step("rename", path, |inner, go| match go {
                    Go::On => inner.rename(&staged, path),
                    Go::Half => Ok(()),
                })
            });
        if written.is_err() {
            let mut inner = self.inner();
            if !inner.dead {
                inner.nodes.remove(&staged);
            }
        }
        written
    }

    fn write_new(&self, path: &Path, content: &mut dyn Read) -> Result<u64, DiskError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).at("read for", path)?;
        self.step("write", path, |inner, go| inner.create(path, &bytes, go))?;
        Ok(bytes.len() as u64)
    }

    fn read_from(&self, path: &Path, offset: u64) -> Result<(FileStat, Vec<u8>), DiskError> {
        let stat = self.stat(path)?;
        let bytes = self.read(path)?;
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok((stat, bytes.get(skip..).unwrap_or_default().to_vec()))
    }

    fn append(&self, path: &Path, keep: Option<u64>, bytes: &[u8]) -> Result<FileStat, DiskError> {
        self.step("append", path, |inner, go| {
            let mut all = inner.bytes(path)?.to_vec();
            if let Some(keep) = keep {
                all.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            }
            let len = if go == Go::Half {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            all.extend_from_slice(&bytes[..len]);
            let now = inner.now;
            let node = inner.node_mut(path)?;
            node.content = Content::File(all.into());
            (node.mtime, node.ctime) = (now, now);
            Ok(())
        })?;
        self.stat(path)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let bytes = self.look("open", from, |inner| inner.bytes(from))?;
        self.step("copy", to, |inner, go| inner.create(to, &bytes, go))
    }

    fn make_link(&self, target: &Path, path: &Path) -> Result<(), DiskError> {
        self.step("link", path, |inner, go| {
            inner.need_dir_above(path)?;
            if inner.nodes.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if go == Go::On {
                inner.put(path, Content::Link(target.to_path_buf()), 0o120_777);
            }
            Ok(())
        })
    }

    fn make_dir(&self, path: &Path) -> Result<(), DiskError> {
        let is_there = |inner: &mut Inner| match inner.nodes.get(path) {
            Some(node) if matches!(node.content, Content::Dir) => Ok(true),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(false),
        };
        if self.look("mkdir", path, is_there)? {
            return Ok(());
        }
        self.step("mkdir", path, |inner, go| {
            for dir in path.ancestors() {
                if inner
                    .nodes
                    .get(dir)
                    .is_some_and(|node| !matches!(node.content, Content::Dir))
                {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
            if go == Go::On {
                inner.make_parents(&path.join("x"));
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.step("rename", to, |inner, go| match go {
            Go::On => inner.rename(from, to),
            Go::Half => Ok(()),
        })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.step("chmod", path, |inner, go| {
            let now = inner.now;
            let node = inner.node_mut(path)?;
            if go == Go::On {
                node.mode = node.mode & 0o170_000 | mode & 0o7777;
                node.ctime = now;
            }
            Ok(())
        })
    }

    fn touch(&self, path: &Path) -> Result<(), DiskError> {
        self.step("touch", path, |inner, _| {
            let now = inner.now;
            let node = inner.node_mut(path)?;
            (node.mtime, node.ctime) = (now, now);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.step("remove", path, |inner, go| {
            let mut doomed = inner.below(path);
            doomed.push(path.to_path_buf());
            if go == Go::Half {
                doomed.truncate(doomed.len() / 2);
            }
            for path in doomed {
                inner.nodes.remove(&path);
            }
            Ok(())
        })
    }

    fn remove_empty_dir(&self, path: &Path) -> Result<bool, DiskError> {
        self.step("remove", path, |inner, go| {
            if !matches!(inner.node(path)?.content, Content::Dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            let empty = inner.below(path).is_empty();
            if empty && go == Go::On {
                inner.nodes.remove(path);
            }
            Ok(empty)
        })
    }

    fn clock(&self, path: &Path) -> Result<DiskTime, DiskError> {
        self.step("clock", path, |inner, _| {
            inner.need_dir_above(path)?;
            Ok(DiskTime {
                dev: DEV,
                ns: inner.now,
            })
        })
    }

    fn lock(&self, path: &Path, place: u64, wait: LockWait) -> Result<Option<DiskLock>, DiskError> {
        let locked = self.step("lock", path, |inner, _| {
            inner.need_dir_above(path)?;
            Ok(inner.locks.insert((path.to_path_buf(), place)))
        })?;
        match (locked, wait) {
            (true, _) => Ok(Some(DiskLock::new(Box::new(Held {
                disk: self.clone(),
                lock: (path.to_path_buf(), place),
            })))),
            (false, LockWait::Try) => Ok(None),
            // Nobody else runs in a test: waiting would never end.
            (false, LockWait::Block) => Err(io::ErrorKind::WouldBlock.into()).at("lock", path),
        }
    }
}

struct Held {
    disk: MemDisk,
    lock: (PathBuf, u64),
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.inner().locks.remove(&self.lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_hit_the_step_they_name() {
        let disk = MemDisk::new();
        disk.set_fault(Some(Fault::FailAt(1, io::ErrorKind::StorageFull)));
        disk.make_dir(Path::new("/a")).unwrap();
        let error = disk
            .write_new(Path::new("/a/x"), &mut &b"1"[..])
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.write_new(Path::new("/a/x"), &mut &b"1"[..]).unwrap();
        assert_eq!(disk.steps(), 3);
    }

    #[test]
    fn a_kill_tears_the_file_that_is_being_written() {
        let disk = MemDisk::new();
        disk.set_fault(Some(Fault::KillAt(0)));
        assert!(disk.write_new(Path::new("/x"), &mut &b"1234"[..]).is_err());
        assert!(disk.stat(Path::new("/x")).is_err());
        disk.revive();
        assert_eq!(disk.read(Path::new("/x")).unwrap(), b"12");
    }

    #[test]
    fn time_stands_still_until_it_is_told() {
        let disk = MemDisk::new();
        disk.edit("/a", b"1");
        let before = disk.stat(Path::new("/a")).unwrap();
        disk.edit("/a", b"2");
        assert_eq!(disk.stat(Path::new("/a")).unwrap(), before);
        disk.tick();
        disk.edit("/a", b"3");
        assert_ne!(disk.stat(Path::new("/a")).unwrap(), before);
    }
}
