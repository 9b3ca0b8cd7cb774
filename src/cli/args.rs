//! The command line: [`Args`], parsed and nothing more.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::diagnostics::Failure;

/// Save a file: exactly the tasks it affects run, in dependency order, once.
///
/// Without a command: runs what is stale, then watches. `watchrun -- CMD` needs no watchfile.
#[derive(Debug, Parser)]
#[command(name = "watchrun", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Tasks to run and watch; without names, the watchfile's `default`.
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// Waits for the first change instead of running what is stale at once.
    #[arg(long)]
    pub(crate) postpone: bool,

    /// Without a watchfile: a file or directory to watch.
    #[arg(short = 'w', long = "watch", value_name = "PATH", requires = "ad_hoc")]
    pub(crate) watch: Vec<PathBuf>,

    /// Without a watchfile: a glob of files that count.
    #[arg(short = 'g', long = "glob", value_name = "GLOB", requires = "ad_hoc")]
    pub(crate) glob: Vec<String>,

    /// Without a watchfile: an extension of files that count.
    #[arg(
        short = 'e',
        long = "ext",
        value_name = "EXT",
        value_delimiter = ',',
        requires = "ad_hoc"
    )]
    pub(crate) ext: Vec<String>,

    /// Stores what the watch sees, for `watchrun replay`.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,

    /// A command to run on each change, without a watchfile.
    #[arg(last = true, value_name = "CMD", id = "ad_hoc")]
    pub(crate) ad_hoc: Vec<OsString>,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch of the command line"
)]
pub(crate) struct Common {
    /// The watchfile; without it, `watchfile.toml` here or in the nearest parent.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Works as if started in DIR.
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Commands at a time: a number or a percentage of the cores.
    #[arg(short, long, global = true, value_name = "N|P%")]
    pub(crate) jobs: Option<String>,

    /// Goes on after failures; with a number, until so many tasks have failed.
    #[arg(
        short,
        long,
        global = true,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0"
    )]
    pub(crate) keep_going: Option<u32>,

    /// How long the files must be quiet before a change counts.
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) debounce: Option<String>,

    /// How the output of tasks is shown.
    #[arg(long, global = true, value_name = "MODE")]
    pub(crate) output: Option<Output>,

    /// Writes one JSON object a line to stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Says only what went wrong.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Says more: what changed, what starts, what is fresh.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,

    /// Neither takes results from the store nor puts any into it.
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,

    /// Clears the terminal before each run.
    #[arg(long, global = true)]
    pub(crate) clear: bool,

    /// Writes the events of `--json` to FILE as well.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) events_to: Option<PathBuf>,
}

/// What to do instead of watching.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs what is stale, once.
    Run(Run),
    /// Exits with 1 if anything is stale; runs nothing.
    Check {
        /// Tasks to look at.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Says why a task would (not) run, or what is known of a path.
    Why {
        /// A task's name or a path.
        #[arg(value_name = "TASK|PATH")]
        subject: OsString,
    },
    /// Lists tasks and services.
    List,
    /// Prints the graph of tasks in the language of Graphviz; with `--json`, as JSON.
    Graph {
        /// Tasks to draw, with what they depend on.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Writes a watchfile to start from.
    Init,
    /// Removes what is kept in `.watchrun`: state and stored results.
    Clean {
        /// Only the stored results.
        #[arg(long)]
        cache: bool,
        /// The declared outputs of all tasks instead.
        #[arg(long)]
        outputs: bool,
    },
    /// Reports what the watch system of this project costs and how it fares.
    Stats,
    /// Prints the JSON Schema of the watchfile.
    Schema,
    /// Prints a completion script.
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Prints the manual page.
    Man,
    /// Prints the change sets of a file that `--record` wrote.
    Replay {
        /// The file.
        file: PathBuf,
    },
}

/// `watchrun run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Tasks to run; without names, the watchfile's `default`.
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// Only tasks that what changed since REF concerns.
    #[arg(long, value_name = "REF")]
    pub(crate) since: Option<String>,

    /// Runs them even if they are up to date.
    #[arg(long)]
    pub(crate) force: bool,

    /// Says what would run and why, and runs nothing.
    #[arg(long = "dry-run")]
    pub(crate) only_say: bool,
}

