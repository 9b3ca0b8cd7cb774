//! Whether a task has to run and why: [`Verdict`] and [`Reason`].
//!
//! The reason is what the decision was made from, not found out afterwards.

use std::fmt;

use serde::Serialize;

use crate::path::RelPath;

/// Whether a task is up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Running it would give what is there already.
    Fresh,
    /// It has to run, first of all because of this.
    Stale(Reason),
}

/// Why a task has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "field", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It was asked for with force.
    Forced,
    /// `cache = false`.
    CacheOff,
    /// There is no success to compare with.
    NeverSucceeded,
    /// The last attempt, with the same inputs or with others, failed.
    PreviousFailed {
        /// Its exit code.
        exit_code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The last attempt did not come to its end.
    Interrupted,
    /// Inputs changed while it ran the last time, so its result was not recorded.
    InputsMoved,
    /// The command is another one.
    Command,
    /// The command has the same words in another order.
    ArgumentOrder,
    /// A variable that enters the key differs.
    Env {
        /// Its name.
        name: String,
        /// How.
        change: EnvChange,
    },
    /// It succeeded on another kind of machine.
    Platform,
    /// It has another working directory.
    Dir,
    /// Other outputs are declared.
    Outputs,
    /// What a tool prints is different, or the tool is new or gone.
    Tool {
        /// The command, as in the watchfile.
        command: String,
    },
    /// A dependency produced something else, or is new or gone.
    Dep {
        /// Its name.
        name: String,
    },
    /// A dependency is stale, and what it will produce is not known before it runs. Only where
    /// nothing is run.
    DepStale {
        /// Its name.
        name: String,
    },
    /// Files that it is made from differ.
    Input(InputChange),
    /// Outputs that it made are gone.
    OutputMissing {
        /// Which.
        paths: PathSample,
    },
    /// Outputs that it made were changed by somebody else.
    OutputEdited {
        /// Which.
        paths: PathSample,
    },
    /// A service that is ready for use as it is, but does not run.
    NotRunning,
    /// Something differs from the last success; what, is not known any more.
    Unknown,
}

/// How a variable differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvChange {
    /// It has another value.
    Changed,
    /// It was not set.
    Set,
    /// It is not set any more.
    Unset,
    /// It is set, but empty now.
    Emptied,
}

/// How the inputs differ. Not all of the lists are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InputChange {
    /// Those with other content.
    #[serde(skip_serializing_if = "PathSample::is_empty")]
    pub modified: PathSample,
    /// Those that were not there.
    #[serde(skip_serializing_if = "PathSample::is_empty")]
    pub added: PathSample,
    /// Those that are gone.
    #[serde(skip_serializing_if = "PathSample::is_empty")]
    pub removed: PathSample,
    /// Those with the content of one that is gone, by their new path.
    #[serde(skip_serializing_if = "PathSample::is_empty")]
    pub renamed: PathSample,
    /// Where the first of `renamed` was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<RelPath>,
    /// Those with the same content and another executable bit.
    #[serde(skip_serializing_if = "PathSample::is_empty")]
    pub mode: PathSample,
}

/// The first few of some paths, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PathSample {
    /// The first ones in order, at most [`Self::MAX`].
    pub paths: Vec<RelPath>,
    /// How many there are in all.
    pub count: usize,
}

impl PathSample {
    /// So many paths are kept.
    pub const MAX: usize = 10;

    /// Adds a path; those that do not fit are counted.
    pub fn push(&mut self, path: &RelPath) {
        if self.paths.len() < Self::MAX {
            self.paths.push(path.clone());
        }
        self.count += 1;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all paths of `other` may be among these: `false` is certain, `true` only where all
    /// of these are known.
    pub fn may_hold(&self, other: &Self) -> bool {
        let is_complete = self.paths.len() == self.count;
        let holds = |path: &RelPath| self.paths.contains(path);
        !is_complete || (other.count <= self.count && other.paths.iter().all(holds))
    }
}

impl<'a> FromIterator<&'a RelPath> for PathSample {
    fn from_iter<I: IntoIterator<Item = &'a RelPath>>(paths: I) -> Self {
        let mut sample = Self::default();
        paths.into_iter().for_each(|path| sample.push(path));
        sample
    }
}

