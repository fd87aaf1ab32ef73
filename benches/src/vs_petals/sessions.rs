//! Many sessions at one server at once, whatever kind it is; without embeddings, head and text.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use block_client::{ActivationCodec, Chain, ChainConfig, Swarm, SwarmConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::models;

/// Tokens of each session before the clock starts, and while it runs.
const PAST: usize = 8;
const TOKENS: usize = 8;

/// Opens sessions at the servers of one swarm.
pub(super) struct Generator {
    runtime: Runtime,
    swarm: Swarm,
    blocks: usize,
    hidden: usize,
}

impl Generator {
    /// A client of the swarm that `address` belongs to.
    pub(super) fn join(address: &str, blocks: usize, hidden: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let swarm = {
            let _inside = runtime.enter();
            let config = SwarmConfig::new(vec![address.parse()?]);
            runtime.block_on(Swarm::join(config))?
        };
        Ok(Self {
            runtime,
            swarm,
            blocks,
            hidden,
        })
    }

    /// Tokens a second of `count` sessions together at the server that announces `prefix`: all new, since real Petals
    /// servers take no step back.
    pub(super) fn tokens_per_second(&self, prefix: &str, count: usize) -> Result<f64> {
        self.runtime.block_on(async {
            let ready = Arc::new(Barrier::new(count + 1));
            let mut sessions = JoinSet::new();
            for _ in 0..count {
                let chain = self.open(prefix).await?;
                sessions.spawn(run(chain, self.hidden, Arc::clone(&ready)));
            }
            ready.wait().await;
            let started = Instant::now();
            while let Some(ended) = sessions.join_next().await {
                ended.context("a session's task")??;
            }
            Ok((count * TOKENS) as f64 / started.elapsed().as_secs_f64())
        })
    }

    async fn open(&self, prefix: &str) -> Result<Chain> {
        let view = self.swarm.view(prefix, self.blocks);
        let config = ChainConfig {
            codec: ActivationCodec::None,
            ..ChainConfig::new(0..self.blocks, self.hidden, PAST + TOKENS)
        };
        let mut chain = Chain::open(view, self.swarm.node().clone(), config).await?;
        chain
            .step(&models::hidden_states(PAST, self.hidden), None)
            .await?;
        Ok(chain)
    }

    /// Leaves the swarm.
    pub(super) fn close(self) {
        self.runtime.block_on(self.swarm.shutdown());
    }
}

/// One session's tokens, from the moment at which all are ready.
async fn run(mut chain: Chain, hidden: usize, ready: Arc<Barrier>) -> Result<()> {
    let token = models::hidden_states(1, hidden);
    ready.wait().await;
    for _ in 0..TOKENS {
        chain.step(&token, None).await?;
    }
    chain.close().await;
    Ok(())
}
