//! Which paths the user of a watch cares about: [`Select`], a pattern set made fast for walks.
//!
//! Patterns are bucketed by their literal directory, so that a thousand tasks' globs cost a walk
//! no more than a few look-ups a directory. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::change::FileType;
use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::pattern::{Effect, Pattern, PatternIndex, PatternSet};

/// What is watched and modelled: everything, or what a set of patterns holds.
#[derive(Debug)]
pub(crate) enum Select {
    /// No pattern narrows it.
    Everything,
    /// What the patterns hold.
    Patterns(Box<Patterns>),
}

#[derive(Debug)]
pub(crate) struct Patterns {
    set: PatternSet,
    index: PatternIndex,
    /// Including patterns by the directory everything they match lies in.
    buckets: HashMap<RelDir, Vec<Pattern>>,
    /// Those directories and all above them.
    on_the_way: HashSet<RelDir>,
    literals: Vec<Pattern>,
    /// For directories in which no pattern has a wildcard: the few names that can matter.
    only_names: HashMap<RelDir, BTreeSet<Box<[u8]>>>,
}

/// More names than this are looked for by reading the directory.
const FEW_NAMES: usize = 16;

impl Select {
    pub(crate) fn new(set: Option<&PatternSet>) -> Self {
        let Some(set) = set else {
            return Self::Everything;
        };
        let mut buckets: HashMap<RelDir, Vec<Pattern>> = HashMap::new();
        let mut on_the_way = HashSet::new();
        let mut literals = Vec::new();
        for pattern in set.includes() {
            let mut dir = Some(pattern.prefix().clone());
            while let Some(here) = dir {
                dir = here.parent();
                on_the_way.insert(here);
            }
            if pattern.as_literal().is_some() {
                literals.push(pattern.clone());
            }
            let bucket = buckets.entry(pattern.prefix().clone()).or_default();
            bucket.push(pattern.clone());
        }
        let everything = set.patterns().first() == Some(&Pattern::everything())
            && set.patterns().iter().all(|p| p.effect() == Effect::Include);
        if everything && literals.is_empty() {
            return Self::Everything;
        }
        let only_names = only_names(&on_the_way, &buckets);
        Self::Patterns(Box::new(Patterns {
            only_names,
            index: PatternIndex::new(vec![set.clone()]),
            set: set.clone(),
            buckets,
            on_the_way,
            literals,
        }))
    }

    /// Whether `path` is selected, if it is not ignored.
    pub(crate) fn matches(&self, path: &RelPath) -> bool {
        match self {
            Self::Everything => true,
            Self::Patterns(patterns) => !patterns.index.matching(path).is_empty(),
        }
    }

    /// Whether `path`, which is like `stat`, is of interest if it is not ignored: it is selected,
    /// or a directory that something selected may lie in.
    pub(crate) fn models(&self, path: &RelPath, stat: &FileStat) -> bool {
        match stat.file_type() {
            FileType::Dir => self.may_match_below(&RelDir::from(path.clone())),
            FileType::File | FileType::Symlink | FileType::Other => self.matches(path),
        }
    }

    /// Whether something below `dir` may be selected.
    pub(crate) fn may_match_below(&self, dir: &RelDir) -> bool {
        let Self::Patterns(patterns) = self else {
            return true;
        };
        if patterns.on_the_way.contains(dir) {
            return true;
        }
        let mut above = Some(dir.clone());
        while let Some(here) = above {
            let bucket = patterns.buckets.get(&here);
            if bucket.is_some_and(|all| all.iter().any(|p| p.may_match_below(dir))) {
                return true;
            }
            above = here.parent();
        }
        false
    }

    /// The names of which alone something may be selected in `dir` or below it, where they are few
    /// and known.
    pub(crate) fn only_names(&self, dir: &RelDir) -> Option<&BTreeSet<Box<[u8]>>> {
        match self {
            Self::Everything => None,
            Self::Patterns(patterns) => patterns.only_names.get(dir),
        }
    }

    /// Whether a pattern without wildcards names `path`: it counts even when it is ignored.
    pub(crate) fn names(&self, path: &RelPath) -> bool {
        match self {
            Self::Everything => false,
            Self::Patterns(patterns) => {
                patterns.literals.iter().any(|p| p.matches(path)) && patterns.set.names(path)
            }
        }
    }

