//! `[remote]`: the shared cache and executor. [`Remote`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::{RelDir, RelPath};

use super::choice::lower_choice;
use super::duration::lower_positive;
use super::env::lower_env;
use super::error::Error;
use super::kind::ErrorKind;
use super::place::lower_path;
use super::raw;
use super::reader::Text;

/// A Remote Execution API server and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it is: a URL.
    pub endpoint: String,
    /// The instance name it is asked for; may be empty.
    pub instance: String,
    /// Whether results are read from it, and written to it.
    pub cache: RemoteCache,
    /// Where commands run.
    pub exec: RemoteExec,
    /// The variable that holds the token.
    pub token_env: Option<String>,
    /// Certificates to trust.
    pub ca: Option<RelPath>,
    /// Our own certificate.
    pub cert: Option<RelPath>,
    /// The key to it.
    pub key: Option<RelPath>,
    /// How long one request may take.
    pub timeout: Duration,
    /// What an executor must offer.
    pub platform: BTreeMap<String, String>,
}

/// What the remote cache is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteCache {
    /// Nothing.
    Off,
    /// Results are taken from it.
    Read,
    /// And given to it.
    ReadWrite,
}

/// Where commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteExec {
    /// Here.
    Local,
    /// On the server.
    Remote,
}

/// How long a request may take when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Checks `[remote]`; `None` when there is no usable endpoint.
pub(super) fn lower_remote(raw: &raw::Remote<'_>, errors: &mut Vec<Error>) -> Option<Remote> {
    let path = |text: &Option<Text<'_>>, errors: &mut Vec<Error>| {
        let text = text.as_ref()?;
        lower_path(text, &RelDir::ROOT, errors)
    };
    let (ca, cert, key) = (
        path(&raw.ca, errors),
        path(&raw.cert, errors),
        path(&raw.key, errors),
    );
    let choices = [
        ("off", RemoteCache::Off),
        ("read", RemoteCache::Read),
        ("read-write", RemoteCache::ReadWrite),
    ];
    let cache = raw
        .cache
        .as_ref()
        .and_then(|text| lower_choice("cache", text, &choices, errors));
    let timeout = raw
        .timeout
        .as_ref()
        .and_then(|text| lower_positive("timeout", text, errors));
    let mut platform = BTreeMap::new();
    lower_env(&raw.platform, &mut platform, errors);
    Some(Remote {
        endpoint: lower_endpoint(raw, errors)?,
        instance: raw
            .instance
            .as_ref()
            .map_or_else(String::new, |text| text.value.to_owned()),
        cache: cache.unwrap_or(RemoteCache::Read),
        exec: match &raw.exec {
            Some(exec) if exec.value => RemoteExec::Remote,
            _ => RemoteExec::Local,
        },
        token_env: raw.token_env.as_ref().map(|text| text.value.to_owned()),
        ca,
        cert,
        key,
        timeout: timeout.unwrap_or(TIMEOUT),
        platform,
    })
}

fn lower_endpoint(raw: &raw::Remote<'_>, errors: &mut Vec<Error>) -> Option<String> {
    let Some(endpoint) = &raw.endpoint else {
        let kind = ErrorKind::MissingKey {
            key: "`endpoint`",
            table: "`[remote]`".to_owned(),
        };
        errors.push(Error::new(kind, raw.span).with_hint(ENDPOINT_HINT));
        return None;
    };
    let schemes = ["grpc://", "grpcs://", "http://", "https://"];
    let host = schemes
        .iter()
        .find_map(|scheme| endpoint.value.strip_prefix(scheme));
    if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        let kind = ErrorKind::Malformed {
            value: endpoint.value.to_owned(),
            expected: "the URL of a server",
        };
        errors.push(Error::new(kind, endpoint.span).with_hint(ENDPOINT_HINT));
        return None;
    }
    Some(endpoint.value.to_owned())
}

const ENDPOINT_HINT: &str = "write a URL, as in `endpoint = \"grpcs://cache.example.com:443\"`";
