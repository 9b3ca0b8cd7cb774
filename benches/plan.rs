//! From text to plan, and from a path to tasks: `cargo bench --bench plan`.
//!
//! The goals: 10,000 tasks read and planned in 50 ms, one path against the globs of 1,000 tasks
//! in 5 µs.

use std::fmt::Write;
use std::hint::black_box;

use watchrun::path::RelPath;
use watchrun::plan::Plan;
use watchrun::watchfile;

fn main() {
    divan::main();
}

/// `n_tasks` tasks with `inputs` (`{n}` is the number of the task), an output and two deps.
fn text(n_tasks: usize, inputs: &str) -> String {
    let mut text = String::new();
    for n in 0..n_tasks {
        let inputs = inputs.replace("{n}", &n.to_string());
        write!(
            text,
            "[tasks.task{n}]\nrun = \"gcc -c pkg{n}/main.c -o out/{n}.o\"\n\
             inputs = [{inputs}]\noutputs = [\"out/{n}.o\"]\n"
        )
        .expect("a string takes everything");
        if n > 1 {
            writeln!(text, "deps = [\"task{}\", \"task{}\"]\n", n - 1, n / 2)
                .expect("a string takes everything");
        }
    }
    text
}

fn plan(text: &str) -> Plan {
    Plan::new(watchfile::parse(text)).expect("the text is right")
}

const PREFIXED: &str = r#""pkg{n}/src/**/*.c", "pkg{n}/include/*.h""#;

#[divan::bench(args = [100, 1_000, 10_000])]
fn text_to_plan(bencher: divan::Bencher<'_, '_>, n_tasks: usize) {
    let text = text(n_tasks, PREFIXED);
    bencher.bench(|| plan(&text));
}

#[divan::bench(args = [10_000])]
fn plan_alone(bencher: divan::Bencher<'_, '_>, n_tasks: usize) {
    let text = text(n_tasks, PREFIXED);
    bencher
        .with_inputs(|| watchfile::parse(&text))
        .bench_values(|loaded| Plan::new(loaded).expect("the text is right"));
}

/// One path against 1,000 tasks. The first question, which may build automata, is not measured.
fn consumers(bencher: divan::Bencher<'_, '_>, inputs: &str, path: &str, expected: usize) {
    let plan = plan(&text(1_000, inputs));
    let path = RelPath::new(path.as_bytes()).expect("it is a normal path");
    assert_eq!(plan.triggers().consumers(&path).len(), expected);
    bencher.bench(|| plan.triggers().consumers(black_box(&path)));
}

#[divan::bench]
fn match_a_directory_for_each_task(bencher: divan::Bencher<'_, '_>) {
    consumers(bencher, PREFIXED, "pkg500/src/deep/er/main.c", 1);
}

#[divan::bench]
fn match_an_extension_for_each_task(bencher: divan::Bencher<'_, '_>) {
    consumers(
        bencher,
        r#""**/*.ext{n}""#,
        "pkg/src/deep/er/main.ext500",
        1,
    );
}

#[divan::bench]
fn match_no_literal_head(bencher: divan::Bencher<'_, '_>) {
    consumers(
        bencher,
        r#""*/unit{n}/**/*_test*""#,
        "pkg/unit500/deep/er/my_test.c",
        1,
    );
}

#[divan::bench]
fn match_braces_without_literal_head(bencher: divan::Bencher<'_, '_>) {
    consumers(
        bencher,
        r#""{a,b}/unit{n}/**""#,
        "a/unit500/deep/er/my_test.c",
        1,
    );
}
