//! Globs over root-relative paths: [`Pattern`], [`PatternSet`], [`PatternIndex`].
//!
//! Syntax is `globset`'s with `/` literal: `*` stays within a component, `**` crosses them.
//! A pattern is split into a literal directory and the rest, so that an index can look up the
//! few patterns that a path can match at all, and a walk knows where not to go. Pure: nothing
//! here looks at the disk. See design §2.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::path::{RelDir, RelPath};

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
    /// Anything else. The matcher is made when it is first asked.
    Glob {
        glob: Glob,
        matcher: OnceLock<GlobMatcher>,
        parts: Vec<Part>,
    },
}

/// One component of a glob, as far as it helps to prune a walk.
#[derive(Clone, Debug)]
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
    #[must_use]
    pub fn everything() -> Self {
        Self {
            effect: Effect::Include,
            prefix: RelDir::ROOT,
            rest: Rest::Everything,
        }
    }

    /// The pattern that names `path`, and what is in it if it is a directory.
    #[must_use]
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
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The path it names, if it has no wildcard.
    #[must_use]
    pub fn as_literal(&self) -> Option<&RelPath> {
        match &self.rest {
            Rest::Literal(path) => Some(path),
            Rest::Everything | Rest::Glob { .. } => None,
        }
    }

    /// The directory that everything it matches lies in.
    #[must_use]
    pub fn prefix(&self) -> &RelDir {
        &self.prefix
    }

    /// Whether `path` is matched, whatever the effect.
    #[must_use]
    pub fn matches(&self, path: &RelPath) -> bool {
        match &self.rest {
            Rest::Literal(own) => path == own || below(path, own),
            Rest::Everything => path.is_below(&self.prefix),
            Rest::Glob { glob, matcher, .. } => {
                path.is_below(&self.prefix)
                    && matcher
                        .get_or_init(|| glob.compile_matcher())
                        .is_match(OsStr::from_bytes(below_prefix(path, &self.prefix)))
            }
        }
    }

    /// Whether something below `dir` could be matched. `false` is certain, `true` is not.
    #[must_use]
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
        let Rest::Glob { parts, .. } = &self.rest else {
            return true;
        };
        let Some(dir) = dir.as_rel_path() else {
            return true;
        };
        let names = below_prefix(dir, &self.prefix).split(|&byte| byte == b'/');
        let mut parts = parts.iter();
        for name in names {
            match parts.next() {
                Some(Part::Any) => return true,
                Some(Part::Wild) => {}
                Some(Part::Literal(part)) if part == name => {}
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
            Rest::Glob { glob, .. } => f.write_str(glob.glob()),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        let rest = match (&self.rest, &other.rest) {
            (Rest::Literal(a), Rest::Literal(b)) => a == b,
            (Rest::Everything, Rest::Everything) => true,
            (Rest::Glob { glob: a, .. }, Rest::Glob { glob: b, .. }) => a.glob() == b.glob(),
            _ => false,
        };
        rest && self.effect == other.effect && self.prefix == other.prefix
    }
}

impl Eq for Pattern {}

/// Patterns in the order they were written: the last one that matches a path decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
}

impl PatternSet {
    /// Takes the patterns in order.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns }
    }

    /// The patterns, in order.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether it can match nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self
            .patterns
            .iter()
            .any(|pattern| pattern.effect == Effect::Include)
    }

    /// Whether `path` is in the set.
    #[must_use]
    pub fn matches(&self, path: &RelPath) -> bool {
        self.deciding(path)
            .is_some_and(|pattern| pattern.effect == Effect::Include)
    }

    /// Whether `path` is in the set because a pattern without wildcards names it or a directory
    /// above it: such a path counts even when it is ignored.
    #[must_use]
    pub fn names(&self, path: &RelPath) -> bool {
        self.matches(path)
            && self.patterns.iter().any(|pattern| {
                pattern.effect == Effect::Include
                    && pattern.as_literal().is_some()
                    && pattern.matches(path)
            })
    }

    /// The pattern that decides about `path`: the last that matches.
    #[must_use]
    pub fn deciding(&self, path: &RelPath) -> Option<&Pattern> {
        self.patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches(path))
    }

    /// Whether something below `dir` could be in the set. `false` is certain, `true` is not.
    #[must_use]
    pub fn may_match_below(&self, dir: &RelDir) -> bool {
        self.includes().any(|pattern| pattern.may_match_below(dir))
    }

    /// The including patterns.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns
            .iter()
            .filter(|pattern| pattern.effect == Effect::Include)
    }
}

