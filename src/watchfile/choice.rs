//! Values that are one of a few words.

use crate::suggest::nearest;

use super::error::{Error, did_you_mean};
use super::kind::ErrorKind;
use super::reader::{Text, listed};

/// The choice that `text` names; an error and `None` when it names none.
pub(super) fn lower_choice<T: Copy>(
    key: &str,
    text: &Text<'_>,
    choices: &[(&str, T)],
    errors: &mut Vec<Error>,
) -> Option<T> {
    let found = choices.iter().find(|(word, _)| *word == text.value);
    if let Some((_, choice)) = found {
        return Some(*choice);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let hint = match nearest(text.value, words.iter().copied()) {
        Some(word) => did_you_mean(word),
        None => format!("write one of {}", listed(&words)),
    };
    let kind = ErrorKind::UnknownChoice {
        key: key.to_owned(),
        value: text.value.to_owned(),
    };
    errors.push(Error::new(kind, text.span).with_hint(hint));
    None
}
