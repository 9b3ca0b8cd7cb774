//! What is recorded, and what is not.

use watchrun::state::{Demand, Finished, Start, Verdict};
use watchrun::watchfile::task::{Caching, Inputs, Invocation, TaskKind};

use crate::world::{World, text};

#[track_caller]
fn moved(finished: &Finished) -> String {
    match finished {
        Finished::Recorded(_) => "recorded".to_owned(),
        Finished::Moved(moved) if moved.never_rests() => format!("never rests: {}", moved.paths),
        Finished::Moved(moved) => format!("again: {}", moved.paths),
    }
}

#[test]
fn an_edit_while_the_task_runs_is_never_recorded() {
    let world = World::new();
    let finished = world.build_with(|world| {
        world.command();
        world.edit("src/a", "later");
    });
    assert_eq!(moved(&finished), "again: src/a");
    assert_eq!(world.verdict(), "inputs changed during the previous run");
    assert_eq!(moved(&world.build()), "recorded");
    assert_eq!(world.verdict(), "fresh");
}

#[test]
fn an_edit_that_is_undone_while_the_task_runs_is_not_recorded() {
    let world = World::new();
    let finished = world.build_with(|world| {
        world.edit("src/a", "other");
        world.command();
        world.edit("src/a", "A");
    });
    assert_eq!(moved(&finished), "again: src/a");
}

#[test]
fn a_file_that_comes_or_goes_while_the_task_runs_is_noticed() {
    let world = World::new();
    assert_eq!(
        moved(&world.build_with(|world| world.edit("src/c", "C"))),
        "again: src/c"
    );
    assert_eq!(
        moved(&world.build_with(|world| world.remove("src/a"))),
        "again: src/a"
    );
}

#[test]
fn a_formatter_that_comes_to_rest_is_recorded_on_the_second_pass() {
    let world = World::new();
    let format = |world: &World| {
        let text = world.content("src/a").unwrap();
        world.edit("src/a", &text.to_lowercase());
    };
    assert_eq!(moved(&world.build_with(format)), "again: src/a");
    // It writes the same bytes again, and that is good enough.
    assert_eq!(moved(&world.build_with(format)), "recorded");
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
}

#[test]
fn a_second_pass_does_not_excuse_a_touch_of_another_input() {
    let world = World::new();
    let engine = world.engine();
    let run = |start, during: &dyn Fn(&World)| {
        let examined = world.examine(&engine);
        moved(&world.run(&engine, examined, start, during))
    };
    let edit = |world: &World| world.edit("src/a", "edited");
    // Perhaps with another content in between, which the command has read.
    let touch =
        |path: &'static str| move |world: &World| world.edit(path, &world.content(path).unwrap());
    assert_eq!(run(Start::Anew, &edit), "again: src/a");
    assert_eq!(run(Start::Again, &touch("src/b")), "again: src/b");
    assert_eq!(run(Start::Again, &touch("src/b")), "recorded");
}

#[test]
fn a_task_that_never_rests_is_stopped_after_three_runs() {
    let world = World::new();
    let engine = world.engine();
    let grow = |world: &World| {
        let text = world.content("src/a").unwrap();
        world.edit("src/a", &format!("{text}+"));
    };
    let mut ends = Vec::new();
    for n in 0..3 {
        let examined = world.examine(&engine);
        let start = if n == 0 { Start::Anew } else { Start::Again };
        ends.push(moved(&world.run(&engine, examined, start, grow)));
    }
    assert_eq!(ends, ["again: src/a", "again: src/a", "never rests: src/a"]);
}

