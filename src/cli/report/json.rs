//! One JSON object a line: [`Json`].

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use watchrun::schedule::RunEvent;

use super::Reporter;

/// Writes each event as a line, and flushes it.
pub(crate) struct Json<W: Write> {
    out: W,
}

impl<W: Write> Json<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since the start.
    t: u128,
    #[serde(flatten)]
    event: &'a RunEvent,
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, at: Duration, event: &RunEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line {
            t: at.as_millis(),
            event,
        })?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}
