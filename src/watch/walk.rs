//! Reading one directory: [`Walker`] lists it, asks the rules and looks at what is of interest.
//!
//! Shared by the one-shot scan and the watch. Everything is relative to the directory's own
//! descriptor, so that a directory swapped meanwhile cannot mix with another.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType as RawType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::change::FileType;
use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::watch::ignored::{Ignored, Rules};
use crate::watch::rule_files::RuleFiles;
use crate::watch::select::Select;

/// How a path stands with the ignore rules, if it is modelled at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing ignores it.
    Plain,
    /// It is ignored, but tracked by git; or it is a directory on the way to such a path, or to
    /// one that is named.
    Spared,
    /// It is ignored, and modelled only because a pattern without wildcards names it. Never a
    /// directory.
    Named,
}

/// What decides which entries of a tree are modelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walker<'a> {
    pub(crate) root: &'a Path,
    pub(crate) ignored: &'a Ignored,
    pub(crate) select: &'a Select,
}

/// What was found in one directory: names and states of the entries of interest.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The directory itself.
    pub(crate) stat: FileStat,
    /// The rules inside it.
    pub(crate) rules: Rules,
    /// Whether it adds rules to those outside.
    pub(crate) has_rules: bool,
    /// Whether all entries of interest could be looked at.
    pub(crate) is_whole: bool,
    pub(crate) entries: Vec<Entry>,
    /// One buffer for all names.
    names: Vec<u8>,
}

/// One entry of a [`Listing`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    name_start: u32,
    name_len: u16,
    pub(crate) kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EntryKind {
    /// A directory to descend into; its state is read when it is opened.
    Dir {
        /// As its parent lists it.
        ino: u64,
        standing: Standing,
    },
    /// Anything else.
    File { stat: FileStat, standing: Standing },
}

impl Listing {
    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name_start as usize;
        &self.names[start..start + entry.name_len as usize]
    }

    /// Orders the entries by name.
    pub(crate) fn sort_by_name(&mut self) {
        let names = std::mem::take(&mut self.names);
        let name = |entry: &Entry| {
            let start = entry.name_start as usize;
            &names[start..start + entry.name_len as usize]
        };
        self.entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        self.names = names;
    }
}

