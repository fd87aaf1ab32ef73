//! `gateway`: tokens a second of whole answers through `swarm gateway`, one and sixteen streams at once, against the same
//! answers by the library in this process, from the same server.
//!
//! An answer begins with a new session on both sides and ends with its last token. The embedded model: the smaller the
//! model, the larger the gateway's share.

use anyhow::{Context, Result};
use block_client::{
    GenerateConfig, ModelOptions, ModelSource, RemoteModel, SessionConfig, Swarm, SwarmConfig,
};
use block_program::network_threads;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::figure::{Figure, Goal};
use crate::format::Format;
use crate::models;
use crate::processes::{BlockServer, Gateway, Holding};
use crate::rounds::{Effort, Rounds, Subject};

const BENCH: &str = "gateway";
const PREFIX: &str = "bench-gateway";

/// Blocks of the embedded model.
const BLOCKS: usize = 8;

/// Ids that the model has.
const PROMPT: [u32; 8] = [5, 17, 100, 33, 258, 71, 9, 640];
/// Tokens of an answer.
const TOKENS: usize = 64;

const STREAMS: [usize; 2] = [1, 16];

/// The gateway reaches this share of the library.
const GOAL: Goal = Goal::AtLeast(0.95);

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let model = models::fable();
    let runtime = network_threads::runtime()?;
    let _inside = runtime.enter();
    let holding = Holding {
        model: &model,
        prefix: PREFIX,
        blocks: 0..BLOCKS,
        format: Format::F32,
    };
    let server = BlockServer::start(&holding, None)?;
    let gateway = Gateway::start(&model, PREFIX, &server.address)?;
    let config = SwarmConfig::new(vec![server.address.parse()?]);
    let swarm = runtime.block_on(Swarm::join(config))?;
    let options = ModelOptions {
        dht_prefix: Some(PREFIX.to_owned()),
    };
    let remote = runtime.block_on(swarm.load(ModelSource::directory(&model)?, options))?;
    let mut figures = Vec::new();
    for streams in STREAMS {
        let by_library = Subject::timed(|| in_process(&runtime, &remote, streams));
        let by_gateway = Subject::timed(|| over_http(&runtime, &gateway, streams));
        let name = format!("{BENCH}, {streams} streams");
        let effort = Effort::new(15, quick, 10);
        let rounds = Rounds::measure(&name, effort, vec![by_library, by_gateway])?;
        let case = format!("fable-7m, float32, {streams} at once");
        let tokens = (streams * TOKENS) as f64;
        figures.extend([
            Figure::new(BENCH, case.clone(), rounds.ratio(0, 1), "x library").with_goal(GOAL),
            Figure::new(
                BENCH,
                format!("{case}, library"),
                rounds.spread(|seconds| tokens / seconds[0]),
                "tokens/s",
            ),
        ]);
    }
    runtime.block_on(swarm.shutdown());
    Ok(figures)
}

fn in_process(runtime: &Runtime, remote: &RemoteModel, streams: usize) -> Result<()> {
    let mut answers = JoinSet::new();
    let _inside = runtime.enter();
    for _ in 0..streams {
        answers.spawn(answer(remote.clone()));
    }
    all(runtime, answers)
}

async fn answer(remote: RemoteModel) -> Result<()> {
    let config = SessionConfig::new(PROMPT.len() + TOKENS);
    let mut session = remote.session(config).await?;
    let config = GenerateConfig {
        ignore_eos: true,
        ..GenerateConfig::new(TOKENS)
    };
    let mut generation = session.generate(&PROMPT[..], config)?;
    while let Some(token) = generation.next().await {
        token?;
    }
    session.close().await;
    Ok(())
}

fn over_http(runtime: &Runtime, gateway: &Gateway, streams: usize) -> Result<()> {
    let mut answers = JoinSet::new();
    let _inside = runtime.enter();
    for _ in 0..streams {
        answers.spawn(gateway.stream(&PROMPT, TOKENS));
    }
    all(runtime, answers)
}

/// Waits for all answers, on the threads where they are made.
fn all(runtime: &Runtime, mut answers: JoinSet<Result<()>>) -> Result<()> {
    network_threads::run(runtime, async move {
        while let Some(answer) = answers.join_next().await {
            answer.context("an answer's task")??;
        }
        Ok(())
    })
}
