//! What this program was itself started with beyond its three streams: [`keep_to_ourselves`].

use watchrun::exec::inherited_descriptors;

/// The first descriptor that is no standard stream.
const FIRST: i32 = 3;

/// Keeps every inherited descriptor from what this program starts, but the two of a jobserver.
///
/// A lock or a pipe that a shell or an editor left open would be held by commands that stay. To be
/// called before anything is opened and before there is a second thread.
pub(crate) fn keep_to_ourselves() {
    let makeflags = std::env::var_os("MAKEFLAGS").unwrap_or_default();
    let jobserver = inherited_descriptors(&makeflags.to_string_lossy());
    let kept = jobserver.as_ref().map_or(&[][..], |fds| fds);
    close_fds::set_fds_cloexec(FIRST, kept);
}
