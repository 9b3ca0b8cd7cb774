//! A terminal: text that scrolls, above a few lines that say what runs: [`Bars`].
//!
//! Text is written and the lines are drawn together, at most every [`PERIOD`], so that many short
//! tasks cost little and nothing flickers. A thread does that; it sleeps while nothing runs.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::stdio::stderr;
use rustix::termios::tcgetwinsize;
use watchrun::schedule::RunEvent;

use super::status::{Size, Status};

/// How often the terminal is written to, at most.
const PERIOD: Duration = Duration::from_millis(50);

/// How often the lines move, in periods.
const FRAME: u32 = 2;

/// Text that waits for its period; more is written at once.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Clears the screen and puts the cursor into its corner. What has scrolled away stays.
pub(super) const WIPE: &str = "\x1b[H\x1b[2J";

/// The terminal, for all who write to it.
#[derive(Clone)]
pub(crate) struct Bars {
    shared: Arc<Shared>,
}

struct Shared {
    // Guards the terminal and what waits for it; held while that is written, so that nothing else
    // is written in between. Leaf lock.
    canvas: Mutex<Canvas>,
    /// There is something to paint, or to end.
    wake: Condvar,
}

struct Canvas {
    bar: ProgressBar,
    /// `None`: nothing is drawn below the text.
    status: Option<Status>,
    /// What is to be written above the lines.
    text: Vec<(Stream, Vec<u8>)>,
    start: Instant,
    is_drawn: bool,
    /// How many reasons there are to draw no lines.
    hidden: usize,
    sleeps: bool,
    ended: bool,
    trouble: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Bars {
    pub(crate) fn new(status: Option<Status>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let canvas = Canvas {
            bar,
            status,
            text: Vec::new(),
            start: Instant::now(),
            is_drawn: false,
            hidden: 0,
            sleeps: false,
            ended: false,
            trouble: None,
        };
        Self {
            shared: Arc::new(Shared {
                canvas: Mutex::new(canvas),
                wake: Condvar::new(),
            }),
        }
    }

    /// What is written there appears above the lines: as stdout, if that is the terminal too.
    pub(crate) fn out(&self) -> Lane {
        Lane(self.clone(), Stream::Out)
    }

    /// As [`Self::out`], as stderr.
    pub(crate) fn err(&self) -> Lane {
        Lane(self.clone(), Stream::Err)
    }

    /// Writes `text` now.
    pub(crate) fn say(&self, text: &str) {
        self.put(text);
        self.paint();
    }

    /// Writes `text` with what comes next.
    pub(super) fn put(&self, text: &str) {
        let text = text.as_bytes().to_vec();
        self.lock().text.push((Stream::Err, text));
    }

    /// Writes what waits, and draws the lines.
    pub(super) fn paint(&self) {
        self.lock().paint();
    }

    /// Everything was told to stop.
    pub(crate) fn stops(&self) {
        let mut canvas = self.lock();
        if let Some(status) = &mut canvas.status {
            status.stops();
        }
        canvas.paint();
    }

    /// Leaves the terminal to somebody else, with nothing drawn, until [`Self::show`].
    pub(crate) fn hide(&self) {
        let mut canvas = self.lock();
        canvas.hidden += 1;
        canvas.paint();
    }

    /// Takes one [`Self::hide`] back.
    pub(crate) fn show(&self) {
        let mut canvas = self.lock();
        canvas.hidden = canvas.hidden.saturating_sub(1);
        canvas.paint();
    }

    /// Takes note of `event`. What could not be written before is told now.
    pub(super) fn note(&self, at: Duration, event: &RunEvent) -> io::Result<()> {
        let mut canvas = self.lock();
        canvas.now_is(at);
        if let Some(status) = &mut canvas.status {
            status.note(at, event);
        }
        self.wake_for(&mut canvas);
        canvas.trouble.take().map_or(Ok(()), Err)
    }

    /// Paints when there is something to paint, until the end.
    pub(super) fn paint_on(&self) {
        let mut canvas = self.lock();
        let mut periods = 0;
        while !canvas.ended {
            if canvas.text.is_empty() && !canvas.is_moving() {
                canvas.sleeps = true;
                let woken = self.shared.wake.wait(canvas);
                canvas = woken.unwrap_or_else(PoisonError::into_inner);
                canvas.sleeps = false;
                periods = 0;
                continue;
            }
            let woken = self.shared.wake.wait_timeout(canvas, PERIOD);
            (canvas, _) = woken.unwrap_or_else(PoisonError::into_inner);
            periods += 1;
            if !canvas.text.is_empty() || periods % FRAME == 0 {
                canvas.paint();
            }
        }
    }

    /// Removes the lines and writes nothing any more.
    pub(super) fn end(&self) {
        let mut canvas = self.lock();
        canvas.hidden += 1;
        canvas.paint();
        canvas.ended = true;
        self.shared.wake.notify_all();
    }

    fn wake_for(&self, canvas: &mut Canvas) {
        if canvas.sleeps && (canvas.is_moving() || !canvas.text.is_empty()) {
            canvas.sleeps = false;
            self.shared.wake.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Canvas> {
        let canvas = self.shared.canvas.lock();
        canvas.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Canvas {
    fn is_moving(&self) -> bool {
        self.hidden == 0 && self.status.as_ref().is_some_and(Status::is_moving)
    }

    /// Events say how long ago the start was; so do the lines between them.
    fn now_is(&mut self, at: Duration) {
        if let Some(start) = Instant::now().checked_sub(at) {
            self.start = start;
        }
    }

    /// Writes what waits, and draws the lines below it.
    fn paint(&mut self) {
        if self.ended {
            return;
        }
        let now = self.start.elapsed();
        let lines = match &mut self.status {
            Some(status) if self.hidden == 0 => status.lines(now, size()),
            _ => Vec::new(),
        };
        if self.is_drawn && lines.is_empty() {
            self.bar.finish_and_clear();
            self.is_drawn = false;
        }
        let text = std::mem::take(&mut self.text);
        let write = || {
            let mut parts = text.iter();
            parts.try_for_each(|(stream, bytes)| stream.write(bytes))
        };
        let written = if self.is_drawn {
            self.bar.set_message(lines.join("\n"));
            if text.is_empty() {
                self.bar.force_draw();
                return;
            }
            self.bar.suspend(write)
        } else {
            let written = write();
            if !lines.is_empty() {
                self.is_drawn = true;
                self.bar.set_message(lines.join("\n"));
                // It may have been finished: then nothing is drawn any more.
                self.bar.reset();
                self.bar.force_draw();
            }
            written
        };
        if let Err(error) = written {
            self.trouble = Some(error);
        }
    }
}

impl Stream {
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Err => io::stderr().lock().write_all(bytes),
        }
    }
}

/// Writes to the terminal in its turn.
pub(crate) struct Lane(Bars, Stream);

impl Write for Lane {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self(bars, stream) = self;
        let mut canvas = bars.lock();
        match canvas.text.last_mut() {
            Some((last, text)) if last == stream => text.extend_from_slice(bytes),
            _ => canvas.text.push((*stream, bytes.to_vec())),
        }
        let waiting: usize = canvas.text.iter().map(|(_, text)| text.len()).sum();
        if waiting > TEXT_BYTES_MAX {
            canvas.paint();
        }
        bars.wake_for(&mut canvas);
        Ok(bytes.len())
    }

    /// It is written in its turn.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn size() -> Size {
    let size = tcgetwinsize(stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(
        Size {
            columns: 80,
            rows: 24,
        },
        |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
    )
}