/// Many pattern sets, asked together which of them hold a path.
///
/// Patterns are bucketed by their literal directory: a path asks only the buckets of its own
/// ancestors. Building is cheap, a bucket's automaton is made at its first question.
#[derive(Debug)]
pub struct PatternIndex {
    sets: Vec<PatternSet>,
    buckets: HashMap<RelDir, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Owners of `**`.
    everything: Vec<usize>,
    literals: HashMap<RelPath, Vec<usize>>,
    globs: Vec<(Glob, usize)>,
    automaton: OnceLock<GlobSet>,
}

impl PatternIndex {
    /// Indexes `sets`; a set is known by its place in the list.
    #[must_use]
    pub fn new(sets: Vec<PatternSet>) -> Self {
        let mut buckets: HashMap<RelDir, Bucket> = HashMap::new();
        for (owner, set) in sets.iter().enumerate() {
            for pattern in set.includes() {
                let bucket = buckets.entry(pattern.prefix.clone()).or_default();
                match &pattern.rest {
                    Rest::Everything => bucket.everything.push(owner),
                    Rest::Literal(path) => {
                        bucket.literals.entry(path.clone()).or_default().push(owner);
                        // What lies in it, if it is a directory.
                        let inside = buckets.entry(RelDir::from(path.clone())).or_default();
                        inside.everything.push(owner);
                    }
                    Rest::Glob { glob, .. } => bucket.globs.push((glob.clone(), owner)),
                }
            }
        }
        Self { sets, buckets }
    }

    /// The places of the sets that hold `path`: ascending, no duplicates.
    #[must_use]
    pub fn matching(&self, path: &RelPath) -> Vec<usize> {
        let mut owners = Vec::new();
        for dir in path.ancestors() {
            let Some(bucket) = self.buckets.get(&dir) else {
                continue;
            };
            owners.extend(&bucket.everything);
            owners.extend(bucket.literals.get(path).into_iter().flatten());
            if !bucket.globs.is_empty() {
                let rest = OsStr::from_bytes(below_prefix(path, &dir));
                let hits = bucket.automaton().matches(rest);
                owners.extend(hits.into_iter().map(|hit| bucket.globs[hit].1));
            }
        }
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|&owner| {
            let set = &self.sets[owner];
            set.patterns
                .iter()
                .all(|pattern| pattern.effect == Effect::Include)
                || set.matches(path)
        });
        owners
    }
}

impl Bucket {
    fn automaton(&self) -> &GlobSet {
        self.automaton.get_or_init(|| {
            let mut builder = GlobSetBuilder::new();
            for (glob, _) in &self.globs {
                builder.add(glob.clone());
            }
            builder
                .build()
                .expect("each glob was checked when it was parsed")
        })
    }
}

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
        glob,
        matcher: OnceLock::new(),
        parts: parts(&rest),
    })
}

