//! Content identity: [`Digest`], the SHA-256 of some bytes.
//!
//! One hash everywhere, locally and remotely: what the Remote Execution API calls a digest.

use std::fmt;
use std::io;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of no bytes.
    pub const OF_NOTHING: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of `parts`, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The digest of everything `reader` gives, with the number of bytes read. Blocks.
    ///
    /// # Errors
    /// What `reader` returns.
    pub fn of_reader(reader: &mut dyn io::Read) -> io::Result<(Self, u64)> {
        let mut hasher = sha2::Sha256::new();
        let size = io::copy(reader, &mut hasher)?;
        Ok((Self(hasher.finalize().into()), size))
    }

    /// Takes 32 bytes as a digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

/// As a whole: what is derived for an array goes byte by byte.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let array = bytes.try_into().map(Self);
        array.map_err(|_| D::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}

/// At most 32 bytes as lower-case digits. Not by the formatter: for 32 bytes it takes longer than
/// their digest does, and every task has some.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    let text = str::from_utf8(&text[..bytes.len() * 2]);
    f.write_str(text.expect("digits are ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), hex);
        assert_eq!(
            Digest::of_reader(&mut &b"abc"[..]).unwrap(),
            (Digest::of(b"abc"), 3)
        );
        assert_eq!(Digest::parse_hex(hex), Some(Digest::of(b"abc")));
        assert_eq!(format!("{:?}", Digest::of(b"abc")), "ba7816bf");
        assert_eq!(Digest::of(b""), Digest::OF_NOTHING);
    }

    #[test]
    fn what_is_written_is_read_and_another_length_is_refused() {
        let digest = Digest::of(b"abc");
        let bytes = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(bytes.len(), 33);
        assert_eq!(postcard::from_bytes::<Digest>(&bytes), Ok(digest));
        let short = postcard::to_stdvec(&digest.as_bytes()[..31]).unwrap();
        assert!(postcard::from_bytes::<Digest>(&short).is_err());
    }

    #[test]
    fn malformed_hex_is_refused() {
        assert_eq!(Digest::parse_hex("ab"), None);
        assert_eq!(Digest::parse_hex(&"g".repeat(64)), None);
        assert_eq!(Digest::parse_hex(&"A".repeat(64)), None);
    }
}
