//! The identity of a result: [`key`], the digest of a Remote Execution API `Action`.
//!
//! Pure. The same task with the same inputs has the same key on every machine of one platform;
//! where the root lies, what the clock says and how the watchfile is laid out do not enter.

use std::sync::Arc;

use prost::Message;

use crate::digest::Digest;
use crate::path::RelDir;
use crate::pattern::Pattern;
use crate::task_id::TaskName;

use super::definition::{Definition, arguments, environment};
use super::input::OutputFile;
use super::reapi::{
    Action, Command, EnvironmentVariable, Named, Platform, Property, Salt, digest_of,
};
use super::subject::Subject;
use super::tree::{Leaf, Tree};

/// The key of `subject` with these inputs.
pub(super) fn key(subject: &Subject<'_>, definition: &Definition, inputs: &Tree) -> Digest {
    let platform = Some(Platform {
        properties: vec![
            property("Arch", &definition.platform.1),
            property("OSFamily", &definition.platform.0),
        ],
    });
    let variable = |(name, value)| EnvironmentVariable { name, value };
    let command = Command {
        arguments: arguments(subject.task),
        environment_variables: environment(subject).into_iter().map(variable).collect(),
        platform: platform.clone(),
        working_directory: subject.task.dir.as_bytes().to_vec(),
        output_paths: output_paths(subject),
    };
    let named = |(name, digest): (&String, &Digest)| Named {
        name: name.clone(),
        digest: digest.as_bytes().to_vec(),
    };
    let salt = Salt {
        task: subject.task.name.as_str().to_owned(),
        outputs: definition.outputs.clone(),
        tools: definition.tools.iter().map(named).collect(),
        deps: definition.deps.iter().map(named).collect(),
    };
    let action = Action {
        command_digest: Some(digest_of(&command).1),
        input_root_digest: Some(inputs.digest()),
        salt: salt.encode_to_vec(),
        platform,
    };
    digest_of(&action).0
}

/// What dependents see of a task that has declared outputs: the tree of what it made.
pub(super) fn product(outputs: &[OutputFile]) -> Digest {
    let leaf = |output: &OutputFile| {
        Arc::new(Leaf {
            file: output.file.clone(),
            is_trusted: output.is_trusted,
        })
    };
    let tree = Tree::new(&outputs.iter().map(leaf).collect::<Vec<_>>());
    digest_of(&tree.digest()).0
}

/// What a dependent of a group sees of it: the products of the group's own dependencies.
#[must_use]
pub fn group_product(deps: &[(TaskName, Digest)]) -> Digest {
    let mut named: Vec<_> = deps
        .iter()
        .map(|(name, digest)| Named {
            name: name.as_str().to_owned(),
            digest: digest.as_bytes().to_vec(),
        })
        .collect();
    named.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let salt = Salt {
        deps: named,
        ..Salt::default()
    };
    digest_of(&salt).0
}

fn property(name: &str, value: &str) -> Property {
    Property {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// The literal part of each output pattern, relative to the working directory, as the API wants
/// them. The patterns themselves are in the salt.
fn output_paths(subject: &Subject<'_>) -> Vec<Vec<u8>> {
    let dir = &subject.task.dir;
    let literal = |pattern: &Pattern| match pattern.as_literal() {
        Some(path) => relative(path.as_bytes(), dir),
        None => relative(pattern.prefix().as_bytes(), dir),
    };
    let mut paths: Vec<_> = subject.task.outputs.includes().map(literal).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// `path` as it is named from `dir`.
fn relative(path: &[u8], dir: &RelDir) -> Vec<u8> {
    let parts = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let parts = bytes.split(|&byte| byte == b'/');
        parts
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (path, dir) = (parts(path), parts(dir.as_bytes()));
    let shared = path.iter().zip(&dir).take_while(|(a, b)| a == b).count();
    let mut words = vec![b"..".to_vec(); dir.len() - shared];
    words.extend_from_slice(&path[shared..]);
    words.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_dependencies_is_not_part_of_a_group() {
        let dep = |name: &str| (TaskName::new(name), Digest::of(name.as_bytes()));
        assert_eq!(
            group_product(&[dep("a"), dep("b")]),
            group_product(&[dep("b"), dep("a")])
        );
        assert_ne!(group_product(&[dep("a")]), group_product(&[dep("b")]));
    }

    #[test]
    fn output_paths_are_relative_to_the_working_directory() {
        let from = |path: &str, dir: &str| {
            let dir = RelDir::new(dir.as_bytes()).unwrap();
            String::from_utf8(relative(path.as_bytes(), &dir)).unwrap()
        };
        assert_eq!(from("a/b/c", "a/b"), "c");
        assert_eq!(from("a/c", "a/b"), "../c");
        assert_eq!(from("a", "."), "a");
        assert_eq!(from("", "a"), "..");
    }
}
