//! What workers tell the coordinator: [`Report`].

use std::sync::Arc;
use std::time::Duration;

use super::bring::Brought;
use super::lines::Lines;
use super::state::Ticket;
use super::step::{Errand, Executed, Look, Prepared};
use crate::disk::DiskLock;
use crate::exec::ServiceEvent;
use crate::outcome::Outcome;
use crate::state::{Finished, Moved, Restored, StateError};

/// How late a report may be read that can wait, see [`Report::can_wait`].
pub const REPORT_DELAY_MAX: Duration = Duration::from_millis(8);

/// Sends a report to the coordinator's inbox. May block while that is full.
pub type Send = Arc<dyn Fn(Report) + std::marker::Send + Sync>;

/// What a worker tells the coordinator. To be handed to [`Driver::handle`](super::Driver::handle),
/// unread.
pub struct Report {
    pub(super) serial: Serial,
    pub(super) news: News,
    pub(super) urgency: Urgency,
}

/// Names one piece of work in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Serial(pub(super) u64);

/// Whether anything waits for what follows from a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Urgent,
    /// Not for [`REPORT_DELAY_MAX`].
    CanWait,
}

pub(super) enum News {
    Examined {
        epoch: u64,
        ticket: Ticket,
        look: Box<Look>,
    },
    Prepared(Box<Result<Prepared, StateError>>),
    /// The commands run now, on the thread that reports it and under this lock.
    Started(Option<DiskLock>),
    /// What the store had, once it is seen.
    Restored(Restored),
    Output(Lines),
    Executed(Errand, Executed),
    Finished(Duration, Result<Finished, StateError>),
    /// A command failed, and that is noted.
    Failed {
        outcome: Outcome,
        took: Duration,
        moved: Option<Moved>,
    },
    /// A step around the start of a service is over.
    Brought(Brought),
    Service(ServiceEvent),
}

impl News {
    /// Whether other tasks go on as they would have without it.
    pub(super) fn is_good(&self) -> bool {
        match self {
            Self::Started(_) | Self::Output(_) | Self::Restored(_) | Self::Examined { .. } => true,
            Self::Finished(_, finished) => matches!(finished, Ok(Finished::Recorded(_))),
            Self::Executed(_, executed) => executed.has_succeeded(),
            Self::Prepared(prepared) => {
                matches!(
                    **prepared,
                    Ok(Prepared::Stored(_) | Prepared::Overtaken(_) | Prepared::Busy)
                )
            }
            Self::Failed { .. } | Self::Brought(_) | Self::Service(_) => false,
        }
    }
}

impl Report {
    pub(super) fn new(serial: Serial, news: News, urgency: Urgency) -> Self {
        Self {
            serial,
            news,
            urgency,
        }
    }

    /// Whether it is a piece of output: there may be any number of those.
    pub fn is_output(&self) -> bool {
        matches!(
            self.news,
            News::Output(_) | News::Service(ServiceEvent::Output(_))
        )
    }

    /// Whether a reader that looks again within [`REPORT_DELAY_MAX`], as
    /// [`Driver::deadline`](super::Driver::deadline) has it, need not be woken for it.
    pub fn can_wait(&self) -> bool {
        self.urgency == Urgency::CanWait
    }

    /// Whether it only passes on what a service that is up does: nothing follows from it.
    pub fn is_chatter(&self) -> bool {
        matches!(self.news, News::Service(ServiceEvent::Output(_)))
    }
}
