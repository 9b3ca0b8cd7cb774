//! The `watchrun` program.

fn main() {}
