//! `{files}`: the inputs that changed since the task last succeeded, as whole arguments.

use crate::support::Project;

const LINT: &str = r#"
[tasks.lint]
run    = "echo {files} >> log; test ! -e bad"
inputs = ["src/**"]
"#;

fn project() -> Project {
    let project = Project::with(LINT);
    project.write("src/a", "1").write("src/b", "1");
    project.run(["run"]).ok();
    assert_eq!(project.read("log"), "src/a src/b\n");
    project.remove("log");
    project
}

#[test]
fn only_what_changed_since_the_last_success_is_given() {
    let project = project();
    project.write("src/b", "2").write("src/c", "1");
    project.run(["run"]).ok();
    project.write("bad", "").write("src/a", "2");
    project.run(["run"]).exit(1);
    project.write("src/c", "2");
    project.run(["run"]).exit(1);
    project.remove("bad").run(["run"]).ok();
    let expected = ["src/b src/c", "src/a", "src/a src/c", "src/a src/c"];
    assert_eq!(
        project.read("log").lines().collect::<Vec<_>>(),
        expected,
        "what failed is given again"
    );
}

#[test]
fn without_a_changed_file_the_task_is_fresh() {
    let project = project();
    project.remove("src/a");
    let run = project.run_json(["lint"]);
    run.ok().events().assert_outcomes(&[("lint", "fresh")]);
    project.run(["check"]).ok();
    assert!(!project.exists("log"));
    project.remove("src/b");
    let run = project.run_json(["lint", "--force"]);
    run.ok().events().assert_outcomes(&[("lint", "fresh")]);
}

#[test]
fn a_change_to_the_task_gives_all_files() {
    let project = project();
    project.edit("watchfile.toml", "echo {files}", "echo strict {files}");
    project.run(["run"]).ok();
    project.run(["run", "--force"]).ok();
    assert_eq!(
        project.read("log"),
        "strict src/a src/b\nstrict src/a src/b\n"
    );
}

#[test]
fn names_of_any_kind_are_whole_arguments_and_no_options() {
    let project = Project::with(
        r#"
        [tasks]
        line  = { run = "printf '[%s]' {files} > line", inputs = ["src/**"] }
        words = { run = ["sh", "-c", 'printf "[%s]" "$@" > words', "sh", "{files}"], inputs = ["src/**"] }
        below = { run = "printf '[%s]' {files} > ../below", dir = "src", inputs = ["**"] }
        "#,
    );
    for name in ["sp ace", "it's", "$HOME", "*", "-n", "new\nline"] {
        project.write(format!("src/{name}"), "");
    }
    project.run(["run"]).ok();
    let all = "[src/$HOME][src/*][src/-n][src/it's][src/new\nline][src/sp ace]";
    assert_eq!(project.read("line"), all);
    assert_eq!(project.read("words"), all);
    let below = all.replace("src/-n", "./-n").replace("src/", "");
    assert_eq!(project.read("below"), below);
}

#[test]
fn more_files_than_one_command_takes_are_given_to_several() {
    let project = Project::with(
        r#"
        [tasks]
        line  = { run = "echo {files} {files} >> line", inputs = ["src/**"] }
        words = { run = ["sh", "-c", 'echo "$@" >> words', "sh", "{files}", "{files}"], inputs = ["src/**"] }
        "#,
    );
    project.shell("mkdir src && cd src && seq 1 9000 | sed 's/.*/a-rather-long-name-of-a-file-&/' | xargs touch");
    // As little stack as leaves the least room for arguments.
    project.shell(&format!(
        "ulimit -s 512 && {} run",
        env!("CARGO_BIN_EXE_watchrun")
    ));
    for file in ["line", "words"] {
        let text = project.read(file);
        assert_eq!(text.split_whitespace().count(), 2 * 9000, "{file}");
        assert!(text.lines().count() > 1, "{file}");
    }
}
