//! When a service is ready: [`ReadyRule`], [`ReadyProbe`]. The only file that names ureq and
//! regex-lite.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use regex_lite::Regex;

use crate::exec::{Cancel, Command, Ended, Executor};

/// How long after a failed try the next follows.
const TRY_INTERVAL: Duration = Duration::from_millis(20);

/// One try over the network takes at most this.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);

/// How to find out that a service is ready.
#[derive(Clone, Debug)]
pub enum ReadyProbe {
    /// It is when it has started.
    Spawned,
    /// It is when it accepts a connection at this `host:port`.
    Tcp(String),
    /// It is when it answers this `http:` address with a status below 400.
    Http(String),
    /// It is when a line of its output matches this regular expression.
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
    /// or its output has said that it is ready.
    pub(super) fn wait(&self, executor: &dyn Executor, over: &Cancel) -> bool {
        let end = Instant::now() + self.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || over.is_cancelled() {
                return false;
            }
            let is_ready = match &self.probe {
                Probe::Spawned => true,
                Probe::Tcp(addr) => accepts(addr, left.min(TRY_TIMEOUT)),
                Probe::Http(url) => answers(url, left.min(TRY_TIMEOUT)),
                Probe::Exec(command) => {
                    let command = Command {
                        timeout: Some(left),
                        ..command.clone()
                    };
                    let ended = executor.run(&command, over, &mut |_| {});
                    matches!(ended, Ended::Exited(status) if status.is_success())
                }
                Probe::Log(_) => {
                    over.wait(left);
                    false
                }
            };
            if is_ready {
                return true;
            }
            over.wait(TRY_INTERVAL.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

fn accepts(addr: &str, timeout: Duration) -> bool {
    let Ok(mut addrs) = addr.to_socket_addrs() else {
        return false;
    };
    addrs.any(|addr| TcpStream::connect_timeout(&addr, timeout).is_ok())
}

fn answers(url: &str, timeout: Duration) -> bool {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build();
    ureq::Agent::new_with_config(config).get(url).call().is_ok()
}
