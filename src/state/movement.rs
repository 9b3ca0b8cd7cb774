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

/// A run does not count, because inputs are not what they were when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The inputs that moved.
    pub paths: PathSample,
    /// How many runs in a row have ended like this.
    pub in_a_row: u32,
}

impl Moved {
    /// Whether it is not worth to run once more: the task never comes to rest.
    #[must_use]
    pub fn never_rests(&self) -> bool {
        self.in_a_row >= RUNS_MAX
    }
}

impl Movement {
    /// What follows for a run that succeeded, when `before` runs in a row before it ended with
    /// moved inputs; `None`: it is recorded. `earlier` are those that moved in the run right before
    /// it, where that is known. Pure.
    #[must_use]
    pub fn after_success(self, before: u32, earlier: Option<&PathSample>) -> Option<Moved> {
        let may_hold = |paths: &PathSample| earlier.is_none_or(|all| all.may_hold(paths));
        match self {
            // A second pass that changed nothing: the inputs are what the task makes of them.
            // Others than it wrote to before were touched by somebody else.
            Self::Touched(paths) if before > 0 && may_hold(&paths) => None,
            Self::Still => None,
            Self::Touched(paths) | Self::Changed(paths) => Some(Moved::new(paths, before)),
        }
    }

    /// The same for a run that failed; `None`: that is how it ends. Pure.
    #[must_use]
    pub fn after_failure(self, before: u32) -> Option<Moved> {
        match self {
            Self::Still | Self::Touched(_) => None,
            Self::Changed(paths) => Some(Moved::new(paths, before)),
        }
    }
}

impl Moved {
    fn new(paths: PathSample, before: u32) -> Self {
        let in_a_row = before + 1;
        Self { paths, in_a_row }
    }
}

/// What was found after the command.
#[derive(Debug)]
pub(super) struct After {
    pub(super) movement: Movement,
    /// All inputs that were written to, whatever they hold now.
    pub(super) moved: PathSample,
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
    let moved = changed.paths.iter().chain(&touched.paths);
    let moved = PathSample {
        paths: moved.cloned().collect(),
        count: changed.count + touched.count,
    };
    let movement = match (changed.is_empty(), touched.is_empty()) {
        (false, _) => Movement::Changed(changed),
        (true, false) => Movement::Touched(touched),
        (true, true) => Movement::Still,
    };
    let is_trusted = now.iter().all(|leaf| leaf.is_trusted);
    let is_trusted = is_trusted && !matches!(movement, Movement::Changed(_));
    Ok(After {
        movement,
        moved,
        quick: is_trusted.then(|| quick::digest(after)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PathSample {
        PathSample {
            paths: Vec::new(),
            count: 1,
        }
    }

    #[track_caller]
    fn check(moved: Option<Moved>, expected: Option<u32>) {
        assert_eq!(moved.map(|moved| moved.in_a_row), expected);
    }

    #[test]
    fn a_success_is_recorded_only_when_it_changed_nothing() {
        let (touched, changed) = (Movement::Touched(sample()), Movement::Changed(sample()));
        check(Movement::Still.after_success(0, None), None);
        check(Movement::Still.after_success(2, None), None);
        check(touched.clone().after_success(0, None), Some(1));
        check(touched.after_success(1, None), None);
        check(changed.clone().after_success(0, None), Some(1));
        check(changed.after_success(1, None), Some(2));
    }

    #[test]
    fn a_second_pass_writes_only_to_what_the_first_one_wrote_to() {
        let path = |name: &str| RelPath::new(name.as_bytes()).unwrap();
        let paths = |names: &[&str]| {
            let paths: Vec<RelPath> = names.iter().map(|name| path(name)).collect();
            paths.iter().collect::<PathSample>()
        };
        let after = |touched: &[&str], earlier: &PathSample| {
            Movement::Touched(paths(touched)).after_success(1, Some(earlier))
        };
        check(after(&["a"], &paths(&["b", "a"])), None);
        check(after(&["a", "b"], &paths(&["b", "a"])), None);
        check(after(&["a", "c"], &paths(&["b", "a"])), Some(2));
        check(after(&["c"], &PathSample::default()), Some(2));
        // Where not all are known, it is taken on trust.
        check(after(&["a"], &sample()), None);
    }

    #[test]
    fn a_failure_stands_unless_content_changed() {
        check(Movement::Still.after_failure(2), None);
        check(Movement::Touched(sample()).after_failure(0), None);
        check(Movement::Changed(sample()).after_failure(1), Some(2));
    }

    #[test]
    fn the_third_time_in_a_row_is_the_last() {
        let moved = |before| Movement::Changed(sample()).after_failure(before).unwrap();
        assert!(!moved(1).never_rests());
        assert!(moved(2).never_rests());
    }
}
