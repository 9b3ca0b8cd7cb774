//! What can be wrong with a graph of tasks: unknown names, cycles, outputs with two owners.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::graph::{Node, Role};
use crate::pattern::{Effect, Pattern, PatternIndex, PatternSet};
use crate::task_id::{TaskId, TaskMap, TaskName};
use crate::watchfile::{Error, Inputs, NameRef, Task, TaskKind};

/// The names there are.
pub(super) struct Names<'a> {
    ids: &'a HashMap<TaskName, TaskId>,
    tasks: &'a TaskMap<Task>,
}

impl<'a> Names<'a> {
    pub(super) fn new(tasks: &'a TaskMap<Task>, ids: &'a HashMap<TaskName, TaskId>) -> Self {
        Self { ids, tasks }
    }

    /// The task that `name`, written in `task` (`None`: in `default`), refers to.
    pub(super) fn resolve(
        &self,
        task: Option<&Task>,
        name: &NameRef,
        errors: &mut Vec<Error>,
    ) -> Option<TaskId> {
        let found = self.ids.get(&name.name).copied();
        if found.is_none() {
            let task = task.map(|task| &task.name);
            let all = || self.tasks.iter().map(|(_, task)| task.name.as_str());
            // In an included file its own tasks go by their short names.
            let prefix = task.and_then(|task| Some(task.as_str().rsplit_once(':')?.0));
            let own = all().filter_map(|name| name.strip_prefix(prefix?)?.strip_prefix(':'));
            let candidates = own.chain(all());
            errors.push(Error::unknown_name(name.span, task, &name.name, candidates));
        }
        found
    }
}

/// The nodes of the graph; an edge to an unknown name is left out and reported.
pub(super) fn resolve(
    tasks: &TaskMap<Task>,
    names: &Names<'_>,
    errors: &mut Vec<Error>,
) -> TaskMap<Node> {
    let mut resolve_all = |task: &Task, refs: &[NameRef]| {
        let mut ids: Vec<TaskId> = refs
            .iter()
            .filter_map(|name| names.resolve(Some(task), name, errors))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let node = |(_, task): (TaskId, &Task)| Node {
        deps: resolve_all(task, &task.deps),
        after: resolve_all(task, &task.after),
        role: match task.kind {
            TaskKind::Service(_) => Role::Service,
            TaskKind::Group | TaskKind::Command(_) => Role::Command,
        },
        pool: task.pool,
        on_busy: task.on_busy,
        failure: task.failure,
        terminal: task.terminal,
    };
    tasks.iter().map(node).collect()
}

/// A service that says nothing of its inputs and depends on what makes outputs is made of its deps
/// alone: otherwise every save would restart it beside the rebuilding of what it runs.
pub(super) fn narrow_services(tasks: &mut TaskMap<Task>, nodes: &TaskMap<Node>) {
    let is_open = |task: &Task| {
        matches!(task.kind, TaskKind::Service(_)) && task.inputs == Inputs::Everything
    };
    let open: Vec<TaskId> = tasks.ids().filter(|id| is_open(&tasks[*id])).collect();
    for id in open {
        if is_fed(id, tasks, nodes) {
            tasks[id].inputs = Inputs::Patterns(PatternSet::default());
        }
    }
}

/// Whether a dep of `id`, directly or through groups, has outputs.
fn is_fed(id: TaskId, tasks: &TaskMap<Task>, nodes: &TaskMap<Node>) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = nodes[id].deps.clone();
    while let Some(dep) = todo.pop() {
        if !tasks[dep].outputs.is_empty() {
            return true;
        }
        // In a cycle, which is an error of its own, one would come by again.
        if tasks[dep].kind == TaskKind::Group && seen.insert(dep) {
            todo.extend(&nodes[dep].deps);
        }
    }
    false
}

