//! Why a session cannot go on, by who must act.

use std::ops::Range;

use block_model::HeadError;
use block_network::PeerId;

use crate::constraint::ConstraintError;
use crate::router::RouteError;
use crate::sampling::SamplingError;
use crate::stop::EmptyStop;
use crate::text_codec::TextError;

/// Why a session could not be opened or a step could not be done.
///
/// | variants                    | who must act                                                         |
/// |-----------------------------|----------------------------------------------------------------------|
/// | `NoRoute`, `RouteLost`      | nobody here: more servers must come, or the same ones again; try later |
/// | `TooLong`, `Rejected`, `Unsupported`, `BadInput` | the caller: the same request fails again        |
/// | `Nonsense`, `Closed`        | the caller: open a new session                                       |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Some blocks have no server that could be used; nothing was lost, since nothing had begun.
    #[error("no route through the swarm: {why}{}", tried_text(tried))]
    NoRoute {
        /// Runs of blocks without a server, if it is that.
        missing: Vec<Range<usize>>,
        /// What the router said last.
        why: String,
        /// Servers that were tried, in order, and what became of it.
        tried: Vec<Tried>,
    },
    /// The tokens do not fit in what the session was opened for. Nothing was sent.
    #[error(
        "{position} tokens are in the session and {new} are to come, but it was opened for {max_length}: open it with \
         a larger max_length, or send fewer"
    )]
    TooLong {
        /// Tokens in the session.
        position: usize,
        /// Tokens that were to come.
        new: usize,
        /// What it was opened for.
        max_length: usize,
    },
    /// Servers were lost during the session and no others could take over in time. The session is over.
    #[error(
        "the session lost its way through the swarm: {why}{}",
        tried_text(tried)
    )]
    RouteLost {
        /// What was missing at last.
        why: String,
        /// Servers that were tried, in order, and what became of it.
        tried: Vec<Tried>,
    },
    /// A server says that the request itself is wrong; others would say the same. The session stays as it was before.
    #[error("{by} rejected the request: {text}")]
    Rejected {
        /// The server.
        by: PeerId,
        /// Its words.
        text: String,
    },
    /// What was asked for cannot be done with these servers or settings.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The input contradicts itself or the session. Nothing was sent.
    #[error("bad input: {0}")]
    BadInput(String),
    /// What came back, or was computed from it at home, is of no use. The caches cannot be trusted: open a new session.
    #[error("the model computes nonsense: {0}")]
    Nonsense(String),
    /// The session has ended before; the text says why.
    #[error("the session is over: {0}")]
    Closed(String),
}

/// A server that was tried, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The server.
    pub peer: PeerId,
    /// Why it was of no use.
    pub why: String,
}

impl SessionError {
    /// Whether the session can be used on: nothing of it was lost.
    #[must_use]
    pub fn leaves_session_usable(&self) -> bool {
        match self {
            Self::TooLong { .. }
            | Self::Rejected { .. }
            | Self::Unsupported(_)
            | Self::BadInput(_) => true,
            Self::NoRoute { .. } | Self::RouteLost { .. } | Self::Nonsense(_) | Self::Closed(_) => {
                false
            }
        }
    }
}

impl From<RouteError> for SessionError {
    fn from(error: RouteError) -> Self {
        let why = error.to_string();
        match error {
            RouteError::Uncovered { missing } => Self::NoRoute {
                missing,
                why,
                tried: Vec::new(),
            },
            RouteError::NotReady(_) => Self::NoRoute {
                missing: Vec::new(),
                why,
                tried: Vec::new(),
            },
            RouteError::Pinned(_) => Self::Unsupported(why),
            RouteError::NoSuchBlocks { .. } => Self::BadInput(why),
        }
    }
}

impl From<TextError> for SessionError {
    fn from(error: TextError) -> Self {
        Self::BadInput(error.to_string())
    }
}

impl From<EmptyStop> for SessionError {
    fn from(error: EmptyStop) -> Self {
        Self::BadInput(error.to_string())
    }
}

impl From<ConstraintError> for SessionError {
    fn from(error: ConstraintError) -> Self {
        match error {
            ConstraintError::TooLarge { .. } | ConstraintError::Unusable(_) => {
                Self::BadInput(error.to_string())
            }
            ConstraintError::Model(_) | ConstraintError::NoThread(_) => {
                Self::Unsupported(error.to_string())
            }
        }
    }
}

impl From<SamplingError> for SessionError {
    fn from(error: SamplingError) -> Self {
        match error {
            SamplingError::Config(error) => Self::BadInput(error.to_string()),
            SamplingError::NothingAllowed => Self::Unsupported(error.to_string()),
            SamplingError::NotFinite { .. } | SamplingError::Empty => {
                Self::Nonsense(error.to_string())
            }
        }
    }
}

impl From<HeadError> for SessionError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::UnknownToken { .. } => Self::BadInput(error.to_string()),
            HeadError::Shape { .. } | HeadError::Compute(_) => Self::Nonsense(error.to_string()),
        }
    }
}

fn tried_text(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return String::new();
    }
    let each: Vec<_> = tried
        .iter()
        .map(|tried| format!("{}: {}", tried.peer, tried.why))
        .collect();
    format!(" (tried {})", each.join("; "))
}
