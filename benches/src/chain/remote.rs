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
    /// Here between two rounds.
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

    /// So many tokens, one after the other, always at the same positions.
    ///
    /// # Errors
    /// The chain's.
    pub(crate) fn run(&mut self, tokens: usize) -> Result<()> {
        let mut chain = self
            .chain
            .take()
            .context("the chain is back after each round")?;
        let (past, token) = (self.past, self.token.clone());
        let round = async move {
            chain.roll_back(past)?;
            for _ in 0..tokens {
                let began = Instant::now();
                chain.step(&token, None).await?;
                anyhow::ensure!(began.elapsed() < PATIENCE, "a step took a minute");
            }
            anyhow::Ok(chain)
        };
        self.chain = Some(network_threads::run(self.runtime, round)?);
        Ok(())
    }

    /// One token behind the one before, or, if it `is_first`, where the cache ended when the session was opened. Returns the
    /// seconds it took.
    ///
    /// # Errors
    /// The chain's.
    pub(crate) fn step(&mut self, is_first: bool) -> Result<f64> {
        let mut chain = self
            .chain
            .take()
            .context("the chain is back after each step")?;
        let (past, token) = (self.past, self.token.clone());
        let step = async move {
            if is_first {
                chain.roll_back(past)?;
            }
            let began = Instant::now();
            chain.step(&token, None).await?;
            anyhow::Ok((chain, began.elapsed()))
        };
        let (chain, took) = network_threads::run(self.runtime, step)?;
        self.chain = Some(chain);
        anyhow::ensure!(took < PATIENCE, "a step took a minute");
        Ok(took.as_secs_f64())
    }

    pub(crate) fn close(self) {
        if let Some(chain) = self.chain {
            self.runtime.block_on(chain.close());
        }
    }
}
