//! Task identity: [`TaskName`] is what a person writes, [`TaskId`] is what the program indexes by.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::Serialize;

/// The name of a task or service, as the watchfile spells it (`dir:task` for included files).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TaskName(Arc<str>);

impl TaskName {
    /// Takes `name` as it is.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Index of a task or service in one plan, in watchfile order. Means nothing in another plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u32);

impl TaskId {
    /// The id of the task at `idx` in watchfile order.
    pub fn new(idx: usize) -> Self {
        Self(u32::try_from(idx).expect("a plan holds fewer than 2^32 tasks"))
    }

    /// Its place in watchfile order.
    pub fn idx(self) -> usize {
        self.0 as usize
    }
}

/// One `T` for each task of a plan, in watchfile order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMap<T>(Vec<T>);

impl<T> TaskMap<T> {
    /// A map of `len` tasks, each value made from its id.
    pub fn from_fn(len: usize, value: impl FnMut(TaskId) -> T) -> Self {
        Self((0..len).map(TaskId::new).map(value).collect())
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = TaskId> + use<T> {
        (0..self.0.len()).map(TaskId::new)
    }

    /// The ids with their values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (TaskId, &T)> {
        self.0
            .iter()
            .enumerate()
            .map(|(idx, value)| (TaskId::new(idx), value))
    }
}

impl<T> FromIterator<T> for TaskMap<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T> Index<TaskId> for TaskMap<T> {
    type Output = T;

    fn index(&self, id: TaskId) -> &T {
        &self.0[id.idx()]
    }
}

impl<T> IndexMut<TaskId> for TaskMap<T> {
    fn index_mut(&mut self, id: TaskId) -> &mut T {
        &mut self.0[id.idx()]
    }
}
