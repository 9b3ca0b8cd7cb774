//! Markers for the log viewer of GitHub Actions: groups, and annotations of what failed.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Write};

use super::pen::plain_text;

/// GitHub shows no more of one step.
const ANNOTATIONS_MAX: usize = 10;

/// Longer lines are no messages of a compiler.
const LINE_BYTES_MAX: u64 = 4096;

/// Writes the markers of one run of the program.
pub(crate) struct Github {
    /// The word that ends a stretch in which no marker is obeyed. Not to be guessed by what runs.
    pause: String,
    annotations: usize,
}

impl Github {
    pub(crate) fn new() -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self {
            pause: format!("watchrun-{random:016x}"),
            annotations: 0,
        }
    }

    /// Writes `output` as a group that can be folded, whatever is in it.
    pub(crate) fn group(
        &self,
        out: &mut dyn Write,
        title: &str,
        output: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        // What a task prints must not be taken for a marker of ours.
        writeln!(out, "::group::{title}\n::stop-commands::{}", self.pause)?;
        output(out)?;
        writeln!(out, "::{}::\n::endgroup::", self.pause)
    }

    /// Annotates each error that the output of a failed task names with its place; without one, the
    /// task. `level` is what GitHub calls it: `error` or `warning`.
    pub(crate) fn annotate(
        &mut self,
        out: &mut dyn Write,
        level: &str,
        title: &str,
        failure: &str,
        output: &mut dyn BufRead,
    ) -> io::Result<()> {
        let mut found = 0;
        let mut headline = String::new();
        while let Some(line) = next_line(output)? {
            let line = plain_text(&line);
            let place = match arrow(&line) {
                Some(place) if !headline.is_empty() => Some((place, std::mem::take(&mut headline))),
                _ => located(&line),
            };
            if line.starts_with("error") {
                headline.clone_from(&line);
            }
            if let Some((place, message)) = place
                && self.annotations < ANNOTATIONS_MAX
            {
                found += 1;
                self.annotations += 1;
                let Place { file, line, column } = place;
                let column = column.map(|n| format!(",col={n}")).unwrap_or_default();
                let (file, title) = (property(&file), property(title));
                let message = data(&message);
                writeln!(
                    out,
                    "::{level} file={file},line={line}{column},title={title}::{message}"
                )?;
            }
        }
        if found == 0 && self.annotations < ANNOTATIONS_MAX {
            self.annotations += 1;
            writeln!(
                out,
                "::{level} title={}::{}",
                property(title),
                data(failure)
            )?;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    file: String,
    line: u32,
    column: Option<u32>,
}

/// A line without its end; the end of one that is too long is left out.
fn next_line(from: &mut dyn BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    io::Read::take(&mut *from, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        from.skip_until(b'\n')?;
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// `src/a.c:3:5: error: message` and `src/a.ts(3,5): error TS1: message`.
fn located(line: &str) -> Option<(Place, String)> {
    let (head, message) = ["error: ", "error ", "fatal error: "]
        .iter()
        .find_map(|word| line.split_once(&format!(": {word}")))?;
    let place = place(head)?;
    Some((place, message.to_owned()))
}

/// `  --> src/a.rs:3:5`, as rustc writes below its message.
fn arrow(line: &str) -> Option<Place> {
    place(line.trim_start().strip_prefix("--> ")?)
}

/// `a.c:3:5`, `a.c:3`, `a.ts(3,5)`.
fn place(text: &str) -> Option<Place> {
    let (file, line, column) = if let Some(text) = text.strip_suffix(')') {
        let (file, numbers) = text.rsplit_once('(')?;
        let (line, column) = numbers.split_once(',').unwrap_or((numbers, ""));
        (file, line, column)
    } else {
        let (head, last) = text.rsplit_once(':')?;
        match head.rsplit_once(':') {
            Some((file, line)) if line.parse::<u32>().is_ok() => (file, line, last),
            Some(_) | None => (head, last, ""),
        }
    };
    let line = line.trim().parse().ok()?;
    let column = column.trim().parse().ok();
    let is_path = !file.is_empty() && !file.contains(char::is_whitespace);
    is_path.then(|| Place {
        file: file.to_owned(),
        line,
        column,
    })
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The annotations of a task `t` with this output.
    #[track_caller]
    fn check(output: &str, expected: &[&str]) {
        let mut out = Vec::new();
        let mut github = Github::new();
        let mut output = output.as_bytes();
        github
            .annotate(&mut out, "error", "t", "t: failed", &mut output)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn errors_are_annotated_where_they_are() {
        check("", &["::error title=t::t: failed"]);
        check("no error here\n", &["::error title=t::t: failed"]);
        check(
            "src/a.c:3:5: error: expected ';' 100%\n\x1b[1msrc/b.c:9:\x1b[0m error: no\n",
            &[
                "::error file=src/a.c,line=3,col=5,title=t::expected ';' 100%25",
                "::error file=src/b.c,line=9,title=t::no",
            ],
        );
        check(
            "src/a.ts(3,15): error TS2304: Cannot find name 'x'.\n",
            &["::error file=src/a.ts,line=3,col=15,title=t::TS2304: Cannot find name 'x'."],
        );
        check(
            "error[E0308]: mismatched types\n  --> src/main.rs:2:18\n   |\n",
            &["::error file=src/main.rs,line=2,col=18,title=t::error[E0308]: mismatched types"],
        );
        check(
            "warning: unused\n --> a.rs:1:1\n",
            &["::error title=t::t: failed"],
        );
    }

    #[test]
    fn there_are_no_more_than_are_shown() {
        let mut out = Vec::new();
        let output = "a.c:1:1: error: x\n".repeat(1000);
        let mut github = Github::new();
        github
            .annotate(&mut out, "error", "t", "failed", &mut output.as_bytes())
            .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().lines().count(),
            ANNOTATIONS_MAX
        );
    }

    #[test]
    fn a_group_is_closed_whatever_a_task_prints() {
        let mut out = Vec::new();
        let github = Github::new();
        let print = &mut |out: &mut dyn Write| out.write_all(b"::endgroup::\n::error::no\n");
        github.group(&mut out, "t", print).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "::group::t");
        let word = lines[1].strip_prefix("::stop-commands::").unwrap();
        assert_eq!(lines[4], format!("::{word}::"));
        assert_eq!(lines[5], "::endgroup::");
        assert_ne!(Github::new().pause, github.pause);
    }
}
