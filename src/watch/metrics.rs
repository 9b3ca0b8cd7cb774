//! What a watch counts: [`WatchMetrics`], lock-free, and [`MetricsReport`], a picture of it.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use crate::watch::error::ErrorClass;
use crate::watch::queue::QueueStats;

/// Counters of one watch. Every method may be called from any thread at any time.
#[derive(Debug)]
pub struct WatchMetrics {
    pub(crate) watched_dirs: AtomicUsize,
    pub(crate) polled_dirs: AtomicUsize,
    pub(crate) unreadable_dirs: AtomicUsize,
    pub(crate) files: AtomicUsize,
    pub(crate) tree_bytes: AtomicUsize,
    pub(crate) looks: AtomicU64,
    pub(crate) scans: AtomicU64,
    pub(crate) rescans: AtomicU64,
    pub(crate) overflows: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) change_sets: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) vanished: AtomicU64,
    pub(crate) source_errors: AtomicU64,
    pub(crate) handler_errors: AtomicU64,
    errors_by_class: [AtomicU64; 3],
    pub(crate) syncs: AtomicU64,
    pub(crate) batch_paths: Histogram,
    pub(crate) batch_us: Histogram,
    pub(crate) latency_us: Histogram,
    pub(crate) sync_us: Histogram,
}

impl WatchMetrics {
    /// All at zero.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "counters begin with a watch")]
    pub fn new() -> Self {
        Self {
            watched_dirs: AtomicUsize::new(0),
            polled_dirs: AtomicUsize::new(0),
            unreadable_dirs: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
            tree_bytes: AtomicUsize::new(0),
            looks: AtomicU64::new(0),
            scans: AtomicU64::new(0),
            rescans: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            change_sets: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            vanished: AtomicU64::new(0),
            source_errors: AtomicU64::new(0),
            handler_errors: AtomicU64::new(0),
            errors_by_class: array::from_fn(|_| AtomicU64::new(0)),
            syncs: AtomicU64::new(0),
            batch_paths: Histogram::new(),
            batch_us: Histogram::new(),
            latency_us: Histogram::new(),
            sync_us: Histogram::new(),
        }
    }

    /// Counts an error by its class.
    pub fn count_error(&self, class: ErrorClass) {
        self.errors_by_class[class as usize].fetch_add(1, Relaxed);
    }

    fn n_errors(&self, class: ErrorClass) -> u64 {
        self.errors_by_class[class as usize].load(Relaxed)
    }

    /// A picture of the counters, for a watch of `path` that is `age` old.
    #[must_use]
    pub fn report(&self, path: String, age: Duration, queue: QueueStats) -> WatchReport {
        let seconds = age.as_secs().max(1);
        WatchReport {
            path,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            watched_dirs: self.watched_dirs.load(Relaxed),
            polled_dirs: self.polled_dirs.load(Relaxed),
            unreadable_dirs: self.unreadable_dirs.load(Relaxed),
            files: self.files.load(Relaxed),
            tree_bytes: self.tree_bytes.load(Relaxed),
            events_per_second: queue.hints / seconds,
            looks: self.looks.load(Relaxed),
            directories_read: self.scans.load(Relaxed),
            rescans: self.rescans.load(Relaxed),
            overflows: self.overflows.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            change_sets: self.change_sets.load(Relaxed),
            changes: self.changes.load(Relaxed),
            vanished: self.vanished.load(Relaxed),
            errors: ErrorCounts {
                source: self.source_errors.load(Relaxed),
                handler: self.handler_errors.load(Relaxed),
                unreadable: self.unreadable_dirs.load(Relaxed) as u64,
                transient: self.n_errors(ErrorClass::Transient),
                degraded: self.n_errors(ErrorClass::Degraded),
                fatal: self.n_errors(ErrorClass::Fatal),
            },
            syncs: self.syncs.load(Relaxed),
            batch_paths: self.batch_paths.summary(),
            batch_us: self.batch_us.summary(),
            latency_us: self.latency_us.summary(),
            sync_us: self.sync_us.summary(),
            queue,
        }
    }
}

