//! Unary calls between two nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use block_network::{CallError, Keypair, Node, NodeConfig, PeerId, identity};
use bytes::Bytes;
use futures::future::join_all;
use support::{
    PATIENCE, Running, answer_all, bytes, loopback, pair, serve_echo, soon, start, start_with,
};

const RPC: &str = "Service.method";

#[tokio::test]
async fn an_answer_and_an_error_come_back() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let calls = callee.node.serve_unary(RPC, 4);
    let expected = caller.node.peer_id();
    tokio::spawn(answer_all(calls, move |call| {
        assert_eq!(call.peer, expected);
        let answer = match call.body.as_ref() {
            b"" => Ok(Bytes::new()),
            b"fail" => Err("ValueError('no')".to_owned()),
            _ => Ok(bytes("pong")),
        };
        call.respond(answer);
    }));
    let call = |body| caller.node.call(peer, RPC, bytes(body), PATIENCE);
    assert_eq!(call("ping").await, Ok(bytes("pong")));
    assert_eq!(call("").await, Ok(Bytes::new()));
    let text = "ValueError('no')".to_owned();
    assert_eq!(call("fail").await, Err(CallError::Remote { text }));
}

#[tokio::test]
async fn what_fails_before_a_request_is_made_is_tried_again_with_it() {
    let (caller, callee) = (start().await, start().await);
    let peer = callee.node.peer_id();
    serve_echo(&callee.node, RPC);
    // Nobody knows the callee's address until the request is there.
    let body = async {
        let unknown = caller.node.connect(peer).await;
        assert!(matches!(unknown, Err(CallError::Unreachable { .. })));
        let address = callee.address.clone();
        caller.node.add_address(peer, address).await;
        Some(bytes("x"))
    };
    let answer = caller.node.call_ahead(peer, RPC, body, PATIENCE).await;
    assert_eq!(answer, Ok(Some(bytes("x"))));
}

#[tokio::test]
async fn an_unknown_name_is_not_supported_and_the_connection_survives() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    serve_echo(&callee.node, RPC);
    let unknown = caller
        .node
        .call(peer, "Service.unknown", bytes("x"), PATIENCE)
        .await;
    assert_eq!(unknown, Err(CallError::NotSupported));
    assert_eq!(unknown.unwrap_err().to_string(), "protocol not supported");
    // Larger than the muxer's window: the refusal arrives while the request is being written.
    let large = Bytes::from(vec![1; 1 << 20]);
    let unknown = caller
        .node
        .call(peer, "Service.unknown", large, PATIENCE)
        .await;
    assert_eq!(unknown, Err(CallError::NotSupported));
    let served = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    assert_eq!(served, Ok(bytes("x")));
    assert_eq!(caller.node.connected_peers(), [peer]);
}

#[tokio::test]
async fn a_service_ends_with_its_queue() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    drop(callee.node.serve_unary(RPC, 1));
    let call = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    assert_eq!(call, Err(CallError::NotSupported));
    serve_echo(&callee.node, RPC);
    let call = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    assert_eq!(call, Ok(bytes("x")));
}

#[tokio::test]
async fn a_late_answer_is_a_timeout_and_cancels_the_handler() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let mut calls = callee.node.serve_unary(RPC, 4);
    let short = Duration::from_millis(300);
    let call = caller.node.call(peer, RPC, bytes("x"), short).await;
    assert_eq!(call, Err(CallError::Timeout));
    let call = soon("the call", calls.recv()).await.unwrap();
    soon("its cancellation", call.cancelled()).await;
    assert!(call.is_cancelled());
    call.respond(Ok(Bytes::new()));
}

#[tokio::test]
async fn dropping_a_call_cancels_the_handler() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let mut calls = callee.node.serve_unary(RPC, 4);
    let node = caller.node.clone();
    let task = tokio::spawn(async move { node.call(peer, RPC, bytes("x"), PATIENCE).await });
    let call = soon("the call", calls.recv()).await.unwrap();
    assert!(!call.is_cancelled());
    task.abort();
    soon("its cancellation", call.cancelled()).await;
}

#[tokio::test]
async fn a_handler_without_an_answer_is_an_error_at_the_caller() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let calls = callee.node.serve_unary(RPC, 4);
    tokio::spawn(answer_all(calls, drop));
    let call = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    assert!(matches!(call, Err(CallError::Remote { text }) if text.contains("without an answer")));
}

