//! Going back, reordering rows, dropping a step, long inputs: alone, and with a server lost afterwards.

use block_client::{ActivationCodec, Chain, SessionError};

use crate::fake::{Fault, Kind};
use crate::model::Model;
use crate::swarm::{TestSwarm, check_outputs};
use crate::toy::{HIDDEN, numbers};

/// Goes back in the chain and in the model.
fn back(chain: &mut Chain, model: &mut Model, position: usize) {
    chain.roll_back(position).unwrap();
    model.cut(position);
}

#[tokio::test]
async fn a_chain_goes_back_on_servers_that_can_and_on_servers_that_cannot() {
    for second in [Kind::ours(), Kind::petals()] {
        for push in [false, true] {
            let spans = [
                (Kind::ours(), 0..2),
                (second.clone(), 2..4),
                (Kind::ours(), 4..6),
                (Kind::ours(), 0..6),
            ];
            let swarm = TestSwarm::start(spans.to_vec()).await;
            let mut config = swarm.config(ActivationCodec::Auto, push);
            config.blocked = vec![swarm.servers[3].peer];
            let mut chain = swarm.open(config).await.unwrap();
            let mut model = Model::of(&swarm, &chain, 1);
            check_outputs(&mut chain, &mut model, 6, 4).await;
            // To the edge of a step, into the prompt, to the beginning.
            for position in [8, 3, 0] {
                back(&mut chain, &mut model, position);
                check_outputs(&mut chain, &mut model, 2, 3).await;
            }
            let stats = chain.stats();
            assert_eq!(stats.failovers, 0);
            let resent = if second.codecs.is_empty() { 11 } else { 0 };
            assert_eq!(stats.replayed_tokens, resent, "push {push}");
            assert!(matches!(chain.roll_back(6), Err(SessionError::BadInput(_))));
        }
    }
}

#[tokio::test]
async fn a_cut_log_fills_a_new_server() {
    for kind in [Kind::ours(), Kind::petals()] {
        let spans = [(Kind::ours(), 0..3), (Kind::ours(), 3..6), (kind, 3..6)];
        let swarm = TestSwarm::start(spans.to_vec()).await;
        for back_to in [8, 3, 0] {
            let config = swarm.config(ActivationCodec::Auto, true);
            let mut chain = swarm.open(config).await.unwrap();
            let mut model = Model::of(&swarm, &chain, 1);
            check_outputs(&mut chain, &mut model, 6, 4).await;
            back(&mut chain, &mut model, back_to);
            swarm.server_of(&chain, 1).at(0, Fault::EndSession);
            check_outputs(&mut chain, &mut model, 2, 3).await;
            back(&mut chain, &mut model, 1);
            swarm.server_of(&chain, 1).at(2, Fault::Refuse);
            check_outputs(&mut chain, &mut model, 2, 3).await;
        }
    }
}

#[tokio::test]
async fn rows_are_reordered_and_stay_so_on_a_new_server() {
    const BATCH: usize = 3;
    for second in [Kind::ours(), Kind::petals()] {
        let spans = [(Kind::ours(), 0..2), (second, 2..4), (Kind::ours(), 2..4)];
        let swarm = TestSwarm::start(spans.to_vec()).await;
        let mut config = swarm.config(ActivationCodec::Auto, true);
        config.batch = BATCH;
        let mut chain = swarm.open(config).await.unwrap();
        let mut model = Model::of(&swarm, &chain, BATCH);
        let orders = [[1, 1, 0], [2, 0, 1], [0, 0, 0], [2, 1, 0]];
        for (number, order) in orders.iter().cycle().take(12).enumerate() {
            let input = numbers(number as u64, BATCH * 2 * HIDDEN);
            if number == 5 {
                swarm.server_of(&chain, 1).at(0, Fault::DieBefore);
            }
            if number == 7 {
                chain.roll_back(5).unwrap();
                model.cut(5);
            }
            if number == 8 {
                // Without tokens it waits for the next step.
                assert!(chain.step(&[], Some(&[2, 0, 0])).await.unwrap().is_empty());
                model.reorder(&[2, 0, 0]);
            }
            if number == 9 {
                swarm.server_of(&chain, 0).at(0, Fault::EndSession);
            }
            let output = chain.step(&input, Some(order)).await.unwrap();
            model.reorder(order);
            assert_eq!(output, model.step(&input), "step {number}");
        }
        let wrong = chain
            .step(&numbers(0, BATCH * HIDDEN), Some(&[0, 1, 3]))
            .await;
        assert!(matches!(wrong, Err(SessionError::BadInput(_))));
    }
}

