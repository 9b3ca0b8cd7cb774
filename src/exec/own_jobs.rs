//! Commands without a number of jobs of their own: [`without_own_jobs`]. Pure, and knows nothing of
//! tokens.
//!
//! A GNU make or ninja that is given a `-j` leaves the jobserver and runs that many jobs beside all
//! others. It is taken from a command that is executed directly, and from the simple commands of a
//! shell line as far as they can be told from the text.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Shells whose last argument is a line after an option that ends with `c`.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ksh", "zsh"];

/// Words after which a shell still expects the name of a program.
const BEFORE_PROGRAM: &[&str] = &[
    "!", "do", "elif", "else", "env", "exec", "if", "nice", "then", "time", "until", "while", "{",
];

/// `words` without the `-j` of those of `programs` (file names) that they start.
#[must_use]
pub(super) fn without_own_jobs(words: &[OsString], programs: &[&str]) -> Vec<OsString> {
    if let [shell, options @ .., line] = words
        && is_named(shell, SHELLS)
        && let Some(option) = options.last().and_then(|option| option.to_str())
        && option.starts_with('-')
        && option.ends_with('c')
        && let Some(line) = line.to_str()
    {
        let mut kept = words[..words.len() - 1].to_vec();
        kept.push(line_without(line, programs).into());
        return kept;
    }
    if !words
        .first()
        .is_some_and(|program| is_named(program, programs))
    {
        return words.to_vec();
    }
    let mut kept = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        match own_jobs(word.to_str().unwrap_or_default()) {
            OwnJobs::No => kept.push(word.clone()),
            OwnJobs::Here => {}
            OwnJobs::Next => {
                let is_value = |next: &&OsString| next.to_str().is_some_and(is_number);
                rest.next_if(is_value);
            }
        }
    }
    kept
}

/// Whether a word is a number of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnJobs {
    No,
    /// All of it.
    Here,
    /// The next word, if that is a number.
    Next,
}

fn own_jobs(word: &str) -> OwnJobs {
    match word.strip_prefix("-j").or(word.strip_prefix("--jobs=")) {
        _ if word == "-j" || word == "--jobs" => OwnJobs::Next,
        Some(number) if is_number(number) => OwnJobs::Here,
        Some(_) | None => OwnJobs::No,
    }
}

/// Digits, or what a shell puts a number in the place of.
fn is_number(text: &str) -> bool {
    let text = text.trim_matches('"');
    text.starts_with('$') || text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_named(program: &OsStr, names: &[&str]) -> bool {
    let name = Path::new(program).file_name();
    name.is_some_and(|name| names.iter().any(|known| name == *known))
}

/// Where a shell is in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The next word may be a program.
    Start,
    /// Among the arguments of one of the programs.
    Arguments,
    /// Among the arguments of one of them, after a `-j` without a number.
    Number,
    /// Among those of another one.
    Elsewhere,
}

fn line_without(line: &str, programs: &[&str]) -> String {
    // What follows these may be no command at all.
    if line.contains("<<") || line.contains('`') {
        return line.to_owned();
    }
    let mut kept = String::new();
    let mut place = Place::Start;
    let mut rest = line;
    while !rest.is_empty() {
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let (gap, after) = rest.split_at(blanks);
        let len = word_len(after);
        let (word, after) = after.split_at(len);
        if word.is_empty() {
            let operator = operator_len(after);
            if !after[..operator].contains(['<', '>']) {
                place = Place::Start;
            }
            kept += gap;
            kept += &after[..operator];
            rest = &after[operator..];
            continue;
        }
        let (is_kept, next) = step(place, word, programs);
        if is_kept {
            kept += gap;
            kept += word;
        }
        (place, rest) = (next, after);
    }
    kept
}

/// Whether a word at `place` is kept, and where the next one is.
fn step(place: Place, word: &str, programs: &[&str]) -> (bool, Place) {
    match (place, own_jobs(word)) {
        (Place::Start, _) if is_named(OsStr::new(word), programs) => (true, Place::Arguments),
        (Place::Start, _) if word.contains('=') || BEFORE_PROGRAM.contains(&word) => {
            (true, Place::Start)
        }
        (Place::Start | Place::Elsewhere, _) => (true, Place::Elsewhere),
        (Place::Number, _) if is_number(word) => (false, Place::Arguments),
        (Place::Arguments | Place::Number, OwnJobs::Here) => (false, Place::Arguments),
        (Place::Arguments | Place::Number, OwnJobs::Next) => (false, Place::Number),
        (Place::Arguments | Place::Number, OwnJobs::No) => (true, Place::Arguments),
    }
}

/// How long the word is that `text` starts with: quotes, escapes and substitutions are of it.
fn word_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '(' | '{') if depth > 0 || text[..at].ends_with('$') => depth += 1,
            (None, ')' | '}') if depth > 0 => depth -= 1,
            (None, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')') if depth == 0 => {
                return at;
            }
            (Some(_) | None, _) => {}
        }
    }
    text.len()
}

/// How long the operator or line end is that `text` starts with. A redirection takes its `&` along.
fn operator_len(text: &str) -> usize {
    let is_redirection = text.starts_with(['<', '>']);
    let second = text.as_bytes().get(1);
    let is_long = is_redirection && second.is_some_and(|byte| b"&>|".contains(byte));
    text.len().min(1 + usize::from(is_long))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKES: &[&str] = &["make", "gmake"];

    #[test]
    fn an_own_job_count_is_taken_from_the_programs_alone() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(OsString::from).collect() };
        let check = |line: &str, expected: &str| {
            let found = without_own_jobs(&words(line), MAKES);
            assert_eq!(found, words(expected), "{line}");
        };
        check("make -j8 all", "make all");
        check("/usr/bin/make -j 8 -k", "/usr/bin/make -k");
        check("gmake -j all --jobs=3", "gmake all");
        check("make --jobs 4 -C out", "make -C out");
        check("make -jobs x-j8 --jobs-x", "make -jobs x-j8 --jobs-x");
        check("cargo build -j8", "cargo build -j8");
        check("ninja -j8", "ninja -j8");
    }

    #[test]
    fn a_shell_line_loses_it_where_it_can_be_told() {
        let check = |line: &str, expected: &str| {
            let words = ["/bin/sh", "-ec", line].map(OsString::from);
            let found = without_own_jobs(&words, MAKES);
            assert_eq!(found[2], expected, "{line}");
            assert_eq!(found[..2], words[..2]);
        };
        check("cd a && make -j8", "cd a && make");
        check(
            "make -j8 > log 2>&1; make -j 4 x",
            "make > log 2>&1; make x",
        );
        check("make -j$(nproc) all", "make all");
        check("make -j \"$(nproc)\" -k all|cat", "make -k all|cat");
        check(
            "X=1 exec /usr/bin/make -j all -j2",
            "X=1 exec /usr/bin/make all",
        );
        check("if make -j8\nthen make -j3; fi", "if make\nthen make; fi");
        check("(make -j8)& wait", "(make)& wait");
        check(
            "echo make -j8; cargo build -j8",
            "echo make -j8; cargo build -j8",
        );
        check(
            "echo 'x; make -j8' \"; make -j8\"",
            "echo 'x; make -j8' \"; make -j8\"",
        );
        check("make 'a b' -j8 \\; -jobs", "make 'a b' \\; -jobs");
        check("make -f - -j8 <<E\nall:\nE", "make -f - -j8 <<E\nall:\nE");
        check("x=`make -j8`", "x=`make -j8`");
        check("make >&2 -j8", "make >&2");
        check("", "");
    }
}
