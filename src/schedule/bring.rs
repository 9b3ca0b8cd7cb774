//! The steps around the start of a service: [`begin`], [`start`], [`note`]; and how its failures
//! are put. Knows nothing of other tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use super::command;
use super::step::{self, Assignment, Ports};
use crate::exec::{
    self, Cancel, Holder, ReadyRule, RestartRule, Service, ServiceEvent, ServiceOptions, Spool,
};
use crate::outcome::ExitStatus;
use crate::state::{Examined, Ran, Start, Verdict};
use crate::watchfile::{ReadyProbe, Restart, Task, TaskKind};

/// What came of a step.
pub(super) enum Brought {
    /// It may be started.
    Begun(Box<Examined>),
    /// It may not, for this reason: somebody else has its port, or this runs inside of it.
    Refused(Box<Examined>, String),
    /// It is recorded as ready.
    Noted,
}

/// The signal that takes the place of a restart.
pub(super) fn reload_signal(task: &Task) -> Option<i32> {
    match &task.kind {
        TaskKind::Service(service) => service.reload_signal,
        TaskKind::Group | TaskKind::Command(_) => None,
    }
}

/// Notes that the service is about to start, and waits for its port. Blocks for a moment.
pub(super) fn begin(
    ports: &Ports,
    task: &Task,
    examined: &Arc<Examined>,
    cancel: &Cancel,
) -> Brought {
    let mut examined = Examined::clone(examined);
    if let Some(reason) = ports.lineage.objection(&task.name) {
        return Brought::Refused(Box::new(examined), reason);
    }
    if *examined.verdict() != Verdict::Fresh {
        ports.engine.begin(&mut examined, Start::Anew);
    }
    let taken = address(task).and_then(|address| Service::wait_for_port(&address, cancel));
    match taken {
        Some((addr, holder)) if !cancel.is_cancelled() => {
            Brought::Refused(Box::new(examined), port_taken(addr, &holder))
        }
        Some(_) | None => Brought::Begun(Box::new(examined)),
    }
}

/// Starts the service. Returns at once.
pub(super) fn start(
    ports: &Ports,
    task: &Task,
    observe: impl Fn(ServiceEvent) + Send + Sync + 'static,
) -> Result<Service, String> {
    let TaskKind::Service(service) = &task.kind else {
        unreachable!("BUG: `{}` is no service", task.name);
    };
    let probe = match &service.ready.probe {
        ReadyProbe::Spawned => exec::ReadyProbe::Spawned,
        ReadyProbe::Tcp(addr) => exec::ReadyProbe::Tcp(addr.clone()),
        ReadyProbe::Http(url) => exec::ReadyProbe::Http(url.clone()),
        ReadyProbe::Log(regex) => exec::ReadyProbe::Log(regex.clone()),
        ReadyProbe::Exec(line) => exec::ReadyProbe::Exec(command::probe(task, &ports.root, line)),
    };
    let restart = match service.restart {
        Restart::Always => RestartRule::Always,
        Restart::OnFailure => RestartRule::OnFailure,
        Restart::Never => RestartRule::Never,
    };
    // It holds no job slot, so it has no part in the job tokens either.
    let commands = command::commands(task, &ports.root, &[], &[], &ports.lineage);
    let Some(command) = commands.into_iter().next() else {
        unreachable!("BUG: service `{}` has no command", task.name);
    };
    let options = ServiceOptions {
        command,
        ready: ReadyRule::new(probe, service.ready.timeout)?,
        restart,
        address: address(task),
    };
    Service::start(Arc::clone(&ports.processes), options, observe)
        .map_err(|error| error.to_string())
}

/// Records that the service is ready with what it was started from. Blocks.
pub(super) fn note(ports: &Ports, assignment: &Assignment, examined: &Examined, ran: Ran) {
    if *examined.verdict() == Verdict::Fresh {
        return;
    }
    let nothing = Spool::new(&ports.spill_dir, 0);
    // Inputs that moved meanwhile are a change of their own, and what cannot be recorded only
    // costs the reason of the next start.
    drop(step::finish(ports, assignment, examined, ran, &nothing));
}

/// Why a service that finds its port taken is not started.
pub(super) fn port_taken(addr: SocketAddr, holder: &Holder) -> String {
    match holder.pid {
        Some(pid) => format!("`{addr}` is taken by `{}` (pid {pid})", holder.name),
        None => format!("`{addr}` is taken by a process of another user"),
    }
}

/// Why a service that was not ready in time failed.
pub(super) fn not_ready(tail: &[String]) -> String {
    let mut text = "it was not ready in time".to_owned();
    if !tail.is_empty() {
        text += "; its last lines:";
        for line in tail {
            text += "\n  ";
            text += line;
        }
    }
    text
}

/// Why a service that ended before it was ready failed.
pub(super) fn ended_early(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("it ended with {status} before it was ready"),
        None => "it ended before it was ready".to_owned(),
    }
}

/// Why a service that was ready failed.
pub(super) fn ended_for_good(task: &Task, status: Option<ExitStatus>) -> String {
    let rests =
        matches!(&task.kind, TaskKind::Service(service) if service.restart == Restart::Never);
    match status {
        Some(status) if rests => format!("it ended with {status}, and is not to be restarted"),
        Some(status) => format!("it ends again and again, the last time with {status}"),
        None => "it ends again and again".to_owned(),
    }
}

/// Where the service will listen, as far as its readiness tells: a `host:port`.
fn address(task: &Task) -> Option<String> {
    let TaskKind::Service(service) = &task.kind else {
        return None;
    };
    match &service.ready.probe {
        ReadyProbe::Tcp(addr) => Some(addr.clone()),
        ReadyProbe::Http(url) => Some(host_of(url)),
        ReadyProbe::Spawned | ReadyProbe::Log(_) | ReadyProbe::Exec(_) => None,
    }
}

/// `host:port` of an `http:` address.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_80_unless_it_is_named() {
        let check = |url: &str, host: &str| assert_eq!(host_of(url), host, "{url}");
        check("http://localhost:8080/health?x=1:2", "localhost:8080");
        check("http://127.0.0.1", "127.0.0.1:80");
        check("http://user:1@[::1]:90/", "[::1]:90");
        check("http://[::1]/", "[::1]:80");
    }
}
