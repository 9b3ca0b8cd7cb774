//! Results that come back from the store.

use std::io::ErrorKind;
use std::path::Path;

use watchrun::disk::Disk;
use watchrun::disk::mem::Fault;
use watchrun::state::StoreUse;

use crate::world::World;

#[test]
fn going_back_restores_what_was_made_then() {
    let world = World::built();
    world.edit("src/a", "x");
    world.build_with(|world| {
        world.command();
        world.edit("out/extra/deep", "1");
    });
    world.edit("src/a", "A");
    let restored = world.restore().expect("it was made before");
    assert_eq!(world.log(&restored), b"printed\n");
    assert_eq!(restored.written, 1);
    assert_eq!(world.content("out/all").unwrap(), "AB");
    assert_eq!(
        world.content("out/extra/deep"),
        None,
        "it is not part of that result"
    );
    assert_eq!(restored.made.removed.len(), 1);
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
}

#[test]
fn a_key_that_never_ran_is_not_restored() {
    let world = World::built();
    world.edit("src/a", "x");
    assert_eq!(world.restore(), None);
    assert_eq!(world.verdict(), "input src/a modified");
}

#[test]
fn what_is_right_is_left_alone() {
    let world = World::built();
    world.edit("src/a", "x");
    world.build();
    world.disk.tick();
    world.remove("out/all");
    let before = world.disk.stat(Path::new("/p/src/b")).unwrap();
    assert_eq!(world.restore().unwrap().written, 1);
    assert_eq!(world.disk.stat(Path::new("/p/src/b")).unwrap(), before);

    let stat = world.disk.stat(Path::new("/p/out/all")).unwrap();
    world.fail(1);
    world.edit("src/a", "A");
    world.restore().unwrap();
    world.edit("src/a", "x");
    world.restore().unwrap();
    assert_ne!(world.disk.stat(Path::new("/p/out/all")).unwrap(), stat);
}

