//! The timelines of `fixtures/debounce`, and properties of the debouncer whatever the order.

use proptest::prelude::*;

use super::*;

const QUIET: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

#[derive(serde::Deserialize)]
struct Fixture {
    timeline: Vec<Timeline>,
}

#[derive(serde::Deserialize)]
struct Timeline {
    name: String,
    #[serde(default)]
    events: Vec<String>,
    every: Option<Every>,
    sets: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Every {
    ms: u64,
    until: u64,
    event: String,
}

/// A disk of the mind: files `a` to `d` exist at first.
struct World {
    files: BTreeMap<RelPath, FileStat>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            files: BTreeMap::new(),
            next: 1,
        };
        for name in ["a", "b", "d"] {
            let stat = world.fresh();
            world.files.insert(path(name), stat);
        }
        world
    }

    fn fresh(&mut self) -> FileStat {
        self.next += 1;
        FileStat {
            dev: 1,
            ino: self.next,
            size: 1,
            mtime_ns: i64::try_from(self.next).unwrap(),
            ctime_ns: i64::try_from(self.next).unwrap(),
            mode: 0o100_644,
        }
    }

    fn set(&mut self, name: &RelPath, after: Option<FileStat>, moved: bool) -> Observed {
        let before = match after {
            Some(stat) => self.files.insert(name.clone(), stat),
            None => self.files.remove(name),
        };
        Observed {
            path: name.clone(),
            before,
            after,
            written: false,
            moved,
        }
    }

    /// What is observed when `verb` happens to `names`.
    fn happen(&mut self, verb: &str, names: &[RelPath]) -> Vec<Observed> {
        let old = names.first().and_then(|name| self.files.get(name).copied());
        let fresh = self.fresh();
        match verb {
            "write" | "save" => {
                let inode = old.map_or(fresh.ino, |old| old.ino);
                let stat = FileStat {
                    ino: inode,
                    ..fresh
                };
                vec![self.set(&names[0], Some(stat), false)]
            }
            "touch" => {
                let mut observed = self.set(&names[0], old, false);
                observed.written = true;
                vec![observed]
            }
            "create" => vec![self.set(&names[0], Some(fresh), false)],
            "remove" => vec![self.set(&names[0], None, false)],
            "chmod" => {
                let mut stat = old.unwrap();
                stat.mode ^= 0o111;
                stat.ctime_ns = fresh.ctime_ns;
                vec![self.set(&names[0], Some(stat), false)]
            }
            "move" => {
                let mut stat = old.unwrap();
                stat.ctime_ns = fresh.ctime_ns;
                vec![
                    self.set(&names[0], None, true),
                    self.set(&names[1], Some(stat), true),
                ]
            }
            _ => Vec::new(),
        }
    }
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

fn text(set: &ChangeSet) -> String {
    let one = |change: &Change| match &change.kind {
        ChangeKind::Created => format!("+{}", change.path),
        ChangeKind::Modified => format!("~{}", change.path),
        ChangeKind::Metadata => format!(".{}", change.path),
        ChangeKind::Removed => format!("-{}", change.path),
        ChangeKind::Renamed { from } => format!("{from}>{}", change.path),
    };
    let all: Vec<String> = set.changes.iter().map(one).collect();
    format!("{}{}", if set.complete { "" } else { "!" }, all.join(" "))
}

/// Lets time pass until `until`, taking every set at its deadline.
fn advance(
    debouncer: &mut Debouncer,
    (start, now): (Instant, Instant),
    until: Instant,
    sets: &mut Vec<String>,
) {
    while let Some(deadline) = debouncer.deadline().filter(|at| *at <= until) {
        // A deadline may already have passed when what held it up goes away.
        let at = deadline.max(now);
        let ms = at.saturating_duration_since(start).as_millis();
        match debouncer.take_ready(at) {
            Some(set) => sets.push(format!("{ms}: {}", text(&set))),
            None => assert!(debouncer.is_empty(), "due, and yet not ready"),
        }
    }
}

