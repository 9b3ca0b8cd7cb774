//! `watchrun [-w PATH]... -- CMD...`: one task without a watchfile.

use std::path::{Path, PathBuf};

use watchrun::path::{RelDir, Root};
use watchrun::pattern::Pattern;
use watchrun::plan::Plan;
use watchrun::schedule::Mode;
use watchrun::session::{Session, Start};
use watchrun::state::Access;
use watchrun::watchfile;

use super::args::{Args, Output};
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project;
use super::run;

/// Runs the command, then again on each change. Keeps no state on disk.
pub(crate) fn watch(args: &Args, facts: &Facts) -> Result<Exit, Failure> {
    let dir = project::working_dir(facts)?;
    let watched = watched(args, &dir)?;
    let root = common_root(&dir, &watched);
    let text = watchfile_text(args, &root, &dir, &watched)?;
    let plan = Plan::new(watchfile::parse(&text))
        .map_err(|rejected| Failure::rejected(&rejected, facts.style_of_stderr()))?;
    let mut options = run::options(&args.common, facts, plan.settings())?;
    options.access = Access::ReadOnly;
    run::record(&mut options, args);
    if args.postpone {
        options.watch.start = Start::AtFirstChange;
    }
    let mut settings = plan.settings().clone();
    if args
        .common
        .output
        .is_none_or(|output| output == Output::Auto)
    {
        settings.output = watchfile::OutputMode::Stream;
    }
    let reporter = run::reporter(&args.common, facts, &settings)?;
    let session = Session::new(root, None, plan, Vec::new(), options)?;
    run::drive(session, Mode::Watching, reporter)
}

/// A file or directory to watch: canonical.
enum Watched {
    File(PathBuf),
    Dir(PathBuf),
}

/// What `--watch` names, else the working directory.
fn watched(args: &Args, dir: &Path) -> Result<Vec<Watched>, Failure> {
    if args.watch.is_empty() {
        return Ok(vec![Watched::Dir(dir.to_owned())]);
    }
    let find = |path: &PathBuf| {
        let found = dir.join(path).canonicalize().map_err(|error| {
            let message = format!("cannot watch `{}`", path.display());
            Failure::environment_at(
                message,
                &error,
                "it must be a file or directory that is there",
            )
        })?;
        Ok(if found.is_dir() {
            Watched::Dir(found)
        } else {
            Watched::File(found)
        })
    };
    args.watch.iter().map(find).collect()
}

/// The nearest directory that holds the working directory and everything that is watched.
fn common_root(dir: &Path, watched: &[Watched]) -> Root {
    let holds = |root: &&Path| {
        watched.iter().all(|watched| match watched {
            Watched::Dir(path) => path.starts_with(root),
            Watched::File(path) => path.starts_with(root) && path != root,
        })
    };
    let root = dir.ancestors().find(holds).unwrap_or(Path::new("/"));
    Root::new(root).expect("a canonical path is absolute")
}

/// The watchfile that means the same.
fn watchfile_text(
    args: &Args,
    root: &Root,
    dir: &Path,
    watched: &[Watched],
) -> Result<String, Failure> {
    let words = args.ad_hoc.iter().map(|word| {
        let text = word.to_str().ok_or_else(|| {
            let message = format!("`{}` is not UTF-8", word.display());
            Failure::usage(message, Some("put the command into a script".to_owned()))
        })?;
        Ok(quoted(text))
    });
    let words: Vec<String> = words.collect::<Result<_, Failure>>()?;
    let globs = globs(args)?;
    let mut inputs = Vec::new();
    for watched in watched {
        match watched {
            Watched::File(path) => inputs.push(quoted(&literal(root, path)?)),
            Watched::Dir(path) => {
                let base = literal(root, path)?;
                inputs.extend(globs.iter().map(|glob| match glob.strip_prefix('!') {
                    Some(glob) => quoted(&format!("!{base}/{glob}")),
                    None => quoted(&format!("{base}/{glob}")),
                }));
            }
        }
    }
    let dir = inside(root, dir)?;
    let dir = if dir.is_empty() { "." } else { dir };
    let (words, inputs, dir) = (words.join(", "), inputs.join(", "), quoted(dir));
    Ok(format!(
        "[tasks.command]\nrun = [{words}]\ninputs = [{inputs}]\ndir = {dir}\ncache = false\n\
         on_busy = \"restart\"\n"
    ))
}

/// The globs of `--ext` and `--glob`, each checked; what only excludes excludes from everything.
fn globs(args: &Args) -> Result<Vec<String>, Failure> {
    for glob in &args.glob {
        Pattern::parse(glob, &RelDir::ROOT).map_err(|error| {
            let hint = "put a backslash before `[`, `{`, `*` or `?` to mean the character itself";
            Failure::usage(format!("`--glob`: {error}"), Some(hint.to_owned()))
        })?;
    }
    let extension = |ext: &String| format!("**/*.{}", escaped(ext.trim_start_matches('.')));
    let mut globs: Vec<String> = args.ext.iter().map(extension).collect();
    globs.extend(args.glob.iter().cloned());
    if globs.iter().all(|glob| glob.starts_with('!')) {
        globs.insert(0, "**".to_owned());
    }
    Ok(globs)
}

/// The pattern that means `path` itself, from the root.
fn literal(root: &Root, path: &Path) -> Result<String, Failure> {
    let inside = inside(root, path)?;
    Ok(if inside.is_empty() {
        String::new()
    } else {
        format!("/{}", escaped(inside))
    })
}

/// `path` from the root; empty for the root itself.
fn inside<'a>(root: &Root, path: &'a Path) -> Result<&'a str, Failure> {
    let inside = path
        .strip_prefix(root.as_path())
        .expect("the root holds what is watched");
    inside.to_str().ok_or_else(|| {
        let message = format!("`{}` is not UTF-8", inside.display());
        Failure::usage(message, Some("watch the directory above it".to_owned()))
    })
}

/// `text` with a backslash before what a glob gives a meaning.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    // What JSON escapes, TOML understands; what it leaves alone beside, TOML does too, but DEL.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}
