//! Starts that seem to bring each other about: [`Rush`]. Pure.

use std::time::{Duration, Instant};

/// A start so soon after the one before follows faster than anybody saves.
const AT_ONCE: Duration = Duration::from_millis(50);

/// So many of them in a row are not followed by another one. More than a script would bring about
/// that edits a file whenever something is up, as tests do.
const AT_ONCE_MAX: u32 = 1_000;

/// So often something is started while nothing changes but outputs of tasks. A chain of them needs
/// few starts, also where runs are cut short.
const FROM_OUTPUTS_MAX: u32 = 10;

/// Why something is not started once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endless {
    /// Its last starts followed each other faster than anybody saves.
    AtOnce,
    /// Nothing but outputs of tasks changed since it was started first.
    FromOutputs,
}

impl Endless {
    /// What is told of it, after the name.
    pub(super) fn reason(self) -> String {
        match self {
            Self::AtOnce => format!(
                "is not started again: each of its last {AT_ONCE_MAX} starts was followed by a change of its inputs at once, so what it starts seems to change them"
            ),
            Self::FromOutputs => format!(
                "is not started again: it was {FROM_OUTPUTS_MAX} times, while nothing changed but outputs of tasks, so they seem to change each other's inputs without end"
            ),
        }
    }
}

/// How the starts of a task or a service follow each other.
#[derive(Debug, Default)]
pub(super) struct Rush {
    last: Option<Instant>,
    at_once: u32,
    from_outputs: u32,
}

impl Rush {
    /// Notes that it is to start `now`. Whether it had better not.
    pub(super) fn start(&mut self, now: Instant) -> Option<Endless> {
        let since = |last: Instant| now.saturating_duration_since(last);
        let is_at_once = self.last.is_some_and(|last| since(last) < AT_ONCE);
        self.last = Some(now);
        self.at_once = if is_at_once { self.at_once + 1 } else { 0 };
        self.from_outputs += 1;
        if self.at_once > AT_ONCE_MAX {
            Some(Endless::AtOnce)
        } else if self.from_outputs > FROM_OUTPUTS_MAX {
            Some(Endless::FromOutputs)
        } else {
            None
        }
    }

    /// Notes that something else changed than outputs of tasks.
    pub(super) fn comes_from_outside(&mut self) {
        self.from_outputs = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of starts so many milliseconds apart, each after a change from outside.
    fn starts(gaps: impl IntoIterator<Item = u64>) -> Vec<Endless> {
        let (mut now, mut rush) = (Instant::now(), Rush::default());
        let start = |gap| {
            now += Duration::from_millis(gap);
            rush.comes_from_outside();
            rush.start(now)
        };
        gaps.into_iter().filter_map(start).collect()
    }

    #[test]
    fn a_thousand_starts_in_a_row_at_once_are_enough() {
        assert_eq!(starts([49; 1_001]), []);
        assert_eq!(starts([49; 1_002]), [Endless::AtOnce]);
        assert_eq!(starts(std::iter::repeat_n(49, 1_001).chain([50])), []);
    }

    #[test]
    fn a_pause_makes_them_count_from_the_beginning() {
        assert_eq!(
            starts((1..9_000).map(|n| if n % 1_000 == 0 { 50 } else { 1 })),
            []
        );
    }

    #[test]
    fn so_many_from_outputs_alone_are_enough() {
        let (now, mut rush) = (Instant::now(), Rush::default());
        let at = |n| now + Duration::from_secs(n);
        assert!((1..=10).all(|n| rush.start(at(n)).is_none()));
        assert_eq!(rush.start(at(11)), Some(Endless::FromOutputs));
        rush.comes_from_outside();
        assert_eq!(rush.start(at(12)), None);
    }
}
