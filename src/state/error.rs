//! Why the engine could not do its work for a task: [`StateError`].

use crate::disk::DiskError;
use crate::task_id::TaskName;

/// Why the engine could not do its work for a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An input is there and cannot be read.
    #[error("cannot read the inputs of task `{task}`")]
    Inputs {
        /// The task.
        task: TaskName,
        /// What failed.
        source: DiskError,
    },
    /// Something where outputs are declared cannot be read.
    #[error("cannot read the outputs of task `{task}`")]
    Outputs {
        /// The task.
        task: TaskName,
        /// What failed.
        source: DiskError,
    },
}
