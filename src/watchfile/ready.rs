//! When a service counts as ready: checks `ready` before anything is started.

use std::time::Duration;

use super::duration::lower_positive;
use super::error::Error;
use super::kind::ErrorKind;
use super::raw;
use super::reader::{Text, listed};
use super::task::{Ready, ReadyProbe};

/// How long a probe is tried when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Checks `ready`; without it, or when it is wrong, the service is ready when spawned.
pub(super) fn lower_ready(raw: Option<&raw::Ready<'_>>, errors: &mut Vec<Error>) -> Ready {
    let mut ready = Ready {
        probe: ReadyProbe::Spawned,
        timeout: TIMEOUT,
    };
    let Some(raw) = raw else {
        return ready;
    };
    if let Some(timeout) = &raw.timeout {
        ready.timeout = lower_positive("timeout", timeout, errors).unwrap_or(TIMEOUT);
    }
    match &raw.probes[..] {
        [] if raw.has_probe => {}
        [] => errors.push(no_probe(raw)),
        [(key, value)] => {
            if let Some(probe) = lower_probe(key.value, value, errors) {
                ready.probe = probe;
            }
        }
        [_, (key, _), ..] => {
            let kind = ErrorKind::MisplacedKey {
                key: key.value.to_owned(),
                table: "a `ready` with another probe".to_owned(),
            };
            let hint = "a service has one probe: keep one of these keys";
            errors.push(Error::new(kind, key.span).with_hint(hint));
        }
    }
    ready
}

fn no_probe(raw: &raw::Ready<'_>) -> Error {
    let kind = ErrorKind::MissingKey {
        key: "probe",
        table: "`ready`".to_owned(),
    };
    let hint = format!("write one of {}", listed(&["tcp", "http", "log", "exec"]));
    Error::new(kind, raw.span).with_hint(hint)
}

fn lower_probe(key: &str, value: &Text<'_>, errors: &mut Vec<Error>) -> Option<ReadyProbe> {
    let text = value.value.to_owned();
    let (probe, expected, hint) = match key {
        "tcp" => (
            is_address(value.value).then_some(ReadyProbe::Tcp(text)),
            "an address with a port",
            "write `host:port`, as in `\"127.0.0.1:8080\"`",
        ),
        "http" => (
            is_url(value.value).then_some(ReadyProbe::Http(text)),
            "an http URL",
            "write it in full, as in `\"http://127.0.0.1:8080/health\"`; https is not probed",
        ),
        "log" => return lower_log(value, errors),
        _ => {
            let exec = !value.value.trim().is_empty();
            (
                exec.then_some(ReadyProbe::Exec(text)),
                "a command",
                "write a shell line",
            )
        }
    };
    if probe.is_none() {
        let kind = ErrorKind::Malformed {
            value: value.value.to_owned(),
            expected,
        };
        errors.push(Error::new(kind, value.span).with_hint(hint));
    }
    probe
}

fn lower_log(value: &Text<'_>, errors: &mut Vec<Error>) -> Option<ReadyProbe> {
    if value.value.is_empty() {
        let key = "log".to_owned();
        errors.push(Error::new(ErrorKind::Empty { key }, value.span));
        return None;
    }
    match regex_lite::Regex::new(value.value) {
        Ok(_) => Some(ReadyProbe::Log(value.value.to_owned())),
        Err(error) => {
            let kind = ErrorKind::BadRegex {
                value: value.value.to_owned(),
                reason: error.to_string(),
            };
            let hint =
                "put a backslash before a character that is meant literally, in 'single quotes'";
            errors.push(Error::new(kind, value.span).with_hint(hint));
            None
        }
    }
}

/// `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_ok = if let Some(v6) = host.strip_prefix('[') {
        v6.strip_suffix(']')
            .is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
    } else {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !host.is_empty() && host.chars().all(is_word)
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host_ok && digits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// `http://host[:port][/...]`.
fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    let blank = text.contains(|c: char| c.is_whitespace() || c.is_control());
    !blank
        && if has_port {
            is_address(host)
        } else {
            is_address(&format!("{host}:80"))
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for text in [
            "127.0.0.1:80",
            "localhost:65535",
            "[::1]:8080",
            "db_1.local:1",
        ] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "",
            ":80",
            "localhost",
            "localhost:",
            "localhost:0",
            "a:70000",
            "::1:80",
            "a b:1",
            "[x]:1",
            "a:+1",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn urls_are_http_with_a_host() {
        for text in [
            "http://localhost",
            "http://a:8080/x?y=1",
            "http://[::1]/",
            "http://[::1]:80",
        ] {
            assert!(is_url(text), "{text}");
        }
        for text in [
            "https://a",
            "a:80",
            "http://",
            "http:///x",
            "http://a:x/",
            "http://a b",
        ] {
            assert!(!is_url(text), "{text}");
        }
    }
}