fn play(events: &[String]) -> Vec<String> {
    let start = Instant::now();
    let mut debouncer = Debouncer::new(QUIET, LONGEST);
    let mut world = World::new();
    let mut sets = Vec::new();
    let mut last = start;
    for event in events {
        let words: Vec<&str> = event.split_whitespace().collect();
        let now = start + Duration::from_millis(words[0].parse().unwrap());
        // What is due at this very moment is due before what happens at it.
        advance(&mut debouncer, (start, last), now, &mut sets);
        last = now;
        let names: Vec<RelPath> = words[2..].iter().map(|name| path(name)).collect();
        for observed in world.happen(words[1], &names) {
            debouncer.push(observed, now);
        }
        match words[1] {
            "write" => debouncer.set_open(&names[0], true),
            "close" | "save" => debouncer.set_open(&names[0], false),
            "lock" => debouncer.set_locked(true, now),
            "unlock" => debouncer.set_locked(false, now),
            "lost" => debouncer.mark_gap(),
            _ => {}
        }
    }
    let end = start + Duration::from_secs(3600);
    advance(&mut debouncer, (start, last), end, &mut sets);
    sets
}

#[test]
fn timelines_give_the_sets_they_promise() {
    let fixture = include_str!("../../fixtures/debounce/timelines.toml");
    let fixture: Fixture = toml::from_str(fixture).unwrap();
    for timeline in fixture.timeline {
        let mut events = timeline.events;
        if let Some(every) = timeline.every {
            let times = (0..every.until).step_by(usize::try_from(every.ms).unwrap());
            events.extend(times.map(|ms| format!("{ms} {}", every.event)));
        }
        assert_eq!(play(&events), timeline.sets, "{}", timeline.name);
    }
}

#[test]
fn a_freed_inode_number_does_not_make_a_rename() {
    let now = Instant::now();
    let mut world = World::new();
    let mut debouncer = Debouncer::new(QUIET, LONGEST);
    let gone = world.happen("remove", &[path("a")]).remove(0);
    let mut made = world.happen("create", &[path("n")]).remove(0);
    let after = made.after.as_mut().unwrap();
    after.ino = gone.before.unwrap().ino;
    debouncer.push(gone, now);
    debouncer.push(made, now);
    assert_eq!(text(&debouncer.take_all().unwrap()), "-a +n");
}

#[test]
fn directories_below_a_renamed_one_are_renamed_with_it() {
    let now = Instant::now();
    let dir = |ino| FileStat {
        mode: 0o040_755,
        ..FileStat {
            dev: 1,
            ino,
            size: 0,
            mtime_ns: 5,
            ctime_ns: 5,
            mode: 0,
        }
    };
    let mut debouncer = Debouncer::new(QUIET, LONGEST);
    let mut push = |name: &str, before, after, moved| {
        let path = path(name);
        debouncer.push(
            Observed {
                path,
                before,
                after,
                written: false,
                moved,
            },
            now,
        );
    };
    push("a", Some(dir(1)), None, true);
    push("a/s", Some(dir(2)), None, false);
    push("b", None, Some(dir(1)), true);
    // Only just found: its times are not known yet.
    let found = FileStat {
        mtime_ns: 0,
        ..dir(2)
    };
    push("b/s", None, Some(found), false);
    assert_eq!(text(&debouncer.take_all().unwrap()), "a>b a/s>b/s");
}

#[derive(Clone, Debug)]
enum Step {
    Event(u8, u8, u8),
    Wait(u16),
    Lock(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u8, 0..5_u8, 0..5_u8).prop_map(|(verb, a, b)| Step::Event(verb, a, b)),
        3 => (0..30_u16).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Lock),
    ]
}

/// Applies `set` to what was `known`; each change must fit what was there. `files` is what is.
fn apply(
    known: &mut BTreeMap<RelPath, FileStat>,
    set: &ChangeSet,
    files: &BTreeMap<RelPath, FileStat>,
) -> BTreeMap<RelPath, FileStat> {
    assert!(!set.changes.is_empty());
    for change in &set.changes {
        if let ChangeKind::Renamed { from } = &change.kind {
            assert!(known.remove(from).is_some());
        }
        let path = change.path.clone();
        match &change.kind {
            ChangeKind::Removed => assert!(known.remove(&path).is_some()),
            ChangeKind::Created | ChangeKind::Renamed { .. } => {
                assert!(known.insert(path.clone(), files[&path]).is_none());
            }
            ChangeKind::Modified | ChangeKind::Metadata => {
                assert!(known.insert(path.clone(), files[&path]).is_some());
            }
        }
    }
    known.clone()
}

