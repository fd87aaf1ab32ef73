//! Why a request was refused or failed, by who must act, and the one place that writes error text to a peer.
//!
//! | variants                                        | who must act                                |
//! |-------------------------------------------------|---------------------------------------------|
//! | `Invalid`, `Unsupported`, `TooLong`, `BadBlocks`  | the caller: the request itself is wrong     |
//! | `Overloaded`, `CacheFull`, `CacheTaken`         | nobody: another server, or later, will do   |
//! | `Draining`, `TimedOut`                          | nobody, as well                             |
//! | `Untrusted`                                     | both operators: the caller's id must be listed |
//! | `Internal`                                      | this server's operator: details are logged  |

use std::time::Duration;

use block_protocol::DecodeError;

use crate::metrics::{Code, Rejection};

/// Longest error text sent to a peer, in bytes. It fits in one packet with its frame.
const MAX_PEER_TEXT_BYTES: usize = 1024;

/// Longest piece of a peer's own words repeated in an error text, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request contradicts itself or the protocol.
    #[error("bad request: {0}")]
    Invalid(String),
    /// The request is well formed and asks for something that this server does not do.
    #[error("not supported here: {0}")]
    Unsupported(String),
    /// The request is longer than this server's limits allow.
    #[error("too long: {0}")]
    TooLong(String),
    /// The request names blocks that are not served here.
    #[error("{0}")]
    BadBlocks(String),
    /// A queue or a cap of this server is full.
    #[error("this server is busy: {what}{}; try another server or try again later", limit_text(*limit))]
    Overloaded {
        /// What is full, in words.
        what: &'static str,
        /// The cap that was met, if it is ours to name.
        limit: Option<usize>,
    },
    /// The session's share of the KV cache is not free.
    #[error(
        "not enough KV cache: {needed_tokens} tokens (batch x max_length x blocks) are needed and {free_tokens} of \
         {total_tokens} are free; ask for a smaller max_length, or try another server"
    )]
    CacheFull {
        /// Tokens that the session asked for, over all its blocks.
        needed_tokens: u64,
        /// Tokens that were free then.
        free_tokens: u64,
        /// Tokens that the whole cache holds.
        total_tokens: u64,
    },
    /// A session that was admitted on less than its `max_length` ended for want of pages.
    #[error(
        "the KV cache ran out: this session has grown and is the youngest that does, so it ends; continue on another \
         server, or try again later"
    )]
    CacheTaken,
    /// The caller is not one of the peers that the operator trusts.
    #[error(
        "this server answers only the peers that its operator trusts: ask them to add {peer} to --trusted-peers, or use \
         another server"
    )]
    Untrusted {
        /// The caller.
        peer: String,
    },
    /// The server is shutting down.
    #[error("this server is shutting down; continue on another server")]
    Draining,
    /// A time limit of this server passed.
    #[error("time limit passed: {what} may take {limit:?}")]
    TimedOut {
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The computation failed; the text stays here and is only logged.
    #[error("internal error: {0}")]
    Internal(String),
    /// The caller went away; nobody reads an answer.
    #[error("the caller went away")]
    Gone,
}

impl RequestError {
    /// The text that the peer is told: bounded, and without internals.
    #[must_use]
    pub fn peer_text(&self) -> String {
        let mut text = match self {
            Self::Internal(_) => {
                "this server failed to compute the answer; try another server".to_owned()
            }
            Self::Invalid(_)
            | Self::Unsupported(_)
            | Self::TooLong(_)
            | Self::BadBlocks(_)
            | Self::Overloaded { .. }
            | Self::CacheFull { .. }
            | Self::CacheTaken
            | Self::Untrusted { .. }
            | Self::Draining
            | Self::TimedOut { .. }
            | Self::Gone => self.to_string(),
        };
        truncate_at_char(&mut text, MAX_PEER_TEXT_BYTES);
        text
    }

    /// How the request is counted.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_)
            | Self::Unsupported(_)
            | Self::TooLong(_)
            | Self::BadBlocks(_)
            | Self::Untrusted { .. } => Code::BadRequest,
            Self::Overloaded { .. }
            | Self::CacheFull { .. }
            | Self::CacheTaken
            | Self::Draining => Code::Overloaded,
            Self::TimedOut { .. } => Code::Timeout,
            Self::Internal(_) => Code::Internal,
            Self::Gone => Code::Cancelled,
        }
    }

    /// The reason under which the refusal is counted; `None` if work had begun or no refusal is named for it.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::TooLong(_) => Some(Rejection::TooLong),
            Self::BadBlocks(_) => Some(Rejection::BadBlocks),
            Self::Overloaded { .. } => Some(Rejection::Overloaded),
            Self::CacheFull { .. } => Some(Rejection::CacheFull),
            Self::Draining => Some(Rejection::Draining),
            Self::Untrusted { .. } => Some(Rejection::Untrusted),
            Self::Invalid(_)
            | Self::Unsupported(_)
            | Self::CacheTaken
            | Self::TimedOut { .. }
            | Self::Internal(_)
            | Self::Gone => None,
        }
    }
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// A peer's own words in quotes, cut to a length that is safe to repeat and to log.
pub(crate) fn quoted(words: &str) -> String {
    let kept: String = words.chars().take(MAX_QUOTED_CHARS).collect();
    let cut = if kept.len() < words.len() { "…" } else { "" };
    format!("{kept:?}{cut}")
}

fn limit_text(limit: Option<usize>) -> String {
    limit.map_or_else(String::new, |limit| format!(" (limit {limit})"))
}

fn truncate_at_char(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        let end = text.floor_char_boundary(max_bytes);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internals_stay_here_and_texts_are_bounded() {
        let internal = RequestError::Internal("panicked at span.rs:17".to_owned());
        assert!(!internal.peer_text().contains("span.rs"));
        let long = RequestError::Invalid("é".repeat(5000));
        assert!(long.peer_text().len() <= MAX_PEER_TEXT_BYTES);
    }

    #[test]
    fn a_peers_words_are_cut_and_escaped() {
        assert_eq!(quoted("m.0"), "\"m.0\"");
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert!(quoted(&"x".repeat(10_000)).len() < 100);
    }
}