fn parts(rest: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = rest;
    while !text.is_empty() {
        if let Some((literal, tail)) = next_literal(text) {
            parts.push(Part::Literal(literal));
            text = tail;
            continue;
        }
        let (part, tail) = text.split_once('/').unwrap_or((text, ""));
        // A brace or class may hold a `/`: from here on anything may follow.
        if part == "**" || part.contains(['{', '[']) {
            parts.push(Part::Any);
            return parts;
        }
        parts.push(Part::Wild);
        text = tail;
    }
    parts
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
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn dir(text: &str) -> RelDir {
        RelDir::new(text.as_bytes()).unwrap()
    }

    fn set(patterns: &[&str]) -> PatternSet {
        PatternSet::new(
            patterns
                .iter()
                .map(|p| Pattern::parse(p, &RelDir::ROOT).unwrap())
                .collect(),
        )
    }

    /// `yes` and `no` are lists of paths, separated by blanks.
    #[track_caller]
    fn check(patterns: &[&str], yes: &str, no: &str) {
        let set = set(patterns);
        let index = PatternIndex::new(vec![set.clone()]);
        for (paths, expected) in [(yes, true), (no, false)] {
            for text in paths.split_whitespace() {
                assert_eq!(set.matches(&path(text)), expected, "{patterns:?} on {text}");
                assert_eq!(
                    !index.matching(&path(text)).is_empty(),
                    expected,
                    "index: {text}"
                );
                let reachable = path(text).ancestors().all(|dir| set.may_match_below(&dir));
                assert!(!expected || reachable, "a walk would not reach {text}");
            }
        }
    }

    #[test]
    fn stars_stay_in_a_component_and_double_stars_do_not() {
        check(&["src/*.rs"], "src/a.rs", "src/a/b.rs a.rs src/a.c");
        check(&["src/**/*.rs"], "src/a.rs src/a/b/c.rs", "lib/a.rs src");
        check(&["**/*.{ts,js}"], "a.ts x/y.js", "a.rs");
        check(
            &["Cargo.{toml,lock}"],
            "Cargo.toml Cargo.lock",
            "x/Cargo.toml",
        );
        check(&["gen/**"], "gen/a gen/b/c", "gen generic/a");
        check(&["{a/b,c}/*.x"], "a/b/1.x c/2.x", "a/1.x");
    }

    #[test]
    fn a_literal_names_a_file_or_a_whole_directory() {
        check(&["data"], "data data/x data/y/z", "data2 x/data");
        check(&["data/"], "data/x data/y/z", "data");
        check(&["./a/../b.txt"], "b.txt", "a/b.txt");
        check(&[r"we\*ird"], "we*ird", "weXird");
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        check(
            &["**", "!gen/**", "gen/keep.txt"],
            "a gen/keep.txt",
            "gen/x",
        );
        check(&["!gen/**", "**"], "gen/x", "");
        check(&["!a"], "", "a b");
    }

    #[test]
    fn patterns_are_relative_to_their_directory_and_a_slash_means_the_root() {
        let parse = |text| Pattern::parse(text, &dir("web/app")).unwrap();
        assert!(parse("*.ts").matches(&path("web/app/a.ts")));
        assert!(parse("../lib/**").matches(&path("web/lib/a.ts")));
        assert!(parse("/Cargo.toml").matches(&path("Cargo.toml")));
        assert_eq!(parse("!../lib/*.ts").to_string(), "!web/lib/*.ts");
    }

    #[test]
    fn a_directory_with_glob_characters_is_taken_literally() {
        let pattern = Pattern::parse("*.c", &dir("a[1]")).unwrap();
        assert!(pattern.matches(&path("a[1]/x.c")));
        assert!(!pattern.matches(&path("a1/x.c")));
    }

    #[test]
    fn refused_patterns_say_why() {
        let error = |text| Pattern::parse(text, &RelDir::ROOT).unwrap_err();
        assert_eq!(error(""), PatternError::Empty);
        assert!(matches!(error("../x"), PatternError::LeavesRoot { .. }));
        assert!(matches!(
            error("*/../x"),
            PatternError::DotDotAfterWildcard { .. }
        ));
        assert!(matches!(error("src/[a"), PatternError::Syntax { .. }));
        assert!(matches!(error("{a,b"), PatternError::Syntax { .. }));
    }

    #[test]
    fn walks_skip_directories_that_no_pattern_can_reach() {
        let set = set(&["src/*.rs", "pkgs/*/in/**", "!src/x/**"]);
        for (text, expected) in [
            (".", true),
            ("src", true),
            ("src/a", false),
            ("pkgs", true),
            ("pkgs/1", true),
            ("pkgs/1/in/deep", true),
            ("pkgs/1/out", false),
            ("docs", false),
        ] {
            assert_eq!(set.may_match_below(&dir(text)), expected, "{text}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        let odd = RelPath::new(b"src/\xff.rs").unwrap();
        assert!(set(&["src/*.rs"]).matches(&odd));
        assert_eq!(
            PatternIndex::new(vec![set(&["**/*.rs"])]).matching(&odd),
            [0]
        );
    }

    #[test]
    fn only_a_pattern_without_wildcards_names_a_path() {
        let set = set(&["out/app", "dist/**", "!out/app/tmp"]);
        assert!(set.names(&path("out/app")));
        assert!(set.names(&path("out/app/x")));
        assert!(!set.names(&path("dist/x")));
        assert!(!set.names(&path("out/app/tmp")));
    }

    #[test]
    fn the_index_gives_every_owner_once_in_order() {
        let index = PatternIndex::new(vec![
            set(&["src/**", "src/a.rs"]),
            set(&["**/*.rs", "!src/**"]),
            set(&["**/*.rs"]),
        ]);
        assert_eq!(index.matching(&path("src/a.rs")), [0, 2]);
        assert_eq!(index.matching(&path("b.rs")), [1, 2]);
        assert_eq!(index.matching(&path("b.c")), [0_usize; 0]);
    }
}
