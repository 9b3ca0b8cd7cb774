//! What a watch must know of git: where a repository keeps its files, and which files it tracks.
//!
//! Reads `.git` files and the index directly; never runs git, never writes.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::watch::rule_files::Source;

/// A git repository or work tree.
#[derive(Debug)]
pub(crate) struct Repo {
    /// The directory that holds `.git`.
    top: PathBuf,
    /// Where this work tree's index lies.
    git_dir: PathBuf,
    /// Where what all work trees share lies.
    common_dir: PathBuf,
    // Guards the set read from the index. Leaf lock, held for one look or one swap.
    tracked: Mutex<Option<Arc<Tracked>>>,
    /// Whether the index was ever the reason to count a path.
    spared: AtomicBool,
}

/// Which paths the index of a repository holds: hashes of file paths and of their directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracked {
    files: Vec<u64>,
    dirs: Vec<u64>,
}

impl Repo {
    /// The repository whose `.git` (a directory, or a file that names one) lies in `top`, which
    /// is a path without links.
    pub(crate) fn at(top: &Path) -> Option<Self> {
        let dot_git = top.join(".git");
        let metadata = fs::symlink_metadata(&dot_git).ok()?;
        let plain = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
        let git_dir = if metadata.is_dir() {
            dot_git
        } else if metadata.is_file() {
            let text = fs::read(&dot_git).ok()?;
            let line = text.strip_prefix(b"gitdir:")?;
            plain(top.join(bytes_path(line.trim_ascii())))
        } else {
            plain(dot_git)
        };
        if !metadata.is_dir() && !git_dir.is_dir() {
            return None;
        }
        let common_dir = match fs::read(git_dir.join("commondir")) {
            Ok(text) => plain(git_dir.join(bytes_path(text.trim_ascii()))),
            Err(_) => git_dir.clone(),
        };
        Some(Self {
            top: top.to_path_buf(),
            git_dir,
            common_dir,
            tracked: Mutex::new(None),
            spared: AtomicBool::new(false),
        })
    }

    /// The directory whose `index.lock` says that git is at work.
    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    pub(crate) fn index_lock(&self) -> PathBuf {
        self.git_dir.join("index.lock")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.git_dir.join("index")
    }

    fn config(&self) -> PathBuf {
        self.common_dir.join("config")
    }

    pub(crate) fn exclude_file(&self) -> PathBuf {
        self.common_dir.join("info/exclude")
    }

    /// Whether the index holds the file `path` (absolute).
    pub(crate) fn tracks(&self, path: &Path) -> bool {
        let key = self.key(path);
        let tracks = key.is_some_and(|key| self.tracked().files.binary_search(&key).is_ok());
        if tracks {
            self.spared.store(true, Ordering::Relaxed);
        }
        tracks
    }

    /// Whether it was ever said that the index holds a file.
    pub(crate) fn has_spared(&self) -> bool {
        self.spared.load(Ordering::Relaxed)
    }

    /// Whether the index holds a file below `dir` (absolute).
    pub(crate) fn tracks_below(&self, dir: &Path) -> bool {
        let key = self.key(dir);
        key.is_some_and(|key| self.tracked().dirs.binary_search(&key).is_ok())
    }

    /// Whether the repository at the same place still keeps its files where it did.
    pub(crate) fn is_still_there(&self) -> bool {
        let is_same = |now: Self| now.git_dir == self.git_dir && now.common_dir == self.common_dir;
        Self::at(&self.top).is_some_and(is_same)
    }

    /// The directory that holds `.git`.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// The files that were asked for what is tracked, if it was asked. A shared index is not among
    /// them: it is called by its content.
    pub(crate) fn sources(&self) -> Option<[Source; 2]> {
        let tracked = self.lock().clone()?;
        Some([
            Source::new(self.index(), !tracked.files.is_empty()),
            Source::new(self.config(), true),
        ])
    }

