//! One look at everything: [`scan`], for who does not watch.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::disk::FileStat;
use crate::files::{FileEntry, FileList};
use crate::parallel;
use crate::path::{RelDir, RelPath, Root};
use crate::watch::ignored::{Ignored, Rules};
use crate::watch::layout::Layout;
use crate::watch::options::ScanOptions;
use crate::watch::select::Select;
use crate::watch::tree::path_order;
use crate::watch::walk::{EntryKind, Standing, Walker, open_absolute, open_dir};
use crate::watch::warning::Warning;

/// What [`scan`] found.
#[derive(Debug)]
pub struct Scan {
    /// Everything of interest that is not a directory.
    pub files: FileList,
    /// Those of `files` that are ignored, ascending: they are there because a pattern without
    /// wildcards names them.
    pub ignored: Vec<RelPath>,
    /// Directories that could not be read, lines of ignore files that are no patterns.
    pub warnings: Vec<Warning>,
}

/// Reads the tree below `root` once, in parallel on rayon's global pool, with the ignore and
/// select rules of a watch. Links are not followed. Blocks until done.
///
/// # Errors
/// When the root itself cannot be opened or listed. What cannot be read below it is a warning.
pub fn scan(root: &Root, options: &ScanOptions) -> io::Result<Scan> {
    Ok(Survey::make(root, options)?.into_scan())
}

/// As [`scan`], with what spares the next look most of the work, where something can.
/// `begun_ns` is what [`stamp_clock_ns`](super::layout::stamp_clock_ns) said before.
pub(crate) fn look(
    root: &Root,
    options: &ScanOptions,
    begun_ns: i64,
) -> io::Result<(Scan, Option<Layout>)> {
    let survey = Survey::make(root, options)?;
    let layout = Layout::of(&survey, begun_ns);
    Ok((survey.into_scan(), layout))
}

/// Everything that one look came by.
pub(crate) struct Survey {
    pub(crate) root: Root,
    /// The root, by its descriptor.
    pub(crate) fd: OwnedFd,
    pub(crate) ignored: Ignored,
    pub(crate) found: Found,
}

/// What was found in the tree, in path order.
#[derive(Default)]
pub(crate) struct Found {
    entries: Vec<FileEntry>,
    /// Those of `entries` that are ignored.
    named: Vec<RelPath>,
    /// Every directory that was read.
    pub(crate) dirs: Vec<(RelDir, FileStat)>,
    /// The rules of those that have any of their own.
    pub(crate) rules: Vec<Rules>,
    /// How many directories or entries could not be read.
    pub(crate) n_missed: usize,
    unreadable: Vec<Warning>,
}

impl Survey {
    fn make(root: &Root, options: &ScanOptions) -> io::Result<Self> {
        let ScanOptions {
            gitignore,
            global_excludes,
            excluded_names,
            select,
        } = options;
        let path = root.as_path();
        let ignored = Ignored::load(path, *gitignore, excluded_names, global_excludes.as_deref());
        let select = Select::new(select.as_ref());
        let walker = Walker {
            root: path,
            ignored: &ignored,
            select: &select,
        };
        let fd = open_absolute(path)?;
        let outer = ignored.outer();
        let top = visit(&walker, &fd, &RelDir::ROOT, Standing::Plain, outer)?;
        let mut found = Found {
            entries: Vec::with_capacity(top.n_files),
            ..Found::default()
        };
        found.take(RelDir::ROOT, top, path);
        found.named.sort_unstable();
        Ok(Self {
            root: root.clone(),
            fd,
            ignored,
            found,
        })
    }

    fn into_scan(self) -> Scan {
        let problems = self.ignored.take_problems().into_iter();
        let mut warnings = self.found.unreadable;
        warnings.extend(problems.map(|(path, problem)| Warning::IgnoreRule { path, problem }));
        Scan {
            files: FileList::new(self.found.entries),
            ignored: self.found.named,
            warnings,
        }
    }
}

/// A directory and everything below it, in path order: files up to a sub-directory, that
/// sub-directory, and so on.
struct Visited {
    stat: FileStat,
    /// Its rules, if it has any of its own.
    rules: Option<Rules>,
    is_whole: bool,
    files: Vec<FileEntry>,
    /// Those of `files` that are ignored.
    ignored: Vec<RelPath>,
    /// How many of `files` come before it, and the sub-directory or why it could not be read.
    dirs: Vec<(usize, RelDir, io::Result<Visited>)>,
    n_files: usize,
}

