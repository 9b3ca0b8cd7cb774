//! Why a path is seen or not, and whether the model is right: [`Explanation`], [`AuditReport`].

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::change::FileType;
use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::watch::ignored::IgnoreReason;
use crate::watch::processor::EventProcessor;
use crate::watch::tree::NodeId;
use crate::watch::walk::{EntryKind, Walker, absolute, open_absolute, stat};

/// How the directory of a path is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// By the system.
    Native,
    /// By polling.
    Polled,
    /// It cannot be read.
    Unreadable,
    /// Not at all.
    No,
}

/// What a watch thinks of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one path"
)]
pub struct Explanation {
    /// The path, absolute.
    pub path: PathBuf,
    /// Whether it lies below the root.
    pub inside: bool,
    /// What is on disk, links not followed.
    pub on_disk: Option<FileType>,
    /// Whether the model holds it: its changes are reported.
    pub modelled: bool,
    /// How changes of it are noticed.
    pub watched: Watched,
    /// What ignores it, and which path that is said of: itself or a directory above.
    pub ignored: Option<(RelPath, IgnoreReason)>,
    /// Whether it is in the model although ignored: git tracks it, or a pattern without wildcards
    /// names it.
    pub spared: bool,
    /// Whether the patterns select it, or for a directory, may select something below.
    pub selected: bool,
}

/// How the model differs from the disk. Empty when it is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// On disk, not in the model.
    pub missing: Vec<RelPath>,
    /// In the model, not on disk.
    pub extra: Vec<RelPath>,
    /// In both, with different states.
    pub stale: Vec<RelPath>,
    /// How many files were compared.
    pub n_files: usize,
}

impl AuditReport {
    /// Whether model and disk agree.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.stale.is_empty()
    }
}

impl EventProcessor {
    pub(crate) fn explain(&self, path: &Path) -> Explanation {
        let path = self.shared.root.join(path);
        let on_disk = stat(&path).ok().map(|stat| stat.file_type());
        let mut explanation = Explanation {
            inside: path.starts_with(&self.shared.root),
            on_disk,
            modelled: false,
            watched: Watched::No,
            ignored: None,
            spared: false,
            selected: false,
            path: path.clone(),
        };
        let inside = path.strip_prefix(&self.shared.root).ok();
        let rel = inside.and_then(|path| RelPath::new(path.as_os_str().as_encoded_bytes()));
        let Some(rel) = rel else {
            return explanation;
        };
        let is_dir = on_disk == Some(FileType::Dir);
        let found = self.tree().find(rel.as_bytes());
        explanation.modelled = found.is_some();
        explanation.watched = self.how_watched(&rel.parent());
        explanation.ignored = self.ignored_by(&rel, is_dir);
        explanation.spared = explanation.modelled && explanation.ignored.is_some();
        explanation.selected = if is_dir {
            self.select.may_match_below(&RelDir::from(rel))
        } else {
            self.select.matches(&rel)
        };
        explanation
    }

    /// Whether ignore rules hide `rel` or a directory above it.
    pub(crate) fn is_ignored_path(&self, rel: &RelPath) -> bool {
        self.ignored_by(rel, false).is_some()
    }

    fn how_watched(&self, dir: &RelDir) -> Watched {
        let modelled = {
            let tree = self.tree();
            tree.find(dir.as_bytes()).is_some_and(|id| tree.is_dir(id))
        };
        match () {
            () if !modelled || self.identity.is_none() => Watched::No,
            () if self.unreadable.contains_key(dir) => Watched::Unreadable,
            () if self.poll.contains(dir) => Watched::Polled,
            () => Watched::Native,
        }
    }

    /// The outermost path on the way to `rel` that is ignored, and what ignores it.
    pub(crate) fn ignored_by(
        &self,
        rel: &RelPath,
        is_dir: bool,
    ) -> Option<(RelPath, IgnoreReason)> {
        let mut way: Vec<RelPath> = rel
            .ancestors()
            .filter_map(|dir| dir.as_rel_path().cloned())
            .collect();
        way.reverse();
        way.push(rel.clone());
        way.into_iter().find_map(|path| {
            let rules = self.rules(&path.parent());
            let is_dir = is_dir || path != *rel;
            let absolute = self.shared.root.join(path.as_path());
            let reason = self
                .ignored
                .reason(&rules, &absolute, path.file_name(), is_dir)?;
            Some((path, reason))
        })
    }

    /// Reads everything again and compares, changing nothing.
    pub(crate) fn audit(&self) -> AuditReport {
        let mut report = AuditReport::default();
        let walker = Walker {
            root: &self.shared.root,
            ignored: &self.ignored,
            select: &self.select,
        };
        let mut stack: Vec<_> = self.task(&RelDir::ROOT).into_iter().collect();
        while let Some(task) = stack.pop() {
            let path = absolute(walker.root, &task.dir);
            let listing = open_absolute(&path)
                .and_then(|fd| walker.list(fd.as_fd(), &task.dir, task.standing, &task.outer));
            let Ok(mut listing) = listing else {
                continue;
            };
            listing.sort_by_name();
            let tree = self.tree();
            let Some(id) = tree.find(task.dir.as_bytes()) else {
                continue;
            };
            let mut known: Vec<NodeId> = tree.children(id).to_vec();
            for entry in &listing.entries {
                let name = listing.name(entry);
                let Some(path) = task.dir.join(name) else {
                    continue;
                };
                let node = tree.child(id, name);
                known.retain(|&other| Some(other) != node);
                let old = node.map(|node| tree.stat(node));
                report.n_files += usize::from(matches!(entry.kind, EntryKind::File { .. }));
                report.note(&path, old, &entry.kind);
                if let EntryKind::Dir { standing, .. } = entry.kind {
                    stack.push(crate::watch::reconcile::Task {
                        dir: RelDir::from(path),
                        standing,
                        outer: listing.rules.clone(),
                    });
                }
            }
            report
                .extra
                .extend(known.into_iter().filter_map(|id| tree.path(id)));
        }
        for list in [&mut report.missing, &mut report.extra, &mut report.stale] {
            list.sort_unstable();
        }
        report
    }
}

impl AuditReport {
    fn note(&mut self, path: &RelPath, old: Option<FileStat>, found: &EntryKind) {
        let Some(old) = old else {
            return self.missing.push(path.clone());
        };
        let same = match found {
            EntryKind::File { stat, .. } => old == *stat,
            EntryKind::Dir { .. } => old.file_type() == FileType::Dir,
        };
        if !same {
            self.stale.push(path.clone());
        }
    }
}
