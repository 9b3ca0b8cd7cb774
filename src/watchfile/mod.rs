//! Text to checked watchfile: what a person wrote, proven to be usable.
//!
//! Knows the file format of design §2 and nothing of graphs, processes or what is up to date.

pub mod task;

pub use task::{
    Caching, EnvPattern, FailureRule, Inputs, Invocation, OnBusy, Ready, ReadyProbe, Restart,
    Service, StopRule, Task, TaskKind, Terminal,
};
