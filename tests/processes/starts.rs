//! Starting a command: it finds the same, and fails alike, in the directory that this process is
//! in, where most run and one `posix_spawn` starts them, and in any other one.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use watchrun::exec::{Cancel, Executor, OsExecutor};

use super::{assert_exited, command, options};

fn executor(environment: &[(OsString, OsString)]) -> OsExecutor {
    let executor = OsExecutor::new(options(None)).unwrap();
    executor.with_environment(environment)
}

#[test]
fn a_command_finds_the_same_in_the_own_directory_and_in_another() {
    let environment = ["A", "B", "PATH"].map(|name| (name.into(), format!("of {name}").into()));
    let other = tempfile::tempdir().unwrap();
    let executor = executor(&environment);
    let found = |dir: &Path| {
        let line = "/usr/bin/env | /usr/bin/sort; pwd; /bin/grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; \
                    test $$ = $(/usr/bin/cut -d' ' -f5 /proc/$$/stat) && echo leads; \
                    /bin/readlink /proc/$$/fd/0; cat; echo err >&2; echo /proc/$$/fd/*; exit 3";
        let mut command = command(dir, &["/bin/sh", "-c", line]);
        command.env = vec![("B".into(), "own".into()), ("B".into(), "last".into())];
        let mut output = Vec::new();
        let sink = &mut |bytes: &[u8]| output.extend_from_slice(bytes);
        let ended = executor.run(&command, &Cancel::new(), sink);
        assert_exited(&ended, 3);
        let text = String::from_utf8(output).unwrap();
        let text = text.replace(dir.to_str().unwrap(), "DIR");
        let is_own = |line: &&str| !line.starts_with("WATCHRUN_TREE=");
        let lines = text.lines().filter(is_own).map(without_numbers);
        lines.collect::<Vec<_>>()
    };
    let here = found(&std::env::current_dir().unwrap());
    assert_eq!(here, found(other.path()));
    let expected = [
        "A=of A",
        "B=last",
        "PATH=of PATH",
        "PWD=DIR",
        "DIR",
        "leads",
        "/dev/null",
        "err",
    ];
    for line in expected {
        assert!(here.iter().any(|found| found == line), "{line} in {here:?}");
    }
}

/// Process ids differ from run to run.
fn without_numbers(line: &str) -> String {
    match line.strip_prefix("/proc/") {
        Some(_) => line
            .split(' ')
            .map(|fd| fd.rsplit('/').next().unwrap())
            .collect(),
        None => line.to_owned(),
    }
}

#[test]
fn a_start_fails_alike_in_the_own_directory_and_in_another() {
    let other = tempfile::tempdir().unwrap();
    let executor = executor(&[]);
    fs::write(other.path().join("plain"), "not a program").unwrap();
    fs::write(other.path().join("lost"), "#!/no/such/interpreter\n").unwrap();
    fs::write(other.path().join("script"), "exit 7\n").unwrap();
    for name in ["lost", "script"] {
        let mode = PermissionsExt::from_mode(0o755);
        fs::set_permissions(other.path().join(name), mode).unwrap();
    }
    let end = |dir: &Path, word: &str, argument: &str| {
        let word = other
            .path()
            .join(word)
            .into_os_string()
            .into_string()
            .unwrap();
        let command = command(dir, &[&word, argument]);
        format!("{:?}", executor.run(&command, &Cancel::new(), &mut |_| {}))
    };
    for (word, argument, expected) in [
        ("plain", "", "NotExecutable"),
        ("lost", "", "InterpreterMissing"),
        ("gone", "", "Missing"),
        ("script", "", "Exited(Code(7))"),
        ("script", "a\0b", "NulByte"),
    ] {
        let here = end(&std::env::current_dir().unwrap(), word, argument);
        assert_eq!(here, end(other.path(), word, argument));
        assert!(here.contains(expected), "{here}");
    }
}
