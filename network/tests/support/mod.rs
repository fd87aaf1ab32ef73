//! Nodes and bare connections on loopback.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support: each test file uses a part of it"
)]

pub(crate) mod raw;

use std::time::Duration;

use block_network::{Multiaddr, Node, NodeConfig, NodeTask, UnaryCall, identity};
use bytes::Bytes;
use tokio::sync::mpsc;

/// More than any step of any test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A listening node and its task.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) address: Multiaddr,
    _task: NodeTask,
}

pub(crate) fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

pub(crate) async fn start_with(config: NodeConfig) -> Running {
    let (node, task) = Node::start(config).await.unwrap();
    let address = node.listen_addresses().await.into_iter().next();
    Running {
        node,
        address: address.unwrap_or_else(Multiaddr::empty),
        _task: task,
    }
}

/// A node on a free port.
pub(crate) async fn start() -> Running {
    start_with(NodeConfig {
        listen: vec![loopback()],
        ..NodeConfig::new(identity::ephemeral())
    })
    .await
}

/// Two nodes, the first knowing the address of the second.
pub(crate) async fn pair() -> (Running, Running) {
    let (caller, callee) = (start().await, start().await);
    let peer = callee.node.peer_id();
    caller.node.add_address(peer, callee.address.clone()).await;
    (caller, callee)
}

/// Answers every call with its own body.
pub(crate) fn serve_echo(node: &Node, rpc: &str) {
    let calls = node.serve_unary(rpc, 16);
    tokio::spawn(answer_all(calls, |call| {
        let body = call.body.clone();
        call.respond(Ok(body));
    }));
}

pub(crate) async fn answer_all(mut calls: mpsc::Receiver<UnaryCall>, answer: impl Fn(UnaryCall)) {
    while let Some(call) = calls.recv().await {
        answer(call);
    }
}

/// Fails the test if `future` takes longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("gave up waiting for: {what}"),
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
