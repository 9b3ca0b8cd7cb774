//! Shell lines that need no shell: [`plain_words`]. Pure.

/// The words of a `sh` line that needs nothing of a shell, so that its program can be executed
/// directly with the same observable result; `None` when a shell is needed, or may be.
///
/// A line is plain when it is one simple command: words parted by blanks, of ASCII characters
/// without meaning to any shell of the Bourne family, or quoted where quoting changes nothing
/// but the parting of words. A first word that a shell knows itself (a builtin, a reserved word,
/// an assignment) is not plain: what it runs may differ from the program of that name, or there
/// is none. `true` and `false` without arguments are alike in both and are plain.
///
/// ```
/// use watchrun::exec::plain_words;
/// assert_eq!(plain_words("cargo test --lib").as_deref(),
///            Some(&["cargo".into(), "test".into(), "--lib".into()][..]));
/// assert_eq!(plain_words("cd src && make"), None);
/// ```
pub fn plain_words(line: &str) -> Option<Vec<String>> {
    let words = split(line)?;
    let first = words.first()?;
    let alike = words.len() == 1 && matches!(first.as_str(), "true" | "false");
    let odd = first.is_empty() || first.starts_with('-') || first.contains('=');
    if !alike && (odd || SHELL_WORDS.binary_search(&first.as_str()).is_ok()) {
        return None;
    }
    Some(words)
}

/// Splits at blanks and takes quotes away; `None` at the first character that a shell may read
/// as anything but itself.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == char => break,
                        '$' | '`' | '\\' | '!' if char == '"' => return None,
                        '\0' => return None,
                        inner => word.push(inner),
                    }
                }
            }
            '#' if word.is_none() => return None,
            _ if is_plain(char) => word.get_or_insert_default().push(char),
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}

fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "%+,-./:=@_#".contains(char)
}

/// What the shells of the Bourne family (dash, bash, ksh, mksh, zsh, busybox) treat themselves.
/// Sorted.
const SHELL_WORDS: &[&str] = &[
    ".",
    ":",
    "[",
    "alias",
    "always",
    "autoload",
    "bg",
    "bind",
    "bindkey",
    "break",
    "builtin",
    "bye",
    "caller",
    "case",
    "cat",
    "cd",
    "chdir",
    "command",
    "compdef",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disable",
    "disown",
    "do",
    "done",
    "echo",
    "echotc",
    "elif",
    "else",
    "emulate",
    "enable",
    "end",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "float",
    "for",
    "foreach",
    "function",
    "functions",
    "getconf",
    "getln",
    "getopts",
    "global",
    "hash",
    "help",
    "hist",
    "history",
    "if",
    "in",
    "integer",
    "jobs",
    "kill",
    "let",
    "limit",
    "local",
    "logout",
    "mapfile",
    "nameref",
    "namespace",
    "nocorrect",
    "noglob",
    "nohup",
    "pid",
    "popd",
    "print",
    "printf",
    "pushd",
    "pushln",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "realpath",
    "rehash",
    "rename",
    "repeat",
    "return",
    "sched",
    "select",
    "set",
    "setopt",
    "shift",
    "shopt",
    "sleep",
    "source",
    "stop",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "ttyctl",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unfunction",
    "unhash",
    "unlimit",
    "unset",
    "unsetopt",
    "until",
    "vared",
    "vmstate",
    "wait",
    "whence",
    "where",
    "which",
    "while",
    "xtrace",
    "zcompile",
    "zformat",
    "zle",
    "zmodload",
    "zparseopts",
    "zprof",
    "zstyle",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let expected = (!expected.is_empty()).then(|| expected.iter().map(ToString::to_string));
        assert_eq!(
            plain_words(line),
            expected.map(Iterator::collect),
            "{line:?}"
        );
    }

    #[test]
    fn simple_commands_are_plain() {
        check("true", &["true"]);
        check(
            "  cargo  build\t--release ",
            &["cargo", "build", "--release"],
        );
        check(
            "gcc -c a.c -o out/a.o -DX=1",
            &["gcc", "-c", "a.c", "-o", "out/a.o", "-DX=1"],
        );
        check(
            "./run.sh a#b +x 50% u@h:p",
            &["./run.sh", "a#b", "+x", "50%", "u@h:p"],
        );
    }

    #[test]
    fn quotes_are_taken_away_where_they_only_join() {
        check("grep 'a b' \"c d\"e", &["grep", "a b", "c de"]);
        check("x '' \"\"", &["x", "", ""]);
        check("x '$HOME `*` \\ ü'", &["x", "$HOME `*` \\ ü"]);
        check("x \"*;|ü\n\"", &["x", "*;|ü\n"]);
    }

    #[test]
    fn whatever_a_shell_reads_differently_is_not_plain() {
        for char in "|&;<>()$`\\\"'*?[]~{}!^\n\r\u{b}\u{a0}ü\0".chars() {
            check(&format!("x a{char}b"), &[]);
        }
        for line in [
            "",
            "  ",
            "x 'a",
            "x \"a",
            "x \"$a\"",
            "x \"`a`\"",
            "x \"a\\n\"",
            "x # c",
        ] {
            check(line, &[]);
        }
    }

    #[test]
    fn first_words_that_a_shell_knows_are_not_plain() {
        for word in SHELL_WORDS {
            check(&format!("{word} a"), &[]);
        }
        for line in [
            "cd", ":", "exit", "A=1 make", "'' x", "-x", "true x", "'cd' x", "'A'=1 x",
        ] {
            check(line, &[]);
        }
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(SHELL_WORDS.is_sorted());
    }
}
