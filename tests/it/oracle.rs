//! Random projects and random edits, also while tasks run and while the program is killed: at rest
//! every output is that of a clean build.
//!
//! `WATCHRUN_ROUNDS=1000` looks for longer, `WATCHRUN_SEED` begins elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{DEFAULTS, Project, kill};
use crate::watcher::Watcher;

/// Files that are always there.
const SOURCES: usize = 4;

/// What a task does to its inputs. The last ones often give the same from other inputs.
const TRANSFORMS: [&str; 6] = [
    "cat",
    "tr a-z A-Z",
    "sort | sha256sum",
    "sed s/a/bc/",
    "wc -l",
    "head -c 2",
];

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % sides as u64).expect("less than `sides`")
    }

    fn is_one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// A project whose tasks put files together and change them, each after some of those before it.
struct Oracle {
    project: Project,
    dice: Dice,
    /// The shell line of each task, in an order in which they can be run.
    lines: Vec<String>,
    end: usize,
}

impl Oracle {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let project = Project::new();
        let mut text = String::from(
            "[tasks.end]\nrun = \"cp src/end out/end\"\ninputs = [\"src/end\"]\noutputs = [\"out/end\"]\n",
        );
        let mut lines = vec!["cp src/end out/end".to_owned()];
        let n_tasks = 3 + dice.roll(4);
        for n in 0..n_tasks {
            let (line, task) = task(n, &mut dice);
            text += &task;
            lines.push(line);
        }
        project.watchfile(&text).write("src/end", "0");
        project.write("out/.keep", "").write("src/d/first", "f\n");
        for n in 0..SOURCES {
            project.write(format!("src/{n}"), format!("{n}\n"));
        }
        Self {
            project,
            dice,
            lines,
            end: 0,
        }
    }

    /// One change, as people and programs make them.
    fn edit(&mut self) {
        let file = format!("src/{}", self.dice.roll(SOURCES));
        let extra = format!("src/d/{}", self.dice.roll(4));
        let content = ["a\n", "b\n", "a\nb\n", "longer, on one line\n"][self.dice.roll(4)];
        let (project, dice) = (&self.project, &mut self.dice);
        match dice.roll(9) {
            0 | 1 => {
                project.write(&file, content);
            }
            2 => {
                project.save(&file, content);
            }
            3 => {
                project.write(&file, project.read(&file));
            }
            4 => {
                project.shell(&format!("touch -d 2001-01-01 {file}"));
            }
            5 => {
                let before = project.read(&file);
                project.write(&file, content).write(&file, before);
            }
            6 => {
                project.write(&extra, content);
            }
            7 if project.exists(&extra) => {
                project.remove(&extra);
            }
            _ if project.exists(&extra) => {
                let to = format!("src/d/{}", dice.roll(4));
                fs::rename(project.path(&extra), project.path(to)).expect("both are files");
            }
            _ => {
                project.chmod(&file, if dice.is_one_in(2) { 0o755 } else { 0o644 });
            }
        }
    }

    /// Somebody meddles with what a task made.
    fn meddle(&mut self) {
        let n = self.dice.roll(self.lines.len() - 1);
        let output = format!("out/{n}");
        if self.dice.is_one_in(2) {
            self.project.write(output, "by hand\n");
        } else if self.project.exists(&output) {
            self.project.remove(&output);
        }
    }

    /// What the tasks make of the sources as they are now, in a directory of their own.
    fn clean_build(&self) -> BTreeMap<String, String> {
        let clean = Project::new();
        let from = self.project.root().display();
        clean.shell(&format!("cp -r {from}/src . && mkdir out"));
        for line in &self.lines {
            clean.shell(line);
        }
        outputs(&clean)
    }

    /// Runs what is stale until nothing is, and compares.
    #[track_caller]
    fn check(&self, context: &str) {
        self.project.run(["run"]).ok();
        let last = self.project.run_json(DEFAULTS);
        assert_eq!(last.ok().ran(), [""; 0], "{context}: {last}");
        assert_eq!(outputs(&self.project), self.clean_build(), "{context}");
    }

    /// Starts a run and returns when it has said so many things, or everything.
    fn run_until(&self, events: usize) -> std::process::Child {
        let mut command = self.project.command(["run", "--json"]);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
        lines.take(events).map_while(Result::ok).for_each(drop);
        child
    }
}

