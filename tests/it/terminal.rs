//! A terminal: tasks that own it, keys, suspending, and the modes it is left with.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Instant;

use crate::processes::{NOBODY, commands_in, wait_gone};
use crate::support::{DEADLINE, Project, kill};

/// A shell line in a terminal of its own, which `script` makes.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
}

impl Terminal {
    /// One that obeys no escape codes.
    fn new(project: &Project, line: &str) -> Self {
        Self::of_type(project, line, "dumb")
    }

    /// What is written to it is kept in `../screen`.
    fn of_type(project: &Project, line: &str, term: &str) -> Self {
        let mut command = project.hermetic("script");
        command
            .args(["-qefc", line, "../screen"])
            .env("SHELL", "/bin/sh");
        let mut child = command
            .env("TERM", term)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("script is there");
        let keyboard = child.stdin.take().expect("piped");
        Self { child, keyboard }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("it listens");
        self.keyboard.flush().expect("it listens");
    }

    /// Waits for the end; the exit status of the line.
    #[track_caller]
    fn wait(mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ended = self.child.try_wait().expect("our own child");
            if let Some(status) = ended {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the terminal does not close");
            std::thread::yield_now();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_watchrun")
}

/// Waits until the program was idle so often.
#[track_caller]
fn wait_for_idle(project: &Project, times: usize) {
    let deadline = Instant::now() + DEADLINE;
    let count = || {
        if project.exists("../events") {
            project.read("../events").matches("\"idle\"").count()
        } else {
            0
        }
    };
    while count() < times {
        assert!(Instant::now() < deadline, "{}", project.read("../events"));
        std::thread::yield_now();
    }
}

/// A task that says it is there, reads a line, and notes it with the modes that it found.
fn asks(project: &Project) -> crate::fifo::Fifo {
    let here = project.fifo("here");
    project.watchfile(&format!(
        "[tasks.ask]\nrun = '''\nstty -a > ../found; stty -echo; {}; read line; echo \"$line\" > ../line\n'''\n\
         inputs = []\ninteractive = true\n",
        here.say("here")
    ));
    here
}

#[test]
fn an_interactive_task_has_the_terminal_and_gives_it_back() {
    let project = Project::new();
    let here = asks(&project);
    let line = format!("{} run && stty -a > ../after", program());
    let mut terminal = Terminal::new(&project, &line);
    here.hear();
    terminal.press("hello\n");
    assert_eq!(terminal.wait(), Some(0));
    assert_eq!(project.read("../line"), "hello\n");
    // What the task did to the terminal is undone.
    assert!(
        project.read("../after").contains(" echo "),
        "{}",
        project.read("../after")
    );
}

#[test]
fn a_command_has_no_terminal_to_wait_for_or_to_change() {
    let project = Project::with(
        "[tasks.read]\nrun = 'cat /dev/tty'\ninputs = []\n\
         [tasks.change]\nrun = 'stty -echo < /dev/tty'\ninputs = []\n\
         [tasks.write]\nrun = 'echo x > /dev/tty'\ninputs = []\n\
         [tasks.write_there]\nrun = 'echo x > /dev/tty'\ninputs = []\ndir = 'sub'\n",
    );
    project.write("sub/f", "");
    let line = format!("{} run -k --json > ../events", program());
    let terminal = Terminal::new(&project, &line);
    assert_eq!(terminal.wait(), Some(1));
    let events = project.read("../events");
    assert_eq!(
        events.matches("\"outcome\":\"failed\"").count(),
        4,
        "{events}"
    );
}

#[test]
fn in_a_terminal_a_command_leads_a_session_and_a_group() {
    let leads = "test \"$(cut -d' ' -f5,6 /proc/$$/stat)\" = \"$$ $$\"";
    let project = Project::with(&format!(
        "[tasks.here]\nrun = '''{leads}'''\ninputs = []\n\
         [tasks.there]\nrun = '''{leads}'''\ninputs = []\ndir = 'sub'\n"
    ));
    project.write("sub/f", "");
    let terminal = Terminal::new(&project, &format!("{} run", program()));
    assert_eq!(terminal.wait(), Some(0), "{}", screen(&project));
}

#[test]
fn a_killed_watchrun_leaves_nobody_behind_in_a_terminal() {
    let project = Project::new();
    let here = project.fifo("here");
    project.watchfile(&format!(
        "[tasks.tree]\nrun = \"env -i sleep 1000 & setsid sleep 1000 & {}; kill -KILL $PPID; sleep 1000\"\n\
         inputs = []\n",
        here.say("here")
    ));
    let terminal = Terminal::new(&project, &format!("{} run", program()));
    here.hear();
    terminal.wait();
    while let Some(&left) = commands_in(project.root()).first() {
        wait_gone(left);
    }
}

#[test]
fn keys_are_read_beside_and_not_from_an_interactive_task() {
    let project = Project::new();
    let here = asks(&project);
    let fail = project.fifo("fail");
    let text = project.read("watchfile.toml");
    project.watchfile(&format!(
        "{text}[tasks.bad]\nrun = \"{}; exit 1\"\ninputs = []\ndeps = [\"ask\"]\n",
        fail.say("bad")
    ));
    let line = format!(
        "stty -a > ../before; {} -k --events-to ../events; echo $? > ../status; stty -a > ../after",
        program()
    );
    let mut terminal = Terminal::new(&project, &line);
    here.hear();
    terminal.press("quit\n");
    fail.hear();
    assert_eq!(project.read("../line"), "quit\n");
    assert_eq!(project.read("../found"), project.read("../before"));
    // The failed task runs again when it is asked for, however often.
    for n in 1..=3 {
        wait_for_idle(&project, n);
        terminal.press("r");
        fail.hear();
    }
    terminal.press("q");
    assert_eq!(terminal.wait(), Some(0));
    assert_eq!(project.read("../status"), "0\n");
    assert_eq!(project.read("../before"), project.read("../after"));
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn ctrl_c_in_a_terminal_leaves_it_as_it_was() {
    let project = Project::new();
    let here = project.fifo("here");
    project.watchfile(&format!(
        "[tasks.a]\nrun = \"{}; sleep 1000; sleep 1000\"\n",
        here.say("here")
    ));
    let line = format!(
        "trap : INT; stty -a > ../before; {}; echo $? > ../status; stty -a > ../after",
        program()
    );
    let mut terminal = Terminal::new(&project, &line);
    here.hear();
    terminal.press("\u{3}");
    terminal.wait();
    assert_eq!(project.read("../status"), "130\n");
    assert_eq!(project.read("../before"), project.read("../after"));
    assert_eq!(commands_in(project.root()), NOBODY);
}

#[test]
fn ctrl_z_suspends_and_fg_resumes() {
    let project = Project::new();
    let (here, go) = (project.fifo("here"), project.fifo("go"));
    let said = project.fifo("said");
    project.watchfile(&format!(
        "[tasks.a]\nrun = '''\n{}; {}\n'''\ninputs = []\n",
        here.say("here"),
        go.pass()
    ));
    project.write(
        "../job.sh",
        format!(
            "set -m\nstty -a > ../before\n{program} --events-to ../events\nstty -a > ../between\n{}\n{}\nfg\necho $? > ../status\nstty -a > ../after\n",
            said.say("suspended"),
            go.pass(),
            program = program()
        ),
    );
    let mut terminal = Terminal::new(&project, "bash ../job.sh");
    here.hear();
    terminal.press("\u{1a}");
    assert_eq!(said.hear(), "suspended");
    go.open();
    go.open();
    wait_for_idle(&project, 1);
    terminal.press("q");
    assert_eq!(terminal.wait(), Some(0));
    assert_eq!(project.read("../status"), "0\n");
    assert_eq!(project.read("../between"), project.read("../before"));
    assert_eq!(project.read("../after"), project.read("../before"));
}

/// What was written to the terminal, without the lines of `script` itself and the returns.
fn screen(project: &Project) -> String {
    let text = project.read("../screen").replace('\r', "");
    let (_, text) = text.split_once('\n').expect("script writes a first line");
    let end = text.rfind("\nScript done").unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
fn on_a_terminal_only_what_failed_shows_its_output_and_nothing_stays_drawn() {
    let project = Project::with(
        r#"
[tasks]
good = { run = "echo unneeded", inputs = [] }
bad  = { run = "echo the reason; exit 3", inputs = [], after = ["good"] }
"#,
    );
    let line = format!("stty cols 60 rows 20; {} run -k", program());
    let terminal = Terminal::of_type(&project, &line, "xterm");
    assert_eq!(terminal.wait(), Some(1));
    let text = screen(&project);
    assert!(text.contains("good: done"), "{text:?}");
    assert!(!text.contains("unneeded"), "{text:?}");
    assert!(text.contains("\nthe reason\n"), "{text:?}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("1 done, 1 failed in "), "{text:?}");
}

#[test]
fn a_terminal_that_obeys_no_codes_gets_none() {
    let project = Project::with(r#"tasks.bad = { run = "echo the reason; exit 3", inputs = [] }"#);
    let terminal = Terminal::new(&project, &format!("{} run", program()));
    assert_eq!(terminal.wait(), Some(1));
    let text = screen(&project);
    assert!(
        !text.contains('\u{1b}') && text.contains("the reason"),
        "{text:?}"
    );
}

#[test]
fn nothing_is_drawn_where_another_program_may_write_to_the_terminal() {
    let project = Project::with(r#"tasks.bad = { run = "echo the reason; exit 3", inputs = [] }"#);
    let line = format!("{} --events-to ../events | cat", program());
    let mut terminal = Terminal::of_type(&project, &line, "xterm");
    wait_for_idle(&project, 1);
    terminal.press("q");
    assert_eq!(terminal.wait(), Some(0));
    let text = screen(&project);
    for part in [
        "the reason",
        "bad: failed",
        "\nwatching 1 file in 1 directory\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn while_watching_the_last_line_names_the_keys_and_h_explains_them() {
    let project = Project::with(
        "[settings]\nnotify = true\n[tasks]\nbad = { run = \"false\", inputs = [] }\n",
    );
    let line = format!(
        "stty cols 60 rows 20; {} --events-to ../events; echo $? > ../status",
        program()
    );
    let mut terminal = Terminal::of_type(&project, &line, "xterm");
    wait_for_idle(&project, 1);
    // An arrow is no key, though there are letters in its code.
    terminal.press("\u{1b}[q");
    terminal.press("h");
    terminal.press("r");
    wait_for_idle(&project, 2);
    terminal.press("q");
    terminal.wait();
    assert_eq!(project.read("../status"), "0\n");
    let text = screen(&project);
    assert!(
        text.contains("watching for changes (h: help, q: quit)"),
        "{text:?}"
    );
    assert!(
        text.contains("\nkeys:\n") || text.contains("keys:\n  r  "),
        "{text:?}"
    );
    let news = "\u{1b}]9;watchrun: a task failed\u{7}";
    assert_eq!(text.matches(news).count(), 2, "{text:?}");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        !last.contains("watching") || last.contains("\u{1b}[2K"),
        "{text:?}"
    );
}

#[test]
fn many_short_tasks_write_little_more_than_their_lines() {
    let tasks: Vec<String> = (0..300)
        .map(|n| format!("t{n} = {{ run = \"true\", inputs = [] }}"))
        .collect();
    let project = Project::with(&format!("[tasks]\n{}\n", tasks.join("\n")));
    let line = format!("stty cols 80 rows 24; {} run -j4", program());
    let terminal = Terminal::of_type(&project, &line, "xterm");
    assert_eq!(terminal.wait(), Some(0));
    let text = screen(&project);
    for n in 0..300 {
        assert!(text.contains(&format!("t{n}: ")), "t{n} in {text:?}");
    }
    // A drawing of the status for each line would be five times as much.
    let bytes_per_task = text.len() / 300;
    assert!(bytes_per_task < 500, "{bytes_per_task}");
}

#[test]
fn the_key_r_says_when_there_is_nothing_to_run_again() {
    let project = Project::with("[tasks]\nup = { run = \"true\", inputs = [] }\n");
    let line = format!("{} --events-to ../events", program());
    let mut terminal = Terminal::of_type(&project, &line, "xterm");
    wait_for_idle(&project, 1);
    terminal.press("r");
    wait_for_idle(&project, 2);
    terminal.press("q");
    terminal.wait();
    let text = screen(&project);
    let told = "nothing to run again: no task has failed";
    assert!(text.contains(told), "{text:?}");
}

#[test]
fn the_key_r_runs_a_command_without_a_watchfile_again() {
    let project = Project::new();
    let line = format!(
        "{} --events-to ../events -- sh -c 'echo ran >> ../runs'",
        program()
    );
    let mut terminal = Terminal::of_type(&project, &line, "xterm");
    for n in 1..=3 {
        wait_for_idle(&project, n);
        assert_eq!(project.lines("../runs"), n);
        terminal.press(if n < 3 { "r" } else { "q" });
    }
    terminal.wait();
}

#[test]
fn quiet_draws_nothing() {
    let project = Project::with("[tasks]\nup = { run = \"echo said\", inputs = [] }\n");
    let line = format!("{} -q --events-to ../events", program());
    let mut terminal = Terminal::of_type(&project, &line, "xterm");
    wait_for_idle(&project, 1);
    terminal.press("q");
    terminal.wait();
    assert_eq!(screen(&project), "");
}

#[test]
fn ctrl_c_in_an_interactive_task_ends_the_run() {
    let project = Project::new();
    let here = project.fifo("here");
    project.watchfile(&format!(
        "[tasks.ask]\nrun = \"{}; sleep 1000\"\ninteractive = true\ninputs = []\n\
         [tasks.next]\nrun = \"touch ran\"\nafter = [\"ask\"]\ninputs = []\n",
        here.say("here")
    ));
    let mut terminal = Terminal::new(&project, &format!("{} run -k", program()));
    here.hear();
    terminal.press("\x03");
    assert_eq!(terminal.wait(), Some(130), "{}", screen(&project));
    assert!(!project.exists("ran"));
}
