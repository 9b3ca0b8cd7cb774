//! Texts made from definitions: schema, completions, manual page.

use std::io::{self, Write};

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use watchrun::watchfile;

use super::args::Args;
use super::diagnostics::Failure;
use super::exit::Exit;

pub(crate) fn schema() -> Result<Exit, Failure> {
    let schema = watchfile::schema::json_schema();
    let text = serde_json::to_string_pretty(&schema).map_err(io::Error::from)?;
    writeln!(io::stdout(), "{text}")?;
    Ok(Exit::Good)
}

pub(crate) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "watchrun", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Good)
}

pub(crate) fn man() -> Result<Exit, Failure> {
    let mut command = Args::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    commands_section(&mut command, &mut page)?;
    man.render_version_section(&mut page)?;
    io::stdout().write_all(&page)?;
    Ok(Exit::Good)
}

/// Each command with what it alone understands. (A section of clap's would name pages of their
/// own, which are not there.)
fn commands_section(command: &mut Command, page: &mut impl Write) -> io::Result<()> {
    let roff = |text: String| text.replace('\\', r"\\").replace('-', r"\-");
    writeln!(page, ".SH COMMANDS")?;
    for sub in command.get_subcommands_mut() {
        let usage = sub.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".SS \"{}\"\n{}", roff(usage), roff(about))?;
        let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
        for arg in sub.get_arguments().filter(own) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            writeln!(page, ".TP\n{}\n{}", roff(arg.to_string()), roff(help))?;
        }
    }
    Ok(())
}
