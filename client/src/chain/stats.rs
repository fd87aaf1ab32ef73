//! What a session has done.

use std::ops::Range;
use std::time::Duration;

use block_network::PeerId;

use crate::link_codec::ActivationCodec;

/// One stop of a session's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStop {
    /// The server.
    pub peer: PeerId,
    /// The blocks that it runs.
    pub blocks: Range<usize>,
}

/// What a session has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainStats {
    /// The servers in use now, in order of blocks.
    pub route: Vec<RouteStop>,
    /// Steps answered by the whole chain.
    pub steps: u64,
    /// Repairs that succeeded after a server was lost.
    pub failovers: u64,
    /// Tokens per sequence that were sent again to fill another server's cache, once for each hop that got them.
    pub replayed_tokens: u64,
    /// Longest time of one step; the first one, which carries the prompt, does not count.
    pub max_stall: Duration,
    /// Bytes of the messages sent to servers.
    pub bytes_sent: u64,
    /// Bytes of the messages received from servers.
    pub bytes_received: u64,
    /// How hidden states travel, as asked for.
    pub codec: ActivationCodec,
}
