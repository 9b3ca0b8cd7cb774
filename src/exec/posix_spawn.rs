//! Starting a program where this process is, by one `posix_spawn`: [`start`], with an environment
//! that was made ready once: [`Environment`].
//!
//! The standard library reads and copies the environment for every start; with 35 variables that
//! takes as long as all that watchrun itself does for a command (`docs/design/performance.md`).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc::POSIX_SPAWN_SETSID;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid as Group;
use rustix::process::Pid;

use crate::exec::procfs;
use crate::exec::spawn::{Ends, Leads};

/// What commands inherit, as the system takes it.
#[derive(Debug)]
pub(super) struct Environment {
    variables: Vec<CString>,
    /// The signals that do to a command what they do by default.
    unhandled: SigSet,
}

impl Environment {
    pub(super) fn new(variables: &[(OsString, OsString)]) -> Self {
        // What holds a NUL byte no process can have been given.
        let entries = variables
            .iter()
            .filter_map(|(name, value)| entry(name, value).ok());
        Self {
            variables: entries.collect(),
            unhandled: unhandled(procfs::ignored_signals().ok()),
        }
    }

    /// Name and value of each.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|entry| {
            let (name, value) = entry.as_bytes().split_at(name_len(entry.as_bytes()));
            let value = value.strip_prefix(b"=").unwrap_or_default();
            (OsStr::from_bytes(name), OsStr::from_bytes(value))
        })
    }

    /// The variables, with those of `own` in the place of others of the same name.
    fn with<'a>(&'a self, own: &'a [CString]) -> Vec<&'a CStr> {
        let is_own = |inherited: &CString| own.iter().any(|own| name(own) == name(inherited));
        let inherited = self.variables.iter().filter(|entry| !is_own(entry));
        inherited.chain(own).map(CString::as_c_str).collect()
    }
}

/// Starts `program` as the leader of what `leads` says, called `name` and with the arguments
/// `words`. It inherits `inherited` and has `own` beside; the last of one name counts.
/// Signals are as if nobody had changed them, but for those that this process ignored when
/// `inherited` was made.
pub(super) fn start(
    program: &Path,
    name: &OsStr,
    words: &[OsString],
    inherited: &Environment,
    own: &[(&OsStr, &OsStr)],
    ends: Ends<'_>,
    leads: Leads,
) -> io::Result<Pid> {
    let mut actions = PosixSpawnFileActions::init()?;
    let output = ends.output.as_raw_fd();
    for (from, to) in [(ends.input.as_raw_fd(), 0), (output, 1), (output, 2)] {
        actions.add_dup2(from, to)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    let leads = match leads {
        Leads::Group => PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
        // Known to glibc since 2.26 and to musl, not to `nix`.
        Leads::Session => PosixSpawnFlags::from_bits_retain(POSIX_SPAWN_SETSID.into()),
    };
    let signals = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    attributes.set_flags(leads | signals)?;
    attributes.set_pgroup(Group::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&inherited.unhandled)?;
    let words = [name]
        .into_iter()
        .chain(words.iter().map(OsString::as_os_str));
    let words = words.map(|word| CString::new(word.as_bytes()));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    let own = last_of_each(own)?;
    let pid = posix_spawn(
        program,
        &actions,
        &attributes,
        &words,
        &inherited.with(&own),
    )?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// All signals but those in the mask `ignored`, and the one that Rust programs ignore.
///
/// Naming them says what happens anyway, to all that this process does not ignore. But of a signal
/// that is not named glibc asks first how it is handled: 60 system calls more for each start, by
/// the new process, while this one waits.
fn unhandled(ignored: Option<u64>) -> SigSet {
    // Real-time signals, from 34, have no name here. 32 and 33 are glibc's own, which it ignores
    // in whatever it starts.
    let Some(ignored) = ignored.filter(|mask| mask >> 33 == 0) else {
        return SigSet::from(Signal::SIGPIPE);
    };
    let mut all = SigSet::all();
    let is_ignored = |signal: &Signal| ignored >> (*signal as i32 - 1) & 1 == 1;
    for signal in Signal::iterator().filter(is_ignored) {
        all.remove(signal);
    }
    all.add(Signal::SIGPIPE);
    all
}

fn last_of_each(variables: &[(&OsStr, &OsStr)]) -> io::Result<Vec<CString>> {
    let mut last: Vec<CString> = Vec::with_capacity(variables.len());
    for (at, (name, value)) in variables.iter().enumerate() {
        if variables[at + 1..].iter().all(|(later, _)| later != name) {
            last.push(entry(name, value)?);
        }
    }
    Ok(last)
}

fn entry(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    Ok(CString::new(
        [name.as_bytes(), b"=", value.as_bytes()].concat(),
    )?)
}

fn name(entry: &CString) -> &[u8] {
    let bytes = entry.as_bytes();
    &bytes[..name_len(bytes)]
}

/// Up to the first `=`, but for one that the name begins with.
fn name_len(entry: &[u8]) -> usize {
    let end = entry.iter().skip(1).position(|byte| *byte == b'=');
    end.map_or(entry.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(of: &[(&'static str, &'static str)]) -> Vec<(OsString, OsString)> {
        of.iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn own_variables_take_the_place_of_inherited_ones_and_the_last_counts() {
        let inherited = Environment::new(&variables(&[("A", "1"), ("AB", "2"), ("C", "x=y")]));
        let own =
            [("A", "first"), ("D", ""), ("A", "last")].map(|(n, v)| (OsStr::new(n), OsStr::new(v)));
        let own = last_of_each(&own).unwrap();
        let all: Vec<_> = inherited
            .with(&own)
            .into_iter()
            .map(|c| c.to_str().unwrap())
            .collect();
        assert_eq!(all, ["AB=2", "C=x=y", "D=", "A=last"]);
    }

    #[test]
    fn variables_are_what_they_were() {
        let of = variables(&[("A", ""), ("=B", "x"), ("C", "=y=")]);
        let environment = Environment::new(&of);
        let found: Vec<_> = environment.variables().collect();
        let expected: Vec<_> = of
            .iter()
            .map(|(n, v)| (n.as_os_str(), v.as_os_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ignored_signals_are_left_alone_but_for_the_one_that_rust_ignores() {
        let bit = |signal: Signal| 1 << (signal as i32 - 1);
        let glibc = 0b11 << 31;
        let set = unhandled(Some(bit(Signal::SIGHUP) | bit(Signal::SIGPIPE) | glibc));
        let left = Signal::iterator().filter(|signal| !set.contains(*signal));
        assert_eq!(left.collect::<Vec<_>>(), [Signal::SIGHUP]);
        for unknown in [None, Some(1 << 40)] {
            assert_eq!(unhandled(unknown), SigSet::from(Signal::SIGPIPE));
        }
    }

    #[test]
    fn a_nul_byte_is_an_error() {
        let own = [(OsStr::new("A"), OsStr::new("a\0b"))];
        assert_eq!(
            last_of_each(&own).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
