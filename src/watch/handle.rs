//! One user's end of a watch: [`WatchHandle`].

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::change::{ChangeSet, FileType};
use crate::disk::FileStat;
use crate::files::FileList;
use crate::path::RelPath;
use crate::pattern::{Pattern, PatternSet};
use crate::watch::error::{ErrorClass, ProcessingError, WatchError};
use crate::watch::explain::{AuditReport, Explanation};
use crate::watch::handler::{Filter, HandlerId, HandlerResult};
use crate::watch::manager::{Core, Registry};
use crate::watch::options::WatchUpdate;
use crate::watch::processor::{Command, Shared, WatchState};
use crate::watch::queue::QueueStats;
use crate::watch::subscriber::Subscriber;
use crate::watch::warning::Warning;

/// How a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WatchStatus {
    /// Where it stands.
    pub state: WatchState,
    /// Directories the system watches for us.
    pub watched_dirs: usize,
    /// Directories that are polled.
    pub polled_dirs: usize,
    /// Directories that are left out because they cannot be read.
    pub unreadable_dirs: usize,
    /// Files in the model.
    pub files: usize,
    /// Whether this handle is paused.
    pub paused: bool,
    /// What waits to be looked at.
    pub queue: QueueStats,
}

/// One user's end of a watch.
///
/// Every method may be called from any thread, handlers included. Dropping it closes it.
#[derive(Debug)]
pub struct WatchHandle {
    core: Arc<Core>,
    subscriber: Arc<Subscriber>,
    registry: Arc<Registry>,
}

