//! What can go wrong between us and a peer, by who must act.

use std::{error::Error, io};

use block_protocol::{DecodeError, EncodeError};
use libp2p::{Multiaddr, core::upgrade::NegotiationError};

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: no address is known, or none of them answered.
    #[error("peer unreachable: {reason}")]
    Unreachable {
        /// What the dials and the lookup said.
        reason: String,
    },
    /// The deadline passed first.
    #[error("deadline passed")]
    Timeout,
    /// The peer serves no RPC of that name. The text is go-libp2p's, which Petals compares.
    #[error("protocol not supported")]
    NotSupported,
    /// The handler at the peer answered with this error.
    #[error("remote error: {text}")]
    Remote {
        /// As sent; empty if the peer gave none.
        text: String,
    },
    /// The stream or connection ended before the answer, or the answer was nonsense.
    #[error("call broken: {reason}")]
    Broken {
        /// What was seen.
        reason: String,
    },
    /// The request is over a limit of the protocol and was not sent.
    #[error("request of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Size of the envelope.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// This node has been shut down.
    #[error("this node has been shut down")]
    Stopped,
}

/// Why a node could not start. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// An address to listen on is taken, not ours, or of an unknown kind.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport said.
        reason: String,
    },
    /// The transport could not be set up (keys, name server configuration).
    #[error("cannot set up the transport: {reason}")]
    Transport {
        /// What libp2p said.
        reason: String,
    },
}

/// Why a stream gave no further frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the stream ended inside a frame")]
    Truncated,
    #[error("overloaded: too many bytes of unfinished requests; try another server")]
    OverBudget,
}

impl CallError {
    pub(crate) fn broken(reason: impl ToString) -> Self {
        Self::Broken {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unreachable(reason: impl ToString) -> Self {
        Self::Unreachable {
            reason: reason.to_string(),
        }
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        if is_negotiation_failure(&error) {
            Self::NotSupported
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::Timeout
        } else {
            Self::broken(error)
        }
    }
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error.into(),
            ReadError::Decode(_) | ReadError::Truncated | ReadError::OverBudget => {
                Self::broken(error)
            }
        }
    }
}

impl From<EncodeError> for CallError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::LimitExceeded { got, limit, .. } => Self::TooLarge { bytes: got, limit },
            other => Self::broken(other),
        }
    }
}

/// A proposal is answered while the payload is already under way, so `na` shows up as an error
/// of the first read.
fn is_negotiation_failure(error: &io::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> =
        error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(inner) = source {
        if matches!(
            inner.downcast_ref::<NegotiationError>(),
            Some(NegotiationError::Failed)
        ) {
            return true;
        }
        source = inner.source();
    }
    false
}
