//! watchrun: runs exactly the tasks that a change affects, in dependency order, once.
//!
//! The library behind the `watchrun` program. The watch system ([`watch`]) can be embedded on
//! its own. Data flows one way through the modules below; each imports only from those above it.
//! The library never prints, exits, reads the environment or installs signal handlers.

// Floor 0: values.
pub mod change;
pub mod digest;
pub mod outcome;
pub mod path;
pub mod suggest;
pub mod task_id;

// Floor 1: globs and files.
pub mod disk;
pub mod files;
mod parallel;
pub mod pattern;

// Floor 2: three systems that know nothing of each other.
pub mod exec;
pub mod watch;
pub mod watchfile;

// Floor 3: the plan.
pub mod plan;

// Floor 4: what is up to date.
pub mod state;

// Floor 5: which task next.
pub mod schedule;

// Floor 6: the loop that ties watch, plan and schedule together.
pub mod session;
