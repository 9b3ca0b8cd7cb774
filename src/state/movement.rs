//! Whether inputs are after the command what they were before: [`Movement`], and what follows
//! from it: [`Step`].

use crate::digest::Digest;
use crate::disk::DiskError;
use crate::files::FileEntry;
use crate::path::RelPath;

use super::contents::Contents;
use super::input::InputFile;
use super::quick;
use super::tree::Tree;
use super::verdict::PathSample;
use super::warning::Warnings;

/// A task whose inputs are different after each of so many runs never comes to rest.
pub const RUNS_MAX: u32 = 3;

/// How inputs differ after a command from before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Not at all.
    Still,
    /// These were written to and hold the same content: perhaps by the task itself, perhaps with
    /// another content in between.
    Touched(PathSample),
    /// These hold other content, are new or are gone.
    Changed(PathSample),
}

/// What follows from a successful run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is recorded.
    Record,
    /// It is not; the task runs again.
    RunAgain,
    /// It is not, and the task is not run again: it would never end.
    GiveUp,
}

impl Movement {
    /// What to do after a run that ended like this, when `moved` runs in a row before it ended
    /// with moved inputs. Pure.
    #[must_use]
    pub fn step(&self, moved: u32) -> Step {
        match self {
            Self::Still => Step::Record,
            // A second pass that changed nothing: the inputs are what the task makes of them.
            Self::Touched(_) if moved > 0 => Step::Record,
            Self::Touched(_) | Self::Changed(_) if moved + 1 < RUNS_MAX => Step::RunAgain,
            Self::Touched(_) | Self::Changed(_) => Step::GiveUp,
        }
    }

    /// The paths that moved.
    #[must_use]
    pub fn paths(&self) -> PathSample {
        match self {
            Self::Still => PathSample::default(),
            Self::Touched(paths) | Self::Changed(paths) => paths.clone(),
        }
    }
}

/// What was found after the command.
#[derive(Debug)]
pub(super) struct After {
    pub(super) movement: Movement,
    /// For the next quick comparison, if all stats may stand for their content.
    pub(super) quick: Option<Digest>,
}

/// Compares the inputs `before` the command with the files `after` it.
pub(super) fn compare(
    before: &Tree,
    after: &[&FileEntry],
    contents: &Contents<'_>,
    warnings: &Warnings,
) -> Result<After, DiskError> {
    let (mut changed, mut touched) = (PathSample::default(), PathSample::default());
    let mut unsure: Vec<(&InputFile, &FileEntry)> = Vec::new();
    let mut leaves = before.leaves().into_iter().peekable();
    for entry in after {
        while let Some(gone) = leaves.next_if(|leaf| leaf.file.path < entry.path) {
            changed.push(&gone.file.path);
        }
        match leaves.next_if(|leaf| leaf.file.path == entry.path) {
            None => changed.push(&entry.path),
            Some(leaf) if leaf.is_trusted && leaf.file.stat == entry.stat => {}
            Some(leaf) => unsure.push((&leaf.file, entry)),
        }
    }
    leaves.for_each(|gone| changed.push(&gone.file.path));

    let paths = unsure.iter().map(|(_, entry)| (&entry.path, &entry.stat));
    let now = contents.read(paths, warnings)?;
    let find = |path: &RelPath| {
        let at = now.binary_search_by(|leaf| leaf.file.path.cmp(path));
        at.ok().map(|at| &now[at].file)
    };
    for (file, entry) in unsure {
        match find(&file.path) {
            Some(found) if found.content == file.content => {
                if found.stat != file.stat || found.stat != entry.stat {
                    touched.push(&file.path);
                }
            }
            _ => changed.push(&file.path),
        }
    }
    let movement = match (changed.is_empty(), touched.is_empty()) {
        (false, _) => Movement::Changed(changed),
        (true, false) => Movement::Touched(touched),
        (true, true) => Movement::Still,
    };
    let is_trusted = now.iter().all(|leaf| leaf.is_trusted);
    let is_trusted = is_trusted && !matches!(movement, Movement::Changed(_));
    Ok(After {
        movement,
        quick: is_trusted.then(|| quick::digest(after)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(movement: &Movement, moved: u32, expected: Step) {
        assert_eq!(movement.step(moved), expected);
    }

    #[test]
    fn a_run_is_recorded_only_when_it_changed_nothing() {
        let sample = || PathSample {
            paths: Vec::new(),
            count: 1,
        };
        check(&Movement::Still, 0, Step::Record);
        check(&Movement::Still, 2, Step::Record);
        check(&Movement::Touched(sample()), 0, Step::RunAgain);
        check(&Movement::Touched(sample()), 1, Step::Record);
        check(&Movement::Changed(sample()), 0, Step::RunAgain);
        check(&Movement::Changed(sample()), 1, Step::RunAgain);
        check(&Movement::Changed(sample()), 2, Step::GiveUp);
    }
}
