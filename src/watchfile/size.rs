//! Numbers of bytes as a watchfile writes them: `5GiB`, `500MB`, `1024`.

use super::error::Error;
use super::kind::ErrorKind;
use super::raw::Scalar;
use super::reader::At;

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The number of bytes; an error and `None` when it is none.
pub(super) fn lower_size(value: At<Scalar<'_>>, errors: &mut Vec<Error>) -> Option<u64> {
    let (bytes, written) = match value.value {
        Scalar::Integer(bytes) => (u64::try_from(bytes).ok(), bytes.to_string()),
        Scalar::Text(text) => (parse_size(text), text.to_owned()),
    };
    if bytes.is_none() {
        let kind = ErrorKind::Malformed {
            value: written,
            expected: "a number of bytes",
        };
        let hint = "write a whole number and a unit, as in `\"500MB\"` or `\"5GiB\"`";
        errors.push(Error::new(kind, value.span).with_hint(hint));
    }
    bytes
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_or_binary() {
        assert_eq!(parse_size("5GiB"), Some(5 << 30));
        assert_eq!(parse_size("500 MB"), Some(500_000_000));
        assert_eq!(parse_size("1024"), Some(1024));
        assert_eq!(parse_size("0"), Some(0));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "GiB", "-1", "1.5GiB", "5 gigs", "99999999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
