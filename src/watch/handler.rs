//! Who is called with what: [`HandlerRegistry`], filters and priorities.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::change::{Change, ChangeKind, ChangeSet};
use crate::pattern::{PatternIndex, PatternSet};
use crate::watch::warning::Warning;

/// What a handler returns: an error is counted and told as a [`Warning`], the others go on.
pub type HandlerResult = Result<(), Box<dyn Error + Send + Sync>>;

/// Names a handler, to take it off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(u64);

/// Which changes a handler wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Paths; `None` is all.
    pub patterns: Option<PatternSet>,
    /// Kinds of change.
    pub kinds: Kinds,
    /// Higher ones are called first; equal ones in the order they came.
    pub priority: i32,
}

impl Filter {
    /// Every change of every path, at priority 0.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            patterns: None,
            kinds: Kinds::ALL,
            priority: 0,
        }
    }
}

/// A set of kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Paths that were not there before.
    pub const CREATED: Self = Self(1);
    /// Paths whose content may differ.
    pub const MODIFIED: Self = Self(2);
    /// Paths of which only mode or owner differs.
    pub const METADATA: Self = Self(4);
    /// Paths that are gone.
    pub const REMOVED: Self = Self(8);
    /// Paths that used to be elsewhere.
    pub const RENAMED: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// Those of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub fn has(self, kind: &ChangeKind) -> bool {
        let one = match kind {
            ChangeKind::Created => Self::CREATED,
            ChangeKind::Modified => Self::MODIFIED,
            ChangeKind::Metadata => Self::METADATA,
            ChangeKind::Removed => Self::REMOVED,
            ChangeKind::Renamed { .. } => Self::RENAMED,
        };
        self.0 & one.0 != 0
    }
}

/// A handler of change sets.
pub type OnChanges = Box<dyn FnMut(&Arc<ChangeSet>) -> HandlerResult + Send>;
/// A handler of warnings.
pub type OnWarning = Box<dyn FnMut(&Warning) -> HandlerResult + Send>;

/// The handlers of one watch. Handlers may be added and taken off at any time, also by handlers.
#[derive(Default)]
pub struct HandlerRegistry {
    // Guards the lists. Held to change or copy them, never while a handler runs.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    handlers: Vec<Arc<Registered>>,
    warning_handlers: Vec<(HandlerId, Arc<Mutex<OnWarning>>)>,
    /// Which filters hold a path: made at the first question after a change of the list.
    index: Option<Arc<PatternIndex>>,
}

struct Registered {
    id: HandlerId,
    filter: Filter,
    // Guards the handler against overlapping calls. Held while it runs: only the delivery thread
    // takes it, so that it is never waited for.
    call: Mutex<OnChanges>,
}

impl fmt::Debug for HandlerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerRegistry").finish_non_exhaustive()
    }
}

impl HandlerRegistry {
    /// Adds a handler for the changes that `filter` holds.
    pub fn add(&self, filter: Filter, call: OnChanges) -> HandlerId {
        let mut state = self.lock();
        state.next += 1;
        let id = HandlerId(state.next);
        let after = state
            .handlers
            .partition_point(|other| other.filter.priority >= filter.priority);
        let registered = Registered {
            id,
            filter,
            call: Mutex::new(call),
        };
        state.handlers.insert(after, Arc::new(registered));
        state.index = None;
        id
    }

    /// Adds a handler for warnings.
    pub fn add_warning(&self, call: OnWarning) -> HandlerId {
        let mut state = self.lock();
        state.next += 1;
        let id = HandlerId(state.next);
        state
            .warning_handlers
            .push((id, Arc::new(Mutex::new(call))));
        id
    }

    /// Takes a handler off; `false` if it was not there. It may still be running.
    pub fn remove(&self, id: HandlerId) -> bool {
        let mut state = self.lock();
        let before = state.handlers.len() + state.warning_handlers.len();
        state.handlers.retain(|handler| handler.id != id);
        state.warning_handlers.retain(|(own, _)| *own != id);
        state.index = None;
        state.handlers.len() + state.warning_handlers.len() < before
    }

