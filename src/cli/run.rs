//! `watchrun` and `watchrun run`: a session with its reporters and signals.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use signal_hook::consts::SIGINT;
use watchrun::schedule::{ChangeRecord, Mode, RunEvent, StopAll};
use watchrun::session::{Control, Session, SessionOptions, Start, WatchSettings};
use watchrun::state::{Access, Demand, StoreUse};
use watchrun::task_id::TaskName;
use watchrun::watch::{self, WatchManager};
use watchrun::watchfile::{self, Jobs, KeepGoing, Settings};

use super::args::{Args, Common, Run};
use super::diagnostics::Failure;
use super::exit::Exit;
use super::facts::Facts;
use super::inspect;
use super::keys::Keys;
use super::project::Project;
use super::report::{self, Detail, Json, Notices, People, Reporter};
use super::signals::{Interrupt, Signals};
use super::since;

/// `watchrun [TASK...]`.
pub(crate) fn watch(args: &Args, facts: &Facts) -> Result<Exit, Failure> {
    let Project { root, file, plan } = Project::open(&args.common, facts)?;
    let mut options = options(&args.common, facts, plan.settings())?;
    record(&mut options, args);
    if args.postpone {
        options.watch.start = Start::AtFirstChange;
    }
    let reporter = reporter(&args.common, facts, plan.settings())?;
    let session = Session::new(root, Some(file), plan, args.tasks.clone(), options)?;
    drive(session, Mode::Watching, reporter)
}

/// `watchrun run [TASK...]`.
pub(crate) fn once(run: &Run, common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let Project { root, file, plan } = Project::open(common, facts)?;
    let mut options = options(common, facts, plan.settings())?;
    if run.force {
        options.demand = Demand::Always;
    }
    if run.only_say {
        options.access = Access::ReadOnly;
    }
    let changed = match &run.since {
        Some(reference) => since::changed_since(&root, reference, plan.sources())?,
        None => None,
    };
    let reporter = reporter(common, facts, plan.settings())?;
    let mut session = Session::new(root, Some(file), plan, run.tasks.clone(), options)?;
    if let Some(changed) = changed {
        session.limit_to(&changed);
    }
    if run.only_say {
        return inspect::dry_run(&session, common);
    }
    drive(session, Mode::Once, reporter)
}

/// `watchrun stats`.
pub(crate) fn stats(common: &Common, facts: &Facts) -> Result<Exit, Failure> {
    let Project { root, file, plan } = Project::open(common, facts)?;
    let options = options(common, facts, plan.settings())?;
    let session = Session::new(root, Some(file), plan, Vec::new(), options)?;
    let manager = WatchManager::new();
    let handle = manager
        .create_watch(session.root().as_path(), session.watch_options())
        .map_err(|error| Failure::environment(&error, Some(error.advice())))?;
    let report = serde_json::to_value(manager.report()).map_err(io::Error::from)?;
    handle.close();
    let mut out = io::stdout();
    if common.json {
        writeln!(out, "{report}")?;
    } else {
        inspect::print_tree(&mut out, &report, 0)?;
    }
    Ok(Exit::Good)
}

/// `watchrun replay FILE`.
pub(crate) fn replay(file: &Path) -> Result<Exit, Failure> {
    let sets = watch::replay(file).map_err(|error| Failure::environment(&error, None))?;
    let mut out = Json::new(io::stdout());
    let start = Instant::now();
    for set in sets {
        out.event(
            start.elapsed(),
            &RunEvent::ChangeSet(ChangeRecord::new(&set)),
        )?;
    }
    Ok(Exit::Good)
}

/// Runs `session` to its end.
pub(crate) fn drive(session: Session, mode: Mode, people: People) -> Result<Exit, Failure> {
    let People { reporter, notices } = people;
    let keys = match mode {
        Mode::Once => None,
        Mode::Watching => Keys::pass_to(session.control(), notices.clone())?.map(Arc::new),
    };
    let signals = Signals::pass_to(session.control(), keys.clone(), notices)?;
    let unwritten = Rc::new(OnceCell::new());
    let lending = Lending {
        keys,
        lent_to: None,
        interrupt: (mode == Mode::Once).then(|| signals.interrupt()),
    };
    let observe = observer(reporter, session.control(), Rc::clone(&unwritten), lending);
    let ended = match mode {
        Mode::Once => session.run(observe)?,
        Mode::Watching => session.watch(observe)?,
    };
    if let Some(error) = Rc::into_inner(unwritten).and_then(OnceCell::into_inner) {
        return Err(Failure::unwritten(&error));
    }
    Ok(Exit::after(ended, signals.exit()))
}

/// Hands events to `reporter`; when they cannot be written, the session is stopped.
fn observer(
    mut reporter: Box<dyn Reporter>,
    control: Control,
    unwritten: Rc<OnceCell<io::Error>>,
    mut lending: Lending,
) -> Box<dyn FnMut(RunEvent)> {
    let start = Instant::now();
    let mut told = false;
    Box::new(move |event| {
        if lending.is_interrupted_by(&event) {
            control.try_stop(StopAll::Gracefully);
        }
        if unwritten.get().is_none()
            && let Err(error) = reporter.event(start.elapsed(), &event)
        {
            // It holds nothing yet.
            drop(unwritten.set(error));
        }
        if unwritten.get().is_some() && !told {
            told = control.try_stop(StopAll::Gracefully);
        }
    })
}

