//! `ReachabilityProtocol.rpc_check` between nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use block_network::{
    NodeConfig, PeerId, Reachability, ReachabilityService, check_direct, identity,
};
use block_protocol::{
    Rpc,
    reachability::{ReachabilityRequest, ReachabilityResponse},
};
use bytes::Bytes;
use support::{PATIENCE, Running, loopback, soon, start, start_with};

async fn ask(caller: &Running, peer: PeerId, about: PeerId) -> bool {
    let request = ReachabilityRequest {
        peer: about.to_bytes().into(),
    };
    let rpc = Rpc::ReachabilityCheck.name();
    let answer = caller
        .node
        .call(peer, rpc, request.encode(), PATIENCE)
        .await;
    ReachabilityResponse::decode(answer.unwrap())
        .unwrap()
        .available
}

#[tokio::test]
async fn a_node_is_checked_by_a_dial_of_its_own() {
    let (asking, prober) = (start().await, start().await);
    let _checks = [
        ReachabilityService::start(&asking.node),
        ReachabilityService::start(&prober.node),
    ];
    let peer = prober.node.peer_id();
    asking.node.dial(prober.address.clone()).await.unwrap();
    assert!(ask(&asking, peer, peer).await);
    assert!(ask(&asking, peer, asking.node.peer_id()).await);
    // Whoever dialed for the check had an identity of its own and is gone.
    assert_eq!(prober.node.connected_peers(), [asking.node.peer_id()]);
    let found = soon("the answers", check_direct(&asking.node, &[peer])).await;
    assert_eq!(found, Reachability::Direct);
}

#[tokio::test]
async fn a_node_that_cannot_be_dialed_is_told_so() {
    let prober = start().await;
    let _checks = ReachabilityService::start(&prober.node);
    let peer = prober.node.peer_id();

    // It announces a port where nobody listens.
    let announcing = NodeConfig {
        listen: vec![loopback()],
        announce: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        ..NodeConfig::new(identity::ephemeral())
    };
    for config in [announcing, NodeConfig::throw_away()] {
        let hidden = start_with(config).await;
        let _checks = ReachabilityService::start(&hidden.node);
        hidden.node.dial(prober.address.clone()).await.unwrap();
        assert!(!ask(&hidden, peer, hidden.node.peer_id()).await);
        let found = soon("the answers", check_direct(&hidden.node, &[peer])).await;
        assert_eq!(found, Reachability::Unreachable);
    }
    assert!(!ask(&prober, start_and_leave(&prober).await, PeerId::random()).await);
}

/// A prober that knows nobody else.
async fn start_and_leave(caller: &Running) -> PeerId {
    let lone = start().await;
    let peer = lone.node.peer_id();
    caller.node.add_address(peer, lone.address.clone()).await;
    let checks = ReachabilityService::start(&lone.node);
    tokio::spawn(async move {
        let _kept = (lone, checks);
        std::future::pending::<()>().await;
    });
    peer
}

#[tokio::test]
async fn a_swarm_that_cannot_tell_is_unknown_and_nonsense_is_refused() {
    let (asking, silent) = (start().await, start().await);
    let peer = silent.node.peer_id();
    asking.node.dial(silent.address.clone()).await.unwrap();
    let found = check_direct(&asking.node, &[peer, asking.node.peer_id()]).await;
    assert_eq!(found, Reachability::Unknown);
    let _checks = ReachabilityService::start(&silent.node);
    let rpc = Rpc::ReachabilityCheck.name();
    for nonsense in [&b""[..], b"\xff", b"\x12\x04\x0a\x02no"] {
        let body = Bytes::copy_from_slice(nonsense);
        let answer = asking.node.call(peer, rpc, body, PATIENCE).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}
