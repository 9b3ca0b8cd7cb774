//! What differs between the last success and now: [`definitions`] and [`inputs`]. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::path::RelPath;

use super::definition::{Definition, Value};
use super::input::{Content, InputFile};
use super::tree::{Leaf, Tree};
use super::verdict::{EnvChange, InputChange, Reason};

/// How `now` differs from `old`, in the order in which it is told.
pub(super) fn definitions(old: &Definition, now: &Definition) -> Vec<Reason> {
    let Definition {
        arguments,
        environment,
        dir,
        outputs,
        tools,
        deps,
        platform,
    } = old;
    let mut reasons = Vec::new();
    if *platform != now.platform {
        reasons.push(Reason::Platform);
    }
    if *arguments != now.arguments {
        let sorted = |words: &[String]| {
            let mut words = words.to_vec();
            words.sort_unstable();
            words
        };
        let same_words = sorted(arguments) == sorted(&now.arguments);
        reasons.push(if same_words {
            Reason::ArgumentOrder
        } else {
            Reason::Command
        });
    }
    reasons.extend(
        differing(environment, &now.environment).map(|(name, old, new)| Reason::Env {
            name: String::from_utf8_lossy(name).into_owned(),
            change: env_change(old, new),
        }),
    );
    if *dir != now.dir {
        reasons.push(Reason::Dir);
    }
    if *outputs != now.outputs {
        reasons.push(Reason::Outputs);
    }
    reasons.extend(
        differing(tools, &now.tools).map(|(command, ..)| Reason::Tool {
            command: command.clone(),
        }),
    );
    reasons.extend(differing(deps, &now.deps).map(|(name, ..)| Reason::Dep { name: name.clone() }));
    reasons
}

/// How the files `now` differ from the `old` ones.
pub(super) fn inputs(old: &Tree, now: &Tree) -> InputChange {
    let mut change = InputChange::default();
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for pair in old.differences(now) {
        match pair {
            (Some(before), Some(after)) if is_mode_alone(before, after) => {
                change.mode.push(&after.file.path);
            }
            (Some(_), Some(after)) => change.modified.push(&after.file.path),
            (Some(before), None) => removed.push(&before.file),
            (None, Some(after)) => added.push(&after.file),
            (None, None) => {}
        }
    }
    pair_renames(&mut change, removed, added);
    change
}

/// The inputs that are new or have other content than at the last success, in order of path.
pub(super) fn changed_since(old: &Tree, now: &Tree) -> Vec<RelPath> {
    let differences = old.differences(now);
    let now = differences.into_iter().filter_map(|(_, now)| now);
    now.map(|leaf| leaf.file.path.clone()).collect()
}

fn is_mode_alone(old: &Leaf, new: &Leaf) -> bool {
    match (&old.file.content, &new.file.content) {
        (Content::File { digest: a, .. }, Content::File { digest: b, .. }) => a == b,
        _ => false,
    }
}

/// A file that is gone and one that is new with the same content are one that moved.
fn pair_renames(change: &mut InputChange, removed: Vec<&InputFile>, added: Vec<&InputFile>) {
    let mut gone: HashMap<&[u8], Vec<&RelPath>> = HashMap::new();
    for file in removed.iter().rev() {
        if let Content::File { digest, .. } = &file.content {
            gone.entry(digest.as_bytes()).or_default().push(&file.path);
        }
    }
    let mut moved = Vec::new();
    for file in added {
        let from = match &file.content {
            Content::File { digest, .. } => gone.get_mut(&digest.as_bytes()[..]).and_then(Vec::pop),
            Content::Link { .. } | Content::EmptyDir => None,
        };
        match from {
            Some(from) => {
                change.renamed.push(&file.path);
                change.renamed_from.get_or_insert_with(|| from.clone());
                moved.push(from);
            }
            None => change.added.push(&file.path),
        }
    }
    moved.sort_unstable();
    for file in removed {
        if moved.binary_search(&&file.path).is_err() {
            change.removed.push(&file.path);
        }
    }
}

/// The keys whose values differ or that only one map has, in order.
fn differing<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let mut keys: Vec<&K> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .map(|key| (key, old.get(key), new.get(key)))
        .filter(|(_, old, new)| old != new)
}

fn env_change(old: Option<&Value>, new: Option<&Value>) -> EnvChange {
    match (old, new) {
        (_, None) => EnvChange::Unset,
        (_, Some(Value::Empty)) => EnvChange::Emptied,
        (None, Some(Value::Text(_))) => EnvChange::Set,
        (Some(_), Some(Value::Text(_))) => EnvChange::Changed,
    }
}
