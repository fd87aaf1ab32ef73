//! The block service: handlers, sessions, cache budget and the compute thread, composed.

use std::time::Duration;

use block_model::BlockSpan;
use block_network::Node;
use block_protocol::{Compression, DType};
use serde::Serialize;

/// What the operator decided about the service. Every number is checked by the configuration.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Prefix of the block uids, without `.`.
    pub dht_prefix: String,
    /// Type of the hidden states in answers, as announced in the schema.
    pub schema_dtype: DType,
    /// Compression of answers unless the caller asks for another.
    pub compression: Compression,
    /// Version in `rpc_info`: a Petals version, since clients read it as one.
    pub version: String,
    /// Our own name and version, an extra key of `rpc_info`.
    pub implementation: String,
    /// Quantization of the weights: `none`, `int8`, `nf4`.
    pub quant_type: String,
    /// Whether this node is only a client of the DHT (behind NAT).
    pub dht_client_mode: bool,
    /// Largest `max_length` that a session may ask for, in tokens.
    pub inference_max_length: usize,
    /// Most `batch x seq` tokens in one request.
    pub max_batch_tokens: usize,
    /// KV cache budget of each block, in tokens.
    pub attn_cache_tokens: usize,
    /// Open sessions.
    pub max_sessions: usize,
    /// Open sessions of one peer.
    pub max_sessions_per_peer: usize,
    /// Cap on the time that a session may wait for its share of the cache.
    pub max_alloc_timeout: Duration,
    /// Longest life of a session.
    pub session_timeout: Duration,
    /// Longest pause between two steps of a session.
    pub step_timeout: Duration,
    /// Longest time for one forward, one push, one answer that the peer does not read.
    pub request_timeout: Duration,
}

/// The service's state at one moment, for `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceSnapshot {
    /// First served block.
    pub start_block: usize,
    /// End of the served blocks, exclusive.
    pub end_block: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Sessions that wait for their share of the cache.
    pub sessions_waiting: usize,
    /// Free KV cache in the unit of the DHT record: keys and values counted separately, over all blocks.
    pub cache_tokens_left: u64,
    /// The whole KV cache in the same unit.
    pub cache_tokens_total: u64,
    /// Steps waiting for the compute thread.
    pub steps_queued: usize,
    /// Forwards waiting for the compute thread.
    pub forwards_queued: usize,
    /// Whether new sessions are refused because the server is shutting down.
    pub draining: bool,
    /// Whether the compute thread can serve.
    pub healthy: bool,
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The operating system gave no thread for the computation.
    #[error("cannot start the compute thread")]
    Thread(#[source] std::io::Error),
}

/// A running block service.
#[derive(Debug)]
pub struct Service {}

impl Service {
    /// Starts the compute thread, which takes the span, and serves all block RPCs at `node`. The served blocks are
    /// those of the span's description. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServiceError`] if the compute thread cannot be started.
    pub fn start(
        node: Node,
        span: Box<dyn BlockSpan>,
        config: ServiceConfig,
    ) -> Result<Self, ServiceError> {
        let _ = (node, span, config);
        Ok(Self {})
    }

    /// Free KV cache in the unit of the DHT record (protocol: bytes left over the bytes of one token's keys):
    /// keys and values are counted separately, over all blocks.
    #[must_use]
    pub fn cache_tokens_left(&self) -> u64 {
        0
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        0
    }

    /// Whether the compute thread can serve; readiness follows it.
    #[must_use]
    pub fn healthy(&self) -> bool {
        true
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> ServiceSnapshot {
        ServiceSnapshot {
            start_block: 0,
            end_block: 0,
            sessions: 0,
            sessions_waiting: 0,
            cache_tokens_left: 0,
            cache_tokens_total: 0,
            steps_queued: 0,
            forwards_queued: 0,
            draining: false,
            healthy: true,
        }
    }

    /// Refuses new sessions and requests from now on, lets running steps and forwards finish and be answered, tells
    /// idle sessions to go elsewhere, and ends what is left after `deadline`. Returns when nothing runs.
    pub async fn drain(&self, deadline: Duration) {
        let _ = deadline;
    }
}
