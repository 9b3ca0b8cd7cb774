//! What `init` writes: a watchfile for the tools that a directory shows signs of.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One task to begin with.
struct Starter {
    tool: &'static str,
    name: String,
    run: String,
    inputs: Vec<&'static str>,
    deps: Vec<&'static str>,
}

/// A watchfile for what is in `dir`.
pub(super) fn watchfile_for(dir: &Path) -> String {
    let mut tasks = Vec::new();
    for find in [cargo, node, go, python, cmake, make] {
        tasks.extend(find(dir));
    }
    if tasks.is_empty() {
        return NOTHING_FOUND.to_owned();
    }
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    let is_shared = |name: &str| names.iter().filter(|other| *other == name).count() > 1;
    let full = |task: &Starter, name: &str| {
        if is_shared(name) {
            format!("{}-{name}", task.tool)
        } else {
            name.to_owned()
        }
    };
    let mut text = HEADER.to_owned();
    for task in &tasks {
        let deps: Vec<String> = task.deps.iter().map(|dep| full(task, dep)).collect();
        text += &section(&full(task, &task.name), task, &deps);
    }
    text
}

fn section(name: &str, task: &Starter, deps: &[String]) -> String {
    let list = |items: &[&str]| {
        Value::from(items.to_vec())
            .to_string()
            .replace("\",\"", "\", \"")
    };
    let run = Value::from(task.run.as_str());
    let inputs = match task.inputs.as_slice() {
        [] => String::new(),
        inputs => format!("inputs = {}\n", list(inputs)),
    };
    let deps = match deps {
        [] => String::new(),
        deps => {
            let deps: Vec<&str> = deps.iter().map(String::as_str).collect();
            format!("deps = {}\n", list(&deps))
        }
    };
    format!("\n[tasks.{name}]\nrun = {run}\n{inputs}{deps}")
}

const HEADER: &str = "\
# `watchrun` runs what is stale, then watches. `watchrun run` does it once.
# A task runs when the content of a file that its `inputs` match has changed.
";

const NOTHING_FOUND: &str = r#"# `watchrun` runs what is stale, then watches. `watchrun run` does it once.
# A task runs when the content of a file that its `inputs` match has changed.

[tasks.hello]
run = "echo hello"
inputs = ["**"]
"#;

fn cargo(dir: &Path) -> Vec<Starter> {
    if !dir.join("Cargo.toml").exists() {
        return Vec::new();
    }
    let mut inputs = vec!["**/*.rs", "**/Cargo.toml", "!target/**"];
    // Where it is not there yet, the first task writes it, and its input would move under it.
    if dir.join("Cargo.lock").exists() {
        inputs.insert(2, "Cargo.lock");
    }
    let task = |name: &str, run: &str, deps| Starter {
        tool: "cargo",
        name: name.to_owned(),
        run: run.to_owned(),
        inputs: inputs.clone(),
        deps,
    };
    vec![
        task("check", "cargo check --all-targets", vec![]),
        task("test", "cargo test", vec!["check"]),
    ]
}

/// The scripts of `package.json` that end, with the package manager that the lock file names.
fn node(dir: &Path) -> Vec<Starter> {
    let Some(text) = read(dir, "package.json") else {
        return Vec::new();
    };
    let manager = [
        ("pnpm-lock.yaml", "pnpm"),
        ("yarn.lock", "yarn"),
        ("bun.lock", "bun"),
        ("bun.lockb", "bun"),
    ];
    let manager = manager.iter().find(|(file, _)| dir.join(file).exists());
    let manager = manager.map_or("npm", |(_, name)| name);
    let package: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_there = |script: &&&str| {
        let line = package["scripts"][**script].as_str();
        // What `npm init` writes where there are no tests.
        line.is_some_and(|line| !line.contains("no test specified"))
    };
    let scripts = ["build", "typecheck", "lint", "test"];
    let scripts = scripts.iter().filter(is_there);
    let task = |script: &&str| Starter {
        tool: "npm",
        name: (*script).to_owned(),
        run: format!("{manager} run {script}"),
        inputs: vec![
            "**/*.{js,cjs,mjs,jsx,ts,cts,mts,tsx,json,css,html,vue,svelte}",
            "!**/node_modules/**",
            "!**/{dist,build,coverage}/**",
        ],
        deps: Vec::new(),
    };
    scripts.map(task).collect()
}

fn go(dir: &Path) -> Vec<Starter> {
    if !dir.join("go.mod").exists() {
        return Vec::new();
    }
    let task = |name: &str, run: &str, deps| Starter {
        tool: "go",
        name: name.to_owned(),
        run: run.to_owned(),
        inputs: vec!["**/*.go", "go.mod", "go.sum"],
        deps,
    };
    vec![
        task("build", "go build ./...", vec![]),
        task("test", "go test ./...", vec!["build"]),
    ]
}

fn python(dir: &Path) -> Vec<Starter> {
    let signs = [
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "requirements.txt",
    ];
    let texts: Vec<String> = signs.iter().filter_map(|name| read(dir, name)).collect();
    if texts.is_empty() {
        return Vec::new();
    }
    let uses_pytest = dir.join("conftest.py").exists()
        || dir.join("tests/conftest.py").exists()
        || texts.iter().any(|text| text.contains("pytest"));
    let unittests = [
        ("", "python3 -m unittest discover"),
        ("tests", "python3 -m unittest discover -s tests"),
        ("test", "python3 -m unittest discover -s test"),
    ];
    let has_tests = |(sub, _): &&(&str, &str)| has_python_tests(&dir.join(sub));
    let (name, run) = if uses_pytest && dir.join("uv.lock").exists() {
        ("test", "uv run pytest")
    } else if uses_pytest {
        ("test", "python3 -m pytest")
    } else if let Some((_, run)) = unittests.iter().find(has_tests) {
        ("test", *run)
    } else {
        ("check", "python3 -m compileall -q .")
    };
    vec![Starter {
        tool: "python",
        name: name.to_owned(),
        run: run.to_owned(),
        inputs: vec![
            "**/*.py",
            "{pyproject.toml,setup.cfg,requirements*.txt}",
            "!**/{.venv,venv}/**",
        ],
        deps: Vec::new(),
    }]
}

