//! What runs now, as a few lines below the text on a terminal: [`Status`].
//!
//! Pure: events and the time go in, lines come out. What they are drawn with is not known here.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use watchrun::schedule::RunEvent;
use watchrun::task_id::TaskName;

use super::amount::seconds;
use super::style::{Style, Tone};

/// More tasks than these are only counted.
const ROWS_MAX: usize = 8;

/// An estimate below this is not worth a word.
const WORTH_SAYING: Duration = Duration::from_secs(1);

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// How far the run is.
#[derive(Debug)]
pub(crate) struct Status {
    style: Style,
    /// Every task of the run.
    tasks: HashSet<TaskName>,
    /// Those that have not ended, and how long each takes as a rule.
    open: HashMap<TaskName, Option<Duration>>,
    failed: HashSet<TaskName>,
    /// Those that run, in the order they started.
    running: Vec<Row>,
    /// What is shown while watching and nothing runs.
    resting: &'static str,
    is_resting: bool,
    is_stopping: bool,
    frame: usize,
}

#[derive(Debug)]
struct Row {
    task: TaskName,
    since: Duration,
    expected: Option<Duration>,
}

/// The size of the terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Status {
    /// `has_keys`: there is a keyboard, whose keys are named while nothing runs.
    pub(crate) fn new(style: Style, has_keys: bool) -> Self {
        Self {
            style,
            tasks: HashSet::new(),
            open: HashMap::new(),
            failed: HashSet::new(),
            running: Vec::new(),
            resting: if has_keys {
                "watching for changes (h: help, q: quit)"
            } else {
                "watching for changes"
            },
            is_resting: false,
            is_stopping: false,
            frame: 0,
        }
    }

    /// Takes note of `event`, `at` after the start.
    pub(crate) fn note(&mut self, at: Duration, event: &RunEvent) {
        match event {
            RunEvent::RunStarted {
                tasks, expected, ..
            } => {
                self.is_resting = false;
                self.tasks = tasks.iter().cloned().collect();
                let expected = expected.iter().copied();
                self.open = tasks.iter().cloned().zip(expected).collect();
                self.failed.clear();
            }
            // One that has the terminal draws there itself.
            RunEvent::TaskStarted {
                interactive: true, ..
            } => {}
            RunEvent::TaskStarted { task, .. } => {
                self.tasks.insert(task.clone());
                self.failed.remove(task);
                let expected = *self.open.entry(task.clone()).or_default();
                self.running.push(Row {
                    task: task.clone(),
                    since: at,
                    expected: expected.filter(|expected| !expected.is_zero()),
                });
            }
            RunEvent::TaskFinished(finished) => {
                self.running.retain(|row| row.task != finished.task);
                self.open.remove(&finished.task);
                if finished.outcome.is_failure() && !finished.allowed {
                    self.failed.insert(finished.task.clone());
                }
            }
            RunEvent::RunFinished { .. } => {
                self.open.clear();
                self.running.clear();
            }
            RunEvent::Idle => self.is_resting = true,
            _ => {}
        }
    }

    /// Everything was told to stop.
    pub(crate) fn stops(&mut self) {
        self.is_stopping = true;
    }

    /// Whether the lines change by themselves.
    pub(crate) fn is_moving(&self) -> bool {
        !self.running.is_empty()
    }

    /// The lines now, none wider than the terminal.
    pub(crate) fn lines(&mut self, now: Duration, size: Size) -> Vec<String> {
        // A line as wide as the terminal makes some of them begin a new one.
        let width = size.columns.saturating_sub(1);
        if self.running.is_empty() {
            if !self.is_resting {
                return Vec::new();
            }
            return vec![self.style.paint(Tone::Faint, cut(self.resting, width))];
        }
        self.frame += 1;
        let spinner = SPINNER[self.frame % SPINNER.len()];
        if let ([row], 1) = (&self.running[..], self.tasks.len()) {
            let stopping = if self.is_stopping { STOPPING } else { "" };
            let name = cut(row.task.as_str(), width.saturating_sub(24).max(8));
            let line = format!("{spinner} {name} {}{stopping}", took(row, now));
            return vec![cut(&line, width)];
        }
        // The sum, and what is not shown, take a line each; one stays for the cursor.
        let rows_max = ROWS_MAX.min(size.rows.saturating_sub(3)).max(1);
        let shown = &self.running[..self.running.len().min(rows_max)];
        let names = shown.iter().map(|row| row.task.as_str().chars().count());
        let column = names
            .max()
            .unwrap_or(0)
            .min(width.saturating_sub(24).max(8));
        let mut lines = vec![cut(&format!("{spinner} {}", self.sum(now)), width)];
        for row in shown {
            let name = cut(row.task.as_str(), column);
            lines.push(cut(&format!("  {name:column$}  {}", took(row, now)), width));
        }
        let more = self.running.len() - shown.len();
        if more > 0 {
            lines.push(cut(&format!("  and {more} more"), width));
        }
        lines
    }

    /// `12 of 40, 1 failed, about 8 s left`.
    fn sum(&self, now: Duration) -> String {
        let ended = self.tasks.len() - self.open.len();
        let failed = match self.failed.len() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        let left = self.left(now).filter(|left| *left >= WORTH_SAYING);
        let rest = match left {
            _ if self.is_stopping => STOPPING.to_owned(),
            Some(left) => format!(", about {} left", whole_seconds(left)),
            None => String::new(),
        };
        format!("{ended} of {}{failed}{rest}", self.tasks.len())
    }

    /// How long it will take, by what tasks took before. `None` where too little is known: a task
    /// was never measured, or takes longer than it ever did.
    fn left(&self, now: Duration) -> Option<Duration> {
        let mut all: Duration = self.open.values().copied().sum::<Option<_>>()?;
        let mut longest = Duration::ZERO;
        for row in &self.running {
            let (took, expected) = (now.saturating_sub(row.since), row.expected?);
            longest = longest.max(expected.checked_sub(took)?);
            all = all.saturating_sub(took);
        }
        let side_by_side = u32::try_from(self.running.len()).unwrap_or(u32::MAX).max(1);
        Some(longest.max(all / side_by_side))
    }
}

