//! Sessions of one process that share a `Swarm` of the library: one connection to the server that they all lose.

use std::time::Duration;

use block_client::{
    ActivationCodec, ChainStats, GenerateConfig, ModelOptions, ModelSource, RemoteModel,
    SessionConfig, Swarm, SwarmConfig,
};
use block_testing::{PATIENCE, fable};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::prompts::prompt;
use crate::stage::{CUTS, Stage};

const SESSIONS: usize = 8;

/// New tokens after the fault.
const MORE_TOKENS: usize = 50;

/// New tokens that every session has when the server is lost.
const TOKENS: usize = 64;

/// The hop that is lost.
const LOST: usize = 1;

#[test]
fn eight_sessions_lose_the_same_server_at_once() {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(eight_sessions());
}

async fn eight_sessions() {
    let mut stage = Stage::start("one-swarm", "auto", &CUTS, &CUTS);
    let expected: Vec<Vec<u32>> = (0..SESSIONS)
        .rev()
        .map(|number| stage.undisturbed("auto", number))
        .rev()
        .collect();
    let address = stage.bootstrap().parse().unwrap();
    let swarm = Swarm::join(SwarmConfig::new(vec![address])).await.unwrap();
    let options = ModelOptions {
        dht_prefix: Some(stage.prefix().to_owned()),
    };
    let source = ModelSource::directory(fable()).unwrap();
    let model = swarm.load(source, options).await.unwrap();

    let (progress, mut tokens) = mpsc::channel(SESSIONS * (TOKENS + MORE_TOKENS));
    let running: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let (model, progress, route) = (model.clone(), progress.clone(), stage.route());
            tokio::spawn(async move { generate(&model, number, &route, progress).await })
        })
        .collect();
    let mut all_have = [0; SESSIONS];
    while all_have.iter().any(|tokens| *tokens < TOKENS) {
        let number: usize = timeout(PATIENCE, tokens.recv())
            .await
            .expect("in time")
            .expect("some run");
        all_have[number] += 1;
    }
    stage.server(LOST).kill();

    for (number, running) in running.into_iter().enumerate() {
        let (ids, stats) = timeout(PATIENCE, running).await.expect("in time").unwrap();
        assert_eq!(
            ids,
            expected[number][..TOKENS + MORE_TOKENS],
            "session {number}: {stats:?}"
        );
        assert_eq!(stats.failovers, 1, "session {number}: {stats:?}");
        let cached = (prompt(number).len() + TOKENS) as u64;
        let replayed = cached - 1..=cached + MORE_TOKENS as u64;
        assert!(
            replayed.contains(&stats.replayed_tokens),
            "session {number}: {stats:?}"
        );
        assert!(stats.max_stall < MAX_STALL, "session {number}: {stats:?}");
        println!(
            "failover: session {number} of one swarm: stall {} ms",
            stats.max_stall.as_millis()
        );
    }
    swarm.shutdown().await;
}

/// Far above the goal for the median: all of them at once on two busy cores.
const MAX_STALL: Duration = Duration::from_secs(10);

/// Says on `progress` that there is one more token, every time.
async fn generate(
    model: &RemoteModel,
    number: usize,
    route: &[String],
    progress: mpsc::Sender<usize>,
) -> (Vec<u32>, ChainStats) {
    let prompt = prompt(number);
    let max_tokens = TOKENS + MORE_TOKENS;
    let config = SessionConfig {
        codec: ActivationCodec::Auto,
        pinned: Some(route.iter().map(|peer| peer.parse().unwrap()).collect()),
        ..SessionConfig::new(prompt.len() + max_tokens)
    };
    let mut session = model.session(config).await.unwrap();
    let config = GenerateConfig {
        ignore_eos: true,
        ..GenerateConfig::new(max_tokens)
    };
    let mut answer = session.generate(prompt, config).unwrap();
    let mut ids = Vec::new();
    while let Some(token) = answer.next().await {
        ids.push(token.unwrap().id);
        progress.send(number).await.unwrap();
    }
    let stats = session.stats();
    session.close().await;
    (ids, stats)
}
