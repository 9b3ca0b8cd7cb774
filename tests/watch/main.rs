//! The watch system on the real file system. `support` has the fixture; one module a topic.
//!
//! - `basics`: what each kind of change is reported as
//! - `editors`: how editors save
//! - `races`: new directories, renames, replaced roots, lost events
//! - `rules`: ignore files, selection, git
//! - `foreign`: mounts on which others than this system change files
//! - `remote_files`: such a mount, without another machine
//! - `handles`: sharing, handlers, closing, bad input
//! - `limits`: too few watches, unreadable directories, polling, full queues
//! - `parts`: each part by itself, as an embedding program uses it
//! - `polling`: what polling must see by itself
//! - `shortage`: which directories get the few watches that there are
//! - `stress`: random operations from several threads, compared with the disk

#[cfg(test)]
mod basics;
#[cfg(test)]
mod editors;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod handles;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod polling;
#[cfg(test)]
mod races;
#[cfg(test)]
mod remote_files;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod shortage;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod support;