/// The shell line of task `n`, and its part of the watchfile.
fn task(n: usize, dice: &mut Dice) -> (String, String) {
    let mut inputs: Vec<String> = (0..=dice.roll(2))
        .map(|_| format!("src/{}", dice.roll(SOURCES)))
        .collect();
    let deps: Vec<usize> = (0..n).filter(|_| dice.is_one_in(2)).collect();
    inputs.extend(deps.iter().map(|dep| format!("out/{dep}")));
    inputs.sort_unstable();
    inputs.dedup();
    let mut line = format!("cat {}", inputs.join(" "));
    if dice.is_one_in(2) {
        line = format!("{{ {line}; find src/d -type f | sort; }}");
        inputs.push("src/d/**".to_owned());
    }
    let transform = TRANSFORMS[dice.roll(TRANSFORMS.len())];
    let line = format!("{line} | {transform} > out/{n}");
    let mut text = String::new();
    let deps: Vec<String> = deps.iter().map(|dep| format!("t{dep}")).collect();
    writeln!(
        text,
        "[tasks.t{n}]\nrun = {line:?}\ninputs = {inputs:?}\ndeps = {deps:?}\noutputs = [\"out/{n}\"]"
    )
    .expect("a string takes everything");
    (line, text)
}

/// What lies in `out`, by name.
fn outputs(project: &Project) -> BTreeMap<String, String> {
    let entries = fs::read_dir(project.path("out")).expect("it is there");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != ".keep")
        .map(|name| {
            let content = project.read(&format!("out/{name}"));
            (name, content)
        })
        .collect()
}

fn number(name: &str, usual: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(usual, |value| value.parse().expect("a number"))
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    let first = number("WATCHRUN_SEED", 0);
    first..first + number("WATCHRUN_ROUNDS", usual)
}

#[test]
fn runs_with_edits_between_and_during_them_end_at_a_clean_build() {
    for seed in seeds(3) {
        let mut oracle = Oracle::new(seed);
        oracle.check(&format!("seed {seed}, first"));
        for round in 0..3 {
            for _ in 0..oracle.dice.roll(3) {
                oracle.edit();
            }
            if oracle.dice.is_one_in(2) {
                oracle.meddle();
            }
            let events = oracle.dice.roll(8);
            let child = oracle.run_until(events);
            for _ in 0..oracle.dice.roll(3) {
                oracle.edit();
            }
            // Its outcome is what it is: files came and went under the commands.
            drop(child.wait_with_output());
            oracle.check(&format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn a_kill_at_fifty_moments_is_made_good_by_the_next_run() {
    let mut oracle = Oracle::new(number("WATCHRUN_SEED", 7));
    for round in 0..number("WATCHRUN_ROUNDS", 50) {
        oracle.edit();
        let events = oracle.dice.roll(12);
        let mut child = oracle.run_until(events);
        for _ in 0..oracle.dice.roll(200) {
            std::thread::yield_now();
        }
        kill(&mut child);
        oracle.project.run(["run"]).ok();
        assert_eq!(
            outputs(&oracle.project),
            oracle.clean_build(),
            "round {round}"
        );
    }
}

#[test]
fn while_watching_every_rest_is_a_clean_build() {
    for seed in seeds(2) {
        let mut oracle = Oracle::new(seed);
        let mut watcher = Watcher::start(&oracle.project, DEFAULTS);
        for _ in 0..4 {
            for _ in 0..oracle.dice.roll(12) {
                oracle.edit();
                for _ in 0..oracle.dice.roll(2000) {
                    std::thread::yield_now();
                }
            }
            oracle.end += 1;
            let end = oracle.end.to_string();
            oracle.project.write("src/end", end);
            let expected = oracle.clean_build();
            let what = format!("seed {seed}: rest with {expected:?}");
            watcher.wait_rest(&what, || outputs(&oracle.project) == expected);
        }
        watcher.stop();
        oracle.check(&format!("seed {seed}, after watching"));
    }
}
