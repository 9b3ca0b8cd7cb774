//! Which task runs next: a pure state machine and the driver that carries its decisions out.

mod ahead;
mod bring;
mod command;
pub mod event;
mod inspect;
mod launch;
mod lineage;
mod lines;
mod order;
mod progress;
mod replan;
mod report;
mod run;
mod rush;
mod services;
mod serving;
mod settle;
mod slots;
pub mod state;
mod step;
mod task_state;
mod tell;
mod tokens;
mod view;
mod waits;
mod wave;

pub use event::{
    ChangeRecord, Counts, FileChange, OutputLine, RunEvent, ServiceState, TaskFinished, Warning,
};
pub use inspect::inspect;
pub use lineage::{Lineage, RUNNING_VARIABLE};
pub use report::{REPORT_DELAY_MAX, Report, Send};
pub use run::{Driver, DriverOptions, Mode, StartError, StopAll};
pub use slots::Limits;
pub use step::{Ports, Said};
pub use tell::describe;
pub use tokens::JobTokens;
pub use view::{FileView, Files};
