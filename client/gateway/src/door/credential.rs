//! Where a key is in a request: `Authorization: Bearer`, `X-API-Key`, or `Sec-WebSocket-Protocol: bearer.KEY`, because
//! browsers can set no other header of a WebSocket. Never in the URL, which ends up in logs.

use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Takes the key out of the headers, so that nothing behind the door can print it.
pub(super) fn take(headers: &mut HeaderMap) -> Option<String> {
    let bearer = headers.remove(AUTHORIZATION);
    let plain = headers.remove(X_API_KEY);
    let protocol = take_protocol(headers);
    bearer
        .as_ref()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim().to_owned())
        .or_else(|| Some(plain?.to_str().ok()?.trim().to_owned()))
        .or(protocol)
}

/// What a WebSocket asked for, to be answered: browsers give up if none of their protocols is taken.
#[derive(Debug, Clone)]
pub(super) struct Protocol(HeaderValue);

impl Protocol {
    /// The first protocol that is no key, else the key's own: only its sender sees it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let offered: Vec<&str> = offered(headers).collect();
        let other = offered.iter().find(|name| !name.starts_with(PREFIX));
        let chosen = other.or_else(|| offered.first())?;
        HeaderValue::from_str(chosen).ok().map(Self)
    }

    /// Answers it unless the handler did.
    pub(super) fn answer(self, headers: &mut HeaderMap) {
        headers.entry(SEC_WEBSOCKET_PROTOCOL).or_insert(self.0);
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

fn take_protocol(headers: &mut HeaderMap) -> Option<String> {
    let key = offered(headers).find_map(|name| name.strip_prefix(PREFIX))?;
    let key = key.to_owned();
    let others: Vec<&str> = offered(headers)
        .filter(|name| !name.starts_with(PREFIX))
        .collect();
    let others = others.join(", ");
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if !others.is_empty()
        && let Ok(others) = HeaderValue::from_str(&others)
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    }
    Some(key)
}

/// The other header for a key.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What stands before a key that is sent as a protocol.
const PREFIX: &str = "bearer.";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_key_is_taken_out_of_each_place() {
        for sent in [
            ("authorization", "Bearer k1"),
            ("authorization", "bearer  k1"),
            ("x-api-key", "k1"),
            ("sec-websocket-protocol", "bearer.k1"),
            ("sec-websocket-protocol", "chat, bearer.k1, other"),
        ] {
            let mut headers = headers(&[sent]);
            assert_eq!(take(&mut headers).as_deref(), Some("k1"), "{sent:?}");
            assert!(!format!("{headers:?}").contains("k1"), "{headers:?}");
        }
        for other in [("authorization", "Basic k1"), ("authorization", "k1")] {
            assert_eq!(take(&mut headers(&[other])), None);
        }
    }

    #[test]
    fn a_websocket_gets_one_of_its_protocols() {
        for (sent, answered) in [
            ("bearer.k1, chat", Some("chat")),
            ("bearer.k1", Some("bearer.k1")),
            ("", None),
        ] {
            let sent = headers(&[("sec-websocket-protocol", sent)]);
            let mut answer = HeaderMap::new();
            if let Some(protocol) = Protocol::of(&sent) {
                protocol.answer(&mut answer);
            }
            let found = answer.get(SEC_WEBSOCKET_PROTOCOL);
            assert_eq!(found.map(|value| value.to_str().unwrap()), answered);
        }
    }
}
