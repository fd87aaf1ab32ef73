//! Which paths are open, which need a key, and which make text.
//!
//! What is not listed as open needs a key: a path that is added later is guarded unless somebody says otherwise.

use axum::http::Method;

/// Who may call a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// This machine, else an admin.
    ThisMachine,
    /// Who has a key.
    Key,
    /// An admin.
    Admin,
}

/// Who may call `path`.
pub(super) fn access(path: &str) -> Access {
    let is_under = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    if path == "/metrics" {
        Access::ThisMachine
    } else if OPEN.contains(&path) || is_under(OPEN_UNDER) {
        Access::Open
    } else if path == "/v1/sessions" || path.starts_with("/v1/sessions/") {
        Access::Admin
    } else {
        Access::Key
    }
}

/// Whether the answer is text that the swarm has to make: such requests wait for a seat.
pub(super) fn makes_text(method: &Method, path: &str) -> bool {
    *method == Method::POST && MAKES_TEXT.contains(&path)
}

/// Whether it frees what others wait for: no limit of requests holds it up, but of those without the key that it needs.
pub(super) fn frees(method: &Method, path: &str) -> bool {
    let cancels = ["/v1/cancel/", "/execution/cancel/"];
    *method == Method::DELETE || cancels.iter().any(|cancel| path.starts_with(cancel))
}

/// Open paths. Those of Petals' monitor are read by pages that know no key.
const OPEN: &[&str] = &[
    "/",
    "/health",
    "/health/ready",
    "/ping",
    "/info",
    "/openapi.json",
    "/api/v1/state",
];
const OPEN_UNDER: &[&str] = &["/assets/", "/api/v1/is_reachable/"];
/// Paths that answer with text of a model. WebSockets, and work that goes on after its answer, take seats themselves.
const MAKES_TEXT: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/api/v1/generate",
    "/run_prompt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_needs_a_key() {
        for open in ["/", "/assets/app.js", "/health", "/health/ready", "/info"] {
            assert_eq!(access(open), Access::Open, "{open}");
        }
        for guarded in [
            "/v1/models",
            "/v1/models/org%2Fname",
            "/assets",
            "//health",
            "/health/",
            "/tokenize",
            "/execution/start",
            "/api/v2/generate",
            "/ws/execution/1",
            "/anything",
        ] {
            assert_eq!(access(guarded), Access::Key, "{guarded}");
        }
        assert_eq!(access("/metrics"), Access::ThisMachine);
        assert_eq!(access("/v1/sessions"), Access::Admin);
        assert_eq!(access("/v1/sessions/chatcmpl-1"), Access::Admin);
        assert!(makes_text(&Method::POST, "/v1/completions"));
        assert!(!makes_text(&Method::GET, "/v1/completions"));
        assert!(!makes_text(&Method::POST, "/tokenize"));
        assert!(frees(&Method::POST, "/v1/cancel/chatcmpl-1"));
        assert!(frees(&Method::POST, "/execution/cancel/exec-1"));
    }
}
