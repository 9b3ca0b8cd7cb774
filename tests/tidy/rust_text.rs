//! Rust text, read as far as the rules need it: what is code and what is a literal, which names
//! stand where, how long a function is.

use std::collections::BTreeSet;

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Identifiers and keywords with their places.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = code.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (start < at).then(|| (start, &code[start..at]))
    })
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The top modules that a file names by `crate::…` or by climbing up with `super::…`.
pub(crate) fn crate_names(path: &str, code: &str) -> BTreeSet<String> {
    let inside = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    let depth = inside.split('/').count();
    let mut names = BTreeSet::new();
    for (at, word) in words(code) {
        let climbs = word == "super" && !code[..at].ends_with("::");
        if word != "crate" && !climbs {
            continue;
        }
        let mut rest = &code[at + word.len()..];
        let mut levels = 1;
        while let Some(further) = rest.strip_prefix("::super") {
            rest = further;
            levels += 1;
        }
        let Some(rest) = rest
            .strip_prefix("::")
            .filter(|_| word == "crate" || levels >= depth)
        else {
            continue;
        };
        names.extend(first_names(rest).into_iter().map(str::to_owned));
    }
    names
}

/// The first name of a path, or of each path in a `{…}` group.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest)
            .next()
            .filter(|(at, _)| *at == 0)
            .map(|(_, name)| name)
            .into_iter()
            .collect();
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (1, 0);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && byte == b',') {
            names.extend(words(&group[start..at]).next().map(|(_, name)| name));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The names that stand first in a path: modules in scope, and crates.
pub(crate) fn root_names(code: &str) -> BTreeSet<&str> {
    words(code)
        .filter(|(at, word)| {
            let before = code[..*at].strip_suffix("::").unwrap_or(&code[..*at]);
            let stands_first = before.len() == *at
                || !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>');
            let rest = &code[at + word.len()..];
            let imported =
                before.ends_with("use ") && (rest.starts_with(';') || rest.starts_with(" as "));
            stands_first && (rest.starts_with("::") || imported)
        })
        .map(|(_, word)| word)
        .collect()
}

/// One function with a body.
pub(crate) struct Function<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Where `fn` stands.
    pub(crate) start: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// The functions with a body; the length is from `fn` to the closing brace.
pub(crate) fn functions(code: &str) -> Vec<Function<'_>> {
    let mut all = Vec::new();
    for (at, word) in words(code) {
        let rest = &code[at..];
        if word != "fn" || !rest.starts_with("fn ") {
            continue;
        }
        let Some((_, name)) = words(&rest[3..]).next() else {
            continue;
        };
        let mut nesting = 0_i32;
        let mut body = None;
        for (offset, byte) in rest.bytes().enumerate() {
            match byte {
                b'(' | b'[' => nesting += 1,
                b')' | b']' => nesting -= 1,
                b';' if nesting == 0 => break,
                b'{' if nesting == 0 => {
                    body = Some(offset);
                    break;
                }
                _ => {}
            }
        }
        if let Some(end) = body.and_then(|body| closing_brace(&rest[body..]).map(|end| body + end))
        {
            all.push(Function {
                name,
                start: at,
                lines: rest[..end].matches('\n').count() + 1,
            });
        }
    }
    all
}

/// Where the brace that `code` starts with is closed.
fn closing_brace(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    code.bytes().position(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth == 0
    })
}

/// `code` with every item under `#[cfg(test)]` blanked out.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        let rest = &code[at..];
        let Some(open) = rest.find(['{', ';']) else {
            continue;
        };
        let end = if rest.as_bytes()[open] == b'{' {
            closing_brace(&rest[open..]).map_or(rest.len(), |close| open + close + 1)
        } else {
            mark.len()
        };
        out.replace_range(at..at + end, &blank(&code[at..at + end]));
    }
    out
}

fn blank(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect()
}

/// `text` with comments, strings and character literals replaced by blanks of the same length.
pub(crate) fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = literal_length(text, at);
        if length == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(blank(&text[at..at + length]).bytes());
            at += length;
        }
    }
    String::from_utf8(out).expect("characters are kept or blanked whole")
}

/// The length of the comment or literal at `at`; 0 when there is none.
fn literal_length(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let in_word = at > 0 && is_word(text.as_bytes()[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => quoted_length(rest, b'"'),
        [b'\'', ..] => char_length(&text[at..]),
        [b'r', b'"' | b'#', ..] if !in_word => raw_length(rest),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => match raw_length(&rest[1..]) {
            0 => 0,
            length => length + 1,
        },
        _ => 0,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A character literal, not a lifetime: an escape, or one character and a closing quote.
fn char_length(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted_length(rest.as_bytes(), b'\''),
        (Some(one), Some('\'')) => one.len_utf8() + 2,
        _ => 0,
    }
}

/// `r"…"` and `r#"…"#`; 0 for a raw identifier.
fn raw_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let body = 2 + hashes;
    rest[body..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |at| body + at + end.len())
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = r##"let a = "}{ // \" crate::plan"; // crate::plan
let b = r#"" crate::plan "#; /* a /* b */ crate::plan */ let c = '{'; let d: &'static str = b"\"{";
let e = '\''; fn f<'a>(x: &'a str) {}"##;
    let code = blank_literals(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("plan") && !code.contains("}{"), "{code}");
    assert!(code.contains("fn f<'a>(x: &'a str) {}"), "{code}");
    assert_eq!(
        functions(&code)
            .iter()
            .map(|function| function.name)
            .collect::<Vec<_>>(),
        ["f"]
    );
    let array = "fn g(x: [u8; 3]) -> [u8; 2] { x }\ntrait T { fn h(&self); }";
    assert_eq!(functions(array).len(), 1);
}
