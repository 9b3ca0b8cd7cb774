//! How one directory differs from what was last seen of it: [`Diff`].

use crate::change::FileType;
use crate::disk::FileStat;
use crate::path::{RelDir, RelPath};
use crate::watch::debounce::Observed;
use crate::watch::reconcile::{Depth, Task};
use crate::watch::tree::{NodeId, Tree};
use crate::watch::walk::{EntryKind, Listing, Standing};

/// How a listing differs from the tree.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    pub(crate) observed: Vec<Observed>,
    /// To be read next.
    pub(crate) dirs: Vec<(RelDir, Standing)>,
    pub(crate) gone_dirs: Vec<RelPath>,
}

impl Diff {
    /// Brings the directory `id` of the tree in step with the listing, which is sorted by name.
    pub(crate) fn compare(
        &mut self,
        tree: &mut Tree,
        id: NodeId,
        task: &Task,
        listing: &Listing,
        depth: Depth,
        is_rule_file: &dyn Fn(&[u8]) -> bool,
    ) {
        tree.set_stat(id, &listing.stat);
        let mut dirs = Vec::new();
        let mut old = tree.children(id).to_vec().into_iter().peekable();
        let mut gone = Vec::new();
        for entry in &listing.entries {
            let name = listing.name(entry);
            while let Some(known) = old.next_if(|&known| tree.name(known) < name) {
                gone.push(known);
            }
            let known = old.next_if(|&known| tree.name(known) == name);
            let was_dir = known.map(|known| tree.is_dir(known));
            let is_dir = matches!(entry.kind, EntryKind::Dir { .. });
            let mut before = known.map(|known| tree.stat(known));
            if let Some(known) = known
                && was_dir != Some(is_dir)
            {
                self.remove(tree, known);
                // Told of by the removal.
                before = if is_dir { None } else { before };
            }
            let Some(path) = task.dir.join(name) else {
                continue;
            };
            match entry.kind {
                EntryKind::File { stat, standing } => {
                    let named = standing == Standing::Named;
                    let was_named = known.is_some_and(|known| tree.is_named(known));
                    if before != Some(stat) || named != was_named {
                        let file = tree.put(id, name, &stat);
                        tree.set_named(file, named);
                        self.note(path, before, Some(stat));
                    }
                }
                EntryKind::Dir { ino, standing } => {
                    let is_new = was_dir != Some(true);
                    if is_new {
                        let stat = FileStat {
                            dev: listing.stat.dev,
                            ino,
                            size: 0,
                            mtime_ns: 0,
                            ctime_ns: 0,
                            mode: 0o040_755,
                        };
                        tree.put(id, name, &stat);
                        self.note(path.clone(), before, Some(stat));
                    }
                    let replaced = before.is_some_and(|before| before.ino != ino);
                    let is_due = is_new || replaced || depth == Depth::Deep;
                    dirs.push((is_due, RelDir::from(path), standing));
                }
            }
        }
        gone.extend(old);
        for known in gone {
            self.remove(tree, known);
        }
        self.plan(dirs, is_rule_file);
    }

    /// Notes which of the directories found are to be read. Where the rules differ, all of them:
    /// what is below is to be judged anew.
    fn plan(&mut self, found: Vec<(bool, RelDir, Standing)>, is_rule_file: &dyn Fn(&[u8]) -> bool) {
        let differs = |observed: &Observed| is_rule_file(observed.path.file_name());
        let new_rules = self.observed.iter().any(differs);
        let due = found.into_iter().filter(|(due, ..)| *due || new_rules);
        self.dirs
            .extend(due.map(|(_, dir, standing)| (dir, standing)));
    }

    fn remove(&mut self, tree: &mut Tree, id: NodeId) {
        tree.remove(id, &mut |path, stat| {
            if stat.file_type() == FileType::Dir {
                self.gone_dirs.push(path.clone());
            }
            self.note(path, Some(stat), None);
        });
    }

    fn note(&mut self, path: RelPath, before: Option<FileStat>, after: Option<FileStat>) {
        self.observed.push(Observed {
            path,
            before,
            after,
            // The same, but not for the same readers: it is ignored now, or no longer.
            written: before == after,
            moved: false,
        });
    }
}
