//! Everything of a key that is not a file: [`Definition`].
//!
//! Kept with the last success, so that a change can be named. Values of variables are kept as
//! digests alone: they may be secrets.

use std::collections::BTreeMap;
use std::env::consts::{ARCH, OS};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::path::RelDir;
use crate::watchfile::task::{Invocation, Task};

use super::frame;
use super::subject::Subject;

/// A task's resolved command and surroundings, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<Vec<u8>, Value>,
    pub(super) dir: RelDir,
    pub(super) outputs: Vec<String>,
    pub(super) tools: BTreeMap<String, Digest>,
    pub(super) deps: BTreeMap<String, Digest>,
    /// Operating system and processor: a root may be shared between machines.
    pub(super) platform: (String, String),
}

/// The value of a variable, as far as it may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Value {
    Empty,
    Text(Digest),
}

impl Definition {
    pub(super) fn of(subject: &Subject<'_>) -> Self {
        let task = subject.task;
        let value = |value: Vec<u8>| match value.as_slice() {
            b"" => Value::Empty,
            value => Value::Text(Digest::of(value)),
        };
        Self {
            arguments: arguments(task),
            environment: environment(subject)
                .into_iter()
                .map(|(name, text)| (name, value(text)))
                .collect(),
            dir: task.dir.clone(),
            outputs: task
                .outputs
                .patterns()
                .iter()
                .map(ToString::to_string)
                .collect(),
            tools: subject
                .tools
                .iter()
                .map(|probe| (probe.command.clone(), probe.output))
                .collect(),
            deps: subject
                .deps
                .iter()
                .map(|(name, product)| (name.as_str().to_owned(), *product))
                .collect(),
            platform: (OS.to_owned(), ARCH.to_owned()),
        }
    }

    /// Identity for a quick comparison with the last success.
    pub(super) fn digest(&self) -> Digest {
        frame::digest_of(self)
    }
}

/// The words of the command: those of the shell before a line.
pub(super) fn arguments(task: &Task) -> Vec<String> {
    match task.invocation() {
        None => Vec::new(),
        Some(Invocation::Words(words)) => words.clone(),
        Some(Invocation::Line(line)) => {
            let mut words = task.shell.clone();
            words.push(line.clone());
            words
        }
    }
}

/// The variables that enter the key: the watchfile's, and the inherited ones that `env_inputs`
/// lets in. An unset variable is not there, an empty one is.
pub(super) fn environment(subject: &Subject<'_>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let task = subject.task;
    let mut variables = BTreeMap::new();
    if !task.env_inputs.is_empty() {
        for (name, value) in subject.environment {
            let name = name.as_bytes();
            let mut patterns = task.env_inputs.iter().rev();
            let decides = patterns.find(|pattern| pattern.matches(name));
            if decides.is_some_and(|pattern| !pattern.excludes) {
                variables.insert(name.to_vec(), value.as_bytes().to_vec());
            }
        }
    }
    for (name, value) in &task.env {
        variables.insert(name.clone().into_bytes(), value.clone().into_bytes());
    }
    variables
}
