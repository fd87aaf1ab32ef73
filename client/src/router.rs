//! Which servers a session goes through. Pure: no I/O, no clock; randomness comes in.
//!
//! - [`Candidate`]: what is known of one server, as costs
//! - `admission`: who takes part, and how left-out servers come back where nobody else offers a block
//! - `latency`: the quickest route, a shortest path
//! - `throughput`: a random walk that spreads work
//! - `pinned`: the cuts of a route whose servers are given
//!
//! Records are claims of strangers: every figure is clamped, and the work is bounded by the square of the servers.
//! Source of rules, constants and golden vectors: petals 22afba6, `client/routing/sequence_manager.py`.

mod admission;
mod candidate;
mod latency;
mod pinned;
mod throughput;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::ops::Range;

use block_network::PeerId;
use rand::Rng;

pub use candidate::{Candidate, Pace};

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
    /// Whether servers hand hidden states on to each other, where they can. If not, every hop is a round trip of
    /// ours. Default `true`.
    pub push: bool,
    /// Servers used only where nobody else offers a block.
    pub avoid: Vec<PeerId>,
    /// If set, no other servers are used.
    pub allowed: Option<Vec<PeerId>>,
    /// Servers never used.
    pub blocked: Vec<PeerId>,
    /// If set, the route goes through exactly these, in this order, banned or not. Each is left at its last block, or
    /// earlier where the servers after it could not go on otherwise.
    pub pinned: Option<Vec<PeerId>>,
}

impl RouteRequest {
    /// The quickest route over `blocks`, any servers, one sequence, with pushes.
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
    /// Some blocks have no usable server. The operator must start one; [`RouteError::hint`] says how.
    #[error("no server is online for blocks {}", ranges_text(missing))]
    Uncovered {
        /// Runs of blocks without a usable server, in order.
        missing: Vec<Range<usize>>,
    },
    /// The pinned servers cannot make up the route. The caller must pin others.
    #[error("the pinned route is not possible: {0}")]
    Pinned(String),
    /// The request asks for no blocks, or for blocks that the model does not have.
    #[error("blocks {}:{} are no blocks of a model with {num_blocks}", blocks.start, blocks.end)]
    NoSuchBlocks {
        /// Blocks asked for.
        blocks: Range<usize>,
        /// Blocks of the model.
        num_blocks: usize,
    },
    /// The records could not be read so far.
    #[error("the records of the model's servers could not be read: {0}")]
    NotReady(String),
}

impl RouteError {
    /// What to type, for somebody who can start a server of `model`; `None` if no command helps.
    #[must_use]
    pub fn hint(&self, model: &str) -> Option<String> {
        let Self::Uncovered { missing } = self else {
            return None;
        };
        let command = |run: &Range<usize>| {
            format!(
                "block-server --model {model} --blocks {}:{} --initial-peers ADDRESS",
                run.start, run.end
            )
        };
        let commands: Vec<_> = missing.iter().map(command).collect();
        Some(commands.join("; "))
    }
}

/// One stop of a planned route: which candidate runs which blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Place in the list of candidates.
    pub candidate: usize,
    /// Blocks to run there.
    pub blocks: Range<usize>,
}

/// Plans a route through `candidates`, all of them online servers of a model with `num_blocks` blocks. The order of the
/// candidates decides ties, so callers sort them; `random` is used by [`RouteMode::MaxThroughput`] only.
///
/// # Errors
/// `NoSuchBlocks`, `Uncovered`, `Pinned`.
pub fn plan(
    request: &RouteRequest,
    candidates: &[Candidate],
    num_blocks: usize,
    random: &mut impl Rng,
) -> Result<Vec<Stop>, RouteError> {
    let blocks = request.blocks.clone();
    if blocks.is_empty() || blocks.end > num_blocks {
        return Err(RouteError::NoSuchBlocks { blocks, num_blocks });
    }
    if let Some(peers) = &request.pinned {
        return pinned::route(request, peers, candidates);
    }
    let entrants = admission::admit(request, candidates)?;
    match request.mode {
        RouteMode::MinLatency => latency::route(request, candidates, &entrants)
            .map(|(stops, _)| stops)
            .ok_or_else(|| RouteError::Uncovered {
                missing: vec![blocks],
            }),
        RouteMode::MaxThroughput => Ok(throughput::route(&blocks, candidates, &entrants, random)),
    }
}

/// `0:4, 6:8`.
pub(crate) fn ranges_text(ranges: &[Range<usize>]) -> String {
    let texts: Vec<_> = ranges
        .iter()
        .map(|range| format!("{}:{}", range.start, range.end))
        .collect();
    texts.join(", ")
}
