//! What a session asks for.

use std::ops::Range;
use std::time::Duration;

use block_network::PeerId;

use crate::link_codec::ActivationCodec;

/// What a session asks for.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// Blocks to run, half-open. The whole model: `0..view.num_blocks()`.
    pub blocks: Range<usize>,
    /// Tokens per sequence that the session may ever hold.
    pub max_length: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// How hidden states travel.
    pub codec: ActivationCodec,
    /// Whether servers hand hidden states on to each other where they can.
    pub push: bool,
    /// If set, the session opens on exactly these servers, in this order. A lost one may be replaced by any server that
    /// `allowed` and `blocked` admit.
    pub pinned: Option<Vec<PeerId>>,
    /// Servers never used.
    pub blocked: Vec<PeerId>,
    /// If set, no other servers are used.
    pub allowed: Option<Vec<PeerId>>,
    /// How long opening may take, waiting for servers included. Default 60 s.
    pub open_deadline: Duration,
    /// How long one repair may take, waiting for servers included. Default 120 s.
    pub repair_deadline: Duration,
    /// How often one repair, or the opening, tries a route. Default 8.
    pub attempts: usize,
}

impl ChainConfig {
    /// One sequence of at most `max_length` tokens through `blocks`, codec `Auto`, pushes on, any server.
    #[must_use]
    pub fn new(blocks: Range<usize>, hidden: usize, max_length: usize) -> Self {
        Self {
            blocks,
            max_length,
            batch: 1,
            hidden,
            codec: ActivationCodec::Auto,
            push: true,
            pinned: None,
            blocked: Vec::new(),
            allowed: None,
            open_deadline: Duration::from_secs(60),
            repair_deadline: Duration::from_secs(120),
            attempts: 8,
        }
    }
}
