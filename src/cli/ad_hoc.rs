//! `watchrun [-w PATH]... -- CMD...`: one task without a watchfile.

use watchrun::path::{RelPath, Root};
use watchrun::plan::Plan;
use watchrun::schedule::Mode;
use watchrun::session::Session;
use watchrun::state::Access;
use watchrun::watchfile;

use super::args::{Args, Output};
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::project::WATCHFILE;
use super::run;

/// Runs the command, then again on each change. Keeps no state on disk.
pub(crate) fn watch(args: &Args, facts: &Facts) -> Result<Exit, Failure> {
    let dir = facts.dir.canonicalize().map_err(|error| {
        Failure::environment(
            &error,
            Some(format!("`{}` must be a directory", facts.dir.display())),
        )
    })?;
    let root = Root::new(&dir).expect("a canonical path is absolute");
    let text = watchfile_text(args, &root)?;
    let plan = Plan::new(watchfile::parse(&text))
        .map_err(|rejected| Failure::rejected(&rejected, facts.style_of_stderr()))?;
    let mut options = run::options(&args.common, facts, plan.settings())?;
    options.access = Access::ReadOnly;
    options.watch.record.clone_from(&args.record);
    if args.postpone {
        options.watch.start = watchrun::session::Start::AtFirstChange;
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
    let file = RelPath::new(WATCHFILE.as_bytes()).expect("it is a plain name");
    let session = Session::new(root, file, plan, Vec::new(), options)?;
    run::drive(session, Mode::Watching, reporter)
}

/// The watchfile that means the same.
fn watchfile_text(args: &Args, root: &Root) -> Result<String, Failure> {
    let words = args.ad_hoc.iter().map(|word| {
        let text = word.to_str().ok_or_else(|| {
            let message = format!("`{}` is not UTF-8", word.display());
            Failure::usage(message, Some("put the command into a script".to_owned()))
        })?;
        Ok(quoted(text))
    });
    let words: Vec<String> = words.collect::<Result<_, Failure>>()?;
    let mut bases = Vec::new();
    for path in &args.watch {
        let absolute = std::path::absolute(root.as_path().join(path))?;
        if absolute == root.as_path() {
            bases.push((String::new(), true));
            continue;
        }
        let inside = root.relativize(&absolute).map_err(|error| {
            Failure::usage(error, Some("`-C DIR` watches another directory".to_owned()))
        })?;
        bases.push((format!("/{inside}"), absolute.is_dir()));
    }
    if bases.is_empty() {
        bases.push((String::new(), true));
    }
    let mut globs: Vec<String> = args.glob.clone();
    globs.extend(
        args.ext
            .iter()
            .map(|ext| format!("**/*.{}", ext.trim_start_matches('.'))),
    );
    if globs.is_empty() {
        globs.push("**".to_owned());
    }
    let mut inputs = Vec::new();
    for (base, is_dir) in &bases {
        match is_dir {
            false => inputs.push(quoted(base)),
            true => inputs.extend(globs.iter().map(|glob| match glob.strip_prefix('!') {
                Some(glob) => quoted(&format!("!{base}/{glob}")),
                None => quoted(&format!("{base}/{glob}")),
            })),
        }
    }
    let (words, inputs) = (words.join(", "), inputs.join(", "));
    Ok(format!(
        "[tasks.command]\nrun = [{words}]\ninputs = [{inputs}]\ncache = false\non_busy = \"restart\"\n"
    ))
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    // What JSON escapes, TOML understands; what it leaves alone beside, TOML does too, but DEL.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}
