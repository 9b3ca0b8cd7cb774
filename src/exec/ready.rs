//! When a service is ready: [`ReadyRule`], [`ReadyProbe`]. The only file that names ureq and
//! regex-lite.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use regex_lite::Regex;
use rustix::net::sockopt;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::exec::{Cancel, Command, Ended, Executor};

/// How long after a failed try the next follows.
const TRY_INTERVAL: Duration = Duration::from_millis(20);

/// A connection takes at most this, and so does the first try to get an answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);

/// So many times as long as a try that was cut may the next one take.
const TRY_GROWTH: u32 = 4;

/// How often a wait for an answer looks whether it is over.
const OVER_INTERVAL: Duration = Duration::from_millis(50);

/// How often a line that has no end is looked at.
const LINE_INTERVAL: Duration = Duration::from_millis(50);

/// This much of an answer's body is read, so that the server is done with it.
const BODY_BYTES_MAX: u64 = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_millis(250);

/// How to find out that a service is ready.
#[derive(Clone, Debug)]
pub enum ReadyProbe {
    /// It is when it has started.
    Spawned,
    /// It is when it accepts a connection at this `host:port`.
    Tcp(String),
    /// It is when it answers this `http:` address with a status below 400.
    Http(String),
    /// It is when a line of its output matches this regular expression, or what it has written of
    /// a line it does not end, a prompt.
    Log(String),
    /// It is when this command succeeds.
    Exec(Command),
}

/// A [`ReadyProbe`] that was checked, and how long it may take.
#[derive(Clone, Debug)]
pub struct ReadyRule {
    probe: Probe,
    timeout: Duration,
}

#[derive(Clone, Debug)]
enum Probe {
    Spawned,
    Tcp(String),
    Http(String),
    Log(Regex),
    Exec(Command),
}

