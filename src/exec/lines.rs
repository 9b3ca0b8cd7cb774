//! Chunks of output into lines: [`LineSplitter`]. Pure.

/// Joins pieces of output into complete lines, for an output mode that puts the task's name before
/// each line.
///
/// A line ends with `\n` (a `\r` before it belongs to the end). A `\r` alone goes back to the
/// line's start: of what a progress display writes there, only the last state is given, when the
/// line ends. Characters and escape codes are never parted, as whole lines are given. A line
/// longer than the bound is given in parts, which end between characters and escape codes where
/// they can.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    /// A `\r` was seen, and what follows it was not.
    is_returning: bool,
}

impl LineSplitter {
    /// No line is longer than this, in bytes.
    pub const LINE_BYTES_MAX: usize = 1024 * 1024;

    /// One at the start of a line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece of output and gives each line that it completes, without its end.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    line(&self.line);
                    self.line.clear();
                    self.is_returning = false;
                }
                b'\r' => self.is_returning = true,
                _ => {
                    if std::mem::take(&mut self.is_returning) {
                        self.line.clear();
                    }
                    self.line.push(*byte);
                    if self.line.len() >= Self::LINE_BYTES_MAX {
                        let end = break_point(&self.line);
                        line(&self.line[..end]);
                        self.line.drain(..end);
                    }
                }
            }
        }
    }

    /// The line that has no end so far, without a `\r` after it.
    pub fn rest(&self) -> &[u8] {
        &self.line
    }

    /// Takes the last line when it has no end; `None` when the output ended with a line's end.
    pub fn take_rest(&mut self) -> Option<Vec<u8>> {
        self.is_returning = false;
        let rest = std::mem::take(&mut self.line);
        (!rest.is_empty()).then_some(rest)
    }
}

/// Where a line that is too long is best parted: before a character or escape code that is not
/// complete, else at its end. Never 0.
fn break_point(line: &[u8]) -> usize {
    // An escape code is shorter than this, or it is not one.
    const CODE_BYTES_MAX: usize = 32;
    let from = line.len() - CODE_BYTES_MAX.min(line.len() - 1);
    let tail = &line[from..];
    if let Some(start) = tail.iter().rposition(|byte| *byte == 0x1b)
        && !is_complete_code(&tail[start + 1..])
    {
        return from + start;
    }
    match str::from_utf8(tail) {
        // `None`: the end of the tail may become a character; a wrong byte in it never will.
        Err(error) if error.error_len().is_none() => from + error.valid_up_to(),
        Ok(_) | Err(_) => {
            let is_part = |byte: &u8| byte & 0xc0 == 0x80;
            match tail.iter().rposition(|byte| !is_part(byte)) {
                Some(last) if is_open(&tail[last..]) => from + last,
                Some(_) | None => line.len(),
            }
        }
    }
}

/// Whether these bytes are the start of a character that needs more.
fn is_open(bytes: &[u8]) -> bool {
    let len = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return false,
    };
    bytes.len() < len
}

/// Whether what follows an ESC is a whole escape code (and perhaps more).
fn is_complete_code(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        None => false,
        Some((b'[', rest)) => rest.iter().any(|byte| (0x40..=0x7e).contains(byte)),
        Some((b']', rest)) => rest.contains(&7),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and rest of `text`, whatever pieces it comes in.
    #[track_caller]
    fn check(text: &str, lines: &[&str], rest: Option<&str>) {
        for size in [1, 2, 3, 5, text.len().max(1)] {
            let mut splitter = LineSplitter::new();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                splitter.push(piece, |line| {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                });
            }
            assert_eq!(splitter.rest(), rest.unwrap_or_default().as_bytes());
            let left = splitter
                .take_rest()
                .map(|rest| String::from_utf8(rest).unwrap());
            assert_eq!(
                (found.iter().map(String::as_str).collect(), left.as_deref()),
                (lines.to_vec(), rest),
                "{text:?} by {size}"
            );
        }
    }

    #[test]
    fn lines_are_joined_from_pieces() {
        check("", &[], None);
        check("a\nb\n", &["a", "b"], None);
        check("\n\nü€😀\n", &["", "", "ü€😀"], None);
        check("a\nb", &["a"], Some("b"));
        check(
            "\u{1b}[31mred\u{1b}[0m\n",
            &["\u{1b}[31mred\u{1b}[0m"],
            None,
        );
    }

    #[test]
    fn a_return_keeps_the_last_state_of_a_line() {
        check("a\r\nb\r\r\n", &["a", "b"], None);
        check("10%\r50%\r100%\ndone\r\n", &["100%", "done"], None);
        check("10%\r50%\r", &[], Some("50%"));
        check("10%\rx", &[], Some("x"));
    }

    #[test]
    fn a_line_without_end_comes_in_whole_characters() {
        for text in ["x", "ü", "€", "😀", "\u{1b}[31m", "\u{1b}[38;5;100mä"] {
            let mut splitter = LineSplitter::new();
            let long = text.repeat(LineSplitter::LINE_BYTES_MAX * 3 / text.len());
            let mut joined = String::new();
            for piece in long.as_bytes().chunks(1000) {
                splitter.push(piece, |part| {
                    let part = str::from_utf8(part).unwrap();
                    assert!(part.len() <= LineSplitter::LINE_BYTES_MAX);
                    assert!(!part.starts_with('['), "parted {text:?}");
                    joined.push_str(part);
                });
                assert!(splitter.line.len() < LineSplitter::LINE_BYTES_MAX);
            }
            joined.push_str(&String::from_utf8(splitter.take_rest().unwrap_or_default()).unwrap());
            assert_eq!(joined, long);
        }
    }

    #[test]
    fn any_bytes_go_through() {
        let mut splitter = LineSplitter::new();
        let bytes: Vec<u8> = (0..=255)
            .cycle()
            .filter(|byte| !matches!(byte, 10 | 13))
            .take(200_000)
            .collect();
        let mut joined = Vec::new();
        splitter.push(&bytes, |part| joined.extend_from_slice(part));
        joined.extend(splitter.take_rest().unwrap_or_default());
        assert_eq!(joined, bytes);
    }
}
