//! Colours, or none: [`Style`].

use std::fmt;

/// Whether escape codes may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) color: bool,
}

/// What a piece of text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Careful,
    Faint,
    Strong,
    /// One of several things side by side, by its number.
    Label(usize),
}

impl Style {
    /// `text`, coloured if that is wanted.
    pub(crate) fn paint(self, tone: Tone, text: impl fmt::Display) -> String {
        if !self.color {
            return text.to_string();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Careful => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
            // Red stays for what failed.
            Tone::Label(n) => ["36", "35", "34", "32", "33"][n % 5],
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
