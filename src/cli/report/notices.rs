//! What is said out of turn, in answer to a key or a signal: [`Notices`].

use std::io::{self, Write};

use super::bars::{Bars, WIPE};

/// Tells the person at the terminal something. May be called on any thread.
#[derive(Clone)]
pub(crate) enum Notices {
    /// Above and in the lines of a terminal.
    Terminal(Bars),
    /// On stderr, as far as it is worth a line there.
    Lines,
}

impl Notices {
    /// Writes `text`, which ends with a line's end.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Terminal(bars) => bars.say(text),
            // Nobody to tell if this cannot be written.
            Self::Lines => drop(io::stderr().write_all(text.as_bytes())),
        }
    }

    /// Clears the screen, if there is one.
    pub(crate) fn wipe(&self) {
        if let Self::Terminal(bars) = self {
            bars.say(WIPE);
        }
    }

    /// Everything was told to stop, and may take its time.
    pub(crate) fn stops(&self) {
        if let Self::Terminal(bars) = self {
            bars.stops();
        }
    }

    /// Draws nothing until [`Self::show`]: the terminal belongs to somebody else.
    pub(crate) fn hide(&self) {
        if let Self::Terminal(bars) = self {
            bars.hide();
        }
    }

    /// Takes one [`Self::hide`] back.
    pub(crate) fn show(&self) {
        if let Self::Terminal(bars) = self {
            bars.show();
        }
    }
}
