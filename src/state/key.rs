//! The identity of a result: [`key`], the digest of a Remote Execution API `Action`.
//!
//! Pure. The same task with the same inputs has the same key on every machine of one platform;
//! where the root lies, what the clock says and how the watchfile is laid out do not enter.

use prost::Message;

use crate::digest::Digest;
use crate::path::{RelDir, RelPath};
use crate::pattern::Pattern;
use crate::task_id::TaskName;

use super::definition::{Definition, arguments, environment};
use super::input::{Content, InputFile, OutputFile};
use super::parallel;
use super::reapi::{
    Action, Command, Directory, DirectoryNode, EnvironmentVariable, FileNode, Named, Platform,
    Property, Salt, SymlinkNode, digest_of, refer,
};
use super::subject::Subject;

/// Directories with more files than this are digested on several cores.
const PARALLEL_FILES: usize = 2048;

/// The key of `subject` with these inputs, which are in order of path.
pub(super) fn key(subject: &Subject<'_>, definition: &Definition, inputs: &[InputFile]) -> Digest {
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
    let (_, root) = digest_of(&directory(inputs, 0));
    let action = Action {
        command_digest: Some(digest_of(&command).1),
        input_root_digest: Some(root),
        salt: salt.encode_to_vec(),
        platform,
    };
    digest_of(&action).0
}

/// What dependents see of a task that has declared outputs: the tree of what it made.
pub(super) fn product(outputs: &[OutputFile]) -> Digest {
    let files: Vec<InputFile> = outputs.iter().map(|output| output.file.clone()).collect();
    digest_of(&directory(&files, 0)).0
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

/// The tree of `inputs`, all of which lie in one directory whose path, with its final `/`, is
/// `skip` bytes long.
fn directory(inputs: &[InputFile], skip: usize) -> Directory {
    let mut directory = Directory::default();
    let mut below = Vec::new();
    let mut rest = inputs;
    while let Some(first) = rest.first() {
        let name = component(&first.path, skip);
        let end = skip + name.len();
        if first.path.as_bytes().len() == end {
            add_leaf(&mut directory, name, &first.content);
            rest = &rest[1..];
            continue;
        }
        // In order of bytes, what lies below one directory stands together.
        let prefix = &first.path.as_bytes()[..=end];
        let len = rest.partition_point(|input| input.path.as_bytes().starts_with(prefix));
        let (inside, after) = rest.split_at(len);
        below.push((name.to_vec(), inside, end + 1));
        rest = after;
    }
    let much = inputs.len() > PARALLEL_FILES;
    let digested = parallel::map(&below, much, |(name, inside, skip)| DirectoryNode {
        name: name.clone(),
        digest: Some(digest_of(&self::directory(inside, *skip)).1),
    });
    directory.directories.extend(digested);
    directory.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    directory
        .directories
        .sort_unstable_by(|a, b| a.name.cmp(&b.name));
    directory
        .symlinks
        .sort_unstable_by(|a, b| a.name.cmp(&b.name));
    directory
}

fn component(path: &RelPath, skip: usize) -> &[u8] {
    let rest = &path.as_bytes()[skip..];
    let end = rest.iter().position(|&byte| byte == b'/');
    &rest[..end.unwrap_or(rest.len())]
}

fn add_leaf(directory: &mut Directory, name: &[u8], content: &Content) {
    let name = name.to_vec();
    match content {
        Content::File {
            digest,
            size,
            executable,
        } => directory.files.push(FileNode {
            name,
            digest: Some(refer(digest, *size)),
            is_executable: *executable,
        }),
        Content::Link { target } => directory.symlinks.push(SymlinkNode {
            name,
            target: target.to_vec(),
        }),
        Content::EmptyDir => directory.directories.push(DirectoryNode {
            name,
            digest: Some(digest_of(&Directory::default()).1),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use crate::disk::FileStat;

    use super::*;

    fn input(path: &str, content: &str) -> InputFile {
        InputFile {
            path: RelPath::new(path.as_bytes()).unwrap(),
            stat: FileStat {
                dev: 1,
                ino: 1,
                size: 1,
                mtime_ns: 1,
                ctime_ns: 1,
                mode: 0o100_644,
            },
            content: Content::File {
                digest: Digest::of(content.as_bytes()),
                size: content.len() as u64,
                executable: false,
            },
        }
    }

    fn root_of(files: &BTreeSet<(String, String)>) -> Digest {
        let mut inputs: Vec<_> = files
            .iter()
            .map(|(path, content)| input(path, content))
            .collect();
        inputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        digest_of(&directory(&inputs, 0)).0
    }

    /// What is in a tree, read back from its messages.
    fn flatten(inputs: &[InputFile], skip: usize, found: &mut Vec<Vec<u8>>) {
        let tree = directory(inputs, skip);
        let sorted = |names: &[&Vec<u8>]| names.is_sorted();
        assert!(sorted(
            &tree.files.iter().map(|file| &file.name).collect::<Vec<_>>()
        ));
        assert!(sorted(
            &tree
                .directories
                .iter()
                .map(|dir| &dir.name)
                .collect::<Vec<_>>()
        ));
        for file in &tree.files {
            assert!(!file.name.contains(&b'/'));
            found.push(file.name.clone());
        }
        for dir in &tree.directories {
            let prefix = [&inputs[0].path.as_bytes()[..skip], &dir.name, b"/"].concat();
            let inside: Vec<_> = inputs
                .iter()
                .filter(|input| input.path.as_bytes().starts_with(&prefix))
                .cloned()
                .collect();
            assert!(!inside.is_empty());
            flatten(&inside, prefix.len(), found);
        }
    }

    proptest! {
        /// Different sets of files have different trees, and a set has one, whatever the names.
        #[test]
        fn a_tree_stands_for_one_set_of_files(
            one in prop::collection::btree_set(("[ab.-]{1,2}(/[ab.-]{1,2}){0,2}x", "[xy]{0,2}"), 0..8),
            two in prop::collection::btree_set(("[ab.-]{1,2}(/[ab.-]{1,2}){0,2}x", "[xy]{0,2}"), 0..8),
        ) {
            let distinct = |files: &BTreeSet<(String, String)>| {
                let mut seen = BTreeSet::new();
                files
                    .iter()
                    .filter(|(path, _)| {
                        let path = RelPath::new(path.as_bytes());
                        path.is_some_and(|path| seen.insert(path))
                    })
                    .map(|(path, content)| {
                        (RelPath::new(path.as_bytes()).unwrap().to_string(), content.clone())
                    })
                    .collect::<BTreeSet<_>>()
            };
            let (one, two) = (distinct(&one), distinct(&two));
            prop_assert_eq!(one == two, root_of(&one) == root_of(&two));
        }

        /// Every file is in the tree once, also where `-` and `.` sort before `/`.
        #[test]
        fn every_file_is_in_the_tree_once(
            paths in prop::collection::btree_set("[ab]{1,2}[.-]?[ab]?(/[ab]{1,2}){0,2}f", 1..12),
        ) {
            let inputs: Vec<_> = paths.iter().map(|path| input(path, "")).collect();
            let mut inputs = inputs;
            inputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            let mut found = Vec::new();
            flatten(&inputs, 0, &mut found);
            prop_assert_eq!(found.len(), inputs.len());
        }
    }

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
