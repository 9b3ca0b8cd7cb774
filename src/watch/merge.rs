//! Two change sets as one: [`merge`], for who does not fetch them one by one.

use std::collections::BTreeMap;

use crate::change::{Change, ChangeKind, ChangeSet, FileType};
use crate::path::RelPath;

/// One set that says of every path what the two say together: the union of the paths, with the
/// final state. Its id is that of `later`.
#[must_use]
pub fn merge(earlier: &ChangeSet, later: &ChangeSet) -> ChangeSet {
    let mut paths: BTreeMap<RelPath, Fate> = BTreeMap::new();
    for change in earlier.changes.iter().chain(&later.changes) {
        note(&mut paths, change);
    }
    // A rename whose origin is there again is a creation.
    let gone = |path: &RelPath| paths.get(path).is_some_and(|fate| fate.was && !fate.is);
    let origins: BTreeMap<RelPath, RelPath> = paths
        .iter()
        .filter(|(_, fate)| !fate.was && fate.is)
        .filter_map(|(path, fate)| Some((path.clone(), fate.origin.clone()?)))
        .filter(|(_, origin)| gone(origin))
        .collect();
    let mut consumed: Vec<RelPath> = origins.values().cloned().collect();
    consumed.sort_unstable();
    let changes = paths
        .into_iter()
        .filter_map(|(path, fate)| {
            let kind = match (fate.was, fate.is) {
                (false, false) => return None,
                (false, true) => match origins.get(&path) {
                    Some(from) => ChangeKind::Renamed { from: from.clone() },
                    None => ChangeKind::Created,
                },
                (true, false) if consumed.binary_search(&path).is_ok() => return None,
                (true, false) => ChangeKind::Removed,
                (true, true) if fate.content => ChangeKind::Modified,
                (true, true) => ChangeKind::Metadata,
            };
            Some(Change {
                path,
                kind,
                file_type: fate.file_type,
            })
        })
        .collect();
    ChangeSet {
        id: later.id,
        changes,
        complete: earlier.complete && later.complete,
    }
}

/// What is known of a path over several sets.
#[derive(Clone, Debug)]
struct Fate {
    was: bool,
    is: bool,
    content: bool,
    file_type: FileType,
    /// The path, before all sets, of what is here now.
    origin: Option<RelPath>,
}

fn note(paths: &mut BTreeMap<RelPath, Fate>, change: &Change) {
    let (was, is, content) = match change.kind {
        ChangeKind::Created | ChangeKind::Renamed { .. } => (false, true, true),
        ChangeKind::Modified => (true, true, true),
        ChangeKind::Metadata => (true, true, false),
        ChangeKind::Removed => (true, false, true),
    };
    let mut origin = None;
    if let ChangeKind::Renamed { from } = &change.kind {
        let left = set(paths, from, (true, false, true), change.file_type);
        origin = if left.was {
            Some(from.clone())
        } else {
            left.origin.take()
        };
    }
    let fate = set(paths, &change.path, (was, is, content), change.file_type);
    if !matches!(change.kind, ChangeKind::Modified | ChangeKind::Metadata) {
        fate.origin = origin;
    }
}

fn set<'a>(
    paths: &'a mut BTreeMap<RelPath, Fate>,
    path: &RelPath,
    (was, is, content): (bool, bool, bool),
    file_type: FileType,
) -> &'a mut Fate {
    let fate = paths.entry(path.clone()).or_insert(Fate {
        was,
        is,
        content,
        file_type,
        origin: None,
    });
    fate.is = is;
    fate.content |= content;
    fate.file_type = file_type;
    fate
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+a` created, `-a` removed, `~a` modified, `.a` metadata, `a>b` renamed.
    fn set_of(id: u64, text: &str) -> ChangeSet {
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        let parse = |word: &str| {
            let (kind, name) = match word.split_once('>') {
                Some((from, to)) => (ChangeKind::Renamed { from: path(from) }, to),
                None => match word.split_at(1) {
                    ("+", name) => (ChangeKind::Created, name),
                    ("-", name) => (ChangeKind::Removed, name),
                    ("~", name) => (ChangeKind::Modified, name),
                    (_, name) => (ChangeKind::Metadata, name),
                },
            };
            Change {
                path: path(name),
                kind,
                file_type: FileType::File,
            }
        };
        ChangeSet {
            id,
            changes: text.split_whitespace().map(parse).collect(),
            complete: true,
        }
    }

    #[track_caller]
    fn check(earlier: &str, later: &str, expected: &str) {
        let merged = merge(&set_of(1, earlier), &set_of(2, later));
        assert_eq!(merged, set_of(2, expected), "{earlier} then {later}");
    }

    #[test]
    fn a_path_comes_once_with_its_final_state() {
        check("+a", "~a", "+a");
        check("+a", "-a", "");
        check("-a", "+a", "~a");
        check("~a", "-a", "-a");
        check(".a", ".a", ".a");
        check(".a", "~a", "~a");
        check("~a", ".a", "~a");
        check("~a", "+b", "~a +b");
    }

    #[test]
    fn renames_are_followed_and_dissolve_when_their_origin_returns() {
        check("a>b", "b>c", "a>c");
        check("a>b", "~b", "a>b");
        check("a>b", "-b", "-a");
        check("a>b", "+a", "~a +b");
        check("+a", "a>b", "+b");
        check("a>b", "b>a", "~a");
        check("~a", "a>b", "a>b");
    }

    #[test]
    fn a_gap_in_either_is_a_gap_in_both() {
        let mut gap = set_of(1, "~a");
        gap.complete = false;
        assert!(!merge(&gap, &set_of(2, "~b")).complete);
        assert!(!merge(&set_of(2, "~b"), &gap).complete);
    }
}
