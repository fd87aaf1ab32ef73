//! The three served RPCs as one queue.

use block_protocol::Rpc;
use tokio::sync::mpsc;

use crate::{node::Node, rpc::UnaryCall};

/// Calls from other DHT nodes; none ever come in client mode.
#[derive(Debug)]
pub(super) struct Inbound(Option<[mpsc::Receiver<UnaryCall>; 3]>);

/// Calls of each kind that wait for the driver, which answers in microseconds.
const QUEUE: usize = 64;

impl Inbound {
    pub(super) fn serve(node: &Node, client_mode: bool) -> Self {
        let rpcs = [Rpc::DhtPing, Rpc::DhtStore, Rpc::DhtFind];
        Self((!client_mode).then(|| rpcs.map(|rpc| node.serve_unary(rpc.name(), QUEUE))))
    }

    /// The next call; `None` once the node has stopped. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Option<(Rpc, UnaryCall)> {
        let Some([pings, stores, finds]) = &mut self.0 else {
            return std::future::pending().await;
        };
        let (rpc, call) = tokio::select! {
            call = pings.recv() => (Rpc::DhtPing, call),
            call = stores.recv() => (Rpc::DhtStore, call),
            call = finds.recv() => (Rpc::DhtFind, call),
        };
        Some((rpc, call?))
    }
}
