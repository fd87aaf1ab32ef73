//! Which servers a session goes through. Pure: no I/O, no clock; randomness comes in.
//!
//! Source of the rules and of the golden vectors: petals 22afba6, `client/routing/sequence_manager.py`.

use std::ops::Range;

use block_network::PeerId;

/// What a route is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRequest {
    /// Blocks to cover, half-open.
    pub blocks: Range<usize>,
    /// Tokens per sequence that a session may hold.
    pub max_length: usize,
    /// Sequences per session. Default 1.
    pub batch: usize,
    /// What the route is good for. Default [`RouteMode::MinLatency`].
    pub mode: RouteMode,
    /// Whether servers hand hidden states on to each other. If not, every hop is a round trip of ours.
    pub push: bool,
    /// Servers used only where nobody else offers a block.
    pub avoid: Vec<PeerId>,
    /// If set, no other servers are used.
    pub allowed: Option<Vec<PeerId>>,
    /// Servers never used.
    pub blocked: Vec<PeerId>,
    /// If set, the route goes through exactly these, in this order.
    pub pinned: Option<Vec<PeerId>>,
}

impl RouteRequest {
    /// The fastest route of pushes over `blocks`, any server, one sequence.
    #[must_use]
    pub fn new(blocks: Range<usize>, max_length: usize) -> Self {
        Self {
            blocks,
            max_length,
            batch: 1,
            mode: RouteMode::MinLatency,
            push: true,
            avoid: Vec::new(),
            allowed: None,
            blocked: Vec::new(),
            pinned: None,
        }
    }
}

/// What a route is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteMode {
    /// One step should take as little time as possible: sessions.
    MinLatency,
    /// Work should spread over servers: forward and backward of large batches.
    MaxThroughput,
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Some blocks have no online server.
    #[error("no server offers blocks {}", ranges(missing))]
    Uncovered {
        /// Runs of blocks without a usable server, in order.
        missing: Vec<Range<usize>>,
    },
    /// The pinned servers cannot be used as asked.
    #[error("the pinned route is not possible: {0}")]
    Pinned(String),
    /// The request is no request: no blocks, or blocks that the model does not have.
    #[error("blocks {}:{} are not blocks of a model with {num_blocks}", blocks.start, blocks.end)]
    NoSuchBlocks {
        /// Blocks asked for.
        blocks: Range<usize>,
        /// Blocks of the model.
        num_blocks: usize,
    },
    /// The records could not be read so far.
    #[error("the swarm could not be looked up: {0}")]
    NotReady(String),
}

fn ranges(missing: &[Range<usize>]) -> String {
    let texts: Vec<_> = missing
        .iter()
        .map(|run| format!("{}:{}", run.start, run.end))
        .collect();
    texts.join(", ")
}
