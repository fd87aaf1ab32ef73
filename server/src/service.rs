//! The block service: handlers, sessions, cache budget and the compute thread, composed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use block_model::BlockSpan;
use block_network::{Node, PeerId};
use block_protocol::{Compression, DType};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::activations::Activations;
use crate::cache_budget::{CacheBudget, CacheRoom};
use crate::compute::Compute;
use crate::handler::{self, Context, Pusher};
use crate::metrics::{self, MemoryPool};
use crate::scheduler::{LineCaps, MAX_SHORT_TOKENS};
use crate::session_table::SessionTable;

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
    /// Who is answered; `None` = everybody.
    pub trusted_peers: Option<HashSet<PeerId>>,
    /// Longest life of a session.
    pub session_timeout: Duration,
    /// Longest pause between two steps of a session.
    pub step_timeout: Duration,
    /// Longest time for one forward, one push, one answer that the peer does not read.
    pub request_timeout: Duration,
    /// Wait for each block of a session's step before it is computed, as a larger model would take.
    pub block_delay: Duration,
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

/// A running block service. Dropping it ends every session at once; [`Service::drain`] first is kinder.
#[derive(Debug)]
pub struct Service {
    context: Arc<Context>,
    accepting: Mutex<JoinSet<()>>,
    compute: Compute,
}

/// Forward calls at once, and those of one peer. Each may hold a whole batch; the compute thread takes turns anyway.
const MAX_FORWARDS: usize = 32;
const MAX_FORWARDS_PER_PEER: usize = 8;

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
        let description = span.description().clone();
        // A session has at most one step in line.
        let steps = LineCaps {
            jobs: config.max_sessions,
            jobs_per_peer: config.max_sessions_per_peer,
        };
        let forwards = LineCaps {
            jobs: MAX_FORWARDS,
            jobs_per_peer: MAX_FORWARDS_PER_PEER,
        };
        metrics::record_memory(
            &description.device,
            MemoryPool::Weights,
            description.weight_bytes,
        );
        let compute = Compute::start(span, steps, forwards).map_err(ServiceError::Thread)?;
        // Inputs and outputs.
        let request_bytes = |tokens: usize| {
            let numbers = tokens.saturating_mul(description.hidden);
            numbers.saturating_mul(2 * size_of::<f32>())
        };
        let activations = Activations::new(
            request_bytes(config.max_batch_tokens),
            request_bytes(MAX_SHORT_TOKENS),
            config.max_sessions,
        );
        let context = Arc::new(Context {
            budget: CacheBudget::new(&CacheRoom {
                tokens_per_block: config.attn_cache_tokens as u64,
                blocks: description.blocks.len() as u64,
                page_tokens: description.kv_page_tokens as u64,
                bytes_per_token: description.kv_bytes_per_token_per_block as u64,
                device: description.device.clone(),
                max_waiting: config.max_sessions,
            }),
            activations,
            sessions: SessionTable::new(config.max_sessions, config.max_sessions_per_peer),
            forwards: SessionTable::new(MAX_FORWARDS, MAX_FORWARDS_PER_PEER),
            pusher: Pusher::new(
                node.clone(),
                config.dht_prefix.clone(),
                config.request_timeout,
            ),
            compute: compute.handle(),
            draining: CancellationToken::new(),
            description,
            config,
        });
        let accepting = Mutex::new(handler::serve_all(&node, &context));
        Ok(Self {
            context,
            accepting,
            compute,
        })
    }

    /// Free KV cache in the unit of the DHT record (bytes left over the bytes of one token's keys): keys and values
    /// are counted separately, over all blocks.
    #[must_use]
    pub fn cache_tokens_left(&self) -> u64 {
        2 * self.context.budget.free_tokens()
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.context.sessions.sessions()
    }

    /// Whether the compute thread can serve; readiness follows it.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.context.compute.healthy()
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> ServiceSnapshot {
        let context = &self.context;
        let (steps_queued, forwards_queued) = context.compute.queued();
        ServiceSnapshot {
            start_block: context.description.blocks.start,
            end_block: context.description.blocks.end,
            sessions: self.sessions(),
            sessions_waiting: context.budget.waiting(),
            cache_tokens_left: self.cache_tokens_left(),
            cache_tokens_total: 2 * context.budget.total_tokens(),
            steps_queued,
            forwards_queued,
            draining: context.draining.is_cancelled(),
            healthy: self.healthy(),
        }
    }

    /// Refuses new sessions and requests from now on, lets running steps and forwards finish and be answered, tells
    /// idle sessions to go elsewhere, and ends what is left after `deadline`. Returns when nothing runs. Dropping it
    /// leaves the service refusing.
    pub async fn drain(&self, deadline: Duration) {
        self.context.draining.cancel();
        let quiet = async {
            self.context.sessions.empty().await;
            self.context.forwards.empty().await;
            self.context.pusher.idle().await;
        };
        if tokio::time::timeout(deadline, quiet).await.is_err() {
            let sessions = self.context.sessions.seats();
            let forwards = self.context.forwards.seats();
            warn!(
                sessions,
                forwards, "drain deadline passed, ending what is left"
            );
        }
        let mut accepting = std::mem::take(
            &mut *self
                .accepting
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        accepting.shutdown().await;
    }

    /// Ends everything and waits for the compute thread to finish the call it is in.
    pub async fn stop(self) {
        let Self {
            accepting, compute, ..
        } = self;
        accepting
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .shutdown()
            .await;
        // An error would mean that joining panicked; the thread has ended then, too.
        tokio::task::spawn_blocking(move || compute.stop())
            .await
            .ok();
    }
}
