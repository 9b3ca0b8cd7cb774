//! End-to-end tests: the real program on real files, with real processes.
//!
//! They look at events (`--json`), exit codes and files, rather than at the wording of progress
//! lines. Nothing here sleeps: order comes from FIFOs, progress from events with a deadline.

// What everything stands on.
mod fifo; //        gates that commands wait at
mod processes; //   who is alive, as /proc tells
mod server; //      a server for services to run
mod support; //     a project in a temporary directory, one-shot runs of it and their events
mod watcher; //     a watching program, its events, saves and stops

// One-shot behaviour.
mod deps; //        order, failure, cycles, groups, order-only
mod errors; //      every kind of bad input: message, exit code, nothing half done
mod event_schema; // the schema of that contract describes what is written
mod events; //      the event stream's contract
mod explain; //     why a task runs, for every cause; `--since`
mod files; //       `{files}`: the inputs that changed
mod flags; //       the command line
mod limits; //      jobs, pools, time, attempts, job tokens
mod many; //        many short tasks
mod nested; //      watchrun inside a task
mod oracle; //      random projects and edits against clean builds
mod output; //      what tasks print
mod run; //         commands, directories, environment, exit codes
mod state; //       what is up to date and what is not

// Watching.
mod ad_hoc; //      a command without a watchfile
mod cancel; //      signals and stale runs: nobody survives
mod container; //   pid namespaces
mod live; //        changes while something runs
mod service_ends; // services that end by themselves
mod services; //    what stays: ready, replaced, kept, stopped
mod terminal; //    interactive tasks, keys, suspending
mod watch; //       from a save to a run

// Real projects under fixtures/projects.
mod c_project;
mod crate_project;
mod docs_project;

// Files of this repository that show the format.
mod examples;
