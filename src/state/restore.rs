//! Puts the outputs of a stored result back in place: [`restore`].
//!
//! First everything that is not right already is copied aside and verified, then it is moved into
//! place file by file. Nothing is written outside what the task declares, nor through a link,
//! whatever the stored entry says.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::change::FileType;
use crate::disk::{Disk, DiskError, FileStat};
use crate::parallel;
use crate::path::{RelDir, RelPath, Root};
use crate::pattern::{PatternIndex, PatternSet};

use super::contents::Contents;
use super::input::Content;
use super::outputs::{self, Found};
use super::store::{Store, StoredOutput, StoredResult};
use super::warning::Warnings;

/// Why an entry is not restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("`{0}` is not one of the task's outputs")]
    Undeclared(RelPath),
    #[error("`{0}` lies below a file or link")]
    BelowFile(RelPath),
    #[error("the link `{0}` leads out of the root")]
    LinkLeavesRoot(RelPath),
}

/// How a restore ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Every output is as stored; so many were written.
    Done { written: usize },
    /// The store does not have all of it. Nothing was touched.
    Missing,
    /// Something on disk is in the way, such as a link where a directory has to be. Nothing was
    /// touched.
    Obstructed,
}

/// The places a restore works with.
pub(super) struct Restorer<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) root: &'a Root,
    pub(super) store: &'a Store<'a>,
    pub(super) contents: &'a Contents<'a>,
    pub(super) warnings: &'a Warnings,
    /// A name on the root's file system that is nobody else's; with a number it is the name of
    /// what is not in place yet.
    pub(super) stage: PathBuf,
    /// The outputs of all tasks: what others may produce too is not removed.
    pub(super) produced: &'a PatternIndex,
}

/// Checks that `result` writes only where `declared` allows it.
pub(super) fn admit(result: &StoredResult, declared: &PatternSet) -> Result<(), Refusal> {
    let leaves: BTreeSet<&[u8]> = result
        .outputs
        .iter()
        .map(|output| output.path.as_bytes())
        .collect();
    for output in &result.outputs {
        let path = &output.path;
        if !declared.matches(path) || outputs::is_reserved(path) {
            return Err(Refusal::Undeclared(path.clone()));
        }
        let mut above = path.ancestors();
        if above.any(|dir| leaves.contains(dir.as_bytes()) && !dir.is_root()) {
            return Err(Refusal::BelowFile(path.clone()));
        }
        if let Content::Link { target } = &output.content
            && link_leaves_root(path, target)
        {
            return Err(Refusal::LinkLeavesRoot(path.clone()));
        }
    }
    Ok(())
}

/// Whether a link at `path` with this text leads out of the root, read as words alone.
pub(super) fn link_leaves_root(path: &RelPath, target: &[u8]) -> bool {
    let inside = |dir: RelDir| RelDir::new(&[dir.as_bytes(), b"/", target].concat());
    match path.parent() {
        _ if target.first() == Some(&b'/') => true,
        RelDir::ROOT => RelDir::new(target).is_none(),
        dir => inside(dir).is_none(),
    }
}

