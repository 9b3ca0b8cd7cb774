//! `init` and `clean`: the first watchfile, and the last of the state.

use std::fs;
use std::io::{self, Write};

use watchrun::disk::{Disk, OsDisk};
use watchrun::state::{Access, Engine, EngineOptions, StoreUse};
use watchrun::watch::{ScanOptions, scan};

use super::args::Common;
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::{Project, WATCHFILE, working_dir};
use super::starter::watchfile_for;

/// `watchrun init`.
pub(crate) fn init(facts: &Facts) -> Result<Exit, Failure> {
    let dir = working_dir(facts)?;
    let path = dir.join(WATCHFILE);
    let text = watchfile_for(&dir);
    let written = fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("`{}` is there already", path.display());
            Err(Failure::usage(
                message,
                Some("it was left as it is".to_owned()),
            ))
        }
        Err(error) => {
            let message = format!("cannot write `{}`", path.display());
            let hint = "the directory must be one that you may write to";
            Err(Failure::environment_at(message, &error, hint))
        }
        Ok(()) => {
            writeln!(io::stderr(), "wrote {}", path.display())?;
            let hint = "`watchrun list` shows its tasks; `watchrun` runs them, then watches";
            writeln!(io::stderr(), "hint: {hint}")?;
            Ok(Exit::Good)
        }
    }
}

/// `watchrun clean`.
pub(crate) fn clean(
    cache: bool,
    outputs: bool,
    common: &Common,
    facts: &Facts,
) -> Result<Exit, Failure> {
    let Project { root, plan, .. } = Project::open(common, facts)?;
    let failed = |error: &dyn std::error::Error| Failure::environment(error, None);
    if outputs {
        let options = ScanOptions {
            gitignore: false,
            excluded_names: vec![".watchrun".to_owned()],
            ..ScanOptions::new()
        };
        let found = scan(&root, &options)?;
        for entry in found.files.entries() {
            if !plan.triggers().producers(&entry.path).is_empty() {
                OsDisk
                    .remove(&root.join(&entry.path))
                    .map_err(|error| failed(&error))?;
            }
        }
    }
    let settings = plan.settings();
    let options = EngineOptions {
        cache_dir: settings.cache_dir.as_ref().map(|dir| root.join(dir)),
        cache_size: settings.cache_size_bytes,
        store: StoreUse::On,
        access: Access::ReadWrite,
    };
    let engine = Engine::open(&OsDisk, &root, options);
    if cache || !outputs {
        engine.clean_store().map_err(|error| failed(&error))?;
    }
    if !cache && !outputs {
        engine.clean_state().map_err(|error| failed(&error))?;
    }
    Ok(Exit::Good)
}
