//! Every reason, through a whole run, and what is none.

use std::path::Path;

use watchrun::digest::Digest;
use watchrun::disk::Disk;
use watchrun::path::RelDir;
use watchrun::state::{Demand, ToolProbe};
use watchrun::task_id::TaskName;
use watchrun::watchfile::task::{Caching, EnvPattern, Inputs, Invocation, TaskKind};

use crate::world::{World, path, patterns};

/// After a success and then `change`, the verdict is `expected`.
#[track_caller]
fn check(change: impl FnOnce(&mut World), expected: &str) {
    let mut world = World::built();
    assert_eq!(world.verdict(), "fresh", "before the change");
    change(&mut world);
    assert_eq!(world.verdict(), expected);
}

fn words(world: &mut World, words: &[&str]) {
    let words = words.iter().map(|&word| word.to_owned()).collect();
    world.task.kind = TaskKind::Command(Invocation::Words(words));
}

fn env_input(world: &mut World, names: &[&str]) {
    let pattern = |name: &&str| EnvPattern {
        name: name.trim_start_matches('!').to_owned(),
        excludes: name.starts_with('!'),
    };
    world.task.env_inputs = names.iter().map(pattern).collect();
}

#[test]
fn nothing_happened_is_fresh() {
    check(|_| {}, "fresh");
    assert_eq!(World::new().verdict(), "never succeeded");
}

#[test]
fn what_leaves_the_content_alone_is_fresh() {
    check(|world| world.edit("src/a", "A"), "fresh");
    check(
        |world| {
            world.disk.touch(Path::new("/p/src/a")).unwrap();
        },
        "fresh",
    );
    check(
        |world| {
            world
                .disk
                .write_atomic(Path::new("/p/src/a"), b"A")
                .unwrap();
        },
        "fresh",
    );
    check(
        |world| {
            world.edit("src/a", "other");
            world.edit("src/a", "A");
        },
        "fresh",
    );
    check(|world| world.edit("elsewhere", "x"), "fresh");
    check(|world| world.edit("out/all", "AB"), "fresh");
}

#[test]
fn inputs_that_differ_are_named() {
    check(|world| world.edit("src/a", "x"), "input src/a modified");
    check(|world| world.edit("src/c", "x"), "input src/c added");
    check(|world| world.remove("src/a"), "input src/a removed");
    check(
        |world| world.disk.set_mode(Path::new("/p/src/a"), 0o755).unwrap(),
        "input src/a made executable or not",
    );
    check(
        |world| {
            world
                .disk
                .rename(Path::new("/p/src/a"), Path::new("/p/src/z"))
                .unwrap();
        },
        "input src/z renamed from src/a",
    );
    check(
        |world| {
            world
                .disk
                .rename(Path::new("/p/src/a"), Path::new("/p/src/A"))
                .unwrap();
        },
        "input src/A renamed from src/a",
    );
}

#[test]
fn a_link_counts_by_its_text() {
    let target = |world: &World, target: &str| {
        world.remove("src/l");
        world
            .disk
            .make_link(Path::new(target), Path::new("/p/src/l"))
            .unwrap();
        world.disk.tick();
    };
    let world = World::new();
    target(&world, "nowhere");
    world.build();
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
    target(&world, "nowhere");
    assert_eq!(world.verdict(), "fresh");
    target(&world, "elsewhere");
    assert_eq!(world.verdict(), "input src/l modified");
}

#[test]
fn the_command_and_the_order_of_its_words_count() {
    check(|world| words(world, &["cat", "-a"]), "command changed");
    check(
        |world| words(world, &["cat", "-b", "-a"]),
        "argument order changed",
    );
    check(|world| words(world, &["cat", "-a -b"]), "command changed");
}

#[test]
fn variables_count_by_name_and_unset_is_not_empty() {
    let with = |value: Option<&str>| {
        let mut world = World::new();
        env_input(&mut world, &["CC", "FOO_*", "!FOO_SECRET"]);
        world.env = vec![
            ("FOO_SECRET".into(), "1".into()),
            ("OTHER".into(), "1".into()),
        ];
        if let Some(value) = value {
            world.env.push(("CC".into(), value.into()));
        }
        world
    };
    let then = |before: Option<&str>, after: Option<&str>| {
        let mut world = with(before);
        world.build();
        world.disk.tick();
        world.env = with(after).env;
        world.verdict()
    };
    assert_eq!(then(Some("gcc"), Some("gcc")), "fresh");
    assert_eq!(then(Some("gcc"), Some("clang")), "env CC changed");
    assert_eq!(then(Some("gcc"), Some("")), "env CC emptied");
    assert_eq!(then(Some("gcc"), None), "env CC unset");
    assert_eq!(then(None, Some("")), "env CC emptied");
    assert_eq!(then(Some(""), None), "env CC unset");
    assert_eq!(then(None, Some("gcc")), "env CC set");

    let mut world = with(None);
    world.build();
    world.disk.tick();
    world.env = vec![
        ("FOO_SECRET".into(), "2".into()),
        ("OTHER".into(), "2".into()),
    ];
    assert_eq!(world.verdict(), "fresh");
    world.env.push(("FOO_A".into(), "x".into()));
    assert_eq!(world.verdict(), "env FOO_A set");
}

