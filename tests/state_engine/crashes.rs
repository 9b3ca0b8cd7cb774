//! Faults at every step: never a false `fresh`, never a panic, never a partial restore.

use std::io;

use watchrun::disk::Disk;
use watchrun::disk::mem::Fault;
use watchrun::state::Start;

use crate::world::{World, patterns, text};

/// What a session does: `src/a` became `x`; build, or restore if `back`.
fn session(world: &World, restores: bool) -> bool {
    let engine = world.engine();
    let Ok(mut examined) = world.subject(|subject| engine.examine(subject)) else {
        return false;
    };
    if text(&examined) == "fresh" {
        return true;
    }
    if restores {
        let end = world.subject(|subject| engine.restore(&examined, subject));
        if matches!(end, Ok(Some(_))) {
            engine.save();
            return true;
        }
    }
    engine.begin(&mut examined, Start::Anew);
    world.disk.tick();
    let finished = world.subject(|after| {
        world.command();
        world.disk.tick();
        engine.finish(&examined, after, crate::world::RAN, &mut &b"printed\n"[..])
    });
    engine.save();
    drop(engine.collect());
    finished.is_ok()
}

/// A later session finds either the right outputs or a stale task, and can make it fresh.
#[track_caller]
fn check_after(world: &World, context: &str) {
    world.disk.tick();
    let engine = world.engine();
    let examined = world.examine(&engine);
    let expected = world.content("src/a").unwrap() + "B";
    if text(&examined) == "fresh" {
        assert_eq!(
            world.content("out/all"),
            Some(expected.clone()),
            "{context}"
        );
    }
    let restored = world
        .subject(|subject| engine.restore(&examined, subject))
        .unwrap();
    if restored.is_some() {
        assert_eq!(
            world.content("out/all"),
            Some(expected.clone()),
            "{context}"
        );
    }
    assert!(session(world, true), "{context}");
    world.disk.tick();
    assert_eq!(text(&world.examine(&world.engine())), "fresh", "{context}");
    assert_eq!(world.content("out/all"), Some(expected), "{context}");
}

/// The world before the session that meets the fault, and whether it restores.
fn scenes() -> Vec<(&'static str, World, bool)> {
    let first = World::new();
    let edited = World::built();
    edited.edit("src/a", "x");
    let back = World::built();
    back.edit("src/a", "x");
    back.build();
    back.edit("src/a", "A");
    vec![
        ("first run", first, false),
        ("after an edit", edited, false),
        ("restore", back, true),
    ]
}

fn each_step(fault: impl Fn(u64) -> Fault) {
    for (name, world, restores) in scenes() {
        for step in 0.. {
            let mut world = world.clone();
            world.disk = world.disk.snapshot();
            world.disk.set_fault(Some(fault(step)));
            session(&world, restores);
            let steps = world.disk.steps();
            world.disk.revive();
            check_after(&world, &format!("{name}, {:?}", fault(step)));
            if step > steps {
                break;
            }
        }
    }
}

#[test]
fn a_kill_at_any_step_leaves_no_false_fresh() {
    each_step(Fault::KillAt);
}

#[test]
fn a_failure_of_any_step_leaves_no_false_fresh() {
    each_step(|step| Fault::FailAt(step, io::ErrorKind::PermissionDenied));
}

#[test]
fn a_full_disk_from_any_step_on_leaves_no_false_fresh() {
    each_step(|step| Fault::FailFrom(step, io::ErrorKind::StorageFull));
}

#[test]
fn a_full_disk_costs_one_warning_of_each_kind_and_no_result() {
    let world = World::new();
    world
        .disk
        .set_fault(Some(Fault::FailFrom(0, io::ErrorKind::StorageFull)));
    let engine = world.engine();
    let mut examined = world.examine(&engine);
    engine.begin(&mut examined, Start::Anew);
    world.command();
    let finished = world
        .subject(|after| engine.finish(&examined, after, crate::world::RAN, &mut &b""[..]))
        .unwrap();
    assert!(matches!(finished, watchrun::state::Finished::Recorded(_)));
    engine.save();
    let kinds: Vec<_> = engine
        .take_warnings()
        .iter()
        .map(watchrun::state::Warning::kind)
        .collect();
    assert_eq!(kinds, ["state_unwritable"]);
}

#[test]
fn every_state_file_cut_at_every_byte_is_noticed() {
    let built = World::built();
    built.edit("src/a", "x");
    built.build();
    built.disk.tick();
    built.verdict();
    let mut cuts = 0;
    for file in built.state_files() {
        let whole = built.disk.read(&file).unwrap();
        for len in 0..whole.len() {
            let mut world = built.clone();
            world.disk = world.disk.snapshot();
            world.disk.edit(&file, &whole[..len]);
            world.disk.tick();
            let engine = world.engine();
            if text(&world.examine(&engine)) == "fresh" {
                assert_eq!(world.content("out/all").unwrap(), "xB");
            }
            // Going back restores the right bytes or nothing.
            world.edit("src/a", "A");
            if let Some(restored) = world.restore() {
                assert_eq!(world.log(&restored), b"printed\n");
                assert_eq!(world.content("out/all").unwrap(), "AB");
            }
            cuts += 1;
        }
    }
    assert!(cuts > 900, "{cuts}");
}

