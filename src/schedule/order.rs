//! Which task first: measured durations as urgencies.

use std::collections::HashMap;
use std::time::Duration;

use super::run::Driver;
use crate::task_id::TaskName;

impl Driver {
    /// Orders by the longest chain of measured durations.
    pub(super) fn rank(&mut self) {
        let known: HashMap<TaskName, Duration> =
            self.ports.engine.durations().into_iter().collect();
        let mut sorted: Vec<Duration> = known.values().copied().collect();
        sorted.sort_unstable();
        let typical = sorted
            .get(sorted.len() / 2)
            .copied()
            .unwrap_or(Duration::from_millis(1));
        let micros = |name| {
            let duration: &Duration = known.get(name).unwrap_or(&typical);
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
        };
        let durations = self
            .plan
            .tasks()
            .iter()
            .map(|(_, task)| micros(&task.name))
            .collect();
        self.schedule
            .set_urgency(self.plan.graph().longest_paths(&durations));
    }
}
