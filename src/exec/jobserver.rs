//! Job tokens shared with commands that speak GNU make's protocol: [`Jobserver`].
//!
//! There are as many tokens as jobs, as bytes in a pipe. A running command stands for one, which
//! its starter takes ([`Jobserver::acquire`]); a make, cargo or ninja in it takes further ones to
//! run more than one job itself. Inside another jobserver this process is a client: it holds one
//! token from the start, which is not in the pipe.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::exec::Cancel;
use crate::exec::cancel::Waker;
use crate::exec::own_jobs::without_own_jobs;

/// How commands reach the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobserverStyle {
    /// Through a named pipe. GNU make from 4.4 on, ninja from 1.13 on, cargo, gcc.
    Fifo,
    /// Through two inherited descriptors. Any GNU make, cargo, gcc; not ninja.
    Pipe,
}

impl JobserverStyle {
    /// The style to use where the installed GNU make says `version` (the output of
    /// `make --version`), `None` without one: older ones than 4.4 do not start beside a fifo.
    #[must_use]
    pub fn for_make(version: Option<&str>) -> Self {
        let Some(number) = version.and_then(|text| text.strip_prefix("GNU Make ")) else {
            return Self::Fifo;
        };
        let mut parts = number.split(|char: char| !char.is_ascii_digit());
        let mut next = || {
            parts
                .next()
                .and_then(|part| part.parse::<u32>().ok())
                .unwrap_or(0)
        };
        if (next(), next()) >= (4, 4) {
            Self::Fifo
        } else {
            Self::Pipe
        }
    }
}

/// Why there is no jobserver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobserverError {
    /// The pipe could not be made.
    #[error("cannot create a pipe for job tokens in `{}`", dir.display())]
    Create {
        /// Where a named one was to be.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is one around this process that is not open to it.
    #[error("cannot use the jobserver `{auth}` that `MAKEFLAGS` tells of")]
    Inherited {
        /// What `MAKEFLAGS` says of it.
        auth: String,
        /// What is wrong with that.
        source: io::Error,
    },
}

/// The programs that speak through a pair of descriptors and have a `-j`.
const PIPE_CLIENTS: &[&str] = &["make", "gmake"];

/// Those that speak through a named pipe.
const FIFO_CLIENTS: &[&str] = &["make", "gmake", "ninja", "ninja-build"];

/// Numbers the named pipes of this process.
static FIFOS: AtomicU64 = AtomicU64::new(0);

/// A pool of job tokens.
#[derive(Debug)]
pub struct Jobserver {
    /// Our own reading end, which never blocks.
    tokens: OwnedFd,
    /// The writing end; for [`JobserverStyle::Pipe`] also what the commands inherit.
    give: OwnedFd,
    /// The end that commands read from, where they inherit it.
    _take: Option<OwnedFd>,
    /// Readable while the token that a client has from the start is not in use.
    implicit: OwnedFd,
    kind: Kind,
    // Guards the number of tokens in our own hands against the count of those in the pipe. Leaf
    // lock, held for one system call that does not block.
    held: Mutex<usize>,
}

#[derive(Debug)]
enum Kind {
    Server {
        jobs: usize,
        auth: String,
        fifo: Option<PathBuf>,
    },
    Client {
        is_fifo: bool,
    },
}

impl Jobserver {
    /// A pool of `jobs` tokens (at least one). A named pipe is made in `dir` and removed with it.
    ///
    /// For [`JobserverStyle::Pipe`] every process that is started from here on inherits two
    /// descriptors.
    ///
    /// # Errors
    /// [`JobserverError::Create`].
    pub fn new(style: JobserverStyle, jobs: usize, dir: &Path) -> Result<Self, JobserverError> {
        let create = |source| JobserverError::Create {
            dir: dir.to_owned(),
            source,
        };
        let server = match style {
            JobserverStyle::Fifo => Self::with_fifo(jobs.max(1), dir),
            JobserverStyle::Pipe => Self::with_pipe(jobs.max(1)),
        };
        let server = server.map_err(create)?;
        server.balance(&server.lock(), jobs.max(1));
        Ok(server)
    }

