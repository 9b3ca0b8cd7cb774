//! Watching: the session's loop with a watch that feeds it, [`Session::watch`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::files::{STATE_DIR, told};
use super::inbox::Input;
use super::live::{LiveFiles, SYNC_MAX};
use super::options::Start;
use super::{DISK, Ended, Session, SessionError, Standing};
use crate::change::{Change, ChangeSet};
use crate::path::RelPath;
use crate::plan::{Plan, Selection};
use crate::schedule::{ChangeRecord, Driver, FileView, Mode, RunEvent, Warning};
use crate::watch::{self, Filter, WatchManager, WatchOptions, WatchUpdate};
use crate::watchfile::{self, Backend, Gitignore};

impl Session {
    /// Runs what is stale, then what changes make stale, until it is told to stop. Blocks.
    ///
    /// # Errors
    /// When the work cannot begin: [`SessionError`].
    pub fn watch(mut self, mut observe: Box<dyn FnMut(RunEvent)>) -> Result<Ended, SessionError> {
        let failed = |source| SessionError::Watch {
            root: self.root.clone(),
            source,
        };
        let manager = WatchManager::new();
        let handle = manager
            .create_watch(self.root.as_path(), self.watch_options())
            .map_err(failed)?;
        let status = handle.status();
        let live = Arc::new(LiveFiles::new(handle));
        self.listen(&live);
        observe(RunEvent::Ready {
            watched_dirs: status.watched_dirs,
            polled_dirs: status.polled_dirs,
            files: status.files,
        });
        let files = Arc::clone(&live) as Arc<dyn FileView>;
        let observe = Rc::new(RefCell::new(observe));
        let to_driver = Rc::clone(&observe);
        let to_driver = Box::new(move |event| (to_driver.borrow_mut())(event));
        let mut driver = self.driver(files, Mode::Watching, to_driver)?;
        match self.options.watch.start {
            Start::AtOnce => driver.open(&self.selection),
            Start::AtFirstChange => {}
        }
        let mut tell = move |event| (observe.borrow_mut())(event);
        let ended = self.attend(&live, &mut driver, &mut tell);
        live.handle.close();
        driver.close();
        Ok(ended)
    }

    /// The loop.
    fn attend(
        &mut self,
        live: &LiveFiles,
        driver: &mut Driver,
        tell: &mut dyn FnMut(RunEvent),
    ) -> Ended {
        let mut idle = Idle::Owed;
        let mut stopping = false;
        let mut prepared = false;
        loop {
            if driver.is_settled() {
                if stopping {
                    return Ended::Stopped;
                }
                if idle == Idle::Owed {
                    // What was written before this moment is heard of before the word is given.
                    drop(live.handle.sync(SYNC_MAX));
                    idle = Idle::Checked;
                }
            }
            let input = match (idle, self.inbox.try_next()) {
                (_, Some(input)) => input,
                (Idle::Checked, None) if driver.is_settled() => {
                    idle = Idle::Told;
                    tell(RunEvent::Idle);
                    if !std::mem::replace(&mut prepared, true) {
                        driver.prepare();
                    }
                    continue;
                }
                (_, None) => {
                    if let Some(input) = self.inbox.next(driver.deadline()) {
                        input
                    } else {
                        driver.tick(Instant::now());
                        continue;
                    }
                }
            };
            let is_quiet = match &input {
                Input::Warned(_) | Input::Signal(..) => true,
                Input::Report(report) => report.is_chatter(),
                _ => false,
            };
            if !is_quiet {
                idle = Idle::Owed;
            }
            match input {
                Input::Report(report) => driver.handle(report),
                Input::Changed(_) | Input::RetryFailed if stopping => {}
                Input::Changed(set) => self.changed(&set, live, driver, tell),
                Input::Warned(warning) => tell(RunEvent::Warning(warning)),
                Input::RetryFailed => {
                    if !driver.retry_failed() {
                        let message = "nothing to run again: no task has failed".to_owned();
                        tell(RunEvent::Notice { message });
                    }
                }
                Input::Signal(signal, done) => {
                    driver.signal(signal);
                    // Who asked may have gone on.
                    let _gone = done.try_send(());
                }
                Input::Stop(how) => {
                    stopping = true;
                    driver.stop(how);
                }
            }
        }
    }