#[test]
fn the_rest_of_the_definition_counts() {
    check(
        |world| drop(world.task.env.insert("X".to_owned(), "1".to_owned())),
        "env X set",
    );
    check(
        |world| world.task.dir = RelDir::new(b"src").unwrap(),
        "dir changed",
    );
    check(
        |world| world.task.outputs = patterns(&["out/**", "more"]),
        "outputs changed",
    );
    check(
        |world| {
            world.tools = vec![ToolProbe {
                command: "cc -v".to_owned(),
                output: Digest::of(b"1"),
                failure: None,
            }];
        },
        "tool `cc -v` changed",
    );
    check(
        |world| world.deps = vec![(TaskName::new("gen"), Digest::of(b"1"))],
        "dep gen changed",
    );
}

#[test]
fn what_is_no_part_of_the_result_does_not_count() {
    check(
        |world| world.task.description = Some("text".to_owned()),
        "fresh",
    );
    check(|world| world.task.retries = 3, "fresh");
    check(|world| world.task.span.start = 99, "fresh");
    check(
        |world| world.task.inputs = Inputs::Patterns(patterns(&["src/a", "src/b"])),
        "fresh",
    );
}

#[test]
fn outputs_are_compared_with_what_was_made() {
    check(|world| world.remove("out/all"), "output out/all missing");
    check(|world| world.edit("out/all", "x"), "output out/all edited");
    check(
        |world| {
            world.remove("out/all");
            world
                .disk
                .make_link(Path::new("x"), Path::new("/p/out/all"))
                .unwrap();
        },
        "output out/all edited",
    );
}

#[test]
fn a_failure_is_remembered_until_the_next_success() {
    let world = World::new();
    world.fail(7);
    assert_eq!(world.verdict(), "previous run failed (exit code 7)");
    world.build();
    world.disk.tick();
    assert_eq!(world.verdict(), "fresh");
    world.edit("src/a", "bad");
    world.fail(1);
    assert_eq!(world.verdict(), "previous run failed (exit code 1)");
    world.edit("src/a", "A");
    assert_eq!(world.verdict(), "previous run failed (exit code 1)");
    world.edit("src/a", "good");
    assert_eq!(world.verdict(), "input src/a modified");
}

#[test]
fn force_and_cache_off_always_run() {
    check(|world| world.demand = Demand::Always, "forced");
    check(|world| world.task.caching = Caching::Off, "cache is off");
}

#[test]
fn everything_leaves_out_outputs_and_ignored_files() {
    let mut world = World::new();
    world.task.inputs = Inputs::Everything;
    world.ignored = vec![path("target/x")];
    world.build();
    world.disk.tick();
    world.edit("gen/made", "1");
    world.edit("target/x", "1");
    world.edit("out/extra", "1");
    assert_eq!(world.verdict(), "fresh");
    world.edit("new", "1");
    assert_eq!(world.verdict(), "input new added");
}

#[test]
fn an_ignored_file_counts_where_it_is_named() {
    let mut world = World::new();
    world.task.inputs = Inputs::Patterns(patterns(&["**/*.env", "local/x.env"]));
    world.ignored = vec![path("local/x.env"), path("local/y.env")];
    world.build();
    world.disk.tick();
    world.edit("local/y.env", "1");
    assert_eq!(world.verdict(), "fresh");
    world.edit("local/x.env", "1");
    assert_eq!(world.verdict(), "input local/x.env added");
}

#[test]
fn a_fresh_task_is_found_so_by_stat_data_alone() {
    let world = World::built();
    assert_eq!(world.verdict(), "fresh");
    drop(world.disk.take_log());
    assert_eq!(world.verdict(), "fresh");
    let log = world.disk.take_log();
    let reads: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("open") || line.starts_with("read "))
        .filter(|line| !line.contains("/tasks/"))
        .collect();
    assert!(reads.is_empty(), "{reads:?}");
}

#[test]
fn a_write_within_the_tick_of_the_hash_is_noticed() {
    let world = World::new();
    world.disk.edit("/p/src/a", b"1");
    // No tick: the hash and the next write have the same time.
    let engine = world.engine();
    let examined = world.examine(&engine);
    assert!(matches!(
        world.run(
            &engine,
            examined,
            watchrun::state::Start::Anew,
            World::command
        ),
        watchrun::state::Finished::Recorded(_)
    ));
    engine.save();
    drop(engine);
    let first = World::new();
    first.disk.edit("/p/src/a", b"1");
    let engine = first.engine();
    let before = first.examine(&engine);
    first.disk.edit("/p/src/a", b"2");
    let after = first.examine(&engine);
    assert_ne!(before.key(), after.key());
}
