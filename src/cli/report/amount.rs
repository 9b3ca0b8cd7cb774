//! Times and counts in words.

use watchrun::schedule::Counts;

/// `12 ms`, `1.2 s`, `2 min 5 s`, `1 h 2 min`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms / 100 % 10),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `2 done, 1 failed, 3 fresh`, without what there is none of. Those of `allowed` are among
/// `counts`, and named apart.
pub(crate) fn sum(counts: &Counts, allowed: &Counts) -> String {
    let Counts {
        done,
        fresh,
        restored,
        failed,
        timed_out,
        cancelled,
        skipped,
    } = *counts;
    let parts: Vec<String> = [
        (done, "done"),
        (restored, "restored"),
        (failed.saturating_sub(allowed.failed), "failed"),
        (allowed.failed, "failed (allowed)"),
        (timed_out.saturating_sub(allowed.timed_out), "timed out"),
        (allowed.timed_out, "timed out (allowed)"),
        (cancelled, "cancelled"),
        (skipped, "skipped"),
        (fresh, "fresh"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}"))
    .collect();
    if parts.is_empty() {
        "nothing to do".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(0), "0 ms");
        assert_eq!(seconds(999), "999 ms");
        assert_eq!(seconds(1_250), "1.2 s");
        assert_eq!(seconds(125_000), "2 min 5 s");
        assert_eq!(seconds(3_720_000), "1 h 2 min");
    }

    #[test]
    fn sums_leave_out_what_there_is_none_of() {
        let none = Counts::default();
        assert_eq!(sum(&none, &none), "nothing to do");
        assert_eq!(
            sum(
                &Counts {
                    done: 2,
                    fresh: 1,
                    failed: 3,
                    ..none
                },
                &Counts { failed: 1, ..none }
            ),
            "2 done, 2 failed, 1 failed (allowed), 1 fresh"
        );
    }
}
