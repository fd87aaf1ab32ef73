//! What a caller is told when a session fails.

use std::ops::Range;
use std::time::Duration;

use block_client::{Blame, HopError, RouteError, SessionError, Tried};

use crate::api_error::{ApiError, ErrorCode};

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let text = error.to_string();
        match error {
            SessionError::NoRoute { missing, tried, .. } => no_route(&missing, &tried, text),
            SessionError::TooLong { .. } => Self::new(ErrorCode::ContextLengthExceeded, text),
            SessionError::RouteLost { .. }
            | SessionError::Nonsense(_)
            | SessionError::Closed(_) => Self::new(ErrorCode::RouteLost, text),
            SessionError::Rejected { text: words, .. } if words.starts_with(TOO_LONG) => {
                Self::new(ErrorCode::ContextLengthExceeded, text)
            }
            SessionError::Rejected { .. } | SessionError::BadInput(_) => {
                Self::new(ErrorCode::InvalidValue, text)
            }
            SessionError::Unsupported(_) => Self::invalid("route", text),
        }
    }
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        SessionError::from(error).into()
    }
}

/// Nobody serves some blocks, or whoever does refused; their words say why.
fn no_route(missing: &[Range<usize>], tried: &[Tried], text: String) -> ApiError {
    let is_too_long = refusals(tried).any(|words| words.starts_with(TOO_LONG));
    if is_busy(tried) {
        return ApiError::new(ErrorCode::SwarmOverloaded, text).retry_after(BUSY_WAIT);
    }
    if is_too_long {
        return ApiError::new(ErrorCode::ContextLengthExceeded, text);
    }
    let text = if missing.is_empty() {
        text
    } else {
        format!("{text}; a server with these blocks has to join")
    };
    ApiError::new(ErrorCode::NoRoute, text).retry_after(NO_ROUTE_WAIT)
}

/// Whether a server refused for want of room.
pub(crate) fn is_busy(tried: &[Tried]) -> bool {
    let blame = |words: &str| HopError::Refused(words.to_owned()).blame();
    refusals(tried).any(|words| blame(words) == Blame::Busy)
}

/// The words of those that refused.
fn refusals(tried: &[Tried]) -> impl Iterator<Item = &str> {
    let tried = tried.iter();
    tried.filter_map(|tried| tried.why.strip_prefix(REFUSED))
}

/// What the text of [`HopError::Refused`] begins with; a test holds it to that.
const REFUSED: &str = "the server refused: ";
/// What servers of this project say of sessions that are longer than they grant.
const TOO_LONG: &str = "too long: ";
/// When servers that are full have probably ended a session.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// When somebody may have started a server.
const NO_ROUTE_WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use block_network::PeerId;

    use super::*;

    fn no_route_after(words: &str) -> ApiError {
        SessionError::NoRoute {
            missing: Vec::new(),
            why: "no server is left".to_owned(),
            tried: vec![Tried {
                peer: PeerId::random(),
                why: HopError::Refused(words.to_owned()).to_string(),
            }],
        }
        .into()
    }

    #[test]
    fn a_servers_words_decide_whether_to_come_again() {
        for (words, code) in [
            (
                "this server is busy: all its sessions are taken (limit 8); try another server or try again later",
                ErrorCode::SwarmOverloaded,
            ),
            (
                "too long: max_length 9000 was asked for, this server grants 8192",
                ErrorCode::ContextLengthExceeded,
            ),
            ("something else", ErrorCode::NoRoute),
        ] {
            assert_eq!(no_route_after(words).code(), code, "{words}");
        }
        let lost = SessionError::RouteLost {
            why: "gone".to_owned(),
            tried: Vec::new(),
        };
        assert_eq!(ApiError::from(lost).code(), ErrorCode::RouteLost);
    }
}
