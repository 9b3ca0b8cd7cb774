//! What is said out of turn, in answer to a key or a signal: [`Notices`].

use std::io::{self, Write};

use super::bars::Screen;

/// Tells the person at the terminal something. May be called on any thread.
#[derive(Clone)]
pub(crate) enum Notices {
    /// Above and in the lines of a terminal.
    Screen(Screen),
    /// On stderr, as far as it is worth a line there.
    Lines,
}

impl Notices {
    /// Writes `text`, which ends with a line's end.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Screen(screen) => screen.say(text),
            // Nobody to tell if this cannot be written.
            Self::Lines => drop(io::stderr().write_all(text.as_bytes())),
        }
    }

    /// Clears the screen, if there is one.
    pub(crate) fn wipe(&self) {
        if let Self::Screen(screen) = self {
            screen.wipe();
        }
    }

    /// Everything was told to stop, and may take its time.
    pub(crate) fn stops(&self) {
        if let Self::Screen(screen) = self {
            screen.stops();
        }
    }

    /// Draws nothing until [`Self::show`]: the terminal belongs to somebody else.
    pub(crate) fn hide(&self) {
        if let Self::Screen(screen) = self {
            screen.hide();
        }
    }

    /// Takes one [`Self::hide`] back.
    pub(crate) fn show(&self) {
        if let Self::Screen(screen) = self {
            screen.show();
        }
    }
}
