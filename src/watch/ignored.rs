//! Which paths are ignored: git's rules, `.ignore`, `.watchrunignore`, and names that always are.
//!
//! The one place that names the crate `ignore`. Rules are loaded by whoever reads a directory,
//! which knows from its listing which rule files are there; an edit is taken in by entering that
//! directory anew. Precedence, first match wins: `.watchrunignore`, `.ignore`, `.gitignore`, each
//! from the innermost directory outwards, then `.git/info/exclude`, then the global excludes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

use crate::watch::git::Repo;
use crate::watch::rule_files::{RuleFiles, Source};

/// What ignores a path, or brings it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// A name that is always ignored, such as `.git`.
    Name(String),
    /// A line of an ignore file.
    Rule {
        /// The file.
        file: PathBuf,
        /// The line's number, from 1, if the file could be read again.
        line: Option<usize>,
        /// The pattern as it stands there.
        pattern: String,
    },
}

/// The rules in force inside one directory. Cheap to clone; shared by directories that add none.
#[derive(Clone, Debug)]
pub struct Rules(Arc<Level>);

#[derive(Debug)]
struct Level {
    up: Option<Rules>,
    watchrunignore: Option<Gitignore>,
    ignore: Option<Gitignore>,
    gitignore: Option<Gitignore>,
    /// The repository that starts here: outer `.gitignore` files end to count.
    repo: Option<Arc<Repo>>,
    exclude: Option<Gitignore>,
    /// The files that were asked for rules.
    sources: Vec<Source>,
    /// Whether there is a `.git` that is no repository.
    has_stray_git: bool,
}

/// The rules of a tree.
///
/// Rules are entered directory by directory, from the root down, as a walk comes by:
///
/// ```
/// # use std::path::Path;
/// use watchrun::watch::{Ignored, RuleFiles};
///
/// let temp = tempfile::tempdir()?;
/// let root = temp.path();
/// std::fs::write(root.join(".gitignore"), "*.o\n")?;
/// let ignored = Ignored::load(root, true, &[], None);
/// let rules = ignored.enter(ignored.outer(), root, RuleFiles::of(root));
/// assert!(ignored.is_ignored(&rules, &root.join("a.o"), b"a.o", false));
/// assert!(!ignored.is_ignored(&rules, &root.join("a.c"), b"a.c", false));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Ignored {
    git: bool,
    names: Vec<Vec<u8>>,
    global: Option<Gitignore>,
    global_path: Option<PathBuf>,
    /// The directory that the repository around the root starts in.
    top: Option<PathBuf>,
    outer: Rules,
    /// Directories above the root whose rule files count, outermost first.
    above: Vec<PathBuf>,
    // Guards what was wrong with rule files. Leaf lock, held for one push or one drain.
    problems: Mutex<Vec<(PathBuf, String)>>,
}

