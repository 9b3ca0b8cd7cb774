//! Whether a look at a tree would find the same paths again: [`Layout`].
//!
//! It has everything that decides which paths a look finds, as it was. What is trusted, and why, is
//! told in `docs/design/watch.md`, "Looking again".

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use crate::change::FileType;
use crate::disk::FileStat;
use crate::files::{FileEntry, FileList};
use crate::parallel;
use crate::path::{RelPath, Root};
use crate::watch::filesystem::{Telling, telling};
use crate::watch::git::Repo;
use crate::watch::ignored::{Rules, top_of};
use crate::watch::rule_files::Source;
use crate::watch::scan::Survey;
use crate::watch::walk::{absolute, stat, stat_at};

/// What one look went through, as it was.
#[derive(Debug)]
pub(crate) struct Layout {
    root: Root,
    /// The root, by its descriptor.
    fd: OwnedFd,
    root_stat: FileStat,
    /// The directories below the root that were read.
    dirs: Vec<(RelPath, FileStat)>,
    /// The directories above the root in which there could be rule files.
    above: Vec<(PathBuf, FileStat)>,
    /// What was asked for rules, links followed; `None` where nothing was.
    sources: Vec<(PathBuf, Option<FileStat>)>,
    repos: Vec<Arc<Repo>>,
    /// Where the repository starts that the root lies in.
    top: Option<PathBuf>,
}

/// So much may be between a clock's reading and the stamp of a later change: ticks of the kernel
/// and of exFAT, 10 ms each at most, with room to spare.
const LAG_NS: i64 = 100_000_000;

/// The same where stamps are cut to seconds: one or two of them.
const LAG_OF_SECONDS_NS: i64 = 3_000_000_000;

/// This many files are looked at in one go by one thread.
const SHARE: usize = 512;

/// What the clock says by which the kernel stamps files: nanoseconds since the epoch.
pub(crate) fn stamp_clock_ns() -> i64 {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

impl Layout {
    /// What `survey` went through. `None` where it could change without being noticed, be it that
    /// it changed a moment ago. `begun_ns` is what the clock said before the survey.
    pub(crate) fn of(survey: &Survey, begun_ns: i64) -> Option<Self> {
        let Survey {
            root,
            fd,
            ignored,
            found,
        } = survey;
        let (_, root_stat) = found.dirs.first()?;
        // Most looks that leave no layout find it out here.
        if found.n_missed > 0 || !is_settled(root_stat, begun_ns) {
            return None;
        }
        let outer = std::iter::successors(Some(ignored.outer()), |rules| rules.up());
        let rules: Vec<&Rules> = outer.chain(&found.rules).collect();
        if rules.iter().any(|rules| rules.has_stray_git()) {
            return None;
        }
        let mut witness = Witness {
            begun_ns,
            telling: Vec::new(),
        };
        let mut dirs = Vec::with_capacity(found.dirs.len() - 1);
        for (dir, stat) in &found.dirs {
            witness.accept(stat, || absolute(root.as_path(), dir))?;
            dirs.extend(dir.as_rel_path().map(|dir| (dir.clone(), *stat)));
        }
        let above = ignored.above().iter().map(|dir| {
            let stat = stat(dir).ok()?;
            witness.accept(&stat, || dir.clone())?;
            Some((dir.clone(), stat))
        });
        let above = above.collect::<Option<_>>()?;
        let repos = rules.iter().filter_map(|rules| rules.own_repo().cloned());
        let repos: Vec<_> = repos.collect();
        let tracked = repos.iter().filter_map(|repo| repo.sources()).flatten();
        let sources = rules.iter().flat_map(|rules| rules.own_sources()).cloned();
        let sources = sources
            .chain(ignored.global_source())
            .chain(tracked)
            .map(|source| witness.source(source));
        Some(Self {
            sources: sources.collect::<Option<_>>()?,
            fd: fd.try_clone().ok()?,
            root: root.clone(),
            root_stat: *root_stat,
            dirs,
            above,
            repos,
            top: ignored.top().map(Path::to_path_buf),
        })
    }

    /// What a new look would find of `files`, which the look found that this was left by: the same
    /// paths, with what the system says of them now. Borrowed if that is the same too; `None` if a
    /// new look might find other paths. Blocks.
    pub(crate) fn look_again<'a>(&self, files: &'a FileList) -> Option<Cow<'a, FileList>> {
        if !self.holds() {
            return None;
        }
        let entries = files.entries();
        let stats = if entries.len() <= SHARE {
            self.stats_of(entries)?
        } else {
            let shares: Vec<&[FileEntry]> = entries.chunks(SHARE).collect();
            let stats = parallel::map(&shares, true, |share| self.stats_of(share));
            stats.into_iter().collect::<Option<Vec<_>>>()?.concat()
        };
        if entries.iter().map(|entry| &entry.stat).eq(&stats) {
            return Some(Cow::Borrowed(files));
        }
        let entries = entries.iter().zip(stats).map(|(entry, stat)| FileEntry {
            path: entry.path.clone(),
            stat,
        });
        Some(Cow::Owned(FileList::new(entries.collect())))
    }

    fn stats_of(&self, entries: &[FileEntry]) -> Option<Vec<FileStat>> {
        let stat = |entry: &FileEntry| {
            let stat = self.stat_of(&entry.path)?;
            (stat.file_type() != FileType::Dir).then_some(stat)
        };
        entries.iter().map(stat).collect()
    }

    /// Whether everything that decides which paths there are is as it was.
    fn holds(&self) -> bool {
        let is = |found: Option<FileStat>, stat: &FileStat| found.as_ref() == Some(stat);
        let is_source = |path: &Path, stat: &Option<FileStat>| match (fs::metadata(path), stat) {
            (Ok(found), Some(stat)) => FileStat::from(&found) == *stat,
            (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), None) | (Err(_), Some(_)) => false,
        };
        is(stat(self.root.as_path()).ok(), &self.root_stat)
            && self.dirs.iter().all(|(dir, s)| is(self.stat_of(dir), s))
            && self.above.iter().all(|(dir, s)| is(stat(dir).ok(), s))
            && self.sources.iter().all(|(path, s)| is_source(path, s))
            && self.repos.iter().all(|repo| repo.is_still_there())
            && self.top_is_the_same()
    }

    fn top_is_the_same(&self) -> bool {
        let root = self.root.as_path();
        // Then its repository was looked for already.
        let is_known = self.repos.iter().any(|repo| repo.top() == root);
        is_known || top_of(root) == self.top.as_deref()
    }

    fn stat_of(&self, path: &RelPath) -> Option<FileStat> {
        stat_at(self.fd.as_fd(), path.as_path().as_os_str()).ok()
    }
}