fn has_python_tests(dir: &Path) -> bool {
    let is_test = |name: &str| {
        let stem = name.strip_suffix(".py");
        stem.is_some_and(|stem| stem.starts_with("test"))
    };
    fs::read_dir(dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_test))
    })
}

const C_SOURCES: &str = "**/*.{c,cc,cpp,cxx,h,hh,hpp,hxx,s,S}";

fn cmake(dir: &Path) -> Vec<Starter> {
    if !dir.join("CMakeLists.txt").exists() {
        return Vec::new();
    }
    vec![Starter {
        tool: "cmake",
        name: "build".to_owned(),
        run: "cmake -S . -B build && cmake --build build".to_owned(),
        inputs: vec![C_SOURCES, "**/CMakeLists.txt", "**/*.cmake", "!build/**"],
        deps: Vec::new(),
    }]
}

fn make(dir: &Path) -> Vec<Starter> {
    let names = ["GNUmakefile", "makefile", "Makefile"];
    let Some(text) = names.iter().find_map(|name| read(dir, name)) else {
        return Vec::new();
    };
    // What it builds from is only known for C; without `inputs`, everything counts.
    let words = [".c", ".cc", ".cpp", ".o", "$(CC)", "$(CXX)"];
    let inputs = if words.iter().any(|word| text.contains(word)) {
        vec![C_SOURCES, "**/{GNUmakefile,makefile,Makefile}", "**/*.mk"]
    } else {
        Vec::new()
    };
    let task = |name: &str, run: &str, deps| Starter {
        tool: "make",
        name: name.to_owned(),
        run: run.to_owned(),
        inputs: inputs.clone(),
        deps,
    };
    let mut tasks = vec![task("make", "make", vec![])];
    if text.lines().any(|line| line.starts_with("test:")) {
        tasks.push(task("test", "make test", vec!["make"]));
    }
    tasks
}

fn read(dir: &Path, name: &str) -> Option<String> {
    fs::read_to_string(dir.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use watchrun::plan::Plan;
    use watchrun::watchfile;

    use super::*;

    /// The names and commands of the tasks for a directory with these files.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[(&str, &str)]) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let text = watchfile_for(dir.path());
        let plan = Plan::new(watchfile::parse(&text));
        let plan = plan.unwrap_or_else(|_| panic!("it is not valid:\n{text}"));
        let tasks: Vec<(String, String)> = plan
            .tasks()
            .iter()
            .map(|(_, task)| (task.name.to_string(), task.command_text()))
            .collect();
        let tasks: Vec<(&str, &str)> = tasks
            .iter()
            .map(|(name, run)| (name.as_str(), run.as_str()))
            .collect();
        assert_eq!(tasks, expected, "{text}");
    }

    #[test]
    fn each_tool_gets_its_tasks() {
        check(&[], &[("hello", "echo hello")]);
        check(
            &[("Cargo.toml", "")],
            &[
                ("check", "cargo check --all-targets"),
                ("test", "cargo test"),
            ],
        );
        check(
            &[("go.mod", "")],
            &[("build", "go build ./..."), ("test", "go test ./...")],
        );
        check(
            &[("CMakeLists.txt", "")],
            &[("build", "cmake -S . -B build && cmake --build build")],
        );
        check(
            &[("Makefile", "all: a.o\ntest: all\n")],
            &[("make", "make"), ("test", "make test")],
        );
    }

    #[test]
    fn the_scripts_of_a_package_are_its_tasks() {
        let package = r#"{"scripts": {"build": "tsc", "dev": "vite", "test": "vitest run"}}"#;
        check(
            &[("package.json", package)],
            &[("build", "npm run build"), ("test", "npm run test")],
        );
        check(
            &[("package.json", package), ("pnpm-lock.yaml", "")],
            &[("build", "pnpm run build"), ("test", "pnpm run test")],
        );
        let none = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
        check(&[("package.json", none)], &[("hello", "echo hello")]);
        check(&[("package.json", "{")], &[("hello", "echo hello")]);
    }

    #[test]
    fn python_is_tested_with_what_it_uses() {
        let plain = ("pyproject.toml", "[project]\nname = \"x\"\n");
        check(&[plain], &[("check", "python3 -m compileall -q .")]);
        check(
            &[plain, ("tests/test_a.py", "")],
            &[("test", "python3 -m unittest discover -s tests")],
        );
        let pytest = ("pyproject.toml", "[tool.pytest.ini_options]\n");
        check(&[pytest], &[("test", "python3 -m pytest")]);
        check(&[pytest, ("uv.lock", "")], &[("test", "uv run pytest")]);
    }

    #[test]
    fn tasks_of_several_tools_keep_apart() {
        check(
            &[("Cargo.toml", ""), ("Makefile", "test: ;\n")],
            &[
                ("check", "cargo check --all-targets"),
                ("cargo-test", "cargo test"),
                ("make", "make"),
                ("make-test", "make test"),
            ],
        );
    }
}
