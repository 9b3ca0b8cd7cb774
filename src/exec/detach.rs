//! Parting a command from the terminal: [`detach`]. The only file that names process-wrap.
//!
//! In a group of its own a command still has our session's terminal: it can write there at any
//! moment, and if it reads or changes the modes, it is stopped for good by `SIGTTIN` or `SIGTTOU`.
//! In a session of its own there is none, and opening `/dev/tty` is an error that it can handle.

use std::io;
use std::process::Command;

use process_wrap::std::{CommandWrap, CommandWrapper, ProcessSession};

/// Lets `command` lead a session, and thereby a group, of its own.
///
/// Takes `fork`. Where the command runs in our own directory, `posix_spawn` does the same.
pub(super) fn detach(command: &mut Command) -> io::Result<()> {
    // The wrapper only adds a step before the program is executed; what it would wrap is unused.
    let unused = CommandWrap::with_new("", |_| {});
    ProcessSession.pre_spawn(command, &unused)
}
