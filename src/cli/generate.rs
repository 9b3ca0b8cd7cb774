//! Texts made from definitions: schema, completions, manual page.

use std::io::{self, Write};

use clap::CommandFactory;
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
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    io::stdout().write_all(&page)?;
    Ok(Exit::Good)
}
