//! Durations as a watchfile writes them: `10ms`, `5s`, `1m30s`, `2h`, `0`.

use std::time::Duration;

use super::error::Error;
use super::kind::ErrorKind;
use super::reader::Text;

/// The units, longest first, with their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Parses one or more numbers with their units, or a bare `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (_, ns) = UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
        rest = rest[end..].trim_start();
        total = total.checked_add(Duration::from_nanos(number.checked_mul(*ns)?))?;
    }
    Some(total)
}

/// The duration in `text`; an error and `None` when there is none.
pub(super) fn lower_duration(text: &Text<'_>, errors: &mut Vec<Error>) -> Option<Duration> {
    let parsed = parse_duration(text.value);
    if parsed.is_none() {
        let kind = ErrorKind::Malformed {
            value: text.value.to_owned(),
            expected: "a duration",
        };
        errors.push(Error::new(kind, text.span).with_hint(duration_hint(text.value)));
    }
    parsed
}

/// The same, and more than nothing.
pub(super) fn lower_positive(
    key: &str,
    text: &Text<'_>,
    errors: &mut Vec<Error>,
) -> Option<Duration> {
    let duration = lower_duration(text, errors)?;
    if duration.is_zero() {
        let kind = ErrorKind::OutOfRange {
            key: key.to_owned(),
            expected: "more than 0",
            value: text.value.to_owned(),
        };
        errors.push(Error::new(kind, text.span).with_hint("leave the key out for the default"));
        return None;
    }
    Some(duration)
}

fn duration_hint(text: &str) -> String {
    if text.starts_with('-') {
        return "a duration is not negative".to_owned();
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("write the unit, as in `\"{text}s\"`");
    }
    if text.contains('.') {
        return "write whole numbers, as in `\"1500ms\"` or `\"1s500ms\"`".to_owned();
    }
    "the units are `h`, `m`, `s`, `ms`, `us` and `ns`, as in `\"1m30s\"`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ms: Option<u64>) {
        assert_eq!(
            parse_duration(text),
            ms.map(Duration::from_millis),
            "{text}"
        );
    }

    #[test]
    fn numbers_with_units_add_up() {
        check("10ms", Some(10));
        check("5s", Some(5_000));
        check("1m30s", Some(90_000));
        check("1h 2m", Some(3_720_000));
        check("2h", Some(7_200_000));
        check("1000us", Some(1));
        check("0", Some(0));
        check("0s", Some(0));
    }

    #[test]
    fn what_has_no_unit_or_another_one_is_refused() {
        for text in [
            "",
            "5",
            "-5s",
            "1.5s",
            "5x",
            "s",
            "5 s",
            "99999999999999999h",
            "1m30",
            "５s",
        ] {
            check(text, None);
        }
    }
}
