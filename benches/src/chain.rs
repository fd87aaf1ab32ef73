//! `chain`: tokens a second of a model in one process against the same model cut over 1, 2 and 4 servers.
//!
//! Everything has one compute thread, as in the chain only one server computes at a time anyway. Servers are processes of
//! their own on loopback; embeddings and head are left out on both sides, so that nothing hides the chain's cost.

mod local;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use block_client::{ActivationCodec, Chain, ChainConfig, Swarm, SwarmConfig};
use block_program::network_threads;
use tokio::runtime::Runtime;

use crate::figure::{Figure, Goal};
use crate::models::{self, one_billion::HIDDEN};
use crate::processes::{BlockServer, Holding};
use crate::rounds::{Effort, Rounds, Subject};
use local::Local;

const BENCH: &str = "chain";

/// Half of the original's 16: fewer blocks make the chain's share larger, not smaller, and 16 in float32 would take 12 GB
/// for all copies.
const BLOCKS: usize = 8;
const QUICK_BLOCKS: usize = 4;

/// Servers of the chains. One is no chain: it shows what a server process costs without a second hop.
const LENGTHS: [usize; 3] = [1, 2, 4];

/// Tokens in the cache when a round begins, and those of one round.
const PAST: usize = 128;
const TOKENS: usize = 8;

const MAX_LENGTH: usize = 256;

const PATIENCE: Duration = Duration::from_secs(60);

/// A chain of 2 reaches this share of one process.
const GOAL: Goal = Goal::AtLeast(0.97);

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let blocks = if quick { QUICK_BLOCKS } else { BLOCKS };
    let model = models::one_billion(blocks)?;
    let runtime = network_threads::runtime()?;
    let _inside = runtime.enter();
    let mut servers: Vec<BlockServer> = Vec::new();
    for length in LENGTHS {
        let share = blocks / length;
        for first in (0..blocks).step_by(share) {
            let holding = Holding {
                model: &model,
                prefix: &prefix(length),
                blocks: first..first + share,
            };
            let initial_peer = servers.first().map(|server| server.address.clone());
            servers.push(BlockServer::start(&holding, initial_peer.as_deref())?);
        }
    }
    let address = &servers.first().context("servers are running")?.address;
    let swarm = runtime.block_on(Swarm::join(SwarmConfig::new(vec![address.parse()?])))?;
    let mut local = Local::load(&model, blocks, MAX_LENGTH)?;
    local.step(0, PAST)?;
    let mut chains = Vec::new();
    for length in LENGTHS {
        chains.push(Remote::open(&runtime, &swarm, length, blocks)?);
    }
    let subjects = chains
        .iter_mut()
        .map(|chain| Subject::timed(|| chain.run()));
    let in_process =
        Subject::timed(|| (PAST..PAST + TOKENS).try_for_each(|position| local.step(position, 1)));
    let rounds = Rounds::measure(
        BENCH,
        Effort::new(15, quick, 20),
        [in_process].into_iter().chain(subjects).collect(),
    )?;
    for chain in chains {
        chain.close();
    }
    runtime.block_on(swarm.shutdown());
    Ok(figures(blocks, &rounds))
}

fn prefix(length: usize) -> String {
    format!("bench-{length}")
}

fn figures(blocks: usize, rounds: &Rounds) -> Vec<Figure> {
    let shape = format!("1B shape, {blocks} blocks, float32");
    let one = rounds.spread(|seconds| TOKENS as f64 / seconds[0]);
    let mut figures = vec![Figure::new(
        BENCH,
        format!("{shape}, one process"),
        one,
        "tokens/s",
    )];
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let figure = Figure::new(
            BENCH,
            format!("{shape}, {length} servers"),
            rounds.ratio(0, index + 1),
            "x one process",
        );
        figures.push(if length == 2 {
            figure.with_goal(GOAL)
        } else {
            figure
        });
    }
    figures
}

/// A session over a chain of servers.
struct Remote<'a> {
    runtime: &'a Runtime,
    /// Here between two rounds.
    chain: Option<Chain>,
    token: Vec<f32>,
}

impl<'a> Remote<'a> {
    /// Opens a session over the chain of `length` servers, with [`PAST`] tokens in it.
    fn open(runtime: &'a Runtime, swarm: &Swarm, length: usize, blocks: usize) -> Result<Self> {
        let view = swarm.view(&prefix(length), blocks);
        let config = ChainConfig {
            codec: ActivationCodec::None,
            ..ChainConfig::new(0..blocks, HIDDEN, MAX_LENGTH)
        };
        let chain = runtime.block_on(async {
            let mut chain = Chain::open(view, swarm.node().clone(), config).await?;
            chain
                .step(&models::hidden_states(PAST, HIDDEN), None)
                .await?;
            anyhow::Ok(chain)
        })?;
        let stops = chain.stats().route.len();
        anyhow::ensure!(
            stops == length,
            "the route has {stops} servers, not {length}"
        );
        Ok(Self {
            runtime,
            chain: Some(chain),
            token: models::hidden_states(1, HIDDEN),
        })
    }

    /// One round's tokens, always at the same positions.
    fn run(&mut self) -> Result<()> {
        let mut chain = self
            .chain
            .take()
            .context("the chain is back after each round")?;
        let token = self.token.clone();
        let round = async move {
            chain.roll_back(PAST)?;
            for _ in 0..TOKENS {
                let began = Instant::now();
                chain.step(&token, None).await?;
                anyhow::ensure!(began.elapsed() < PATIENCE, "a step took a minute");
            }
            anyhow::Ok(chain)
        };
        self.chain = Some(network_threads::run(self.runtime, round)?);
        Ok(())
    }

    fn close(self) {
        if let Some(chain) = self.chain {
            self.runtime.block_on(chain.close());
        }
    }
}
