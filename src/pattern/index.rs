//! Many pattern sets at once: [`PatternIndex`].

use std::collections::HashMap;
use std::sync::OnceLock;

use super::gram::Grams;
use super::{Pattern, PatternSet, Rest};
use crate::path::{RelDir, RelPath};

/// Many pattern sets, asked together which of them hold a path.
///
/// Building is cheap: what makes a long list quick is made at the first question.
#[derive(Debug)]
pub struct PatternIndex {
    sets: Vec<PatternSet>,
    /// Sets with exclusions: what the buckets find for these has to be confirmed.
    excluding: Vec<bool>,
    buckets: Buckets,
}

impl PatternIndex {
    /// Indexes `sets`; a set is known by its place in the list.
    pub fn new(sets: Vec<PatternSet>) -> Self {
        let owned = sets.iter().enumerate();
        let buckets =
            Buckets::new(owned.flat_map(|(owner, set)| set.includes().map(move |p| (p, owner))));
        let excludes = |set: &PatternSet| set.patterns().len() != set.includes().count();
        Self {
            excluding: sets.iter().map(excludes).collect(),
            sets,
            buckets,
        }
    }

    /// The places of the sets that hold `path`: ascending, no duplicates.
    pub fn matching(&self, path: &RelPath) -> Vec<usize> {
        let mut owners = Vec::new();
        self.buckets.visit(path, &mut |owner| owners.push(owner));
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|&owner| !self.excluding[owner] || self.sets[owner].matches(path));
        owners
    }
}

/// Patterns by their literal directory: a path asks only the buckets of its own ancestors.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    /// By the bytes of the directory, empty for the root.
    by_dir: HashMap<Box<[u8]>, Bucket>,
    /// Owners of each path that a pattern names.
    literals: HashMap<RelPath, Vec<usize>>,
    /// How long the keys of both are: most paths need not be looked up.
    lengths: Lengths,
}

/// The lengths of some texts. Those of 127 bytes and more are not told apart.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths(u128);

impl Lengths {
    fn add(&mut self, text: &[u8]) {
        self.0 |= 1 << text.len().min(127);
    }

    fn may_hold(self, text: &[u8]) -> bool {
        self.0 & 1 << text.len().min(127) != 0
    }
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Owners of `**`, and of a literal that is this directory.
    everything: Vec<usize>,
    /// Whether one of those is a literal.
    named: bool,
    globs: Vec<(Pattern, usize)>,
    /// Where there are many globs: which of them a path can match at all.
    grams: OnceLock<Box<Grams>>,
}

/// From so many globs on they are looked up.
const LOOKUP_FROM: usize = 8;

impl Buckets {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (&'a Pattern, usize)>) -> Self {
        let mut by_dir: HashMap<Box<[u8]>, Bucket> = HashMap::new();
        let mut literals: HashMap<RelPath, Vec<usize>> = HashMap::new();
        let mut lengths = Lengths::default();
        for (pattern, owner) in patterns {
            if let Some(path) = pattern.as_literal() {
                lengths.add(path.as_bytes());
                literals.entry(path.clone()).or_default().push(owner);
                let inside = by_dir.entry(path.as_bytes().into()).or_default();
                inside.everything.push(owner);
                inside.named = true;
                continue;
            }
            lengths.add(pattern.prefix().as_bytes());
            let bucket = by_dir
                .entry(pattern.prefix().as_bytes().into())
                .or_default();
            match &pattern.rest {
                Rest::Everything => bucket.everything.push(owner),
                Rest::Plain(_) | Rest::Glob { .. } => bucket.globs.push((pattern.clone(), owner)),
                Rest::Literal(_) => unreachable!("BUG: literals were dealt with above"),
            }
        }
        Self {
            by_dir,
            literals,
            lengths,
        }
    }

    /// Calls `found` with the owner of each pattern that matches; an owner may come twice.
    pub(super) fn visit(&self, path: &RelPath, found: &mut dyn FnMut(usize)) {
        self.named(path)
            .into_iter()
            .flatten()
            .copied()
            .for_each(&mut *found);
        for (bucket, rest) in self.above(path) {
            bucket.everything.iter().copied().for_each(&mut *found);
            bucket.matching(rest).for_each(|(_, owner)| found(*owner));
        }
    }

    pub(super) fn any(&self, path: &RelPath) -> bool {
        self.named(path).is_some()
            || self.above(path).any(|(bucket, rest)| {
                !bucket.everything.is_empty() || bucket.matching(rest).next().is_some()
            })
    }

    /// Whether a pattern without wildcards matches.
    pub(super) fn names(&self, path: &RelPath) -> bool {
        self.named(path).is_some() || self.above(path).any(|(bucket, _)| bucket.named)
    }

    /// As [`Pattern::may_match_below`], for patterns whose literal directory is `dir` or above.
    pub(super) fn may_match_below(&self, dir: &RelDir) -> bool {
        let mut next = Some(dir.clone());
        while let Some(above) = next {
            if let Some(bucket) = self.by_dir.get(above.as_bytes())
                && (!bucket.everything.is_empty()
                    || bucket
                        .globs
                        .iter()
                        .any(|(pattern, _)| pattern.may_match_below(dir)))
            {
                return true;
            }
            next = above.parent();
        }
        false
    }

    /// The buckets of the directories above `path`, each with the rest of the path below it.
    fn above<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = (&'a Bucket, &'a [u8])> {
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let dirs = ends.map(|(at, _)| (&bytes[..at], &bytes[at + 1..]));
        std::iter::once((&bytes[..0], bytes))
            .chain(dirs)
            .filter(|(dir, _)| self.lengths.may_hold(dir))
            .filter_map(|(dir, rest)| Some((self.by_dir.get(dir)?, rest)))
    }

    /// The owners of patterns that name `path`. Each is a directory's key too.
    fn named(&self, path: &RelPath) -> Option<&Vec<usize>> {
        let is_likely = self.lengths.may_hold(path.as_bytes());
        is_likely.then(|| self.literals.get(path)).flatten()
    }
}

impl Bucket {
    /// The globs that match `rest`, a path from this directory on; one may come twice.
    fn matching<'a>(&'a self, rest: &'a [u8]) -> impl Iterator<Item = &'a (Pattern, usize)> {
        let is_long = self.globs.len() >= LOOKUP_FROM;
        let candidates = is_long.then(|| self.grams().candidates(rest));
        let looked_up = candidates
            .into_iter()
            .flatten()
            .map(|place| &self.globs[place]);
        let short = if is_long { &[][..] } else { &self.globs[..] };
        looked_up
            .chain(short)
            .filter(move |(pattern, _)| pattern.rest_matches(rest))
    }

    fn grams(&self) -> &Grams {
        self.grams.get_or_init(|| {
            let globs = self.globs.iter().map(|(pattern, _)| match &pattern.rest {
                Rest::Plain(glob) => &**glob,
                Rest::Glob { glob, .. } => glob.glob(),
                Rest::Literal(_) | Rest::Everything => {
                    unreachable!("BUG: a bucket lists only globs")
                }
            });
            Box::new(Grams::new(globs))
        })
    }
}
