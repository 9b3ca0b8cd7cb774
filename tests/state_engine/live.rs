//! Watching: what is told to have changed is enough, and nothing else is looked at.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use watchrun::disk::Disk;
use watchrun::disk::mem::Fault;
use watchrun::path::RelPath;
use watchrun::state::{Changed, Engine, Examined, Start, Verdict};

use crate::world::{RAN, World, path, text};

fn examine(world: &World, engine: &Engine<'_>, changed: &[RelPath]) -> Examined {
    world
        .subject(|subject| {
            let mut subject = *subject;
            subject.changed = Changed::Only(changed);
            engine.examine(&subject)
        })
        .unwrap()
}

#[test]
fn one_change_looks_at_one_file() {
    let world = World::built();
    for n in 0..100 {
        world.edit(&format!("src/more/{n}"), "1");
    }
    world.build();
    world.disk.tick();
    let engine = world.engine();
    world.subject(|subject| engine.prepare(subject)).unwrap();
    world.edit("src/more/7", "2");
    let changed = [path("src/more/7")];
    // The list of files is the watch's; making one here is not the engine's doing.
    let examined = world.subject(|subject| {
        let mut subject = *subject;
        subject.changed = Changed::Only(&changed);
        drop(world.disk.take_log());
        engine.examine(&subject).unwrap()
    });
    let log = world.disk.take_log();
    let inputs: BTreeSet<_> = log
        .iter()
        .filter_map(|line| line.split_once(" /p/src/"))
        .map(|(_, path)| path)
        .collect();
    assert_eq!(inputs, BTreeSet::from(["more/7"]), "{log:?}");
    assert!(!log.iter().any(|line| line.contains(".in")), "{log:?}");
    assert_eq!(text(&examined), "input src/more/7 modified");
    assert_eq!(engine.changed_files(&examined), changed);
}

#[test]
fn little_that_was_learnt_is_written_at_the_end() {
    let world = World::new();
    for n in 0..2100 {
        world.disk.edit(format!("/p/src/more/{n}"), b"1");
    }
    world.disk.tick();
    world.build();
    world.disk.tick();
    let before = world.disk.read(Path::new("/p/.watchrun/v1/index")).unwrap();
    let now = || world.disk.read(Path::new("/p/.watchrun/v1/index")).unwrap();
    let engine = world.engine();
    world.edit("src/more/7", "2");
    world.disk.tick();
    drop(world.examine(&engine));
    engine.save_between();
    assert!(now() == before, "one file of 2100 is not worth it");
    engine.save();
    assert!(now() != before);
}

#[test]
fn what_a_run_began_with_is_kept_and_what_came_since_is_told() {
    let world = World::new();
    for n in 0..1000 {
        world.disk.edit(format!("/p/src/more/{n}"), b"1");
    }
    world.disk.tick();
    let engine = world.engine();
    let examined = world.examine(&engine);
    drop(world.run(&engine, examined.clone(), Start::Anew, World::command));
    assert!(engine.keep(&examined));
    world.edit("src/more/7", "2");
    drop(world.disk.take_log());
    let changed = [path("src/more/7")];
    assert_eq!(
        text(&examine(&world, &engine, &changed)),
        "input src/more/7 modified"
    );
    let log = world.disk.take_log();
    assert!(!log.iter().any(|line| line.contains(".in")), "{log:?}");
    world.edit("src/more/7", "1");
    assert_eq!(text(&examine(&world, &engine, &changed)), "fresh");
    let built = World::built();
    let engine = built.engine();
    let fresh = built.examine(&engine);
    assert!(!engine.keep(&fresh), "stat data alone showed that");
}

#[test]
fn a_change_back_is_fresh_again() {
    let world = World::built();
    let engine = world.engine();
    world.subject(|subject| engine.prepare(subject)).unwrap();
    let changed = [path("src/a")];
    world.edit("src/a", "x");
    assert_eq!(
        text(&examine(&world, &engine, &changed)),
        "input src/a modified"
    );
    world.edit("src/a", "A");
    assert_eq!(text(&examine(&world, &engine, &changed)), "fresh");
    assert_eq!(text(&examine(&world, &engine, &[])), "fresh");
}

