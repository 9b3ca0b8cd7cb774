//! Paths and directories as a watchfile writes them: relative to its own directory, in the root.

use std::collections::HashMap;

use crate::change::FileType;
use crate::disk::Disk;
use crate::path::{RelDir, RelPath, Root};

use super::error::Error;
use super::kind::ErrorKind;
use super::reader::Text;

/// The path that `text` names from `base`; an error and `None` when it leaves the root.
pub(super) fn lower_path(
    text: &Text<'_>,
    base: &RelDir,
    errors: &mut Vec<Error>,
) -> Option<RelPath> {
    let path = if text.value.starts_with('/') {
        None
    } else {
        base.join(text.value.as_bytes())
    };
    if path.is_none() {
        errors.push(leaves_root(text));
    }
    path
}

/// The directories that were asked for, each looked at once.
pub(super) struct Places<'a> {
    files: Option<(&'a dyn Disk, &'a Root)>,
    seen: HashMap<RelDir, Place>,
}

/// What a directory's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Dir,
    Other,
    Missing,
}

impl<'a> Places<'a> {
    /// Without files, every directory counts as there.
    pub(super) fn new(files: Option<(&'a dyn Disk, &'a Root)>) -> Self {
        Self {
            files,
            seen: HashMap::new(),
        }
    }

    /// The directory that `text` names from `base`; an error when it leaves the root, does not
    /// exist or is something else.
    pub(super) fn lower_dir(
        &mut self,
        text: &Text<'_>,
        base: &RelDir,
        errors: &mut Vec<Error>,
    ) -> Option<RelDir> {
        let dir = if text.value.starts_with('/') {
            None
        } else if base.is_root() {
            RelDir::new(text.value.as_bytes())
        } else {
            RelDir::new(&[base.as_bytes(), b"/", text.value.as_bytes()].concat())
        };
        let Some(dir) = dir else {
            errors.push(leaves_root(text));
            return None;
        };
        let shown = || dir.to_string();
        let kind = match self.look(&dir) {
            Place::Dir => return Some(dir),
            Place::Missing => ErrorKind::DirMissing { dir: shown() },
            Place::Other => ErrorKind::NotADirectory { dir: shown() },
        };
        let hint = "`dir` is relative to the watchfile's directory";
        errors.push(Error::new(kind, text.span).with_hint(hint));
        None
    }

    fn look(&mut self, dir: &RelDir) -> Place {
        if let Some(place) = self.seen.get(dir) {
            return *place;
        }
        let place = match self.files {
            None => Place::Dir,
            Some((disk, root)) => look_at(disk, root, dir),
        };
        self.seen.insert(dir.clone(), place);
        place
    }
}

fn look_at(disk: &dyn Disk, root: &Root, dir: &RelDir) -> Place {
    let path = root.join_dir(dir);
    match disk.stat(&path).map(|stat| stat.file_type()) {
        Ok(FileType::Dir) => Place::Dir,
        // A link counts as what it leads to.
        Ok(FileType::Symlink) if disk.read_dir(&path).is_ok() => Place::Dir,
        Ok(_) => Place::Other,
        Err(_) => Place::Missing,
    }
}

fn leaves_root(text: &Text<'_>) -> Error {
    let path = text.value.to_owned();
    let hint = if text.value.starts_with('/') {
        "paths are relative to the watchfile's directory: leave out the leading `/`"
    } else {
        "the root is the directory of the main watchfile: nothing outside it can be named"
    };
    Error::new(ErrorKind::LeavesRoot { path }, text.span).with_hint(hint)
}
