//! Patterns in order: [`PatternSet`].

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use super::index::Buckets;
use super::{Effect, Pattern};
use crate::path::{RelDir, RelPath};

/// From this many patterns on a set looks them up instead of trying one after the other.
const LOOKUP_FROM: usize = 16;

/// Patterns in the order they were written: the last one that matches a path decides.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PatternSet(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    patterns: Vec<Pattern>,
    // Large, and few sets have one.
    lookup: OnceLock<Box<Lookup>>,
}

/// What makes a large set without exclusions quick to ask.
#[derive(Debug)]
struct Lookup {
    buckets: Buckets,
    /// Every directory that some pattern's literal directory is, or lies below.
    on_the_way: HashSet<RelDir>,
}

impl PartialEq for PatternSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.patterns == other.0.patterns
    }
}

impl Eq for PatternSet {}

impl PatternSet {
    /// Takes the patterns in order.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(Arc::new(Inner {
            patterns,
            lookup: OnceLock::new(),
        }))
    }

    /// The patterns, in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.0.patterns
    }

    /// Whether it can match nothing.
    pub fn is_empty(&self) -> bool {
        !self
            .0
            .patterns
            .iter()
            .any(|pattern| pattern.effect() == Effect::Include)
    }

    /// Whether `path` is in the set.
    pub fn matches(&self, path: &RelPath) -> bool {
        match self.lookup() {
            Some(lookup) => lookup.buckets.any(path),
            None => self
                .deciding(path)
                .is_some_and(|pattern| pattern.effect() == Effect::Include),
        }
    }

    /// Whether `path` is in the set because a pattern without wildcards names it or a directory
    /// above it: such a path counts even when it is ignored.
    pub fn names(&self, path: &RelPath) -> bool {
        if let Some(lookup) = self.lookup() {
            return lookup.buckets.names(path);
        }
        let literal = |pattern: &Pattern| pattern.as_literal().is_some() && pattern.matches(path);
        self.includes().any(literal) && self.matches(path)
    }

    /// The pattern that decides about `path`: the last that matches.
    pub fn deciding(&self, path: &RelPath) -> Option<&Pattern> {
        self.0
            .patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches(path))
    }

    /// Whether something below `dir` could be in the set. `false` is certain, `true` is not.
    pub fn may_match_below(&self, dir: &RelDir) -> bool {
        match self.lookup() {
            Some(lookup) => lookup.on_the_way.contains(dir) || lookup.buckets.may_match_below(dir),
            None => self.includes().any(|pattern| pattern.may_match_below(dir)),
        }
    }

    /// The including patterns.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        self.0
            .patterns
            .iter()
            .filter(|pattern| pattern.effect() == Effect::Include)
    }

    fn lookup(&self) -> Option<&Lookup> {
        if self.0.patterns.len() < LOOKUP_FROM {
            return None;
        }
        if self
            .0
            .patterns
            .iter()
            .any(|pattern| pattern.effect() == Effect::Exclude)
        {
            return None;
        }
        let lookup: &Lookup = self.0.lookup.get_or_init(|| {
            let mut on_the_way = HashSet::new();
            for pattern in &self.0.patterns {
                let mut next = Some(pattern.prefix().clone());
                while let Some(dir) = next {
                    next = dir.parent();
                    if !on_the_way.insert(dir) {
                        break;
                    }
                }
            }
            let buckets = Buckets::new(self.0.patterns.iter().map(|pattern| (pattern, 0)));
            Box::new(Lookup {
                buckets,
                on_the_way,
            })
        });
        Some(lookup)
    }
}