    /// Whether such a pattern names `dir` or something below it.
    pub(crate) fn may_name_below(&self, dir: &RelDir) -> bool {
        match self {
            Self::Everything => false,
            Self::Patterns(patterns) => patterns.literals.iter().any(|p| p.may_match_below(dir)),
        }
    }
}

/// See [`Patterns::only_names`].
fn only_names(
    on_the_way: &HashSet<RelDir>,
    buckets: &HashMap<RelDir, Vec<Pattern>>,
) -> HashMap<RelDir, BTreeSet<Box<[u8]>>> {
    let mut names: HashMap<RelDir, BTreeSet<Box<[u8]>>> = HashMap::new();
    let literals = buckets.values().flatten().filter_map(Pattern::as_literal);
    let dirs = on_the_way.iter().filter_map(RelDir::as_rel_path);
    for path in literals.chain(dirs) {
        let below = names.entry(path.parent()).or_default();
        below.insert(path.file_name().into());
    }
    let is_open = |dir: &RelDir| {
        let has_glob = |all: &Vec<Pattern>| all.iter().any(|p| p.as_literal().is_none());
        let own = buckets.get(dir).is_some_and(has_glob);
        let from_above = |here: RelDir| {
            let bucket = buckets.get(&here);
            bucket.is_some_and(|all| all.iter().any(|p| p.may_match_below(dir)))
        };
        own || std::iter::successors(dir.parent(), RelDir::parent).any(from_above)
    };
    names.retain(|dir, below| below.len() <= FEW_NAMES && !is_open(dir));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(texts: &[&str]) -> Select {
        let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
        Select::new(Some(&PatternSet::new(texts.iter().map(parse).collect())))
    }

    fn dir(text: &str) -> RelDir {
        RelDir::new(text.as_bytes()).unwrap()
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn walks_stop_where_no_pattern_can_match() {
        let select = select(&["src/**/*.rs", "pkg/*/in/**", "out/app"]);
        for (text, expected) in [
            (".", true),
            ("src/deep/er", true),
            ("pkg/a", true),
            ("pkg/a/in/x", true),
            ("pkg/a/out", false),
            ("out", true),
            ("out/app", true),
            ("out/other", false),
            ("doc", false),
        ] {
            assert_eq!(select.may_match_below(&dir(text)), expected, "{text}");
        }
    }

    #[test]
    fn names_are_known_where_no_wildcard_can_match() {
        let select = select(&[
            "pkg/a/in/**",
            "pkg/a/Makefile",
            "pkg/b/*.c",
            "doc",
            "pkg/*/x/y",
        ]);
        let names = |text: &str| {
            let names = select.only_names(&dir(text))?;
            let names = names.iter().map(|name| String::from_utf8_lossy(name));
            Some(names.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(".").as_deref(), Some("doc pkg"));
        // `pkg/*/x/y` may match below it, and below `pkg/a`; `doc` may be a directory.
        for open in ["pkg", "pkg/a", "pkg/a/in", "pkg/b", "doc", "elsewhere"] {
            assert_eq!(names(open), None, "{open}");
        }
        let select = self::select(&["pkg/a/in/**", "pkg/a/Makefile"]);
        let count = |text: &str| select.only_names(&dir(text)).map(BTreeSet::len);
        assert_eq!((count("pkg"), count("pkg/a")), (Some(1), Some(2)));
    }

    #[test]
    fn only_plain_paths_beat_ignore_rules() {
        let select = select(&["**/*.rs", "out/app"]);
        assert!(select.names(&path("out/app")));
        assert!(select.may_name_below(&dir("out")));
        assert!(!select.names(&path("out/x.rs")));
        assert!(!select.may_name_below(&dir("src")));
        assert!(select.matches(&path("out/x.rs")));
        assert!(!select.matches(&path("out/x.c")));
    }

    #[test]
    fn everything_is_recognised() {
        assert!(matches!(select(&["**"]), Select::Everything));
        assert!(matches!(select(&["**", "!a"]), Select::Patterns(_)));
        assert!(matches!(Select::new(None), Select::Everything));
    }
}
