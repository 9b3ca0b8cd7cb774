//! Environment variables: tables of them, env files, and patterns over inherited ones.

use std::collections::BTreeMap;

use super::error::Error;
use super::kind::ErrorKind;
use super::reader::Text;
use super::task::{EnvPattern, Span};

/// Variables by name.
pub(super) type Env = BTreeMap<String, String>;

/// Adds a table of variables to `env`, over what is there.
pub(super) fn lower_env(pairs: &[(Text<'_>, Text<'_>)], env: &mut Env, errors: &mut Vec<Error>) {
    for (name, value) in pairs {
        if is_name(name.value) {
            env.insert(name.value.to_owned(), value.value.to_owned());
        } else {
            errors.push(bad_name(name));
        }
    }
}

/// The patterns of `env_inputs`, in order.
pub(super) fn lower_env_inputs(texts: &[Text<'_>], errors: &mut Vec<Error>) -> Vec<EnvPattern> {
    let mut patterns = Vec::with_capacity(texts.len());
    for text in texts {
        let (excludes, name) = match text.value.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, text.value),
        };
        if is_name(name) {
            patterns.push(EnvPattern {
                name: name.to_owned(),
                excludes,
            });
        } else {
            errors.push(bad_name(text));
        }
    }
    patterns
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
}

fn bad_name(text: &Text<'_>) -> Error {
    let kind = ErrorKind::Malformed {
        value: text.value.to_owned(),
        expected: "a variable's name",
    };
    Error::new(kind, text.span).with_hint("a name is not empty and holds no `=` and no blanks")
}

/// Adds the assignments of an env file to `env`, over what is there.
///
/// A line is `NAME=value`, optionally after `export`; `#` begins a comment at the start of a
/// line or after a blank. A value in single quotes is taken as it is, one in double quotes knows
/// `\n`, `\r`, `\t`, `\\`, `\"` and `\$`; both may go over several lines. Nothing is expanded.
pub(super) fn parse_env_file(source: usize, text: &str, env: &mut Env, errors: &mut Vec<Error>) {
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    while at < text.len() {
        let line_end = text[at..].find('\n').map_or(text.len(), |n| at + n + 1);
        let line = text[at..line_end].trim_end();
        let body = line.trim_start();
        if body.is_empty() || body.starts_with('#') {
            at = line_end;
            continue;
        }
        let start = at + (line.len() - body.len());
        match parse_assignment(text, start, at + line.len()) {
            Ok((name, value, end)) => {
                env.insert(name, value);
                at = text[end..].find('\n').map_or(text.len(), |n| end + n + 1);
            }
            Err((problem, start, end)) => {
                let span = Span { source, start, end };
                let hint = "write `NAME=value`, with quotes around a value that has blanks";
                errors.push(Error::new(ErrorKind::EnvFile { problem }, span).with_hint(hint));
                at = line_end;
            }
        }
    }
}

/// A name, its value and where the value ends.
type Assignment = (String, String, usize);

/// What is wrong, and from where to where.
type Problem = (&'static str, usize, usize);

fn parse_assignment(text: &str, start: usize, line_end: usize) -> Result<Assignment, Problem> {
    let line = &text[start..line_end];
    let Some(equals) = line.find('=') else {
        return Err(("this line has no `=`", start, line_end));
    };
    let left = &line[..equals];
    let name = match left.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim(),
        _ => left.trim(),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(is_word)
    {
        return Err((
            "this is not a variable's name",
            start,
            start + equals.max(1),
        ));
    }
    let after = &text[start + equals + 1..line_end];
    let value_at = start + equals + 1 + (after.len() - after.trim_start().len());
    let (value, end) = match text[value_at..].chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (value, end) = parse_quoted(text, value_at, quote).ok_or((
                "this quote is not closed",
                value_at,
                line_end,
            ))?;
            let tail_end = text[end..].find('\n').map_or(text.len(), |n| end + n);
            let tail = text[end..tail_end].trim();
            if !(tail.is_empty() || tail.starts_with('#')) {
                return Err(("there is more after the closing quote", end, tail_end));
            }
            (value, end)
        }
        _ => (
            unquoted(&text[value_at.min(line_end)..line_end]).to_owned(),
            line_end,
        ),
    };
    if value.contains('\0') {
        return Err(("the value holds a NUL character", value_at, line_end));
    }
    Ok((name.to_owned(), value, end))
}

/// The value whose opening quote is at `start`, and where it ends.
fn parse_quoted(text: &str, start: usize, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, start + 1 + at + 1));
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            escaped @ ('\\' | '"' | '$') => value.push(escaped),
            other => value.extend(['\\', other]),
        }
    }
    None
}

/// The text before a comment, without the blanks around it.
fn unquoted(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|&(at, c)| c == '#' && (at == 0 || text[..at].ends_with([' ', '\t'])));
    text[..comment.map_or(text.len(), |(at, _)| at)].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let (mut env, mut errors) = (Env::new(), Vec::new());
        parse_env_file(0, text, &mut env, &mut errors);
        assert_eq!(errors, []);
        let found: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[track_caller]
    fn check_problem(text: &str, problem: &str, at: &str) {
        let (mut env, mut errors) = (Env::new(), Vec::new());
        parse_env_file(0, text, &mut env, &mut errors);
        let [error] = &errors[..] else {
            panic!("{text:?}: {errors:?}")
        };
        assert_eq!(error.kind.to_string(), problem);
        assert_eq!(&text[error.span.start..error.span.end], at);
    }

    #[test]
    fn lines_assign_and_comments_do_not() {
        check(
            "A=1\n# B=2\n\n  C = 3 # no\r\nD=x#y\n",
            &[("A", "1"), ("C", "3"), ("D", "x#y")],
        );
        check("export A=1\nexport=2", &[("A", "1"), ("export", "2")]);
        check("A=\nB=''", &[("A", ""), ("B", "")]);
        check("A=1\nA=2", &[("A", "2")]);
        check("\u{feff}A=1", &[("A", "1")]);
        check("A=#x\nB= # y", &[("A", ""), ("B", "")]);
    }

    #[test]
    fn quotes_keep_blanks_escapes_and_lines() {
        check("A='a $b \\n'", &[("A", "a $b \\n")]);
        check(
            r#"A="a\tb \"c\" \$d \x" # e"#,
            &[("A", "a\tb \"c\" $d \\x")],
        );
        check("A=\"one\ntwo\"\nB=3", &[("A", "one\ntwo"), ("B", "3")]);
    }

    #[test]
    fn what_is_no_assignment_is_pointed_at() {
        check_problem("A=1\nnonsense\nB=2", "this line has no `=`", "nonsense");
        check_problem("1A=1", "this is not a variable's name", "1A");
        check_problem("=1", "this is not a variable's name", "=");
        check_problem("A='x", "this quote is not closed", "'x");
        check_problem("A='x' y", "there is more after the closing quote", " y");
    }
}
