//! RPC names without a leading slash, on a swarm that insists on one.
//!
//! hivemind calls its handlers `Service.method`; rust-libp2p takes only names that begin with
//! `/`. The swarm here knows such a handler as `/bare/Service.method`, and a wrapper around every
//! substream rewrites the one negotiation line, in both directions:
//!
//! | on the wire            | shown to the swarm           |
//! |------------------------|------------------------------|
//! | `Service.method\n`     | `/bare/Service.method\n`     |
//! | `/ipfs/id/1.0.0\n`, `na\n`, the header | the same     |
//!
//! Once a name is agreed on, bytes pass through untouched. Everything above the muxer
//! (negotiation, keep-alive, limits) is stock libp2p.

mod line;
mod muxer;
mod substream;

pub(crate) use muxer::BareYamux;

use libp2p::StreamProtocol;

const PREFIX: &str = "/bare/";

/// The swarm's name for the handler that peers call `rpc`.
pub(crate) fn protocol(rpc: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("{PREFIX}{rpc}"))
        .expect("invariant: the prefix begins with a slash")
}

/// The peers' name for one of the swarm's, if it is such a handler.
pub(crate) fn rpc_name(protocol: &StreamProtocol) -> Option<&str> {
    protocol.as_ref().strip_prefix(PREFIX)
}
