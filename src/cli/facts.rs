//! What the environment says, read once: [`Facts`].

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{env, thread};

use rustix::fs::{FileType, fstat};
use rustix::stdio::stdout;
use watchrun::exec::{self, Orphans, TREE_VARIABLE};

use super::HELPER;
use super::args::{Color, Common};
use super::report::Style;

/// Everything that comes from outside the command line and the watchfile.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Where the program was started, or `--dir`.
    pub(crate) dir: PathBuf,
    pub(crate) cores: NonZeroUsize,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) temp_dir: PathBuf,
    pub(crate) stdout: Place,
    pub(crate) stderr: Place,
    /// Whether another program reads stdout, and may write to the terminal when it likes.
    pub(crate) stdout_is_read: bool,
    /// Whether keys can be read.
    pub(crate) has_keyboard: bool,
    /// Runs under GitHub Actions.
    pub(crate) github: bool,
    color: Color,
}

/// What a stream goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A terminal that obeys escape codes.
    Terminal,
    /// A file, a pipe, or a terminal that obeys none.
    Plain,
}

impl Facts {
    pub(crate) fn gather(common: &Common) -> Self {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let place = |terminal: bool| {
            if terminal && !dumb && !is_set("CI") {
                Place::Terminal
            } else {
                Place::Plain
            }
        };
        let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Self {
            dir: common
                .dir
                .as_ref()
                .map_or_else(|| here.clone(), |dir| here.join(dir)),
            cores: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            environment: env::vars_os().collect(),
            temp_dir: env::temp_dir(),
            stdout: place(io::stdout().is_terminal()),
            stderr: place(io::stderr().is_terminal()),
            stdout_is_read: fstat(stdout()).is_ok_and(|stat| {
                let kind = FileType::from_raw_mode(stat.st_mode);
                matches!(kind, FileType::Fifo | FileType::Socket)
            }),
            has_keyboard: io::stdin().is_terminal(),
            github: is_set("GITHUB_ACTIONS"),
            color: common.color,
        }
    }

    pub(crate) fn style_of_stderr(&self) -> Style {
        self.style(self.stderr)
    }

    pub(crate) fn style_of_stdout(&self) -> Style {
        self.style(self.stdout)
    }

    fn style(&self, place: Place) -> Style {
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if is_set("NO_COLOR") => false,
            Color::Auto => place == Place::Terminal || is_set_to_yes("CLICOLOR_FORCE"),
        };
        Style { color }
    }

    /// How commands are run.
    pub(crate) fn exec() -> exec::Options {
        let helper = env::current_exe()
            .ok()
            .map(|exe| vec![exe.into(), HELPER.into()]);
        exec::Options {
            path: env::var_os("PATH").unwrap_or_default(),
            tree: env::var_os(TREE_VARIABLE),
            guardian: helper,
            orphans: Orphans::All,
        }
    }

    /// The files that stdout and stderr go to, where they do and the system says which.
    pub(crate) fn redirected() -> impl Iterator<Item = PathBuf> {
        ["/proc/self/fd/1", "/proc/self/fd/2"]
            .into_iter()
            .filter(|fd| std::fs::metadata(fd).is_ok_and(|found| found.is_file()))
            .filter_map(|fd| std::fs::read_link(fd).ok())
    }

    /// The user's own excludes file for git: `core.excludesFile` of `~/.gitconfig`, else git's
    /// default place. Needs no git.
    pub(crate) fn global_excludes() -> Option<PathBuf> {
        let home = env::var_os("HOME").map(PathBuf::from);
        let config = env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty());
        let config = config
            .map(PathBuf::from)
            .or_else(|| Some(home.as_ref()?.join(".config")));
        let named = home
            .as_ref()
            .and_then(|home| excludes_file(&home.join(".gitconfig"), home));
        let fallback = || config.map(|dir| dir.join("git/ignore"));
        named.or_else(fallback).filter(|path| path.exists())
    }
}

/// `core.excludesFile` in a git configuration file.
fn excludes_file(config: &Path, home: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(config).ok()?;
    let mut in_core = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            in_core = section
                .trim_end_matches(']')
                .trim()
                .eq_ignore_ascii_case("core");
        } else if let (true, Some((key, value))) = (in_core, line.split_once('='))
            && key.trim().eq_ignore_ascii_case("excludesfile")
        {
            found = Some(value.trim().trim_matches('"').to_owned());
        }
    }
    let value = found?;
    Some(match value.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(value),
    })
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn is_set_to_yes(name: &str) -> bool {
    is_set(name) && env::var_os(name).is_some_and(|value| value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excludes_file_of_a_git_configuration_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join(".gitconfig");
        let text = "[user]\n excludesFile = no\n[Core]\n\texcludesfile = ~/ig\n";
        std::fs::write(&config, text).unwrap();
        assert_eq!(
            excludes_file(&config, Path::new("/h")),
            Some(PathBuf::from("/h/ig"))
        );
        std::fs::write(&config, "[user]\nname = x\n").unwrap();
        assert_eq!(excludes_file(&config, Path::new("/h")), None);
    }
}
