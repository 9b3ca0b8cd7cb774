//! Tests of patterns, sets and the index, on the same rows.

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

/// The same set with so many patterns more that it is looked up; `None` where it excludes.
fn padded(patterns: &[&str]) -> Option<PatternSet> {
    let more: Vec<String> = (0..20).map(|n| format!("never/{n}/*.x")).collect();
    let all: Vec<&str> = patterns
        .iter()
        .copied()
        .chain(more.iter().map(String::as_str))
        .collect();
    patterns
        .iter()
        .all(|pattern| !pattern.starts_with('!'))
        .then(|| set(&all))
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
            let wide = padded(patterns);
            assert_eq!(
                wide.as_ref().is_none_or(|set| set.matches(&path(text))),
                expected || wide.is_none(),
                "lookup: {text}"
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
fn a_large_set_answers_as_a_small_one() {
    let small = set(&["src/*.rs", "pkgs/*/in/**", "out/app"]);
    let large = padded(&["src/*.rs", "pkgs/*/in/**", "out/app"]).unwrap();
    for text in [
        ".",
        "src",
        "src/a",
        "pkgs",
        "pkgs/1",
        "pkgs/1/in",
        "pkgs/1/out",
        "out/app",
        "x",
    ] {
        assert_eq!(
            small.may_match_below(&dir(text)),
            large.may_match_below(&dir(text)),
            "{text}"
        );
    }
    for text in ["out/app", "out/app/x", "out/b", "src/a.rs"] {
        assert_eq!(small.names(&path(text)), large.names(&path(text)), "{text}");
    }
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
