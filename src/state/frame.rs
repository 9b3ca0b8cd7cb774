//! How every state file is wrapped: magic, kind, version, length, checksum, then the value.
//!
//! Whatever a crash, another program or another version left in a file, reading it gives the
//! value that was written or a [`Spoiled`], never something in between.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"watchrun";
/// Raised whenever the meaning of any file changes: older state is then dropped, not converted.
const VERSION: u32 = 2;
pub(super) const HEADER: usize = 8 + 4 + 4 + 8 + 32;

/// Room for what most tasks have to say, so that it need not be made piece by piece.
const USUAL: usize = 512;

/// Which file it is. A file of one kind in the place of another is foreign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Index,
    Ledger,
    Inputs,
    Result,
    RunLog,
}

impl Kind {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Self::Index => b"indx",
            Self::Ledger => b"ledg",
            Self::Inputs => b"inpt",
            Self::Result => b"rslt",
            Self::RunLog => b"runs",
        }
    }
}

/// Why a state file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Spoiled {
    /// It ends too early, or its bytes are not those that were written.
    #[error("damaged")]
    Torn,
    /// It is not a file of ours.
    #[error("not a watchrun state file")]
    Foreign,
    /// Another version wrote it.
    #[error("written by another version (format {0})")]
    OtherVersion(u32),
}

/// The bytes of a file that holds `value`.
pub(super) fn encode(kind: Kind, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = draft(value);
    seal(kind, &mut bytes);
    bytes
}

/// A value behind room for a header of [`HEADER`] bytes, which [`seal`] fills.
pub(super) fn draft(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.resize(HEADER, 0);
    extend(bytes, value)
}

/// The bytes of a value alone, without what makes a file of them.
pub(super) fn payload(value: &impl Serialize) -> Vec<u8> {
    extend(Vec::with_capacity(USUAL), value)
}

fn extend(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    let bytes = postcard::to_extend(value, bytes);
    bytes.expect("plain data of known length is always serialisable")
}

/// The digest of a value as it would be written.
pub(super) fn digest_of(value: &impl Serialize) -> Digest {
    Digest::of(&payload(value))
}

/// The bytes of a file that holds `payload`.
pub(super) fn wrap(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(payload);
    seal(kind, &mut bytes);
    bytes
}

/// The value in a file.
///
/// # Errors
/// [`Spoiled`].
pub(super) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, Spoiled> {
    let payload = open(kind, bytes)?;
    postcard::from_bytes(payload).map_err(|_| Spoiled::Torn)
}

/// The payload of a file.
///
/// # Errors
/// [`Spoiled`].
pub(super) fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8], Spoiled> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(Spoiled::Foreign);
    }
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(Spoiled::Torn)?;
    if header[8..12] != *kind.tag() {
        return Err(Spoiled::Foreign);
    }
    let version = u32::from_le_bytes(array(&header[12..16]));
    if version != VERSION {
        return Err(Spoiled::OtherVersion(version));
    }
    if u64::from_le_bytes(array(&header[16..24])) != payload.len() as u64
        || Digest::of(payload).as_bytes()[..] != header[24..]
    {
        return Err(Spoiled::Torn);
    }
    Ok(payload)
}

/// Makes a draft the bytes of a file.
pub(super) fn seal(kind: Kind, bytes: &mut [u8]) {
    let (header, payload) = bytes.split_at_mut(HEADER);
    let checksum = Digest::of(payload);
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(kind.tag());
    header[12..16].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[24..].copy_from_slice(checksum.as_bytes());
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Vec<String> {
        vec!["one".to_owned(), "two".to_owned()]
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = encode(Kind::Inputs, &value());
        assert_eq!(decode::<Vec<String>>(Kind::Inputs, &bytes), Ok(value()));
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_noticed() {
        let bytes = encode(Kind::Inputs, &value());
        for len in 0..bytes.len() {
            assert!(decode::<Vec<String>>(Kind::Inputs, &bytes[..len]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode::<Vec<String>>(Kind::Inputs, &bytes).is_err(),
                "{bit}"
            );
        }
    }

    #[test]
    fn another_kind_or_version_is_told_apart() {
        let mut bytes = encode(Kind::Inputs, &value());
        assert_eq!(
            decode::<Vec<String>>(Kind::Index, &bytes),
            Err(Spoiled::Foreign)
        );
        bytes[12] = 9;
        assert_eq!(
            decode::<Vec<String>>(Kind::Inputs, &bytes),
            Err(Spoiled::OtherVersion(9))
        );
        assert_eq!(
            decode::<Vec<String>>(Kind::Inputs, b"#!/bin/sh"),
            Err(Spoiled::Foreign)
        );
    }
}
