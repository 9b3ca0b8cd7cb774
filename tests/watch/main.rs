//! The watch system on the real file system. `support` has the fixture; one module a topic.
//!
//! - `basics`: what each kind of change is reported as
//! - `races`: new directories, renames, replaced roots, lost events
//! - `rules`: ignore files, selection, git
//! - `handles`: sharing, handlers, closing, bad input
//! - `limits`: too few watches, unreadable directories, polling, full queues
//! - `stress`: random operations from several threads, compared with the disk

mod basics;
mod handles;
mod limits;
mod races;
mod rules;
mod stress;
mod support;