impl Restorer<'_> {
    /// Makes what lies where `declared` says into exactly `result`.
    pub(super) fn run(
        &self,
        result: &StoredResult,
        declared: &PatternSet,
        before_writing: impl FnOnce() -> Result<(), DiskError>,
    ) -> Result<Ended, DiskError> {
        let found = outputs::find(self.disk, self.root, declared)?;
        let wrong = self.wrong_outputs(result, &found)?;
        let keep: BTreeSet<&RelPath> = result.outputs.iter().map(|output| &output.path).collect();
        let present = found
            .files
            .iter()
            .chain(&found.empty_dirs)
            .map(|(path, _)| path);
        let extra: Vec<&RelPath> = present
            .chain(&found.strange)
            .filter(|path| !keep.contains(path) && self.produced.matching(path).len() < 2)
            .collect();
        if wrong.is_empty() && extra.is_empty() {
            return Ok(Ended::Done { written: 0 });
        }
        if self.is_obstructed(&wrong) {
            return Ok(Ended::Obstructed);
        }
        let ended = self.stage(&wrong).and_then(|is_complete| {
            if !is_complete {
                return Ok(Ended::Missing);
            }
            before_writing()?;
            for path in extra {
                outputs::remove(self.disk, self.root, path, |dir| keep.contains(dir))?;
            }
            self.put_in_place(&wrong)?;
            Ok(Ended::Done {
                written: wrong.len(),
            })
        });
        if !matches!(ended, Ok(Ended::Done { .. })) {
            for n in 0..wrong.len() {
                // What is left is collected later.
                drop(self.disk.remove(&self.staged(n)));
            }
        }
        ended
    }

    fn staged(&self, n: usize) -> PathBuf {
        let mut name = self.stage.clone().into_os_string();
        name.push(format!("-{n}"));
        PathBuf::from(name)
    }

    /// The outputs of `result` that are not on disk as they should be.
    fn wrong_outputs<'r>(
        &self,
        result: &'r StoredResult,
        found: &Found,
    ) -> Result<Vec<&'r StoredOutput>, DiskError> {
        let stat_of = |path: &RelPath| -> Option<&FileStat> {
            let at = found.files.binary_search_by(|(known, _)| known.cmp(path));
            at.ok().map(|at| &found.files[at].1)
        };
        // Only what has the right size and mode is worth reading.
        let may_be_right = |output: &&StoredOutput| match (&output.content, stat_of(&output.path)) {
            (Content::File { size, .. }, Some(stat)) => {
                stat.file_type() == FileType::File
                    && stat.size == *size
                    && stat.mode & 0o777 == output.mode
            }
            (Content::Link { .. }, Some(stat)) => stat.file_type() == FileType::Symlink,
            (Content::EmptyDir, _) | (_, None) => false,
        };
        let candidates = result.outputs.iter().filter(may_be_right);
        let paths: Vec<_> = candidates
            .filter_map(|output| Some((&output.path, stat_of(&output.path)?)))
            .collect();
        let read = self.contents.read(paths.into_iter(), self.warnings)?;
        let is_right = |output: &StoredOutput| match &output.content {
            Content::EmptyDir => found
                .empty_dirs
                .iter()
                .any(|(path, _)| *path == output.path),
            content => read
                .binary_search_by(|leaf| leaf.file.path.cmp(&output.path))
                .is_ok_and(|at| read[at].file.content == *content),
        };
        Ok(result
            .outputs
            .iter()
            .filter(|output| !is_right(output))
            .collect())
    }

    /// Whether a link or a file is where a directory has to be.
    fn is_obstructed(&self, wrong: &[&StoredOutput]) -> bool {
        let mut seen = BTreeSet::new();
        wrong.iter().any(|output| {
            seen.insert(output.path.parent())
                && outputs::behind_link(self.disk, self.root, &output.path).is_some()
        })
    }

    /// Copies what is needed aside; `false` when the store does not have it.
    fn stage(&self, wrong: &[&StoredOutput]) -> Result<bool, DiskError> {
        let numbered: Vec<_> = wrong.iter().enumerate().collect();
        let staged = parallel::map(&numbered, numbered.len() > 8, |(n, output)| {
            let place = self.staged(*n);
            match &output.content {
                Content::File { digest, .. } => {
                    if !self.store.take(digest, &place, self.warnings)? {
                        return Ok(false);
                    }
                    self.disk.set_mode(&place, output.mode & 0o777)?;
                }
                Content::Link { target } => {
                    self.disk
                        .make_link(Path::new(OsStr::from_bytes(target)), &place)?;
                }
                Content::EmptyDir => {}
            }
            Ok(true)
        });
        staged
            .into_iter()
            .try_fold(true, |all, one| Ok(all && one?))
    }

    fn put_in_place(&self, wrong: &[&StoredOutput]) -> Result<(), DiskError> {
        let mut made = BTreeSet::new();
        for (n, output) in wrong.iter().enumerate() {
            let place = self.root.join(&output.path);
            if made.insert(output.path.parent()) {
                self.disk
                    .make_dir(&self.root.join_dir(&output.path.parent()))?;
            }
            let in_the_way = self.disk.stat(&place);
            let is_dir = in_the_way.is_ok_and(|stat| stat.file_type() == FileType::Dir);
            match output.content {
                Content::EmptyDir if is_dir => {}
                Content::EmptyDir => {
                    self.disk.remove(&place)?;
                    self.disk.make_dir(&place)?;
                }
                Content::File { .. } | Content::Link { .. } => {
                    if is_dir {
                        // Whatever of it was an output is gone by now; more is not ours to remove.
                        self.disk.remove_empty_dir(&place)?;
                    }
                    self.disk.rename(&self.staged(n), &place)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::digest::Digest;
    use crate::pattern::Pattern;
    use crate::state::frame::{self, Kind};

    use super::*;

    fn file(path: &str) -> StoredOutput {
        StoredOutput {
            path: RelPath::new(path.as_bytes()).unwrap(),
            content: Content::File {
                digest: Digest::of(b""),
                size: 0,
                executable: false,
            },
            mode: 0o644,
        }
    }

    fn link(path: &str, target: &str) -> StoredOutput {
        StoredOutput {
            content: Content::Link {
                target: target.as_bytes().into(),
            },
            ..file(path)
        }
    }

    #[track_caller]
    fn check(outputs: Vec<StoredOutput>, expected: Option<&str>) {
        let out = ["out/**", ".watchrun/**", ".git/**"]
            .map(|text| Pattern::parse(text, &RelDir::ROOT).unwrap());
        let result = StoredResult {
            key: Digest::of(b""),
            outputs,
            log: Digest::of(b""),
            duration_ms: 0,
        };
        let refusal = admit(&result, &PatternSet::new(out.to_vec())).err();
        assert_eq!(
            refusal.map(|refusal| refusal.to_string()).as_deref(),
            expected
        );
    }

    #[test]
    fn only_declared_outputs_are_admitted() {
        check(vec![file("out/a"), file("out/b/c")], None);
        check(
            vec![file("src/a")],
            Some("`src/a` is not one of the task's outputs"),
        );
        for reserved in [".watchrun/v1/index", ".git/hooks/pre-commit"] {
            let refusal = format!("`{reserved}` is not one of the task's outputs");
            check(vec![file(reserved)], Some(&refusal));
        }
    }

    #[test]
    fn nothing_is_admitted_below_a_link_or_file() {
        check(
            vec![link("out/d", "x"), file("out/d/passwd")],
            Some("`out/d/passwd` lies below a file or link"),
        );
        check(
            vec![file("out/d"), file("out/d/e/f")],
            Some("`out/d/e/f` lies below a file or link"),
        );
    }

    #[test]
    fn links_stay_in_the_root() {
        check(
            vec![link("out/l", "../src/a"), link("out/d/l", "../..")],
            None,
        );
        for target in ["/etc/passwd", "../../x", "a/../../../x"] {
            check(
                vec![link("out/l", target)],
                Some("the link `out/l` leads out of the root"),
            );
        }
    }

    #[test]
    fn a_stored_path_that_climbs_cannot_be_read_at_all() {
        for path in ["../x", "/etc/x", "a/../../x", ""] {
            let bytes = frame::encode(Kind::Result, &path.as_bytes());
            assert!(frame::decode::<RelPath>(Kind::Result, &bytes).is_err());
        }
    }
}
