//! Too few watches, unreadable directories, polling, full queues.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use watchrun::watch::{
    Backend, OverflowPolicy, Warning, WatchOptions, WatchState, WatchStatus, Watched,
};

use crate::support::{INSIDE, PATIENCE, Tree, check_exact, run_inside, run_inside_as, seen};

#[test]
fn too_few_watches_are_said_with_the_setting_and_the_rest_is_polled() {
    if std::env::var_os(INSIDE).is_none() {
        let setup = "echo 50 > /proc/sys/user/max_inotify_watches";
        let name = "limits::too_few_watches_are_said_with_the_setting_and_the_rest_is_polled";
        run_inside(name, setup);
        return;
    }
    let tree = Tree::with(&[]);
    for n in 0..200 {
        tree.write(&format!("d{n:03}/f"), "x");
    }
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(100);
    let watch = tree.watch_with(options);
    let status = watch.status();
    assert_eq!(status.state, WatchState::Degraded);
    assert_eq!(status.watched_dirs + status.polled_dirs, 201);
    assert!((20..=50).contains(&status.watched_dirs), "{status:?}");
    // Marks still go through the system, and what it watches it goes on watching.
    watch.sync(PATIENCE).unwrap();
    let now = watch.status();
    assert_eq!(
        (now.state, now.watched_dirs, now.polled_dirs),
        (status.state, status.watched_dirs, status.polled_dirs)
    );
    check_limit_warning(&watch.take_warnings(), &status);
    for n in [0, 199] {
        tree.write(&format!("d{n:03}/f"), "changed");
        tree.write(&format!("d{n:03}/new/deep"), "x");
        let mut told = Vec::new();
        while told.len() < 3 {
            let set = watch.next(PATIENCE).unwrap().expect("a set");
            told.extend(crate::support::texts(&set));
        }
        told.sort();
        let dir = format!("d{n:03}");
        let expected = [
            format!("+{dir}/new"),
            format!("+{dir}/new/deep"),
            format!("~{dir}/f"),
        ];
        assert_eq!(told, expected);
        // Where something happens, the system watches before long.
        let file = Path::new(&dir).join("f");
        while watch.explain(&file).unwrap().watched != Watched::Native {
            std::thread::yield_now();
        }
    }
    assert!(watch.status().watched_dirs <= 50);
    check_exact(&watch);
}

/// The warning at the limit names the setting and has the numbers of `status`.
#[track_caller]
fn check_limit_warning(warnings: &[Warning], status: &WatchStatus) {
    let mut limits = warnings.iter().filter(|w| w.kind() == "limit_reached");
    let limit = limits.next().unwrap();
    let Warning::LimitReached {
        watched_dirs,
        polled_dirs,
        limit: value,
        sysctl,
        ..
    } = limit
    else {
        panic!("{limit:?}")
    };
    let told = (*watched_dirs, *polled_dirs);
    assert_eq!(told, (status.watched_dirs, status.polled_dirs));
    assert_eq!((*value, *sysctl), (Some(50), "user.max_inotify_watches"));
    let hint = limit.hint().unwrap();
    assert!(hint.starts_with("sudo sysctl user.max_inotify_watches="));
}

#[test]
fn a_limit_that_is_reached_later_is_said_as_well() {
    if std::env::var_os(INSIDE).is_none() {
        let setup = "echo 50 > /proc/sys/user/max_inotify_watches";
        let name = "limits::a_limit_that_is_reached_later_is_said_as_well";
        run_inside(name, setup);
        return;
    }
    let tree = Tree::with(&["d/f"]);
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(50);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().state, WatchState::Ready);
    for n in 0..100 {
        tree.write(&format!("n{n:03}/f"), "x");
    }
    check_exact(&watch);
    assert_eq!(watch.status().state, WatchState::Degraded);
    let warnings = watch.take_warnings();
    let is_limit = |warning: &Warning| warning.kind() == "limit_reached";
    assert!(!warnings.is_empty() && warnings.iter().all(is_limit));
    // Said again only when it has become much worse.
    assert!(warnings.len() <= 3, "{warnings:?}");
    tree.write("n000/f", "changed");
    tree.write("n099/f", "changed");
    let mut told = Vec::new();
    while !(told.contains(&"~n000/f".to_owned()) && told.contains(&"~n099/f".to_owned())) {
        let set = watch.next(PATIENCE).unwrap().expect("a set");
        told.extend(crate::support::texts(&set));
    }
}

