//! The incremental engine from outside, on a file system in memory.
//!
//! - `verdicts`: every reason why a task is fresh or stale
//! - `attempts`: what is recorded, moved inputs, self-modifying tasks
//! - `keys`: the identity of a result
//! - `live`: while watching, a change costs its own size
//! - `real`: what a file system in memory cannot show
//! - `restores`: the store, and what it must never do
//! - `crashes`: every write-like step fails or is the last one; every state file truncated

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attempts;
mod crashes;
mod keys;
mod live;
mod real;
mod restores;
mod verdicts;
mod world;
