//! The key: the same for the same task in any order of telling, different for anything else.

use proptest::prelude::*;
use watchrun::digest::Digest;
use watchrun::state::ToolProbe;
use watchrun::task_id::TaskName;
use watchrun::watchfile::task::{EnvPattern, Invocation, TaskKind};

use crate::world::{World, task};

/// What a task may be made of, in small pieces that are easily taken for one another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    words: Vec<String>,
    env: Vec<(String, String)>,
    tools: Vec<String>,
    deps: Vec<String>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let word = || "[ab=]{0,2}";
    let name = || "[ab]{1,2}";
    (
        prop::collection::vec(word(), 1..4),
        prop::collection::btree_map(name(), word(), 0..3),
        prop::collection::btree_set(name(), 0..3),
        prop::collection::btree_set(name(), 0..3),
    )
        .prop_map(|(words, env, tools, deps)| Parts {
            words,
            env: env.into_iter().collect(),
            tools: tools.into_iter().collect(),
            deps: deps.into_iter().collect(),
        })
}

fn key(parts: &Parts) -> Digest {
    let mut world = World::new();
    let Parts {
        words,
        env,
        tools,
        deps,
    } = parts;
    world.task.kind = TaskKind::Command(Invocation::Words(words.clone()));
    world.task.env_inputs = vec![EnvPattern {
        name: "*".to_owned(),
        excludes: false,
    }];
    world.env = env
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let probe = |command: &String| ToolProbe {
        command: command.clone(),
        output: Digest::of(b"1"),
        failure: None,
    };
    world.tools = tools.iter().map(probe).collect();
    world.deps = deps
        .iter()
        .map(|name| (TaskName::new(name), Digest::of(b"1")))
        .collect();
    *world.examine(&world.engine()).key()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_two_tasks_share_a_key(one in parts(), two in parts()) {
        prop_assert_eq!(one == two, key(&one) == key(&two));
    }

    #[test]
    fn the_order_of_telling_does_not_count(parts in parts()) {
        let mut reversed = parts.clone();
        reversed.env.reverse();
        reversed.tools.reverse();
        reversed.deps.reverse();
        prop_assert_eq!(key(&parts), key(&reversed));
    }
}

#[test]
fn where_a_piece_belongs_counts() {
    let plain = Parts {
        words: vec!["a".to_owned()],
        env: Vec::new(),
        tools: Vec::new(),
        deps: Vec::new(),
    };
    let tool = Parts {
        tools: vec!["a".to_owned()],
        ..plain.clone()
    };
    let dep = Parts {
        deps: vec!["a".to_owned()],
        ..plain.clone()
    };
    let keys = [key(&plain), key(&tool), key(&dep)];
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[test]
fn two_tasks_never_share_a_result() {
    let mut world = World::new();
    let one = *world.examine(&world.engine()).key();
    world.task.name = task("other").name;
    assert_ne!(*world.examine(&world.engine()).key(), one);
}

#[test]
fn a_line_is_what_its_shell_is_given() {
    let mut world = World::new();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    world.task.kind = TaskKind::Command(Invocation::Line("a  b".to_owned()));
    let line = *world.examine(&world.engine()).key();
    world.task.kind = TaskKind::Command(Invocation::Words(words(&["sh", "-c", "a  b"])));
    assert_eq!(*world.examine(&world.engine()).key(), line);
    world.task.kind = TaskKind::Command(Invocation::Words(words(&["a", "b"])));
    assert_ne!(*world.examine(&world.engine()).key(), line);
}

/// A key is kept in stores and shared between machines: it changes only with the format version.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_known_key_stays_what_it_is() {
    let world = World::new();
    assert_eq!(
        world.examine(&world.engine()).key().to_string(),
        "e2844ee9abe21dababd267b5b888fe48c4c8a2387c7a98f0d822eddb591a48a1"
    );
}
