//! TOML values with their places: [`Reader`] takes one apart and notes what does not fit.
//!
//! Knows types and spans; which keys there are is [`super::raw`]'s business.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::suggest::nearest;

use super::error::{Error, did_you_mean};
use super::keys::NOT_SUPPORTED;
use super::kind::ErrorKind;
use super::task::Span;

/// A value and where it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A string and where it is written.
pub(super) type Text<'t> = At<&'t str>;

/// A value as the TOML parser gives it.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A key of a table, with the key that messages name it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'t> {
    pub(super) key: &'t str,
    pub(super) span: Span,
    pub(super) value: &'t Value<'t>,
}

/// A table whose keys are known.
pub(super) struct Shape<'a> {
    /// What it is called in [`NOT_SUPPORTED`].
    pub(super) table: &'a str,
    /// What it is called in messages.
    pub(super) phrase: &'a dyn Fn() -> String,
    /// What it may hold.
    pub(super) keys: &'a [&'a str],
    /// Keys that it may not hold though similar tables do.
    pub(super) misplaced: &'a [&'a str],
    /// What the hint says of those.
    pub(super) misplaced_hint: &'a str,
}

/// Reads the values of one file.
#[derive(Debug)]
pub(super) struct Reader<'e> {
    source: usize,
    errors: &'e mut Vec<Error>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(source: usize, errors: &'e mut Vec<Error>) -> Self {
        Self { source, errors }
    }

    /// Parses `text` as far as it can be, noting every syntax error.
    pub(super) fn parse<'t>(&mut self, text: &'t str) -> DeTable<'t> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = self.span(&error.span().unwrap_or(0..0));
            let message = error.message().to_owned();
            self.refuse(Error::new(ErrorKind::Syntax { message }, span));
        }
        table.into_inner()
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.errors.push(error);
    }

    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        Span {
            source: self.source,
            start: range.start,
            end: range.end,
        }
    }

    /// The entries of a table whose keys are free, in file order.
    pub(super) fn entries<'t>(&mut self, table: &'t DeTable<'t>) -> Vec<Field<'t>> {
        let mut fields: Vec<Field<'t>> = table
            .iter()
            .map(|(key, value)| Field {
                key: key.get_ref(),
                span: self.span(&key.span()),
                value,
            })
            .collect();
        fields.sort_unstable_by_key(|field| field.span.start);
        fields
    }

    /// The entries of a table whose keys are known; the others are refused.
    pub(super) fn fields<'t>(
        &mut self,
        table: &'t DeTable<'t>,
        shape: &Shape<'_>,
    ) -> Vec<Field<'t>> {
        let mut fields = Vec::with_capacity(table.len());
        for (key, value) in table {
            let field = Field {
                key: key.get_ref(),
                span: self.span(&key.span()),
                value,
            };
            if shape.keys.contains(&field.key) {
                fields.push(field);
                if NOT_SUPPORTED.contains(&(shape.table, field.key)) {
                    let key = field.key.to_owned();
                    self.refuse(Error::new(ErrorKind::NotSupported { key }, field.span));
                }
            } else {
                self.refuse(unknown_key(&field, shape));
            }
        }
        fields
    }

    pub(super) fn table<'t>(&mut self, field: &Field<'t>) -> Option<&'t DeTable<'t>> {
        match field.value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.wrong_type(field, "a table"),
        }
    }

    pub(super) fn text<'t>(&mut self, field: &Field<'t>) -> Option<Text<'t>> {
        match field.value.get_ref() {
            DeValue::String(text) => self.whole_text(field, text),
            _ => self.wrong_type(field, "a string"),
        }
    }

    /// A string that is not empty.
    pub(super) fn some_text<'t>(&mut self, field: &Field<'t>) -> Option<Text<'t>> {
        let text = self.text(field)?;
        if text.value.trim().is_empty() {
            let key = field.key.to_owned();
            self.refuse(Error::new(ErrorKind::Empty { key }, text.span));
            return None;
        }
        Some(text)
    }

    pub(super) fn bool(&mut self, field: &Field<'_>) -> Option<At<bool>> {
        match field.value.get_ref() {
            DeValue::Boolean(value) => Some(At {
                value: *value,
                span: self.span(&field.value.span()),
            }),
            _ => self.wrong_type(field, "`true` or `false`"),
        }
    }

    pub(super) fn integer(&mut self, field: &Field<'_>) -> Option<At<i64>> {
        let DeValue::Integer(integer) = field.value.get_ref() else {
            return self.wrong_type(field, "an integer");
        };
        let span = self.span(&field.value.span());
        let Ok(value) = i64::from_str_radix(integer.as_str(), integer.radix()) else {
            let kind = ErrorKind::OutOfRange {
                key: field.key.to_owned(),
                expected: "an integer of 64 bits",
                value: integer.as_str().to_owned(),
            };
            self.refuse(Error::new(kind, span));
            return None;
        };
        Some(At { value, span })
    }

    /// A list of strings, each not empty. Elements that do not fit are noted and left out.
    pub(super) fn texts<'t>(&mut self, field: &Field<'t>) -> Option<At<Vec<Text<'t>>>> {
        let mut texts = self.words_or_none(field)?;
        texts.value.retain(|text| {
            let is_empty = text.value.trim().is_empty();
            if is_empty {
                let key = field.key.to_owned();
                self.refuse(Error::new(ErrorKind::EmptyElement { key }, text.span));
            }
            !is_empty
        });
        Some(texts)
    }

    /// The same, with at least one element.
    pub(super) fn some_texts<'t>(&mut self, field: &Field<'t>) -> Option<At<Vec<Text<'t>>>> {
        self.refuse_empty(field)?;
        self.texts(field)
    }

    /// The words of a command: the first is not empty, the others may be.
    pub(super) fn words<'t>(&mut self, field: &Field<'t>) -> Option<At<Vec<Text<'t>>>> {
        self.refuse_empty(field)?;
        let words = self.words_or_none(field)?;
        if let Some(first) = words.value.first()
            && first.value.trim().is_empty()
        {
            let key = field.key.to_owned();
            self.refuse(Error::new(ErrorKind::EmptyElement { key }, first.span));
            return None;
        }
        Some(words)
    }

    fn words_or_none<'t>(&mut self, field: &Field<'t>) -> Option<At<Vec<Text<'t>>>> {
        let DeValue::Array(array) = field.value.get_ref() else {
            return self.wrong_type(field, "a list of strings");
        };
        let mut texts = Vec::with_capacity(array.len());
        for value in array {
            let element = Field { value, ..*field };
            match value.get_ref() {
                DeValue::String(text) => texts.extend(self.whole_text(&element, text)),
                _ => self.refuse_element(&element),
            }
        }
        Some(At {
            value: texts,
            span: self.span(&field.value.span()),
        })
    }

    fn refuse_element(&mut self, element: &Field<'_>) {
        let value = element.value.get_ref();
        let found = match value {
            DeValue::String(_) => "one with a string",
            DeValue::Integer(_) => "one with an integer",
            DeValue::Float(_) => "one with a float",
            DeValue::Boolean(_) => "one with a boolean",
            DeValue::Datetime(_) => "one with a date",
            DeValue::Array(_) => "one with a list",
            DeValue::Table(_) => "one with a table",
        };
        let kind = ErrorKind::WrongType {
            key: element.key.to_owned(),
            expected: "a list of strings",
            found,
        };
        let mut error = Error::new(kind, self.span(&element.value.span()));
        error.hint = type_hint(value, "a string");
        self.refuse(error);
    }

    /// `None`, with an error, for a list without elements.
    fn refuse_empty(&mut self, field: &Field<'_>) -> Option<()> {
        match field.value.get_ref() {
            DeValue::Array(array) if array.is_empty() => {
                let key = field.key.to_owned();
                let span = self.span(&field.value.span());
                self.refuse(Error::new(ErrorKind::Empty { key }, span));
                None
            }
            _ => Some(()),
        }
    }

    /// Refuses the type of a value. Always `None`, so that callers can return it.
    pub(super) fn wrong_type<T>(&mut self, field: &Field<'_>, expected: &'static str) -> Option<T> {
        let value = field.value.get_ref();
        let kind = ErrorKind::WrongType {
            key: field.key.to_owned(),
            expected,
            found: with_article(value),
        };
        let mut error = Error::new(kind, self.span(&field.value.span()));
        error.hint = type_hint(value, expected);
        self.refuse(error);
        None
    }

    fn whole_text<'t>(&mut self, field: &Field<'t>, text: &'t str) -> Option<Text<'t>> {
        let span = self.span(&field.value.span());
        if text.contains('\0') {
            let key = field.key.to_owned();
            self.refuse(Error::new(ErrorKind::Nul { key }, span));
            return None;
        }
        Some(At { value: text, span })
    }
}

