//! From a task to the commands that carry it out: [`commands`].
//!
//! A string goes to the task's shell, or straight to the program if it needs nothing of a shell;
//! `{files}` becomes the changed inputs, in as many commands as the system's limits ask for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::lineage::Lineage;
use crate::exec::{self, Command, SpawnError, plain_words};
use crate::outcome::ExitStatus;
use crate::path::{RelDir, RelPath, Root};
use crate::watchfile::{FILES, Invocation, Task, Terminal};

/// The shell lines that are executed directly where they may be: only this shell is known.
const PLAIN_SHELL: [&str; 2] = ["sh", "-c"];

/// Bytes of file names in one shell line: Linux takes 128 KiB in one argument (`MAX_ARG_STRLEN`).
const LINE_BYTES_MAX: usize = 127 * 1024;

/// Bytes of file names in one command, though the system may take more: whoever reads it wants to
/// see an end.
const WORDS_BYTES_MAX: usize = 1024 * 1024;

/// What a command takes beside its own words and variables: the marks of its process tree, the
/// path of its program, job tokens.
const SURROUNDINGS_BYTES: usize = 8 * 1024;

/// What the system keeps for each word beside its bytes: an end and a pointer.
const WORD_BYTES: usize = 1 + size_of::<usize>();

/// The commands of `task`, to be run one after the other; `files` are what `{files}` stands for,
/// and `inherited` the variables that it has beside its own. `lineage` is what they run inside of.
pub(super) fn commands(
    task: &Task,
    root: &Root,
    files: &[RelPath],
    inherited: &[(OsString, OsString)],
    lineage: &Lineage,
) -> Vec<Command> {
    let Some(invocation) = task.invocation() else {
        return Vec::new();
    };
    let words = if task.takes_files() {
        let files: Vec<Vec<u8>> = files.iter().map(|f| seen_from(&task.dir, f)).collect();
        with_files(task, invocation, &files, room(task, inherited))
    } else {
        vec![match invocation {
            Invocation::Line(line) => line_words(task, line),
            Invocation::Words(words) => words.iter().map(OsString::from).collect(),
        }]
    };
    let own_env = task
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let env: Vec<(OsString, OsString)> = own_env.chain(lineage.variable(&task.name)).collect();
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

/// How a command of `task` that could not be started would have ended in a shell; `None` where it
/// was not to be one.
pub(super) fn status_in_shell(task: &Task, error: &SpawnError) -> Option<ExitStatus> {
    let is_plain = match task.invocation()? {
        Invocation::Line(line) => !task.takes_files() && plain(task, line).is_some(),
        Invocation::Words(_) => false,
    };
    let code = is_plain.then(|| error.shell_code()).flatten();
    code.map(ExitStatus::Code)
}

/// The words of a `line` that needs nothing of a shell.
fn plain(task: &Task, line: &str) -> Option<Vec<String>> {
    let is_known = task.shell == PLAIN_SHELL;
    is_known.then(|| plain_words(line)).flatten()
}

fn line_words(task: &Task, line: &str) -> Vec<OsString> {
    match plain(task, line) {
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

/// How many bytes the system takes of a command of `task` beside its variables and what is
/// written in the watchfile.
fn room(task: &Task, inherited: &[(OsString, OsString)]) -> usize {
    let inherited = inherited
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let own = task
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let variables = inherited.chain(own).map(|bytes| bytes + 1 + WORD_BYTES);
    let arguments = definition_words(task).map(|word| word.len() + WORD_BYTES);
    let taken = variables.chain(arguments).sum::<usize>() + SURROUNDINGS_BYTES;
    exec::argument_bytes_max().saturating_sub(taken)
}

fn definition_words(task: &Task) -> impl Iterator<Item = &String> {
    let (line, words) = match task.invocation() {
        Some(Invocation::Line(line)) => (Some(line), &task.shell),
        Some(Invocation::Words(words)) => (None, words),
        None => (None, &task.shell),
    };
    words.iter().chain(line)
}

/// The words of as many commands as it takes to give `files` to all.
fn with_files(
    task: &Task,
    invocation: &Invocation,
    files: &[Vec<u8>],
    room: usize,
) -> Vec<Vec<OsString>> {
    match invocation {
        Invocation::Line(line) => {
            let places = line.matches(FILES).count();
            let in_line = LINE_BYTES_MAX.saturating_sub(line.len()) / places;
            // What the shell starts is given the same as words.
            let in_words = WORDS_BYTES_MAX.min(room / 2) / places;
            let quoted: Vec<Vec<u8>> = files.iter().map(|file| quote(file)).collect();
            let fits = |files: usize, bytes: usize| {
                bytes + files <= in_line && bytes + files * WORD_BYTES <= in_words
            };
            let line_of = |files: &[Vec<u8>]| shell_words(task, fill_line(line, files));
            chunks(&quoted, fits).map(line_of).collect()
        }
        Invocation::Words(words) => {
            let places = words.iter().filter(|word| *word == FILES).count();
            let in_words = WORDS_BYTES_MAX.min(room) / places;
            let fits = |files: usize, bytes: usize| bytes + files * WORD_BYTES <= in_words;
            let words_of = |files: &[Vec<u8>]| fill_words(words, files);
            chunks(files, fits).map(words_of).collect()
        }
    }
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

/// Splits `files` into pieces whose number of files and bytes `fits`, or that are one file.
fn chunks(
    files: &[Vec<u8>],
    fits: impl Fn(usize, usize) -> bool,
) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut n, mut bytes) = (0, 0);
        while let Some(file) = rest.get(n)
            && (n == 0 || fits(n + 1, bytes + file.len()))
        {
            n += 1;
            bytes += file.len();
        }
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
        let found: Vec<Vec<String>> = commands(
            plan.task(TaskId::new(0)),
            &root,
            &files,
            &[],
            &Lineage::unnamed(),
        )
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
        let sizes = |files_max: usize, bytes_max: usize| -> Vec<usize> {
            let fits = |files: usize, bytes: usize| files <= files_max && bytes <= bytes_max;
            chunks(&files, fits).map(<[_]>::len).collect()
        };
        assert_eq!(sizes(9, 100), [2, 2, 1]);
        assert_eq!(sizes(3, 1000), [3, 2]);
        assert_eq!(sizes(9, 10), [1, 1, 1, 1, 1]);
    }

    /// The most that one command of `definition` holds: bytes of one word, and of all with their
    /// pointers.
    #[track_caller]
    fn largest(definition: &str, inherited: &[(OsString, OsString)]) -> (usize, usize) {
        let plan = Plan::new(parse(&format!("[tasks]\nt = {definition}\n"))).unwrap();
        let root = Root::new(std::path::Path::new("/r")).unwrap();
        let files: Vec<RelPath> = (0..200_000)
            .map(|n| RelPath::new(format!("{n}'").as_bytes()).unwrap())
            .collect();
        let commands = commands(
            plan.task(TaskId::new(0)),
            &root,
            &files,
            inherited,
            &Lineage::unnamed(),
        );
        assert!(commands.len() > 1);
        let word = commands.iter().flat_map(|command| &command.words);
        let all = commands.iter().map(|command| {
            let words = command.words.iter();
            words.map(|word| word.len() + WORD_BYTES).sum()
        });
        (
            word.map(|word| word.len()).max().unwrap(),
            all.max().unwrap(),
        )
    }

    #[test]
    fn short_names_are_counted_with_their_pointers_and_each_place_counts() {
        let limit = exec::argument_bytes_max();
        for definition in [
            "'l {files}'",
            "'l {files} -- {files}'",
            "{ run = ['l', '{files}'] }",
            "{ run = ['l', '{files}', '--', '{files}'] }",
        ] {
            let (word, all) = largest(definition, &[]);
            assert!(word < 128 * 1024, "{definition}: {word}");
            assert!(all < limit, "{definition}: {all}");
        }
        let large = vec![("A".into(), "x".repeat(limit - 32 * 1024).into())];
        let (_, all) = largest("{ run = ['l', '{files}'] }", &large);
        assert!(all < 32 * 1024, "{all}");
    }
}