impl InputChange {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        [
            &self.modified,
            &self.added,
            &self.removed,
            &self.renamed,
            &self.mode,
        ]
        .iter()
        .all(|sample| sample.is_empty())
    }
}

impl fmt::Display for PathSample {
    /// The first path, and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.paths.first() {
            write!(f, "{first}")?;
        }
        match self.count.saturating_sub(1) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for InputChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "input ";
        for (sample, what) in [
            (&self.modified, "modified"),
            (&self.added, "added"),
            (&self.removed, "removed"),
            (&self.mode, "made executable or not"),
        ] {
            if !sample.is_empty() {
                write!(f, "{separator}{sample} {what}")?;
                separator = ", ";
            }
        }
        match &self.renamed_from {
            Some(from) => write!(f, "{separator}{} renamed from {from}", self.renamed),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => f.write_str("forced"),
            Self::CacheOff => f.write_str("cache is off"),
            Self::NotRunning => f.write_str("not running"),
            Self::NeverSucceeded => f.write_str("never succeeded"),
            Self::PreviousFailed { exit_code, signal } => match (exit_code, signal) {
                (Some(code), _) => write!(f, "previous run failed (exit code {code})"),
                (None, Some(signal)) => write!(f, "previous run failed (signal {signal})"),
                (None, None) => f.write_str("previous run failed"),
            },
            Self::Interrupted => f.write_str("previous run was interrupted"),
            Self::InputsMoved => f.write_str("inputs changed during the previous run"),
            Self::Command => f.write_str("command changed"),
            Self::ArgumentOrder => f.write_str("argument order changed"),
            Self::Env { name, change } => write!(f, "env {name} {change}"),
            Self::Platform => f.write_str("platform changed"),
            Self::Dir => f.write_str("dir changed"),
            Self::Outputs => f.write_str("outputs changed"),
            Self::Tool { command } => write!(f, "tool `{command}` changed"),
            Self::Dep { name } => write!(f, "dep {name} changed"),
            Self::DepStale { name } => write!(f, "dep {name} is stale"),
            Self::Input(change) => change.fmt(f),
            Self::OutputMissing { paths } => write!(f, "output {paths} missing"),
            Self::OutputEdited { paths } => write!(f, "output {paths} edited"),
            Self::Unknown => f.write_str("differs from the last success"),
        }
    }
}

impl fmt::Display for EnvChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Set => "set",
            Self::Unset => "unset",
            Self::Emptied => "emptied",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(paths: &[&str]) -> PathSample {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| RelPath::new(path.as_bytes()).unwrap())
            .collect();
        paths.iter().collect()
    }

    #[test]
    fn reasons_read_as_sentences() {
        let change = InputChange {
            modified: sample(&["a", "b", "c"]),
            added: sample(&["d"]),
            ..InputChange::default()
        };
        assert_eq!(
            Reason::Input(change).to_string(),
            "input a and 2 more modified, d added"
        );
        let moved = InputChange {
            renamed: sample(&["new"]),
            renamed_from: RelPath::new(b"old"),
            ..InputChange::default()
        };
        assert_eq!(
            Reason::Input(moved).to_string(),
            "input new renamed from old"
        );
    }

    #[test]
    fn lists_are_bounded_and_counted() {
        let paths: Vec<_> = (0..1000)
            .map(|n| RelPath::new(format!("f{n}").as_bytes()).unwrap())
            .collect();
        let sample: PathSample = paths.iter().collect();
        assert_eq!((sample.paths.len(), sample.count), (PathSample::MAX, 1000));
    }

    #[test]
    fn json_names_field_and_paths() {
        let reason = Reason::OutputMissing {
            paths: sample(&["bin/app"]),
        };
        assert_eq!(
            serde_json::to_string(&Verdict::Stale(reason)).unwrap(),
            r#"{"verdict":"stale","field":"output_missing","paths":{"paths":["bin/app"],"count":1}}"#
        );
    }
}