/// A picture of the counters of every watch of a manager.
#[derive(Clone, Debug, Serialize)]
pub struct MetricsReport {
    /// One for each watched directory, in the order they were made.
    pub watches: Vec<WatchReport>,
}

/// A picture of the counters of one watch. Counts are since its start.
#[derive(Clone, Debug, Serialize)]
pub struct WatchReport {
    /// The watched directory.
    pub path: String,
    /// How long it has been watched.
    pub age_ms: u64,
    /// Directories the system watches for us.
    pub watched_dirs: usize,
    /// Directories that are polled.
    pub polled_dirs: usize,
    /// Directories that are left out because they cannot be read.
    pub unreadable_dirs: usize,
    /// Files in the model.
    pub files: usize,
    /// What the model holds.
    pub tree_bytes: usize,
    /// Mean number of events a second.
    pub events_per_second: u64,
    /// Paths that were looked at because of an event.
    pub looks: u64,
    /// Directories that were read.
    pub directories_read: u64,
    /// Comparisons of everything with the disk.
    pub rescans: u64,
    /// How often the system lost events.
    pub overflows: u64,
    /// How often the system's watchers were started afresh.
    pub restarts: u64,
    /// How often an unreadable directory was tried again.
    pub retries: u64,
    /// Change sets made.
    pub change_sets: u64,
    /// Changes in them.
    pub changes: u64,
    /// Paths that came and went within a set, or turned out unchanged.
    pub vanished: u64,
    /// Errors by where they came from.
    pub errors: ErrorCounts,
    /// How often somebody waited for the watch to be in step.
    pub syncs: u64,
    /// Paths looked at in one go.
    pub batch_paths: Summary,
    /// Microseconds that took.
    pub batch_us: Summary,
    /// Microseconds from the first change of a set to its delivery, the debounce time included.
    pub latency_us: Summary,
    /// Microseconds until the watch was in step.
    pub sync_us: Summary,
    /// What waits to be looked at.
    pub queue: QueueStats,
}

/// Errors by where they came from, and by their class.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ErrorCounts {
    /// The system's watcher.
    pub source: u64,
    /// Handlers that failed or panicked.
    pub handler: u64,
    /// Directories that cannot be read now.
    pub unreadable: u64,
    /// Errors that were made up for: lost events, a `sync` that took too long.
    pub transient: u64,
    /// Errors after which the work goes on, slower or coarser.
    pub degraded: u64,
    /// Errors that need a change from outside.
    pub fatal: u64,
}

/// A distribution in short. Percentiles are exact to a factor of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Half of them are not above.
    pub p50: u64,
    /// 99 of 100 are not above.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

/// Counts values by their magnitude.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; 65],
    max: AtomicU64,
}

impl Histogram {
    fn new() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            max: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, value: u64) {
        let magnitude = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[magnitude].fetch_add(1, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }

    pub(crate) fn record_us(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn summary(&self) -> Summary {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let max = self.max.load(Relaxed);
        let at = |share_percent: u64| {
            let wanted = (count * share_percent).div_ceil(100);
            let mut seen = 0;
            for (magnitude, n) in counts.iter().enumerate() {
                seen += n;
                if seen >= wanted && seen > 0 {
                    let ceiling = 1_u64.checked_shl(u32::try_from(magnitude).unwrap_or(64));
                    return ceiling.map_or(u64::MAX, |above| above - 1).min(max);
                }
            }
            0
        };
        Summary {
            count,
            p50: at(50),
            p99: at(99),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_factor_of_two() {
        let histogram = Histogram::new();
        assert_eq!(histogram.summary(), Summary::default());
        for value in 0..=1_000 {
            histogram.record(value);
        }
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.max), (1_001, 1_000));
        assert!((500..=1_000).contains(&summary.p50), "{summary:?}");
        assert!((990..=1_000).contains(&summary.p99), "{summary:?}");
        histogram.record(u64::MAX);
        assert_eq!(histogram.summary().max, u64::MAX);
    }
}