#[test]
fn a_limit_that_is_raised_is_made_use_of() {
    if std::env::var_os(INSIDE).is_none() {
        let setup = "echo 50 > /proc/sys/user/max_inotify_watches";
        run_inside("limits::a_limit_that_is_raised_is_made_use_of", setup);
        return;
    }
    let tree = Tree::with(&[]);
    for n in 0..100 {
        tree.write(&format!("d{n:03}/f"), "x");
    }
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(10);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().state, WatchState::Degraded);
    std::fs::write("/proc/sys/user/max_inotify_watches", "5000").unwrap();
    while watch.status().state != WatchState::Ready {
        std::thread::yield_now();
    }
    assert_eq!(watch.status().polled_dirs, 0);
    tree.write("d099/f", "changed");
    tree.write("d050/new/f", "x");
    assert_eq!(seen(&watch), ["+d050/new", "+d050/new/f", "~d099/f"]);
    check_exact(&watch);
}

#[test]
fn no_watcher_instances_means_polling() {
    if std::env::var_os(INSIDE).is_none() {
        let setup = "echo 0 > /proc/sys/user/max_inotify_instances";
        run_inside("limits::no_watcher_instances_means_polling", setup);
        return;
    }
    let tree = Tree::with(&["a", "d/b"]);
    let mut options = WatchOptions::new();
    options.poll_interval = Duration::from_millis(50);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().state, WatchState::Polling);
    assert!(watch.take_warnings().iter().any(|w| w.kind() == "polling"));
    tree.write("d/b", "changed");
    let set = watch.next(PATIENCE).unwrap().expect("a set");
    assert_eq!(crate::support::texts(&set), ["~d/b"]);
}

/// Nobody's rights: not even root reads what is closed to its owner.
const NOBODY: &[&str] = &[];

#[track_caller]
fn check_unreadable(backend: Backend) {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::with(&["a", "d/b", "d/e/c"]);
    let allow = |name: &str, mode| {
        set_permissions(tree.path(name), Permissions::from_mode(mode)).unwrap();
    };
    allow("d", 0o000);
    let mut options = WatchOptions::new();
    options.backend = backend;
    options.poll_interval = Duration::from_millis(20);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().unreadable_dirs, 1);
    let kinds = |watch: &watchrun::watch::WatchHandle| -> Vec<&'static str> {
        let warnings = watch.take_warnings();
        let kinds = warnings.iter().map(Warning::kind);
        kinds.filter(|kind| *kind != "polling").collect()
    };
    assert_eq!(kinds(&watch), ["unreadable"]);
    tree.write("a", "seen");
    assert_eq!(seen(&watch), ["~a"]);
    allow("d", 0o755);
    let mut told = Vec::new();
    while told.iter().filter(|text| **text != ".d").count() < 3 {
        let set = watch.next(PATIENCE).unwrap().expect("a set");
        told.extend(crate::support::texts(&set));
    }
    told.retain(|text| text != ".d");
    assert_eq!(told, ["+d/b", "+d/e", "+d/e/c"]);
    tree.write("d/e/c", "seen");
    assert_eq!(seen(&watch), ["~d/e/c"]);
    assert_eq!(watch.status().unreadable_dirs, 0);
    // And what can no longer be read is gone, with one warning.
    allow("d", 0o000);
    let mut told = Vec::new();
    while told.iter().filter(|text| **text != ".d").count() < 3 {
        let set = watch.next(PATIENCE).unwrap().expect("a set");
        told.extend(crate::support::texts(&set));
    }
    told.retain(|text| text != ".d");
    assert_eq!(told, ["-d/b", "-d/e", "-d/e/c"]);
    assert_eq!(kinds(&watch), ["unreadable"]);
    allow("d", 0o755);
    check_exact(&watch);
}

#[test]
fn an_unreadable_directory_is_left_out_with_one_warning_until_it_can_be_read() {
    if std::env::var_os(INSIDE).is_none() {
        let name =
            "limits::an_unreadable_directory_is_left_out_with_one_warning_until_it_can_be_read";
        run_inside_as(NOBODY, name, "true");
        return;
    }
    check_unreadable(Backend::Auto);
    check_unreadable(Backend::Poll);
}

