//! What a task has on disk where its outputs are declared: [`find`] and [`check`].
//!
//! Links are never followed: what lies behind one is not the task's.

use std::path::Path;
use std::sync::Arc;

use crate::change::FileType;
use crate::disk::{Disk, DiskError, FileStat};
use crate::parallel;
use crate::path::{RelDir, RelPath, Root};
use crate::pattern::PatternSet;

use super::contents::Contents;
use super::input::{Content, InputFile, OutputFile};
use super::tree::Leaf;
use super::verdict::PathSample;
use super::warning::Warnings;

/// What lies where outputs are declared.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files and links, in order.
    pub(super) files: Vec<(RelPath, FileStat)>,
    /// Directories with nothing in them, in order.
    pub(super) empty_dirs: Vec<(RelPath, FileStat)>,
    /// Sockets and the like, in order.
    pub(super) strange: Vec<RelPath>,
}

/// How recorded outputs compare with the disk.
#[derive(Debug)]
pub(super) enum Check {
    /// They are what was recorded; every stat too.
    Same,
    /// They are what was recorded, by other stats: these.
    Touched(Vec<OutputFile>),
    /// These are gone or different.
    Differ {
        missing: PathSample,
        edited: PathSample,
    },
}

/// Looks for everything that `patterns` hold.
pub(super) fn find(
    disk: &dyn Disk,
    root: &Root,
    patterns: &PatternSet,
) -> Result<Found, DiskError> {
    let mut walk = Walk {
        disk,
        root,
        patterns,
        found: Found::default(),
    };
    for pattern in patterns.includes() {
        let start = pattern.as_literal().or(pattern.prefix().as_rel_path());
        match start {
            Some(path) if behind_link(disk, root, path).is_some() => {}
            Some(path) => walk.visit(path)?,
            None => walk.visit_dir(&RelDir::ROOT).map(drop)?,
        }
    }
    let Found {
        files,
        empty_dirs,
        strange,
    } = &mut walk.found;
    for list in [files, empty_dirs] {
        list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        list.dedup_by(|a, b| a.0 == b.0);
    }
    strange.sort_unstable();
    strange.dedup();
    Ok(walk.found)
}

fn output_of(leaf: Arc<Leaf>) -> OutputFile {
    let Leaf { file, is_trusted } = Arc::unwrap_or_clone(leaf);
    OutputFile { file, is_trusted }
}

/// Reads what was found.
pub(super) fn read(
    found: &Found,
    contents: &Contents<'_>,
    warnings: &Warnings,
) -> Result<Vec<OutputFile>, DiskError> {
    let paths = found.files.iter().map(|(path, stat)| (path, stat));
    let read = contents.read(paths, warnings)?.into_iter();
    let mut outputs: Vec<_> = read.map(output_of).collect();
    outputs.extend(found.empty_dirs.iter().map(|(path, stat)| OutputFile {
        file: InputFile {
            path: path.clone(),
            stat: *stat,
            content: Content::EmptyDir,
        },
        is_trusted: false,
    }));
    outputs.sort_unstable_by(|a, b| a.file.path.cmp(&b.file.path));
    Ok(outputs)
}

