//! Files of this repository that show the format are read by the program itself.

use std::fs;
use std::path::Path;

use crate::support::Project;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `text` parses and plans as a watchfile, in a project that has the directories and files it names.
#[track_caller]
fn lists(origin: &str, text: &str) {
    let project = Project::with(text);
    for dir in text
        .lines()
        .filter_map(|line| line.split_once("dir").map(|(_, rest)| rest))
    {
        let value = dir
            .trim_start()
            .strip_prefix('=')
            .and_then(|rest| rest.split('"').nth(1));
        if let Some(dir) = value.filter(|dir| !dir.starts_with('/')) {
            project.write(format!("{dir}/.keep"), "");
        }
    }
    project
        .write("apps/web/watchfile.toml", "tasks.build = 'true'\n")
        .write(".env", "A=1\n")
        .write("secrets.env", "B=2\n");
    let run = project.run(["list"]);
    assert!(
        run.status.success() && !run.stdout.is_empty(),
        "{origin}:\n{text}\n{run}"
    );
}

#[test]
fn the_example_watchfile_parses_and_plans() {
    let text =
        fs::read_to_string(repository().join("watchfile.example.toml")).expect("it is there");
    lists("watchfile.example.toml", &text);
}

#[test]
fn the_commented_examples_of_the_example_watchfile_parse_and_plan() {
    let text =
        fs::read_to_string(repository().join("watchfile.example.toml")).expect("it is there");
    for example in commented_examples(&text) {
        lists("a commented example", &example);
    }
}

/// Runs of lines that begin with `#:`, without that mark: further examples, switched off.
fn commented_examples(text: &str) -> Vec<String> {
    let mut examples = vec![String::new()];
    for line in text.lines() {
        let last = examples.last_mut().expect("never empty");
        if let Some(rest) = line.strip_prefix("#:") {
            last.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            last.push('\n');
        } else if !last.is_empty() {
            examples.push(String::new());
        }
    }
    examples.retain(|example| !example.is_empty());
    assert!(!examples.is_empty(), "no commented example was found");
    examples
}

#[test]
fn every_toml_block_of_the_documents_parses_and_plans() {
    let mut documents = vec![repository().join("README.md")];
    let docs = fs::read_dir(repository().join("docs")).expect("docs/ is there");
    documents.extend(docs.map(|entry| entry.expect("docs/ is readable").path()));
    let mut blocks = 0;
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(document).expect("documents are UTF-8");
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            lists(&document.display().to_string(), block);
            blocks += 1;
        }
    }
    assert!(blocks > 0, "no block was found");
}

#[test]
fn the_fixtures_list_their_tasks() {
    for (name, task) in [("c", "link"), ("crate", "build"), ("docs", "render")] {
        Project::from_fixture(name)
            .run(["list"])
            .ok()
            .stdout_has(task);
    }
}
