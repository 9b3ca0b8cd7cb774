//! Which keys each table of a watchfile has.
//!
//! The parser suggests from these lists, the JSON Schema is checked against them, and
//! [`NOT_SUPPORTED`] says which of them are refused.

/// Keys whose effect is not built: the table (empty: the top level) and the key in it. They are
/// refused with an error, never ignored, and left out of the JSON Schema.
pub const NOT_SUPPORTED: &[(&str, &str)] = &[("", "remote")];

/// The keys of the top level.
pub const TOP: &[&str] = &[
    "tasks",
    "services",
    "default",
    "include",
    "env",
    "env_files",
    "pools",
    "settings",
    "remote",
];

/// The keys of the top level of an included watchfile.
pub const INCLUDED: &[&str] = &["tasks", "services", "env", "env_files"];

/// The keys of a task.
pub const TASK: &[&str] = &[
    "run",
    "description",
    "inputs",
    "outputs",
    "deps",
    "after",
    "dir",
    "env",
    "env_inputs",
    "tools",
    "shell",
    "cache",
    "timeout",
    "retries",
    "on_busy",
    "stop_signal",
    "stop_grace",
    "pool",
    "allow_failure",
    "interactive",
];

/// The keys of a task that mean something when it has no command of its own.
pub const GROUP: &[&str] = &["description", "deps", "after"];

/// The keys of a service.
pub const SERVICE: &[&str] = &[
    "run",
    "description",
    "inputs",
    "deps",
    "after",
    "dir",
    "env",
    "env_inputs",
    "shell",
    "stop_signal",
    "stop_grace",
    "ready",
    "restart",
    "reload_signal",
];

/// The keys of a service's `ready`.
pub const READY: &[&str] = &["tcp", "http", "log", "exec", "timeout"];

/// The keys of `[settings]`.
pub const SETTINGS: &[&str] = &[
    "jobs",
    "debounce",
    "debounce_max",
    "gitignore",
    "backend",
    "poll_interval",
    "keep_going",
    "output",
    "cache_dir",
    "cache_size",
    "notify",
    "jobserver",
];

/// The keys of `[remote]`.
pub const REMOTE: &[&str] = &[
    "endpoint",
    "instance",
    "cache",
    "exec",
    "token_env",
    "ca",
    "cert",
    "key",
    "timeout",
    "platform",
];
