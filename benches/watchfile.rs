//! How long a large watchfile takes from text to checked: `cargo bench --bench watchfile`.

use std::fmt::Write;

use watchrun::path::RelDir;
use watchrun::pattern::Pattern;
use watchrun::watchfile;

fn main() {
    divan::main();
}

/// Each task has two input globs, an output and up to two deps.
fn text(n_tasks: usize) -> String {
    let mut text = String::new();
    for n in 0..n_tasks {
        write!(
            text,
            "[tasks.task{n}]\nrun = \"gcc -c pkg{n}/main.c -o out/{n}.o\"\n\
             inputs = [\"pkg{n}/src/**/*.c\", \"pkg{n}/include/*.h\"]\noutputs = [\"out/{n}.o\"]\n"
        )
        .expect("a string takes everything");
        if n > 1 {
            writeln!(text, "deps = [\"task{}\", \"task{}\"]\n", n - 1, n / 2)
                .expect("a string takes everything");
        }
    }
    text
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn parse_and_lower(bencher: divan::Bencher<'_, '_>, n_tasks: usize) {
    let text = text(n_tasks);
    bencher.bench(|| {
        let loaded = watchfile::parse(&text);
        assert!(loaded.errors.is_empty());
        loaded
    });
}

#[divan::bench(args = [10_000])]
fn toml_alone(bencher: divan::Bencher<'_, '_>, n_tasks: usize) {
    let text = text(n_tasks);
    bencher.bench(|| toml::de::DeTable::parse_recoverable(&text));
}

#[divan::bench(args = [20_000])]
fn globs_alone(bencher: divan::Bencher<'_, '_>, n_globs: usize) {
    let globs: Vec<String> = (0..n_globs).map(|n| format!("pkg{n}/src/**/*.c")).collect();
    bencher.bench(|| {
        let parse = |glob: &String| Pattern::parse(glob, &RelDir::ROOT);
        globs.iter().map(parse).collect::<Vec<_>>()
    });
}