    /// Calls every handler whose filter holds some change with what it holds; returns what the
    /// failed ones said. On the calling thread; one dispatch at a time.
    pub fn dispatch(&self, set: &Arc<ChangeSet>) -> Vec<String> {
        let (handlers, index) = self.snapshot();
        let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); handlers.len()];
        for (at, change) in set.changes.iter().enumerate() {
            let mut owners: Vec<usize> = change.paths().flat_map(|p| index.matching(p)).collect();
            owners.sort_unstable();
            owners.dedup();
            for (owner, handler) in handlers.iter().enumerate() {
                let named = handler.filter.patterns.is_none() || owners.contains(&owner);
                if named && handler.filter.kinds.has(&change.kind) {
                    wanted[owner].push(at);
                }
            }
        }
        let mut failures = Vec::new();
        for (handler, wanted) in handlers.iter().zip(wanted) {
            if wanted.is_empty() || !self.is_registered(handler.id) {
                continue;
            }
            let part = if wanted.len() == set.changes.len() {
                Arc::clone(set)
            } else {
                Arc::new(part_of(set, &wanted))
            };
            let mut call = handler.call.lock().unwrap_or_else(PoisonError::into_inner);
            failures.extend(guarded(|| (*call)(&part)));
        }
        failures
    }

    /// Calls every handler of warnings; returns what the failed ones said.
    pub fn dispatch_warning(&self, warning: &Warning) -> Vec<String> {
        let handlers = self.lock().warning_handlers.clone();
        let call = |(_, handler): &(HandlerId, Arc<Mutex<OnWarning>>)| {
            let mut call = handler.lock().unwrap_or_else(PoisonError::into_inner);
            guarded(|| (*call)(warning))
        };
        handlers.iter().filter_map(call).collect()
    }

    fn snapshot(&self) -> (Vec<Arc<Registered>>, Arc<PatternIndex>) {
        let mut state = self.lock();
        let index = if let Some(index) = &state.index {
            Arc::clone(index)
        } else {
            let sets = state.handlers.iter();
            let sets = sets.map(|h| h.filter.patterns.clone().unwrap_or_default());
            let index = Arc::new(PatternIndex::new(sets.collect()));
            state.index = Some(Arc::clone(&index));
            index
        };
        (state.handlers.clone(), index)
    }

    fn is_registered(&self, id: HandlerId) -> bool {
        self.lock().handlers.iter().any(|handler| handler.id == id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn part_of(set: &ChangeSet, wanted: &[usize]) -> ChangeSet {
    let pick = |&at: &usize| -> Change { set.changes[at].clone() };
    ChangeSet {
        id: set.id,
        changes: wanted.iter().map(pick).collect(),
        complete: set.complete,
    }
}

/// Runs a handler; its error or panic as text.
fn guarded(call: impl FnOnce() -> HandlerResult) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(text.map_or("panicked".to_owned(), |text| format!("panicked: {text}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::change::FileType;
    use crate::path::{RelDir, RelPath};
    use crate::pattern::Pattern;

    fn set(changes: &[(&str, ChangeKind)]) -> Arc<ChangeSet> {
        let change = |(path, kind): &(&str, ChangeKind)| Change {
            path: RelPath::new(path.as_bytes()).unwrap(),
            kind: kind.clone(),
            file_type: FileType::File,
        };
        Arc::new(ChangeSet {
            id: 1,
            changes: changes.iter().map(change).collect(),
            complete: true,
        })
    }

    fn filter(glob: &str, kinds: Kinds, priority: i32) -> Filter {
        let pattern = Pattern::parse(glob, &RelDir::ROOT).unwrap();
        Filter {
            patterns: Some(PatternSet::new(vec![pattern])),
            kinds,
            priority,
        }
    }

    fn recording(name: &'static str, tx: &mpsc::Sender<String>) -> OnChanges {
        let tx = tx.clone();
        Box::new(move |set| {
            let paths: Vec<_> = set.changes.iter().map(|c| c.path.to_string()).collect();
            tx.send(format!("{name}: {}", paths.join(" ")))?;
            Ok(())
        })
    }

    #[test]
    fn handlers_get_what_their_filter_holds_in_order_of_priority() {
        let registry = HandlerRegistry::default();
        let (tx, rx) = mpsc::channel();
        registry.add(filter("*.rs", Kinds::ALL, 0), recording("low", &tx));
        let id = registry.add(filter("**", Kinds::REMOVED, 5), recording("high", &tx));
        registry.add(filter("*.md", Kinds::ALL, 9), recording("never", &tx));
        let changes = set(&[
            ("a.rs", ChangeKind::Modified),
            ("b.rs", ChangeKind::Removed),
        ]);
        assert!(registry.dispatch(&changes).is_empty());
        let seen: Vec<String> = rx.try_iter().collect();
        assert_eq!(seen, ["high: b.rs", "low: a.rs b.rs"]);
        assert!(registry.remove(id) && !registry.remove(id));
        registry.dispatch(&changes);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["low: a.rs b.rs"]);
    }

    #[test]
    fn a_handler_that_fails_or_panics_does_not_keep_the_others_from_the_set() {
        let registry = HandlerRegistry::default();
        let (tx, rx) = mpsc::channel();
        registry.add(Filter::everything(), Box::new(|_| Err("no luck".into())));
        registry.add(Filter::everything(), Box::new(|_| panic!("bad day")));
        registry.add(Filter::everything(), recording("last", &tx));
        let failures = registry.dispatch(&set(&[("a", ChangeKind::Created)]));
        assert_eq!(failures, ["no luck", "panicked: bad day"]);
        assert_eq!(rx.try_iter().count(), 1);
    }

    #[test]
    fn a_handler_may_add_and_remove_handlers() {
        let registry = Arc::new(HandlerRegistry::default());
        let (tx, rx) = mpsc::channel();
        let later = registry.add(
            Filter {
                priority: -1,
                ..Filter::everything()
            },
            recording("removed", &tx),
        );
        let inner = Arc::clone(&registry);
        let add = recording("first", &tx);
        let mut add = Some(add);
        registry.add(
            Filter::everything(),
            Box::new(move |_| {
                inner.remove(later);
                if let Some(add) = add.take() {
                    inner.add(Filter::everything(), add);
                }
                Ok(())
            }),
        );
        let changes = set(&[("a", ChangeKind::Created)]);
        registry.dispatch(&changes);
        assert_eq!(rx.try_iter().count(), 0);
        registry.dispatch(&changes);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["first: a"]);
    }
}
