//! A call through a relay: the caller only knows the callee's relayed address.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use block_network::{Keypair, Multiaddr, NodeConfig, identity};
use futures::StreamExt;
use libp2p::{
    SwarmBuilder, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use support::{PATIENCE, bytes, loopback, serve_echo, soon, start, start_with};

const RPC: &str = "Service.method";

#[derive(NetworkBehaviour)]
struct Relay {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
}

/// A relay on loopback; its task runs until the test ends.
async fn start_relay() -> Multiaddr {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|key| Relay {
            relay: relay::Behaviour::new(peer, relay::Config::default()),
            identify: identify::Behaviour::new(identify::Config::new(String::new(), key.public())),
        })
        .unwrap()
        .build();
    swarm.listen_on(loopback()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    swarm.add_external_address(address.clone());
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    address.with(Protocol::P2p(peer))
}

#[tokio::test]
async fn a_node_behind_a_relay_is_called_through_it() {
    let relay = start_relay().await;
    let relayed = relay.clone().with(Protocol::P2pCircuit);
    let hidden = start_with(NodeConfig {
        listen: vec![relayed.clone()],
        client_mode: true,
        ..NodeConfig::new(identity::ephemeral())
    })
    .await;
    serve_echo(&hidden.node, RPC);
    let peer = hidden.node.peer_id();
    let address = relayed.with(Protocol::P2p(peer));
    let caller = start().await;
    let answer = soon("the relay to grant a reservation", async {
        loop {
            if caller.node.dial(address.clone()).await.is_ok() {
                break caller.node.call(peer, RPC, bytes("x"), PATIENCE).await;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(answer.await, Ok(bytes("x")));
    assert!(hidden.node.listen_addresses().await.contains(&address));
    // The way to it begins on this machine; where it ends is not known.
    assert!(!caller.node.is_on_this_machine(peer).await);
    let near = start().await;
    let near_peer = near.node.peer_id();
    assert!(!caller.node.is_on_this_machine(near_peer).await);
    caller.node.dial(near.address.clone()).await.unwrap();
    assert!(caller.node.is_on_this_machine(near_peer).await);
}
