//! What happened on disk, as values: [`Change`] and [`ChangeSet`].

use serde::Serialize;

use crate::path::RelPath;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, whatever it points to.
    Symlink,
    /// A socket, fifo or device.
    Other,
}

/// How a path differs from what was seen of it before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there before.
    Created,
    /// Its content may differ: another inode, size, modification time or type.
    Modified,
    /// Only its mode or owner differs.
    Metadata,
    /// It is gone.
    Removed,
    /// It is what used to be at `from`; the content may differ too.
    Renamed {
        /// Where it was.
        from: RelPath,
    },
}

/// One path that is not as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// The path as it is now; for [`ChangeKind::Removed`], as it was.
    pub path: RelPath,
    /// What happened to it.
    pub kind: ChangeKind,
    /// What it is now; for [`ChangeKind::Removed`], what it was.
    pub file_type: FileType,
}

impl Change {
    /// The paths whose content or presence it touches: its own, and where it was renamed from.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        let from = match &self.kind {
            ChangeKind::Renamed { from } => Some(from),
            ChangeKind::Created
            | ChangeKind::Modified
            | ChangeKind::Metadata
            | ChangeKind::Removed => None,
        };
        std::iter::once(&self.path).chain(from)
    }
}

/// Changes that belong together: one save, one checkout, one burst.
///
/// Sorted by path, one change a path. Never empty when delivered by a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// Counts up from 1 in one watch.
    pub id: u64,
    /// What differs.
    pub changes: Vec<Change>,
    /// Whether every intermediate event was seen. `false` after a gap (lost events) that was
    /// repaired by comparing with the disk: `changes` is still all that differs.
    pub complete: bool,
}
