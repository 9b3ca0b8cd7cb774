//! From a task to the commands that carry it out: [`commands`].
//!
//! A string goes to the task's shell, or straight to the program if it needs nothing of a shell;
//! `{files}` becomes the changed inputs, in as many commands as the system's limits ask for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::exec::{self, Command, plain_words};
use crate::path::{RelDir, RelPath, Root};
use crate::watchfile::{Invocation, Task, Terminal};

/// What stands for the changed files in a command.
const FILES: &str = "{files}";

/// The shell lines that are executed directly where they may be: only this shell is known.
const PLAIN_SHELL: [&str; 2] = ["sh", "-c"];

/// Bytes of file names in one shell line. Linux takes 128 KiB in one argument (`MAX_ARG_STRLEN`).
const LINE_BYTES_MAX: usize = 100 * 1024;

/// Bytes of file names in one list of words. Linux takes a quarter of the stack limit, 2 MiB as a
/// rule, for arguments and environment together.
const WORDS_BYTES_MAX: usize = 1024 * 1024;

/// Whether the command of `task` takes the changed files.
pub(super) fn takes_files(task: &Task) -> bool {
    match task.invocation() {
        Some(Invocation::Line(line)) => line.contains(FILES),
        Some(Invocation::Words(words)) => words.iter().any(|word| word == FILES),
        None => false,
    }
}

/// The commands of `task`, to be run one after the other; `files` are what `{files}` stands for.
pub(super) fn commands(task: &Task, root: &Root, files: &[RelPath]) -> Vec<Command> {
    let Some(invocation) = task.invocation() else {
        return Vec::new();
    };
    let files: Vec<Vec<u8>> = if takes_files(task) {
        files.iter().map(|f| seen_from(&task.dir, f)).collect()
    } else {
        Vec::new()
    };
    let words: Vec<Vec<OsString>> = match invocation {
        Invocation::Line(line) if line.contains(FILES) => {
            let quoted: Vec<Vec<u8>> = files.iter().map(|file| quote(file)).collect();
            let line_of = |files: &[Vec<u8>]| shell_words(task, fill_line(line, files));
            chunks(&quoted, LINE_BYTES_MAX).map(line_of).collect()
        }
        Invocation::Line(line) => vec![line_words(task, line)],
        Invocation::Words(words) if takes_files(task) => chunks(&files, WORDS_BYTES_MAX)
            .map(|files| fill_words(words, files))
            .collect(),
        Invocation::Words(words) => vec![words.iter().map(OsString::from).collect()],
    };
    let own_env = task
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let env: Vec<(OsString, OsString)> = own_env.collect();
    let command = |words| Command {
        words,
        dir: root.join_dir(&task.dir),
        env: env.clone(),
        stop: exec::Stop {
            signal: task.stop.signal,
            grace: task.stop.grace,
        },
        timeout: task.timeout,
        terminal: match task.terminal {
            Terminal::Captured => exec::Terminal::Captured,
            Terminal::Owned => exec::Terminal::Owned,
        },
    };
    words.into_iter().map(command).collect()
}

/// The command that asks a tool of `task`, written as `line`, what it is.
pub(super) fn probe(task: &Task, root: &Root, line: &str) -> Command {
    Command {
        words: line_words(task, line),
        dir: root.join_dir(&task.dir),
        env: task
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        stop: exec::Stop {
            signal: task.stop.signal,
            grace: task.stop.grace,
        },
        timeout: task.timeout,
        terminal: exec::Terminal::Captured,
    }
}

fn line_words(task: &Task, line: &str) -> Vec<OsString> {
    let plain = (task.shell == PLAIN_SHELL)
        .then(|| plain_words(line))
        .flatten();
    match plain {
        Some(words) => words.into_iter().map(OsString::from).collect(),
        None => shell_words(task, OsStr::new(line)),
    }
}

fn shell_words(task: &Task, line: impl AsRef<OsStr>) -> Vec<OsString> {
    task.shell
        .iter()
        .map(OsString::from)
        .chain([line.as_ref().to_owned()])
        .collect()
}

fn fill_line(line: &str, quoted: &[Vec<u8>]) -> OsString {
    let all = quoted.join(&b' ');
    let parts: Vec<&[u8]> = line.split(FILES).map(str::as_bytes).collect();
    OsString::from_vec(parts.join(&all[..]))
}

