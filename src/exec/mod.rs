//! One command and its process tree. Knows nothing of tasks, plans or what is up to date.
//!
//! [`OsExecutor::run`](Executor::run) starts a [`Command`], hands its output on as it comes and
//! returns when its whole process tree is dead. [`Cancel`] stops it from any thread. [`guardian`]
//! does the same for all of them when this process is killed. Linux only: it builds on pidfds,
//! `/proc` and the child subreaper. What happens at each kind of stop, and why, is in
//! `docs/design/processes.md`.

mod cancel;
mod command;
mod detach;
mod duct;
mod error;
mod executor;
pub mod guardian;
mod jobserver;
mod limits;
mod lines;
mod own_jobs;
mod port;
mod posix_spawn;
mod procfs;
mod ready;
mod registry;
mod restart;
mod service;
mod spawn;
mod spool;
mod terminal;
mod tree;
mod watch;
mod words;

pub use cancel::Cancel;
pub use command::{Command, Ended, Executor, Stop, Terminal};
pub use error::{ExecError, SpawnError};
pub use executor::{Observed, Options, Orphans, OsExecutor};
pub use jobserver::{Jobserver, JobserverError, JobserverStyle, Token, inherited_descriptors};
pub use limits::argument_bytes_max;
pub use lines::LineSplitter;
pub use port::{Holder, port_holder, wait_until_free};
pub use ready::{ReadyProbe, ReadyRule};
pub use restart::{RestartPolicy, RestartRule, Verdict};
pub use service::{Service, ServiceError, ServiceEvent, ServiceOptions};
pub use spool::{Spool, SpoolReader};
pub use terminal::{can_be_resumed, owns_terminal};
pub use words::plain_words;

/// The environment variable that names the tree a process belongs to.
///
/// Its value is a list: the value this process was itself started with, then one element for the
/// tree, parted by `:`. A runner inside a runner is thereby in both trees.
pub const TREE_VARIABLE: &str = "WATCHRUN_TREE";
