//! Which tasks this process runs inside of: [`Lineage`].
//!
//! A task whose command starts watchrun for the same task would wait for itself. So each command
//! is told the tasks that it is a part of, and a runner inside it refuses to start those.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::digest::Digest;
use crate::path::Root;
use crate::task_id::TaskName;

/// The environment variable that names the tasks a process is a part of.
///
/// Its value is a list, the outermost first, parted by `:`. An element stands for a root and the
/// name of a task in it.
pub const RUNNING_VARIABLE: &str = "WATCHRUN_RUNNING";

/// So many hexadecimal digits of a digest stand for a task.
const DIGITS: usize = 32;

/// The tasks that this process is a part of.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// `None`: what runs here is told nothing of it and never refused.
    root: Option<Root>,
    inherited: String,
}

impl Lineage {
    /// For tasks of `root`; `inherited` is the value of [`RUNNING_VARIABLE`] that this process was
    /// started with.
    pub fn new(root: Root, inherited: Option<&OsStr>) -> Self {
        let inherited = inherited.and_then(OsStr::to_str).unwrap_or_default();
        Self {
            root: Some(root),
            inherited: inherited.to_owned(),
        }
    }

    /// For tasks that have no name in a watchfile: what they start may be anything.
    pub fn unnamed() -> Self {
        Self::default()
    }

    /// Why `task` must not start: this process is a part of it.
    pub(super) fn objection(&self, task: &TaskName) -> Option<String> {
        if self.inherited.is_empty() {
            return None;
        }
        let own = self.element(task)?;
        let outer: Vec<&str> = self.inherited.split(':').collect();
        let at = outer.iter().rposition(|outer| *outer == own)?;
        let way = if at + 1 == outer.len() {
            "its command starts watchrun for it again"
        } else {
            "its command starts watchrun for another task, which starts it again"
        };
        Some(format!(
            "task `{task}` runs itself: {way} (hint: let the command do the work itself, or name another task in it)"
        ))
    }

    /// The variable for the commands of `task`.
    pub(super) fn variable(&self, task: &TaskName) -> Option<(OsString, OsString)> {
        let own = self.element(task)?;
        let value = if self.inherited.is_empty() {
            own
        } else {
            format!("{}:{own}", self.inherited)
        };
        Some((RUNNING_VARIABLE.into(), value.into()))
    }

    fn element(&self, task: &TaskName) -> Option<String> {
        let root = self.root.as_ref()?.as_path().as_os_str().as_bytes();
        let digest = Digest::of_parts(&[root, b"\0", task.as_str().as_bytes()]);
        let mut digits = digest.to_string();
        digits.truncate(DIGITS);
        Some(digits)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn inside(root: &str, outer: Option<&OsStr>) -> Lineage {
        Lineage::new(Root::new(Path::new(root)).unwrap(), outer)
    }

    #[test]
    fn a_task_is_refused_inside_itself_and_nowhere_else() {
        let (a, b) = (TaskName::new("a"), TaskName::new("b"));
        let outside = inside("/r", None);
        assert_eq!(outside.objection(&a), None);
        let (_, in_a) = outside.variable(&a).unwrap();
        let within_a = inside("/r", Some(&in_a));
        let told = within_a.objection(&a).unwrap();
        assert!(told.contains("starts watchrun for it again"), "{told}");
        assert_eq!(within_a.objection(&b), None);
        assert_eq!(inside("/other", Some(&in_a)).objection(&a), None);

        let (_, in_b) = within_a.variable(&b).unwrap();
        let within_b = inside("/r", Some(&in_b));
        let told = within_b.objection(&a).unwrap();
        assert!(told.contains("for another task"), "{told}");
        assert!(within_b.objection(&b).is_some());
    }

    #[test]
    fn unnamed_tasks_are_told_nothing() {
        let a = TaskName::new("a");
        assert_eq!(Lineage::unnamed().variable(&a), None);
        assert_eq!(Lineage::unnamed().objection(&a), None);
    }
}
