//! Globs over root-relative paths: [`Pattern`], [`PatternSet`], [`PatternIndex`].
//!
//! Syntax is `globset`'s with `/` literal: `*` stays within a component, `**` crosses them.
//! A pattern is split into a literal directory and the rest, so that an index can look up the
//! few patterns that a path can match at all, and a walk knows where not to go. Pure: nothing
//! here looks at the disk. See design §2.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::path::{RelDir, RelPath};

mod gram;
mod index;
mod plain;
mod sample;
mod set;

pub use index::PatternIndex;
pub use set::PatternSet;

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("the pattern is empty")]
    Empty,
    /// It climbs out of the root.
    #[error("the pattern `{pattern}` leaves the root")]
    LeavesRoot {
        /// The pattern as it was written.
        pattern: String,
    },
    /// `..` after a wildcard has no one meaning.
    #[error("the pattern `{pattern}` has `..` after a wildcard")]
    DotDotAfterWildcard {
        /// The pattern as it was written.
        pattern: String,
    },
    /// It is not a glob.
    #[error("the pattern `{pattern}` is not a glob: {reason}")]
    Syntax {
        /// The pattern as it was written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether a pattern adds what it matches to its set or takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Written plainly.
    Include,
    /// Written with a leading `!`.
    Exclude,
}

/// One glob, resolved against the directory it was written for.
#[derive(Clone, Debug)]
pub struct Pattern {
    effect: Effect,
    prefix: RelDir,
    rest: Rest,
}

/// What follows the literal directory.
#[derive(Clone, Debug)]
enum Rest {
    /// No wildcard at all: a file, or a directory with everything in it.
    Literal(RelPath),
    /// `**`: everything below.
    Everything,
    /// Only `*`, `?` and `**` in it.
    Plain(Arc<str>),
    /// Anything else. The matcher is made when it is first asked.
    Glob {
        glob: Arc<Glob>,
        matcher: OnceLock<GlobMatcher>,
    },
}

/// One component of a glob, as far as it helps to prune a walk.
#[derive(Debug)]
enum Part {
    Literal(Vec<u8>),
    /// One component with wildcards: any name may match.
    Wild,
    /// `**`, or something that may span components: anything may follow.
    Any,
}

impl Pattern {
    /// Parses `text`, relative to `dir`: a leading `!` excludes, a leading `/` means the root, a
    /// final `/` means everything in that directory.
    ///
    /// # Errors
    /// [`PatternError`]: empty, not a glob, or outside the root.
    pub fn parse(text: &str, dir: &RelDir) -> Result<Self, PatternError> {
        let (effect, body) = match text.strip_prefix('!') {
            Some(body) => (Effect::Exclude, body),
            None => (Effect::Include, text),
        };
        let (base, body) = match body.strip_prefix('/') {
            Some(body) => (&RelDir::ROOT, body),
            None => (dir, body),
        };
        if body.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut literal: Vec<Vec<u8>> = base
            .as_bytes()
            .split(|&b| b == b'/')
            .filter(|p| !p.is_empty())
            .map(Vec::from)
            .collect();
        let mut rest = body;
        while let Some((part, tail)) = next_literal(rest) {
            match part.as_slice() {
                b"" | b"." => {}
                b".." => {
                    let left = literal.pop();
                    left.ok_or_else(|| PatternError::LeavesRoot {
                        pattern: text.to_owned(),
                    })?;
                }
                _ => literal.push(part),
            }
            rest = tail;
        }
        if rest.is_empty() && body.ends_with('/') {
            rest = "**";
        }
        let path = literal.join(&b'/');
        let rest = match rest {
            "" => match RelPath::new(&path) {
                Some(path) => Rest::Literal(path),
                None => Rest::Everything,
            },
            "**" => Rest::Everything,
            _ => glob_rest(text, rest)?,
        };
        let prefix = match &rest {
            Rest::Literal(path) => path.parent(),
            _ => RelDir::new(&path).expect("normalised above"),
        };
        Ok(Self {
            effect,
            prefix,
            rest,
        })
    }

    /// Everything in the root.
    pub fn everything() -> Self {
        Self {
            effect: Effect::Include,
            prefix: RelDir::ROOT,
            rest: Rest::Everything,
        }
    }

    /// The pattern that names `path`, and what is in it if it is a directory.
    pub fn literal(path: RelPath) -> Self {
        Self {
            effect: Effect::Include,
            prefix: path.parent(),
            rest: Rest::Literal(path),
        }
    }

    /// The same pattern with the other effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Whether it includes or excludes.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The path it names, if it has no wildcard.
    pub fn as_literal(&self) -> Option<&RelPath> {
        match &self.rest {
            Rest::Literal(path) => Some(path),
            Rest::Everything | Rest::Plain(_) | Rest::Glob { .. } => None,
        }
    }

    /// The directory that everything it matches lies in.
    pub fn prefix(&self) -> &RelDir {
        &self.prefix
    }

    /// Some paths that it matches, whatever is on disk; none where that is hard to tell.
    pub fn samples(&self) -> Vec<RelPath> {
        let rests = match &self.rest {
            Rest::Literal(path) => return vec![path.clone()],
            Rest::Everything => sample::fill("**"),
            Rest::Plain(glob) => sample::fill(glob),
            Rest::Glob { glob, .. } => sample::fill(glob.glob()),
        };
        let path = |rest: String| {
            let below = [self.prefix.as_bytes(), rest.as_bytes()];
            let bytes = if self.prefix.is_root() {
                rest.into_bytes()
            } else {
                below.join(&b'/')
            };
            RelPath::new(&bytes).filter(|path| self.matches(path))
        };
        rests.into_iter().filter_map(path).collect()
    }