/// Opens a directory, by a path relative to `at`, without following a final link.
pub(crate) fn open_dir(at: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

/// Opens a directory by its absolute path.
pub(crate) fn open_absolute(path: &Path) -> io::Result<OwnedFd> {
    open_dir(CWD, path)
}

/// What the system says of an absolute path, links not followed.
pub(crate) fn stat(path: &Path) -> io::Result<FileStat> {
    stat_at(CWD, path.as_os_str())
}

/// The same of a path relative to `at`.
pub(crate) fn stat_at(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<FileStat> {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(convert(&stat))
}

#[expect(
    clippy::useless_conversion,
    reason = "the fields' types differ between architectures"
)]
fn convert(stat: &rustix::fs::Stat) -> FileStat {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    FileStat {
        dev: stat.st_dev.into(),
        ino: stat.st_ino.into(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: ns(
            stat.st_mtime.into(),
            i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        ctime_ns: ns(
            stat.st_ctime.into(),
            i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
        ),
        mode: stat.st_mode,
    }
}

impl Walker<'_> {
    /// Reads the directory `dir`, open at `fd`, that lies in one with the rules `outer`.
    ///
    /// # Errors
    /// As `fstat` and `getdents`. An entry that vanishes meanwhile is no error.
    pub(crate) fn list(
        &self,
        fd: BorrowedFd<'_>,
        dir: &RelDir,
        standing: Standing,
        outer: &Rules,
    ) -> io::Result<Listing> {
        Ok(self.take(RawListing::read(fd)?, fd, dir, standing, outer))
    }

    /// As [`Self::list`], where nothing but `names` can be of interest: those are looked for, and
    /// the directory is not read, however large it is.
    ///
    /// # Errors
    /// As `fstat`.
    pub(crate) fn list_named(
        &self,
        fd: BorrowedFd<'_>,
        dir: &RelDir,
        standing: Standing,
        outer: &Rules,
        names: &BTreeSet<Box<[u8]>>,
    ) -> io::Result<Listing> {
        Ok(self.take(RawListing::find(fd, names)?, fd, dir, standing, outer))
    }

    fn take(
        &self,
        raw: RawListing,
        fd: BorrowedFd<'_>,
        dir: &RelDir,
        standing: Standing,
        outer: &Rules,
    ) -> Listing {
        let mut path = self.root.to_path_buf();
        if let Some(dir) = dir.as_rel_path() {
            path.push(dir.as_path());
        }
        let mut rule_files = raw.rule_files;
        // A repository in an ignored directory is ignored with it: what it tracks spares nothing.
        rule_files.dot_git &= standing != Standing::Spared;
        let rules = self.ignored.enter(outer, &path, rule_files);
        let mut listing = Listing {
            stat: raw.stat,
            has_rules: rules.adds_to(outer),
            rules,
            is_whole: raw.is_whole,
            entries: Vec::with_capacity(raw.entries.len()),
            names: Vec::new(),
        };
        for &(start, len, kind, ino) in &raw.entries {
            let name = &raw.names[start as usize..start as usize + len as usize];
            let found = self.look(fd, dir, &path, standing, &listing.rules, (name, kind, ino));
            match found {
                Ok(Some(kind)) => listing.entries.push(Entry {
                    name_start: start,
                    name_len: len,
                    kind,
                }),
                Ok(None) => {}
                Err(_) => listing.is_whole = false,
            }
        }
        listing.names = raw.names;
        listing
    }

    /// Whether and how the entry `name` of `dir` is modelled.
    pub(crate) fn standing(
        &self,
        dir: &RelDir,
        dir_path: &Path,
        dir_standing: Standing,
        rules: &Rules,
        (name, is_dir): (&[u8], bool),
    ) -> Option<Standing> {
        let path = || dir_path.join(OsStr::from_bytes(name));
        let ignored = dir_standing == Standing::Spared
            || self.ignored.is_ignored(rules, &path(), name, is_dir);
        // Asked last: the first question reads git's index. What has such a name is not in it.
        let tracked = |below: bool| {
            let repo = rules
                .repo()
                .filter(|_| !self.ignored.is_excluded_name(name));
            repo.is_some_and(|repo| {
                if below {
                    repo.tracks_below(&path())
                } else {
                    repo.tracks(&path())
                }
            })
        };
        if !ignored && matches!(self.select, Select::Everything) {
            return Some(Standing::Plain);
        }
        let rel = dir.join(name)?;
        if is_dir {
            let rel = RelDir::from(rel);
            if !ignored {
                return self.select.may_match_below(&rel).then_some(Standing::Plain);
            }
            let spared = self.select.may_name_below(&rel)
                || (self.select.may_match_below(&rel) && tracked(true));
            return spared.then_some(Standing::Spared);
        }
        self.file_standing(&rel, ignored, || tracked(false))
    }

    fn file_standing(
        &self,
        rel: &RelPath,
        ignored: bool,
        tracked: impl FnOnce() -> bool,
    ) -> Option<Standing> {
        if !ignored {
            return self.select.matches(rel).then_some(Standing::Plain);
        }
        if !self.select.matches(rel) {
            return None;
        }
        if tracked() {
            return Some(Standing::Spared);
        }
        self.select.names(rel).then_some(Standing::Named)
    }

    fn look(
        &self,
        fd: BorrowedFd<'_>,
        dir: &RelDir,
        dir_path: &Path,
        dir_standing: Standing,
        rules: &Rules,
        (name, kind, ino): (&[u8], RawType, u64),
    ) -> io::Result<Option<EntryKind>> {
        let os_name = OsStr::from_bytes(name);
        // Some file systems do not say what an entry is.
        let known = match kind {
            RawType::Unknown => Some(stat_at(fd, os_name)?),
            _ => None,
        };
        let is_dir = match &known {
            Some(stat) => stat.file_type() == FileType::Dir,
            None => kind == RawType::Directory,
        };
        let standing = self.standing(dir, dir_path, dir_standing, rules, (name, is_dir));
        let Some(standing) = standing else {
            return Ok(None);
        };
        if is_dir {
            return Ok(Some(EntryKind::Dir { ino, standing }));
        }
        let stat = match known {
            Some(stat) => stat,
            None => stat_at(fd, os_name)?,
        };
        // It may have become a directory since it was listed: an event will tell.
        let is_file = stat.file_type() != FileType::Dir;
        Ok(is_file.then_some(EntryKind::File { stat, standing }))
    }
}

struct RawListing {
    stat: FileStat,
    rule_files: RuleFiles,
    is_whole: bool,
    /// Start and length of the name, type, inode.
    entries: Vec<(u32, u16, RawType, u64)>,
    names: Vec<u8>,
}

impl RawListing {
    fn read(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = convert(&rustix::fs::fstat(fd.as_fd())?);
        let mut raw = Self {
            stat,
            rule_files: RuleFiles::default(),
            is_whole: true,
            entries: Vec::new(),
            names: Vec::new(),
        };
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut dir = RawDir::new(fd, &mut buffer);
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            raw.rule_files.note(name);
            raw.push(name, entry.file_type(), entry.ino())?;
        }
        Ok(raw)
    }

    /// What a reading would give of these `names` and of the files that hold rules.
    fn find(fd: BorrowedFd<'_>, names: &BTreeSet<Box<[u8]>>) -> io::Result<Self> {
        let mut raw = Self {
            stat: convert(&rustix::fs::fstat(fd.as_fd())?),
            rule_files: RuleFiles::default(),
            is_whole: true,
            entries: Vec::new(),
            names: Vec::new(),
        };
        let mut is_whole = true;
        // What is not there is as if it had not been asked for.
        let mut stat = |name: &[u8]| {
            let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
            is_whole &= !matches!(stat, Err(error) if error != Errno::NOENT);
            stat.ok()
        };
        for name in RuleFiles::NAMES {
            if stat(name).is_some() {
                raw.rule_files.note(name);
            }
        }
        for name in names {
            if let Some(stat) = stat(name) {
                raw.push(name, RawType::from_raw_mode(stat.st_mode), stat.st_ino)?;
            }
        }
        raw.is_whole = is_whole;
        Ok(raw)
    }

    fn push(&mut self, name: &[u8], kind: RawType, ino: u64) -> io::Result<()> {
        let offset = u32::try_from(self.names.len()).map_err(io::Error::other)?;
        let len = u16::try_from(name.len()).map_err(io::Error::other)?;
        self.names.extend_from_slice(name);
        self.entries.push((offset, len, kind, ino));
        Ok(())
    }
}

/// The absolute path of `dir` below `root`.
pub(crate) fn absolute(root: &Path, dir: &RelDir) -> PathBuf {
    match dir.as_rel_path() {
        Some(path) => root.join(path.as_path()),
        None => root.to_path_buf(),
    }
}
