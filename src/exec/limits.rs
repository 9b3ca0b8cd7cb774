//! What the system takes in one command: [`argument_bytes_max`].

use rustix::process::{Resource, getrlimit};

/// What every Linux takes, and POSIX asks for no more than 4 KiB.
const BYTES_MIN: u64 = 128 * 1024;

/// More than this Linux takes from nobody.
const BYTES_MAX: u64 = 6 * 1024 * 1024;

/// How many bytes the words and variables of one command may take together, with an end and a
/// pointer for each: a quarter of the stack that a process may have.
pub fn argument_bytes_max() -> usize {
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    let bytes = (stack / 4).clamp(BYTES_MIN, BYTES_MAX);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