    /// Whether `path` is matched, whatever the effect.
    pub fn matches(&self, path: &RelPath) -> bool {
        match &self.rest {
            Rest::Literal(own) => path == own || below(path, own),
            Rest::Everything => path.is_below(&self.prefix),
            Rest::Plain(_) | Rest::Glob { .. } => {
                path.is_below(&self.prefix) && self.rest_matches(below_prefix(path, &self.prefix))
            }
        }
    }

    /// Whether a glob matches `rest`, a path from its literal directory on.
    fn rest_matches(&self, rest: &[u8]) -> bool {
        match &self.rest {
            Rest::Plain(glob) => plain::matches(glob.as_bytes(), rest),
            Rest::Glob { glob, matcher } => matcher
                .get_or_init(|| glob.compile_matcher())
                .is_match(OsStr::from_bytes(rest)),
            Rest::Literal(_) | Rest::Everything => unreachable!("BUG: asked as a glob"),
        }
    }

    /// Whether something below `dir` could be matched. `false` is certain, `true` is not.
    pub fn may_match_below(&self, dir: &RelDir) -> bool {
        if let Rest::Literal(own) = &self.rest {
            let own = RelDir::from(own.clone());
            return own.is_within(dir) || dir.is_within(&own);
        }
        if self.prefix.is_within(dir) {
            return true;
        }
        if !dir.is_within(&self.prefix) {
            return false;
        }
        let parts = match &self.rest {
            Rest::Plain(glob) => parts(glob),
            Rest::Glob { glob, .. } => parts(glob.glob()),
            Rest::Literal(_) | Rest::Everything => return true,
        };
        let Some(dir) = dir.as_rel_path() else {
            return true;
        };
        let names = below_prefix(dir, &self.prefix).split(|&byte| byte == b'/');
        let mut parts = parts.into_iter();
        for name in names {
            match parts.next() {
                Some(Part::Any) => return true,
                Some(Part::Wild) => {}
                Some(Part::Literal(part)) if *part == *name => {}
                Some(Part::Literal(_)) | None => return false,
            }
        }
        parts.next().is_some()
    }
}

impl fmt::Display for Pattern {
    /// Root-relative, in the watchfile's syntax.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.effect == Effect::Exclude {
            f.write_str("!")?;
        }
        if !self.prefix.is_root() {
            write!(f, "{}/", self.prefix)?;
        }
        match &self.rest {
            Rest::Literal(path) => f.write_str(&String::from_utf8_lossy(path.file_name())),
            Rest::Everything => f.write_str("**"),
            Rest::Plain(glob) => f.write_str(glob),
            Rest::Glob { glob, .. } => f.write_str(glob.glob()),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        let rest = match (&self.rest, &other.rest) {
            (Rest::Literal(a), Rest::Literal(b)) => a == b,
            (Rest::Everything, Rest::Everything) => true,
            (Rest::Plain(a), Rest::Plain(b)) => a == b,
            (Rest::Glob { glob: a, .. }, Rest::Glob { glob: b, .. }) => a.glob() == b.glob(),
            _ => false,
        };
        rest && self.effect == other.effect && self.prefix == other.prefix
    }
}

impl Eq for Pattern {}

/// Splits off the first component of `text`, unescaped, if it has no wildcard.
fn next_literal(text: &str) -> Option<(Vec<u8>, &str)> {
    if text.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'/' => return Some((out, &text[at + 1..])),
            b'*' | b'?' | b'[' | b'{' => return None,
            b'\\' => out.push(bytes.next()?.1),
            _ => out.push(byte),
        }
    }
    Some((out, ""))
}

fn glob_rest(pattern: &str, rest: &str) -> Result<Rest, PatternError> {
    if rest.split('/').any(|part| part == "..") {
        return Err(PatternError::DotDotAfterWildcard {
            pattern: pattern.to_owned(),
        });
    }
    let rest = if rest.ends_with('/') {
        format!("{rest}**")
    } else {
        rest.to_owned()
    };
    if plain::is_plain(&rest) {
        return Ok(Rest::Plain(rest.into()));
    }
    let glob = GlobBuilder::new(&rest)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| PatternError::Syntax {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        })?;
    Ok(Rest::Glob {
        glob: Arc::new(glob),
        matcher: OnceLock::new(),
    })
}

/// The components of a glob, up to one that anything may follow.
fn parts(rest: &str) -> impl Iterator<Item = Part> {
    let mut text = rest;
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        if let Some((literal, tail)) = next_literal(text) {
            text = tail;
            return Some(Part::Literal(literal));
        }
        let (part, tail) = text.split_once('/').unwrap_or((text, ""));
        // A brace or class may hold a `/`: from here on anything may follow.
        if part == "**" || part.contains(['{', '[']) {
            text = "";
            return Some(Part::Any);
        }
        text = tail;
        Some(Part::Wild)
    })
}

/// `path` without the directory it is known to lie below.
fn below_prefix<'a>(path: &'a RelPath, prefix: &RelDir) -> &'a [u8] {
    let skip = if prefix.is_root() {
        0
    } else {
        prefix.as_bytes().len() + 1
    };
    &path.as_bytes()[skip..]
}

fn below(path: &RelPath, dir: &RelPath) -> bool {
    path.as_bytes()
        .strip_prefix(dir.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests;
