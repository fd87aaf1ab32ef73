//! Random swarms, random steps, random faults at random moments: either the undisturbed result, bit for bit, or an error
//! that says why; and always in time.

use std::time::Duration;

use block_client::{ActivationCodec, ChainConfig, SessionError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::fake::{Fault, Kind};
use crate::model::Model;
use crate::swarm::TestSwarm;
use crate::toy::{HIDDEN, numbers};

/// Longest that one step may take before it counts as hanging: repairs give up after [`REPAIR`].
const PATIENCE: Duration = Duration::from_secs(60);
const REPAIR: Duration = Duration::from_secs(6);
const BLOCKS: usize = 6;

fn fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..13) {
        0 => Fault::DieBefore,
        1 => Fault::DieAfter,
        2 => Fault::Stop,
        3 => Fault::Refuse,
        4 => Fault::EndSession,
        5 => Fault::Slow(rng.random_range(1..400)),
        6 => Fault::CutBuffer,
        7 => Fault::WrongShape,
        8 => Fault::Garbage,
        9 => Fault::LosePush,
        10 => Fault::Blame,
        11 => Fault::Twice,
        _ => Fault::LatePush(rng.random_range(1..200)),
    }
}

/// Every block at least thrice, in cuts of all kinds.
fn spans(rng: &mut StdRng) -> Vec<(Kind, std::ops::Range<usize>)> {
    let mut spans = Vec::new();
    for _ in 0..3 {
        let mut start = 0;
        while start < BLOCKS {
            let end = (start + rng.random_range(1..=4)).min(BLOCKS);
            let kind = if rng.random_range(0..4) == 0 {
                Kind::petals()
            } else {
                Kind::ours()
            };
            spans.push((kind, start..end));
            start = end;
        }
    }
    spans
}

/// One session's life. Returns whether it came to its end.
async fn live(seed: u64) -> bool {
    let mut rng = StdRng::seed_from_u64(seed);
    let swarm = TestSwarm::start(spans(&mut rng)).await;
    let batch = rng.random_range(1..=2);
    let codec = if rng.random() {
        ActivationCodec::Auto
    } else {
        ActivationCodec::None
    };
    let config = ChainConfig {
        batch,
        repair_deadline: REPAIR,
        ..swarm.config(codec, rng.random())
    };
    let mut chain = timeout(PATIENCE, swarm.open(config))
        .await
        .expect("opening hangs")
        .unwrap();
    let mut model = Model::of(&swarm, &chain, batch);
    for _ in 0..rng.random_range(1..6) {
        let server = rng.random_range(0..swarm.servers.len());
        swarm.servers[server].at(rng.random_range(0..30), fault(&mut rng));
    }
    for step in 0..rng.random_range(5..30) {
        if rng.random_range(0..8) == 0 {
            let position = rng.random_range(0..=chain.position());
            chain.roll_back(position).unwrap();
            model.cut(position);
        }
        if rng.random_range(0..6) == 0 {
            let stop = rng.random_range(0..chain.stats().route.len());
            swarm.server_of(&chain, stop).at(0, fault(&mut rng));
        }
        let room = chain.max_length() - chain.position();
        let tokens = if rng.random_range(0..4) == 0 {
            rng.random_range(1..6)
        } else {
            1
        };
        if tokens > room {
            break;
        }
        let order: Vec<usize> = (0..batch).map(|_| rng.random_range(0..batch)).collect();
        let order = (rng.random_range(0..4) == 0).then_some(order.as_slice());
        let input = numbers(seed * 1000 + step, batch * tokens * HIDDEN);
        let position = chain.position();
        let outcome = timeout(PATIENCE, chain.step(&input, order)).await;
        match outcome.unwrap_or_else(|_| panic!("seed {seed}: step {step} hangs")) {
            Ok(output) => {
                if let Some(order) = order {
                    model.reorder(order);
                }
                assert_eq!(output, model.step(&input), "seed {seed}, step {step}");
            }
            Err(SessionError::Rejected { text, .. }) => {
                assert!(text.contains("no such thing"), "seed {seed}: {text}");
                assert_eq!(chain.position(), position);
            }
            Err(SessionError::RouteLost { why, tried }) => {
                assert!(!why.is_empty() && !tried.is_empty(), "seed {seed}");
                assert!(matches!(
                    chain.step(&input, None).await,
                    Err(SessionError::Closed(_))
                ));
                return false;
            }
            Err(error) => panic!("seed {seed}, step {step}: {error}"),
        }
    }
    timeout(PATIENCE, chain.close())
        .await
        .expect("closing hangs");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_give_the_same_result_or_an_error_that_says_why() {
    let first: u64 = std::env::var("CHAIN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    let count: u64 = std::env::var("CHAIN_LIVES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(24);
    let mut finished = 0;
    let mut seeds = first..first + count;
    loop {
        let eight: Vec<_> = seeds
            .by_ref()
            .take(8)
            .map(|seed| tokio::spawn(live(seed)))
            .collect();
        if eight.is_empty() {
            break;
        }
        for life in eight {
            finished += u64::from(life.await.unwrap());
        }
    }
    // Three servers for each block: most sessions survive.
    assert!(
        finished * 2 > count,
        "{finished} of {count} sessions came to their end"
    );
}
