//! When stat data may stand for content: [`HashTime`], the racily-clean rule.
//!
//! A file that is written twice within one tick of the file system's clock looks the same after
//! both. So a digest is trusted for a stat only if the stat's times are older than the moment the
//! content was read: any later write then gets a later time. The moment is taken from the file
//! system itself, whose clock need not be ours.

use crate::disk::{DiskTime, FileStat};

/// Clocks of different file systems are believed to agree up to this.
const OTHER_CLOCK_NS: i64 = 2_000_000_000;

/// A moment before content was read, by the file system's clock. Unknown: nothing is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashTime(pub(super) Option<DiskTime>);

impl HashTime {
    /// Whether content read at or after this moment may be known by `stat` from now on.
    pub(super) fn trusts(self, stat: &FileStat) -> bool {
        let Some(time) = self.0 else {
            return false;
        };
        let limit = if stat.dev == time.dev {
            time.ns
        } else {
            time.ns.saturating_sub(OTHER_CLOCK_NS)
        };
        stat.mtime_ns < limit && stat.ctime_ns < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mtime_ns: i64, ctime_ns: i64, dev: u64, expected: bool) {
        let stat = FileStat {
            dev,
            ino: 1,
            size: 1,
            mtime_ns,
            ctime_ns,
            mode: 0o100_644,
        };
        let time = HashTime(Some(DiskTime {
            dev: 1,
            ns: 3_000_000_000,
        }));
        assert_eq!(time.trusts(&stat), expected);
        assert!(!HashTime(None).trusts(&stat));
    }

    #[test]
    fn only_what_is_older_than_the_hash_is_trusted() {
        check(2_999_999_999, 2_999_999_999, 1, true);
        check(3_000_000_000, 2_999_999_999, 1, false);
        check(2_999_999_999, 3_000_000_000, 1, false);
        check(4_000_000_000, 1, 1, false);
    }

    #[test]
    fn the_clock_of_another_file_system_is_given_room() {
        check(999_999_999, 999_999_999, 2, true);
        check(1_000_000_000, 999_999_999, 2, false);
    }
}
