//! Starts of a service that follow each other faster than anybody saves: [`Rush`]. Pure.

use std::time::{Duration, Instant};

/// A start so soon after the one before is taken for an answer to what the service itself wrote.
const AT_ONCE: Duration = Duration::from_millis(50);

/// So many of them in a row are not followed by another one. More than a script would bring about
/// that edits a file whenever the service is up, as tests of services do.
const STARTS_MAX: u32 = 250;

/// How often in a row a service was started at once after its last start.
#[derive(Debug, Default)]
pub(super) struct Rush {
    last: Option<Instant>,
    in_a_row: u32,
}

impl Rush {
    /// Notes that the service is to start `now`. Whether it had better not: it would never end.
    pub(super) fn is_too_much(&mut self, now: Instant) -> bool {
        let since = |last: Instant| now.saturating_duration_since(last);
        let at_once = self.last.is_some_and(|last| since(last) < AT_ONCE);
        self.last = Some(now);
        self.in_a_row = if at_once { self.in_a_row + 1 } else { 0 };
        self.in_a_row > STARTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_starts_in_a_row_at_once_are_enough() {
        let (start, mut rush) = (Instant::now(), Rush::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        for n in 0..=250 {
            assert!(!rush.is_too_much(at(n * 49)), "{n}");
        }
        assert!(rush.is_too_much(at(251 * 49)));
        assert!(!rush.is_too_much(at(251 * 49 + 50)));
    }

    #[test]
    fn a_pause_makes_them_count_from_the_beginning() {
        let (start, mut rush) = (Instant::now(), Rush::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut ms = 0;
        for n in 1..1000 {
            ms += if n % 250 == 0 { 50 } else { 1 };
            assert!(!rush.is_too_much(at(ms)), "{n}");
        }
    }
}