#[test]
fn a_write_within_the_tick_is_noticed_though_nobody_told() {
    let world = World::built();
    let engine = world.engine();
    world.subject(|subject| engine.prepare(subject)).unwrap();
    world.disk.edit("/p/src/a", b"1");
    let before = examine(&world, &engine, &[path("src/a")]);
    world.disk.edit("/p/src/a", b"2");
    assert_ne!(examine(&world, &engine, &[]).key(), before.key());
}

#[test]
fn looking_at_everything_in_between_is_not_forgotten() {
    let world = World::built();
    let engine = world.engine();
    world.subject(|subject| engine.prepare(subject)).unwrap();
    world.edit("src/a", "x");
    assert_eq!(text(&world.examine(&engine)), "input src/a modified");
    assert_eq!(text(&examine(&world, &engine, &[])), "input src/a modified");
    world.edit("src/a", "A");
    assert_eq!(text(&world.examine(&engine)), "fresh");
    assert_eq!(text(&examine(&world, &engine, &[])), "fresh");
}

#[test]
fn what_was_told_before_a_failure_is_looked_up_after_it() {
    let world = World::built();
    let engine = world.engine();
    world.subject(|subject| engine.prepare(subject)).unwrap();
    world.edit("src/a", "x");
    // Nothing can be read for a moment.
    let changed = [path("src/a")];
    world.subject(|subject| {
        let mut subject = *subject;
        subject.changed = Changed::Only(&changed);
        world.disk.set_fault(Some(Fault::KillAt(0)));
        assert!(engine.examine(&subject).is_err());
        world.disk.revive();
    });
    assert_eq!(text(&examine(&world, &engine, &[])), "input src/a modified");
}

#[derive(Clone, Debug)]
enum Act {
    Write(String, u8),
    Remove(String),
    Build,
    Fail,
}

fn act() -> impl Strategy<Value = Act> {
    let name = || "[ef]-?(/[cd]){0,2}x";
    prop_oneof![
        4 => (name(), 0..3_u8).prop_map(|(name, content)| Act::Write(name, content)),
        2 => name().prop_map(Act::Remove),
        2 => Just(Act::Build),
        1 => Just(Act::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Told what changed, a long-lived engine says what one that looks at everything says.
    #[test]
    fn told_and_looked_up_agree(acts in prop::collection::vec((act(), any::<bool>()), 1..24)) {
        let world = World::built();
        let engine = world.engine();
        world.subject(|subject| engine.prepare(subject)).unwrap();
        let mut changed: Vec<RelPath> = Vec::new();
        for (act, ticks) in acts {
            match act {
                Act::Write(name, content) => {
                    let name = format!("src/{name}");
                    world.disk.edit(format!("/p/{name}"), &[b'0' + content]);
                    changed.push(path(&name));
                }
                Act::Remove(name) => {
                    let name = format!("src/{name}");
                    world.remove(&name);
                    changed.push(path(&name));
                }
                Act::Build => {
                    let mut examined = examine(&world, &engine, &changed);
                    changed.clear();
                    if *examined.verdict() != Verdict::Fresh {
                        engine.begin(&mut examined, Start::Anew);
                        world.disk.tick();
                        world.command();
                        let finished = world.subject(|after| {
                            engine.finish(&examined, after, RAN, &mut &b""[..])
                        });
                        prop_assert!(finished.is_ok());
                        engine.flush();
                    }
                }
                Act::Fail => {
                    let mut examined = examine(&world, &engine, &changed);
                    changed.clear();
                    engine.begin(&mut examined, Start::Anew);
                    engine.failed(&examined, None, RAN, None);
                }
            }
            if ticks {
                world.disk.tick();
            }
            let told = examine(&world, &engine, &changed);
            changed.clear();
            let looked = world.examine(&world.engine());
            prop_assert_eq!(told.key(), looked.key());
            prop_assert_eq!(told.verdict(), looked.verdict());
            if *told.verdict() == Verdict::Fresh {
                let inputs = world.disk.files().into_iter();
                let all: Vec<u8> = inputs
                    .filter(|(path, _)| path.starts_with("/p/src"))
                    .flat_map(|(_, content)| content)
                    .collect();
                prop_assert_eq!(world.content("out/all"), Some(String::from_utf8(all).unwrap()));
            }
        }
    }
}
