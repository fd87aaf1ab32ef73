//! Which pages may call from a browser: the names in `Host` against DNS rebinding, the `Origin` against foreign pages,
//! and the CORS headers for those that are allowed.
//!
//! A page of any site can make a browser send requests to this machine. Without keys nothing else tells its requests
//! from those of our own page, and WebSockets know no CORS at all.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, UPGRADE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::credential::X_API_KEY;
use super::rate::{LIMIT, REMAINING, RESET};
use super::request_id::X_REQUEST_ID;
use crate::{ApiError, ErrorCode};

/// What a browser may bring.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    /// Names that `Host` may have; `None`: any.
    hosts: Option<Vec<String>>,
    allowed: Vec<HeaderValue>,
    allows_all: bool,
    /// Whether requests that change something must come from no page or one of ours. WebSockets always must.
    checks_origin: bool,
}

/// An origin that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin: * or https://HOST[:PORT], without a path")]
pub struct BadOrigin(String);

impl Origins {
    /// `is_local`: only this machine can call. `has_keys`: whoever calls shows a key.
    ///
    /// # Errors
    /// [`BadOrigin`].
    pub(super) fn new(
        (is_local, has_keys): (bool, bool),
        allowed_hosts: &[String],
        origins: &[String],
    ) -> Result<Self, BadOrigin> {
        let named = allowed_hosts.iter().map(|host| host.to_ascii_lowercase());
        let hosts = if is_local {
            let own = LOCAL_NAMES.iter().map(|name| (*name).to_owned());
            Some(own.chain(named).collect())
        } else if allowed_hosts.is_empty() {
            None
        } else {
            Some(named.collect())
        };
        let mut allowed = Vec::new();
        for origin in origins.iter().filter(|origin| *origin != "*") {
            let (scheme, authority) = origin
                .split_once("://")
                .ok_or_else(|| BadOrigin(origin.clone()))?;
            let is_host = !authority.contains('@') && authority.parse::<Authority>().is_ok();
            let value = HeaderValue::from_str(&origin.to_ascii_lowercase());
            match value {
                Ok(value) if !scheme.is_empty() && is_host => allowed.push(value),
                Ok(_) | Err(_) => return Err(BadOrigin(origin.clone())),
            }
        }
        Ok(Self {
            hosts,
            allowed,
            allows_all: origins.iter().any(|origin| origin == "*"),
            checks_origin: !has_keys,
        })
    }

    /// Refuses a name that is not ours, and pages that are not.
    ///
    /// # Errors
    /// 403.
    pub(super) fn check(&self, request: &Parts) -> Result<(), ApiError> {
        let host = host_of(request);
        if let Some(hosts) = &self.hosts {
            let name = host.as_ref().map(name_of);
            if !name.is_some_and(|name| hosts.contains(&name)) {
                return Err(refusal(
                    "the name in the Host header is not one of this gateway; --allowed-host NAME adds one",
                ));
            }
        }
        // Keys are no reason to let it through: of other answers a foreign page would see nothing without CORS headers.
        let is_socket = request.headers.contains_key(UPGRADE);
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
        if self.allows_all || !is_socket && (is_safe || !self.checks_origin) {
            return Ok(());
        }
        let Some(origin) = request.headers.get(ORIGIN) else {
            return Ok(());
        };
        if self.allowed.contains(origin) || self.is_ours(origin, host.as_ref()) {
            return Ok(());
        }
        Err(refusal(
            "pages of other sites may not call this gateway; --cors-origin ORIGIN allows one",
        ))
    }

    /// Whether a page came from the name that it calls, or from another of our names.
    fn is_ours(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .and_then(|(_, authority)| authority.parse::<Authority>().ok());
        authority.is_some_and(|authority| {
            let name = name_of(&authority);
            let is_named = || {
                let mut hosts = self.hosts.iter().flatten();
                !LOCAL_NAMES.contains(&name.as_str()) && hosts.any(|host| *host == name)
            };
            host == Some(&authority) || is_named()
        })
    }

