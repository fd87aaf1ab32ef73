//! `chain`: tokens a second of a model in one process against the same model cut over 1, 2 and 4 servers.
//!
//! Everything has one compute thread, as in the chain only one server computes at a time anyway. Servers are processes of
//! their own on loopback; embeddings and head are left out on both sides, so that nothing hides the chain's cost. The one
//! process is also measured with a pause before each token, which is not counted: a core that has slept begins slowly,
//! and in a chain each of them sleeps while the others work.
//! All of them take turns token by token.

mod local;
pub(crate) mod remote;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use block_client::{Swarm, SwarmConfig};
use block_program::network_threads;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::models::{ONE_BILLION, Stack};
use crate::processes::{BlockServer, Holding};
use crate::rounds::{Effort, Rounds, Subject};
use local::Local;
use remote::{Remote, Way};

const BENCH: &str = "chain";

/// All of the original's: 16 GB in float32 for the four copies. With fewer, as a quick run has, the chain's share of a step
/// is larger.
const BLOCKS: usize = 16;
const QUICK_BLOCKS: usize = 4;

/// Servers of the chains. One is no chain: it shows what a server process costs without a second hop.
const LENGTHS: [usize; 3] = [1, 2, 4];

/// Tokens in the cache when a round begins, and those of one round.
const PAST: usize = 128;
const TOKENS: usize = 8;

const MAX_LENGTH: usize = 256;

/// How long a server's compute thread sleeps between two steps of one session on loopback.
const PAUSE: Duration = Duration::from_micros(300);

/// A chain of 2 reaches this share of one process.
const GOAL: Goal = Goal::AtLeast(0.97);

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let blocks = if quick { QUICK_BLOCKS } else { BLOCKS };
    let stack = Stack {
        shape: &ONE_BILLION,
        blocks,
    };
    let model = stack.checkpoint()?;
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
                format: Format::F32,
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
        let way = Way {
            prefix: &prefix(length),
            servers: length,
            blocks,
            hidden: ONE_BILLION.hidden,
            past: PAST,
            max_length: MAX_LENGTH,
        };
        chains.push(Remote::open(&runtime, &swarm, way)?);
    }
    // Token by token: what the machine does meanwhile changes within a second, and so meets all of them.
    let by_turns = Subject::new(|| {
        let mut seconds = vec![0.0; 2 + LENGTHS.len()];
        for position in PAST..PAST + TOKENS {
            seconds[0] += timed(&mut local, position)?;
            pause();
            seconds[1] += timed(&mut local, position)?;
            for (chain, seconds) in chains.iter_mut().zip(&mut seconds[2..]) {
                *seconds += chain.run(1, position == PAST)?;
            }
        }
        Ok(seconds)
    });
    let rounds = Rounds::measure(BENCH, Effort::new(15, quick, 20), vec![by_turns])?;
    for chain in chains {
        chain.close();
    }
    runtime.block_on(swarm.shutdown());
    Ok(figures(blocks, &rounds))
}

/// Seconds of one token at `position`.
fn timed(local: &mut Local, position: usize) -> Result<f64> {
    let started = Instant::now();
    local.step(position, 1)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Lets the core sleep, as a server's does between two steps.
#[expect(clippy::disallowed_methods, reason = "a pause is what is measured")]
fn pause() {
    thread::sleep(PAUSE);
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
    figures.push(Figure::new(
        BENCH,
        format!("{shape}, one process that sleeps before each token"),
        rounds.ratio(0, 1),
        "x one process",
    ));
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let figure = Figure::new(
            BENCH,
            format!("{shape}, {length} servers"),
            rounds.ratio(0, index + 2),
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
