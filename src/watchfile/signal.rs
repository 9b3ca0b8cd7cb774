//! Signals as a watchfile writes them: `TERM`, `SIGINT`, `15`.

use rustix::process::Signal;

use crate::suggest::nearest;

use super::error::{Error, did_you_mean};
use super::kind::ErrorKind;
use super::raw::Scalar;
use super::reader::At;

const NAMES: [(&str, Signal); 16] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("HUP", Signal::HUP),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("PIPE", Signal::PIPE),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("WINCH", Signal::WINCH),
];

/// What stops a command when nothing else is said.
pub(super) const DEFAULT: i32 = Signal::TERM.as_raw();

/// The signal's number; an error and `None` when there is no such signal.
pub(super) fn lower_signal(value: At<Scalar<'_>>, errors: &mut Vec<Error>) -> Option<i32> {
    let (number, written) = match value.value {
        Scalar::Integer(number) => (in_range(number), number.to_string()),
        Scalar::Text(text) => (parse_signal(text), text.to_owned()),
    };
    if number.is_none() {
        let names = NAMES.map(|(name, _)| name);
        let bare = written.strip_prefix("SIG").unwrap_or(&written);
        let hint = match nearest(&bare.to_ascii_uppercase(), names) {
            Some(name) => did_you_mean(name),
            None => {
                "write a name like `\"TERM\"`, `\"INT\"` or `\"HUP\"`, or a number from 1 to 64"
                    .to_owned()
            }
        };
        let kind = ErrorKind::Malformed {
            value: written,
            expected: "a signal",
        };
        errors.push(Error::new(kind, value.span).with_hint(hint));
    }
    number
}

fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i64>() {
        return in_range(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let (_, signal) = NAMES.iter().find(|(known, _)| *known == name)?;
    Some(signal.as_raw())
}

fn in_range(number: i64) -> Option<i32> {
    (1..=64)
        .contains(&number)
        .then(|| i32::try_from(number).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_sig_and_numbers_are_signals() {
        assert_eq!(parse_signal("TERM"), Some(15));
        assert_eq!(parse_signal("SIGINT"), Some(2));
        assert_eq!(parse_signal("9"), Some(9));
    }

    #[test]
    fn other_words_and_numbers_are_not() {
        for text in ["", "SIG", "term", "TREM", "0", "65", "-1"] {
            assert_eq!(parse_signal(text), None, "{text}");
        }
    }
}