/// A task that makes nothing and prints nothing succeeds, is edited, succeeds again.
fn bare() -> World {
    let mut world = World::new();
    world.task.outputs = patterns(&[]);
    for content in ["x", "A"] {
        world.edit("src/a", content);
        assert!(bare_session(&world));
        world.disk.tick();
    }
    world
}

/// Makes the task fresh, by running it only if that has to be.
fn bare_session(world: &World) -> bool {
    let engine = world.engine();
    let Ok(mut examined) = world.subject(|subject| engine.examine(subject)) else {
        return false;
    };
    let restored = world.subject(|subject| engine.restore(&examined, subject));
    if text(&examined) != "fresh" && !matches!(restored, Ok(Some(_))) {
        engine.begin(&mut examined, Start::Anew);
        world.disk.tick();
        let log = &mut &b""[..];
        let finished =
            world.subject(|after| engine.finish(&examined, after, crate::world::RAN, log));
        engine.save();
        return finished.is_ok();
    }
    engine.save();
    true
}

#[test]
fn a_success_that_left_nothing_is_restored_and_never_made_up() {
    let built = bare();
    built.edit("src/a", "x");
    assert!(built.restore().is_some(), "it succeeded with this content");
    built.edit("src/a", "never seen");
    assert!(built.restore().is_none());
    assert_eq!(
        built.log(&{
            built.edit("src/a", "A");
            built.restore().unwrap()
        }),
        b""
    );
}

#[test]
fn faults_of_a_success_that_left_nothing_leave_no_false_fresh() {
    for step in 0.. {
        let mut world = bare();
        world.disk = world.disk.snapshot();
        world.edit("src/a", "new");
        world.disk.set_fault(Some(Fault::KillAt(step)));
        bare_session(&world);
        let steps = world.disk.steps();
        world.disk.revive();
        world.disk.tick();
        world.edit("src/a", "newer");
        assert_ne!(text(&world.examine(&world.engine())), "fresh", "{step}");
        assert!(world.restore().is_none(), "{step}");
        assert!(bare_session(&world), "{step}");
        world.disk.tick();
        assert_eq!(text(&world.examine(&world.engine())), "fresh", "{step}");
        if step > steps {
            break;
        }
    }
    let built = bare();
    for file in built.state_files() {
        let whole = built.disk.read(&file).unwrap();
        for len in 0..whole.len() {
            let mut world = built.clone();
            world.disk = world.disk.snapshot();
            world.disk.edit(&file, &whole[..len]);
            world.disk.tick();
            world.edit("src/a", "new");
            assert_ne!(text(&world.examine(&world.engine())), "fresh");
            assert!(world.restore().is_none());
            assert!(bare_session(&world));
            world.disk.tick();
            assert_eq!(text(&world.examine(&world.engine())), "fresh");
        }
    }
}

#[test]
fn garbage_and_the_state_of_another_version_are_dropped_with_one_warning() {
    let built = World::built();
    for (what, make) in [
        ("garbage", (|_| b"hello".to_vec()) as fn(Vec<u8>) -> Vec<u8>),
        ("another version", |mut bytes| {
            bytes[12] ^= 0xff;
            bytes
        }),
    ] {
        let mut world = built.clone();
        world.disk = world.disk.snapshot();
        for file in world.state_files() {
            if file.starts_with("/p/.watchrun/v1/tasks") {
                let bytes = world.disk.read(&file).unwrap();
                world.disk.edit(&file, &make(bytes));
            }
        }
        let engine = world.engine();
        assert_eq!(text(&world.examine(&engine)), "never succeeded", "{what}");
        assert_eq!(engine.take_warnings().len(), 1, "{what}");
    }
}

#[test]
fn looking_without_leave_to_write_writes_nothing() {
    let mut world = World::built();
    world.edit("src/a", "x");
    world.options.access = watchrun::state::Access::ReadOnly;
    world.disk.set_fault(None);
    let engine = world.engine();
    let mut examined = world.examine(&engine);
    assert_eq!(text(&examined), "input src/a modified");
    engine.begin(&mut examined, Start::Anew);
    world.command();
    world.disk.tick();
    let finished =
        world.subject(|after| engine.finish(&examined, after, crate::world::RAN, &mut &b""[..]));
    assert!(matches!(
        finished,
        Ok(watchrun::state::Finished::Recorded(_))
    ));
    engine.failed(&examined, None, crate::world::RAN, None);
    assert!(engine.lock(&world.task.name, &mut || {}).is_none());
    engine.save();
    assert_eq!(world.disk.steps(), 0);
    assert_eq!(engine.take_warnings(), []);
}

#[test]
fn a_state_that_cannot_be_written_at_all_costs_one_warning() {
    let world = World::new();
    world
        .disk
        .set_fault(Some(Fault::FailFrom(0, io::ErrorKind::ReadOnlyFilesystem)));
    let engine = world.engine();
    for content in ["1", "2"] {
        world.edit("src/a", content);
        let examined = world.examine(&engine);
        let finished = world.run(&engine, examined, Start::Anew, World::command);
        assert!(matches!(finished, watchrun::state::Finished::Recorded(_)));
    }
    engine.save();
    assert_eq!(engine.take_warnings().len(), 1);
    assert_eq!(text(&world.examine(&engine)), "never succeeded");
}
