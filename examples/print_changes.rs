//! Prints what changes below a directory: `cargo run --example print_changes -- DIR`.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use watchrun::watch::{WatchManager, WatchOptions};

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let watch = WatchManager::new().create_watch(Path::new(&dir), WatchOptions::new())?;
    println!("watching {} files", watch.status().files);
    loop {
        let Some(set) = watch.next(Duration::from_secs(3600))? else {
            continue;
        };
        for change in &set.changes {
            println!("{} {:?} {}", set.id, change.kind, change.path);
        }
    }
}
