//! What is up to date, and why not: [`Engine`].
//!
//! Knows one task at a time and nothing of scheduling or processes. What exists and what a task's
//! dependencies produced come in with a [`Subject`]; only contents, outputs and the state itself
//! are looked at through [`Disk`](crate::disk::Disk). See `docs/design/state.md`.

mod attempt;
mod clock;
mod compare;
mod contents;
mod definition;
mod engine;
mod error;
mod examine;
mod frame;
mod gc;
mod index;
mod input;
mod key;
mod ledger;
mod live;
mod movement;
mod outputs;
mod quick;
mod reapi;
mod record;
mod restore;
mod runlog;
mod store;
mod subject;
mod tree;
mod verdict;
mod warning;

pub use attempt::{Finished, Made, Restored, Start};
pub use engine::{Access, Engine, EngineOptions, Locked, StoreUse};
pub use error::StateError;
pub use examine::Examined;
pub use gc::Collected;
pub use input::{Content, InputFile, OutputFile};
pub use key::group_product;
pub use movement::{Moved, Movement, RUNS_MAX};
pub use runlog::{Ran, RunStats};
pub use subject::{Changed, Demand, Subject, ToolProbe};
pub use verdict::{EnvChange, InputChange, PathSample, Reason, Verdict};
pub use warning::Warning;
