//! The schedule in all small graphs, by exhaustion: against a model of the world in which every
//! task has a version that changes bump, and a key made of its version and its deps' keys.

use super::tests::{id, limits, node, open_all};
use super::*;

/// A world in which tasks have versions, and a key is what a run would be computed from.
struct World {
    deps: Vec<Vec<usize>>,
    fails: Vec<bool>,
    versions: Vec<u64>,
    recorded: Vec<Option<String>>,
    failed: Vec<Option<String>>,
    started: Vec<Option<String>>,
    /// Whose command has ended, while they still run.
    recording: BTreeSet<TaskId>,
    starts: Vec<usize>,
}

impl World {
    fn key(&self, task: usize) -> String {
        let deps: Vec<String> = self.deps[task].iter().map(|&dep| self.key(dep)).collect();
        format!("{task}v{}({})", self.versions[task], deps.join(","))
    }

    fn answer(&self, task: usize, running: bool) -> Checked {
        let key = Some(self.key(task));
        if running {
            return if self.started[task] == key {
                Checked::Unmoved
            } else {
                Checked::Stale
            };
        }
        if self.recorded[task] == key {
            Checked::Ends(Outcome::Fresh)
        } else if self.failed[task] == key {
            Checked::Ends(Outcome::Failed)
        } else {
            Checked::Stale
        }
    }
}

/// In which order commands end, and then their tasks.
#[derive(Clone, Copy, Debug)]
enum Ends {
    FirstFirst,
    LastFirst,
}

/// Carries out every decision; ends one command or one running task at a time, in the order of
/// `ends`. A step is one end; `change` moves a task at the beginning of a step. How often it was
/// certain what comes next.
fn run_to_idle(
    schedule: &mut Schedule,
    world: &mut World,
    (jobs, ends): (usize, Ends),
    change: Option<(usize, usize)>,
) -> usize {
    let (mut ahead, mut n_ahead) = (None, 0);
    for step in 0..100 {
        if let Some((at, task)) = change
            && at == step
        {
            ahead = None;
            world.versions[task] += 1;
            let mut hit = schedule.graph.all_dependents(id(task));
            hit.push(id(task));
            schedule.open(&hit);
        }
        while let Some(ticket) = schedule.next_check() {
            let task = ticket.task.idx();
            let running = matches!(schedule.state(ticket.task), TaskState::Running(_));
            schedule.checked(ticket, world.answer(task, running));
        }
        while let Some(task) = schedule.next_start() {
            assert!(ahead.take().is_none_or(|ahead| ahead == task));
            let task = task.idx();
            for &dep in &world.deps[task] {
                let state = schedule.state(id(dep));
                assert!(
                    matches!(state, TaskState::Ended(o) if o.is_success()),
                    "{dep}: {state:?}"
                );
            }
            world.started[task] = Some(world.key(task));
            world.starts[task] += 1;
        }
        let stopping: Vec<TaskId> = std::iter::from_fn(|| schedule.next_stop()).collect();
        let running: Vec<TaskId> = schedule.running.iter().copied().collect();
        let n_recording = world.recording.len();
        assert!(n_recording <= jobs && running.len() - n_recording <= jobs);
        if let Some(&task) = stopping.first() {
            world.recording.remove(&task);
            schedule.ended(task, Outcome::Cancelled, false);
            stopping[1..].iter().for_each(|&other| {
                schedule.to_stop.insert(other);
            });
        } else if let Some(task) = ends.pick(&running) {
            // What comes next was certain, unless this end lets something else go on.
            ahead = schedule.next_ahead(1).first().copied();
            ahead = ahead.filter(|_| !schedule.graph.is_awaited(task));
            n_ahead += usize::from(ahead.is_some());
            let records = !world.fails[task.idx()] && n_recording < jobs;
            if records && world.recording.insert(task) {
                schedule.command_ended(task);
            } else {
                end_one(schedule, world, task);
            }
        } else if change.is_none_or(|(at, _)| at <= step) {
            return n_ahead;
        }
    }
    panic!("the schedule does not come to rest");
}

impl Ends {
    fn pick(self, running: &[TaskId]) -> Option<TaskId> {
        match self {
            Self::FirstFirst => running.first().copied(),
            Self::LastFirst => running.last().copied(),
        }
    }
}

fn end_one(schedule: &mut Schedule, world: &mut World, task: TaskId) {
    world.recording.remove(&task);
    let key = world.started[task.idx()].take();
    let moved = key.as_deref() != Some(&world.key(task.idx()));
    if world.fails[task.idx()] {
        world.failed[task.idx()] = key;
        schedule.ended(task, Outcome::Failed, moved);
    } else {
        if !moved {
            world.recorded[task.idx()] = key;
        }
        schedule.ended(task, Outcome::Done, moved);
    }
}

fn assert_exact(schedule: &Schedule, world: &World, jobs: usize) {
    assert!(schedule.is_settled());
    assert_eq!(schedule.slots.free(), jobs, "a slot was lost");
    for task in 0..world.deps.len() {
        let state = schedule.state(id(task));
        let blocked = world.deps[task]
            .iter()
            .any(|&dep| schedule.has_failed(id(dep)));
        match state {
            TaskState::Ended(outcome) if outcome.is_success() => {
                assert!(
                    !blocked && world.recorded[task] == Some(world.key(task)),
                    "{task} is stale"
                );
            }
            TaskState::Ended(Outcome::Failed) => assert!(world.fails[task] && !blocked),
            TaskState::Skipped(SkipCause::Dep(_)) => assert!(blocked, "{task} skipped for nothing"),
            other => panic!("task {task} came to rest as {other:?}"),
        }
    }
}

#[test]
fn every_graph_of_four_tasks_comes_to_rest_exact_whatever_changes_when() {
    let mut n_ahead = 0;
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    for edges in 0..1_u32 << pairs.len() {
        let mut deps = vec![Vec::new(); 4];
        for (bit, (dep, task)) in pairs.iter().enumerate() {
            if edges >> bit & 1 == 1 {
                deps[*task].push(*dep);
            }
        }
        for fails in 0..16_u32 {
            let all = [
                (1, Ends::FirstFirst),
                (2, Ends::FirstFirst),
                (2, Ends::LastFirst),
            ];
            for how in all {
                let changes = (0..9).flat_map(|at| (0..4).map(move |task| Some((at, task))));
                for change in std::iter::once(None).chain(changes) {
                    let mut world = World {
                        deps: deps.clone(),
                        fails: (0..4).map(|task| fails >> task & 1 == 1).collect(),
                        versions: vec![0; 4],
                        recorded: vec![None; 4],
                        failed: vec![None; 4],
                        started: vec![None; 4],
                        recording: BTreeSet::new(),
                        starts: vec![0; 4],
                    };
                    let nodes = deps.iter().map(|deps| node(deps)).collect();
                    let mut schedule = Schedule::new(Graph::new(nodes), &limits(how.0));
                    open_all(&mut schedule);
                    n_ahead += run_to_idle(&mut schedule, &mut world, how, change);
                    assert_exact(&schedule, &world, how.0);
                    let moved = change.map(|(_, task)| id(task));
                    for (task, &starts) in world.starts.iter().enumerate() {
                        let is_hit = moved.is_some_and(|moved| {
                            moved == id(task) || schedule.graph.depends_on(id(task), moved)
                        });
                        assert!(
                            starts <= 1 + usize::from(is_hit),
                            "task {task} ran {starts} times: {deps:?} {how:?} {change:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(n_ahead > 10_000, "{n_ahead}");
}