fn visit(
    walker: &Walker<'_>,
    fd: &OwnedFd,
    dir: &RelDir,
    standing: Standing,
    outer: &Rules,
) -> io::Result<Visited> {
    let listing = match walker.select.only_names(dir) {
        Some(names) => walker.list_named(fd.as_fd(), dir, standing, outer, names)?,
        None => walker.list(fd.as_fd(), dir, standing, outer)?,
    };
    let is_dir = |kind: &EntryKind| matches!(kind, EntryKind::Dir { .. });
    let mut order: Vec<_> = listing.entries.iter().collect();
    order.sort_unstable_by(|a, b| {
        path_order(
            (listing.name(a), is_dir(&a.kind)),
            (listing.name(b), is_dir(&b.kind)),
        )
    });
    let mut files = Vec::with_capacity(order.len());
    let (mut found, mut ignored) = (Vec::new(), Vec::new());
    for entry in order {
        let Some(path) = dir.join(listing.name(entry)) else {
            continue;
        };
        match entry.kind {
            EntryKind::File { stat, standing } => {
                if standing == Standing::Named {
                    ignored.push(path.clone());
                }
                files.push(FileEntry { path, stat });
            }
            EntryKind::Dir { standing, .. } => found.push((files.len(), path, standing)),
        }
    }
    let descend = |(at, path, standing): &(usize, RelPath, Standing)| {
        let name = Path::new(OsStr::from_bytes(path.file_name()));
        let below = RelDir::from(path.clone());
        let visited = open_dir(fd.as_fd(), name)
            .and_then(|child| visit(walker, &child, &below, *standing, &listing.rules));
        (*at, below, visited)
    };
    let dirs = parallel::map(&found, true, descend);
    let below: usize = dirs
        .iter()
        .filter_map(|(_, _, visited)| visited.as_ref().ok())
        .map(|visited| visited.n_files)
        .sum();
    Ok(Visited {
        stat: listing.stat,
        rules: listing.has_rules.then_some(listing.rules),
        is_whole: listing.is_whole,
        n_files: files.len() + below,
        files,
        ignored,
        dirs,
    })
}

impl Found {
    /// Takes in `visited`, which is `dir`, and all below it.
    fn take(&mut self, dir: RelDir, visited: Visited, root: &Path) {
        self.dirs.push((dir, visited.stat));
        self.rules.extend(visited.rules);
        self.n_missed += usize::from(!visited.is_whole);
        self.named.extend(visited.ignored);
        let mut files = visited.files.into_iter();
        let mut taken = 0;
        for (at, dir, below) in visited.dirs {
            self.entries.extend(files.by_ref().take(at - taken));
            taken = at;
            match below {
                Ok(below) => self.take(dir, below, root),
                Err(error) => {
                    self.n_missed += 1;
                    // Otherwise it is gone since it was listed.
                    if !is_gone(&error) {
                        let path = super::walk::absolute(root, &dir);
                        self.unreadable.push(unreadable(path, &error));
                    }
                }
            }
        }
        self.entries.extend(files);
    }
}

