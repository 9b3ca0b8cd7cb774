//! What is known of one input or output: [`InputFile`] and [`Content`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::FileStat;
use crate::path::RelPath;

/// One file that enters a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is.
    pub path: RelPath,
    /// What the system said of it just before its content was read.
    pub stat: FileStat,
    /// What is in it.
    pub content: Content,
}

/// What a path holds, as far as a result can depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A regular file.
    File {
        /// Of its bytes.
        digest: Digest,
        /// In bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A link.
    Link {
        /// The text in it.
        target: Arc<[u8]>,
    },
    /// A directory with nothing in it. Never an input; an output keeps it.
    EmptyDir,
}

/// One file, link or empty directory that a task produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// What it is.
    pub file: InputFile,
    /// Whether its stat may stand for its content.
    pub(super) is_trusted: bool,
}
