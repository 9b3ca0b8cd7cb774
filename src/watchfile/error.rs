//! What is wrong with a watchfile: [`Error`], and how it is shown: [`Errors::render`].
//!
//! An error is a value with a place; the text of the file is needed only to show it. Knows the
//! look of a report and nothing of how the file is checked. See design §2.

use std::path::PathBuf;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::disk::DiskError;
use crate::suggest::nearest;
use crate::task_id::TaskName;

use super::kind::ErrorKind;
use super::sources::{Source, Sources};
use super::task::Span;

/// Why there is no watchfile to check at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file.
    #[error("there is no watchfile `{}`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is there and cannot be read.
    #[error("the watchfile cannot be read")]
    Unreadable {
        /// What was tried, on which path, and what the system said.
        #[source]
        source: DiskError,
    },
    /// It is not text.
    #[error("the watchfile `{}` is not UTF-8: byte {offset} (line {line})", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is no UTF-8, counted from 0.
        offset: usize,
        /// The line it is on, counted from 1.
        line: usize,
    },
}

impl LoadError {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "`watchrun init` writes one",
            Self::Unreadable { .. } => "it must be a file that you may read",
            Self::NotUtf8 { .. } => "save it as UTF-8",
        }
    }
}

/// One thing that is wrong with a watchfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it is.
    pub kind: ErrorKind,
    /// Where it is.
    pub span: Span,
    /// Other places that have to do with it.
    pub labels: Vec<Label>,
    /// How to mend it; `None`: as its kind usually is.
    pub hint: Option<String>,
}

/// A further place that an error points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub text: &'static str,
}

impl Error {
    /// An error without further places or a hint.
    #[must_use]
    pub fn new(kind: ErrorKind, span: Span) -> Self {
        Self {
            kind,
            span,
            labels: Vec::new(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, pointing at one more place.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: &'static str) -> Self {
        self.labels.push(Label { span, text });
        self
    }

    /// `name`, written at `span` in `task` (`None`: in `default`), is no task or service.
    ///
    /// `candidates` are the names there are; the nearest becomes the hint.
    #[must_use]
    pub fn unknown_name<'a>(
        span: Span,
        task: Option<&TaskName>,
        name: &TaskName,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let near = nearest(name.as_str(), candidates).map(did_you_mean);
        let kind = ErrorKind::UnknownName {
            task: task.cloned(),
            name: name.clone(),
        };
        Self {
            hint: near.or_else(|| Some("`watchrun list` shows the tasks there are".to_owned())),
            ..Self::new(kind, span)
        }
    }

    /// The tasks in `path` wait for each other: each depends on the next, the first is repeated
    /// at the end. `span` is one of the references that close the circle.
    #[must_use]
    pub fn cycle(span: Span, path: &[TaskName]) -> Self {
        let hint = match path {
            [_, _] => "remove it from its own `deps` and `after`",
            _ => "remove one of these from `deps` or `after`",
        };
        let path = path.to_vec();
        Self::new(ErrorKind::Cycle { path }, span).with_hint(hint)
    }

    /// The tasks `first` and `second` have one `output`, written at these two places.
    #[must_use]
    pub fn duplicate_output(
        first: (&TaskName, Span),
        second: (&TaskName, Span),
        output: &str,
    ) -> Self {
        let kind = ErrorKind::DuplicateOutput {
            first: first.0.clone(),
            second: second.0.clone(),
            output: output.to_owned(),
        };
        Self::new(kind, second.1)
            .with_label(first.1, "first here")
            .with_hint("one task must own each file: change one of them, or merge the tasks")
    }

    /// Whether the file is not TOML here, so that what follows may have been misread.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        matches!(self.kind, ErrorKind::Syntax { .. })
    }
}

/// The hint for a slip of the fingers.
pub(super) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// Everything that is wrong, sorted by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl From<Vec<Error>> for Errors {
    fn from(mut errors: Vec<Error>) -> Self {
        errors.sort_by_cached_key(|error| (error.span, error.kind.to_string()));
        errors.dedup();
        Self(errors)
    }
}

impl Errors {
    /// The errors, by file and place.
    #[must_use]
    pub fn as_slice(&self) -> &[Error] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The report for a person: each error with its place, the line, a caret and the hint, and
    /// an empty line between two. Ends with a newline; empty when nothing is wrong.
    #[must_use]
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let reports: Vec<String> = self
            .0
            .iter()
            .map(|error| render_one(error, sources, color))
            .collect();
        reports.join("\n")
    }
}