#[tokio::test]
async fn a_vanished_callee_breaks_the_call() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let mut calls = callee.node.serve_unary(RPC, 4);
    let call = async { caller.node.call(peer, RPC, bytes("x"), PATIENCE).await };
    let vanish = async {
        let _call = soon("the call", calls.recv()).await.unwrap();
        callee.node.shutdown().await;
    };
    let (call, ()) = tokio::join!(call, vanish);
    assert!(matches!(call, Err(CallError::Broken { .. })), "{call:?}");
}

#[tokio::test]
async fn envelopes_of_4_mib_pass_and_larger_ones_are_refused_before_sending() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    serve_echo(&callee.node, RPC);
    let body = Bytes::from(vec![7; 4_194_000]);
    let call = caller.node.call(peer, RPC, body.clone(), PATIENCE).await;
    assert_eq!(call, Ok(body));
    let body = Bytes::from(vec![7; 4_194_304]);
    let call = caller.node.call(peer, RPC, body, PATIENCE).await;
    assert!(matches!(
        call,
        Err(CallError::TooLarge {
            limit: 4_194_304,
            ..
        })
    ));
}

#[tokio::test]
async fn an_answer_over_4_mib_becomes_an_error() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    let calls = callee.node.serve_unary(RPC, 4);
    tokio::spawn(answer_all(calls, |call| {
        call.respond(Ok(vec![0; 4_194_304].into()))
    }));
    let call = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    assert!(matches!(call, Err(CallError::Remote { text }) if text.contains("4194304")));
}