const STOPPING: &str = ", stopping (once more: kill)";

/// `3 s`, and what it takes as a rule if that is long.
fn took(row: &Row, now: Duration) -> String {
    let took = whole_seconds(now.saturating_sub(row.since));
    match row.expected {
        Some(expected) if expected >= WORTH_SAYING => {
            format!("{took} of about {}", whole_seconds(expected))
        }
        _ => took,
    }
}

/// Without parts of a second: lines that change less flicker less.
fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..60 => format!("{secs} s"),
        secs => seconds(secs * 1000),
    }
}

/// The first `width` characters, with a mark where some are missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use watchrun::outcome::Outcome;
    use watchrun::schedule::TaskFinished;
    use watchrun::state::Reason;

    use super::*;

    const SIZE: Size = Size {
        columns: 40,
        rows: 24,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A run of these tasks, and how long each takes as a rule.
    fn run(tasks: &[(&str, Option<u64>)]) -> Status {
        let mut status = Status::new(Style { color: false }, true);
        let event = RunEvent::RunStarted {
            run: 1,
            tasks: tasks.iter().map(|(name, _)| TaskName::new(name)).collect(),
            expected: tasks.iter().map(|(_, took)| took.map(ms)).collect(),
        };
        status.note(ms(0), &event);
        status
    }

    fn start(status: &mut Status, at: u64, task: &str) {
        let event = RunEvent::TaskStarted {
            run: 1,
            task: TaskName::new(task),
            attempt: 1,
            reason: Reason::NeverSucceeded,
            command: "x".to_owned(),
            interactive: false,
        };
        status.note(ms(at), &event);
    }

    fn finish(status: &mut Status, task: &str, outcome: Outcome) {
        let finished = TaskFinished::without_process(1, &TaskName::new(task), outcome);
        status.note(ms(0), &RunEvent::TaskFinished(finished));
    }

    /// The lines, without the spinner.
    #[track_caller]
    fn check(status: &mut Status, at: u64, expected: &[&str]) {
        let lines = status.lines(ms(at), SIZE);
        let lines: Vec<&str> = lines
            .iter()
            .map(|line| line.trim_start_matches(|c| SPINNER.contains(&c)))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn one_task_is_one_line_and_several_have_a_sum() {
        let mut one = run(&[("build", None)]);
        check(&mut one, 0, &[]);
        start(&mut one, 1_000, "build");
        check(&mut one, 3_900, &[" build 2 s"]);
        let mut two = run(&[("build", None), ("test-all", None)]);
        start(&mut two, 0, "build");
        start(&mut two, 1_000, "test-all");
        let rows = [" 0 of 2", "  build     62 s", "  test-all  61 s"];
        let rows = rows.map(|row| {
            row.replace("62 s", "1 min 2 s")
                .replace("61 s", "1 min 1 s")
        });
        check(&mut two, 62_000, &rows.each_ref().map(String::as_str));
        finish(&mut two, "build", Outcome::Failed);
        check(&mut two, 1_000, &[" 1 of 2, 1 failed", "  test-all  0 s"]);
        two.stops();
        let stopping = " 1 of 2, 1 failed, stopping (once mor…";
        check(&mut two, 1_000, &[stopping, "  test-all  0 s"]);
    }

    #[test]
    fn an_estimate_is_given_only_where_there_is_one() {
        let mut known = run(&[("a", Some(4_000)), ("b", Some(6_000)), ("group", Some(0))]);
        start(&mut known, 0, "a");
        let row = "  a  1 s of about 4 s";
        check(&mut known, 1_000, &[" 0 of 3, about 9 s left", row]);
        start(&mut known, 1_000, "b");
        let rows = [row, "  b  0 s of about 6 s"];
        // Not sooner than the longer one.
        check(
            &mut known,
            1_000,
            &[" 0 of 3, about 6 s left", rows[0], rows[1]],
        );
        // Longer than ever: nobody knows.
        let rows = ["  a  5 s of about 4 s", "  b  4 s of about 6 s"];
        check(&mut known, 5_000, &[" 0 of 3", rows[0], rows[1]]);
        let mut unknown = run(&[("a", Some(4_000)), ("b", None)]);
        start(&mut unknown, 0, "a");
        check(&mut unknown, 1_000, &[" 0 of 2", row]);
    }

    #[test]
    fn no_line_is_wider_and_no_block_higher_than_the_terminal() {
        let names: Vec<String> = (0..1_000).map(|n| format!("{n}").repeat(30)).collect();
        let tasks: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
        let mut status = run(&tasks);
        for name in &names {
            start(&mut status, 0, name);
        }
        for (columns, rows) in [(200, 50), (80, 24), (40, 10), (10, 4), (1, 1), (0, 0)] {
            let lines = status.lines(ms(0), Size { columns, rows });
            assert!(lines.len() <= ROWS_MAX + 2, "{lines:?}");
            assert!(rows < 4 || lines.len() < rows, "{lines:?}");
            let fits = |line: &String| line.chars().count() <= columns.saturating_sub(1);
            assert!(lines.iter().all(fits), "{columns}: {lines:?}");
        }
    }

    #[test]
    fn while_watching_a_line_says_so_until_something_runs() {
        let mut status = run(&[("a", None)]);
        start(&mut status, 0, "a");
        finish(&mut status, "a", Outcome::Done);
        check(&mut status, 0, &[]);
        status.note(ms(0), &RunEvent::Idle);
        check(&mut status, 0, &["watching for changes (h: help, q: quit)"]);
        start(&mut status, 0, "a");
        check(&mut status, 0, &[" a 0 s"]);
    }
}