/// Says what may stand for itself from now on.
struct Witness {
    begun_ns: i64,
    /// Of each device whether this kernel stamps all changes on it.
    telling: Vec<(u64, bool)>,
}

impl Witness {
    /// Accepts `stat`, of what is at `path`, if every change from the survey on gives another one.
    fn accept(&mut self, stat: &FileStat, path: impl FnOnce() -> PathBuf) -> Option<()> {
        let accepted = is_settled(stat, self.begun_ns) && self.is_stamped_here(stat.dev, path);
        accepted.then_some(())
    }

    fn is_stamped_here(&mut self, dev: u64, path: impl FnOnce() -> PathBuf) -> bool {
        if let Some((_, is_ours)) = self.telling.iter().find(|(known, _)| *known == dev) {
            return *is_ours;
        }
        let is_ours = telling(&path()) == Telling::All;
        self.telling.push((dev, is_ours));
        is_ours
    }

    /// How a file is that was read in the survey. It was read before this; but what happened since
    /// has a stamp that is not accepted.
    fn source(&mut self, source: Source) -> Option<(PathBuf, Option<FileStat>)> {
        let Source { path, had_rules } = source;
        match fs::metadata(&path) {
            Ok(found) => {
                let stat = FileStat::from(&found);
                self.accept(&stat, || path.clone())?;
                Some((path, Some(stat)))
            }
            // What is not there has no rules, as was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !had_rules => {
                Some((path, None))
            }
            Err(_) => None,
        }
    }
}

/// Whether any change after the moment `begun_ns` gives another time than `stat` has.
fn is_settled(stat: &FileStat, begun_ns: i64) -> bool {
    let is_cut = stat.ctime_ns % 1_000_000_000 == 0;
    let lag_ns = if is_cut { LAG_OF_SECONDS_NS } else { LAG_NS };
    stat.ctime_ns < begun_ns.saturating_sub(lag_ns)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