proptest! {
    /// Union in, union out: applying the sets to what was there gives what is there, no set is
    /// late, none is empty, and only what differs is told.
    #[test]
    fn the_sets_add_up_whatever_the_order(steps in prop::collection::vec(step(), 0..80)) {
        let names = ["a", "b", "c", "d", "e"].map(path);
        let verbs = ["save", "create", "remove", "chmod", "move"];
        let mut world = World::new();
        let mut known: BTreeMap<RelPath, FileStat> = world.files.clone();
        let mut debouncer = Debouncer::new(QUIET, LONGEST);
        let mut now = Instant::now();
        let mut locked: Option<Instant> = None;
        let mut oldest: Option<Instant> = None;
        for step in steps {
            match step {
                Step::Event(verb, a, b) => {
                    let (a, b) = (&names[usize::from(a)], &names[usize::from(b)]);
                    let verb = verbs[usize::from(verb)];
                    let exists = world.files.contains_key(a);
                    if (verb == "create") == exists || (verb == "move" && a == b) {
                        continue;
                    }
                    for observed in world.happen(verb, &[a.clone(), b.clone()]) {
                        debouncer.push(observed, now);
                        oldest.get_or_insert(now);
                    }
                }
                Step::Wait(ms) => now += Duration::from_millis(ms.into()),
                Step::Lock(lock) => {
                    debouncer.set_locked(lock, now);
                    locked = lock.then(|| locked.unwrap_or(now));
                    if !lock && oldest.is_some() {
                        oldest = Some(now);
                    }
                }
            }
            if let Some(deadline) = debouncer.deadline() {
                let limit = oldest.unwrap() + LONGEST;
                let limit = locked.map_or(limit, |since| limit.max(since + LOCK_HELD_MAX));
                prop_assert!(deadline <= limit);
            }
            if debouncer.deadline().is_some_and(|deadline| deadline <= now) {
                if let Some(set) = debouncer.take_ready(now) {
                    let known = apply(&mut known, &set, &world.files);
                    prop_assert_eq!(&known, &world.files);
                }
                prop_assert!(debouncer.is_empty());
                oldest = None;
            }
        }
        if let Some(set) = debouncer.take_all() {
            let known = apply(&mut known, &set, &world.files);
            prop_assert_eq!(known, world.files);
        }
    }
}

#[test]
fn half_a_rename_waits_for_the_other_half_once() {
    let mut world = World::new();
    let mut debouncer = Debouncer::new(QUIET, LONGEST);
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut push = |debouncer: &mut Debouncer, name: &str, after, ms| {
        let observed = world.set(&path(name), after, true);
        let before = observed.before;
        debouncer.push(observed, at(ms));
        before
    };
    // A burst: the set has to be made though `b` is only just gone.
    for ms in (0..500).step_by(9) {
        push(&mut debouncer, "n", None, ms);
    }
    push(&mut debouncer, "a", None, 480);
    let b = push(&mut debouncer, "b", None, 495);
    let set = debouncer.take_ready(at(500)).unwrap();
    assert_eq!(text(&set), "-a");
    push(&mut debouncer, "c", b, 501);
    assert_eq!(debouncer.deadline(), Some(at(511)));
    assert_eq!(text(&debouncer.take_ready(at(511)).unwrap()), "b>c");
    // What only goes away goes with the next set.
    push(&mut debouncer, "d", None, 600);
    for ms in (600..1100).step_by(9) {
        push(&mut debouncer, "n", None, ms);
    }
    push(&mut debouncer, "c", None, 1099);
    assert_eq!(text(&debouncer.take_ready(at(1100)).unwrap()), "-d");
    assert_eq!(text(&debouncer.take_ready(at(1109)).unwrap()), "-c");
}