    /// The pool that an inherited `MAKEFLAGS` names; `None` when it names none.
    ///
    /// # Errors
    /// [`JobserverError::Inherited`].
    pub fn inherited(makeflags: &str) -> Result<Option<Self>, JobserverError> {
        let Some((option, auth)) = auth_in(makeflags) else {
            return Ok(None);
        };
        Self::join(auth)
            .map(Some)
            .map_err(|source| JobserverError::Inherited {
                auth: format!("{option}{auth}"),
                source,
            })
    }

    /// The variables that tell a command of it, after an inherited `MAKEFLAGS`. None where it is
    /// inherited itself: then the command inherits it too.
    #[must_use]
    pub fn env(&self, makeflags: &str) -> Vec<(OsString, OsString)> {
        let Kind::Server { jobs, auth, .. } = &self.kind else {
            return Vec::new();
        };
        let flags = format!("{makeflags} -j{jobs} {auth}");
        vec![
            ("MAKEFLAGS".into(), flags.clone().into()),
            ("CARGO_MAKEFLAGS".into(), flags.into()),
        ]
    }

    /// The words of a command without a number of jobs of its own, where its program would leave
    /// the jobserver for that.
    #[must_use]
    pub fn without_own_jobs(&self, words: &[OsString]) -> Vec<OsString> {
        let is_fifo = match &self.kind {
            Kind::Server { fifo, .. } => fifo.is_some(),
            Kind::Client { is_fifo } => *is_fifo,
        };
        // What ninja is told counts where it cannot take part.
        without_own_jobs(words, if is_fifo { FIFO_CLIENTS } else { PIPE_CLIENTS })
    }

    /// Takes a token. Blocks until there is one; `None` when `cancel` is set first.
    pub fn acquire(self: &Arc<Self>, cancel: &Cancel) -> Option<Token> {
        if let Some(token) = self.try_acquire() {
            return Some(token);
        }
        let waker = Arc::new(Waker::new().ok()?);
        if !cancel.attach(&waker) {
            return None;
        }
        let token = loop {
            if cancel.is_cancelled() {
                break None;
            }
            let fds = [self.tokens.as_fd(), self.implicit.as_fd(), waker.as_fd()];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            let _interrupted = poll(&mut fds, None);
            if let Some(token) = self.try_acquire() {
                break Some(token);
            }
        };
        cancel.detach(&waker);
        token
    }

