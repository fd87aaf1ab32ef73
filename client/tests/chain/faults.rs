//! One fault at one server: the outputs stay the same, bit for bit.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use block_client::{ActivationCodec, ChainStats, RouteRequest, SessionError};

use crate::fake::{Fault, Kind};
use crate::model::Model;
use crate::swarm::{TestSwarm, check_outputs, expected, generate};
use crate::toy::{HIDDEN, numbers};

/// Runs a prompt and ten tokens over two servers for each of three spans; `fault` happens at the `stop`th server of the
/// route, at its `step`th step.
async fn disturbed(
    fault: Fault,
    stop: usize,
    step: usize,
    codec: ActivationCodec,
    push: bool,
) -> ChainStats {
    let swarm = TestSwarm::ours(&[0..2, 0..2, 2..4, 2..4, 4..6, 4..6]).await;
    let mut chain = swarm.open(swarm.config(codec, push)).await.unwrap();
    let mut model = Model::of(&swarm, &chain, 1);
    swarm.server_of(&chain, stop).at(step, fault);
    check_outputs(&mut chain, &mut model, 5, 10).await;
    let stats = chain.stats();
    chain.close().await;
    stats
}

#[tokio::test]
async fn a_lost_server_changes_no_bit_of_the_outputs() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for (push, codec) in [
            (false, ActivationCodec::None),
            (true, ActivationCodec::Auto),
        ] {
            for stop in 0..3 {
                for step in [0, 1, 7] {
                    let began = Instant::now();
                    let stats = disturbed(fault, stop, step, codec, push).await;
                    let what = format!("{fault:?} at stop {stop}, step {step}, push {push}");
                    assert_eq!(stats.failovers, 1, "{what}");
                    // Five tokens of prompt, then one each; the step that was under way is not counted.
                    let done = step + usize::from(fault == Fault::DieAfter);
                    let tokens = if done == 0 { 0 } else { 4 + done };
                    let at_most = tokens as u64;
                    assert!(stats.replayed_tokens <= at_most, "{what}: {stats:?}");
                    assert!(began.elapsed() < Duration::from_secs(10), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_nonsense_or_refuses_is_replaced() {
    let faults = [
        Fault::Refuse,
        Fault::CutBuffer,
        Fault::WrongShape,
        Fault::Garbage,
        Fault::Twice,
    ];
    for fault in faults {
        for push in [false, true] {
            for stop in [0, 2] {
                let stats = disturbed(fault, stop, 3, ActivationCodec::Auto, push).await;
                assert_eq!(stats.failovers, 1, "{fault:?} at {stop}, push {push}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_that_lost_its_cache_goes_on_elsewhere_or_at_the_same_server() {
    for push in [false, true] {
        let stats = disturbed(Fault::RunOut, 1, 3, ActivationCodec::Auto, push).await;
        assert_eq!(stats.failovers, 1, "push {push}");
        // Nobody else serves the blocks.
        let swarm = TestSwarm::ours(&[0..3, 3..6]).await;
        let config = swarm.config(ActivationCodec::Auto, push);
        let mut chain = swarm.open(config).await.unwrap();
        let mut model = Model::of(&swarm, &chain, 1);
        swarm.server_of(&chain, 0).at(3, Fault::RunOut);
        let began = Instant::now();
        check_outputs(&mut chain, &mut model, 5, 10).await;
        assert!(began.elapsed() < Duration::from_secs(10), "push {push}");
        chain.close().await;
    }
}

#[tokio::test]
async fn a_stopped_server_is_left_soon() {
    for (stop, push) in [(0, true), (1, true), (2, false)] {
        let began = Instant::now();
        let stats = disturbed(Fault::Stop, stop, 6, ActivationCodec::Auto, push).await;
        assert_eq!(stats.failovers, 1);
        assert!(stats.max_stall < Duration::from_secs(3), "{stats:?}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_slow_server_that_lives_is_waited_for() {
    for push in [false, true] {
        let stats = disturbed(Fault::Slow(1500), 1, 6, ActivationCodec::Auto, push).await;
        assert_eq!((stats.failovers, stats.replayed_tokens), (0, 0));
        assert!(stats.max_stall >= Duration::from_millis(1500));
    }
}

#[tokio::test]
async fn lost_and_late_pushes_are_made_good_by_the_clients_copy() {
    for fault in [Fault::LosePush, Fault::LatePush(700)] {
        let stats = disturbed(fault, 0, 6, ActivationCodec::Auto, true).await;
        assert_eq!(
            (stats.failovers, stats.replayed_tokens),
            (0, 0),
            "{fault:?}"
        );
        assert!(stats.max_stall < Duration::from_millis(700), "{stats:?}");
    }
}

#[tokio::test]
async fn a_session_that_ended_in_order_is_opened_again_at_the_same_server() {
    let stats = disturbed(Fault::EndSession, 1, 6, ActivationCodec::Auto, false).await;
    // Nobody was lost; the server's cache was.
    assert_eq!((stats.failovers, stats.replayed_tokens), (0, 10));
}

#[tokio::test]
async fn the_callers_own_fault_fails_the_step_and_nothing_else() {
    // Nobody else has the blocks; or somebody has, and says the same.
    for others in [0, 1] {
        let spans = [0..2, 2..4, 2..4];
        let swarm = TestSwarm::ours(&spans[..2 + others]).await;
        let config = swarm.config(ActivationCodec::Auto, true);
        let mut chain = swarm.open(config).await.unwrap();
        let mut model = Model::of(&swarm, &chain, 1);
        check_outputs(&mut chain, &mut model, 5, 2).await;
        let first = swarm.server_of(&chain, 1).peer;
        for server in &swarm.servers[1..] {
            // The second one is filled with three steps first.
            let step = if server.peer == first { 0 } else { 3 };
            server.at(step, Fault::Blame);
        }
        let refused = chain.step(&numbers(99, HIDDEN), None).await;
        let Err(SessionError::Rejected { by, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(by == first, others == 0);
        assert_eq!(chain.position(), 7);
        check_outputs(&mut chain, &mut model, 1, 3).await;
        assert_eq!(chain.stats().failovers, others as u64);
        let banned = |server: &block_client::ServerStatus| server.banned_for.is_some();
        assert!(!swarm.view.snapshot().servers.iter().any(banned));
    }
}

#[tokio::test]
async fn one_server_that_calls_a_step_wrong_is_not_believed() {
    for push in [false, true] {
        let stats = disturbed(Fault::Blame, 1, 6, ActivationCodec::Auto, push).await;
        assert_eq!((stats.failovers, stats.replayed_tokens), (1, 10));
    }
}

#[tokio::test]
async fn a_lost_span_may_be_taken_over_in_other_cuts() {
    for codec in [ActivationCodec::None, ActivationCodec::Auto] {
        for push in [false, true] {
            let swarm = TestSwarm::ours(&[0..2, 2..8, 2..5, 5..8, 8..9]).await;
            let mut config = swarm.config(codec, push);
            config.repair_deadline = Duration::from_secs(2);
            let mut chain = swarm.open(config).await.unwrap();
            assert_eq!(chain.stats().route.len(), 3);
            let mut model = Model::of(&swarm, &chain, 1);
            swarm.server_of(&chain, 1).at(4, Fault::DieBefore);
            check_outputs(&mut chain, &mut model, 5, 10).await;
            let stats = chain.stats();
            assert_eq!(stats.route.len(), 4);
            // Both new servers get the tokens.
            assert_eq!((stats.failovers, stats.replayed_tokens), (1, 16));
            // And one of them dies, too.
            swarm.server_of(&chain, 2).die().await;
            let input = numbers(5, HIDDEN);
            let lost = chain.step(&input, None);
            let lost = tokio::time::timeout(Duration::from_secs(30), lost)
                .await
                .unwrap();
            assert!(
                matches!(lost, Err(SessionError::RouteLost { .. })),
                "{lost:?}"
            );
            let closed = chain.step(&[], None).await;
            assert!(matches!(closed, Err(SessionError::Closed(_))));
        }
    }
}

#[tokio::test]
async fn petals_may_take_over_from_us_and_we_from_petals() {
    for codec in [ActivationCodec::None, ActivationCodec::Auto] {
        for (first, second) in [
            (Kind::petals(), Kind::ours()),
            (Kind::ours(), Kind::petals()),
        ] {
            let spans = [
                (Kind::ours(), 0..2),
                (first, 2..4),
                (second, 2..4),
                (Kind::ours(), 4..6),
            ];
            let swarm = TestSwarm::start(spans.to_vec()).await;
            let mut chain = swarm.open(swarm.config(codec, true)).await.unwrap();
            let mut model = Model::of(&swarm, &chain, 1);
            swarm.server_of(&chain, 1).at(4, Fault::DieBefore);
            check_outputs(&mut chain, &mut model, 5, 10).await;
            assert_eq!(chain.stats().failovers, 1);
        }
    }
}

#[tokio::test]
async fn servers_lost_one_after_the_other_and_between_steps() {
    let swarm = TestSwarm::ours(&[0..3, 0..3, 0..3, 3..6, 3..6]).await;
    let mut chain = swarm
        .open(swarm.config(ActivationCodec::Auto, true))
        .await
        .unwrap();
    let mut model = Model::of(&swarm, &chain, 1);
    check_outputs(&mut chain, &mut model, 5, 2).await;
    swarm.server_of(&chain, 0).die().await;
    swarm.server_of(&chain, 1).die().await;
    check_outputs(&mut chain, &mut model, 2, 2).await;
    // The next replacement fails while its cache is being filled.
    let used = chain.stats().route[0].peer;
    let gone = swarm.server_of(&chain, 0);
    for server in &swarm.servers {
        if server.blocks == (0..3) && server.peer != used {
            server.at(1, Fault::DieBefore);
        }
    }
    gone.at(0, Fault::Refuse);
    check_outputs(&mut chain, &mut model, 1, 3).await;
}

#[tokio::test]
async fn a_machine_that_takes_connections_and_says_nothing_costs_no_attempt() {
    let swarm = TestSwarm::ours(&[0..6, 0..6]).await;
    let mut config = swarm.config(ActivationCodec::None, true);
    config.attempts = 1;
    let first = swarm.view.route(&RouteRequest::new(0..6, 64)).unwrap()[0].peer;
    let preferred = swarm.servers.iter().find(|server| server.peer == first);
    let preferred = preferred.unwrap();
    preferred.die().await;
    // The system takes connections for whoever listens; nobody ever reads from these.
    let _silence = loop {
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, preferred.port())) {
            Ok(listener) => break listener,
            // The server's own listener closes a moment after its node has shut down.
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut chain = swarm.open(config).await.unwrap();
    assert_ne!(swarm.server_of(&chain, 0).peer, preferred.peer);
    let outputs = generate(&mut chain, 1, 7, 2).await.unwrap();
    assert_eq!(outputs, expected(6, 1, 7, 2));
}