/// Leaves the terminal alone while a task has it.
struct Lending {
    keys: Option<Arc<Keys>>,
    lent_to: Option<TaskName>,
    /// Who has the terminal also gets its Ctrl-C; in a run that does not watch it is meant for us.
    interrupt: Option<Interrupt>,
}

impl Lending {
    /// Takes notice of `event`. Whether it says that somebody pressed Ctrl-C, and the task that had
    /// the terminal died of it.
    fn is_interrupted_by(&mut self, event: &RunEvent) -> bool {
        match event {
            RunEvent::TaskStarted {
                task,
                interactive: true,
                ..
            } => {
                if let Some(keys) = &self.keys {
                    keys.pause();
                }
                self.lent_to = Some(task.clone());
                false
            }
            RunEvent::TaskFinished(finished) if self.lent_to.as_ref() == Some(&finished.task) => {
                if let Some(keys) = &self.keys {
                    keys.resume();
                }
                self.lent_to = None;
                let interrupt = self.interrupt.as_ref();
                let interrupt = interrupt.filter(|_| finished.signal == Some(SIGINT));
                interrupt.inspect(|interrupt| interrupt.note()).is_some()
            }
            _ => false,
        }
    }
}

/// Flags over settings over defaults.
pub(crate) fn options(
    common: &Common,
    facts: &Facts,
    settings: &Settings,
) -> Result<SessionOptions, Failure> {
    let jobs = match &common.jobs {
        None => settings.jobs,
        Some(text) => Jobs::parse(text).ok_or_else(|| {
            let hint = "a number from 1, or a percentage of the cores such as `75%`".to_owned();
            Failure::usage(format!("`--jobs {text}` is no number of jobs"), Some(hint))
        })?,
    };
    let failures_max = match (common.keep_going, settings.keep_going) {
        (Some(0), _) | (None, KeepGoing::Always) => None,
        (Some(n), _) => Some(n as usize),
        (None, KeepGoing::Never) => Some(1),
        (None, KeepGoing::UntilFailures(n)) => Some(n.get() as usize),
    };
    let debounce = match &common.debounce {
        None => None,
        Some(text) => Some(watchfile::parse_duration(text).ok_or_else(|| {
            let hint = "a number with a unit, such as `50ms`".to_owned();
            Failure::usage(format!("`--debounce {text}` is no duration"), Some(hint))
        })?),
    };
    let events_to = common.events_to.iter().filter_map(|path| place_of(path));
    Ok(SessionOptions {
        jobs: jobs.resolve(facts.cores),
        failures_max,
        demand: Demand::IfStale,
        store: if common.no_cache {
            StoreUse::Off
        } else {
            StoreUse::On
        },
        access: Access::ReadWrite,
        environment: facts.environment.clone(),
        exec: Facts::exec(),
        spill_dir: facts.temp_dir.clone(),
        global_excludes: Facts::global_excludes(),
        own_files: events_to.chain(Facts::redirected()).collect(),
        watch: WatchSettings {
            debounce,
            start: Start::AtOnce,
            record: None,
        },
    })
}

/// Notes where to record what the watch sees.
pub(crate) fn record(options: &mut SessionOptions, args: &Args) {
    let own = args.record.iter().filter_map(|path| place_of(path));
    options.own_files.extend(own);
    options.watch.record.clone_from(&args.record);
}

/// The absolute path without links of a file that is there or about to be made.
fn place_of(path: &Path) -> Option<PathBuf> {
    let there = path.canonicalize().ok();
    there.or_else(|| {
        let parent = Path::new(".").join(path.parent()?);
        Some(parent.canonicalize().ok()?.join(path.file_name()?))
    })
}

/// What the events of a run are shown with, to people and programs.
pub(crate) fn reporter(
    common: &Common,
    facts: &Facts,
    settings: &Settings,
) -> Result<People, Failure> {
    let mut all: Vec<Box<dyn Reporter>> = Vec::new();
    if let Some(path) = &common.events_to {
        let file = File::create(path).map_err(|error| {
            let message = format!("cannot write events to `{}`", path.display());
            Failure::environment_at(message, &error, "`--events-to` names a file to write")
        })?;
        all.push(Box::new(Json::new(file)));
    }
    let notices = if common.json {
        all.push(Box::new(Json::new(io::stdout())));
        Notices::Lines
    } else {
        let detail = match (common.quiet, common.verbose) {
            (true, _) => Detail::Quiet,
            (false, 0) => Detail::Normal,
            (false, _) => Detail::Verbose,
        };
        let mode = report::output_mode(common.output, settings.output, facts);
        let people = report::for_people(mode, detail, common, settings.notify, facts);
        all.push(people.reporter);
        people.notices
    };
    Ok(People {
        reporter: Box::new(report::All(all)),
        notices,
    })
}
