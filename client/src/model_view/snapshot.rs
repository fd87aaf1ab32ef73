//! What a view knows at one moment, for people.

use std::ops::Range;
use std::time::Duration;

use block_network::PeerId;
use block_protocol::{ServerInfo, ServerState};

use crate::speed::StepEstimate;

/// What a view knows at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSnapshot {
    /// Key prefix of the model's blocks.
    pub dht_prefix: String,
    /// Blocks of the whole model.
    pub num_blocks: usize,
    /// Every server with a live record, in order of first blocks, then of peer ids.
    pub servers: Vec<ServerStatus>,
    /// Time since the records were read; `None` if they never were.
    pub age: Option<Duration>,
    /// Why the last reading failed, if it did.
    pub last_error: Option<String>,
}

/// One server as a view knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// Who it is.
    pub peer: PeerId,
    /// What it announced.
    pub state: ServerState,
    /// The blocks that it serves, inside the model.
    pub blocks: Range<usize>,
    /// Tokens per second, as announced.
    pub throughput: f64,
    /// The rest of its record.
    pub info: ServerInfo,
    /// What our pings say.
    pub reach: Reach,
    /// For how long it is still banned.
    pub banned_for: Option<Duration>,
    /// One-token steps through its whole span, as measured.
    pub measured: Option<StepEstimate>,
}

/// Whether a server answers us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not asked lately.
    Unknown,
    /// It does, after this round trip.
    Answers(Duration),
    /// It did not.
    Silent,
}

impl ServerStatus {
    /// Whether a route could use it: online, and not known to be silent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == ServerState::Online && self.reach != Reach::Silent
    }
}

impl ViewSnapshot {
    /// Usable servers of each block.
    #[must_use]
    pub fn replicas(&self) -> Vec<usize> {
        let mut replicas = vec![0; self.num_blocks];
        for server in self.servers.iter().filter(|server| server.is_usable()) {
            for block in server.blocks.clone() {
                if let Some(count) = replicas.get_mut(block) {
                    *count += 1;
                }
            }
        }
        replicas
    }

    /// Blocks with a usable server.
    #[must_use]
    pub fn covered(&self) -> usize {
        let replicas = self.replicas();
        replicas.into_iter().filter(|&servers| servers > 0).count()
    }

    /// Runs of blocks without a usable server, in order.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<usize>> {
        let mut missing: Vec<Range<usize>> = Vec::new();
        for (block, servers) in self.replicas().into_iter().enumerate() {
            if servers > 0 {
                continue;
            }
            match missing.last_mut() {
                Some(run) if run.end == block => run.end = block + 1,
                Some(_) | None => missing.push(block..block + 1),
            }
        }
        missing
    }

    /// Whether every block has a usable server.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.missing().is_empty()
    }

    /// Announced tokens per second of the block that has least, summed over its usable servers; `rate` says which
    /// figure of a record counts. Zero if a block has none.
    #[must_use]
    pub fn bottleneck(&self, rate: impl Fn(&ServerInfo) -> Option<f64>) -> f64 {
        let mut rates = vec![0.0; self.num_blocks];
        for server in self.servers.iter().filter(|server| server.is_usable()) {
            let rate = rate(&server.info).unwrap_or_default();
            for block in server.blocks.clone() {
                if let Some(sum) = rates.get_mut(block) {
                    *sum += rate;
                }
            }
        }
        rates.into_iter().reduce(f64::min).unwrap_or_default()
    }
}
