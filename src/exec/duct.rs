//! Starting a helper of our own through duct: [`Helper`]. The only file that names duct.
//!
//! A helper is this program once more. It inherits everything that it is not given here, starts
//! nothing itself and ends when it has done its work. That suits duct, whose `kill` reaches the
//! direct child alone, and which copies the environment twice more than a start needs.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;

use rustix::process::Pid;

/// A started helper that is not reaped yet, so that its number cannot go to another process.
#[derive(Debug)]
pub(super) struct Helper {
    handle: ::duct::Handle,
    pid: Pid,
}

impl Helper {
    /// Executes `words[0]` as it is, with these for its standard input and output and no error
    /// output, in the group `group` (0: one of its own).
    pub(super) fn start(
        words: &[OsString],
        input: impl Into<OwnedFd>,
        output: impl Into<OwnedFd>,
        group: i32,
    ) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let handle = ::duct::cmd(program, arguments)
            .stdin_file(input.into())
            .stdout_file(output.into())
            .stderr_null()
            .unchecked()
            .before_spawn(move |os| {
                os.process_group(group);
                Ok(())
            })
            .start()?;
        let pid = handle
            .pids()
            .first()
            .and_then(|pid| i32::try_from(*pid).ok());
        let pid = pid.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { handle, pid })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end and reaps it.
    pub(super) fn reap(self) {
        let _lost = self.handle.wait();
    }
}
