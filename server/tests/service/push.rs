//! Pushes: one identity for a step whoever brings it, one answer, and the chain from server to server.

use std::ops::Range;
use std::time::Duration;

use block_client::HopStep;
use block_network::Node;
use block_protocol::{Compression, DType, ExpertRequest, NextServer, Rpc, Span, StepMetadata};
use block_server::ServiceConfig;
use bytes::Bytes;

use crate::support::*;

/// A step as another server pushes it.
fn pushed(session_id: &str, step_id: Option<&str>, input: &States) -> ExpertRequest {
    let metadata = StepMetadata {
        session_id: Some(session_id.to_owned()),
        step_id: step_id.map(str::to_owned),
        pushed: true,
        ..StepMetadata::default()
    };
    ExpertRequest {
        uid: chain(0..4).to_string(),
        tensors: vec![input.wire(), absent(DType::F32), absent(DType::I64)],
        metadata: metadata.encode().into(),
    }
}

/// The rest of a route: one server.
fn on_to(peer_id: impl ToString, session_id: &str, blocks: Range<usize>) -> Vec<NextServer> {
    vec![NextServer {
        peer_id: peer_id.to_string(),
        session_id: session_id.to_owned(),
        span: Span::new(blocks.start, blocks.end).unwrap(),
    }]
}

async fn push(
    from: &Node,
    server: &Server,
    request: &ExpertRequest,
) -> Result<Bytes, block_client::HopError> {
    let body = request.encode().unwrap();
    Ok(from
        .call(server.peer(), Rpc::Push.name(), body, PATIENCE)
        .await?)
}

#[tokio::test]
async fn a_step_from_both_sides_is_answered_once() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let other = crate::support::client(&[&server]).await;
    let input = States::wave(1, 6, 20);
    let whole = expected(0..4, &input);
    let mut hop = hop_with(&client, &server, 0..4, |opening| {
        opening.session_id = Some("both".to_owned());
    })
    .await;
    run(&mut hop, step(&input.tokens(0..3))).await;
    // First the push, answered on the session's own stream; then the client's copy, which gets none.
    push(
        &other,
        &server,
        &pushed("both", Some("s4"), &input.tokens(3..4)),
    )
    .await
    .unwrap();
    States::of(&hop.answer().await.unwrap()).assert_near(&whole.tokens(3..4));
    let copy = HopStep {
        step_id: "s4".to_owned(),
        ..step(&input.tokens(3..4))
    };
    hop.send(copy).await.unwrap();
    // The other way round: the late push gets no answer either.
    let own = HopStep {
        step_id: "s5".to_owned(),
        ..step(&input.tokens(4..5))
    };
    run(&mut hop, own).await.assert_near(&whole.tokens(4..5));
    push(
        &other,
        &server,
        &pushed("both", Some("s5"), &input.tokens(4..5)),
    )
    .await
    .unwrap();
    run(&mut hop, step(&input.tokens(5..6)))
        .await
        .assert_near(&whole.tokens(5..6));
    hop.close().await.unwrap();
}

#[tokio::test]
async fn outputs_are_pushed_down_the_route() {
    let (first, second) = (Server::start(0..2).await, Server::start(2..4).await);
    first.node.dial(second.address.clone()).await.unwrap();
    let client = client(&[&first, &second]).await;
    let input = States::wave(1, 5, 21);
    let whole = expected(0..4, &input);
    let mut ahead = hop(&client, &first, 0..2).await;
    let mut behind = hop_with(&client, &second, 2..4, |opening| {
        opening.session_id = Some("behind".to_owned());
    })
    .await;
    let middle = run(&mut ahead, step(&input.tokens(0..2))).await;
    run(&mut behind, step(&middle))
        .await
        .assert_near(&whole.tokens(0..2));
    let route = on_to(second.peer(), "behind", 2..4);
    for token in 2..5 {
        let one = token..token + 1;
        let on = HopStep {
            next_servers: route.clone(),
            ..step(&input.tokens(one.clone()))
        };
        let step_id = on.step_id.clone();
        let middle = run(&mut ahead, on).await;
        // The client has sent nothing to the second server yet.
        States::of(&behind.answer().await.unwrap()).assert_near(&whole.tokens(one));
        behind
            .send(HopStep {
                step_id,
                ..step(&middle)
            })
            .await
            .unwrap();
    }
    behind.close().await.unwrap();
    ahead.close().await.unwrap();
}

