//! Who listens on a TCP port: [`port_holder`]; waiting until nobody does: [`wait_until_free`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::exec::Cancel;
use crate::exec::procfs;

/// How often a port that is still held is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id; `None` when it is another user's, which we may not look into.
    pub pid: Option<u32>,
    /// Its name, empty without an id.
    pub name: String,
}

/// Who listens where `addr` would: on its port, at its address or at every address. `None`: nobody.
#[must_use]
pub fn port_holder(addr: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok());
    let inode = texts.into_iter().find_map(|text| listener(&text, addr))?;
    let target = format!("socket:[{inode}]");
    for pid in procfs::processes() {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let mut links = entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        if links.any(|link| link.as_os_str() == target.as_str()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(Holder {
                pid: Some(pid.as_raw_pid().unsigned_abs()),
                name: name.trim_end().to_owned(),
            });
        }
    }
    Some(Holder {
        pid: None,
        name: String::new(),
    })
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

/// The inode of the socket in a table of the kernel that listens where `addr` would.
fn listener(table: &str, addr: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        const LISTENS: &str = "0A";
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = parse_addr(fields.next()?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let is_same =
            local.ip() == addr.ip() || local.ip().is_unspecified() || addr.ip().is_unspecified();
        (state == LISTENS && local.port() == addr.port() && is_same).then_some(inode)
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
    use std::net::TcpListener;

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
