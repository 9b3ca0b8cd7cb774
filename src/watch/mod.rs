//! The file-watching system. Knows nothing of tasks; usable by any program on its own.
//!
//! [`WatchManager::create_watch`] gives a [`WatchHandle`]: exact [`ChangeSet`]s of everything
//! below a directory, by [`WatchHandle::next`] or to handlers, and a model of the files that is
//! in step with the disk. Exact means: after any burst, rename, lost event or replaced root,
//! applying the sets to what was known before gives what is on disk. How that is reached is told
//! in `docs/design/watch.md`.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use watchrun::watch::{WatchManager, WatchOptions};
//!
//! let manager = WatchManager::new();
//! let watch = manager.create_watch(Path::new("."), WatchOptions::new())?;
//! while let Some(set) = watch.next(Duration::from_secs(60))? {
//!     for change in &set.changes {
//!         println!("{:?} {}", change.kind, change.path);
//!     }
//! }
//! # Ok::<(), watchrun::watch::WatchError>(())
//! ```
//!
//! Units: sizes in bytes, times as [`Duration`](std::time::Duration). Paths in changes are
//! relative to the watched directory.
//!
//! [`ChangeSet`]: crate::change::ChangeSet

mod budget;
mod cookies;
mod debounce;
mod degraded;
mod diff;
mod error;
mod explain;
mod filesystem;
mod git;
mod handle;
mod handler;
mod ignored;
mod layout;
mod logger;
mod manager;
mod merge;
mod metrics;
mod mounts;
mod options;
mod os;
mod outside;
mod pace;
mod poll;
mod processor;
mod queue;
mod reconcile;
mod record;
mod recovery;
mod rule_files;
mod scan;
mod select;
mod setup;
mod source;
mod subscriber;
mod surroundings;
mod tree;
mod walk;
mod warning;

pub use debounce::{Debouncer, LOCK_HELD_MAX, Observed};
pub use error::{CreationError, ErrorClass, ProcessingError, Resource, SystemError, WatchError};
pub use explain::{AuditReport, Explanation, Watched};
pub use handle::{WatchHandle, WatchStatus};
pub use handler::{Filter, HandlerId, HandlerRegistry, HandlerResult, Kinds, OnChanges, OnWarning};
pub use ignored::{IgnoreReason, Ignored, Rules};
pub(crate) use layout::{Layout, stamp_clock_ns};
pub use logger::MetricsLogger;
pub use manager::{SourceFactory, WatchManager};
pub use merge::merge;
pub use metrics::{ErrorCounts, MetricsReport, Summary, WatchMetrics, WatchReport};
pub use options::{Backend, OverflowPolicy, ScanOptions, WatchOptions, WatchUpdate};
pub use os::OsWatcher;
pub use poll::PollWatcher;
pub use processor::{EventProcessor, WatchState};
pub use queue::{Batch, EventQueue, Mark, QueueStats, Seen};
pub use record::{ReplayError, replay};
pub use rule_files::RuleFiles;
pub(crate) use scan::look;
pub use scan::{Scan, scan};
pub use source::{AddProblem, Hint, HintKind, HintSink, Interest, RawSource};
pub use tree::{NodeId, Tree};
pub use warning::{PollReason, Warning};