#[tokio::test]
async fn the_way_to_the_next_server_is_opened_while_a_short_step_is_computed() {
    let never_done = ServiceConfig {
        block_delay: Duration::from_secs(3600),
        ..config()
    };
    let server = Server::with(Box::new(span(0..2)), never_done).await;
    let (next, address) = listening().await;
    let mut pushes = next.serve_unary(Rpc::Push.name(), 4);
    server.node.add_address(next.peer_id(), address).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..2).await;
    let input = States::wave(1, 1, 27);
    let on = HopStep {
        next_servers: on_to(next.peer_id(), "next", 2..4),
        ..step(&input)
    };
    hop.send(on).await.unwrap();
    let server_peer = server.peer();
    eventually(|| async { next.connected_peers().contains(&server_peer) }).await;
    // A way that nothing goes is no push.
    assert!(pushes.try_recv().is_err());
}

/// Whatever the answers are packed in.
#[tokio::test]
async fn a_push_keeps_the_codec_of_its_step() {
    let server = Server::start(0..2).await;
    let (next, address) = listening().await;
    let mut pushes = next.serve_unary(Rpc::Push.name(), 4);
    server.node.dial(address).await.unwrap();
    let client = client(&[&server]).await;
    let input = States::wave(1, 3, 26);
    let route = on_to(next.peer_id(), "next", 2..4);
    let codecs = [
        Compression::None,
        Compression::Float16,
        Compression::Blockwise8,
        Compression::Blockwise8Implied,
    ];
    for answers in [Compression::None, Compression::Blockwise8Implied] {
        let mut hop = hop_with(&client, &server, 0..2, |opening| {
            opening.output_compression = Some(answers);
        })
        .await;
        for steps in codecs {
            let on = HopStep {
                next_servers: route.clone(),
                ..HopStep::new(input.packed(DType::F32, steps))
            };
            let answer = hop.step(on).await.unwrap();
            assert_eq!(answer.compression, answers);
            let call = pushes.recv().await.unwrap();
            let pushed = ExpertRequest::decode(call.body.clone()).unwrap();
            call.respond(Ok(Bytes::new()));
            // The tensor that the client would make of its answer, and nothing else.
            let relayed = States::of(&answer).packed(DType::F32, steps);
            assert_eq!(pushed.tensors[0], relayed, "{answers:?} {steps:?}");
        }
    }
}

#[tokio::test]
async fn a_route_that_leads_nowhere_harms_nothing() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 4, 22);
    let whole = expected(0..4, &input);
    let mut hop = hop(&client, &server, 0..4).await;
    for (token, peer_id) in [
        (0, "nobody"),
        (1, "12D3KooWGzBXkVtgQ3TLbRkJ7xDk5kA4YUCVHkHhSXGVzQ9bCAAd"),
    ] {
        let route = on_to(peer_id, "none", 4..8);
        let one = token..token + 1;
        let on = HopStep {
            next_servers: route,
            ..step(&input.tokens(one.clone()))
        };
        run(&mut hop, on).await.assert_near(&whole.tokens(one));
    }
    run(&mut hop, step(&input.tokens(2..4)))
        .await
        .assert_near(&whole.tokens(2..4));
}