    fn changed(
        &mut self,
        set: &ChangeSet,
        live: &LiveFiles,
        driver: &mut Driver,
        tell: &mut dyn FnMut(RunEvent),
    ) {
        let record = ChangeRecord::new(set);
        if record.changes.is_empty() {
            return;
        }
        tell(RunEvent::ChangeSet(record));
        let sources = self.plan.sources();
        if let Some(file) = self.file.clone()
            && sources.concern(set.changes.iter().flat_map(Change::paths))
        {
            self.replan(&file, live, driver, tell);
        }
        let affected = self.plan.affected(&self.selection, &set.changes);
        if affected.from_outside {
            driver.comes_from_outside();
        }
        if !affected.tasks.is_empty() {
            driver.change(&affected.tasks);
        }
    }

    /// Reads the watchfile again; a broken one changes nothing.
    fn replan(
        &mut self,
        file: &RelPath,
        live: &LiveFiles,
        driver: &mut Driver,
        tell: &mut dyn FnMut(RunEvent),
    ) {
        let warning = |message: String, hint: String| {
            RunEvent::Warning(Warning {
                kind: "watchfile",
                message,
                hint: Some(hint),
            })
        };
        let (plan, selection) = match self.load_again(file) {
            Ok(loaded) => loaded,
            Err(message) => {
                self.standing = Standing::Broken;
                let keep = "the watchfile as it was before stays in force";
                return tell(warning(message, keep.to_owned()));
            }
        };
        if std::mem::replace(&mut self.standing, Standing::Good) == Standing::Broken {
            let message = format!("`{file}` is good again, and in force");
            tell(RunEvent::Notice { message });
        }
        let settings = plan.settings();
        let mut edited = settings.differing_at_start(self.plan.settings());
        let differing = settings.differing_at_start(&self.settings);
        edited.retain(|key| differing.contains(key));
        if !edited.is_empty() {
            tell(RunEvent::Warning(at_the_start_alone(&edited)));
        }
        self.plan = Arc::new(plan);
        self.selection = selection;
        let options = self.watch_options();
        let update = WatchUpdate {
            select: Some(options.select),
            debounce: Some(options.debounce),
            debounce_max: Some(options.debounce_max),
        };
        if let Err(error) = live.handle.update(update) {
            tell(warning(error.to_string(), error.advice()));
        }
        live.forget();
        driver.replan(Arc::clone(&self.plan), &self.selection);
    }

    /// The plan that the watchfile makes now, and what was asked for in it; else what is wrong.
    fn load_again(&self, file: &RelPath) -> Result<(Plan, Selection), String> {
        let loaded = watchfile::load(&DISK, &self.root, file).map_err(|error| error.to_string())?;
        let plan = Plan::new(loaded).map_err(|rejected| {
            let report = rejected.errors.render(&rejected.sources, false);
            report.trim_end().to_owned()
        })?;
        let selection = plan
            .select(self.names.iter().map(String::as_str))
            .map_err(|unknown| unknown.to_string())?;
        Ok((plan, selection))
    }

    /// Puts what the watch says into the inbox.
    fn listen(&self, live: &Arc<LiveFiles>) {
        let (weak, tx) = (Arc::downgrade(live), self.inbox.sender());
        live.handle.on(Filter::everything(), move |set| {
            if let Some(live) = weak.upgrade() {
                live.note(set);
            }
            Ok(tx.send(Input::Changed(Arc::clone(set)))?)
        });
        let tx = self.inbox.sender();
        live.handle
            .on_warning(move |warning| Ok(tx.send(Input::Warned(told(warning)))?));
    }

    /// How the root is watched for this session.
    pub fn watch_options(&self) -> WatchOptions {
        let settings = self.plan.settings();
        let debounce = self.options.watch.debounce.unwrap_or(settings.debounce);
        WatchOptions {
            debounce,
            debounce_max: settings.debounce_max.max(debounce),
            gitignore: settings.gitignore == Gitignore::Followed,
            global_excludes: self.options.global_excludes.clone(),
            excluded_names: vec![STATE_DIR.to_owned()],
            select: Some(self.interest()),
            backend: match settings.backend {
                Backend::Auto => watch::Backend::Auto,
                Backend::Native => watch::Backend::Native,
                Backend::Poll => watch::Backend::Poll,
            },
            poll_interval: settings.poll_interval,
            record: self.options.watch.record.clone(),
            ..WatchOptions::new()
        }
    }
}

/// Some settings were edited that this session cannot follow.
fn at_the_start_alone(keys: &[&str]) -> Warning {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    Warning {
        kind: "settings",
        message: format!(
            "an edit of {} counts from the next start on",
            keys.join(", ")
        ),
        hint: Some("stop watchrun and start it again".to_owned()),
    }
}

/// Whether `idle` has been said since something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// Something has happened.
    Owed,
    /// Nothing is left to do, and the watch is in step; the inbox may hold what it found.
    Checked,
    /// It has been said.
    Told,
}
