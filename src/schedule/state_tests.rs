//! Tests of the schedule: single behaviours, by hand.

use super::*;
use crate::plan::Node;
use crate::watchfile::Terminal;

pub(super) fn id(idx: usize) -> TaskId {
    TaskId::new(idx)
}

pub(super) fn node(deps: &[usize]) -> Node {
    Node {
        deps: deps.iter().map(|&dep| id(dep)).collect(),
        after: Vec::new(),
        role: Role::Command,
        pool: None,
        on_busy: OnBusy::Auto,
        failure: FailureRule::Fails,
        terminal: Terminal::Captured,
    }
}

pub(super) fn limits(jobs: usize) -> Limits {
    Limits {
        jobs,
        pools: vec![1],
        failures_max: None,
    }
}

/// One task to a list of deps.
fn schedule(deps: &[&[usize]], jobs: usize) -> Schedule {
    Schedule::new(
        Graph::new(deps.iter().map(|deps| node(deps)).collect()),
        &limits(jobs),
    )
}

pub(super) fn open_all(schedule: &mut Schedule) {
    let ids: Vec<TaskId> = schedule.states.ids().collect();
    schedule.open(&ids);
}

/// Answers every check with "stale".
fn all_stale(schedule: &mut Schedule) {
    while let Some(ticket) = schedule.next_check() {
        schedule.checked(ticket, Checked::Stale);
    }
}

fn starts(schedule: &mut Schedule) -> Vec<usize> {
    std::iter::from_fn(|| schedule.next_start())
        .map(TaskId::idx)
        .collect()
}

fn stops(schedule: &mut Schedule) -> Vec<usize> {
    std::iter::from_fn(|| schedule.next_stop())
        .map(TaskId::idx)
        .collect()
}

/// A schedule of one task that runs.
fn one_running(on_busy: OnBusy) -> Schedule {
    let nodes = [Node {
        on_busy,
        ..node(&[])
    }];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(1));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule
}

#[test]
fn tasks_start_in_watchfile_order_up_to_the_limit() {
    let mut schedule = schedule(&[&[], &[], &[]], 2);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0, 1]);
    schedule.ended(id(0), Outcome::Done, false);
    assert_eq!(starts(&mut schedule), [2]);
}

#[test]
fn a_command_that_has_ended_gives_its_slot_to_the_next_and_its_task_runs_on() {
    let mut schedule = schedule(&[&[], &[], &[], &[0]], 1);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.command_ended(id(0));
    assert_eq!(starts(&mut schedule), [1]);
    assert_eq!(schedule.state(id(0)), TaskState::Running(Busy::Undisturbed));
    // What is recorded does not pile up.
    schedule.command_ended(id(1));
    assert!(starts(&mut schedule).is_empty());
    schedule.ended(id(0), Outcome::Done, false);
    assert!(starts(&mut schedule).is_empty());
    schedule.ended(id(1), Outcome::Done, false);
    assert_eq!(starts(&mut schedule), [2]);
}

#[test]
fn the_most_urgent_task_starts_first() {
    let mut schedule = schedule(&[&[], &[], &[1]], 1);
    let paths = schedule.graph.longest_paths(&TaskMap::from_fn(3, |_| 10));
    schedule.set_urgency(paths);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
}

#[test]
fn a_failed_task_skips_its_dependents_and_names_the_cause() {
    let mut schedule = schedule(&[&[], &[0], &[1], &[]], 1);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.ended(id(0), Outcome::Failed, false);
    assert_eq!(
        schedule.take_skipped(),
        [
            (id(1), SkipCause::Dep(id(0))),
            (id(2), SkipCause::Dep(id(1)))
        ]
    );
    assert_eq!(starts(&mut schedule), [3]);
}

#[test]
fn an_allowed_failure_lets_dependents_go_on() {
    let nodes = [
        Node {
            failure: FailureRule::Allowed,
            ..node(&[])
        },
        node(&[0]),
    ];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(1));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    starts(&mut schedule);
    schedule.ended(id(0), Outcome::Failed, false);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
    assert!(!schedule.has_failed(id(0)));
}