#[tokio::test]
async fn many_calls_at_once_share_one_dial_and_none_is_lost() {
    let (caller, callee) = pair().await;
    let peer = callee.node.peer_id();
    serve_echo(&callee.node, RPC);
    let calls = (0..600).map(|index| {
        let body = bytes(&index.to_string());
        let node = &caller.node;
        async move { (node.call(peer, RPC, body.clone(), PATIENCE).await, body) }
    });
    for (answer, body) in soon("600 calls", join_all(calls)).await {
        assert_eq!(answer, Ok(body));
    }
    assert_eq!(caller.node.connected_peers(), [peer]);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_peer_fail_at_once() {
    let caller = start().await;
    let gone = start().await;
    let (peer, address) = (gone.node.peer_id(), gone.address.clone());
    gone.node.shutdown().await;
    caller.node.add_address(peer, address).await;
    let began = std::time::Instant::now();
    let refused = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("Connection refused"), "{refused}");
    for peer in [peer, PeerId::random(), caller.node.peer_id()] {
        let call = caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
        assert!(
            matches!(call, Err(CallError::Unreachable { .. })),
            "{call:?}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_peer_without_known_addresses_is_found_through_another() {
    let (caller, callee, hub) = (start().await, start().await, start().await);
    serve_echo(&callee.node, RPC);
    for node in [&caller.node, &callee.node] {
        assert_eq!(node.dial(hub.address.clone()).await, Ok(hub.node.peer_id()));
    }
    // The hub may not have been told the callee's addresses yet.
    let found = call_until_reached(&caller.node, callee.node.peer_id()).await;
    assert_eq!(found, Ok(bytes("x")));
}

/// Bits by which two peers differ in kad's table: 255 for half of all peers, which share a bucket of 20.
fn kad_distance(one: PeerId, other: PeerId) -> Option<u32> {
    let key = libp2p::kad::KBucketKey::from(one);
    key.distance(&libp2p::kad::KBucketKey::from(other)).ilog2()
}

/// Calls until `callee` can be reached.
async fn call_until_reached(caller: &Node, callee: PeerId) -> Result<Bytes, CallError> {
    let reach = async {
        loop {
            match caller.call(callee, RPC, bytes("x"), PATIENCE).await {
                Err(CallError::Unreachable { .. }) => tokio::task::yield_now().await,
                other => break other,
            }
        }
    };
    soon("the callee to be found", reach).await
}

#[tokio::test]
async fn a_newcomer_is_found_through_a_peer_that_knew_many_who_have_gone() {
    let known = start().await;
    let is_far = |node: &Node| kad_distance(node.peer_id(), known.node.peer_id()) == Some(255);
    let join = async |joining: &Running| {
        let dial = async { while joining.node.dial(known.address.clone()).await.is_err() {} };
        soon("the connection", dial).await;
        // After its first call a node has been told the other's addresses.
        call_until_reached(&known.node, joining.node.peer_id()).await
    };
    let mut gone = 0;
    // Until the farthest bucket has more than its 20.
    while gone < 24 {
        let passing = start().await;
        let refused = join(&passing).await;
        assert_eq!(refused, Err(CallError::NotSupported));
        gone += usize::from(is_far(&passing.node));
        passing.node.shutdown().await;
    }
    let newcomer = loop {
        let candidate = start().await;
        if is_far(&candidate.node) {
            break candidate;
        }
    };
    serve_echo(&newcomer.node, RPC);
    assert_eq!(join(&newcomer).await, Ok(bytes("x")));
    let asking = start().await;
    asking.node.dial(known.address.clone()).await.unwrap();
    let found = call_until_reached(&asking.node, newcomer.node.peer_id()).await;
    assert_eq!(found, Ok(bytes("x")));
}

#[tokio::test]
async fn an_address_without_a_peer_id_can_be_dialed() {
    let (caller, callee) = (start().await, start().await);
    let mut address = callee.address.clone();
    address.pop();
    assert_eq!(caller.node.dial(address).await, Ok(callee.node.peer_id()));
    assert!(
        caller
            .node
            .dial("/ip4/127.0.0.1/tcp/1".parse().unwrap())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn rsa_identities_call_and_are_called() {
    let rsa = Keypair::from_protobuf_encoding(&rsa_identity()).unwrap();
    let config = NodeConfig {
        listen: vec![loopback()],
        ..NodeConfig::new(rsa)
    };
    let (rsa, other) = (start_with(config).await, start().await);
    assert!(rsa.node.peer_id().to_base58().starts_with("Qm"));
    serve_echo(&rsa.node, RPC);
    serve_echo(&other.node, RPC);
    other
        .node
        .add_address(rsa.node.peer_id(), rsa.address.clone())
        .await;
    let call = other
        .node
        .call(rsa.node.peer_id(), RPC, bytes("x"), PATIENCE)
        .await;
    assert_eq!(call, Ok(bytes("x")));
    let call = rsa
        .node
        .call(other.node.peer_id(), RPC, bytes("y"), PATIENCE)
        .await;
    assert_eq!(call, Ok(bytes("y")));
}

#[tokio::test]
async fn addresses_are_announced_instead_of_those_listened_on() {
    let announced: block_network::Multiaddr = "/dns4/localhost/tcp/31337".parse().unwrap();
    let announcing = start_with(NodeConfig {
        listen: vec![loopback()],
        announce: vec![announced.clone()],
        ..NodeConfig::new(identity::ephemeral())
    })
    .await;
    let peer = announcing.node.peer_id();
    let all = announcing.node.listen_addresses().await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], announced.clone().with_p2p(peer).unwrap());
    let other = start().await;
    announcing.node.dial(other.address.clone()).await.unwrap();
    let known = soon("identify", async {
        loop {
            let known = other.node.addresses(peer).await;
            if !known.is_empty() {
                break known;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(known.await, [announced]);
}

#[tokio::test]
async fn after_shutdown_calls_end_and_the_task_is_over() {
    let (node, task) = Node::start(NodeConfig::throw_away()).await.unwrap();
    let mut calls = node.serve_unary(RPC, 1);
    node.shutdown().await;
    task.join().await.unwrap();
    assert!(calls.recv().await.is_none());
    let call = node.call(PeerId::random(), RPC, bytes("x"), PATIENCE).await;
    assert_eq!(call, Err(CallError::Stopped));
    assert!(node.listen_addresses().await.is_empty());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = start().await;
    let mut taken = first.address.clone();
    taken.pop();
    let config = NodeConfig {
        listen: vec![taken.clone()],
        ..NodeConfig::new(identity::ephemeral())
    };
    let error = Node::start(config).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
}

/// An identity file as hivemind writes it: RSA, 2,048 bit.
fn rsa_identity() -> Vec<u8> {
    include_bytes!("fixtures/hivemind_rsa_identity").to_vec()
}
