//! `include`: which files its patterns name.
//!
//! Walks only where a pattern can match. Links are not followed; `.git` and `.watchrun` are not
//! entered.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

use crate::change::FileType;
use crate::disk::Disk;
use crate::path::{RelDir, RelPath, Root};
use crate::pattern::{Effect, Pattern, PatternSet};

use super::definition::pattern_hint;
use super::error::Error;
use super::kind::ErrorKind;
use super::reader::Text;
use super::sources::EXTENSION;

/// A file that is included, by which of the `include` patterns.
#[derive(Clone, Debug)]
pub(super) struct Included<'a, 't> {
    pub(super) path: RelPath,
    pub(super) by: &'a Text<'t>,
}

/// The patterns of `texts`, and the files they name: sorted by path, each once, without `main`.
///
/// A pattern that names nothing is an error, so that a slip does not silently drop tasks.
pub(super) fn expand<'a, 't>(
    texts: &'a [Text<'t>],
    main: &RelPath,
    files: (&dyn Disk, &Root),
    errors: &mut Vec<Error>,
) -> (PatternSet, Vec<Included<'a, 't>>) {
    let mut patterns = Vec::new();
    let mut by = Vec::new();
    for text in texts {
        match Pattern::parse(text.value, &main.parent()) {
            Ok(pattern) => {
                patterns.push(pattern);
                by.push(text);
            }
            Err(error) => {
                let hint = pattern_hint(&error);
                errors.push(Error::new(error.into(), text.span).with_hint(hint));
            }
        }
    }
    let set = PatternSet::new(patterns);
    let mut found = BTreeSet::new();
    walk(&set, &RelDir::ROOT, files, &mut found);
    for literal in set.includes().filter_map(Pattern::as_literal) {
        found.insert(literal.clone());
    }
    found.remove(main);
    let mut included = Vec::new();
    let mut used = vec![false; by.len()];
    for path in found {
        let hits = |n: &usize| names(&set.patterns()[*n], &path);
        let Some(last) = (0..by.len()).rev().find(hits) else {
            continue;
        };
        (0..by.len()).filter(hits).for_each(|n| used[n] = true);
        if set.patterns()[last].effect() == Effect::Include {
            included.push(Included { path, by: by[last] });
        }
    }
    for (n, pattern) in set.patterns().iter().enumerate() {
        if pattern.effect() == Effect::Include && !used[n] {
            errors.push(nothing_included(by[n]));
        }
    }
    (set, included)
}

/// Whether `pattern` names the file `path`: a literal names itself alone, a glob names watchfiles.
fn names(pattern: &Pattern, path: &RelPath) -> bool {
    match pattern.as_literal() {
        Some(literal) if pattern.effect() == Effect::Include => literal == path,
        _ => pattern.matches(path),
    }
}

fn walk(set: &PatternSet, dir: &RelDir, files: (&dyn Disk, &Root), found: &mut BTreeSet<RelPath>) {
    let globs = || {
        set.includes()
            .filter(|pattern| pattern.as_literal().is_none())
    };
    if !globs().any(|pattern| pattern.may_match_below(dir)) {
        return;
    }
    let (disk, root) = files;
    // A directory that cannot be listed has no watchfile that could be read.
    for name in disk.read_dir(&root.join_dir(dir)).unwrap_or_default() {
        let name = name.as_os_str().as_bytes();
        if matches!(name, b".git" | b".watchrun") {
            continue;
        }
        let Some(path) = dir.join(name) else {
            continue;
        };
        if name.ends_with(EXTENSION) && globs().any(|pattern| pattern.matches(&path)) {
            found.insert(path);
        } else if matches!(disk.stat(&root.join(&path)), Ok(stat) if stat.file_type() == FileType::Dir)
        {
            walk(set, &RelDir::from(path), files, found);
        }
    }
}

fn nothing_included(text: &Text<'_>) -> Error {
    let pattern = text.value.to_owned();
    let hint = "patterns are relative to the watchfile's directory and name `.toml` files, as in \
                `apps/*/watchfile.toml`";
    Error::new(ErrorKind::NothingIncluded { pattern }, text.span).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::disk::OsDisk;
    use crate::watchfile::task::Span;

    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], expected: &[&str], n_errors: usize) {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "a/w.toml",
            "b/w.toml",
            "b/c/w.toml",
            ".git/w.toml",
            "w.toml",
            "a/w.rs",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("b"), dir.path().join("link")).unwrap();
        let root = Root::new(dir.path()).unwrap();
        let span = Span {
            source: 0,
            start: 0,
            end: 0,
        };
        let texts: Vec<Text<'_>> = patterns.iter().map(|value| Text { value, span }).collect();
        let main = RelPath::new(b"w.toml").unwrap();
        let mut errors = Vec::new();
        let (_, included) = expand(&texts, &main, (&OsDisk, &root), &mut errors);
        let found: Vec<String> = included.iter().map(|file| file.path.to_string()).collect();
        assert_eq!(found, expected, "{patterns:?}");
        assert_eq!(errors.len(), n_errors, "{patterns:?}: {errors:?}");
    }

    #[test]
    fn globs_find_files_in_order_and_never_the_main_one() {
        check(&["*/w.toml"], &["a/w.toml", "b/w.toml"], 0);
        check(&["**/w.toml"], &["a/w.toml", "b/c/w.toml", "b/w.toml"], 0);
        check(&["b/c/w.toml", "a/*"], &["a/w.toml", "b/c/w.toml"], 0);
    }

    #[test]
    fn a_later_pattern_takes_away() {
        check(&["**/w.toml", "!b/**"], &["a/w.toml"], 0);
        check(
            &["**/w.toml", "!b", "b/c/w.toml"],
            &["a/w.toml", "b/c/w.toml"],
            0,
        );
    }

    #[test]
    fn a_glob_that_finds_nothing_is_an_error() {
        check(&["x/*.toml", "a/*.toml"], &["a/w.toml"], 1);
        check(&["../*.toml"], &[], 1);
    }

    #[test]
    fn a_literal_is_taken_without_a_look() {
        check(&["x/none.toml"], &["x/none.toml"], 0);
    }
}