#[test]
fn the_failure_limit_stops_new_starts_and_lets_running_tasks_finish() {
    let mut schedule = schedule(&[&[], &[], &[]], 2);
    schedule.failures_max = Some(1);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0, 1]);
    schedule.ended(id(0), Outcome::Failed, false);
    assert_eq!(schedule.take_skipped(), [(id(2), SkipCause::Halted)]);
    assert!(stops(&mut schedule).is_empty());
    schedule.ended(id(1), Outcome::Done, false);
    assert!(schedule.is_settled());
}

#[test]
fn a_halted_task_is_asked_for_again_by_the_next_change() {
    let mut schedule = schedule(&[&[], &[]], 1);
    schedule.failures_max = Some(1);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    starts(&mut schedule);
    schedule.ended(id(0), Outcome::Failed, false);
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.ended(id(0), Outcome::Done, false);
    assert_eq!(starts(&mut schedule), [1]);
}

#[test]
fn after_orders_but_does_not_ask() {
    let nodes = [
        node(&[]),
        Node {
            after: vec![id(0)],
            ..node(&[])
        },
    ];
    let graph = Graph::new(nodes.into_iter().collect());
    let mut alone = Schedule::new(graph.clone(), &limits(2));
    alone.open(&[id(1)]);
    all_stale(&mut alone);
    assert_eq!(starts(&mut alone), [1]);
    let mut both = Schedule::new(graph, &limits(2));
    open_all(&mut both);
    all_stale(&mut both);
    assert_eq!(starts(&mut both), [0]);
    both.ended(id(0), Outcome::Failed, false);
    all_stale(&mut both);
    assert_eq!(starts(&mut both), [1]);
}

#[test]
fn a_pool_bounds_its_tasks_beside_the_job_limit() {
    let pooled = || Node {
        pool: Some(0),
        ..node(&[])
    };
    let nodes = [pooled(), pooled(), node(&[])];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(3));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0, 2]);
    schedule.ended(id(0), Outcome::Done, false);
    assert_eq!(starts(&mut schedule), [1]);
}

#[test]
fn an_interactive_task_runs_alone() {
    let nodes = [
        node(&[]),
        Node {
            terminal: Terminal::Owned,
            ..node(&[])
        },
        node(&[]),
    ];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(3));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0, 2]);
    schedule.ended(id(0), Outcome::Done, false);
    assert!(starts(&mut schedule).is_empty());
    schedule.ended(id(2), Outcome::Done, false);
    assert_eq!(starts(&mut schedule), [1]);
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    assert!(starts(&mut schedule).is_empty());
}

#[test]
fn services_take_no_job_slot() {
    let nodes = [
        node(&[]),
        Node {
            role: Role::Service,
            ..node(&[])
        },
    ];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(1));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0, 1]);
}

#[test]
fn none_takes_the_slot_of_a_more_urgent_task_that_is_being_checked() {
    let mut schedule = schedule(&[&[], &[], &[]], 2);
    open_all(&mut schedule);
    let tickets: Vec<Ticket> = std::iter::from_fn(|| schedule.next_check()).collect();
    schedule.checked(tickets[2], Checked::Stale);
    assert!(starts(&mut schedule).is_empty());
    schedule.checked(tickets[1], Checked::Stale);
    // One slot is left for the first task, whatever is found of it.
    assert_eq!(starts(&mut schedule), [1]);
    schedule.checked(tickets[0], Checked::Ends(Outcome::Fresh));
    assert_eq!(starts(&mut schedule), [2]);
}

#[test]
fn a_service_that_is_lost_skips_what_waits_and_nothing_else() {
    let service = Node {
        role: Role::Service,
        ..node(&[])
    };
    let nodes = [service, node(&[0]), node(&[0])];
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(1));
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    assert!(!schedule.lost(id(0)));
    schedule.ended(id(0), Outcome::Done, false);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
    assert!(schedule.lost(id(0)));
    assert_eq!(schedule.take_skipped(), [(id(2), SkipCause::Dep(id(0)))]);
    schedule.ended(id(1), Outcome::Done, false);
    assert_eq!(schedule.state(id(1)), TaskState::Ended(Outcome::Done));
    assert!(schedule.has_failed(id(0)) && schedule.is_settled());
}

