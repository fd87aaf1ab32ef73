//! A session over a chain of servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use block_client::{ActivationCodec, Chain, ChainConfig, Swarm};
use block_program::network_threads;
use tokio::runtime::Runtime;

use crate::models;

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which servers, and what is sent through them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// DHT prefix under which exactly one chain of servers is known.
    pub(crate) prefix: &'a str,
    pub(crate) servers: usize,
    pub(crate) blocks: usize,
    pub(crate) hidden: usize,
    /// Tokens in the servers' caches when a round begins.
    pub(crate) past: usize,
    pub(crate) max_length: usize,
}

/// An open session.
pub(crate) struct Remote<'a> {
    runtime: &'a Runtime,
    /// Here between two calls.
    chain: Option<Chain>,
    past: usize,
    token: Vec<f32>,
}

impl<'a> Remote<'a> {
    /// Opens a session and fills it. Hidden states travel as they are.
    ///
    /// # Errors
    /// The chain's, or if the route has another number of servers.
    pub(crate) fn open(runtime: &'a Runtime, swarm: &Swarm, way: Way<'_>) -> Result<Self> {
        let view = swarm.view(way.prefix, way.blocks);
        let config = ChainConfig {
            codec: ActivationCodec::None,
            ..ChainConfig::new(0..way.blocks, way.hidden, way.max_length)
        };
        let chain = runtime.block_on(async {
            let mut chain = Chain::open(view, swarm.node().clone(), config).await?;
            let past = models::hidden_states_bf16(way.past, way.hidden);
            chain.step(&past, None).await?;
            anyhow::Ok(chain)
        })?;
        let stops = chain.stats().route.len();
        anyhow::ensure!(
            stops == way.servers,
            "the route has {stops} servers, not {}",
            way.servers
        );
        Ok(Self {
            runtime,
            chain: Some(chain),
            past: way.past,
            token: models::hidden_states_bf16(1, way.hidden),
        })
    }

    /// So many tokens, one after the other: from where the cache ended when the session was opened if it `starts_over`, else behind
    /// those of the last call. Returns the seconds they took.
    ///
    /// # Errors
    /// The chain's.
    pub(crate) fn run(&mut self, tokens: usize, starts_over: bool) -> Result<f64> {
        let mut chain = self
            .chain
            .take()
            .context("the chain is back after each call")?;
        let (past, token) = (self.past, self.token.clone());
        let round = async move {
            if starts_over {
                chain.roll_back(past)?;
            }
            let mut seconds = 0.0;
            for _ in 0..tokens {
                let began = Instant::now();
                chain.step(&token, None).await?;
                let took = began.elapsed();
                anyhow::ensure!(took < PATIENCE, "a step took a minute");
                seconds += took.as_secs_f64();
            }
            anyhow::Ok((chain, seconds))
        };
        let (chain, seconds) = network_threads::run(self.runtime, round)?;
        self.chain = Some(chain);
        Ok(seconds)
    }

    pub(crate) fn close(self) {
        if let Some(chain) = self.chain {
            self.runtime.block_on(chain.close());
        }
    }
}
