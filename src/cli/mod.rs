//! The command line: reads the environment, prints, decides the exit status. All work is done by
//! the library, through its public API.

mod ad_hoc;
mod args;
mod descriptors;
mod diagnostics;
mod exit;
mod facts;
mod generate;
mod init;
mod inspect;
mod keys;
mod list;
mod project;
mod report;
mod run;
mod signals;
mod since;
mod starter;
mod why_path;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use watchrun::exec::guardian;

use args::{Args, Command, join_keep_going};
use diagnostics::Failure;
use exit::Exit;
use facts::Facts;

/// The first argument of the process that outlives a killed watchrun.
const HELPER: &str = "__guard";

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    descriptors::keep_to_ourselves();
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == HELPER) {
        let done = guardian::main(&words[2..], std::io::stdin());
        return if done.is_ok() {
            Exit::Good
        } else {
            Exit::Environment
        }
        .into();
    }
    let args = match Args::try_parse_from(join_keep_going(words)) {
        Ok(args) => args,
        Err(error) => return usage(&error).into(),
    };
    let facts = Facts::gather(&args.common);
    let style = facts.style_of_stderr();
    let exit = dispatch(&args, &facts).unwrap_or_else(|failure| {
        diagnostics::show(&failure, style);
        failure.exit()
    });
    exit.into()
}

fn dispatch(args: &Args, facts: &Facts) -> Result<Exit, Failure> {
    args.contradiction().map_or(Ok(()), Err)?;
    let common = &args.common;
    match &args.command {
        None if !args.ad_hoc.is_empty() => ad_hoc::watch(args, facts),
        None => run::watch(args, facts),
        Some(Command::Run(options)) => run::once(options, common, facts),
        Some(Command::Check { tasks }) => inspect::check(tasks, common, facts),
        Some(Command::Why { subject }) => inspect::why(subject, common, facts),
        Some(Command::List) => list::list(common, facts),
        Some(Command::Graph { tasks }) => list::graph(tasks, common, facts),
        Some(Command::Init) => init::init(facts),
        Some(Command::Clean { cache, outputs }) => init::clean(*cache, *outputs, common, facts),
        Some(Command::Stats) => run::stats(common, facts),
        Some(Command::Schema) => generate::schema(),
        Some(Command::Completions { shell }) => generate::completions(*shell),
        Some(Command::Man) => generate::man(),
        Some(Command::Replay { file }) => run::replay(file),
    }
}

/// What clap has to say: help and version are no errors.
fn usage(error: &clap::Error) -> Exit {
    // Nobody to tell if this cannot be written.
    drop(error.print());
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Good,
        _ => Exit::Usage,
    }
}