#[test]
fn a_task_that_is_asked_for_again_holds_up_what_depends_on_it() {
    let mut schedule = schedule(&[&[], &[0]], 1);
    open_all(&mut schedule);
    let ticket = schedule.next_check().unwrap();
    schedule.checked(ticket, Checked::Ends(Outcome::Fresh));
    let ticket = schedule.next_check().unwrap();
    schedule.ask_again(id(0));
    assert!(!schedule.checked(ticket, Checked::Stale));
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.ended(id(0), Outcome::Done, false);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
}

#[test]
fn a_service_that_starts_is_stopped_by_every_change_that_moves_it() {
    let service = Node {
        role: Role::Service,
        ..node(&[])
    };
    let mut schedule = Schedule::new(Graph::new([service].into_iter().collect()), &limits(1));
    open_all(&mut schedule);
    for _ in 0..5 {
        all_stale(&mut schedule);
        assert_eq!(starts(&mut schedule), [0]);
        schedule.open(&[id(0)]);
        all_stale(&mut schedule);
        assert_eq!(stops(&mut schedule), [0]);
        schedule.ended(id(0), Outcome::Cancelled, false);
    }
}

#[test]
fn a_change_that_moves_nothing_leaves_the_running_task_alone() {
    let mut schedule = one_running(OnBusy::Restart);
    schedule.open(&[id(0)]);
    let ticket = schedule.next_check().unwrap();
    assert!(schedule.checked(ticket, Checked::Unmoved));
    assert!(stops(&mut schedule).is_empty());
    schedule.ended(id(0), Outcome::Done, false);
    assert_eq!(schedule.state(id(0)), TaskState::Ended(Outcome::Done));
}

