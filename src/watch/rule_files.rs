//! The files that hold rules: which of them a directory has, [`RuleFiles`], and which were asked,
//! [`Source`]. Knows nothing of what the rules say.

use std::fs;
use std::path::{Path, PathBuf};

/// Which rule files a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of four")]
pub struct RuleFiles {
    /// `.watchrunignore`.
    pub watchrunignore: bool,
    /// `.ignore`.
    pub ignore: bool,
    /// `.gitignore`.
    pub gitignore: bool,
    /// `.git`, a directory or a file: a repository or work tree starts here.
    pub dot_git: bool,
}

impl RuleFiles {
    /// What they are called.
    pub(crate) const NAMES: [&[u8]; 4] = [b".watchrunignore", b".ignore", b".gitignore", b".git"];

    /// Notes `name` if it is a rule file's; returns whether it is.
    pub fn note(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b".watchrunignore" => &mut self.watchrunignore,
            b".ignore" => &mut self.ignore,
            b".gitignore" => &mut self.gitignore,
            b".git" => &mut self.dot_git,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// Those that lie in `dir` now. Looks at the disk.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let has = |name: &str| fs::symlink_metadata(dir.join(name)).is_ok();
        Self {
            watchrunignore: has(".watchrunignore"),
            ignore: has(".ignore"),
            gitignore: has(".gitignore"),
            dot_git: has(".git"),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A file that was asked for rules.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Whether it had any. If not, it may not be there either.
    pub(crate) had_rules: bool,
}

impl Source {
    pub(crate) fn new(path: PathBuf, had_rules: bool) -> Self {
        Self { path, had_rules }
    }
}
