//! When a service that ended is started again: [`RestartPolicy`]. Pure; time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Which ends of a service are followed by a new start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartRule {
    /// Every end.
    Always,
    /// An end by a signal or with a status other than 0.
    OnFailure,
    /// None.
    Never,
}

/// What to do about a service that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again, not before this.
    StartAt(Instant),
    /// Leave it: its rule says so.
    Rest,
    /// Leave it: it fails as soon as it is started.
    Failing,
}

/// Decides whether and when a service is started again.
///
/// The first restart comes at once after a long life; each end soon after the last one doubles the
/// delay. After [`RESTARTS_MAX`](Self::RESTARTS_MAX) restarts within
/// [`WINDOW`](Self::WINDOW) the service is left as failing, until [`rearm`](Self::rearm).
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    rule: RestartRule,
    /// The restarts in the window, the oldest first.
    recent: VecDeque<Instant>,
}

impl RestartPolicy {
    /// So many restarts within the window are tried.
    pub const RESTARTS_MAX: usize = 5;
    /// How long a restart counts.
    pub const WINDOW: Duration = Duration::from_secs(10);
    /// The delay of the second restart in the window; the first has none.
    const FIRST_DELAY: Duration = Duration::from_millis(100);

    /// One without a history.
    pub fn new(rule: RestartRule) -> Self {
        Self {
            rule,
            recent: VecDeque::new(),
        }
    }

    /// Notes that the service ended at `now` by itself, and says what to do.
    pub fn ended(&mut self, is_success: bool, now: Instant) -> Verdict {
        let rests = match self.rule {
            RestartRule::Always => false,
            RestartRule::OnFailure => is_success,
            RestartRule::Never => true,
        };
        if rests {
            return Verdict::Rest;
        }
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= Self::WINDOW)
        {
            self.recent.pop_front();
        }
        let count = self.recent.len();
        if count >= Self::RESTARTS_MAX {
            return Verdict::Failing;
        }
        let delay = match count.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => Self::FIRST_DELAY * (1 << doublings),
        };
        self.recent.push_back(now + delay);
        Verdict::StartAt(now + delay)
    }

    /// Forgets the history: something that the service depends on has changed.
    pub fn rearm(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends at these milliseconds; `+n`: started again n ms later, `rest`, `failing`.
    #[track_caller]
    fn check(rule: RestartRule, ends: &[(u64, bool)], expected: &str) {
        let start = Instant::now();
        let mut policy = RestartPolicy::new(rule);
        let verdicts: Vec<String> = ends
            .iter()
            .map(|(ms, is_success)| {
                let now = start + Duration::from_millis(*ms);
                match policy.ended(*is_success, now) {
                    Verdict::StartAt(at) => format!("+{}", (at - now).as_millis()),
                    Verdict::Rest => "rest".to_owned(),
                    Verdict::Failing => "failing".to_owned(),
                }
            })
            .collect();
        assert_eq!(verdicts.join(" "), expected);
    }

    #[test]
    fn the_rule_says_which_ends_count() {
        check(RestartRule::Never, &[(0, false), (0, true)], "rest rest");
        check(RestartRule::OnFailure, &[(0, true), (5, false)], "rest +0");
        check(RestartRule::Always, &[(0, true), (5, false)], "+0 +100");
    }

    #[test]
    fn delays_double_until_it_counts_as_failing() {
        let ends = [0, 10, 200, 500, 1000, 2000, 3000].map(|ms| (ms, false));
        check(
            RestartRule::OnFailure,
            &ends,
            "+0 +100 +200 +400 +800 failing failing",
        );
    }

    #[test]
    fn old_restarts_are_forgotten() {
        let ends = [0, 10, 200, 500, 1000, 10_050, 30_000].map(|ms| (ms, false));
        check(
            RestartRule::OnFailure,
            &ends,
            "+0 +100 +200 +400 +800 +800 +0",
        );
    }

    #[test]
    fn rearming_starts_anew() {
        let now = Instant::now();
        let mut policy = RestartPolicy::new(RestartRule::Always);
        while policy.ended(false, now) != Verdict::Failing {}
        policy.rearm();
        assert_eq!(policy.ended(false, now), Verdict::StartAt(now));
    }
}
