//! Globs of `*`, `?`, `**` and plain bytes, matched as they are written: [`matches`].
//!
//! Most globs are of this kind. They cannot be wrong and need no automaton, so a watchfile of
//! thousands of them costs nothing until it is asked. Agrees with `globset` on every path.

/// Whether `glob` is of this kind. Any other may be wrong, or needs `globset` to match.
pub(super) fn is_plain(glob: &str) -> bool {
    let is_deep = |part: &str| part == "**";
    let mut parts = glob.split('/');
    let mut last_deep = false;
    // Doubled separators, and what two `**` in a row mean, are left to `globset`.
    let is_simple = parts.all(|part| {
        let was_deep = std::mem::replace(&mut last_deep, is_deep(part));
        !(part.is_empty() || was_deep && last_deep)
    });
    is_simple && !glob.contains(['[', ']', '{', '}', '\\', ','])
}

/// Whether a plain `glob` matches `path`, a normal relative path.
pub(super) fn matches(glob: &[u8], path: &[u8]) -> bool {
    let (mut glob, mut path) = (Some(glob), Some(path));
    // Behind the last `**`: the rest of the glob, and the path from where it was tried last.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = glob
            && let (b"**", after) = first_part(rest)
        {
            let Some(after) = after else {
                return path.is_some();
            };
            let Some(here) = path else {
                return false;
            };
            retry = Some((after, here));
            glob = Some(after);
            continue;
        }
        if let (Some(rest), Some(here)) = (glob, path) {
            let ((part, glob_rest), (name, path_rest)) = (first_part(rest), first_part(here));
            if name_matches(part, name) {
                (glob, path) = (glob_rest, path_rest);
                continue;
            }
        } else if glob.is_none() && path.is_none() {
            return true;
        }
        let Some((after, tried)) = retry else {
            return false;
        };
        let (_, Some(next)) = first_part(tried) else {
            return false;
        };
        retry = Some((after, next));
        (glob, path) = (Some(after), Some(next));
    }
}

fn first_part(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// `*` is any bytes, `?` is one.
fn name_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    // Behind the last `*`, and how far it reaches.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match glob.get(g) {
            Some(b'*') => {
                g += 1;
                retry = Some((g, n));
                continue;
            }
            Some(b'?') if n < name.len() => {
                (g, n) = (g + 1, n + 1);
                continue;
            }
            Some(byte) if name.get(n) == Some(byte) => {
                (g, n) = (g + 1, n + 1);
                continue;
            }
            None if n == name.len() => return true,
            _ => {}
        }
        match retry {
            Some((after, reach)) if reach < name.len() => {
                retry = Some((after, reach + 1));
                (g, n) = (after, reach + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use globset::GlobBuilder;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn by_globset(glob: &str, path: &[u8]) -> bool {
        let glob = GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .expect("a plain glob is never wrong");
        glob.compile_matcher().is_match(OsStr::from_bytes(path))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn it_agrees_with_globset(
            glob in proptest::collection::vec("[ab.é]{0,2}|\\*|\\*\\*|[ab]?\\*\\*?[ab.]?\\*?|\\?a?", 1..5),
            path in proptest::collection::vec("[ab.é]{1,3}", 1..5),
        ) {
            let (glob, path) = (glob.join("/"), path.join("/"));
            prop_assume!(is_plain(&glob));
            let expected = by_globset(&glob, path.as_bytes());
            prop_assert_eq!(matches(glob.as_bytes(), path.as_bytes()), expected, "{} {}", glob, path);
        }
    }

    #[test]
    fn what_may_be_wrong_or_strange_is_not_plain() {
        for glob in ["a[", "{a", "a}", "a\\", "**/**/a", "a//b", "a,b", "a/"] {
            assert!(!is_plain(glob), "{glob}");
        }
        assert!(is_plain("**/a*/?x/**"));
    }

    #[test]
    fn bytes_that_are_no_text_are_bytes() {
        assert!(matches(b"*/?.c", b"\xff/\xfe.c"));
        assert!(!matches(b"?.c", b"\xff\xfe.c"));
    }
}