impl Args {
    /// What was asked for and cannot be had together.
    pub(crate) fn contradiction(&self) -> Option<Failure> {
        let watching_only = [
            ("--postpone", self.postpone),
            ("--record", self.record.is_some()),
        ];
        let given = watching_only.iter().find(|(_, given)| *given);
        let no = |message: String, hint: &str| Some(Failure::usage(message, Some(hint.to_owned())));
        if self.common.quiet && self.common.verbose > 0 {
            return no(
                "`--quiet` and `--verbose` contradict each other".into(),
                "keep one",
            );
        }
        match (&self.command, given) {
            (Some(_), Some((flag, _))) => no(
                format!("`{flag}` has no effect on a command that does not watch"),
                "it goes with `watchrun [TASK...]` and `watchrun -- CMD...`",
            ),
            (Some(_), None) if !self.tasks.is_empty() => no(
                format!("`{}` stands before the name of the command", self.tasks[0]),
                "tasks go after it, as in `watchrun run build`",
            ),
            (None, _) if self.ad_hoc.is_empty() => None,
            (None, _) if !self.tasks.is_empty() => no(
                format!("`{}` stands before `--`, where options go", self.tasks[0]),
                "a command after `--` is run without a watchfile, so there are no tasks",
            ),
            (None, _) if self.common.file.is_some() => no(
                "`--file` names a watchfile, and a command after `--` is run without one".into(),
                "leave out one of the two",
            ),
            (Some(_), None) if !self.ad_hoc.is_empty() => no(
                "a command after `--` goes with no other command".into(),
                "leave out one of the two",
            ),
            (Some(_) | None, _) => None,
        }
    }
}

/// How the output of tasks is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Terminal: that of failed tasks. Otherwise: grouped.
    Auto,
    /// Each task's output in one piece, when it ends.
    Grouped,
    /// Line by line, with the task's name before it.
    Prefixed,
    /// As it comes.
    Stream,
    /// Only that of failed tasks, when they end.
    Failed,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Lets `-k` take its number as the next word (`-k 2`) or glued on (`-k2`): clap alone would take
/// the name of a task for it.
pub(crate) fn join_keep_going(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut joined: Vec<OsString> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            joined.push(word);
            joined.extend(words);
            break;
        }
        let glued = word
            .to_str()
            .and_then(|text| text.strip_prefix("-k"))
            .filter(|n| is_number(n));
        let next = words
            .peek()
            .and_then(|next| next.to_str())
            .filter(|n| is_number(n));
        let spaced = if word == "-k" || word == "--keep-going" {
            next
        } else {
            None
        };
        match glued.or(spaced) {
            Some(number) => {
                let option = format!("--keep-going={number}");
                if spaced.is_some() {
                    words.next();
                }
                joined.push(option.into());
            }
            None => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[track_caller]
    fn parse(line: &str) -> Args {
        let words = line.split_whitespace().map(OsString::from);
        Args::try_parse_from(join_keep_going(words)).unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn keep_going_takes_a_number_and_never_a_task() {
        assert_eq!(parse("watchrun run -k build").common.keep_going, Some(0));
        assert_eq!(parse("watchrun run -k 2 build").common.keep_going, Some(2));
        assert_eq!(parse("watchrun -k3 build").common.keep_going, Some(3));
        assert_eq!(parse("watchrun run build").common.keep_going, None);
        assert_eq!(parse("watchrun run -k build").command_tasks(), ["build"]);
    }

    #[test]
    fn a_command_after_two_dashes_is_taken_as_it_is() {
        let args = parse("watchrun -w src -e rs,toml -- make -k 2");
        assert_eq!(args.ad_hoc, ["make", "-k", "2"]);
        assert_eq!(args.ext, ["rs", "toml"]);
        assert!(Args::try_parse_from(["watchrun", "-w", "src"]).is_err());
    }

    impl Args {
        fn command_tasks(&self) -> &[String] {
            match &self.command {
                Some(Command::Run(run)) => &run.tasks,
                _ => &self.tasks,
            }
        }
    }
}