#[test]
fn mounts_over_the_root_and_over_a_directory_are_followed() {
    if std::env::var_os(INSIDE).is_none() {
        run_inside(
            "limits::mounts_over_the_root_and_over_a_directory_are_followed",
            "true",
        );
        return;
    }
    let tree = Tree::with(&["a", "d/b"]);
    let watch = tree.watch();
    let mount = |dir: &str| {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "none"])
            .arg(tree.path(dir))
            .status();
        assert!(status.unwrap().success());
    };
    let unmount = |dir: &str| {
        let status = Command::new("umount").arg(tree.path(dir)).status();
        assert!(status.unwrap().success());
    };
    let next = || crate::support::texts(&watch.next(PATIENCE).unwrap().expect("a set"));
    mount("d");
    assert_eq!(next(), ["-d/b"]);
    tree.write("d/new", "x");
    assert_eq!(next(), ["+d/new"]);
    unmount("d");
    assert_eq!(next(), ["+d/b", "-d/new"]);
    tree.write("d/b", "changed");
    assert_eq!(next(), ["~d/b"]);
    mount("");
    assert_eq!(next(), ["-a", "-d", "-d/b"]);
    tree.write("over", "x");
    assert_eq!(next(), ["+over"]);
    unmount("");
    assert_eq!(next(), ["+a", "+d", "+d/b", "-over"]);
    tree.write("d/b", "changed again");
    assert_eq!(next(), ["~d/b"]);
    check_exact(&watch);
}

#[test]
fn polling_sees_what_events_would_have_told() {
    let tree = Tree::with(&["a", "b", "d/c", "swap"]);
    let mut options = WatchOptions::new();
    options.backend = Backend::Poll;
    options.poll_interval = Duration::from_millis(50);
    let watch = tree.watch_with(options);
    assert_eq!(watch.status().state, WatchState::Polling);
    tree.write("a", "changed");
    std::fs::remove_file(tree.path("b")).unwrap();
    tree.write("n/e/w", "x");
    std::fs::remove_file(tree.path("swap")).unwrap();
    tree.write("swap/inside", "x");
    assert_eq!(
        seen(&watch),
        ["~a", "-b", "+n", "+n/e", "+n/e/w", "~swap", "+swap/inside"]
    );
    // Same size, older time: only the inode and the change time tell.
    let old = std::fs::metadata(tree.path("d/c"))
        .unwrap()
        .modified()
        .unwrap();
    tree.write("d/x", "c/d");
    let file = std::fs::File::options()
        .write(true)
        .open(tree.path("d/x"))
        .unwrap();
    file.set_modified(old - Duration::from_secs(3600)).unwrap();
    tree.rename("d/x", "d/c");
    assert_eq!(seen(&watch), ["~d/c"]);
    // And by itself, without being asked.
    tree.write("n/e/w", "later");
    let set = watch.next(PATIENCE).unwrap().expect("a set");
    assert_eq!(crate::support::texts(&set), ["~n/e/w"]);
    check_exact(&watch);
}

/// With room for few paths, every policy ends with the truth.
#[track_caller]
fn check_policy(policy: OverflowPolicy) {
    let tree = Tree::with(&["d/a", "e/b"]);
    let mut options = WatchOptions::new();
    options.queue_capacity = 4;
    options.batch_size = 1;
    options.overflow = policy;
    let watch = tree.watch_with(options);
    for n in 0..300 {
        tree.write(&format!("d/n{n}/x/y"), "1");
        tree.write(&format!("e/f{}", n % 50), &format!("{n}"));
        if n % 7 == 0 {
            std::fs::remove_dir_all(tree.path(&format!("d/n{n}"))).unwrap();
        }
    }
    check_exact(&watch);
    seen(&watch);
    for n in [1, 100, 299] {
        tree.write(&format!("d/n{n}/x/z"), "live");
        assert_eq!(seen(&watch), [format!("+d/n{n}/x/z")], "{policy:?}");
    }
    // Our own queue being full says nothing about the system's watcher.
    assert_eq!(watch.status().state, WatchState::Ready, "{policy:?}");
}

#[test]
fn a_full_queue_never_costs_the_truth() {
    check_policy(OverflowPolicy::Collapse);
    check_policy(OverflowPolicy::Block);
    check_policy(OverflowPolicy::Drop);
}