impl Ignored {
    /// Loads what applies to `root` from outside of it: rule files of the directories above, up to
    /// the repository it lies in, and the global excludes.
    pub fn load(root: &Path, git: bool, names: &[String], global: Option<&Path>) -> Self {
        let top = top_of(root);
        let mut above: Vec<PathBuf> = match top {
            Some(top) => root
                .ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(top))
                .map(Path::to_path_buf)
                .collect(),
            None => Vec::new(),
        };
        above.reverse();
        let mut all: Vec<Vec<u8>> = vec![b".git".to_vec()];
        all.extend(names.iter().map(|name| name.clone().into_bytes()));
        let mut ignored = Self {
            git,
            names: all,
            global: None,
            global_path: global.map(Path::to_path_buf),
            top: top.map(Path::to_path_buf),
            outer: Rules(Arc::new(Level::empty(None))),
            above: Vec::new(),
            problems: Mutex::default(),
        };
        if git {
            let base = top.unwrap_or(root);
            ignored.global = global.and_then(|file| ignored.load_file(base, file));
        }
        for dir in &above {
            ignored.outer = ignored.enter(&ignored.outer, dir, RuleFiles::of(dir));
        }
        ignored.above = above;
        ignored
    }

    /// The rules that hold for the root itself, before its own files are read.
    pub fn outer(&self) -> &Rules {
        &self.outer
    }

    /// Directories outside the root that hold rule files which count.
    pub fn above(&self) -> &[PathBuf] {
        &self.above
    }

    /// The global excludes file, if one was given.
    pub fn global_path(&self) -> Option<&Path> {
        self.global_path.as_deref()
    }

    /// The directory that the repository around the root starts in, if there is one.
    pub(crate) fn top(&self) -> Option<&Path> {
        self.top.as_deref()
    }

    /// The global excludes file, if it was asked for rules.
    pub(crate) fn global_source(&self) -> Option<Source> {
        let path = self.global_path.clone().filter(|_| self.git)?;
        Some(Source::new(path, self.global.is_some()))
    }

    /// The rules inside `dir`, which lies in a directory with the rules `parent` and holds `files`.
    pub fn enter(&self, parent: &Rules, dir: &Path, files: RuleFiles) -> Rules {
        if files.is_empty() {
            return parent.clone();
        }
        let mut level = Level::empty(Some(parent.clone()));
        let mut sources = Vec::new();
        let mut load = |present: bool, name: &str| {
            let path = present.then(|| dir.join(name))?;
            let rules = self.load_file(dir, &path);
            sources.push(Source::new(path, rules.is_some()));
            rules
        };
        level.watchrunignore = load(files.watchrunignore, ".watchrunignore");
        level.ignore = load(files.ignore, ".ignore");
        if self.git {
            level.gitignore = load(files.gitignore, ".gitignore");
            level.repo = files.dot_git.then(|| Repo::at(dir)).flatten().map(Arc::new);
            level.has_stray_git = files.dot_git && level.repo.is_none();
            if let Some(repo) = &level.repo {
                let path = repo.exclude_file();
                let exists = path.exists();
                level.exclude = exists.then(|| self.load_file(dir, &path)).flatten();
                sources.push(Source::new(path, level.exclude.is_some()));
            }
        }
        level.sources = sources;
        Rules(Arc::new(level))
    }

    /// Whether `path` (absolute), with the last component `name`, is ignored in a directory with
    /// these rules. Says nothing of the directories above it.
    pub fn is_ignored(&self, rules: &Rules, path: &Path, name: &[u8], is_dir: bool) -> bool {
        self.is_excluded_name(name)
            || self
                .deciding(rules, path, is_dir)
                .is_some_and(|glob| !glob.is_whitelist())
    }

    /// As [`Ignored::is_ignored`], with the reason.
    pub fn reason(
        &self,
        rules: &Rules,
        path: &Path,
        name: &[u8],
        is_dir: bool,
    ) -> Option<IgnoreReason> {
        if self.is_excluded_name(name) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Some(IgnoreReason::Name(name));
        }
        let glob = self.deciding(rules, path, is_dir)?;
        if glob.is_whitelist() {
            return None;
        }
        let file = glob.from()?.to_path_buf();
        let line = line_of(&file, glob.original());
        Some(IgnoreReason::Rule {
            file,
            line,
            pattern: glob.original().to_owned(),
        })
    }

    /// Whether `name` is that of a file whose content is rules.
    pub fn is_rule_file(&self, name: &[u8]) -> bool {
        let mut files = RuleFiles::default();
        files.note(name) && (self.git || !(files.gitignore || files.dot_git))
    }

    /// Takes what was wrong with rule files since the last time: file and problem.
    pub fn take_problems(&self) -> Vec<(PathBuf, String)> {
        std::mem::take(&mut *self.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `name` is ignored wherever it stands.
    pub fn is_excluded_name(&self, name: &[u8]) -> bool {
        self.names.iter().any(|excluded| excluded == name)
    }

    fn deciding<'a>(&'a self, rules: &'a Rules, path: &Path, is_dir: bool) -> Option<&'a Glob> {
        let ask = |rules: Option<&'a Gitignore>| match rules?.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(glob) | Match::Whitelist(glob) => Some(glob),
        };
        let levels = || rules.levels();
        levels()
            .find_map(|level| ask(level.watchrunignore.as_ref()))
            .or_else(|| levels().find_map(|level| ask(level.ignore.as_ref())))
            .or_else(|| {
                for level in levels() {
                    let found = ask(level.gitignore.as_ref());
                    if found.is_some() {
                        return found;
                    }
                    if level.repo.is_some() {
                        return ask(level.exclude.as_ref());
                    }
                }
                None
            })
            .or_else(|| ask(self.global.as_ref()))
    }

    fn load_file(&self, base: &Path, file: &Path) -> Option<Gitignore> {
        if fs::read_to_string(file).is_ok_and(|text| holds_no_rule(&text)) {
            return None;
        }
        let mut builder = GitignoreBuilder::new(base);
        let partial = builder.add(file);
        let (rules, error) = match builder.build() {
            Ok(rules) => (Some(rules).filter(|rules| !rules.is_empty()), partial),
            Err(error) => (None, Some(error)),
        };
        if let Some(error) = error {
            let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
            problems.push((file.to_path_buf(), error.to_string()));
        }
        rules
    }
}

impl Rules {
    /// The repository that a directory with these rules lies in.
    pub(crate) fn repo(&self) -> Option<&Arc<Repo>> {
        self.levels().find_map(|level| level.repo.as_ref())
    }

