//! What is said of polling: once for each reason, and again when it got much worse.

use std::collections::BTreeMap;
use std::fs;

use crate::path::RelDir;
use crate::watch::error::sysctl_command;
use crate::watch::processor::EventProcessor;
use crate::watch::walk::absolute;
use crate::watch::warning::{PollReason, Warning};

/// A degradation is said again once it is this many times as large.
const MUCH_WORSE: usize = 8;

/// Why directories are polled, and what was said of it.
#[derive(Debug, Default)]
pub(crate) struct PollNotices {
    /// For each reason since the last time, the first directory.
    due: BTreeMap<PollReason, RelDir>,
    /// How many directories were polled when it was said.
    said: BTreeMap<PollReason, usize>,
}

impl PollNotices {
    /// Notes that `dir` is polled.
    pub(crate) fn note(&mut self, reason: PollReason, dir: &RelDir) {
        self.due.entry(reason).or_insert_with(|| dir.clone());
    }

    /// What is to be said, now that so many are polled.
    fn take_due(&mut self, polled: usize) -> Vec<(PollReason, RelDir)> {
        let mut due = Vec::new();
        for (reason, dir) in std::mem::take(&mut self.due) {
            let said = self.said.get(&reason);
            if polled > 0 && said.is_none_or(|said| polled >= said * MUCH_WORSE) {
                self.said.insert(reason, polled);
                due.push((reason, dir));
            }
        }
        due
    }

    /// Nothing is polled any more: if something is again, that is news.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.said.clear();
    }
}

impl EventProcessor {
    /// Says once for each reason, and again when it got much worse, that directories are polled.
    pub(crate) fn warn_of_polling(&mut self) {
        let polled_dirs = self.poll.len();
        for (reason, dir) in self.notices.take_due(polled_dirs) {
            let warning = match reason {
                PollReason::WatchLimit => {
                    limit_reached(self.watched_of(self.shared_tree_dirs()), polled_dirs)
                }
                _ => Warning::Polling {
                    polled_dirs,
                    reason,
                    path: absolute(&self.shared.root, &dir),
                    advice: advice(reason),
                },
            };
            self.warn(&warning);
        }
    }
}

fn limit_reached(watched_dirs: usize, polled_dirs: usize) -> Warning {
    let (sysctl, limit) = limit_of("watches");
    let needed = (watched_dirs + polled_dirs) as u64;
    Warning::LimitReached {
        watched_dirs,
        polled_dirs,
        limit,
        sysctl,
        suggested: (limit.unwrap_or(0) + needed)
            .next_power_of_two()
            .max(65_536),
    }
}

fn advice(reason: PollReason) -> Option<String> {
    (reason == PollReason::InstanceLimit).then(|| {
        let (setting, limit) = limit_of("instances");
        let enough = (limit.unwrap_or(0) * 2).max(1_024);
        let command = sysctl_command(setting, enough);
        format!("{command} (or raise the limit on open files: `ulimit -n`)")
    })
}

/// The limit on `"watches"` or `"instances"` that binds here: its setting and its value.
fn limit_of(what: &str) -> (&'static str, Option<u64>) {
    let read = |path: String| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let user = read(format!("/proc/sys/user/max_inotify_{what}"));
    let all = read(format!("/proc/sys/fs/inotify/max_user_{what}"));
    let (of_user, of_all) = if what == "watches" {
        ("user.max_inotify_watches", "fs.inotify.max_user_watches")
    } else {
        (
            "user.max_inotify_instances",
            "fs.inotify.max_user_instances",
        )
    };
    match (user, all) {
        (Some(user), Some(all)) if user < all => (of_user, Some(user)),
        (_, all) => (of_all, all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_and_again_when_it_got_much_worse() {
        let mut notices = PollNotices::default();
        let root = RelDir::ROOT;
        let dir = RelDir::new(b"d").unwrap();
        let (network, limit) = (PollReason::NetworkFileSystem, PollReason::WatchLimit);
        notices.note(network, &dir);
        notices.note(network, &root);
        assert_eq!(notices.take_due(2), [(network, dir.clone())]);
        // Another reason is news, however few directories it brings.
        notices.note(network, &dir);
        notices.note(limit, &dir);
        assert_eq!(notices.take_due(3), [(limit, dir.clone())]);
        notices.note(limit, &root);
        assert_eq!(notices.take_due(23), []);
        notices.note(limit, &root);
        assert_eq!(notices.take_due(24), [(limit, root.clone())]);
        assert_eq!(notices.take_due(1_000), []);
        notices.clear();
        notices.note(limit, &dir);
        assert_eq!(notices.take_due(1), [(limit, dir)]);
    }
}
