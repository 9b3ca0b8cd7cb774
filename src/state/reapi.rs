//! The messages of the Remote Execution API v2 that a key is made of.
//!
//! Our own declarations of the published wire format, so that a key is the same whether or not
//! a remote client is built in. Names of files and values of variables are declared as bytes: on
//! the wire that is what a string is, and names that are not UTF-8 keep their identity.

use prost::Message;

use crate::digest::Digest;

/// `build.bazel.remote.execution.v2.Digest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct DigestMessage {
    #[prost(string, tag = "1")]
    pub(super) hash: String,
    #[prost(int64, tag = "2")]
    pub(super) size_bytes: i64,
}

/// `Action`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Action {
    #[prost(message, optional, tag = "1")]
    pub(super) command_digest: Option<DigestMessage>,
    #[prost(message, optional, tag = "2")]
    pub(super) input_root_digest: Option<DigestMessage>,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) salt: Vec<u8>,
    #[prost(message, optional, tag = "10")]
    pub(super) platform: Option<Platform>,
}

/// `Command`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Command {
    #[prost(string, repeated, tag = "1")]
    pub(super) arguments: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) environment_variables: Vec<EnvironmentVariable>,
    #[prost(message, optional, tag = "5")]
    pub(super) platform: Option<Platform>,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) working_directory: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(super) output_paths: Vec<Vec<u8>>,
}

/// `Command.EnvironmentVariable`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct EnvironmentVariable {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `Platform`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Platform {
    #[prost(message, repeated, tag = "1")]
    pub(super) properties: Vec<Property>,
}

/// `Platform.Property`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Property {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `Directory`. Each list is sorted by name.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Directory {
    #[prost(message, repeated, tag = "1")]
    pub(super) files: Vec<FileNode>,
    #[prost(message, repeated, tag = "2")]
    pub(super) directories: Vec<DirectoryNode>,
    #[prost(message, repeated, tag = "3")]
    pub(super) symlinks: Vec<SymlinkNode>,
}

/// `FileNode`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct FileNode {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) digest: Option<DigestMessage>,
    #[prost(bool, tag = "4")]
    pub(super) is_executable: bool,
}

/// `DirectoryNode`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct DirectoryNode {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) digest: Option<DigestMessage>,
}

/// `SymlinkNode`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SymlinkNode {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) target: Vec<u8>,
}

/// What fills `Action.salt`: everything else that a result depends on. No message of the API; a
/// server treats the salt as opaque bytes.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Salt {
    #[prost(string, tag = "1")]
    pub(super) task: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) tools: Vec<Named>,
    #[prost(message, repeated, tag = "4")]
    pub(super) deps: Vec<Named>,
}

/// A name with the digest of what it stands for.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) digest: Vec<u8>,
}

/// The digest of a message as it is referred to by others.
pub(super) fn digest_of(message: &impl Message) -> (Digest, DigestMessage) {
    let bytes = message.encode_to_vec();
    let digest = Digest::of(&bytes);
    (digest, refer(&digest, bytes.len() as u64))
}

/// A reference to content.
pub(super) fn refer(digest: &Digest, size: u64) -> DigestMessage {
    DigestMessage {
        hash: digest.to_string(),
        size_bytes: size.cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_the_published_one() {
        let directory = Directory {
            files: vec![FileNode {
                name: b"a".to_vec(),
                digest: Some(DigestMessage {
                    hash: "ab".to_owned(),
                    size_bytes: 3,
                }),
                is_executable: true,
            }],
            ..Directory::default()
        };
        assert_eq!(
            directory.encode_to_vec(),
            b"\x0a\x0d\x0a\x01a\x12\x06\x0a\x02ab\x10\x03\x20\x01"
        );
    }

    #[test]
    fn an_empty_directory_has_the_well_known_digest() {
        let (digest, message) = digest_of(&Directory::default());
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(message.size_bytes, 0);
        assert_eq!(message.hash, digest.to_string());
    }
}
