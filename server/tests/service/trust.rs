//! Whom a server with `--trusted-peers` answers.

use std::collections::HashSet;

use block_client::request::info;
use block_network::{Dht, DhtConfig};
use block_protocol::Rpc;
use block_server::ServiceConfig;
use bytes::Bytes;

use crate::support::*;

#[tokio::test]
async fn only_trusted_peers_are_answered_and_the_dht_answers_everybody() {
    let (trusted, other) = (client(&[]).await, client(&[]).await);
    let config = ServiceConfig {
        trusted_peers: Some(HashSet::from([trusted.peer_id()])),
        ..config()
    };
    let server = Server::with(Box::new(span(0..2)), config).await;
    let _dht = Dht::start(server.node.clone(), DhtConfig::default());
    for node in [&trusted, &other] {
        node.dial(server.address.clone()).await.unwrap();
    }

    let input = States::wave(1, 3, 7);
    let mut hop = hop(&trusted, &server, 0..2).await;
    run(&mut hop, step(&input))
        .await
        .assert_near(&expected(0..2, &input));
    info(&trusted, server.peer(), "", PATIENCE).await.unwrap();

    let mut refused = Vec::new();
    for rpc in [Rpc::Info, Rpc::Push, Rpc::Forward, Rpc::Backward] {
        let call = other.call(server.peer(), rpc.name(), Bytes::new(), PATIENCE);
        refused.push(refusal(call.await.map_err(block_client::HopError::from)));
    }
    let mut stranger = crate::support::hop(&other, &server, 0..2).await;
    refused.push(refusal(stranger.step(step(&input)).await));
    for text in refused {
        for part in ["trusts", "--trusted-peers", &other.peer_id().to_string()] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    let dht = Dht::start(
        other.clone(),
        DhtConfig {
            client_mode: true,
            initial_peers: vec![server.address.clone()],
            ..DhtConfig::default()
        },
    );
    tokio::time::timeout(PATIENCE, dht.ready())
        .await
        .unwrap()
        .unwrap();
    assert!(dht.ping(server.peer()).await.is_ok());
}