    /// Whether these rules were loaded by entering a directory from one with the rules `parent`.
    pub fn adds_to(&self, parent: &Self) -> bool {
        !Arc::ptr_eq(&self.0, &parent.0)
    }

    /// The rules that these were added to.
    pub(crate) fn up(&self) -> Option<&Self> {
        self.0.up.as_ref()
    }

    /// The files that were asked for what these add.
    pub(crate) fn own_sources(&self) -> &[Source] {
        &self.0.sources
    }

    /// The repository that starts with these.
    pub(crate) fn own_repo(&self) -> Option<&Arc<Repo>> {
        self.0.repo.as_ref()
    }

    /// Whether their directory holds a `.git` that is no repository.
    pub(crate) fn has_stray_git(&self) -> bool {
        self.0.has_stray_git
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        let mut next = Some(&*self.0);
        std::iter::from_fn(move || {
            let level = next?;
            next = level.up.as_ref().map(|up| &*up.0);
            Some(level)
        })
    }
}

impl Level {
    fn empty(up: Option<Rules>) -> Self {
        Self {
            up,
            watchrunignore: None,
            ignore: None,
            gitignore: None,
            repo: None,
            exclude: None,
            sources: Vec::new(),
            has_stray_git: false,
        }
    }
}

/// The innermost directory from `root` upwards that a repository starts at.
pub(crate) fn top_of(root: &Path) -> Option<&Path> {
    root.ancestors().find(|dir| dir.join(".git").exists())
}

/// Whether a rule file has nothing but comments, as the one that git puts into every repository:
/// to build rules of nothing takes longer than all else of a look at a small tree.
fn holds_no_rule(text: &str) -> bool {
    text.lines()
        .all(|line| line.starts_with('#') || line.trim_end().is_empty())
}

