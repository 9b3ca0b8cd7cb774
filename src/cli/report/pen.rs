//! Escape codes in the lines of one task: [`Pen`].
//!
//! A colour that a line leaves switched on must not reach what comes next on the terminal, which may
//! be the line of another task; and no task may move the cursor into the lines of others.

/// The colours that one task has switched on so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pen {
    /// The codes that switch them on.
    open: Vec<u8>,
}

const ESC: u8 = 0x1b;
const RESET: &[u8] = b"\x1b[0m";

/// More than any text needs; what is longer is dropped.
const OPEN_BYTES_MAX: usize = 256;

impl Pen {
    /// Appends `line` to `to`: it begins with the colours of the line before, ends with none, and
    /// has no codes that do anything but colour and link text.
    pub(crate) fn write(&mut self, line: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(&self.open);
        let mut rest = line;
        while let Some(at) = rest.iter().position(|&byte| byte == ESC) {
            to.extend_from_slice(&rest[..at]);
            let code = &rest[at..at + code_len(&rest[at..])];
            if is_color(code) {
                self.note(code);
                to.extend_from_slice(code);
            } else if code.starts_with(b"\x1b]8;") {
                to.extend_from_slice(code);
            }
            rest = &rest[at + code.len()..];
        }
        to.extend_from_slice(rest);
        if !self.open.is_empty() {
            to.extend_from_slice(RESET);
        }
    }

    fn note(&mut self, code: &[u8]) {
        let parameters = &code[2..code.len() - 1];
        if parameters.is_empty() || parameters == b"0" || parameters == b"00" {
            self.open.clear();
            return;
        }
        if parameters.starts_with(b"0;") || self.open.len() + code.len() > OPEN_BYTES_MAX {
            self.open.clear();
        }
        self.open.extend_from_slice(code);
    }
}

/// `line` without escape codes and other control characters, for a place that shows plain text.
pub(crate) fn plain_text(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        text += &rest[..at];
        let len = code_len(&rest.as_bytes()[at..]);
        // A code that is not valid may end within a character.
        let end = (at + len..rest.len()).find(|&end| rest.is_char_boundary(end));
        rest = end.map_or("", |end| &rest[end..]);
    }
    text += rest;
    text.retain(|c| c == '\t' || !c.is_control());
    text
}

fn is_color(code: &[u8]) -> bool {
    code.starts_with(b"\x1b[")
        && code.ends_with(b"m")
        && code[2..code.len() - 1]
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':'))
}

/// How long the escape code is that `bytes` begins with. At least 1.
fn code_len(bytes: &[u8]) -> usize {
    let end_at = |from: usize, is_end: fn(u8) -> bool| {
        let end = bytes.iter().skip(from).position(|&byte| is_end(byte));
        end.map_or(bytes.len(), |end| from + end + 1)
    };
    match bytes.get(1) {
        None => 1,
        Some(b'[') => end_at(2, |byte| !(0x20..0x40).contains(&byte)),
        // Ends with BEL, or with ESC and a backslash.
        Some(b']' | b'P' | b'_' | b'^') => {
            let end = end_at(2, |byte| byte == 7 || byte == ESC);
            let is_long = bytes[end - 1] == ESC && bytes.get(end) == Some(&b'\\');
            end + usize::from(is_long)
        }
        Some(0x20..0x30) => end_at(2, |byte| !(0x20..0x30).contains(&byte)),
        Some(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as it is written.
    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let mut pen = Pen::default();
        let written: Vec<String> = lines
            .iter()
            .map(|line| {
                let mut to = Vec::new();
                pen.write(line.as_bytes(), &mut to);
                String::from_utf8(to).unwrap()
            })
            .collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn a_colour_ends_with_its_line_and_goes_on_in_the_next() {
        check(&["a", "ü"], &["a", "ü"]);
        check(
            &["\x1b[31mred\x1b[0m", "plain"],
            &["\x1b[31mred\x1b[0m", "plain"],
        );
        check(
            &["\x1b[31mred", "still\x1b[m", "plain"],
            &["\x1b[31mred\x1b[0m", "\x1b[31mstill\x1b[m", "plain"],
        );
        check(
            &["\x1b[1m\x1b[31ma", "b\x1b[0;32mc", "d"],
            &[
                "\x1b[1m\x1b[31ma\x1b[0m",
                "\x1b[1m\x1b[31mb\x1b[0;32mc\x1b[0m",
                "\x1b[0;32md\x1b[0m",
            ],
        );
    }

    #[test]
    fn other_codes_do_nothing() {
        check(&["a\x1b[2Jb\x1b[1Ac\x1b[Kd\x1bce\x1b[?25lf"], &["abcdef"]);
        check(&["a\x1b]0;title\x07b\x1b]0;t\x1b\\c"], &["abc"]);
        check(
            &["\x1b]8;;http://x\x07y\x1b]8;;\x07"],
            &["\x1b]8;;http://x\x07y\x1b]8;;\x07"],
        );
        check(&["a\x1b", "b\x1b[", "c\x1b[3"], &["a", "b", "c"]);
    }

    #[test]
    fn many_codes_take_little_room() {
        let mut pen = Pen::default();
        for _ in 0..10_000 {
            pen.write(b"\x1b[38;5;1m", &mut Vec::new());
        }
        assert!(pen.open.len() <= OPEN_BYTES_MAX);
    }

    #[test]
    fn plain_text_has_no_codes() {
        assert_eq!(plain_text("a\x1b[31mé\x1b[0m\tb\u{7}"), "aé\tb");
        assert_eq!(plain_text("x\x1bé"), "x");
    }
}
