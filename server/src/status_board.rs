//! What the admin port tells: facts about this server, its state, its readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::metrics::{self, Label, State};

/// The answer of `/status`; `block-server status --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// `offline`, `joining`, `online` or `draining`.
    pub state: String,
    /// Peer id, base58.
    pub peer_id: String,
    /// Announced multiaddrs with `/p2p/`.
    pub addresses: Vec<String>,
    /// First served block.
    pub start_block: usize,
    /// End of the served blocks, exclusive.
    pub end_block: usize,
    /// Blocks of the whole model.
    pub num_blocks: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Free KV cache in the unit of the DHT record (keys and values counted separately, over all blocks).
    pub cache_tokens_left: u64,
    /// Dtype of the hidden states.
    pub dtype: String,
    /// Quantization of the weights.
    pub quant_type: String,
    /// Format of keys and values.
    #[serde(default)]
    pub kv_dtype: String,
    /// Threads that compute.
    #[serde(default)]
    pub threads: usize,
    /// Wire compressions this server decodes and encodes.
    pub codecs: Vec<String>,
    /// Process id.
    pub pid: u32,
    /// Model as given on the command line.
    pub model: String,
    /// Key prefix in the DHT.
    pub dht_prefix: String,
    /// Announced throughput, tokens per second.
    pub throughput: f64,
    /// Our name and version.
    pub implementation: String,
}

impl Default for StatusReport {
    fn default() -> Self {
        Self {
            state: State::Offline.label().to_owned(),
            peer_id: String::new(),
            addresses: Vec::new(),
            start_block: 0,
            end_block: 0,
            num_blocks: 0,
            sessions: 0,
            cache_tokens_left: 0,
            dtype: String::new(),
            quant_type: String::new(),
            kv_dtype: String::new(),
            threads: 0,
            codecs: Vec::new(),
            pid: std::process::id(),
            model: String::new(),
            dht_prefix: String::new(),
            throughput: 0.0,
            implementation: crate::announce::IMPLEMENTATION.to_owned(),
        }
    }
}

/// A condition that must be reached once before the server counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latch {
    /// The swarm is joined, or this node is alone on purpose.
    SwarmJoined,
    /// The blocks are in memory.
    ModelLoaded,
    /// ONLINE stands in the DHT.
    Announced,
}

impl Latch {
    const ALL: [Self; 3] = [Self::SwarmJoined, Self::ModelLoaded, Self::Announced];

    /// What is waited for, as `/health/ready` says it.
    const fn name(self) -> &'static str {
        match self {
            Self::SwarmJoined => "swarm_joined",
            Self::ModelLoaded => "model_loaded",
            Self::Announced => "announced",
        }
    }
}

/// Figures that change with every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveFigures {
    pub(crate) sessions: usize,
    pub(crate) cache_tokens_left: u64,
    pub(crate) is_healthy: bool,
}

type ReadLive = Arc<dyn Fn() -> LiveFigures + Send + Sync>;

/// Shared by the run loop, which writes, and the admin port, which reads.
#[derive(Default)]
pub(crate) struct StatusBoard {
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    report: StatusReport,
    latched: Vec<Latch>,
    is_draining: bool,
    live: Option<ReadLive>,
}

impl StatusBoard {
    /// Changes facts of the report; the state is set by [`Self::set_state`].
    pub(crate) fn update(&self, change: impl FnOnce(&mut StatusReport)) {
        change(&mut self.lock().report);
    }

    /// Sets the state, here and in the metrics.
    pub(crate) fn set_state(&self, state: State) {
        metrics::record_state(state);
        let mut facts = self.lock();
        facts.report.state = state.label().to_owned();
        facts.is_draining |= state == State::Draining;
    }

    /// Marks a condition as reached.
    pub(crate) fn latch(&self, latch: Latch) {
        let mut facts = self.lock();
        if !facts.latched.contains(&latch) {
            facts.latched.push(latch);
        }
    }

    /// A service is about to be loaded: the first one, or one of other blocks.
    pub(crate) fn begin_joining(&self) {
        self.set_state(State::Joining);
        let mut facts = self.lock();
        facts.latched.retain(|latch| *latch == Latch::SwarmJoined);
        facts.is_draining = false;
        facts.live = None;
    }

    /// Where the live figures come from, from now on.
    pub(crate) fn read_live_from(&self, read: impl Fn() -> LiveFigures + Send + Sync + 'static) {
        self.lock().live = Some(Arc::new(read));
    }

    /// The report at this moment.
    pub(crate) fn report(&self) -> StatusReport {
        let mut report = self.lock().report.clone();
        if let Some(live) = self.live() {
            report.sessions = live.sessions;
            report.cache_tokens_left = live.cache_tokens_left;
        }
        report
    }

    /// Whether the process can still do its work.
    pub(crate) fn is_healthy(&self) -> bool {
        self.live().is_none_or(|live| live.is_healthy)
    }

    /// Asked without the lock: the service has locks of its own.
    fn live(&self) -> Option<LiveFigures> {
        let read = self.lock().live.clone();
        read.map(|read| read())
    }

    /// What keeps this server from being ready; empty when it is.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let healthy = self.is_healthy();
        let facts = self.lock();
        let mut missing: Vec<_> = Latch::ALL
            .iter()
            .filter(|latch| !facts.latched.contains(latch))
            .map(|latch| latch.name())
            .collect();
        if facts.is_draining {
            missing.push("not_draining");
        }
        if !healthy {
            missing.push("compute");
        }
        missing
    }

    /// No code panics while it holds the lock, and the facts are plain values.
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for StatusBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusBoard")
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_latch_is_set_and_until_draining() {
        let board = StatusBoard::default();
        assert_eq!(
            board.missing(),
            ["swarm_joined", "model_loaded", "announced"]
        );
        board.latch(Latch::ModelLoaded);
        board.latch(Latch::SwarmJoined);
        board.latch(Latch::Announced);
        board.latch(Latch::Announced);
        assert!(board.missing().is_empty());
        board.set_state(State::Draining);
        assert_eq!(board.missing(), ["not_draining"]);
        board.set_state(State::Offline);
        assert_eq!(board.missing(), ["not_draining"]);
        board.begin_joining();
        assert_eq!(board.missing(), ["model_loaded", "announced"]);
    }

    #[test]
    fn live_figures_are_read_when_asked() {
        let board = StatusBoard::default();
        assert_eq!(board.report().sessions, 0);
        board.read_live_from(|| LiveFigures {
            sessions: 3,
            cache_tokens_left: 7,
            is_healthy: false,
        });
        let report = board.report();
        assert_eq!((report.sessions, report.cache_tokens_left), (3, 7));
        assert!(!board.is_healthy());
        assert!(board.missing().contains(&"compute"));
    }
}