#[test]
fn changed_files_are_those_since_the_last_success() {
    let world = World::new();
    let files = |world: &World| {
        let engine = world.engine();
        let examined = world.examine(&engine);
        let files = engine.changed_files(&examined);
        files.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(files(&world), ["src/a", "src/b"]);
    world.build();
    world.disk.tick();
    world.edit("src/c", "C");
    world.edit("src/b", "b");
    world.remove("src/a");
    world.fail(1);
    assert_eq!(files(&world), ["src/b", "src/c"]);
}

/// A world whose command takes `{files}`, and that has been built.
fn built_for_files() -> World {
    let mut world = World::new();
    let words = ["lint", "{files}"].map(str::to_owned).to_vec();
    world.task.kind = TaskKind::Command(Invocation::Words(words));
    world.build();
    world.disk.tick();
    world
}

/// The verdict, and what `{files}` stands for.
fn verdict_and_files(world: &World) -> (String, Vec<String>) {
    let engine = world.engine();
    let examined = world.examine(&engine);
    let files = engine.changed_files(&examined);
    (
        text(&examined),
        files.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn without_a_file_to_give_the_task_is_fresh() {
    let world = built_for_files();
    world.remove("src/a");
    assert_eq!(verdict_and_files(&world).0, "fresh");
    world.edit("src/a", "A");
    assert_eq!(verdict_and_files(&world).0, "fresh");
    world.edit("src/b", "b");
    world.fail(1);
    world.edit("src/b", "B");
    assert_eq!(verdict_and_files(&world).0, "fresh");
    world.edit("src/b", "b");
    assert_eq!(verdict_and_files(&world).1, ["src/b"]);
    let never = World::new();
    let mut none = World {
        task: world.task.clone(),
        ..never
    };
    none.task.inputs = Inputs::Patterns(crate::world::patterns(&["nothing/**"]));
    assert_eq!(verdict_and_files(&none).0, "fresh");
}

#[test]
fn all_files_are_given_where_the_last_success_says_nothing_of_them() {
    let check = |change: fn(&mut World), reason: &str| {
        let mut world = built_for_files();
        change(&mut world);
        let (verdict, files) = verdict_and_files(&world);
        assert_eq!(verdict, reason);
        assert_eq!(files, ["src/a", "src/b"], "{reason}");
    };
    let strict = |world: &mut World| {
        let words = ["lint", "--strict", "{files}"].map(str::to_owned).to_vec();
        world.task.kind = TaskKind::Command(Invocation::Words(words));
    };
    check(strict, "command changed");
    let another = |world: &mut World| {
        world.task.env.insert("RULES".to_owned(), "all".to_owned());
    };
    check(another, "env RULES set");
    check(|world| world.demand = Demand::Always, "forced");
    check(|world| world.remove("out/all"), "output out/all missing");
    check(|world| world.edit("out/all", "x"), "output out/all edited");
    check(|world| world.task.caching = Caching::Off, "cache is off");
}

#[test]
fn a_task_without_outputs_is_known_to_others_by_its_key() {
    let mut world = World::new();
    world.task.outputs = crate::world::patterns(&[]);
    let engine = world.engine();
    let examined = world.examine(&engine);
    let key = *examined.key();
    let Finished::Recorded(made) = world.run(&engine, examined, Start::Anew, |_| {}) else {
        panic!("not recorded");
    };
    assert_eq!(made.product, key);
}

#[test]
fn the_same_outputs_from_other_inputs_are_the_same_product() {
    let world = World::new();
    let product = |finished: Finished| match finished {
        Finished::Recorded(made) => made.product,
        other @ Finished::Moved(_) => panic!("{other:?}"),
    };
    let constant = |world: &World| world.edit("out/all", "constant");
    let first = product(world.build_with(constant));
    world.edit("src/a", "other");
    assert_eq!(product(world.build_with(constant)), first);
    world.edit("src/a", "more");
    assert_ne!(product(world.build()), first);
}

#[test]
fn removed_outputs_are_reported() {
    let world = World::built();
    world.edit("src/a", "x");
    let finished = world.build_with(|world| {
        world.remove("out/all");
        world.edit("out/other", "1");
    });
    let Finished::Recorded(made) = finished else {
        panic!("{finished:?}");
    };
    assert_eq!(
        made.removed
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["out/all"]
    );
    assert_eq!(made.outputs.len(), 1);
}

#[test]
fn a_run_that_was_cut_short_is_not_fresh() {
    let world = World::built();
    world.edit("src/a", "x");
    let engine = world.engine();
    let mut examined = world.examine(&engine);
    engine.begin(&mut examined, Start::Anew);
    world.edit("src/a", "A");
    for engine in [engine, world.engine()] {
        let examined = world.examine(&engine);
        assert_eq!(text(&examined), "previous run was interrupted");
    }
}

#[test]
fn a_first_run_that_was_cut_short_is_known_from_the_flush_on() {
    let world = World::new();
    let engine = world.engine();
    let mut examined = world.examine(&engine);
    engine.begin(&mut examined, Start::Anew);
    let never = text(&world.examine(&world.engine()));
    assert_ne!(never, "previous run was interrupted");
    engine.flush();
    let examined = world.examine(&world.engine());
    assert_eq!(text(&examined), "previous run was interrupted");
}

#[test]
fn two_engines_see_each_others_work() {
    let world = World::new();
    let (one, two) = (world.engine(), world.engine());
    let examined = world.examine(&one);
    assert!(matches!(world.examine(&two).verdict(), Verdict::Stale(_)));
    let finished = world.run(&one, examined, Start::Anew, World::command);
    assert_eq!(moved(&finished), "recorded");
    assert_eq!(text(&world.examine(&two)), "fresh");
    world.edit("src/a", "x");
    let examined = world.examine(&two);
    world.run(&two, examined, Start::Anew, World::command);
    assert_eq!(text(&world.examine(&one)), "fresh");
    one.save();
    two.save();
    assert_eq!(world.verdict(), "fresh");
    assert_eq!(world.engine().durations().len(), 1);
}

#[test]
fn a_task_is_locked_against_everyone_else() {
    let world = World::new();
    let (one, two) = (world.engine(), world.engine());
    let held = one
        .lock(&world.task.name, &mut || panic!("nobody to wait for"))
        .unwrap();
    assert!(matches!(
        two.try_lock(&world.task.name),
        watchrun::state::Locked::Busy
    ));
    drop(held);
    assert!(matches!(
        two.try_lock(&world.task.name),
        watchrun::state::Locked::Held(_)
    ));
}
