//! The project that a command is about: [`Project`].

use std::path::{Path, PathBuf};

use watchrun::disk::OsDisk;
use watchrun::path::{RelPath, Root};
use watchrun::plan::Plan;
use watchrun::watchfile;

use super::args::Common;
use super::diagnostics::Failure;
use super::facts::Facts;

/// The name of the watchfile that is looked for.
pub(crate) const WATCHFILE: &str = "watchfile.toml";

/// A root with its plan.
pub(crate) struct Project {
    pub(crate) root: Root,
    /// The watchfile, from the root.
    pub(crate) file: RelPath,
    pub(crate) plan: Plan,
}

impl Project {
    /// Finds and plans the watchfile.
    pub(crate) fn open(common: &Common, facts: &Facts) -> Result<Self, Failure> {
        let (root, file) = locate(common, facts)?;
        let loaded = watchfile::load(&OsDisk, &root, &file)?;
        let plan = Plan::new(loaded)
            .map_err(|rejected| Failure::rejected(&rejected, facts.style_of_stderr()))?;
        Ok(Self { root, file, plan })
    }
}

/// Where the program works: the directory it was started in, or `--dir`.
pub(crate) fn working_dir(facts: &Facts) -> Result<PathBuf, Failure> {
    let dir = facts.dir.canonicalize().and_then(|dir| {
        dir.read_dir()?;
        Ok(dir)
    });
    dir.map_err(|error| {
        let message = format!("cannot work in `{}`", facts.dir.display());
        Failure::environment_at(message, &error, "it must be a directory that is there")
    })
}

/// The root and the watchfile in it.
pub(crate) fn locate(common: &Common, facts: &Facts) -> Result<(Root, RelPath), Failure> {
    let dir = working_dir(facts)?;
    let path = match &common.file {
        Some(file) => dir.join(file),
        None => nearest(&dir).ok_or_else(|| {
            let message = format!("there is no `{WATCHFILE}` in `{}` or above", dir.display());
            let hint = "`watchrun init` writes one; `watchrun -- CMD` needs none";
            Failure::usage(message, Some(hint.to_owned()))
        })?,
    };
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    let root = parent.as_deref().and_then(Root::new);
    let name = path
        .file_name()
        .and_then(|name| RelPath::new(name.as_encoded_bytes()));
    root.zip(name).ok_or_else(|| {
        let message = format!("there is no watchfile `{}`", path.display());
        Failure::usage(message, Some("`watchrun init` writes one".to_owned()))
    })
}

fn nearest(dir: &Path) -> Option<PathBuf> {
    dir.ancestors()
        .map(|dir| dir.join(WATCHFILE))
        .find(|path| path.symlink_metadata().is_ok())
}
