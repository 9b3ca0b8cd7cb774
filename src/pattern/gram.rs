//! Which of many globs a path can match at all: [`Grams`].
//!
//! Three bytes in a row that everything a glob matches must hold (`unit7/**/*_test*` needs
//! `it7`, `**/*.rs` needs `.rs`) are found in a path by one pass over its bytes. A path and a glob
//! are looked at with a `/` before and behind, so that the ends of names count too. What is found
//! may still not match; what is not found cannot.

use std::collections::HashMap;

/// Globs by three bytes that each needs. A glob is known by its place in the list.
#[derive(Clone, Debug)]
pub(super) struct Grams {
    places: HashMap<Gram, Vec<usize>>,
    /// A bit for the hash of each key: most grams of a path need not be looked up.
    likely: [u64; 64],
    /// Globs that need no three bytes in a row, such as `*`.
    any: Vec<usize>,
}

/// Three bytes.
type Gram = u32;

/// With more alternatives than this a glob counts as needing nothing.
const ALTERNATIVES_MAX: usize = 32;

impl Grams {
    /// Each glob under the grams that fewest others need: one for each of its alternatives.
    pub(super) fn new<'a>(globs: impl Iterator<Item = &'a str>) -> Self {
        let needs: Vec<Vec<Vec<Gram>>> = globs
            .map(|glob| {
                let alternatives = alternatives(glob).unwrap_or_default();
                alternatives.iter().map(|glob| needed(glob)).collect()
            })
            .collect();
        let mut counts: HashMap<Gram, usize> = HashMap::new();
        for &gram in needs.iter().flatten().flatten() {
            *counts.entry(gram).or_default() += 1;
        }
        let mut grams = Self {
            places: HashMap::new(),
            likely: [0; 64],
            any: Vec::new(),
        };
        for (place, alternatives) in needs.iter().enumerate() {
            let rarest = |needed: &Vec<Gram>| needed.iter().copied().min_by_key(|g| counts[g]);
            match alternatives.iter().map(rarest).collect::<Option<Vec<_>>>() {
                Some(mut rarest) if !rarest.is_empty() => {
                    rarest.sort_unstable();
                    rarest.dedup();
                    for gram in rarest {
                        grams.add(gram, place);
                    }
                }
                _ => grams.any.push(place),
            }
        }
        grams
    }

    /// The places of the globs that may match `path`; a place may come twice.
    pub(super) fn candidates<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let bytes = [b'/'].into_iter().chain(path.iter().copied()).chain([b'/']);
        let found = grams(bytes).filter(|&gram| {
            let (word, bit) = place_of(gram);
            self.likely[word] & bit != 0
        });
        let found = found.filter_map(|gram| self.places.get(&gram)).flatten();
        found.chain(&self.any).copied()
    }

    fn add(&mut self, gram: Gram, place: usize) {
        let (word, bit) = place_of(gram);
        self.likely[word] |= bit;
        self.places.entry(gram).or_default().push(place);
    }
}

/// The bit of a gram: 12 bits of a multiplicative hash.
fn place_of(gram: Gram) -> (usize, u64) {
    let hash = gram.wrapping_mul(0x9E37_79B1) >> 20;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// Every three bytes in a row.
fn grams(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = Gram> {
    let rolling = bytes.scan(0, |last: &mut Gram, byte| {
        *last = (*last << 8 | Gram::from(byte)) & 0x00FF_FFFF;
        Some(*last)
    });
    rolling.skip(2)
}

/// The grams that all matches of `glob`, which has no braces, hold.
fn needed(glob: &str) -> Vec<Gram> {
    let mut found = Vec::new();
    let mut run = vec![b'/'];
    let mut rest = glob.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'*' | b'?' | b'[', _) => {
                found.extend(grams(run.drain(..)));
                if byte == b'[' {
                    rest = &tail[class_length(tail)..];
                }
            }
            (b'\\', [escaped, tail @ ..]) => {
                run.push(*escaped);
                rest = tail;
            }
            _ => run.push(byte),
        }
    }
    run.push(b'/');
    found.extend(grams(run.drain(..)));
    found
}

