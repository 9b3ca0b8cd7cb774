//! Paths that a glob matches, made up from its text: [`fill`].
//!
//! They prove that two patterns have a path in common, without knowing of any file.

/// Stands for what a wildcard matches.
const NAME: &str = "x";

/// So many alternatives of braces are tried.
const ALTERNATIVES_MAX: usize = 4;

/// Some paths that `glob` should match, one at least; whoever asks checks that it does.
pub(super) fn fill(glob: &str) -> Vec<String> {
    let depths: &[&str] = if glob.contains("**/") {
        &["", "x/"]
    } else {
        &[""]
    };
    let choices = if glob.contains('{') {
        ALTERNATIVES_MAX
    } else {
        1
    };
    let mut filled: Vec<String> = Vec::new();
    for depth in depths {
        let glob = glob.replace("**/", depth).replace("**", NAME);
        for choice in 0..choices {
            let path = fill_parts(&glob, choice);
            if !filled.contains(&path) {
                filled.push(path);
            }
        }
    }
    filled
}

/// `glob` without `**`; of braces, the alternative number `choice` is taken.
fn fill_parts(glob: &str, choice: usize) -> String {
    let mut path = String::new();
    let mut rest = glob;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' | '?' => path.push_str(NAME),
            '\\' => {
                let escaped = rest.chars().next();
                path.extend(escaped);
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
            }
            '[' => {
                let (class, after) = rest.split_once(']').unwrap_or((rest, ""));
                path.extend(class.chars().next());
                rest = after;
            }
            '{' => {
                let (group, after) = rest.split_once('}').unwrap_or((rest, ""));
                let alternatives: Vec<&str> = group.split(',').collect();
                let taken = alternatives[choice % alternatives.len()];
                path.push_str(&fill_parts(taken, choice));
                rest = after;
            }
            other => path.push(other),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn wildcards_become_names() {
        #[track_caller]
        fn check(glob: &str, expected: &[&str]) {
            assert_eq!(fill(glob), expected, "{glob}");
        }
        check("*.c", &["x.c"]);
        check("a?/**", &["ax/x"]);
        check("**/*.c", &["x.c", "x/x.c"]);
        check("*.{c,h}", &["x.c", "x.h"]);
        check("[ab]\\*", &["a*"]);
        check("[", &[""]);
        check("{", &[""]);
    }
}
