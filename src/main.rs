//! The `watchrun` program: everything is in `cli`, which uses the library as any program would.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