#[tokio::test]
async fn a_session_whose_next_server_is_silent_leaves_places_to_others() {
    const STEPS: usize = 80;
    let (first, second) = (Server::start(0..2).await, Server::start(2..4).await);
    first.node.dial(second.address.clone()).await.unwrap();
    let client = client(&[&first, &second]).await;
    let silent = crate::support::client(&[&first]).await;
    let pushes = silent.serve_unary(Rpc::Push.name(), STEPS);
    let input = States::wave(1, STEPS, 24);
    let mut stuck = hop(&client, &first, 0..2).await;
    for token in 0..STEPS {
        let on = HopStep {
            next_servers: on_to(silent.peer_id(), "none", 2..4),
            ..step(&input.tokens(token..token + 1))
        };
        run(&mut stuck, on).await;
    }
    let mut ahead = hop(&client, &first, 0..2).await;
    let mut behind = hop_with(&client, &second, 2..4, |opening| {
        opening.session_id = Some("behind".to_owned());
    })
    .await;
    let middle = run(&mut ahead, step(&input.tokens(0..1))).await;
    run(&mut behind, step(&middle)).await;
    let on = HopStep {
        next_servers: on_to(second.peer(), "behind", 2..4),
        ..step(&input.tokens(1..2))
    };
    run(&mut ahead, on).await;
    // The client has sent nothing to the second server yet.
    let whole = expected(0..4, &input.tokens(0..2));
    States::of(&behind.answer().await.unwrap()).assert_near(&whole.tokens(1..2));
    assert!(pushes.len() <= 2, "{} are under way", pushes.len());
}

#[tokio::test]
async fn pushes_that_nobody_waits_for_are_ignored_and_nameless_ones_refused() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 1, 23);
    let unknown = push(&client, &server, &pushed("unknown", Some("s"), &input)).await;
    assert_eq!(unknown.unwrap(), Bytes::new());
    let nameless = push(&client, &server, &pushed("unknown", None, &input)).await;
    assert!(refusal(nameless).contains("step_id"));
}

#[tokio::test]
async fn a_bad_push_does_not_end_the_session() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let stranger = crate::support::client(&[&server]).await;
    let input = States::wave(1, 4, 24);
    let whole = expected(0..4, &input);
    let mut hop = hop_with(&client, &server, 0..4, |opening| {
        opening.session_id = Some("mine".to_owned());
    })
    .await;
    run(&mut hop, step(&input.tokens(0..3))).await;
    let mut bad = pushed("mine", Some("s"), &States::wave(3, 2, 0));
    push(&stranger, &server, &bad).await.unwrap();
    bad.tensors.clear();
    push(&stranger, &server, &bad).await.unwrap();
    bad = pushed("mine", Some("s"), &input.tokens(3..4));
    bad.tensors[0].buffer = Bytes::from_static(b"short");
    push(&stranger, &server, &bad).await.unwrap();
    // The same identity is still free for the client's own step.
    let own = HopStep {
        step_id: "s".to_owned(),
        ..step(&input.tokens(3..4))
    };
    run(&mut hop, own).await.assert_near(&whole.tokens(3..4));
}

#[tokio::test]
async fn a_session_id_cannot_be_taken_over() {
    let server = Server::start(0..4).await;
    let owner = client(&[&server]).await;
    let thief = client(&[&server]).await;
    let input = States::wave(1, 3, 25);
    let named = |opening: &mut block_client::Opening| opening.session_id = Some("one".to_owned());
    let mut first = hop_with(&owner, &server, 0..4, named).await;
    run(&mut first, step(&input.tokens(0..2))).await;
    for node in [&thief, &owner] {
        let mut second = hop_with(node, &server, 0..4, named).await;
        assert!(refusal(second.step(step(&input)).await).contains("session_id is in use"));
    }
    let last = run(&mut first, step(&input.tokens(2..3))).await;
    last.assert_near(&expected(0..4, &input).tokens(2..3));
    first.close().await.unwrap();
    let mut again = hop_with(&owner, &server, 0..4, named).await;
    run(&mut again, step(&input)).await;
}