    /// Reads the index again; returns the absolute paths it gained, and whether it lost any.
    /// Nothing gained, nothing lost while it was never asked for.
    pub(crate) fn reload(&self) -> (Vec<PathBuf>, bool) {
        let Some(old) = self.lock().clone() else {
            return (Vec::new(), false);
        };
        let mut gained = Vec::new();
        let new = self.read(&mut |path| {
            if old.files.binary_search(&hash(path)).is_err() {
                gained.push(self.top.join(bytes_path(path)));
            }
        });
        let lost = new.files.len() < old.files.len() + gained.len();
        *self.lock() = Some(Arc::new(new));
        (gained, lost)
    }

    fn tracked(&self) -> Arc<Tracked> {
        let mut tracked = self.lock();
        let read = || Arc::new(self.read(&mut |_| {}));
        Arc::clone(tracked.get_or_insert_with(read))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Tracked>>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, path: &Path) -> Option<u64> {
        let inside = path.strip_prefix(&self.top).ok()?;
        Some(hash(inside.as_os_str().as_bytes()))
    }

    /// Reads the index; what of it cannot be understood counts as not tracked.
    fn read(&self, each: &mut dyn FnMut(&[u8])) -> Tracked {
        let id_bytes = self.object_id_bytes();
        let mut tracked = Tracked::default();
        let mut note = |path: &[u8]| {
            each(path);
            tracked.files.push(hash(path));
            for (at, _) in path.iter().enumerate().filter(|&(_, &b)| b == b'/') {
                let dir = hash(&path[..at]);
                if tracked.dirs.last() != Some(&dir) {
                    tracked.dirs.push(dir);
                }
            }
        };
        if let Ok(Some(shared)) = read_index(&self.index(), id_bytes, &mut note) {
            let shared = self.git_dir.join(format!("sharedindex.{shared}"));
            drop(read_index(&shared, id_bytes, &mut note));
        }
        for list in [&mut tracked.files, &mut tracked.dirs] {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
        tracked
    }

    fn object_id_bytes(&self) -> usize {
        let config = fs::read(self.config()).unwrap_or_default();
        let config = String::from_utf8_lossy(&config).to_lowercase();
        let sha256 = config.lines().any(|line| {
            let mut sides = line.splitn(2, '=').map(str::trim);
            sides.next() == Some("objectformat") && sides.next() == Some("sha256")
        });
        if sha256 { 32 } else { 20 }
    }
}

/// Calls `each` with every file path of the index at `path`; returns the name of the shared index
/// it builds on, if it does.
fn read_index(
    path: &Path,
    id_bytes: usize,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<String>> {
    let mut input = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let mut header = [0; 12];
    input.read_exact(&mut header)?;
    let version = be32(&header[4..]);
    if &header[..4] != b"DIRC" || !(2..=4).contains(&version) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut fixed = vec![0; 40 + id_bytes + 2];
    let mut name = Vec::new();
    for _ in 0..be32(&header[8..]) {
        input.read_exact(&mut fixed)?;
        let flags = u16::from_be_bytes([fixed[40 + id_bytes], fixed[41 + id_bytes]]);
        let mut len = fixed.len();
        if version >= 3 && flags & 0x4000 != 0 {
            input.read_exact(&mut [0; 2])?;
            len += 2;
        }
        if version == 4 {
            let strip = read_offset(&mut input)?;
            name.truncate(name.len().saturating_sub(strip));
        } else {
            name.clear();
        }
        input.read_until(0, &mut name)?;
        if name.pop() != Some(0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if version < 4 {
            // Entries are padded with one to eight zeros; the first has been read.
            let padding = 8 - (len + name.len()) % 8 - 1;
            input.read_exact(&mut [0; 8][..padding])?;
        }
        // A sparse index has entries for whole directories.
        if be32(&fixed[24..]) & 0o170_000 != 0o040_000 {
            each(&name);
        }
    }
    Ok(read_link(&mut input, id_bytes).unwrap_or_default())
}

/// Looks through the extensions for the one that names a shared index.
fn read_link(input: &mut impl Read, id_bytes: usize) -> io::Result<Option<String>> {
    loop {
        let mut head = [0; 8];
        input.read_exact(&mut head)?;
        let len = u64::from(be32(&head[4..]));
        if &head[..4] == b"link" {
            let mut id = vec![0; id_bytes];
            input.read_exact(&mut id)?;
            let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(Some(hex.concat()));
        }
        // The final checksum looks like an extension with a lower-case or odd name; reading past
        // the end of the file ends the search.
        io::copy(&mut input.take(len), &mut io::sink())?;
    }
}

/// The variable-length number of a version 4 index.
fn read_offset(input: &mut impl Read) -> io::Result<usize> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    let mut value = usize::from(byte[0] & 0x7f);
    while byte[0] & 0x80 != 0 {
        input.read_exact(&mut byte)?;
        value = ((value + 1) << 7) | usize::from(byte[0] & 0x7f);
        if value > 1 << 24 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(value)
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Never stored: only compared within this process.
fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path);
    hasher.finish()
}

fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .current_dir(dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn repo_with_files(dir: &Path) {
        git(dir, &["init", "-q"]);
        for name in ["a.txt", "dir/b.txt", "dir/deep/er/c.txt", "dir/deep/d"] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        git(dir, &["add", "."]);
    }

    fn check(dir: &Path) {
        let repo = Repo::at(dir).unwrap();
        for (path, expected) in [
            ("a.txt", true),
            ("dir/b.txt", true),
            ("dir/deep/er/c.txt", true),
            ("dir/deep/d", true),
            ("dir/deep", false),
            ("new.txt", false),
        ] {
            assert_eq!(repo.tracks(&dir.join(path)), expected, "{path}");
        }
        assert!(repo.tracks_below(&dir.join("dir/deep")));
        assert!(!repo.tracks_below(&dir.join("other")));
    }

    #[test]
    fn every_version_of_the_index_is_read() {
        for version in ["2", "3", "4"] {
            let temp = tempfile::tempdir().unwrap();
            repo_with_files(temp.path());
            git(temp.path(), &["update-index", "--index-version", version]);
            check(temp.path());
        }
    }

    #[test]
    fn a_split_index_is_read_whole() {
        let temp = tempfile::tempdir().unwrap();
        repo_with_files(temp.path());
        git(temp.path(), &["update-index", "--split-index"]);
        check(temp.path());
    }

    #[test]
    fn a_work_tree_has_its_own_index_and_lock() {
        let temp = tempfile::tempdir().unwrap();
        let main = temp.path().join("main");
        fs::create_dir(&main).unwrap();
        repo_with_files(&main);
        git(&main, &["commit", "-qm", "one"]);
        git(&main, &["worktree", "add", "-q", "../other"]);
        let other = temp.path().join("other");
        check(&other);
        let repo = Repo::at(&other).unwrap();
        assert!(repo.index_lock().ends_with("worktrees/other/index.lock"));
        assert!(repo.exclude_file().ends_with("main/.git/info/exclude"));
    }

    #[test]
    fn reload_names_what_was_gained_and_notices_a_loss() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        repo_with_files(dir);
        let repo = Repo::at(dir).unwrap();
        assert!(repo.tracks(&dir.join("a.txt")));
        fs::write(dir.join("new"), "x").unwrap();
        git(dir, &["add", "new"]);
        assert_eq!(repo.reload(), (vec![dir.join("new")], false));
        git(dir, &["rm", "-q", "--cached", "a.txt"]);
        assert_eq!(repo.reload(), (vec![], true));
        assert!(!repo.tracks(&dir.join("a.txt")));
        assert_eq!(repo.reload(), (vec![], false));
    }

    #[test]
    fn garbage_is_no_index_and_no_repository() {
        let temp = tempfile::tempdir().unwrap();
        assert!(Repo::at(temp.path()).is_none());
        fs::write(temp.path().join(".git"), "gitdir: nowhere").unwrap();
        assert!(Repo::at(temp.path()).is_none());
        fs::remove_file(temp.path().join(".git")).unwrap();
        repo_with_files(temp.path());
        let index = temp.path().join(".git/index");
        let bytes = fs::read(&index).unwrap();
        for len in 0..bytes.len() {
            fs::write(&index, &bytes[..len]).unwrap();
            let repo = Repo::at(temp.path()).unwrap();
            assert!(!repo.tracks(&temp.path().join("new.txt")));
        }
    }
}