/// What happens to a running task at each of five changes that move it: `s`topped, `q`ueued or
/// `-`, each time run again at once where it may.
#[track_caller]
fn check_busy(on_busy: OnBusy, expected: &str) {
    let mut schedule = one_running(on_busy);
    let mut seen = String::new();
    for _ in 0..5 {
        schedule.open(&[id(0)]);
        all_stale(&mut schedule);
        let stopped = !stops(&mut schedule).is_empty();
        let outcome = if stopped {
            Outcome::Cancelled
        } else {
            Outcome::Done
        };
        let looks_again = !stopped && on_busy != OnBusy::Ignore;
        schedule.ended(id(0), outcome, looks_again);
        all_stale(&mut schedule);
        let again = !starts(&mut schedule).is_empty();
        seen.push(match (stopped, again) {
            (true, _) => 's',
            (false, true) => 'q',
            (false, false) => '-',
        });
        if !again {
            return assert_eq!(seen, expected);
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn on_busy_decides_what_a_change_does_to_a_running_task() {
    check_busy(OnBusy::Restart, "sssss");
    check_busy(OnBusy::Queue, "qqqqq");
    check_busy(OnBusy::Ignore, "-");
    check_busy(OnBusy::Auto, "ssqss");
}

#[test]
fn a_change_from_outside_allows_restarts_again() {
    let mut schedule = one_running(OnBusy::Auto);
    for _ in 0..3 {
        schedule.open(&[id(0)]);
        all_stale(&mut schedule);
        let stopped = !stops(&mut schedule).is_empty();
        schedule.ended(
            id(0),
            if stopped {
                Outcome::Cancelled
            } else {
                Outcome::Done
            },
            !stopped,
        );
        if stopped {
            all_stale(&mut schedule);
            starts(&mut schedule);
        }
    }
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    starts(&mut schedule);
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    assert_eq!(stops(&mut schedule), [0]);
}

#[test]
fn a_task_that_does_not_end_is_not_waited_for() {
    let mut schedule = one_running(OnBusy::Auto);
    schedule.let_finish(id(0));
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    assert!(stops(&mut schedule).is_empty());
    schedule.stop_waiting_for(id(0));
    schedule.set_endless(id(0), true);
    for _ in 0..5 {
        assert_eq!(stops(&mut schedule), [0]);
        schedule.ended(id(0), Outcome::Cancelled, false);
        all_stale(&mut schedule);
        assert_eq!(starts(&mut schedule), [0]);
        schedule.open(&[id(0)]);
        all_stale(&mut schedule);
    }
}

#[test]
fn a_run_that_is_let_finish_is_not_stopped() {
    let mut schedule = one_running(OnBusy::Auto);
    schedule.let_finish(id(0));
    schedule.open(&[id(0)]);
    all_stale(&mut schedule);
    assert!(stops(&mut schedule).is_empty());
    schedule.ended(id(0), Outcome::Done, false);
    assert!(schedule.next_check().is_some(), "it runs again");
}

#[test]
fn an_answer_that_was_overtaken_does_not_count_and_the_check_is_made_again() {
    let mut schedule = schedule(&[&[]], 1);
    open_all(&mut schedule);
    let first = schedule.next_check().unwrap();
    schedule.open(&[id(0)]);
    assert_eq!(schedule.next_check(), None, "one check at a time");
    assert!(!schedule.checked(first, Checked::Ends(Outcome::Fresh)));
    let second = schedule.next_check().unwrap();
    assert!(!schedule.checked(first, Checked::Ends(Outcome::Fresh)));
    assert!(schedule.checked(second, Checked::Stale));
    assert_eq!(schedule.state(id(0)), TaskState::Ready);
}

#[test]
fn a_dep_does_not_start_under_a_running_dependent() {
    let mut schedule = schedule(&[&[], &[0]], 2);
    open_all(&mut schedule);
    let ticket = schedule.next_check().unwrap();
    schedule.checked(ticket, Checked::Ends(Outcome::Fresh));
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
    schedule.open(&[id(0), id(1)]);
    all_stale(&mut schedule);
    assert!(starts(&mut schedule).is_empty());
    assert_eq!(stops(&mut schedule), [1]);
    schedule.ended(id(1), Outcome::Cancelled, false);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.ended(id(0), Outcome::Done, false);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [1]);
}

#[test]
fn halting_stops_what_runs_and_starts_nothing() {
    let mut schedule = schedule(&[&[], &[0], &[]], 1);
    open_all(&mut schedule);
    all_stale(&mut schedule);
    assert_eq!(starts(&mut schedule), [0]);
    schedule.halt();
    assert_eq!(stops(&mut schedule), [0]);
    assert!(starts(&mut schedule).is_empty());
    // Neither a change nor an end that asks for another run starts anything now.
    schedule.open(&[id(0), id(2)]);
    schedule.ended(id(0), Outcome::Cancelled, true);
    assert!(schedule.is_settled());
}

#[test]
fn what_comes_next_is_certain_while_no_slot_is_free() {
    let mut nodes: Vec<Node> = (0..6).map(|_| node(&[])).collect();
    nodes[4].pool = Some(0);
    let mut schedule = Schedule::new(Graph::new(nodes.into_iter().collect()), &limits(2));
    open_all(&mut schedule);
    let slow = schedule.next_check().unwrap();
    all_stale(&mut schedule);
    let ahead = |schedule: &Schedule, n| -> Vec<usize> {
        schedule
            .next_ahead(n)
            .into_iter()
            .map(TaskId::idx)
            .collect()
    };
    assert_eq!(starts(&mut schedule), [1]);
    assert!(ahead(&schedule, 9).is_empty(), "a slot is free");
    schedule.checked(slow, Checked::Stale);
    assert_eq!(starts(&mut schedule), [0]);
    // The fourth waits for its pool, and would come before the fifth.
    assert_eq!(ahead(&schedule, 9), [2, 3]);
    assert_eq!(ahead(&schedule, 1), [2]);
    assert!(schedule.is_just_full());
    // The end of another one has not been heard of yet.
    schedule.started_ahead(id(2));
    assert!(!schedule.is_just_full());
    assert_eq!(ahead(&schedule, 9), [3]);
    schedule.ended(id(0), Outcome::Done, false);
    assert!(schedule.is_just_full());
    assert_eq!(starts(&mut schedule), [0; 0]);
    schedule.open(&[id(0)]);
    let check = schedule.next_check().unwrap();
    assert!(
        ahead(&schedule, 9).is_empty(),
        "a more urgent one is checked"
    );
    schedule.checked(check, Checked::Stale);
    assert_eq!(ahead(&schedule, 9), [0, 3]);
}