/// The last line of `file` that reads `pattern`: of equal lines, the last one decides.
fn line_of(file: &Path, pattern: &str) -> Option<usize> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let same = |line: &&str| line.trim_end() == pattern.trim_end();
    lines.iter().rposition(same).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Fixture {
        temp: tempfile::TempDir,
    }

    impl Fixture {
        /// `files` are `(path, content)`; a path that ends in `/` is a directory.
        fn new(files: &[(&str, &str)]) -> Self {
            let temp = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = temp.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self { temp }
        }

        /// Walks down to `path` as a scan would.
        fn reason(&self, path: &str, is_dir: bool) -> Option<IgnoreReason> {
            let root = self.temp.path();
            let global = root.join("global");
            let ignored = Ignored::load(root, true, &["out.d".to_owned()], Some(&global));
            let mut dir = root.to_path_buf();
            let mut rules = ignored.enter(ignored.outer(), &dir, RuleFiles::of(&dir));
            let parts: Vec<&str> = path.split('/').collect();
            for (at, part) in parts.iter().enumerate() {
                let last = at + 1 == parts.len();
                let child = dir.join(part);
                let found = ignored.reason(&rules, &child, part.as_bytes(), is_dir || !last);
                if found.is_some() || last {
                    return found;
                }
                rules = ignored.enter(&rules, &child, RuleFiles::of(&child));
                dir = child;
            }
            None
        }

        #[track_caller]
        fn check(&self, path: &str, expected: bool) {
            assert_eq!(self.reason(path, false).is_some(), expected, "{path}");
        }
    }

    #[test]
    fn comments_and_blanks_are_no_rules() {
        for text in ["", "\n", "# a\n\n  \r\n#b"] {
            assert!(holds_no_rule(text), "{text:?}");
        }
        for text in ["a", "# a\nb\n", " # a", "\\ ", "!a"] {
            assert!(!holds_no_rule(text), "{text:?}");
        }
    }

    #[test]
    fn inner_files_beat_outer_ones_and_kinds_have_their_order() {
        let tree = Fixture::new(&[
            (".gitignore", "*.log\n/build\nsecret\n"),
            (".git/info/exclude", "mine\n"),
            (".git/HEAD", "x"),
            ("global", "*.swp\nmine2\n"),
            ("a/.gitignore", "!keep.log\n/local\n"),
            ("a/.ignore", "secret2\n!x.log\n"),
            (".watchrunignore", "gen\n!mine2\n"),
        ]);
        tree.check("x.log", true);
        tree.check("a/keep.log", false);
        tree.check("a/x.log", false);
        tree.check("build", true);
        tree.check("a/build", false);
        tree.check("a/local", true);
        tree.check("a/b/local", false);
        tree.check("mine", true);
        tree.check("mine2", false);
        tree.check("f.swp", true);
        tree.check("gen/x", true);
        tree.check("a/secret2", true);
        tree.check(".git/HEAD", true);
        tree.check("a/out.d/x", true);
        tree.check("plain", false);
    }

    #[test]
    fn an_inner_repository_is_not_ruled_by_the_outer_gitignore() {
        let tree = Fixture::new(&[
            (".gitignore", "*.log\n"),
            (".git/HEAD", ""),
            ("sub/.git/HEAD", ""),
            ("sub/.git/info/exclude", "own\n"),
        ]);
        tree.check("a.log", true);
        tree.check("sub/a.log", false);
        tree.check("sub/own", true);
        tree.check("own", false);
    }

    #[test]
    fn rules_above_the_root_count_up_to_the_repository() {
        let tree = Fixture::new(&[
            (".git/HEAD", ""),
            (".gitignore", "*.log\n/p/q/only\n"),
            ("p/q/f", ""),
        ]);
        let root = tree.temp.path().join("p/q");
        let ignored = Ignored::load(&root, true, &[], None);
        let is = |name: &str| {
            ignored.is_ignored(ignored.outer(), &root.join(name), name.as_bytes(), false)
        };
        assert!(is("a.log") && is("only") && !is("f"));
        assert_eq!(ignored.above().len(), 2);
        let without = Ignored::load(&root, false, &[], None);
        assert!(!without.is_ignored(without.outer(), &root.join("a.log"), b"a.log", false));
    }

    #[test]
    fn the_reason_names_file_and_line() {
        let tree = Fixture::new(&[("a/.gitignore", "# note\n*.o\n\n*.o \nother\n")]);
        let reason = tree.reason("a/x.o", false).unwrap();
        let expected = IgnoreReason::Rule {
            file: tree.temp.path().join("a/.gitignore"),
            line: Some(4),
            pattern: "*.o ".to_owned(),
        };
        // Git drops unescaped blanks at the end: both lines are the same pattern.
        let IgnoreReason::Rule { file, line, .. } = reason else {
            panic!("{reason:?}")
        };
        let IgnoreReason::Rule {
            file: expected_file,
            line: expected_line,
            ..
        } = expected
        else {
            unreachable!()
        };
        assert_eq!((file, line), (expected_file, expected_line));
    }

    #[test]
    fn a_bad_line_is_told_and_the_others_count() {
        let tree = Fixture::new(&[(".gitignore", "[z-a]\n*.log\n")]);
        tree.check("x.log", true);
        let root = tree.temp.path();
        let ignored = Ignored::load(root, true, &[], None);
        ignored.enter(ignored.outer(), root, RuleFiles::of(root));
        let problems = ignored.take_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].0, root.join(".gitignore"));
    }

    /// Random rules and paths, compared with what git itself says.
    #[test]
    fn random_trees_agree_with_git() {
        let mut seed = 0x5eed_u64;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % n
        };
        let rules = [
            "a", "b/", "/a", "*.x", "!c.x", "a/b", "**/c", "b/**", "!a", "/*", "!/b", "c?", "[ab]",
            "a/**/c.x", "!b/c", "\\!c", "# c", "*", "!*/", "b/c.x",
        ];
        let names = ["a", "b", "c.x", "c", "cc"];
        for _ in 0..40 {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path();
            let git = |args: &[&str]| {
                let mut command = Command::new("git");
                command.args(args).current_dir(root);
                command.env("GIT_CONFIG_NOSYSTEM", "1");
                command.env("GIT_CONFIG_GLOBAL", "/dev/null");
                command.output().unwrap()
            };
            assert!(git(&["init", "-q"]).status.success());
            let mut files = Vec::new();
            for _ in 0..25 {
                let depth = 1 + random(4);
                let parts: Vec<&str> = (0..depth).map(|_| names[random(names.len())]).collect();
                let path = parts.join("/");
                let full = root.join(&path);
                let made = fs::create_dir_all(full.parent().unwrap()).is_ok();
                if made && !full.exists() && fs::write(&full, "").is_ok() {
                    files.push(path);
                }
            }
            for dir in ["", "a", "b", "a/b"] {
                if root.join(dir).is_dir() && random(3) > 0 {
                    let lines: Vec<&str> = (0..3).map(|_| rules[random(rules.len())]).collect();
                    fs::write(root.join(dir).join(".gitignore"), lines.join("\n")).unwrap();
                }
            }
            let listed = git(&["ls-files", "-co", "--exclude-standard"]);
            let listed = String::from_utf8(listed.stdout).unwrap();
            let tree = Fixture { temp };
            for file in files {
                let expected = !listed.lines().any(|line| line == file);
                assert_eq!(
                    tree.reason(&file, false).is_some(),
                    expected,
                    "{file}\n{listed}"
                );
            }
        }
    }
}