#[tokio::test]
async fn a_dropped_step_leaves_no_trace() {
    let swarm = TestSwarm::ours(&[0..2, 2..4, 4..6]).await;
    for stop in 0..3 {
        for push in [false, true] {
            let mut chain = swarm
                .open(swarm.config(ActivationCodec::Auto, push))
                .await
                .unwrap();
            let mut model = Model::of(&swarm, &chain, 1);
            check_outputs(&mut chain, &mut model, 4, 2).await;
            swarm.server_of(&chain, stop).at(0, Fault::Slow(300));
            let input = numbers(77, HIDDEN);
            let patience = std::time::Duration::from_millis(100);
            let outcome = tokio::time::timeout(patience, chain.step(&input, None)).await;
            assert!(outcome.is_err(), "too soon: {outcome:?}");
            assert_eq!(chain.position(), 6);
            check_outputs(&mut chain, &mut model, 2, 2).await;
        }
    }
}

#[tokio::test]
async fn lengths_are_held_and_long_inputs_are_cut() {
    let swarm = TestSwarm::ours(&[0..2, 2..3]).await;
    let mut config = swarm.config(ActivationCodec::Auto, true);
    config.max_length = 3000;
    let mut chain = swarm.open(config).await.unwrap();
    let too_long = chain.step(&numbers(0, 3001 * HIDDEN), None).await;
    assert!(matches!(
        too_long,
        Err(SessionError::TooLong {
            position: 0,
            new: 3001,
            max_length: 3000
        })
    ));
    assert!(matches!(
        chain.step(&[0.0; HIDDEN + 1], None).await,
        Err(SessionError::BadInput(_))
    ));
    let too_long = chain.step(&numbers(0, 2049 * HIDDEN), Some(&[0])).await;
    assert!(matches!(too_long, Err(SessionError::BadInput(_))));
    let mut model = Model::of(&swarm, &chain, 1);
    let input = numbers(1, 2500 * HIDDEN);
    let output = chain.step(&input, None).await.unwrap();
    assert_eq!(output.len(), input.len());
    // Each token is rounded by itself, so it does not matter where the chain cuts.
    assert_eq!(output, model.step(&input));
    assert_eq!(chain.position(), 2500);
}

#[tokio::test]
async fn several_segments_are_filled_at_the_same_time() {
    // Petals 2.2 cannot go back: both must be filled anew.
    let spans = [(Kind::petals(), 0..2), (Kind::petals(), 2..4)];
    let swarm = TestSwarm::start(spans.to_vec()).await;
    let config = swarm.config(ActivationCodec::None, false);
    let mut chain = swarm.open(config).await.unwrap();
    let mut model = Model::of(&swarm, &chain, 1);
    check_outputs(&mut chain, &mut model, 6, 0).await;
    back(&mut chain, &mut model, 3);
    let slow = std::time::Duration::from_millis(1500);
    for server in &swarm.servers {
        server.at(0, Fault::Slow(1500));
    }
    let began = std::time::Instant::now();
    check_outputs(&mut chain, &mut model, 1, 0).await;
    assert!(began.elapsed() >= slow && began.elapsed() < slow * 2);
    assert_eq!(chain.stats().replayed_tokens, 6);
}

#[tokio::test]
async fn decode_steps_of_several_rows_are_measured_as_such() {
    let swarm = TestSwarm::ours(&[0..2, 2..4]).await;
    let mut config = swarm.config(ActivationCodec::None, false);
    config.batch = 3;
    let mut chain = swarm.open(config).await.unwrap();
    chain.step(&numbers(0, 3 * HIDDEN), None).await.unwrap();
    let servers = swarm.view.snapshot().servers;
    assert!(servers.iter().all(|server| server.measured.is_some()));
}