/// Compares recorded outputs with the disk; reads only those whose stat does not answer.
pub(super) fn check(
    recorded: &[OutputFile],
    disk: &dyn Disk,
    root: &Root,
    contents: &Contents<'_>,
    warnings: &Warnings,
) -> Result<Check, DiskError> {
    let many = recorded.len() > 256;
    let stats = parallel::map(recorded, many, |output| {
        match disk.stat(&root.join(&output.file.path)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    });
    let (mut missing, mut edited) = (PathSample::default(), PathSample::default());
    let mut now = Vec::new();
    for (output, stat) in recorded.iter().zip(stats) {
        match stat? {
            None => missing.push(&output.file.path),
            Some(stat) => now.push((output, stat)),
        }
    }
    let unsure: Vec<_> = now
        .iter()
        .filter(|(output, stat)| !(output.is_trusted && output.file.stat == *stat))
        .filter(|(output, _)| output.file.content != Content::EmptyDir)
        .map(|(output, stat)| (&output.file.path, stat))
        .collect();
    let read = contents.read(unsure.into_iter(), warnings)?;
    let mut read = read.into_iter().peekable();
    let mut touched = Vec::new();
    let mut is_touched = false;
    for (output, stat) in now {
        let is_read = read.next_if(|leaf| leaf.file.path == output.file.path);
        let is_same = match &is_read {
            Some(leaf) => leaf.file.content == output.file.content,
            None if output.file.content == Content::EmptyDir => stat.file_type() == FileType::Dir,
            // Its stat answered, or it went away or became a directory since.
            None => output.is_trusted && output.file.stat == stat,
        };
        if !is_same {
            edited.push(&output.file.path);
        }
        touched.push(match is_read {
            Some(leaf) => {
                let read = output_of(leaf);
                is_touched |=
                    read.is_trusted != output.is_trusted || read.file.stat != output.file.stat;
                read
            }
            None => output.clone(),
        });
    }
    Ok(
        match (missing.is_empty() && edited.is_empty(), is_touched) {
            (false, _) => Check::Differ { missing, edited },
            (true, true) => Check::Touched(touched),
            (true, false) => Check::Same,
        },
    )
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    root: &'a Root,
    patterns: &'a PatternSet,
    found: Found,
}

impl Walk<'_> {
    fn visit(&mut self, path: &RelPath) -> Result<(), DiskError> {
        if is_reserved(path) {
            return Ok(());
        }
        let stat = match self.disk.stat(&self.root.join(path)) {
            Err(error) if error.is_not_found() => return Ok(()),
            stat => stat?,
        };
        match stat.file_type() {
            FileType::File | FileType::Symlink => {
                if self.patterns.matches(path) {
                    self.found.files.push((path.clone(), stat));
                }
            }
            FileType::Dir => {
                let dir = RelDir::from(path.clone());
                if self.visit_dir(&dir)? == 0 && self.patterns.matches(path) {
                    self.found.empty_dirs.push((path.clone(), stat));
                }
            }
            FileType::Other => {
                if self.patterns.matches(path) {
                    self.found.strange.push(path.clone());
                }
            }
        }
        Ok(())
    }

    /// Visits everything in `dir`; how many names are in it.
    fn visit_dir(&mut self, dir: &RelDir) -> Result<usize, DiskError> {
        if !self.patterns.may_match_below(dir) {
            return Ok(1);
        }
        let names = match self.disk.read_dir(&self.root.join_dir(dir)) {
            Err(error) if error.is_not_found() => return Ok(1),
            names => names?,
        };
        for name in &names {
            if let Some(path) = dir.join(name.as_os_str().as_encoded_bytes()) {
                self.visit(&path)?;
            }
        }
        Ok(names.len())
    }
}

/// The first directory on the way to `path` that is not a directory but a link or file.
pub(super) fn behind_link(disk: &dyn Disk, root: &Root, path: &RelPath) -> Option<RelPath> {
    let is_other = |dir: &RelPath| {
        let stat = disk.stat(&root.join(dir));
        stat.is_ok_and(|stat| stat.file_type() != FileType::Dir)
    };
    path.ancestors()
        .filter_map(|dir| dir.as_rel_path().cloned())
        .filter(is_other)
        .last()
}

/// Removes an output and the directories that leaves empty, up to one that `is_needed`.
pub(super) fn remove(
    disk: &dyn Disk,
    root: &Root,
    path: &RelPath,
    is_needed: impl Fn(&RelPath) -> bool,
) -> Result<(), DiskError> {
    disk.remove(&root.join(path))?;
    for dir in path.ancestors() {
        let Some(dir) = dir.as_rel_path() else { break };
        // One that is gone or cannot be removed is as good as one that is not empty.
        if is_needed(dir) || !disk.remove_empty_dir(&root.join(dir)).unwrap_or(false) {
            break;
        }
    }
    Ok(())
}

/// The engine's own directory and git's are nobody's output.
pub(super) fn is_reserved(path: &RelPath) -> bool {
    let first = Path::new(".watchrun");
    path.as_path().starts_with(first) || path.as_path().starts_with(".git")
}