/// The globs without braces that together match what `glob` does; `None` if they are too many, or
/// it is not to be understood.
fn alternatives(glob: &str) -> Option<Vec<String>> {
    let bytes = glob.as_bytes();
    let Some(open) = find_outside(bytes, b"{") else {
        return Some(vec![glob.to_owned()]);
    };
    let mut choices = Vec::new();
    let mut start = open + 1;
    let mut depth = 1;
    while depth > 0 {
        let mut at = start;
        loop {
            at += find_outside(&bytes[at..], b"{},")?;
            match bytes[at] {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || depth == 1 && bytes[at] == b',' {
                break;
            }
            at += 1;
        }
        choices.push(&glob[start..at]);
        start = at + 1;
    }
    let mut all = Vec::new();
    for choice in choices {
        all.extend(alternatives(&format!(
            "{}{choice}{}",
            &glob[..open],
            &glob[start..]
        ))?);
        if all.len() > ALTERNATIVES_MAX {
            return None;
        }
    }
    Some(all)
}

/// Where the first of `wanted` stands that is neither escaped nor in a class.
fn find_outside(glob: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = glob.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => at += class_length(&glob[at + 1..]),
            byte if wanted.contains(byte) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// How long a class is behind its `[`, with its `]`: one right at the start is a member.
fn class_length(rest: &[u8]) -> usize {
    let negation = usize::from(matches!(rest.first(), Some(b'!' | b'^')));
    let members = rest.iter().skip(negation + 1);
    let close = members.copied().position(|byte| byte == b']');
    close.map_or(rest.len(), |at| negation + 1 + at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::{RelDir, RelPath};
    use crate::pattern::{Pattern, PatternIndex, PatternSet};

    fn texts(glob: &str) -> Vec<String> {
        let text = |gram: Gram| String::from_utf8_lossy(&gram.to_be_bytes()[1..]).into_owned();
        needed(glob).into_iter().map(text).collect()
    }

    #[test]
    fn a_glob_needs_its_literal_runs_with_the_ends_of_names() {
        assert_eq!(texts("*/u1/**/*.rs"), ["/u1", "u1/", ".rs", "rs/"]);
        assert_eq!(texts("**/a[xyz]bcd"), ["bcd", "cd/"]);
        assert_eq!(texts("x[]]b[!]]c[^a]*"), [""; 0]);
        assert_eq!(texts(r"a\*b*"), ["/a*", "a*b"]);
        assert_eq!(texts("**/*"), [""; 0]);
    }

    #[test]
    fn braces_are_written_out() {
        let check = |glob: &str, expected: &[&str]| {
            assert_eq!(alternatives(glob).unwrap(), expected, "{glob}");
        };
        check("a", &["a"]);
        check("{a,b}.{c,}", &["a.c", "a.", "b.c", "b."]);
        check("x{a{1,2},b/c}y", &["xa1y", "xa2y", "xb/cy"]);
        check(r"\{a,b\}[{,}]", &[r"\{a,b\}[{,}]"]);
        assert_eq!(alternatives("{a,b"), None);
        assert_eq!(alternatives(&"{a,b}".repeat(6)), None);
    }

    #[test]
    fn only_globs_that_may_match_are_candidates() {
        let globs: Vec<String> = (0..1000).map(|n| format!("*/unit{n}/**/*_test*")).collect();
        let grams = Grams::new(globs.iter().map(String::as_str));
        for n in [0, 7, 70, 500, 999] {
            let path = format!("pkg/unit{n}/deep/er/my_test.c");
            let found: Vec<usize> = grams.candidates(path.as_bytes()).collect();
            assert!(found.contains(&n) && found.len() < 30, "{n}: {found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn an_index_of_many_answers_as_each_pattern_alone(
            globs in proptest::collection::vec(
                proptest::collection::vec(
                    "[ab.]{1,3}|\\*|\\*\\*|[ab]\\*[ab.]?|\\?a?|\\{[ab]{1,2},[ab]?\\*?\\}[ab]?|\\[\\]ab\\]b|\\[!a\\]b", 1..4),
                8..20),
            paths in proptest::collection::vec(proptest::collection::vec("[ab.]{1,3}", 1..4), 20),
        ) {
            let patterns: Vec<Pattern> = globs
                .iter()
                .map(|parts| format!("*/{}", parts.join("/")))
                .filter_map(|glob| Pattern::parse(&glob, &RelDir::ROOT).ok())
                .collect();
            let sets = patterns.iter().map(|pattern| PatternSet::new(vec![pattern.clone()]));
            let index = PatternIndex::new(sets.collect());
            for path in paths {
                let path = path.join("/");
                let Some(path) = RelPath::new(path.as_bytes()) else {
                    continue;
                };
                let alone: Vec<usize> =
                    (0..patterns.len()).filter(|&n| patterns[n].matches(&path)).collect();
                prop_assert_eq!(index.matching(&path), alone, "{} {:?}", path, &globs);
            }
        }
    }
}
