//! Who listens on a TCP port: [`port_holder`]; waiting until nobody does: [`wait_until_free`],
//! [`wait_for_host`].

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::exec::Cancel;
use crate::exec::procfs;

/// How often a port that is still held is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How often the holder is looked for when the port changes hands meanwhile.
const LOOKS_MAX: usize = 3;

/// The process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id; `None` when it is another user's, which we may not look into.
    pub pid: Option<u32>,
    /// Its name, empty without an id.
    pub name: String,
}

/// Whose listening keeps another from `addr`: on its port, at its address or at every address that
/// takes its in. `None`: nobody's. Listens there for an instant where only that tells.
#[must_use]
pub fn port_holder(addr: SocketAddr) -> Option<Holder> {
    holder(|| listening(addr), owner)
}

/// Waits until nobody listens where `addr` would, at most `patience`; who holds it then, if any.
/// Blocks. A `cancel` ends the wait.
#[must_use]
pub fn wait_until_free(addr: SocketAddr, patience: Duration, cancel: &Cancel) -> Option<Holder> {
    let start = Instant::now();
    loop {
        let holder = port_holder(addr)?;
        if start.elapsed() >= patience || cancel.wait(LOOK_INTERVAL) {
            return Some(holder);
        }
    }
}

/// Waits until nobody else listens where `host`, a `host:port`, is on this machine; where that is
/// and who holds it when `patience` is at its end. Blocks. A `cancel` ends the wait.
pub(super) fn wait_for_host(
    host: &str,
    patience: Duration,
    cancel: &Cancel,
) -> Option<(SocketAddr, Holder)> {
    // A name that does not resolve yet is the readiness check's concern.
    let addrs = host.to_socket_addrs().into_iter().flatten();
    addrs.filter(is_here).find_map(|addr| {
        let holder = wait_until_free(addr, patience, cancel)?;
        Some((addr, holder))
    })
}

/// Whether this machine has the address, so that a process here can listen there.
fn is_here(addr: &SocketAddr) -> bool {
    let mut any_port = *addr;
    any_port.set_port(0);
    UdpSocket::bind(any_port).is_ok()
}

/// The owner of the socket that listens, by what finds the one and the other.
fn holder(
    listening: impl Fn() -> Option<u64>,
    owner: impl Fn(u64) -> Option<Holder>,
) -> Option<Holder> {
    let mut inode = listening()?;
    for _ in 0..LOOKS_MAX {
        if let Some(holder) = owner(inode) {
            return Some(holder);
        }
        // Race: the socket may have been closed before its owner was looked at.
        let now = listening()?;
        if now == inode {
            break;
        }
        inode = now;
    }
    Some(Holder {
        pid: None,
        name: String::new(),
    })
}

/// The process that has this socket open, as far as we may look into it.
fn owner(inode: u64) -> Option<Holder> {
    let target = format!("socket:[{inode}]");
    let has_it = |pid: &Pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|link| link.as_os_str() == target.as_str())
    };
    let pid = procfs::processes().into_iter().find(has_it)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder {
        pid: Some(pid.as_raw_pid().unsigned_abs()),
        name: name.trim_end().to_owned(),
    })
}

/// The inode of the socket that listens where `addr` would.
fn listening(addr: SocketAddr) -> Option<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let mut unsure = None;
    for table in tables {
        let text = fs::read_to_string(table).unwrap_or_default();
        for (local, inode) in listeners(&text).filter(|(local, _)| local.port() == addr.port()) {
            match clash(local.ip(), addr.ip().to_canonical()) {
                Clash::Yes => return Some(inode),
                Clash::Unsure => unsure = Some(inode),
                Clash::No => {}
            }
        }
    }
    unsure.filter(|_| {
        let bound = TcpListener::bind(addr);
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

/// Whether two sockets of one port get into each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clash {
    Yes,
    No,
    /// They do unless the one at every IPv6 address leaves out IPv4, which no table tells.
    Unsure,
}

fn clash(local: IpAddr, wanted: IpAddr) -> Clash {
    match (local, wanted) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            if local == wanted || local.is_unspecified() || wanted.is_unspecified() {
                Clash::Yes
            } else {
                Clash::No
            }
        }
        (IpAddr::V6(v6), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(v6)) => {
            if v6.is_unspecified() {
                Clash::Unsure
            } else {
                Clash::No
            }
        }
    }
}

/// The sockets in a table of the kernel that listen: where, and their inodes.
fn listeners(table: &str) -> impl Iterator<Item = (SocketAddr, u64)> {
    table.lines().skip(1).filter_map(|line| {
        const LISTENS: &str = "0A";
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = parse_addr(fields.next()?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENS).then_some((local, inode))
    })
}