impl ReadyRule {
    /// Checks `probe`; a service that is not ready `timeout` after its start has failed.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn new(probe: ReadyProbe, timeout: Duration) -> Result<Self, String> {
        let probe = match probe {
            ReadyProbe::Spawned => Probe::Spawned,
            ReadyProbe::Tcp(addr) => Probe::Tcp(addr),
            ReadyProbe::Http(url) => Probe::Http(url),
            ReadyProbe::Log(regex) => {
                Probe::Log(Regex::new(&regex).map_err(|error| error.to_string())?)
            }
            ReadyProbe::Exec(command) => Probe::Exec(command),
        };
        Ok(Self { probe, timeout })
    }

    /// Whether a start alone makes it ready.
    pub(super) fn is_at_once(&self) -> bool {
        matches!(self.probe, Probe::Spawned)
    }

    /// Whether this line of output makes it ready.
    pub(super) fn matches(&self, line: &str) -> bool {
        matches!(&self.probe, Probe::Log(regex) if regex.is_match(line))
    }

    /// Tries until it is ready. Blocks; `false` when the time is up, or `over` was set: it ended,
    /// or its output has said that it is ready. `unfinished` is the line that it is writing.
    pub(super) fn wait(
        &self,
        executor: &dyn Executor,
        over: &Cancel,
        unfinished: &dyn Fn() -> String,
    ) -> bool {
        let end = Instant::now() + self.timeout;
        let (mut limit, mut prompt) = (TRY_TIMEOUT, Prompt::default());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || over.is_cancelled() {
                return false;
            }
            let mut interval = TRY_INTERVAL;
            let is_ready = match &self.probe {
                Probe::Spawned => true,
                Probe::Tcp(addr) => accepts(addr, left.min(TRY_TIMEOUT)),
                Probe::Http(url) => match ask(url, left.min(limit), over) {
                    Answer::Status(status) => status.as_u16() < 400,
                    Answer::None => false,
                    // A first answer that never comes must not use up all the time, and a server
                    // that is slow must be heard.
                    Answer::Late => {
                        limit = limit.saturating_mul(TRY_GROWTH);
                        false
                    }
                },
                Probe::Exec(command) => {
                    let command = Command {
                        timeout: Some(left),
                        ..command.clone()
                    };
                    let ended = executor.run(&command, over, &mut |_| {});
                    matches!(ended, Ended::Exited(status) if status.is_success())
                }
                Probe::Log(regex) => {
                    interval = LINE_INTERVAL;
                    prompt.is_there(regex, unfinished())
                }
            };
            if is_ready {
                return true;
            }
            over.wait(interval.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

/// Tells a line that is left without an end from one that is just being written.
#[derive(Default)]
struct Prompt {
    line: String,
    is_match: bool,
}

impl Prompt {
    /// Whether `line` matches, and what was there at the look before did too.
    fn is_there(&mut self, regex: &Regex, line: String) -> bool {
        let was_match = self.is_match;
        if line != self.line {
            self.is_match = !line.is_empty() && regex.is_match(&line);
            self.line = line;
        }
        was_match && self.is_match
    }
}

fn accepts(addr: &str, timeout: Duration) -> bool {
    let Ok(mut addrs) = addr.to_socket_addrs() else {
        return false;
    };
    addrs.any(|addr| TcpStream::connect_timeout(&addr, timeout).is_ok())
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Status(StatusCode),
    /// Nobody is there, or it is no answer.
    None,
    /// It was not there in time.
    Late,
}

fn ask(url: &str, timeout: Duration, over: &Cancel) -> Answer {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_recv_body(Some(BODY_TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build();
    let connector = Resetting { over: over.clone() };
    let agent = Agent::with_parts(config, connector, DefaultResolver::default());
    // A server that was asked to close reads no further, so it does not notice the reset.
    match agent.get(url).header("connection", "close").call() {
        Ok(mut answer) => {
            let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX);
            // The status counts, whatever becomes of the body.
            let _cut = io::copy(&mut body.reader(), &mut io::sink());
            Answer::Status(answer.status())
        }
        Err(ureq::Error::Timeout(_)) => Answer::Late,
        Err(_) => Answer::None,
    }
}

/// Makes connections that end with a reset and whose reads end when the wait is over.
///
/// A server that closes first keeps its port in `TIME_WAIT`, and unless it sets `SO_REUSEADDR` it
/// cannot be started again for a minute. The reset spares it that.
#[derive(Debug)]
struct Resetting {
    over: Cancel,
}

impl Connector for Resetting {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        if details.needs_tls() {
            return Ok(None);
        }
        let start = Instant::now();
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (tried, addr) in (0..).zip(&details.addrs) {
            let to_try = u32::try_from(details.addrs.len()).unwrap_or(u32::MAX) - tried;
            let share = details.timeout.after.saturating_sub(start.elapsed()) / to_try;
            match TcpStream::connect_timeout(addr, share.clamp(TRY_INTERVAL, TRY_TIMEOUT)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
                        .map_err(io::Error::from)?;
                    let config = details.config;
                    let (input, output) = (config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(Connection {
                        stream,
                        buffers: LazyBuffers::new(input, output),
                        over: self.over.clone(),
                    }));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure.into())
    }
}

struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
    over: Cancel,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let left = (*timeout.after).max(TRY_INTERVAL);
        self.stream.set_write_timeout(Some(left))?;
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let start = Instant::now();
        loop {
            let left = timeout.after.saturating_sub(start.elapsed());
            if left.is_zero() || self.over.is_cancelled() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            self.stream
                .set_read_timeout(Some(left.min(OVER_INTERVAL)))?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        false // It is asked for one answer.
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn listen() -> (TcpListener, SocketAddr, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr, format!("http://{addr}/"))
    }

    #[test]
    fn a_server_that_closes_first_can_bind_its_port_again() {
        for (head, status) in [("HTTP/1.0 200 OK", 200), ("HTTP/1.1 503 Busy", 503)] {
            let (listener, addr, url) = listen();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                write!(stream, "{head}\r\n\r\nbody").unwrap();
            });
            let Answer::Status(found) = ask(&url, PATIENCE, &Cancel::new()) else {
                panic!("no answer to {head}");
            };
            assert_eq!(found.as_u16(), status);
            server.join().unwrap();
            // The standard library would set `SO_REUSEADDR`.
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
            let bound = rustix::net::bind(socket.unwrap(), &addr);
            assert_eq!(bound, Ok(()), "{head}");
        }
    }

    #[test]
    fn a_wait_for_an_answer_ends_when_it_is_over() {
        let (listener, _, url) = listen();
        let over = Cancel::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                over.cancel();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let error = stream.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            });
            assert_eq!(ask(&url, PATIENCE * 10, &over), Answer::Late);
        });
    }

    #[test]
    fn an_unfinished_line_counts_when_it_is_there_at_two_looks() {
        let regex = Regex::new("ready>? *$").unwrap();
        let mut prompt = Prompt::default();
        let mut check = |line: &str, is_there: bool| {
            assert_eq!(prompt.is_there(&regex, line.to_owned()), is_there, "{line}");
        };
        check("", false);
        check("ready", false);
        check("ready to fail", false);
        check("ready", false);
        check("", false);
        check("ready>", false);
        check("ready> ", true);
        let everything = Regex::new("").unwrap();
        assert!(!Prompt::default().is_there(&everything, String::new()));
    }
}