fn render_one(error: &Error, sources: &Sources, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let message = visible(&error.kind.to_string());
    let mut group = Group::with_title(Level::ERROR.primary_title(message));
    // The places in one file share a snippet; the file of the error itself comes first.
    let mut files = vec![error.span.source];
    for label in &error.labels {
        if !files.contains(&label.span.source) {
            files.push(label.span.source);
        }
    }
    for file in files {
        if let Some(source) = sources.get(file) {
            group = group.element(snippet(error, file, source));
        }
    }
    let report = renderer.render(&[group]);
    let (on, off) = if color {
        ("\u{1b}[1m\u{1b}[96m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let hint = error.hint.as_deref().unwrap_or(error.kind.usual_hint());
    format!("{report}\n{on}hint{off}: {}\n", visible(hint))
}

/// Longer lines are cut around the place.
const WIDTH: usize = 120;

/// The lines of `source` that `error` points at.
fn snippet<'a>(
    error: &Error,
    file: usize,
    source: &'a Source,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = source.text();
    let marks: Vec<(Span, Option<&'static str>)> = std::iter::once((error.span, None))
        .chain(error.labels.iter().map(|l| (l.span, Some(l.text))))
        .filter(|(span, _)| span.source == file)
        .map(|(span, label)| (within_line(text, span), label))
        .collect();
    let first = marks.iter().map(|(span, _)| span.start).min().unwrap_or(0);
    let last = marks.iter().map(|(span, _)| span.end).max().unwrap_or(0);
    let start = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at);
    let line = 1 + text[..start].matches('\n').count();
    // A carriage return would be drawn; a blank takes as much room in the text and is not seen.
    let lines = text[start..end]
        .trim_end_matches('\r')
        .replace("\r\n", " \n");
    let mut snippet = Snippet::source(lines)
        .path(source.path().to_string())
        .line_start(line);
    for (span, label) in marks {
        let kind = match label {
            None => AnnotationKind::Primary,
            Some(_) => AnnotationKind::Context,
        };
        snippet = snippet.annotation(kind.span(span.start - start..span.end - start).label(label));
    }
    snippet
}

/// `span` cut to the text and to its first line, on character boundaries.
fn within_line(text: &str, span: Span) -> Span {
    let start = floor_boundary(text, span.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line_end = if text[start..line_end].ends_with('\r') {
        line_end - 1
    } else {
        line_end
    };
    let end = floor_boundary(text, span.end).clamp(start, line_end);
    Span { start, end, ..span }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// `text` with control characters written out, so that a name cannot draw on the terminal.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize) -> Span {
        Span {
            source: 0,
            start,
            end,
        }
    }

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::default();
        let path = crate::path::RelPath::new(b"watchfile.toml").unwrap();
        sources.add(path, text.into());
        sources
    }

    #[track_caller]
    fn check(errors: Vec<Error>, text: &str, expected: &str) {
        assert_eq!(Errors::from(errors).render(&sources(text), false), expected);
    }

    #[test]
    fn an_error_shows_place_line_caret_and_hint() {
        let text = "[tasks.docs]\ndeps = [\"biuld\"]\n";
        let name = TaskName::new("biuld");
        let docs = TaskName::new("docs");
        check(
            vec![Error::unknown_name(
                span(21, 28),
                Some(&docs),
                &name,
                ["docs", "build"],
            )],
            text,
            "\
error: task `docs` depends on unknown task `biuld`
 --> watchfile.toml:2:9
  |
2 | deps = [\"biuld\"]
  |         ^^^^^^^
hint: did you mean `build`?
",
        );
    }

    #[test]
    fn a_cycle_is_named_as_a_path_and_one_task_as_itself() {
        let names = ["a", "b", "a"].map(TaskName::new);
        assert_eq!(
            Error::cycle(span(0, 0), &names).kind.to_string(),
            "tasks depend on each other in a cycle: a -> b -> a"
        );
        let own = ["a", "a"].map(TaskName::new);
        assert_eq!(
            Error::cycle(span(0, 0), &own).kind.to_string(),
            "task `a` depends on itself"
        );
    }

    #[test]
    fn spans_outside_the_text_are_cut_to_it() {
        let error = Error::new(ErrorKind::NoTasks, span(3, 99));
        let report = Errors::from(vec![error]).render(&sources("é"), false);
        assert!(report.contains("watchfile.toml:1:2"), "{report}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let kind = ErrorKind::UnknownPool {
            name: "\u{1b}[2J\n".to_owned(),
        };
        let report = Errors::from(vec![Error::new(kind, span(0, 1))]).render(&sources("x"), false);
        assert!(
            report.starts_with("error: unknown pool `\\u{1b}[2J\\n`\n"),
            "{report}"
        );
    }

    #[test]
    fn colour_is_only_in_the_coloured_report() {
        let errors = Errors::from(vec![
            Error::new(ErrorKind::NoTasks, span(0, 0)).with_hint("x"),
        ]);
        assert!(errors.render(&sources(""), true).contains('\u{1b}'));
        assert!(!errors.render(&sources(""), false).contains('\u{1b}'));
    }
}