/// `0100007F:1F90`: groups of four bytes in the machine's order, then the port.
fn parse_addr(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let group = |text: &str| Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(group(ip)?)),
        32 => {
            let mut bytes = [0; 16];
            for (part, text) in bytes
                .chunks_mut(4)
                .zip((0..4).map(|at| ip.get(at * 8..at * 8 + 8)))
            {
                part.copy_from_slice(&group(text?)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::net::{AddressFamily, SocketType, sockopt};

    use super::*;

    #[test]
    fn a_listener_is_named_until_it_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let holder = port_holder(addr).unwrap();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(!holder.name.is_empty());
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port());
        assert!(port_holder(anywhere).is_some());
        assert!(wait_until_free(addr, Duration::ZERO, &Cancel::new()).is_some());
        drop(listener);
        assert_eq!(
            wait_until_free(addr, Duration::from_secs(10), &Cancel::new()),
            None
        );
    }

    #[test]
    fn a_port_that_is_let_go_while_its_holder_is_looked_for_is_free() {
        let check = |inodes: &[Option<u64>], found: Option<Option<u32>>| {
            let looks = Cell::new(0);
            let listening = || {
                looks.set(looks.get() + 1);
                inodes[looks.get() - 1]
            };
            let owner = |inode| {
                (inode == 7).then(|| Holder {
                    pid: Some(70),
                    name: "seven".to_owned(),
                })
            };
            let holder = holder(listening, owner).map(|holder| holder.pid);
            assert_eq!(holder, found, "{inodes:?}");
            assert_eq!(looks.get(), inodes.len(), "{inodes:?}");
        };
        check(&[None], None);
        check(&[Some(7)], Some(Some(70)));
        check(&[Some(1), None], None);
        check(&[Some(1), Some(7)], Some(Some(70)));
        check(&[Some(1), Some(1)], Some(None));
        check(&[Some(1), Some(2), None], None);
        check(&[Some(1), Some(2), Some(3), Some(4)], Some(None));
    }

    #[test]
    fn families_clash_only_at_every_address() {
        let check = |local: &str, wanted: &str, expected: Clash| {
            let found = clash(local.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(found, expected, "{local} {wanted}");
        };
        check("127.0.0.1", "127.0.0.1", Clash::Yes);
        check("0.0.0.0", "127.0.0.1", Clash::Yes);
        check("127.0.0.1", "0.0.0.0", Clash::Yes);
        check("127.0.0.1", "127.0.0.2", Clash::No);
        check("::", "::1", Clash::Yes);
        check("::1", "::", Clash::Yes);
        check("0.0.0.0", "::1", Clash::No);
        check("127.0.0.1", "::1", Clash::No);
        check("::1", "127.0.0.1", Clash::No);
        check("::1", "0.0.0.0", Clash::No);
        check("::", "127.0.0.1", Clash::Unsure);
        check("0.0.0.0", "::", Clash::Unsure);
    }

    #[test]
    fn every_ipv6_address_takes_ipv4_in_unless_it_is_told_not_to() {
        for is_v6_only in [false, true] {
            // A kernel may have no IPv6 at all.
            let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None);
            let Ok(socket) = socket else { return };
            sockopt::set_ipv6_v6only(&socket, is_v6_only).unwrap();
            let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            if rustix::net::bind(&socket, &everywhere).is_err() {
                return; // This machine has no IPv6.
            }
            rustix::net::listen(&socket, 1).unwrap();
            let port = TcpListener::from(socket.try_clone().unwrap())
                .local_addr()
                .unwrap()
                .port();
            let holder = |ip: IpAddr| port_holder(SocketAddr::new(ip, port));
            assert_eq!(holder(Ipv4Addr::LOCALHOST.into()).is_none(), is_v6_only);
            assert!(holder(Ipv6Addr::LOCALHOST.into()).is_some());
        }
    }

    #[test]
    fn an_address_of_this_machine_is_here_and_another_is_not() {
        let check = |addr: &str, expected: bool| {
            assert_eq!(is_here(&addr.parse().unwrap()), expected, "{addr}");
        };
        check("127.0.0.1:80", true);
        check("127.8.8.8:80", true);
        check("0.0.0.0:80", true);
        check("203.0.113.77:80", false);
        // The address that packets leave by; nothing is sent.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.77:9").is_ok() {
            check(&socket.local_addr().unwrap().to_string(), true);
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_of_the_kernel_are_read() {
        let parse = |text: &str| parse_addr(text).map(|addr| addr.to_string());
        assert_eq!(parse("0100007F:1F90").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(
            parse("00000000000000000000000001000000:0050").as_deref(),
            Some("[::1]:80")
        );
        assert_eq!(
            parse("0000000000000000FFFF00000100007F:0050").as_deref(),
            Some("127.0.0.1:80")
        );
        assert_eq!(parse("0100007F"), None);
        assert_eq!(parse("01:1F90"), None);
    }
}
