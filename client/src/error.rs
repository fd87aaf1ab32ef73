//! What goes wrong at one server, and what to do next.

use block_network::CallError;
use block_protocol::{DecodeError, EncodeError};

/// Why a server brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// No connection to it.
    #[error("server unreachable: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// It answered with an error; the text is the server's own.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The stream ended early, or the answer was nonsense.
    #[error("the server's answer broke off: {0}")]
    Broken(String),
    /// The request is wrong or too large for the protocol; it was not sent.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
}

/// What to do after a [`HopError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextMove {
    /// Ask the same server again.
    Retry,
    /// Ask another server.
    Reroute,
    /// No server can help.
    GiveUp,
}

/// Who is to blame for a [`HopError`], which decides what happens to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The request itself is wrong: no server would take it. No ban, no other try.
    Caller,
    /// The server has no room now, or is leaving. Others may have; this one is left out for a moment.
    Busy,
    /// The server, or the way to it. It is banned.
    Server,
}

impl HopError {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        unimplemented!()
    }

    /// What to do next. A refusal is taken as that server's problem: its text is not for machines.
    #[must_use]
    pub fn next_move(&self) -> NextMove {
        match self {
            Self::Broken(_) => NextMove::Retry,
            Self::Unreachable(_) | Self::Timeout | Self::Refused(_) => NextMove::Reroute,
            Self::Unsendable(_) => NextMove::GiveUp,
        }
    }
}

impl From<CallError> for HopError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable { reason } => Self::Unreachable(reason),
            CallError::Timeout => Self::Timeout,
            CallError::NotSupported => Self::Refused(error.to_string()),
            CallError::Remote { text } => Self::Refused(text),
            CallError::Broken { reason } => Self::Broken(reason),
            CallError::TooLarge { .. } | CallError::Stopped => Self::Unsendable(error.to_string()),
        }
    }
}

impl From<DecodeError> for HopError {
    fn from(error: DecodeError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<EncodeError> for HopError {
    fn from(error: EncodeError) -> Self {
        Self::Unsendable(error.to_string())
    }
}
