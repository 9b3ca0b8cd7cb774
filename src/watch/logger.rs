//! Metrics at an interval: [`MetricsLogger`].

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::watch::manager::WatchManager;
use crate::watch::metrics::MetricsReport;

/// Hands the metrics of a manager to somebody at an interval, until it is dropped.
#[derive(Debug)]
pub struct MetricsLogger {
    /// Dropping it ends the thread's wait.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WatchManager {
    /// Calls `log` with a report every `interval`, for the first time after one interval, on a
    /// thread of its own. Wakes the processor once an interval, and not at all once it is dropped.
    ///
    /// The drop waits for a call of `log` that is under way. A panic in `log` ends the logging and
    /// nothing else.
    ///
    /// # Panics
    /// When the system cannot start a thread.
    pub fn log_every(
        &self,
        interval: Duration,
        mut log: impl FnMut(MetricsReport) + Send + 'static,
    ) -> MetricsLogger {
        let (stop, stopped) = mpsc::channel();
        let manager = self.clone();
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                log(manager.report());
            }
        };
        let thread = thread::Builder::new().name("watch-metrics".to_owned());
        MetricsLogger {
            stop: Some(stop),
            thread: Some(thread.spawn(run).expect("the system has threads")),
        }
    }
}

impl Drop for MetricsLogger {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What `log` panicked of was reported when it did.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::options::WatchOptions;

    #[test]
    fn reports_come_until_the_logger_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let manager = WatchManager::new();
        let watch = manager
            .create_watch(dir.path(), WatchOptions::new())
            .unwrap();
        let (tx, reports) = mpsc::channel();
        let logger = manager.log_every(Duration::from_millis(1), move |report| {
            drop(tx.send(report));
        });
        for _ in 0..2 {
            let report = reports.recv_timeout(Duration::from_secs(30)).unwrap();
            assert_eq!(report.watches.len(), 1);
        }
        drop(logger);
        while reports.try_recv().is_ok() {}
        assert!(reports.recv().is_err(), "nobody can report any more");
        watch.close();
    }
}