#[test]
fn modes_links_and_empty_directories_come_back() {
    let world = World::new();
    world.build_with(|world| {
        world.edit("out/tool", "run me");
        world
            .disk
            .set_mode(Path::new("/p/out/tool"), 0o555)
            .unwrap();
        world
            .disk
            .make_link(Path::new("tool"), Path::new("/p/out/link"))
            .unwrap();
        world.disk.make_dir(Path::new("/p/out/empty")).unwrap();
    });
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
    world.remove("out");
    assert_eq!(world.restore().unwrap().written, 3);
    let mode = world.disk.stat(Path::new("/p/out/tool")).unwrap().mode;
    assert_eq!(mode & 0o777, 0o555);
    let target = world.disk.read_link(Path::new("/p/out/link")).unwrap();
    assert_eq!(target, Path::new("tool"));
    assert!(
        world
            .disk
            .read_dir(Path::new("/p/out/empty"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_damaged_blob_is_a_miss_with_one_warning() {
    let world = World::built();
    world.remove("out/all");
    for blob in world.state_files() {
        if blob.starts_with("/p/.watchrun/v1/cas") {
            world.disk.edit(blob, b"garbage");
        }
    }
    let engine = world.engine();
    let examined = world.examine(&engine);
    let restored = world
        .subject(|subject| engine.restore(&examined, subject))
        .unwrap();
    assert_eq!(restored, None);
    assert_eq!(engine.take_warnings().len(), 1);
    assert_eq!(world.content("out/all"), None);
}

#[test]
fn a_restore_that_cannot_write_leaves_the_task_to_run() {
    let world = World::built();
    world.edit("src/a", "x");
    world.build();
    world.edit("src/a", "A");
    let engine = world.engine();
    let examined = world.examine(&engine);
    world
        .disk
        .set_fault(Some(Fault::FailFrom(0, ErrorKind::PermissionDenied)));
    let restored = world
        .subject(|subject| engine.restore(&examined, subject))
        .unwrap();
    assert_eq!(restored, None);
    assert!(engine.lock(&world.task.name, &mut || {}).is_none());
    let kinds: Vec<_> = engine
        .take_warnings()
        .iter()
        .map(watchrun::state::Warning::kind)
        .collect();
    assert_eq!(kinds, ["not_restored"], "one trouble, one warning");
}

#[test]
fn nothing_is_written_through_a_link() {
    let world = World::built();
    world.remove("out");
    world.edit("elsewhere/x", "1");
    world
        .disk
        .make_link(Path::new("elsewhere"), Path::new("/p/out"))
        .unwrap();
    assert_eq!(world.restore(), None);
    assert_eq!(world.content("elsewhere/all"), None);
}

#[test]
fn a_link_out_of_the_root_is_not_stored() {
    let world = World::new();
    let engine = world.engine();
    let examined = world.examine(&engine);
    world.run(&engine, examined, watchrun::state::Start::Anew, |world| {
        world.command();
        world
            .disk
            .make_link(Path::new("../../etc"), Path::new("/p/out/link"))
            .unwrap();
    });
    assert_eq!(engine.take_warnings().len(), 1);
    world.disk.tick();
    world.remove("out/all");
    assert_eq!(world.restore(), None);
}

#[test]
fn a_failed_key_is_run_again_even_if_it_once_succeeded() {
    let world = World::built();
    world.fail(1);
    assert_eq!(world.restore(), None);
}

#[test]
fn without_the_store_nothing_is_kept() {
    let mut world = World::new();
    world.options.store = StoreUse::Off;
    world.build();
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
    world.remove("out/all");
    assert_eq!(world.restore(), None);
    assert!(
        !world
            .state_files()
            .iter()
            .any(|path| path.starts_with("/p/.watchrun/v1/cas"))
    );
}

#[test]
fn the_store_is_collected_oldest_first() {
    let mut world = World::new();
    for n in 0..20 {
        world.edit("src/a", &format!("{n:1000}"));
        world.build();
        world.disk.tick();
    }
    world.options.cache_size = 8000;
    let collected = world.engine().collect().unwrap().unwrap();
    assert!(collected.files > 0);
    assert!(collected.bytes_left <= 8000);
    world.remove("out");
    assert!(world.restore().is_some(), "the newest is kept");
    world.edit("src/a", &format!("{:1000}", 0));
    assert_eq!(world.restore(), None, "the oldest is not");
}

#[test]
fn a_result_under_another_key_is_refused() {
    let world = World::built();
    let entry = |world: &World| {
        let found = world.state_files().into_iter();
        found
            .filter(|path| path.starts_with("/p/.watchrun/v1/ac"))
            .collect::<Vec<_>>()
    };
    let first = entry(&world).remove(0);
    world.edit("src/a", "x");
    world.build_with(|world| world.edit("out/all", "hostile"));
    let second = entry(&world)
        .into_iter()
        .find(|path| *path != first)
        .unwrap();
    world.disk.edit(&first, &world.disk.read(&second).unwrap());
    world.edit("src/a", "A");
    let engine = world.engine();
    let examined = world.examine(&engine);
    let restored = world
        .subject(|subject| engine.restore(&examined, subject))
        .unwrap();
    assert_eq!(restored, None);
    assert_eq!(engine.take_warnings().len(), 1);
}

#[test]
fn what_another_task_may_produce_too_is_not_removed() {
    let mut world = World::built();
    world.task.outputs = crate::world::patterns(&["out/**", "gen/**"]);
    world.build();
    world.edit("src/a", "x");
    world.build();
    world.edit("gen/other", "of another task");
    world.edit("src/a", "A");
    assert!(world.restore().is_some());
    assert!(world.content("gen/other").is_some());
}

#[test]
fn cleaning_outputs_removes_what_was_made_and_no_more() {
    let world = World::built();
    world.edit("out/mine", "not made by the task");
    assert_eq!(world.engine().clean_outputs(&world.task.name).unwrap(), 1);
    assert_eq!(world.content("out/all"), None);
    assert!(world.content("out/mine").is_some());
    assert_eq!(world.verdict(), "output out/all missing");
}

#[test]
fn cleaning_the_store_forgets_results_and_cleaning_the_state_successes() {
    let world = World::built();
    world.engine().clean_state().unwrap();
    assert_eq!(world.verdict(), "never succeeded");
    assert!(world.restore().is_some());
    world.engine().clean_store().unwrap();
    assert_eq!(world.verdict(), "fresh");
    world.remove("out");
    assert_eq!(world.restore(), None);
}