fn fill_words(words: &[String], files: &[Vec<u8>]) -> Vec<OsString> {
    let fill = |word: &String| {
        if word == FILES {
            files
                .iter()
                .map(|file| OsStr::from_bytes(file).to_owned())
                .collect()
        } else {
            vec![OsString::from(word)]
        }
    };
    words.iter().flat_map(fill).collect()
}

/// Splits `files` so that no piece holds more than `bytes_max`, or only one file.
fn chunks(files: &[Vec<u8>], bytes_max: usize) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |file: &&Vec<u8>| {
            bytes += file.len() + 1;
            bytes <= bytes_max
        };
        let n = rest.iter().take_while(fits).count().max(1);
        let (chunk, tail) = rest.split_at(n);
        rest = tail;
        Some(chunk)
    })
}

/// `file` relative to `dir`, never mistaken for an option.
fn seen_from(dir: &RelDir, file: &RelPath) -> Vec<u8> {
    let mut up = Vec::new();
    let mut base = dir.clone();
    while !file.is_below(&base) {
        up.extend(b"../");
        base = base.parent().unwrap_or(RelDir::ROOT);
    }
    let skip = if base.is_root() {
        0
    } else {
        base.as_bytes().len() + 1
    };
    let rest = &file.as_bytes()[skip..];
    let guard: &[u8] = if up.is_empty() && rest.starts_with(b"-") {
        b"./"
    } else {
        b""
    };
    [&up, guard, rest].concat()
}

/// One word for a POSIX shell, whatever its bytes.
fn quote(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for &byte in word {
        if byte == b'\'' {
            quoted.extend(br"'\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::task_id::TaskId;
    use crate::watchfile::parse;

    /// The words of each command of the only task in `definition`.
    #[track_caller]
    fn check(definition: &str, files: &[&str], expected: &[&[&str]]) {
        let text = format!("[tasks]\nt = {definition}\n");
        let plan = Plan::new(parse(&text)).unwrap();
        let root = Root::new(std::path::Path::new("/r")).unwrap();
        let files: Vec<RelPath> = files
            .iter()
            .map(|file| RelPath::new(file.as_bytes()).unwrap())
            .collect();
        let found: Vec<Vec<String>> = commands(plan.task(TaskId::new(0)), &root, &files)
            .into_iter()
            .map(|c| {
                c.words
                    .into_iter()
                    .map(|w| w.into_string().unwrap())
                    .collect()
            })
            .collect();
        assert_eq!(found, expected, "{definition}");
    }

    #[test]
    fn a_line_goes_to_the_shell_unless_it_needs_none() {
        check("'cc -c a.c'", &[], &[&["cc", "-c", "a.c"]]);
        check("'cc > log'", &[], &[&["sh", "-c", "cc > log"]]);
        check(
            "{ run = 'cc a', shell = ['bash', '-ec'] }",
            &[],
            &[&["bash", "-ec", "cc a"]],
        );
        check("{ run = ['cc', 'a b'] }", &[], &[&["cc", "a b"]]);
    }

    #[test]
    fn files_are_whole_words_seen_from_the_directory() {
        check(
            "{ run = ['l', '{files}', '-x'] }",
            &["a b", "-c"],
            &[&["l", "a b", "./-c", "-x"]],
        );
        check(
            "'l {files}'",
            &["a b", "it's"],
            &[&["sh", "-c", r"l 'a b' 'it'\''s'"]],
        );
        let seen = |dir: &str, file: &str| {
            let dir = RelDir::new(dir.as_bytes()).unwrap();
            String::from_utf8(seen_from(&dir, &RelPath::new(file.as_bytes()).unwrap())).unwrap()
        };
        assert_eq!(seen("web", "web/a.ts"), "a.ts");
        assert_eq!(seen("web/app", "web/lib/a.ts"), "../lib/a.ts");
        assert_eq!(seen("web", "x"), "../x");
    }

    #[test]
    fn more_files_than_fit_make_more_commands() {
        let files = vec![vec![b'x'; 40]; 5];
        let sizes: Vec<usize> = chunks(&files, 100).map(<[_]>::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let sizes: Vec<usize> = chunks(&files, 10).map(<[_]>::len).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1]);
    }
}
