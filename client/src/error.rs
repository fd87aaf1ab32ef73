//! What goes wrong at one server, and what to do next.

mod refusal;

use block_network::CallError;
use block_protocol::{DecodeError, EncodeError};

pub use refusal::Blame;

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
    /// The stream ended early.
    #[error("the server's answer broke off: {0}")]
    Broken(String),
    /// It answered, but with nothing that answers the request.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
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

impl HopError {
    /// Who is to blame. A refusal is judged by its text, see `refusal`.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(text) => refusal::blame(text),
            Self::Unreachable(_) | Self::Timeout | Self::Broken(_) | Self::Nonsense(_) => {
                Blame::Server
            }
            Self::Unsendable(_) => Blame::Caller,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next_move(&self) -> NextMove {
        match (self, self.blame()) {
            (_, Blame::Caller) => NextMove::GiveUp,
            (Self::Broken(_), _) => NextMove::Retry,
            (_, Blame::Misfit | Blame::Busy | Blame::Server) => NextMove::Reroute,
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
        Self::Nonsense(error.to_string())
    }
}

impl From<EncodeError> for HopError {
    fn from(error: EncodeError) -> Self {
        Self::Unsendable(error.to_string())
    }
}