/// Whether an error means that the path is no directory any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    // A final link is refused with ELOOP.
    matches!(error.kind(), NotFound | NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// The warning about a directory that cannot be read.
pub(crate) fn unreadable(path: PathBuf, error: &io::Error) -> Warning {
    Warning::Unreadable {
        path,
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pattern::{Pattern, PatternSet};

    fn tree(files: &[&str]) -> (tempfile::TempDir, Root) {
        let temp = tempfile::tempdir().unwrap();
        for file in files {
            let path = temp.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let root = Root::new(&temp.path().canonicalize().unwrap()).unwrap();
        (temp, root)
    }

    fn found(root: &Root, options: &ScanOptions) -> Vec<String> {
        let scan = scan(root, options).unwrap();
        let paths = scan.files.entries().iter();
        paths.map(|entry| entry.path.to_string()).collect()
    }

    fn select(texts: &[&str]) -> ScanOptions {
        let parse = |text: &&str| Pattern::parse(text, &RelDir::ROOT).unwrap();
        ScanOptions {
            select: Some(PatternSet::new(texts.iter().map(parse).collect())),
            ..ScanOptions::new()
        }
    }

    #[test]
    fn files_come_in_path_order_without_what_is_ignored() {
        let (temp, root) = tree(&["b/x", "b.c", "b-1/y", "a", "out/o", "z/z.log", "z/k.log"]);
        fs::write(temp.path().join(".gitignore"), "out\n*.log\n").unwrap();
        fs::write(temp.path().join("z/.gitignore"), "!k.log\n").unwrap();
        assert_eq!(
            found(&root, &ScanOptions::new()),
            [
                ".gitignore",
                "a",
                "b-1/y",
                "b.c",
                "b/x",
                "z/.gitignore",
                "z/k.log"
            ]
        );
    }

    #[test]
    fn a_plain_path_beats_the_ignore_rules_and_a_glob_does_not() {
        let (temp, root) = tree(&["out/app", "out/b", "out/deep/c", "src/a.rs", "doc/x"]);
        fs::write(temp.path().join(".gitignore"), "out\n").unwrap();
        let options = select(&["**/*.rs", "out/*", "out/app", "out/deep"]);
        assert_eq!(
            found(&root, &options),
            ["out/app", "out/deep/c", "src/a.rs"]
        );
    }

    #[test]
    fn where_names_are_known_the_same_rules_hold_as_where_a_directory_is_read() {
        let (temp, root) = tree(&[
            "pkg/a/in/x",
            "pkg/a/in/x.o",
            "pkg/b/in/x",
            "pkg/c/in/x",
            "m/f",
        ]);
        fs::write(temp.path().join(".gitignore"), "*.o\n").unwrap();
        fs::write(temp.path().join("pkg/.gitignore"), "b\n").unwrap();
        fs::write(temp.path().join("pkg/c/.watchrunignore"), "in/\n").unwrap();
        let texts = ["pkg/a/in/**", "pkg/b/in/**", "pkg/c/in/**", "m/f", "gone/f"];
        assert_eq!(found(&root, &select(&texts)), ["m/f", "pkg/a/in/x"]);
    }

    #[test]
    fn tracked_files_count_though_ignored() {
        let (temp, root) = tree(&["out/kept", "out/not", "gen/x", "a"]);
        let git = |args: &[&str]| {
            let mut command = std::process::Command::new("git");
            let status = command.args(args).current_dir(temp.path()).status();
            assert!(status.unwrap().success());
        };
        git(&["init", "-q"]);
        git(&["add", "out/kept"]);
        fs::write(temp.path().join(".gitignore"), "out\ngen\n").unwrap();
        assert_eq!(
            found(&root, &ScanOptions::new()),
            [".gitignore", "a", "out/kept"]
        );
    }

    #[test]
    fn what_a_repository_in_an_ignored_directory_tracks_does_not_count() {
        let (temp, root) = tree(&["vendor/a.c", "vendor/b.c", "vendor/in/c.c", "a"]);
        let git = |args: &[&str]| {
            let mut command = std::process::Command::new("git");
            let status = command.args(args).current_dir(temp.path()).status();
            assert!(status.unwrap().success());
        };
        for dir in ["vendor/in", "vendor"] {
            git(&["init", "-q", dir]);
            git(&["-C", dir, "add", "*.c"]);
        }
        git(&["init", "-q"]);
        git(&["add", "a"]);
        fs::write(temp.path().join(".gitignore"), "vendor\n").unwrap();
        let options = select(&["**", "vendor/a.c", "vendor/in/none"]);
        assert_eq!(found(&root, &options), [".gitignore", "a", "vendor/a.c"]);
        let scan = scan(&root, &options).unwrap();
        assert_eq!(scan.ignored, [RelPath::new(b"vendor/a.c").unwrap()]);

        // What the repository around it tracks counts.
        fs::rename(temp.path().join("vendor/.git"), temp.path().join("kept")).unwrap();
        git(&["add", "-f", "vendor/b.c"]);
        fs::rename(temp.path().join("kept"), temp.path().join("vendor/.git")).unwrap();
        let found = found(&root, &options);
        assert_eq!(found, [".gitignore", "a", "vendor/a.c", "vendor/b.c"]);
    }

    #[test]
    fn links_are_entries_and_not_followed() {
        let (temp, root) = tree(&["d/f"]);
        std::os::unix::fs::symlink("..", temp.path().join("d/loop")).unwrap();
        std::os::unix::fs::symlink("gone", temp.path().join("broken")).unwrap();
        assert_eq!(
            found(&root, &ScanOptions::new()),
            ["broken", "d/f", "d/loop"]
        );
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        let root = Root::new(Path::new("/nonexistent/dir")).unwrap();
        assert!(scan(&root, &ScanOptions::new()).is_err());
    }
}
