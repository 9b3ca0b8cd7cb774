//! A watch inside another program: handlers by pattern and kind, warnings, metrics on an interval.
//!
//! `cargo run --example embed -- DIR [SECONDS]`

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use watchrun::change::ChangeSet;
use watchrun::path::RelDir;
use watchrun::pattern::{Pattern, PatternSet};
use watchrun::watch::{Filter, Kinds, Warning, WatchManager, WatchOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| ".".to_owned());
    let seconds: u64 = args.next().map_or(Ok(3600), |text| text.parse())?;

    let mut options = WatchOptions::new();
    options.debounce = Duration::from_millis(50);
    options.excluded_names = vec!["node_modules".to_owned()];
    let manager = WatchManager::new();
    let watch = manager.create_watch(Path::new(&dir), options)?;

    let sources = Pattern::parse("**/*.{rs,c,h,ts}", &RelDir::ROOT)?;
    let filter = Filter {
        patterns: Some(PatternSet::new(vec![sources])),
        kinds: Kinds::CREATED.or(Kinds::MODIFIED),
        priority: 10,
    };
    watch.on(filter, |set| {
        on_sources(set);
        Ok(())
    });
    watch.on(Filter::everything(), |set| {
        say(&format!(
            "{} changes in all, complete: {}",
            set.changes.len(),
            set.complete
        ));
        Ok(())
    });
    watch.on_warning(|warning| {
        on_warning(warning);
        Ok(())
    });

    let log = manager.log_every(Duration::from_secs(10), |report| {
        for report in report.watches {
            let text = serde_json::to_string(&report);
            say(&text.unwrap_or_else(|error| error.to_string()));
        }
    });
    std::thread::sleep(Duration::from_secs(seconds));
    drop(log);
    watch.close();
    Ok(())
}

fn on_sources(set: &ChangeSet) {
    for change in &set.changes {
        say(&format!("source {:?}: {}", change.kind, change.path));
    }
}

fn on_warning(warning: &Warning) {
    say(&format!("warning: {warning}"));
    if let Some(hint) = warning.hint() {
        say(&format!("hint: {hint}"));
    }
}

#[expect(clippy::print_stdout, reason = "an example talks to the user")]
fn say(text: &str) {
    println!("{text}");
}