    /// Takes a token if there is one.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Token> {
        let mut held = self.lock();
        let byte = match rustix::io::read(&self.implicit, &mut [0; 8]) {
            Ok(_) => None,
            Err(_) => Some(take_byte(&self.tokens)?),
        };
        *held += 1;
        Some(Token {
            server: Arc::clone(self),
            byte,
        })
    }

    /// A client of the pool that `auth` names.
    fn join(auth: &str) -> io::Result<Self> {
        let fifo = auth.strip_prefix("fifo:").map(str::to_owned);
        let is_fifo = fifo.is_some();
        let (take, give) = match fifo {
            Some(path) if is_pipe(&path) => (path.clone(), path),
            Some(path) => return Err(no_pipe(&path)),
            None => {
                let [take, give] = descriptors_in(auth).ok_or(Errno::BADF)?.map(path_of);
                (take, give)
            }
        };
        Ok(Self {
            tokens: open_end(&take, OFlags::RDONLY)?,
            give: open_end(&give, OFlags::WRONLY)?,
            _take: None,
            implicit: eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            kind: Kind::Client { is_fifo },
            held: Mutex::new(0),
        })
    }

    fn with_fifo(jobs: usize, dir: &Path) -> io::Result<Self> {
        let number = FIFOS.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("jobs-{}-{number}", rustix::process::getpid()));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Opened for both, so that it never lacks a reader or a writer.
        let tokens = open_end(&path, OFlags::RDWR)?;
        let auth = format!("--jobserver-auth=fifo:{}", path.display());
        Ok(Self {
            give: tokens.try_clone()?,
            tokens,
            _take: None,
            implicit: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            kind: Kind::Server {
                jobs,
                auth,
                fifo: Some(path),
            },
            held: Mutex::new(0),
        })
    }

    fn with_pipe(jobs: usize) -> io::Result<Self> {
        // Not closed on exec: the commands are to inherit them. What never blocks is our own view
        // of the pipe, not the end that they share.
        let (take, give) = pipe_with(PipeFlags::empty())?;
        let (take_fd, give_fd) = (take.as_raw_fd(), give.as_raw_fd());
        let tokens = open_end(format!("/proc/self/fd/{take_fd}"), OFlags::RDONLY)?;
        let fds = format!("{take_fd},{give_fd}");
        Ok(Self {
            tokens,
            give,
            _take: Some(take),
            implicit: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            kind: Kind::Server {
                jobs,
                auth: format!("--jobserver-fds={fds} --jobserver-auth={fds}"),
                fifo: None,
            },
            held: Mutex::new(0),
        })
    }

    /// Gives a token back. When it was the last in use, those that killed commands took with them
    /// are replaced: nobody is left who could still hold one.
    fn release(&self, byte: Option<u8>) {
        let mut held = self.lock();
        match byte {
            Some(byte) => give_byte(&self.give, byte),
            None => {
                let _full = rustix::io::write(&self.implicit, &1_u64.to_ne_bytes());
            }
        }
        *held -= 1;
        if let (0, Kind::Server { jobs, .. }) = (*held, &self.kind) {
            self.balance(&held, *jobs);
        }
    }

    /// Makes the pipe hold `jobs` tokens.
    fn balance(&self, _held: &MutexGuard<'_, usize>, jobs: usize) {
        let Ok(count) = rustix::io::ioctl_fionread(&self.tokens) else {
            return;
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        (count..jobs).for_each(|_| give_byte(&self.give, b'+'));
        for _ in jobs..count {
            take_byte(&self.tokens);
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Jobserver {
    fn drop(&mut self) {
        if let Kind::Server {
            fifo: Some(path), ..
        } = &self.kind
        {
            let _gone = fs::remove_file(path);
        }
    }
}

/// The right to run one job; given back when dropped.
#[derive(Debug)]
pub struct Token {
    server: Arc<Jobserver>,
    /// What was read from the pipe, to be put back as it was; `None` for a client's own token.
    byte: Option<u8>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.server.release(self.byte);
    }
}

/// The two descriptors that an inherited `MAKEFLAGS` names for job tokens; `None` when it names
/// none, or what is there is no pipe: make tells every command of them and opens them only for
/// those that are makes too.
#[must_use]
pub fn inherited_descriptors(makeflags: &str) -> Option<[i32; 2]> {
    descriptors_in(auth_in(makeflags)?.1)
}

fn descriptors_in(auth: &str) -> Option<[i32; 2]> {
    let (take, give) = auth.split_once(',')?;
    let fds: [i32; 2] = [take.parse().ok()?, give.parse().ok()?];
    fds.map(path_of).iter().all(is_pipe).then_some(fds)
}

/// The option that names the jobserver, and what it says. Of several, the last counts.
fn auth_in(makeflags: &str) -> Option<(&'static str, &str)> {
    makeflags.split_ascii_whitespace().rev().find_map(|word| {
        ["--jobserver-auth=", "--jobserver-fds="]
            .into_iter()
            .find_map(|option| Some((option, word.strip_prefix(option)?)))
    })
}

/// What is wrong with `path`, at which there is no named pipe.
fn no_pipe(path: &str) -> io::Error {
    match fs::metadata(path) {
        Ok(_) => io::Error::new(io::ErrorKind::InvalidInput, "it is no named pipe"),
        Err(error) => error,
    }
}

fn path_of(fd: i32) -> String {
    format!("/proc/self/fd/{fd}")
}

fn is_pipe(path: &String) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

fn open_end(path: impl AsRef<Path>, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path.as_ref(), flags, Mode::empty())?)
}

