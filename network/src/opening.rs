//! An outbound stream on its way: asked for by a caller, opened by a connection's handler.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    iter,
};

use libp2p::{
    OutboundUpgrade, Stream, StreamProtocol, core::UpgradeInfo, swarm::StreamUpgradeError,
};
use tokio::sync::oneshot;

/// A caller's wish for a stream.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What the stream proposes.
    pub(crate) name: StreamProtocol,
    /// Told the stream, or why there is none.
    pub(crate) reply: Reply,
}

/// Dropped unanswered when the connection closes.
pub(crate) type Reply = oneshot::Sender<Result<Stream, OpenFailure>>;

/// Why a connection opened no stream. Nothing has been sent then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// The peer does not serve the name.
    #[error("protocol not supported")]
    NotSupported,
    /// The connection is too slow, or broken.
    #[error("no stream could be opened: {0}")]
    Broken(String),
}

impl From<StreamUpgradeError<Infallible>> for OpenFailure {
    fn from(error: StreamUpgradeError<Infallible>) -> Self {
        match error {
            StreamUpgradeError::NegotiationFailed => Self::NotSupported,
            StreamUpgradeError::Timeout => Self::Broken("the peer does not answer".to_owned()),
            StreamUpgradeError::Io(error) => Self::Broken(error.to_string()),
            StreamUpgradeError::Apply(never) => match never {},
        }
    }
}

/// Proposes one name and yields the stream as it is.
#[derive(Debug)]
pub(crate) struct Proposal(pub(crate) StreamProtocol);

impl UpgradeInfo for Proposal {
    type Info = StreamProtocol;
    type InfoIter = iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(self.0.clone())
    }
}

impl OutboundUpgrade<Stream> for Proposal {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
