//! Process namespaces, as containers and CI systems make them.

use std::process::Command;

use crate::support::{Finished, Project, finish};

/// `watchrun run --json` as the first process but one of a pid namespace, whose group and session
/// lie outside. `None` when the system does not allow namespaces.
fn run_inside(project: &Project, flags: &[&str]) -> Option<Finished> {
    let unshare = |program: &str| -> Command {
        let mut command = project.hermetic("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork"]);
        command.args(flags).arg(program);
        command
    };
    let allowed = unshare("true")
        .output()
        .is_ok_and(|output| output.status.success());
    allowed.then(|| finish(unshare(env!("CARGO_BIN_EXE_watchrun")).args(["run", "--json"])))
}

#[test]
fn a_group_from_outside_the_namespace_is_no_trouble() {
    let project = Project::with("[tasks]\na = 'sleep 1000 & setsid sleep 1000 & true'\n");
    if let Some(finished) = run_inside(&project, &["--mount-proc"]) {
        finished.ok();
    }
}

#[test]
fn the_process_list_of_another_namespace_is_refused() {
    let project = Project::with("[tasks]\na = 'true'\n");
    if let Some(finished) = run_inside(&project, &[]) {
        finished.exit(3);
        assert!(
            finished
                .stderr
                .contains("not the one of this pid namespace"),
            "{}",
            finished.stderr
        );
    }
}
