//! When a thread that is woken for each event had better rest: [`Pace`]. Pure.

use std::time::{Duration, Instant};

/// Calls that follow each other faster than this belong to one waking: so fast a thread goes
/// through events that it has read already.
const ONE_WAKING: Duration = Duration::from_micros(20);
/// Wakings that follow each other more slowly than this are no burst.
const BURST: Duration = Duration::from_millis(1);
/// So many wakings in a row, and the next events may come together.
const WAKINGS: u32 = 16;
/// How long to rest. The kernel keeps 16,384 events of a shard meanwhile.
const REST: Duration = Duration::from_millis(4);

/// Watches the calls to an event handler. A burst whose events come one by one, as from a removal
/// on a slow disk, wakes the handler's thread for each; after a short rest they come together.
/// Events that come faster than they can be handled are not held up.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    wakings: u32,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last: now,
            wakings: 0,
        }
    }

    /// Notes that the handler is called `now`. How long to rest after it, if at all; the handler
    /// says so by [`Self::rested`].
    pub(crate) fn rest(&mut self, now: Instant) -> Option<Duration> {
        let gap = now.saturating_duration_since(self.last);
        self.last = now;
        if gap < ONE_WAKING {
            return None;
        }
        self.wakings = if gap < BURST { self.wakings + 1 } else { 0 };
        (self.wakings >= WAKINGS).then_some(REST)
    }

    /// Notes the end of a rest.
    pub(crate) fn rested(&mut self, now: Instant) {
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rests follow from calls so many microseconds apart.
    fn rests(gaps: impl IntoIterator<Item = u64>) -> usize {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut n = 0;
        for gap in gaps {
            now += Duration::from_micros(gap);
            if let Some(rest) = pace.rest(now) {
                now += rest;
                pace.rested(now);
                n += 1;
            }
        }
        n
    }

    #[test]
    fn a_save_is_not_held_up() {
        let save = [5_000, 30, 100, 30, 200, 3, 3];
        assert_eq!(rests((0..50).flat_map(|_| save)), 0);
    }

    #[test]
    fn a_burst_of_single_events_is() {
        assert_eq!(rests([75; 15]), 0);
        assert_eq!(rests([75; 16]), 1);
        // What gathered meanwhile comes at once; then the next waking rests.
        let batch = [vec![75], vec![3; 26]].concat();
        assert_eq!(rests([75; 15].into_iter().chain(batch.repeat(10))), 10);
    }

    #[test]
    fn a_flood_is_not() {
        assert_eq!(rests(vec![6; 100_000]), 0);
    }

    #[test]
    fn after_a_pause_it_begins_anew() {
        assert_eq!(rests([vec![75; 16], vec![1_000], vec![75; 15]].concat()), 1);
    }
}