    /// The headers for pages of other origins; `None`: there are none.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        let origin = if self.allows_all {
            AllowOrigin::any()
        } else if self.allowed.is_empty() {
            return None;
        } else {
            AllowOrigin::list(self.allowed.clone())
        };
        let sent = [AUTHORIZATION, CONTENT_TYPE, ACCEPT, X_API_KEY, X_REQUEST_ID];
        let of_clients = CLIENT_HEADERS.map(HeaderName::from_static);
        let headers: Vec<HeaderName> = sent.into_iter().chain(of_clients).collect();
        Some(
            CorsLayer::new()
                .allow_origin(origin)
                .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
                .allow_headers(headers)
                .expose_headers([X_REQUEST_ID, RETRY_AFTER, LIMIT, REMAINING, RESET])
                .max_age(PREFLIGHT_AGE),
        )
    }
}

/// What a request takes us for; `None` if it does not say, or says two things.
fn host_of(request: &Parts) -> Option<Authority> {
    if let Some(authority) = request.uri.authority() {
        return Some(authority.clone());
    }
    let named = only(&request.headers)?.to_str().ok()?.parse().ok();
    named.filter(|authority: &Authority| !authority.as_str().contains('@'))
}

fn only(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(HOST).iter();
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The name without a port, and without the brackets of IPv6.
fn name_of(authority: &Authority) -> String {
    let name = authority.host().trim_start_matches('[');
    name.trim_end_matches(']').to_ascii_lowercase()
}

fn refusal(message: &str) -> ApiError {
    ApiError::new(ErrorCode::HostNotAllowed, message)
}

/// Names of this machine that no other can have.
const LOCAL_NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];
/// How long a browser may remember what it was allowed.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);
/// Headers that OpenAI's clients send on their own; `*` would not cover `authorization`, so all are named.
const CLIENT_HEADERS: [&str; 17] = [
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-raw-response",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
    "openai-organization",
    "openai-project",
    "idempotency-key",
];

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check(origins: &Origins, method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        origins.check(&parts).is_ok()
    }

    #[test]
    fn a_local_gateway_answers_to_its_own_names_only() {
        let names = ["Box.lan".to_owned()];
        let origins = Origins::new((true, true), &names, &[]).unwrap();
        for host in [
            "localhost:8000",
            "127.0.0.1",
            "[::1]:80",
            "box.lan",
            "LOCALHOST",
        ] {
            assert!(check(&origins, "GET", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "x@localhost",
            "",
            "127.0.0.2",
        ] {
            assert!(!check(&origins, "GET", &[("host", host)]), "{host}");
        }
        assert!(!check(&origins, "GET", &[]));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert!(!check(&origins, "GET", &twice));
        let public = Origins::new((false, true), &[], &[]).unwrap();
        assert!(check(&public, "GET", &[("host", "any.example")]));
        let named = Origins::new((false, true), &names, &[]).unwrap();
        assert!(!check(&named, "GET", &[("host", "any.example")]));
    }

    #[test]
    fn without_keys_foreign_pages_change_nothing_and_open_no_websocket() {
        let allowed = ["https://app.example".to_owned()];
        let origins = Origins::new((true, false), &[], &allowed).unwrap();
        let host = ("host", "localhost:8000");
        let ours = ("origin", "http://localhost:8000");
        let foreign = ("origin", "https://evil.example");
        assert!(check(&origins, "POST", &[host]));
        assert!(check(&origins, "POST", &[host, ours]));
        assert!(check(&origins, "POST", &[host, ("origin", &allowed[0])]));
        assert!(check(&origins, "GET", &[host, foreign]));
        for origin in [
            foreign,
            ("origin", "null"),
            ("origin", "http://localhost:3000"),
        ] {
            assert!(!check(&origins, "POST", &[host, origin]), "{origin:?}");
        }
        let upgrade = ("upgrade", "websocket");
        assert!(!check(&origins, "GET", &[host, foreign, upgrade]));
        let with_keys = Origins::new((true, true), &[], &allowed).unwrap();
        assert!(check(&with_keys, "POST", &[host, foreign]));
        assert!(!check(&with_keys, "GET", &[host, foreign, upgrade]));
        for origin in [ours, ("origin", &allowed[0])] {
            assert!(check(&with_keys, "GET", &[host, origin, upgrade]));
        }
    }

    #[test]
    fn origins_are_checked_when_they_are_given() {
        for bad in [
            "app.example",
            "https://",
            "https://a.example/path",
            "https://u@a.example",
        ] {
            let error = Origins::new((true, true), &[], &[bad.to_owned()]).unwrap_err();
            assert_eq!(error, BadOrigin(bad.to_owned()));
        }
    }
}
