//! What failed in a run, said once more at its end: [`Failures`].
//!
//! A failure scrolls away under what other tasks say. Its repetition is short: the command, how it
//! ended, and the last lines of its output.

use std::collections::VecDeque;

use watchrun::schedule::OutputLine;
use watchrun::task_id::TaskName;

use super::pen::plain_text;
use super::status::cut;

/// So many lines of a task's output are repeated.
const LINES_MAX: usize = 10;

/// And so much of each.
const LINE_CHARS_MAX: usize = 200;

/// Codes among them are not shown, so more is kept.
const CHARS_KEPT: usize = LINE_CHARS_MAX * 8;

/// What is no further up than so many lines is not repeated.
const IN_VIEW: usize = 12;

/// So many tasks are repeated; more are only counted.
const TASKS_MAX: usize = 20;

/// The end of one task's output.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    omitted: u64,
}

impl Tail {
    pub(crate) fn push(&mut self, line: &OutputLine) {
        let mut text = String::new();
        if self.lines.len() == LINES_MAX {
            // Its memory is used again: most of what is printed is never repeated.
            text = self.lines.pop_front().unwrap_or_default();
            text.clear();
            self.omitted += 1;
        }
        let end = match line.text.len() {
            0..=CHARS_KEPT => None,
            _ => line.text.char_indices().nth(CHARS_KEPT),
        };
        let end = end.map_or(line.text.len(), |(end, _)| end);
        text.push_str(&line.text[..end]);
        self.lines.push_back(text);
    }
}

/// The failures of the run so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    all: Vec<Failed>,
    /// How many lines were shown after the first of them.
    n_lines_after: usize,
}

#[derive(Debug)]
struct Failed {
    task: TaskName,
    /// The line that said so.
    line: String,
    command: String,
    tail: Tail,
}

impl Failures {
    /// Adds the failure of `task`, in place of that of an attempt before. `line` is what was said of
    /// it.
    pub(crate) fn push(&mut self, task: TaskName, line: String, command: String, tail: Tail) {
        self.mended(&task);
        if self.all.is_empty() {
            self.n_lines_after = 0;
        } else {
            self.n_lines_after += tail.lines.len();
        }
        self.all.push(Failed {
            task,
            line,
            command,
            tail,
        });
    }

    /// `task` has not failed after all.
    pub(crate) fn mended(&mut self, task: &TaskName) {
        self.all.retain(|failed| failed.task != *task);
    }

    /// Another line was shown.
    pub(crate) fn bury(&mut self) {
        self.n_lines_after += 1;
    }

    /// The repetition, line by line; empty if all of them are still in view. Forgets them.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.all);
        if all.is_empty() || self.n_lines_after <= IN_VIEW {
            return Vec::new();
        }
        let mut lines = vec![String::new()];
        let more = all.len().saturating_sub(TASKS_MAX);
        for failed in all.into_iter().take(TASKS_MAX) {
            lines.push(failed.line);
            if !failed.command.is_empty() {
                lines.push(command_line(&failed.command));
            }
            if failed.tail.omitted > 0 {
                lines.push(format!("  | ... {} lines above", failed.tail.omitted));
            }
            let tail = failed.tail.lines.iter();
            lines
                .extend(tail.map(|line| format!("  | {}", cut(&plain_text(line), LINE_CHARS_MAX))));
        }
        if more > 0 {
            lines.push(format!("and {more} more failed"));
        }
        lines.push(String::new());
        lines
    }
}

/// A command as it is shown: its first line.
pub(crate) fn command_line(command: &str) -> String {
    let mut lines = command.lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { " ..." } else { "" };
    format!("  $ {}{more}", cut(&plain_text(first), LINE_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(names: &[&str], n_lines: usize) -> Failures {
        let mut failures = Failures::default();
        for name in names {
            let mut tail = Tail::default();
            for n in 1..=n_lines {
                tail.push(&OutputLine::new(format!("\u{1b}[31mline {n}").as_bytes()));
            }
            let line = format!("{name}: failed");
            failures.push(TaskName::new(name), line, "make x\nmore".to_owned(), tail);
        }
        failures
    }

    fn bury(failures: &mut Failures, n_lines: usize) {
        (0..n_lines).for_each(|_| failures.bury());
    }

    #[test]
    fn what_is_in_view_is_not_repeated_and_what_is_buried_is() {
        for mut seen in [failures(&["a"], 9), failures(&["a", "b"], 4)] {
            bury(&mut seen, 8);
            assert_eq!(seen.take_lines(), Vec::<String>::new());
        }
        let mut one = failures(&["a"], 1);
        bury(&mut one, 13);
        assert_eq!(
            one.take_lines(),
            ["", "a: failed", "  $ make x ...", "  | line 1", ""]
        );
        assert_eq!(one.take_lines(), Vec::<String>::new(), "they are forgotten");
    }

    #[test]
    fn only_the_end_of_long_output_is_repeated() {
        let mut long = failures(&["a", "b"], 1000);
        bury(&mut long, 13);
        let lines = long.take_lines();
        assert_eq!(lines[3], "  | ... 990 lines above");
        assert_eq!(lines[4], "  | line 991");
        assert_eq!(lines.len(), 2 + 2 * (3 + LINES_MAX));
    }

    #[test]
    fn of_several_attempts_the_last_counts() {
        let mut again = failures(&["a", "b", "a", "a"], 0);
        bury(&mut again, 13);
        let lines = again.take_lines();
        let command = "  $ make x ...";
        assert_eq!(lines, ["", "b: failed", command, "a: failed", command, ""]);
        let mut mended = failures(&["a", "b"], 0);
        bury(&mut mended, 13);
        mended.mended(&TaskName::new("b"));
        assert_eq!(mended.take_lines(), ["", "a: failed", command, ""]);
    }

    #[test]
    fn many_failures_are_counted() {
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut many = failures(&names, 0);
        bury(&mut many, 13);
        let lines = many.take_lines();
        assert_eq!(lines[lines.len() - 2], "and 80 more failed");
    }
}