fn unknown_key(field: &Field<'_>, shape: &Shape<'_>) -> Error {
    let key = field.key.to_owned();
    let table = (shape.phrase)();
    if shape.misplaced.contains(&field.key) {
        return Error::new(ErrorKind::MisplacedKey { key, table }, field.span)
            .with_hint(shape.misplaced_hint);
    }
    let hint = match nearest(field.key, shape.keys.iter().copied()) {
        Some(name) => did_you_mean(name),
        None => format!("the keys here are {}", listed(shape.keys)),
    };
    Error::new(ErrorKind::UnknownKey { key, table }, field.span).with_hint(hint)
}

/// The words in backticks, separated by commas.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn type_hint(value: &DeValue<'_>, expected: &str) -> Option<String> {
    match value {
        DeValue::String(text) if expected.starts_with("a list") => {
            Some(format!("write `[{text:?}]`"))
        }
        DeValue::String(text) if is_bare(text) && !expected.contains("string") => {
            Some(format!("write `{text}` without quotes"))
        }
        DeValue::Integer(number) if expected.starts_with("a duration") => {
            Some(format!("write the unit, as in `\"{number}s\"`"))
        }
        DeValue::Integer(number) if expected.contains("string") => {
            Some(format!("write `\"{number}\"`"))
        }
        DeValue::Boolean(value) if expected.contains("string") => {
            Some(format!("write `\"{value}\"`"))
        }
        DeValue::Integer(number) if expected.starts_with("`true`") => match number.as_str() {
            "0" => Some("write `false`".to_owned()),
            "1" => Some("write `true`".to_owned()),
            _ => None,
        },
        DeValue::String(text) if expected.starts_with("`true`") => {
            let value = matches!(text.as_ref(), "yes" | "on" | "1" | "y");
            Some(format!("write `{value}` without quotes"))
        }
        _ if expected.starts_with("a table") => {
            Some("write `{ key = \"value\" }`, or a header like `[table]`".to_owned())
        }
        _ => None,
    }
}

fn is_bare(text: &str) -> bool {
    matches!(text, "true" | "false") || text.parse::<i64>().is_ok()
}