impl WatchHandle {
    pub(crate) fn new(
        core: Arc<Core>,
        subscriber: Arc<Subscriber>,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            core,
            subscriber,
            registry,
        }
    }

    /// The watched directory: absolute, without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared().root
    }

    /// The next change set, in order; `None` when there is none within `timeout`. Blocks.
    ///
    /// Sets wait for this call only while there are no handlers, or once it has been called.
    /// When more than 64 wait, neighbours are merged: no change is lost.
    ///
    /// # Errors
    /// [`ProcessingError::Closed`] after [`WatchHandle::close`]; [`ProcessingError::Stopped`] when
    /// the watch itself has ended and everything has been fetched.
    pub fn next(&self, timeout: Duration) -> Result<Option<ChangeSet>, WatchError> {
        let set = self.subscriber.next(timeout)?;
        Ok(set.map(Arc::unwrap_or_clone))
    }

    /// The next change set if one is there. Does not block.
    ///
    /// # Errors
    /// As [`WatchHandle::next`].
    pub fn try_next(&self) -> Result<Option<ChangeSet>, WatchError> {
        self.next(Duration::ZERO)
    }

    /// Calls `handler` with every change set from now on, as far as `filter` holds its changes.
    ///
    /// Handlers of one handle run one after the other, on a thread of its own, in order of
    /// priority. A handler that blocks holds up this handle's other handlers, nobody else;
    /// meanwhile sets are merged. One that fails or panics is counted and told as a warning.
    pub fn on(
        &self,
        filter: Filter,
        handler: impl FnMut(&Arc<ChangeSet>) -> HandlerResult + Send + 'static,
    ) -> HandlerId {
        self.subscriber.on(filter, Box::new(handler))
    }

    /// Calls `handler` with every warning: those still waiting, then each new one. On the thread
    /// of the other handlers.
    pub fn on_warning(
        &self,
        handler: impl FnMut(&Warning) -> HandlerResult + Send + 'static,
    ) -> HandlerId {
        self.subscriber.on_warning(Box::new(handler))
    }

    /// Takes a handler off; `false` if it was not there. It may still be running when this
    /// returns, it is not called again.
    #[must_use = "`false` means that nothing was taken off"]
    pub fn off(&self, id: HandlerId) -> bool {
        self.subscriber.off(id)
    }

    /// Takes the warnings since the last time, oldest first. At most 1,000 are kept.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.subscriber.take_warnings()
    }

    /// Blocks until everything that happened before this call has been delivered: what is pending
    /// is reported at once, and handlers have seen it (unless called by one).
    ///
    /// Writes nothing to the watched tree.
    ///
    /// # Errors
    /// [`ProcessingError::SyncTimedOut`], or [`ProcessingError::Closed`].
    pub fn sync(&self, timeout: Duration) -> Result<(), WatchError> {
        let in_time = |id| self.subscriber.wait_handled(id, timeout).then_some(());
        let done = self
            .ask_within(timeout, Command::Sync)
            .and_then(|id| in_time(id).ok_or(ProcessingError::SyncTimedOut { waited: timeout }));
        if let Err(ProcessingError::SyncTimedOut { .. }) = done {
            self.shared().metrics.count_error(ErrorClass::Transient);
        }
        Ok(done?)
    }

    /// Holds change sets back until [`WatchHandle::resume`]; they are merged, not dropped.
    pub fn pause(&self) {
        self.subscriber.set_paused(true);
    }

    /// Delivers what was held back, as one set, and goes on.
    pub fn resume(&self) {
        self.subscriber.set_paused(false);
    }

    /// What the watch thinks of a path (absolute, or relative to the root) and why.
    ///
    /// # Errors
    /// [`ProcessingError::Stopped`] when the watch has ended.
    pub fn explain(&self, path: &Path) -> Result<Explanation, WatchError> {
        Ok(self.ask(|reply| Command::Explain(path.to_path_buf(), reply))?)
    }

    /// Compares the model with the disk, reading everything; changes nothing. What changes while
    /// it reads may be told wrongly. Blocks.
    ///
    /// # Errors
    /// [`ProcessingError::Stopped`] when the watch has ended.
    pub fn audit(&self) -> Result<AuditReport, WatchError> {
        Ok(self.ask(Command::Audit)?)
    }

    /// Changes how the watch behaves. When it returns, the model follows the new selection;
    /// what that adds or takes away has not changed, and is not told as changes.
    ///
    /// # Errors
    /// [`ProcessingError::Stopped`] when the watch has ended.
    pub fn update(&self, update: WatchUpdate) -> Result<(), WatchError> {
        Ok(self.ask(|reply| Command::Update(update, reply))?)
    }

    /// How the watch is doing. Cheap.
    #[must_use]
    pub fn status(&self) -> WatchStatus {
        use std::sync::atomic::Ordering::Relaxed;
        let metrics = &self.shared().metrics;
        WatchStatus {
            state: self.shared().state(),
            watched_dirs: metrics.watched_dirs.load(Relaxed),
            polled_dirs: metrics.polled_dirs.load(Relaxed),
            unreadable_dirs: metrics.unreadable_dirs.load(Relaxed),
            files: metrics.files.load(Relaxed),
            paused: self.subscriber.is_paused(),
            queue: self.shared().queue.stats(),
        }
    }

    /// Every file, link or other thing that is not a directory, that the model holds and
    /// `patterns` match: ordered by path. As of the last event taken in; see
    /// [`WatchHandle::sync`].
    #[must_use]
    pub fn files(&self, patterns: &PatternSet) -> FileList {
        let tree = self.shared().tree.read();
        let tree = tree.unwrap_or_else(PoisonError::into_inner);
        tree.files(patterns)
    }

    /// As [`WatchHandle::files`], everything the model holds.
    #[must_use]
    pub fn all_files(&self) -> FileList {
        self.files(&PatternSet::new(vec![Pattern::everything()]))
    }

    /// What the model knows of one path; `None` for a directory and for what it does not hold.
    #[must_use]
    pub fn stat(&self, path: &RelPath) -> Option<FileStat> {
        let tree = self.shared().tree.read();
        let tree = tree.unwrap_or_else(PoisonError::into_inner);
        let stat = tree.stat(tree.find(path.as_bytes())?);
        (stat.file_type() != FileType::Dir).then_some(stat)
    }

    /// Those of the model's files that are ignored, ascending: they are in it because a pattern
    /// without wildcards names them.
    #[must_use]
    pub fn ignored_files(&self) -> Vec<RelPath> {
        let tree = self.shared().tree.read();
        tree.unwrap_or_else(PoisonError::into_inner).named_files()
    }

    /// Whether `path` is one of [`WatchHandle::ignored_files`].
    #[must_use]
    pub fn is_ignored(&self, path: &RelPath) -> bool {
        let tree = self.shared().tree.read();
        let tree = tree.unwrap_or_else(PoisonError::into_inner);
        tree.find(path.as_bytes())
            .is_some_and(|id| tree.is_named(id))
    }

    /// Ends this handle. No handler is called after it returns, except that one which calls it
    /// runs on to its end. The watch itself ends with its last handle. May be called repeatedly.
    pub fn close(&self) {
        self.subscriber.close();
        self.registry.leave(&self.core, &self.subscriber);
    }

    pub(crate) fn subscriber(&self) -> &Arc<Subscriber> {
        &self.subscriber
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, ProcessingError> {
        let (reply, answer) = mpsc::channel();
        let sent = self.shared().queue.send(command(reply));
        let answer = sent.ok().and_then(|()| answer.recv().ok());
        answer.ok_or_else(|| self.stopped())
    }

    fn ask_within<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Result<T, ProcessingError> {
        let (reply, answer) = mpsc::channel();
        if self.shared().queue.send(command(reply)).is_err() {
            return Err(self.stopped());
        }
        answer.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => ProcessingError::SyncTimedOut { waited: timeout },
            RecvTimeoutError::Disconnected => self.stopped(),
        })
    }

    fn stopped(&self) -> ProcessingError {
        ProcessingError::Stopped {
            path: self.root().to_path_buf(),
        }
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.close();
    }
}
