//! The name of a request: in its answer's header, in logs and in errors.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The name of a request: the caller's if it is fit, else a new one. In the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_fit(id));
        let id = given.map_or_else(
            || format!("req-{}", Uuid::new_v4().simple()).into(),
            Arc::from,
        );
        Self(id)
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(X_REQUEST_ID, value);
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Short, and nothing that a log or a terminal could take for something else.
fn is_fit(id: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=MAX_BYTES).contains(&id.len()) && id.chars().all(is_safe)
}

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a caller's choice, in bytes: a UUID has 36.
const MAX_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_name_is_taken_and_any_other_replaced() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, value.parse().unwrap());
            RequestId::of(&headers).to_string()
        };
        assert_eq!(id("a.B-9_"), "a.B-9_");
        for unfit in ["", "a b", "a\tb", "a;b", &"x".repeat(65)] {
            assert!(id(unfit).starts_with("req-"), "{unfit}");
        }
    }
}