/// Reports each cycle over `deps` and `after` that a depth-first walk in watchfile order closes.
pub(super) fn find_cycles(tasks: &TaskMap<Task>, nodes: &TaskMap<Node>, errors: &mut Vec<Error>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let edges = |id: TaskId| {
        nodes[id]
            .deps
            .iter()
            .chain(&nodes[id].after)
            .copied()
            .collect::<Vec<_>>()
    };
    let mut marks = TaskMap::from_fn(nodes.len(), |_| Mark::New);
    for start in nodes.ids() {
        if marks[start] != Mark::New {
            continue;
        }
        // The path walked so far, each task with the edges still to follow.
        let mut path = vec![(start, edges(start))];
        marks[start] = Mark::OnPath;
        while let Some((id, todo)) = path.last_mut() {
            let id = *id;
            let Some(next) = todo.pop() else {
                marks[id] = Mark::Done;
                path.pop();
                continue;
            };
            match marks[next] {
                Mark::New => {
                    marks[next] = Mark::OnPath;
                    path.push((next, edges(next)));
                }
                Mark::OnPath => errors.push(cycle_error(tasks, &path, next)),
                Mark::Done => {}
            }
        }
    }
}

/// `path` ends at a task that refers back to `again`, which is on it.
fn cycle_error(tasks: &TaskMap<Task>, path: &[(TaskId, Vec<TaskId>)], again: TaskId) -> Error {
    let start = path
        .iter()
        .position(|(id, _)| *id == again)
        .expect("`again` is on the path");
    let circle = path[start..].iter().map(|(id, _)| *id).chain([again]);
    let names: Vec<TaskName> = circle.map(|id| tasks[id].name.clone()).collect();
    let (last, _) = path.last().expect("the path holds `again`");
    let refs = &tasks[*last];
    let closing = refs
        .deps
        .iter()
        .chain(&refs.after)
        .find(|r| r.name == tasks[again].name);
    Error::cycle(closing.map_or(refs.span, |name| name.span), &names)
}

/// Reports outputs that two tasks claim: one pattern in both, or a path, named or made up, that the
/// patterns of both hold. Patterns that may or may not meet are left alone.
pub(super) fn find_shared_outputs(
    tasks: &TaskMap<Task>,
    sets: &PatternIndex,
    errors: &mut Vec<Error>,
) {
    let mut owners: HashMap<String, Place> = HashMap::new();
    let mut told: HashSet<[Place; 2]> = HashSet::new();
    let span = |(id, place): Place| (&tasks[id].name, tasks[id].output_spans[place]);
    for (id, task) in tasks.iter() {
        for (place, pattern) in task.outputs.patterns().iter().enumerate() {
            if pattern.effect() == Effect::Exclude {
                continue;
            }
            let here = (id, place);
            let text = pattern.to_string();
            let mut meets: Vec<Place> = Vec::new();
            meets.extend(owners.get(&text).filter(|(first, _)| *first != id));
            if meets.is_empty() {
                meets = sharers(tasks, sets, id, pattern);
            }
            for other in meets {
                if told.insert([here.min(other), here.max(other)]) {
                    errors.push(Error::duplicate_output(span(other), span(here), &text));
                }
            }
            owners.entry(text).or_insert(here);
        }
    }
}

/// A pattern: the task, and which of its outputs it is.
type Place = (TaskId, usize);

/// The patterns of other tasks that hold a path which `pattern`, an output of `id`, holds too.
fn sharers(
    tasks: &TaskMap<Task>,
    sets: &PatternIndex,
    id: TaskId,
    pattern: &Pattern,
) -> Vec<Place> {
    let own = &tasks[id].outputs;
    let mut found: Vec<Place> = Vec::new();
    for path in pattern.samples().iter().filter(|path| own.matches(path)) {
        for owner in sets.matching(path).into_iter().map(TaskId::new) {
            let holds = |p: &Pattern| p.effect() == Effect::Include && p.matches(path);
            let place = tasks[owner].outputs.patterns().iter().position(holds);
            if let (true, Some(place)) = (owner != id, place) {
                found.push((owner, place));
            }
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(owner, _)| *owner);
    found
}