fn take_byte(from: &OwnedFd) -> Option<u8> {
    let mut byte = [0];
    loop {
        match rustix::io::read(from, &mut byte) {
            Ok(1..) => return Some(byte[0]),
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

fn give_byte(to: &OwnedFd, byte: u8) {
    while rustix::io::write(to, &[byte]) == Err(Errno::INTR) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(style: JobserverStyle, jobs: usize, dir: &Path) -> Arc<Jobserver> {
        Arc::new(Jobserver::new(style, jobs, dir).unwrap())
    }

    /// The auth part that children see, as an inherited `MAKEFLAGS`.
    fn flags(server: &Jobserver) -> String {
        server.env("")[0].1.clone().into_string().unwrap()
    }

    fn client(server: &Jobserver) -> Arc<Jobserver> {
        Arc::new(Jobserver::inherited(&flags(server)).unwrap().unwrap())
    }

    #[test]
    fn there_are_as_many_tokens_as_jobs() {
        let dir = tempfile::tempdir().unwrap();
        for style in [JobserverStyle::Fifo, JobserverStyle::Pipe] {
            let server = server(style, 2, dir.path());
            let first = server.try_acquire().unwrap();
            let _second = server.try_acquire().unwrap();
            assert!(server.try_acquire().is_none());
            drop(first);
            assert!(server.acquire(&Cancel::new()).is_some());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_cancel_ends_the_wait_for_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(JobserverStyle::Fifo, 1, dir.path());
        let _token = server.try_acquire().unwrap();
        let (cancel, other) = (Cancel::new(), Arc::clone(&server));
        let own = cancel.clone();
        let thread = std::thread::spawn(move || other.acquire(&own).is_none());
        cancel.cancel();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn lost_tokens_are_back_when_nothing_runs() {
        let dir = tempfile::tempdir().unwrap();
        for style in [JobserverStyle::Fifo, JobserverStyle::Pipe] {
            let server = server(style, 3, dir.path());
            for _ in 0..20 {
                let running = server.try_acquire().unwrap();
                let killed = client(&server);
                let own = killed.try_acquire().unwrap();
                let taken = killed.try_acquire().unwrap();
                std::mem::forget(taken);
                drop((running, own));
            }
            let tokens: Vec<Token> = std::iter::from_fn(|| server.try_acquire()).collect();
            assert_eq!(tokens.len(), 3);
        }
    }

    #[test]
    fn a_client_has_one_token_of_its_own_and_shares_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(JobserverStyle::Fifo, 3, dir.path());
        let running = server.try_acquire().unwrap();
        let client = client(&server);
        assert_eq!(client.env(""), []);
        let tokens: Vec<Token> = std::iter::from_fn(|| client.try_acquire()).collect();
        assert_eq!(tokens.len(), 3);
        assert!(server.try_acquire().is_none());
        drop(tokens);
        assert!(client.acquire(&Cancel::new()).is_some());
        drop(running);
    }

    #[test]
    fn makeflags_that_name_no_open_pipe_are_an_error_and_others_are_not() {
        for auth in [
            "--jobserver-auth=",
            "--jobserver-auth=900,901",
            "--jobserver-fds=-2,-2",
            "--jobserver-auth=x,y",
            "--jobserver-auth=garbage",
            "--jobserver-auth=fifo:/nowhere",
            "--jobserver-auth=fifo:/etc",
            "--jobserver-auth=fifo:",
        ] {
            let error = Jobserver::inherited(&format!("-j4 {auth}")).unwrap_err();
            assert!(error.to_string().contains(auth), "{error}");
        }
        for flags in ["", "-j4", "w -- X=--jobserver-auth=1,2"] {
            assert!(Jobserver::inherited(flags).unwrap().is_none(), "{flags}");
        }
    }

    #[test]
    fn the_style_follows_the_make_that_is_there() {
        let style = |version: &str| JobserverStyle::for_make(Some(version));
        assert_eq!(JobserverStyle::for_make(None), JobserverStyle::Fifo);
        assert_eq!(
            style("GNU Make 4.3\nBuilt for x86_64"),
            JobserverStyle::Pipe
        );
        assert_eq!(style("GNU Make 3.81"), JobserverStyle::Pipe);
        assert_eq!(style("GNU Make 4.4.1\n"), JobserverStyle::Fifo);
        assert_eq!(style("GNU Make 10.0"), JobserverStyle::Fifo);
        assert_eq!(style("bmake"), JobserverStyle::Fifo);
    }
}
